//! Owns [`Store`], the base class of `Cache` and `FanoutCache`: one directory, or several shards. Its
//! methods are spread over this folder by what they do.

mod bulk;
mod codec;
mod custom;
pub(crate) mod deferred;
mod deque;
pub(crate) mod flight;
mod frame;
mod inline;
mod iterator;
mod lock;
mod many;
mod open;
mod queue;
mod read;
mod recall;
mod shown;
mod sql;
mod transaction;
mod trusted;
mod upkeep;
mod value_file;
mod walk;
mod write;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dolium::raw::{Frame, Object};
use dolium::{Cache, Expiry, Key, PutOptions, Scalar, host};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDelta, PyDict, PyTuple};

use custom::Custom;

use crate::encoded::Made;
use crate::memory::Memory;
use crate::trust::Trust;
use crate::{context, enter, error, key, value};

pub(crate) use frame::Tally;
pub(crate) use iterator::{EntryIterator, KeyIterator};
pub(crate) use queue::QueueItem;
pub(crate) use read::Found;
pub(crate) use recall::Recall;
pub(crate) use sql::{Connection, Cursor};
pub(crate) use transaction::Transaction;
pub(crate) use write::{How, no_number};

/// A directory of entries, or several as shards. The base class of `Cache` and `FanoutCache`.
#[pyclass(frozen, subclass, dict, weakref, module = "dolium._dolium", name = "Cache")]
pub(crate) struct Store {
    inner: OnceLock<Inner>,
}

/// What an open store is made of.
#[derive(Clone)]
pub(crate) struct Inner {
    pub shared: Arc<Shared>,
    /// Whether timeouts count as misses, as `FanoutCache` wants it.
    pub lenient: bool,
    /// Whether a refused value raises instead of counting as a miss.
    pub strict: bool,
}

/// What a store and its strict twin have together.
pub(crate) struct Shared {
    pub shards: Vec<Shard>,
    pub trust: Trust,
    /// How values are stored for which no other codec is passed.
    pub codec: Option<Py<PyAny>>,
    /// The setting `disk_pickle_protocol`, negative until it was read.
    protocol: AtomicI64,
    /// Values that were refused.
    pub refused: AtomicU64,
    /// A key that was refused has been warned of.
    pub warned: AtomicU64,
}

/// One directory.
pub(crate) struct Shard {
    /// Waits for other writers as long as `timeout` says.
    timely: Cache,
    /// Waits for ever.
    patient: Cache,
    /// Waits for ever, and its reads do not count.
    quiet: Cache,
    /// Converts keys and values, if it is not exactly `Disk`.
    pub custom: Option<Custom>,
}

impl Shard {
    pub fn new(cache: &Cache, custom: Option<Custom>) -> Self {
        let patient = cache.with_wait(dolium::Wait::Forever);
        Self { timely: cache.clone(), quiet: patient.without_stats(), patient, custom }
    }

    /// The cache, with the wait that the caller asked for.
    pub fn cache(&self, retry: bool) -> &Cache {
        if retry { &self.patient } else { &self.timely }
    }

    /// The frame without its body, and the body's memory, of what a codec has made for a value file of its own.
    pub fn lent(&self, made: &Made<'_>) -> PyResult<Option<(Frame<'static>, Memory)>> {
        let lent = made.lent()?;
        Ok(lent.filter(|(_, memory)| host::is_filed(&self.timely, memory.length())))
    }

    /// Runs an operation detached from the interpreter, then shows what the engine warns of.
    pub fn enter<T: Send>(
        &self,
        py: Python<'_>,
        retry: bool,
        f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
    ) -> PyResult<T> {
        on(py, self.cache(retry), f)?.map_err(|error| error::raise(py, error))
    }

    /// The same for callers that look at the engine's error.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        retry: bool,
        f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
    ) -> PyResult<dolium::Result<T>> {
        on(py, self.cache(retry), f)
    }

    /// The same as `enter` for an operation that writes.
    pub fn change<T: Send>(
        &self,
        py: Python<'_>,
        retry: bool,
        f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
    ) -> PyResult<T> {
        self.wait_turn(py, retry)?;
        self.enter(py, retry, f)
    }

    /// Lets another greenlet of this thread end its transaction, which it could not while the engine waits for it. Before
    /// whatever writes; where that is in vain, the engine says so.
    pub fn wait_turn(&self, py: Python<'_>, retry: bool) -> PyResult<()> {
        let cache = self.cache(retry);
        if host::is_held_by_neighbor(cache) { context::give_way(py, cache) } else { Ok(()) }
    }

    /// The same for a step of a transaction, which waits for nobody and whose reads do not count.
    pub fn step<T: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
    ) -> PyResult<T> {
        on(py, &self.quiet, f)?.map_err(|error| error::raise(py, error))
    }
}

fn on<T: Send>(
    py: Python<'_>,
    cache: &Cache,
    f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
) -> PyResult<dolium::Result<T>> {
    on_as(py, enter::calling(py), cache, f)
}

/// The same for the context of a number.
fn on_as<T: Send>(
    py: Python<'_>,
    context: u32,
    cache: &Cache,
    f: impl FnOnce(&Cache) -> dolium::Result<T> + Send,
) -> PyResult<dolium::Result<T>> {
    let mut warnings = Vec::new();
    let result = enter::run_as(py, context, || {
        let result = f(cache);
        warnings = cache.take_warnings();
        result
    });
    for warning in &warnings {
        error::tell(py, warning)?;
    }
    Ok(result)
}

impl Shared {
    /// The setting `disk_pickle_protocol`, if it was read before.
    fn known_protocol(&self) -> Option<i64> {
        Some(self.protocol.load(Ordering::Relaxed)).filter(|known| *known >= 0)
    }
}

impl Inner {
    /// The pickle protocol of keys and values, as it is set for the directory.
    pub fn protocol(&self, py: Python<'_>) -> PyResult<i64> {
        if let Some(known) = self.shared.known_protocol() {
            return Ok(known);
        }
        let setting =
            self.shared.shards[0].enter(py, false, |cache| cache.setting("disk_pickle_protocol"))?;
        let protocol = match setting {
            // As Python has it, negative numbers mean the highest protocol.
            Some(Scalar::Int(number)) if (0..=5).contains(&number) => number,
            _ => 5,
        };
        self.shared.protocol.store(protocol, Ordering::Relaxed);
        Ok(protocol)
    }

    /// Forgets the protocol: the setting was changed.
    pub fn forget_protocol(&self) {
        self.shared.protocol.store(-1, Ordering::Relaxed);
    }

    /// The key that an object is, and the shard it belongs to.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "else a key is moved through memory, which costs as much as the rest"
    )]
    pub fn key<'a>(&'a self, object: &'a Bound<'_, PyAny>) -> PyResult<(&'a Shard, Key<'a>)> {
        match &*self.shared.shards {
            [only] if only.custom.is_none() => Ok((only, self.key_of(object)?)),
            shards => self.shard_and_key(shards, object),
        }
    }

    /// The key that a tuple of these items is, and its shard, without the tuple. None if the tuple itself is needed.
    #[inline]
    pub fn key_of_items<'a, 'py: 'a>(
        &self,
        py: Python<'py>,
        items: impl Iterator<Item = Borrowed<'a, 'py, PyAny>>,
        count: usize,
    ) -> PyResult<Option<(&Shard, Key<'static>)>> {
        let shards = &*self.shared.shards;
        if shards[0].custom.is_some() {
            return Ok(None);
        }
        let Some(key) = key::of_items(self.protocol(py)?, items, count)? else { return Ok(None) };
        Ok(Some(match shards {
            [only] => (only, key),
            _ => (&shards[key.shard_hash() as usize % shards.len()], key),
        }))
    }

    #[inline(never)]
    fn shard_and_key<'a>(
        &'a self,
        shards: &'a [Shard],
        object: &'a Bound<'_, PyAny>,
    ) -> PyResult<(&'a Shard, Key<'a>)> {
        if let Some(custom) = &shards[0].custom {
            let (index, key) = custom.key_and_index(object, self)?;
            return Ok((&shards[index], key));
        }
        let key = self.key_of(object)?;
        let index = key.shard_hash() as usize % shards.len();
        Ok((&shards[index], key))
    }

    /// The key that a Python object is. Borrows text and bytes from it.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "else a key is moved through memory, which costs as much as the rest"
    )]
    fn key_of<'a>(&self, object: &'a Bound<'_, PyAny>) -> PyResult<Key<'a>> {
        match key::text_or_bytes(object) {
            Some(key) => Ok(key),
            None => self.key_of_other(object),
        }
    }

    #[inline(never)]
    fn key_of_other(&self, object: &Bound<'_, PyAny>) -> PyResult<Key<'static>> {
        if let Some(number) = key::number(object) {
            return Ok(number);
        }
        let py = object.py();
        let key = key::pickled(object, self.protocol(py)?)?;
        if let Key::Object(object) = &key {
            return Ok(self.stored_before(py, object)?.unwrap_or(key));
        }
        Ok(key)
    }

    /// The form of a key under which diskcache or an earlier version stored it, if an entry lies there and none under the
    /// key's own. Whatever cannot be told is told by the operation itself.
    fn stored_before(&self, py: Python<'_>, object: &Arc<Object>) -> PyResult<Option<Key<'static>>> {
        if !object.may_differ() {
            return Ok(None);
        }
        let shards = &self.shared.shards;
        let is_there = |key: &Key<'_>| shards[key.shard_hash() as usize % shards.len()].timely.contains(key);
        let found = enter::run(py, || {
            if is_there(&Key::Object(Arc::clone(object))).unwrap_or(true) {
                return Ok(None);
            }
            Ok(object.former().into_iter().find(|key| is_there(key).unwrap_or(false)))
        });
        found.map_err(|error| error::raise(py, error))
    }

    /// The only shard of a `Cache`; queues know no others.
    pub fn only(&self) -> PyResult<&Shard> {
        match &*self.shared.shards {
            [shard] => Ok(shard),
            _ => Err(PyTypeError::new_err(
                "a FanoutCache has no queues and no order of its own; use its deque(), index() or cache()",
            )),
        }
    }

    /// The result of an operation, or `missed` if it timed out and nobody insisted.
    pub fn soften<T>(
        &self,
        py: Python<'_>,
        retry: bool,
        result: PyResult<T>,
        missed: impl FnOnce() -> T,
    ) -> PyResult<T> {
        match result {
            Err(error) if self.lenient && !retry && error::is_timeout(py, &error) => Ok(missed()),
            other => other,
        }
    }
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        // Subclasses have constructors of their own, which call `_open`.
        Self { inner: OnceLock::new() }
    }
}

impl Store {
    pub fn inner(&self) -> PyResult<&Inner> {
        self.inner.get().ok_or_else(|| {
            PyRuntimeError::new_err("the cache is not open: its class did not call Cache.__init__")
        })
    }

    fn set_inner(&self, inner: Inner) -> PyResult<()> {
        self.inner.set(inner).map_err(|_| {
            PyRuntimeError::new_err("the cache is open already; make a new object for another directory")
        })
    }
}

/// What is stored beside a value, from the arguments `expire` (seconds) and `tag`.
pub(crate) fn put(expire: Option<Seconds>, tag: Option<&Bound<'_, PyAny>>) -> PyResult<PutOptions> {
    let mut put = PutOptions::new();
    if let Some(Seconds(seconds)) = expire {
        put.expire = Expiry::After(seconds);
    }
    if let Some(tag) = tag {
        put.tag = value::scalar_of("the tag", tag)?;
    }
    Ok(put)
}

/// An argument that counts as true or false, whatever it is.
#[derive(Clone, Copy)]
pub(crate) struct Flag(pub bool);

impl<'a, 'py> FromPyObject<'a, 'py> for Flag {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(object.is_truthy()?))
    }
}

/// An argument that is a time in seconds: a number, or a `timedelta`.
#[derive(Clone, Copy)]
pub(crate) struct Seconds(pub f64);

impl<'a, 'py> FromPyObject<'a, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract() {
            Ok(seconds) => Ok(Self(seconds)),
            Err(error) => Self::of_other(&object, error),
        }
    }
}

impl Seconds {
    #[cold]
    fn of_other(object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<Self> {
        let py = object.py();
        if object.is_instance_of::<PyDelta>() {
            return object.call_method0("total_seconds")?.extract().map(Self);
        }
        if !error.is_instance_of::<PyTypeError>(py) {
            return Err(error);
        }
        let kind = object.get_type().name()?;
        // A plain TypeError, to which PyO3 adds the name of the argument.
        Err(PyTypeError::new_err(format!("a number of seconds, a timedelta or None is needed, not {kind}")))
    }
}

/// An argument that may be left out, which is not the same as None.
pub(crate) enum Argument<'py> {
    Missing,
    Given(Bound<'py, PyAny>),
}

impl<'py> Argument<'py> {
    pub fn given(self) -> Option<Bound<'py, PyAny>> {
        match self {
            Self::Missing => None,
            Self::Given(object) => Some(object),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Argument<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Given(object.to_owned()))
    }
}
