//! Owns reads of many keys: what the hot tier shows of them, the rest, and the dict of both.

use dolium::host::{EntryRef, Glimpse};
use dolium::{Key, host};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::bulk::{FEW, Groups};
use super::shown::Shown;
use super::{Inner, Shard};
use crate::enter::Turns;
use crate::lazy::Lazy;
use crate::{clock, key};

static APART: Lazy = Lazy::new("dolium.apart", "ApartDict");

/// A value as it was found.
pub(super) enum Got<'py> {
    Shown(Shown<'py>),
    Stored(dolium::Value),
}

/// The values that the hot tier knows of keys of one shard.
pub(super) fn glimpse<'py>(
    py: Python<'py>,
    shard: &Shard,
    keys: &[Key<'_>],
    retry: bool,
) -> (Vec<Option<Got<'py>>>, Option<Glimpse>) {
    let is_told = clock::was_told() && clock::follow(py);
    let mut values = nothing(keys.len());
    let glimpse = host::try_get_many(shard.cache(retry), keys, |position, entry| {
        let is_sure = is_sure(py, &entry, is_told);
        if is_sure {
            values[position] = Some(Got::Shown(Shown::of(py, entry.value)));
        }
        is_sure
    });
    (values, glimpse)
}

/// Whether the engine knows what time it is for an entry that it has found. Only one that expires pays for that.
fn is_sure(py: Python<'_>, entry: &EntryRef<'_>, is_told: bool) -> bool {
    entry.expire_time().is_none() || is_told || !clock::follow(py)
}

/// The items of an iterable.
pub(super) fn items<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match iterable.cast_exact::<PyList>() {
        Ok(list) => Ok(list.iter().collect()),
        Err(_) => iterable.try_iter()?.collect(),
    }
}

/// So many values that were not found.
fn nothing<'py>(count: usize) -> Vec<Option<Got<'py>>> {
    std::iter::repeat_with(|| None).take(count).collect()
}

impl Inner {
    /// The values of keys, in their order.
    pub(super) fn values<'py>(
        &self,
        py: Python<'py>,
        keys: &[Bound<'py, PyAny>],
        retry: bool,
    ) -> PyResult<Vec<Option<Got<'py>>>> {
        if let [only] = &*self.shared.shards {
            let stored = self.keys_of(py, keys)?;
            return self.values_in(py, only, &stored, retry);
        }
        let mut turns = Turns::default();
        let mut routed = Vec::with_capacity(keys.len());
        for (position, key) in keys.iter().enumerate() {
            turns.next(py);
            let (shard, key) = self.key(key)?;
            routed.push((shard, (position, key)));
        }
        let mut values = nothing(keys.len());
        let Groups { shards, items } = Groups::of(routed);
        let (positions, items): (Vec<usize>, Vec<Key<'_>>) = items.into_iter().unzip();
        let mut positions = positions.into_iter();
        Groups { shards, items }.each(|shard, keys| {
            let found = self.values_in(py, shard, keys, retry)?;
            for (position, value) in positions.by_ref().take(keys.len()).zip(found) {
                values[position] = value;
            }
            Ok(())
        })?;
        Ok(values)
    }

    /// Keys of the only shard.
    pub(super) fn keys_of<'a>(
        &'a self,
        py: Python<'_>,
        keys: &'a [Bound<'_, PyAny>],
    ) -> PyResult<Vec<Key<'a>>> {
        let mut turns = Turns::default();
        let keys = keys.iter().map(|key| {
            turns.next(py);
            Ok(self.key(key)?.1)
        });
        keys.collect()
    }

    /// The values of keys of one shard, all of one moment. What is hot becomes an object at once.
    fn values_in<'py>(
        &self,
        py: Python<'py>,
        shard: &Shard,
        keys: &[Key<'_>],
        retry: bool,
    ) -> PyResult<Vec<Option<Got<'py>>>> {
        // Else the other threads would wait for the last of them.
        let (values, glimpse) =
            if keys.len() <= FEW { glimpse(py, shard, keys, retry) } else { (Vec::new(), None) };
        if let Some(glimpse) = glimpse
            && let Some(values) = self.completed(py, shard, keys, retry, values, glimpse)?
        {
            return Ok(values);
        }
        let found = shard.enter(py, retry, |cache| cache.get_many(keys));
        let found = self.soften(py, retry, found, Vec::new)?;
        let found = found.into_iter().map(|value| value.map(Got::Stored));
        Ok(found.chain(std::iter::repeat_with(|| None)).take(keys.len()).collect())
    }

    /// The values that a glimpse has shown, and those of the rest of its keys; `None` if others have changed something
    /// meanwhile.
    fn completed<'py>(
        &self,
        py: Python<'py>,
        shard: &Shard,
        keys: &[Key<'_>],
        retry: bool,
        mut values: Vec<Option<Got<'py>>>,
        glimpse: Glimpse,
    ) -> PyResult<Option<Vec<Option<Got<'py>>>>> {
        if glimpse.rest.is_empty() {
            return Ok(Some(values));
        }
        let rest: Vec<_> = glimpse.rest.iter().map(|position| keys[*position].borrowed()).collect();
        let found = shard.enter(py, retry, |cache| host::get_rest(cache, &glimpse, &rest));
        let Some(found) = self.soften(py, retry, found, || Some(Vec::new()))? else { return Ok(None) };
        for (position, value) in glimpse.rest.into_iter().zip(found) {
            values[position] = value.map(Got::Stored);
        }
        Ok(Some(values))
    }

    /// The answer of `get_many` in one pass, if the keys are few, and all of them text or all bytes: such keys are equal for
    /// Python exactly if they are for a cache, and Python compares them without running other code.
    pub(super) fn try_dict<'py>(
        &self,
        py: Python<'py>,
        keys: &[Bound<'py, PyAny>],
        retry: bool,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let ([only], [first, ..]) = (&*self.shared.shards, keys) else { return Ok(None) };
        let is_like_first = |key: &Bound<'_, PyAny>| key.get_type_ptr() == first.get_type_ptr();
        let is_simple = |key| is_like_first(key) && key::text_or_bytes(key).is_some();
        if keys.len() > FEW || !keys.iter().all(is_simple) {
            return Ok(None);
        }
        let is_told = clock::was_told() && clock::follow(py);
        let dict = PyDict::new(py);
        // They keep their place in the order until Python has loaded them, which is not to happen in view of the tier.
        let mut pickles = Vec::new();
        let mut failed = Ok(());
        let stored = || keys.iter().map_while(key::text_or_bytes);
        let glimpse = host::try_get_many(only.cache(retry), stored(), |position, entry| {
            if !is_sure(py, &entry, is_told) {
                return false;
            }
            let value = match Shown::of(py, entry.value) {
                Shown::Object(object) => object,
                Shown::Pickle(bytes, signed) => {
                    pickles.push((position, bytes.clone(), signed));
                    bytes.into_any()
                }
            };
            let done = dict.set_item(&keys[position], value);
            let is_done = done.is_ok();
            failed = std::mem::replace(&mut failed, Ok(())).and(done);
            is_done
        });
        failed?;
        let Some(glimpse) = glimpse else { return Ok(None) };
        if glimpse.rest.is_empty() {
            for (position, bytes, signed) in pickles {
                let value = self.unless_refused(py, self.loads(signed).get(py)?.call1((bytes,)))?;
                match value {
                    Some(value) => dict.set_item(&keys[position], value)?,
                    None if dict.contains(&keys[position])? => dict.del_item(&keys[position])?,
                    None => {}
                }
            }
            return Ok(Some(dict));
        }
        let object = |key| Ok(dict.get_item(key)?.map(|value| Got::Shown(Shown::Object(value))));
        let mut values = keys.iter().map(object).collect::<PyResult<Vec<_>>>()?;
        for (position, bytes, signed) in pickles {
            values[position] = Some(Got::Shown(Shown::Pickle(bytes, signed)));
        }
        let stored: Vec<_> = stored().collect();
        let values = self.completed(py, only, &stored, retry, values, glimpse)?;
        values.map(|values| self.loaded(py, keys, values)).transpose()
    }

    /// A dict of the values that were found of keys, except those that may not be loaded.
    pub(super) fn loaded<'py>(
        &self,
        py: Python<'py>,
        keys: &[Bound<'py, PyAny>],
        values: Vec<Option<Got<'py>>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut turns = Turns::default();
        let mut found = Vec::with_capacity(keys.len());
        for (key, value) in keys.iter().zip(values) {
            turns.next(py);
            let value = match value {
                None => continue,
                Some(Got::Shown(Shown::Object(value))) => Some(value),
                Some(Got::Shown(Shown::Pickle(bytes, signed))) => {
                    self.unless_refused(py, self.loads(signed).get(py)?.call1((bytes,)))?
                }
                Some(Got::Stored(value)) => self.unless_refused(py, self.load(py, value))?,
            };
            found.extend(value.map(|value| (key, value)));
        }
        together(py, found)
    }
}

/// A dict of what was found; one of our own if there are keys that Python takes for one, as `1` and `True` are. A key that
/// was asked for twice is there once.
pub(super) fn together<'py>(
    py: Python<'py>,
    found: Vec<(&Bound<'py, PyAny>, Bound<'py, PyAny>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let mut turns = Turns::default();
    for (key, value) in &found {
        turns.next(py);
        dict.set_item(key, value)?;
    }
    if dict.len() == found.len() {
        return Ok(dict);
    }
    let apart = APART.get(py)?.call1((found,))?;
    if apart.len()? == dict.len() { Ok(dict) } else { Ok(apart.cast_into()?) }
}
