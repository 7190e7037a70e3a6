//! Owns [`KeyIterator`]: keys of one shard after another, or merged in sort order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use dolium::{Key, Keys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::store::Inner;
use crate::{enter, error, plain};

/// Keys that are fetched at once.
const BATCH: usize = 256;

/// The keys of a cache.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct KeyIterator {
    /// Taken out while a key is fetched, so that no lock is held meanwhile.
    walk: Mutex<Option<Walk>>,
    inner: Inner,
}

struct Walk {
    shards: Vec<Source>,
    /// Whether the shards are merged by key instead of walked one by one.
    merge: Option<bool>,
    ready: VecDeque<(usize, Key<'static>)>,
}

struct Source {
    index: usize,
    keys: Keys,
    next: Option<Key<'static>>,
}

impl KeyIterator {
    /// Walks the shards in the order given, or merges them: `Some(true)` for descending keys.
    pub fn new(inner: &Inner, shards: Vec<(usize, Keys)>, merge: Option<bool>) -> Self {
        let shards =
            shards.into_iter().map(|(index, keys)| Source { index, keys, next: None }).collect::<Vec<_>>();
        let merge = merge.filter(|_| shards.len() > 1);
        let walk = Walk { shards, merge, ready: VecDeque::new() };
        Self { walk: Mutex::new(Some(walk)), inner: inner.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Walk>> {
        self.walk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Walk {
    fn fill(&mut self) -> dolium::Result<()> {
        while self.ready.len() < BATCH {
            let next = match self.merge {
                None => self.chained()?,
                Some(descending) => self.merged(descending)?,
            };
            match next {
                Some(next) => self.ready.push_back(next),
                None => break,
            }
        }
        Ok(())
    }

    fn chained(&mut self) -> dolium::Result<Option<(usize, Key<'static>)>> {
        while let Some(source) = self.shards.first_mut() {
            if let Some(key) = source.keys.next().transpose()? {
                return Ok(Some((source.index, key)));
            }
            self.shards.remove(0);
        }
        Ok(None)
    }

    fn merged(&mut self, descending: bool) -> dolium::Result<Option<(usize, Key<'static>)>> {
        for source in &mut self.shards {
            if source.next.is_none() {
                source.next = source.keys.next().transpose()?;
            }
        }
        self.shards.retain(|source| source.next.is_some());
        let compare = |a: &&mut Source, b: &&mut Source| {
            let order = order(a.next.as_ref(), b.next.as_ref());
            if descending { order.reverse() } else { order }
        };
        let first = self.shards.iter_mut().min_by(compare);
        Ok(first.and_then(|source| source.next.take().map(|key| (source.index, key))))
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

#[pymethods]
impl KeyIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            let Some(mut walk) = self.lock().take() else {
                return Err(PyValueError::new_err("the iterator is in use by another thread"));
            };
            let filled = if walk.ready.is_empty() { enter::enter(py, || walk.fill()) } else { Ok(()) };
            let next = walk.ready.pop_front();
            *self.lock() = Some(walk);
            filled?;
            let Some((shard, key)) = next else {
                return Ok(None);
            };
            let shard = &self.inner.shared.shards[shard];
            let trust = self.inner.shared.trust;
            let object = match &shard.custom {
                Some(custom) => custom.key_back(py, shard.cache(false), &key, trust),
                None => plain::key(py, shard.cache(false), &key, trust),
            };
            match object {
                // One key that nobody vouches for must not hide all the others.
                Err(refusal) if error::is_untrusted(py, &refusal) => self.skip(py, &refusal)?,
                other => return other.map(Some),
            }
        }
    }
}

impl KeyIterator {
    fn skip(&self, py: Python<'_>, refusal: &PyErr) -> PyResult<()> {
        if self.inner.shared.warned.fetch_add(1, Ordering::Relaxed) == 0 {
            let directory = self.inner.shared.shards[0].cache(false).directory().display().to_string();
            let why = refusal.value(py).to_string();
            let message = format!("{directory}: a key is left out of the iteration: {why}");
            error::warn_untrusted(py, &message)?;
        }
        Ok(())
    }
}
