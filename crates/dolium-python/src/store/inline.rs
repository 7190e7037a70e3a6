//! Operations that succeed only if the hot tier alone can do them. An event loop tries these first: they neither wait nor
//! touch a disk. Where one returns that nothing has happened, another thread calls the ordinary method.

use dolium::host::EntryRef;
use dolium::raw::Object;
use dolium::{Key, Number, host};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList};

use super::many::glimpse;
use super::read::{Ask, Memory};
use super::write::{is_plain, number};
use super::{Flag, Found, Inner, Seconds, Shard, Store, put};
use crate::value::Outgoing;
use crate::{clock, key};

impl Inner {
    /// The key that an object is, and its shard; `None` if a `Disk` of the user or a read decides that.
    fn quick_key<'a>(&'a self, object: &'a Bound<'_, PyAny>) -> PyResult<Option<(&'a Shard, Key<'a>)>> {
        if self.is_custom() {
            return Ok(None);
        }
        let simple = key::text_or_bytes(object).or_else(|| key::number(object));
        let key = match simple {
            Some(key) => key,
            None => match self.shared.known_protocol() {
                None => return Ok(None),
                Some(protocol) => key::pickled(object, protocol)?,
            },
        };
        if matches!(&key, Key::Object(object) if Object::may_differ(object)) {
            return Ok(None);
        }
        Ok(Some(match &*self.shared.shards {
            [only] => (only, key),
            shards => (&shards[key.shard_hash() as usize % shards.len()], key),
        }))
    }
}

#[pymethods]
impl Store {
    /// `get` if the hot tier has the answer, else `unanswered`.
    #[pyo3(signature = (key, unanswered, default=None, expire_time=Flag(false), tag=Flag(false), max_age=None, /),
           text_signature = "($self, key, unanswered, default=None, expire_time=False, tag=False, max_age=None, /)")]
    fn _try_get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        unanswered: Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        expire_time: Flag,
        tag: Flag,
        max_age: Option<Seconds>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (inner, py) = (self.inner()?, key.py());
        let Some((shard, stored)) = inner.quick_key(key)? else { return Ok(unanswered) };
        let facts = |entry: &EntryRef<'_>| (entry.expire_time(), entry.tag(), entry.store_time());
        let Memory::Knows(found) = inner.try_get(py, (shard, &stored), true, facts)? else {
            return Ok(unanswered);
        };
        let found = found.map(|(value, (expire_time, tag, store_time))| Found {
            value,
            expire_time,
            tag,
            store_time,
        });
        let max_age = max_age.map(|Seconds(age)| age);
        inner.answer(py, Ok(found), default, Ask { read: false, expire_time, tag, retry: true, max_age })
    }

    /// `get_many` if the hot tier has the answer, as of one moment, else None.
    #[pyo3(signature = (keys, /))]
    fn _try_get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyList>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let inner = self.inner()?;
        let keys: Vec<_> = keys.iter().collect();
        let Some(quick) =
            keys.iter().map(|key| inner.quick_key(key)).collect::<PyResult<Option<Vec<_>>>>()?
        else {
            return Ok(None);
        };
        let Some(&(shard, _)) = quick.first() else { return Ok(Some(PyDict::new(py))) };
        if !quick.iter().all(|(other, _)| std::ptr::eq(*other, shard)) {
            return Ok(None);
        }
        let stored: Vec<_> = quick.into_iter().map(|(_, key)| key).collect();
        match glimpse(py, shard, &stored, true) {
            (values, Some(glimpse)) if glimpse.rest.is_empty() => inner.loaded(py, &keys, values).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether the key is there, if the hot tier knows, else None.
    #[pyo3(signature = (key, /))]
    fn _try_contains(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        let Some((shard, stored)) = self.inner()?.quick_key(key)? else { return Ok(None) };
        clock::follow(key.py());
        Ok(host::try_contains(shard.cache(true), &stored))
    }

    /// Store a small text, number or bytes in the hot tier. False: nothing has happened.
    #[pyo3(signature = (key, value, expire=None, tag=None, /))]
    fn _try_set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        tag: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let options = put(expire, tag)?;
        let (inner, py) = (self.inner()?, key.py());
        if !is_plain(value) {
            return Ok(false);
        }
        let Some((shard, stored)) = inner.quick_key(key)? else { return Ok(false) };
        // A number or text of an unusual kind becomes a pickle, which the hot tier does not take here.
        let outgoing = Outgoing::of(value, || Ok(5))?;
        clock::follow(py);
        Ok(host::try_set(shard.cache(true), &stored, outgoing.lend()?.payload(), &options))
    }

    /// Add to a number that the hot tier knows, and return the sum. None: nothing has happened.
    #[pyo3(signature = (key, delta, /))]
    fn _try_incr<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        delta: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        let Some(delta) = number(delta) else { return Ok(None) };
        let Some((shard, stored)) = self.inner()?.quick_key(key)? else { return Ok(None) };
        clock::follow(py);
        Ok(match host::try_incr(shard.cache(true), &stored, delta) {
            Some(Number::Int(sum)) => Some(sum.into_pyobject(py)?.into_any()),
            Some(Number::Float(sum)) => Some(PyFloat::new(py, sum).into_any()),
            None => None,
        })
    }

    /// Remove an entry that the hot tier knows. False: nothing has happened.
    #[pyo3(signature = (key, /))]
    fn _try_delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some((shard, stored)) = self.inner()?.quick_key(key)? else { return Ok(false) };
        clock::follow(key.py());
        Ok(host::try_delete(shard.cache(true), &stored))
    }
}
