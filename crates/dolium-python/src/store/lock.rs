//! What the locks of the package ask of a store: to change a key that is as they know it, and which processes live.

use dolium::host;
use dolium::host::Expected;
use pyo3::prelude::*;

use super::{Flag, Seconds, Store, put};
use crate::error;
use crate::lazy::Lazy;
use crate::value::{Loan, Outgoing};

static MISS: Lazy = Lazy::new("dolium.constants", "MISS");

#[pymethods]
impl Store {
    /// Sets a value, kept as by `_keep`, if the key has exactly the value `old`; MISS means no value, and ... anything. With
    /// `expires`, if the entry expires at that very time. MISS as `new` deletes the entry. Returns whether it did and when
    /// the entry expires, or None where only a transaction may do that.
    #[pyo3(signature = (key, old, new, expire=None, tag=None, keep=Flag(true), takes=Flag(true), expires=None),
           text_signature = "($self, key, old, new, expire=None, tag=None, keep=True, takes=True, expires=None)")]
    #[expect(clippy::too_many_arguments, reason = "a call of the package, by names")]
    fn _swap(
        &self,
        key: &Bound<'_, PyAny>,
        old: &Bound<'_, PyAny>,
        new: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        tag: Option<&Bound<'_, PyAny>>,
        keep: Flag,
        takes: Flag,
        expires: Option<f64>,
    ) -> PyResult<Option<(bool, Option<f64>)>> {
        let py = key.py();
        let inner = self.inner()?;
        let (shard, stored) = inner.key(key)?;
        if shard.custom.is_some() {
            return Ok(None);
        }
        let options = put(expire, tag)?.keep(keep.0);
        let miss = MISS.get(py)?;
        let outgoing = |value| {
            Outgoing::of(value, || inner.protocol(py))
                .map_err(|error| error::unstorable(Some(key), py, error))
        };
        let (is_nothing, is_anything) = (old.is(miss), old.is(py.Ellipsis()));
        let is_value = expires.is_none() && !is_nothing && !is_anything;
        let old = if is_value { Some(outgoing(old)?) } else { None };
        let new = if new.is(miss) { None } else { Some(outgoing(new)?) };
        let old = old.as_ref().map(Outgoing::lend).transpose()?;
        let new = new.as_ref().map(Outgoing::lend).transpose()?;
        shard.change(py, true, |cache| {
            let expected = match (expires, old) {
                (Some(at), _) => Expected::Expiring(at),
                (None, Some(old)) => Expected::Value(old.payload()),
                (None, None) if is_nothing => Expected::Nothing,
                (None, None) => Expected::Anything,
            };
            host::swap(cache, &stored, expected, new.map(Loan::payload), &options, takes.0)
        })
    }

    /// Whether another program uses the directory of a key, so that it must find what it has to see in the database.
    fn _is_shared(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (shard, _) = self.inner()?.key(key)?;
        shard.enter(key.py(), true, host::is_shared)
    }

    /// The number of this process in the directory of a key: see `_is_alive`.
    fn _owner(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        let (shard, _) = self.inner()?.key(key)?;
        shard.enter(key.py(), true, host::owner)
    }

    /// Whether the process that was given a number there by `_owner` lives.
    fn _is_alive(&self, key: &Bound<'_, PyAny>, owner: u64) -> PyResult<bool> {
        let (shard, _) = self.inner()?.key(key)?;
        shard.enter(key.py(), true, |cache| host::is_alive_owner(cache, owner))
    }
}
