//! [`KeyIterator`] and [`EntryIterator`]: what walks find in one shard after another, or merged in sort order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, TryLockError};

use dolium::{Items, Key, Keys, Value};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::store::Inner;
use crate::{enter, error, plain};

/// What is fetched at once.
const BATCH: usize = 1024;

/// Bytes of values after which no more are fetched at once.
const BYTES: usize = 1 << 20;

/// What a walk finds.
pub(super) trait Found: Sized {
    fn key(&self) -> &Key<'static>;

    /// Bytes beside those of the key.
    fn size(&self) -> usize;
}

impl Found for Key<'static> {
    fn key(&self) -> &Key<'static> {
        self
    }

    fn size(&self) -> usize {
        0
    }
}

impl Found for (Key<'static>, Value) {
    fn key(&self) -> &Key<'static> {
        &self.0
    }

    fn size(&self) -> usize {
        match &self.1 {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes)
            | Value::Packed(bytes)
            | Value::Pickle { bytes, .. }
            | Value::Unknown { bytes, .. } => bytes.len(),
            Value::Encoded(_) => BYTES / 64,
            _ => 0,
        }
    }
}

/// The walks over all shards, by their numbers.
pub(super) struct Walk<I, T> {
    shards: Vec<Source<I, T>>,
    /// Whether the shards are merged by key instead of walked one by one.
    merge: Option<bool>,
    ready: VecDeque<(usize, T)>,
}

struct Source<I, T> {
    index: usize,
    found: I,
    next: Option<T>,
}

impl<T: Found, I: Iterator<Item = dolium::Result<T>>> Walk<I, T> {
    /// Walks the shards in the order given, or merges them: `Some(true)` for descending keys.
    fn new(shards: Vec<(usize, I)>, merge: Option<bool>) -> Self {
        let shards: Vec<_> =
            shards.into_iter().map(|(index, found)| Source { index, found, next: None }).collect();
        let merge = merge.filter(|_| shards.len() > 1);
        Self { shards, merge, ready: VecDeque::new() }
    }

    fn fill(&mut self) -> dolium::Result<()> {
        let mut size = 0;
        while self.ready.len() < BATCH && size < BYTES {
            let next = match self.merge {
                None => self.chained()?,
                Some(descending) => self.merged(descending)?,
            };
            let Some(next) = next else { break };
            size += next.1.size();
            self.ready.push_back(next);
        }
        Ok(())
    }

    fn chained(&mut self) -> dolium::Result<Option<(usize, T)>> {
        while let Some(source) = self.shards.first_mut() {
            if let Some(found) = source.found.next().transpose()? {
                return Ok(Some((source.index, found)));
            }
            self.shards.remove(0);
        }
        Ok(None)
    }

    fn merged(&mut self, descending: bool) -> dolium::Result<Option<(usize, T)>> {
        for source in &mut self.shards {
            if source.next.is_none() {
                source.next = source.found.next().transpose()?;
            }
        }
        self.shards.retain(|source| source.next.is_some());
        let compare = |a: &&mut Source<I, T>, b: &&mut Source<I, T>| {
            let order = order(a.next.as_ref().map(T::key), b.next.as_ref().map(T::key));
            if descending { order.reverse() } else { order }
        };
        let first = self.shards.iter_mut().min_by(compare);
        Ok(first.and_then(|source| source.next.take().map(|found| (source.index, found))))
    }
}

/// The order of SQLite: numbers, text, then bytes.
fn order(a: Option<&Key<'_>>, b: Option<&Key<'_>>) -> std::cmp::Ordering {
    use std::cmp::Ordering::Equal;
    let (Some(a), Some(b)) = (a, b) else { return Equal };
    let rank = |key: &Key<'_>| match key {
        Key::Int(_) | Key::Float(_) => 0,
        Key::Text(_) => 1,
        _ => 2,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "only the order of keys in different shards depends on it"
    )]
    match (a, b) {
        (Key::Int(a), Key::Int(b)) => a.cmp(b),
        (Key::Float(a), Key::Float(b)) => a.total_cmp(b),
        (Key::Int(a), Key::Float(b)) => (*a as f64).total_cmp(b),
        (Key::Float(a), Key::Int(b)) => a.total_cmp(&(*b as f64)),
        (Key::Text(a), Key::Text(b)) => a.cmp(b),
        (Key::Bytes(a) | Key::Pickle(a), Key::Bytes(b) | Key::Pickle(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The next that a walk has found. `None` at its end. The walk is locked only here, and never waited for.
fn next<I, T>(py: Python<'_>, walk: &Mutex<Walk<I, T>>) -> PyResult<Option<(usize, T)>>
where
    I: Iterator<Item = dolium::Result<T>> + Send,
    T: Found + Send,
{
    let mut walk = match walk.try_lock() {
        Ok(walk) => walk,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err(PyValueError::new_err("the iterator is in use by another thread"));
        }
    };
    if walk.ready.is_empty() {
        let filled = &mut *walk;
        // What was found before a failure comes first, and the failure with the next call.
        enter::enter(py, || filled.fill())?;
    }
    Ok(walk.ready.pop_front())
}

impl Inner {
    /// The object of a key that a walk has found. `None`: there is no proof of it, and it must not hide all others.
    fn found_key<'py>(
        &self,
        py: Python<'py>,
        shard: usize,
        key: &Key<'_>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shard = &self.shared.shards[shard];
        let trust = self.shared.trust;
        let object = match &shard.custom {
            Some(custom) => custom.key_back(py, shard.cache(false), key, trust),
            None => plain::key(py, shard.cache(false), key, trust),
        };
        match object {
            Err(refusal) if error::is_untrusted(py, &refusal) => self.skip(py, &refusal).map(|()| None),
            other => other.map(Some),
        }
    }

    fn skip(&self, py: Python<'_>, refusal: &PyErr) -> PyResult<()> {
        if self.shared.warned.fetch_add(1, Ordering::Relaxed) == 0 {
            let directory = self.shared.shards[0].cache(false).directory().display().to_string();
            let why = refusal.value(py).to_string();
            let message = format!("{directory}: a key is left out of the iteration: {why}");
            error::warn_untrusted(py, &message)?;
        }
        Ok(())
    }
}

/// The keys of a cache.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct KeyIterator {
    walk: Mutex<Walk<Keys, Key<'static>>>,
    inner: Inner,
}

impl KeyIterator {
    /// Walks the shards in the order given, or merges them: `Some(true)` for descending keys.
    pub fn new(inner: &Inner, shards: Vec<(usize, Keys)>, merge: Option<bool>) -> Self {
        Self { walk: Mutex::new(Walk::new(shards, merge)), inner: inner.clone() }
    }
}

#[pymethods]
impl KeyIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        while let Some((shard, key)) = next(py, &self.walk)? {
            if let Some(object) = self.inner.found_key(py, shard, &key)? {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }
}

/// The entries of a cache, or their values.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct EntryIterator {
    entries: Entries,
    inner: Inner,
    with_keys: bool,
}

/// Where entries come from.
pub(super) enum Entries {
    Walk(Mutex<Walk<Items, (Key<'static>, Value)>>),
    /// A `Disk` of the user's reads each value by its key.
    Custom(KeyIterator),
}

impl Entries {
    pub fn of(shards: Vec<(usize, Items)>, merge: Option<bool>) -> Self {
        Self::Walk(Mutex::new(Walk::new(shards, merge)))
    }
}

/// A key, if it is wanted, and its value.
type Loaded<'py> = (Option<Bound<'py, PyAny>>, Bound<'py, PyAny>);

impl EntryIterator {
    pub(super) fn new(inner: &Inner, entries: Entries, with_keys: bool) -> Self {
        Self { entries, inner: inner.clone(), with_keys }
    }

    /// The next entry whose key and value may be loaded.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Loaded<'py>>> {
        match &self.entries {
            Entries::Walk(walk) => {
                while let Some((shard, (key, value))) = next(py, walk)? {
                    let mut object = None;
                    if self.with_keys {
                        object = self.inner.found_key(py, shard, &key)?;
                        if object.is_none() {
                            continue;
                        }
                    }
                    if let Some(value) = self.inner.unless_refused(py, self.inner.load(py, value))? {
                        return Ok(Some((object, value)));
                    }
                }
            }
            Entries::Custom(keys) => {
                while let Some(key) = keys.__next__(py)? {
                    if let Some(found) = self.inner.find(&key, false, true)? {
                        return Ok(Some((Some(key), found.value)));
                    }
                }
            }
        }
        Ok(None)
    }
}

#[pymethods]
impl EntryIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((key, value)) = self.next(py)? else { return Ok(None) };
        match key.filter(|_| self.with_keys) {
            Some(key) => (key, value).into_bound_py_any(py).map(Some),
            None => Ok(Some(value)),
        }
    }
}
