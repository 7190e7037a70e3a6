//! Owns operations on many keys: one crossing and, per shard, one transaction each.

use dolium::{Key, PutOptions, host};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use super::many::{items, together};
use super::write::How;
use super::{Flag, Inner, Seconds, Shard, Store, put};
use crate::enter::Turns;
use crate::value::{Loan, Outgoing};
use crate::{clock, error};

/// Items up to which a bulk call keeps the interpreter's lock: to hand it over costs more.
pub(super) const FEW: usize = 1000;

/// Items, those of one shard behind each other and in their order.
pub(super) struct Groups<'a, T> {
    /// The shards, and how many items are theirs.
    pub shards: Vec<(&'a Shard, usize)>,
    pub items: Vec<T>,
}

impl<'a, T> Groups<'a, T> {
    /// In place: a call has two items more often than a hundred.
    pub fn of(mut routed: Vec<(&'a Shard, T)>) -> Self {
        // All shards are items of one slice.
        routed.sort_by_key(|(shard, _)| std::ptr::from_ref(*shard));
        let runs = routed.chunk_by(|(one, _), (other, _)| std::ptr::eq(*one, *other));
        let shards = runs.map(|run| (run[0].0, run.len())).collect();
        Self { shards, items: routed.into_iter().map(|(_, item)| item).collect() }
    }

    /// Calls `f` with each shard and its items.
    pub fn each(&self, mut f: impl FnMut(&'a Shard, &[T]) -> PyResult<()>) -> PyResult<()> {
        let mut rest = &self.items[..];
        for (shard, count) in &self.shards {
            let (items, others) = rest.split_at(*count);
            f(shard, items)?;
            rest = others;
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn is_custom(&self) -> bool {
        self.shared.shards[0].custom.is_some()
    }

    fn put_many(
        &self,
        mapping: &Bound<'_, PyAny>,
        options: &PutOptions,
        how: How,
        retry: bool,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let py = mapping.py();
        let codec = self.codec(py, codec)?;
        let items = pairs(mapping)?;
        if self.is_custom() {
            return self.put_each(py, &items, options, how, retry);
        }
        if let [only] = &*self.shared.shards
            && let Some(loans) = self.lend_plain(&items)?
        {
            let stored = put_in(py, only, &loans, options, how, retry);
            return self.soften(py, retry, stored, || 0);
        }
        let mut turns = Turns::default();
        let outgoing: Vec<Outgoing<'_>> = items
            .iter()
            .map(|(key, value)| {
                turns.next(py);
                let outgoing =
                    Outgoing::by(codec.as_ref().map(|codec| (codec, self.peers(""))), value, || {
                        self.protocol(py)
                    });
                outgoing.map_err(|error| error::unstorable(Some(key), py, error))
            })
            .collect::<PyResult<_>>()?;
        if let [only] = &*self.shared.shards {
            let loans = items.iter().zip(&outgoing).map(|((key, _), value)| {
                turns.next(py);
                Ok((self.key(key)?.1, value.lend()?))
            });
            let stored = put_in(py, only, &loans.collect::<PyResult<Vec<_>>>()?, options, how, retry);
            return self.soften(py, retry, stored, || 0);
        }
        let mut routed = Vec::with_capacity(items.len());
        for ((key, _), value) in items.iter().zip(&outgoing) {
            turns.next(py);
            let (shard, key) = self.key(key)?;
            routed.push((shard, (key, value.lend()?)));
        }
        let mut total = 0;
        Groups::of(routed).each(|shard, group| {
            let stored = put_in(py, shard, group, options, how, retry);
            total += self.soften(py, retry, stored, || 0)?;
            Ok(())
        })?;
        Ok(total)
    }

    /// Items as they are, if no value needs to be pickled.
    fn lend_plain<'a>(
        &'a self,
        items: &'a [(Bound<'_, PyAny>, Bound<'_, PyAny>)],
    ) -> PyResult<Option<Vec<(Key<'a>, Loan<'a>)>>> {
        let mut turns = Turns::default();
        let mut lent = Vec::with_capacity(items.len());
        for (key, value) in items {
            turns.next(key.py());
            let Some(loan) = Loan::plain(value) else { return Ok(None) };
            lent.push((self.key(key)?.1, loan));
        }
        Ok(Some(lent))
    }

    /// The same through a `Disk` of the user's: all values are converted before the first is stored.
    fn put_each(
        &self,
        py: Python<'_>,
        items: &[(Bound<'_, PyAny>, Bound<'_, PyAny>)],
        options: &PutOptions,
        how: How,
        retry: bool,
    ) -> PyResult<usize> {
        let mut prepared = Vec::with_capacity(items.len());
        for (object, value) in items {
            let columns = self.key(object).and_then(|(shard, key)| {
                let Some(custom) = &shard.custom else {
                    return Ok(None);
                };
                let columns = custom.prepare(self, shard, object, &key, value, false)?;
                Ok(Some((shard, (custom, key, columns))))
            });
            match columns {
                Ok(columns) => prepared.extend(columns),
                Err(error) => {
                    for (_, (custom, _, columns)) in prepared {
                        custom.discard(py, columns.filename.as_deref())?;
                    }
                    return Err(error);
                }
            }
        }
        let mut total = 0;
        Groups::of(prepared).each(|shard, group| {
            let stored = shard.transact(py, retry, || {
                group.iter().try_fold(0, |total, (custom, key, columns)| {
                    Ok(total + usize::from(custom.put(py, shard, key, columns, options, how, true)?))
                })
            });
            total += self.soften(py, retry, stored, || 0)?;
            Ok(())
        })?;
        Ok(total)
    }
}

/// Stores items in one shard. Returns how many.
fn put_in(
    py: Python<'_>,
    shard: &Shard,
    items: &[(Key<'_>, Loan<'_>)],
    options: &PutOptions,
    how: How,
    retry: bool,
) -> PyResult<usize> {
    clock::follow(py);
    if items.len() <= FEW {
        let lent = items.iter().map(|(key, loan)| (key, loan.clone().payload()));
        let cache = shard.cache(retry);
        let stored = match how {
            How::Replace => host::try_set_many(cache, lent, options).then_some(items.len()),
            How::Add => host::try_add_many(cache, lent, options),
        };
        if let Some(stored) = stored {
            return Ok(stored);
        }
    }
    shard.change(py, retry, |cache| {
        let items = items.iter().map(|(key, loan)| (key, loan.clone().payload()));
        match how {
            How::Replace => cache.set_many(items, options),
            How::Add => cache.add_many(items, options).map(|added| added.len()),
        }
    })
}

/// Removes keys from one shard. Returns how many were there.
fn delete_in(py: Python<'_>, shard: &Shard, keys: &[Key<'_>], retry: bool) -> PyResult<usize> {
    clock::follow(py);
    let removed = match keys {
        [key] => host::try_delete(shard.cache(retry), key).then_some(1),
        keys if keys.len() <= FEW => host::try_delete_many(shard.cache(retry), keys),
        _ => None,
    };
    removed.map_or_else(|| shard.change(py, retry, |cache| cache.delete_many(keys)), Ok)
}

fn pairs<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        return Ok(dict.iter().collect());
    }
    if let Ok(mapping) = mapping.cast::<PyMapping>() {
        return mapping.items()?.iter().map(|pair| pair.extract()).collect();
    }
    mapping.try_iter()?.map(|pair| pair?.extract()).collect()
}

#[pymethods]
impl Store {
    /// Return a dict of those of `keys` that exist, with their values.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set_many({"a": 1, "b": 2})
    /// 2
    /// >>> cache.get_many(["a", "b", "c"])
    /// {'a': 1, 'b': 2}
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (keys, *, retry=Flag(false)), text_signature = "($self, keys, *, retry=False)")]
    fn get_many<'py>(&self, keys: &Bound<'py, PyAny>, retry: Flag) -> PyResult<Bound<'py, PyDict>> {
        let py = keys.py();
        let inner = self.inner()?;
        let keys = items(keys)?;
        if inner.is_custom() {
            let mut found = Vec::with_capacity(keys.len());
            for key in &keys {
                if let Some(value) = inner.find(key, false, retry.0)? {
                    found.push((key, value.value));
                }
            }
            return together(py, found);
        }
        match inner.try_dict(py, &keys, retry.0)? {
            Some(found) => Ok(found),
            None => inner.loaded(py, &keys, inner.values(py, &keys, retry.0)?),
        }
    }

    /// Store the items of a mapping, or of an iterable of pairs, all or none; return how many were stored.
    ///
    /// `expire` is in seconds, `tag` and `codec` as with `set`. In a `FanoutCache` each shard is all or none.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set_many({"a": 1, "b": 2}, expire=60, tag="letters")
    /// 2
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (mapping, expire=None, tag=None, retry=Flag(false), *, codec=None),
           text_signature = "($self, mapping, expire=None, tag=None, retry=False, *, codec=None)")]
    fn set_many(
        &self,
        mapping: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        tag: Option<&Bound<'_, PyAny>>,
        retry: Flag,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        self.inner()?.put_many(mapping, &put(expire, tag)?, How::Replace, retry.0, codec)
    }

    /// Store those items of a mapping whose keys are not there; return how many were stored.
    ///
    /// Arguments and errors are those of `set_many`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["a"] = 0
    /// >>> cache.add_many({"a": 1, "b": 2}), cache["a"]
    /// (1, 0)
    #[pyo3(signature = (mapping, expire=None, tag=None, retry=Flag(false), *, codec=None),
           text_signature = "($self, mapping, expire=None, tag=None, retry=False, *, codec=None)")]
    fn add_many(
        &self,
        mapping: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        tag: Option<&Bound<'_, PyAny>>,
        retry: Flag,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        self.inner()?.put_many(mapping, &put(expire, tag)?, How::Add, retry.0, codec)
    }

    /// Remove `keys`, all or none; return how many were there.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set_many({"a": 1, "b": 2})
    /// 2
    /// >>> cache.delete_many(["a", "c"])
    /// 1
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (keys, retry=Flag(false)), text_signature = "($self, keys, retry=False)")]
    fn delete_many(&self, keys: &Bound<'_, PyAny>, retry: Flag) -> PyResult<usize> {
        let py = keys.py();
        let inner = self.inner()?;
        let keys = items(keys)?;
        if inner.shared.shards[0].custom.as_ref().is_some_and(|custom| custom.removes) {
            return keys
                .iter()
                .try_fold(0, |total, key| Ok(total + usize::from(inner.remove(key, retry.0)?)));
        }
        if let [only] = &*inner.shared.shards {
            let keys = inner.keys_of(py, &keys)?;
            let removed = delete_in(py, only, &keys, retry.0);
            return inner.soften(py, retry.0, removed, || 0);
        }
        let mut turns = Turns::default();
        let routed = keys.iter().map(|key| {
            turns.next(py);
            inner.key(key)
        });
        let routed: Vec<_> = routed.collect::<PyResult<_>>()?;
        let mut total = 0;
        Groups::of(routed).each(|shard, group| {
            let removed = delete_in(py, shard, group, retry.0);
            total += inner.soften(py, retry.0, removed, || 0)?;
            Ok(())
        })?;
        Ok(total)
    }
}
