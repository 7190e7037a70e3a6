//! Owns looking up: `get`, `read`, `in`, `[]`, `info`, and what happens to values that are not trusted.

use std::cmp::Ordering::Equal;
use std::iter::once;
use std::sync::atomic::Ordering;

use dolium::host::{EntryRef, Located, Unanswered};
use dolium::{Entry, Scalar, Value, host};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::shown::Shown;
use super::value_file::find_file;
use super::{Flag, Inner, Seconds, Shard, Store};
use crate::info::Info;
use crate::value::{Incoming, unscalar};
use crate::{clock, error, key, memory, reader};

/// A value, and what was asked for beside it.
pub(crate) struct Found<'py> {
    pub value: Bound<'py, PyAny>,
    pub expire_time: Option<f64>,
    pub tag: Scalar,
    pub store_time: f64,
}

/// What `get` was asked for.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub read: bool,
    pub expire_time: Flag,
    pub tag: Flag,
    pub retry: bool,
    pub max_age: Option<f64>,
}

impl Ask {
    /// The value alone, however old.
    #[inline]
    fn is_plain(self) -> bool {
        !(self.read || self.expire_time.0 || self.tag.0 || self.max_age.is_some())
    }
}

/// What the hot tier says of a key.
pub(super) enum Memory<T> {
    /// There is an entry, or none.
    Knows(Option<T>),
    /// The lookup goes on without the interpreter.
    Asks(Unanswered),
}

impl<'py> Found<'py> {
    /// The value alone, or a tuple with what was asked for.
    pub fn answer(self, expire_time: Flag, tag: Flag) -> PyResult<Bound<'py, PyAny>> {
        let py = self.value.py();
        beside(py, self.value, self.expire_time, &self.tag, expire_time, tag)
    }
}

/// `value`, or a tuple of it with its expiry, its tag, or both.
pub(crate) fn beside<'py>(
    py: Python<'py>,
    value: Bound<'py, PyAny>,
    expires: Option<f64>,
    tagged: &Scalar,
    expire_time: Flag,
    tag: Flag,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match (expire_time.0, tag.0) {
        (false, false) => value,
        (true, false) => (value, expires).into_pyobject(py)?.into_any(),
        (false, true) => (value, unscalar(py, tagged)?).into_pyobject(py)?.into_any(),
        (true, true) => (value, expires, unscalar(py, tagged)?).into_pyobject(py)?.into_any(),
    })
}

/// `default` in the shape that a value would have.
pub(crate) fn nothing<'py>(
    py: Python<'py>,
    default: Option<Bound<'py, PyAny>>,
    expire_time: Flag,
    tag: Flag,
) -> PyResult<Bound<'py, PyAny>> {
    let default = default.unwrap_or_else(|| py.None().into_bound(py));
    beside(py, default, None, &Scalar::Null, expire_time, tag)
}

impl Inner {
    /// Turns a value into an object. A refused pickle raises `UntrustedValueError`.
    pub fn load<'py>(&self, py: Python<'py>, value: Value) -> PyResult<Bound<'py, PyAny>> {
        match Incoming::of(py, value)? {
            Incoming::Object(object) => Ok(object),
            Incoming::Encoded(encoded) => self.decoded(py, encoded),
            Incoming::Pickle { bytes, signed } => {
                self.unpickled(py, &bytes, signed, || Ok(memory::bytes(py, &bytes)?.into_any()))
            }
        }
    }

    /// The same of a value that may lie in a file. `None` if that is not what it should be.
    pub(super) fn load_located<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        located: Located,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match located {
            Located::Value(value) => self.load(py, value).map(Some),
            Located::File { file, size, mode } => match reader::whole(py, file, size)? {
                Some(bytes) => self.load_file(py, (shard, key), bytes, mode),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The answer of the hot tier, for which the interpreter need not be left: a value, or that there is none, and what
    /// `beside` takes of its entry.
    #[inline]
    pub(super) fn try_get<'py, B>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        retry: bool,
        beside: impl FnOnce(&EntryRef<'_>) -> B,
    ) -> PyResult<Memory<(Bound<'py, PyAny>, B)>> {
        let is_told = clock::was_told() && clock::follow(py);
        let mut shown = None;
        let cache = shard.cache(retry);
        // Written here at once: what is passed back is moved through memory several times.
        let answer = host::try_get(cache, key, |entry| {
            // Only here, so that a hit that does not expire pays nothing.
            let is_sure = entry.expire_time().is_none() || is_told || !clock::follow(py);
            is_sure.then(|| shown = Some((Shown::of(py, entry.value), beside(&entry))))
        });
        Ok(match shown {
            Some((Shown::Object(object), beside)) => Memory::Knows(Some((object, beside))),
            Some((Shown::Pickle(bytes, signed), beside)) => {
                let object = self.unless_refused(py, self.loads(signed).get(py)?.call1((bytes,)))?;
                Memory::Knows(object.map(|object| (object, beside)))
            }
            None => answer.map_or_else(Memory::Asks, |_| Memory::Knows(None)),
        })
    }

    /// The text that a key is, and the only shard, if keys need no conversion.
    #[inline]
    fn plain_text<'a>(&'a self, object: &'a Bound<'_, PyAny>) -> Option<(&'a Shard, &'a str)> {
        match &*self.shared.shards {
            [only] if only.custom.is_none() => Some((only, key::text(object)?)),
            _ => None,
        }
    }

    // A call, so that the text is passed in registers.
    #[inline(never)]
    fn try_get_text<'py>(
        &self,
        py: Python<'py>,
        shard: &Shard,
        text: &str,
        retry: bool,
    ) -> PyResult<Memory<(Bound<'py, PyAny>, ())>> {
        self.try_get(py, (shard, &dolium::Key::from(text)), retry, |_| ())
    }

    /// `get` of what is no text, or where more than the value is asked for. The key is converted once.
    #[inline(never)]
    fn get_other<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        ask: Ask,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let found = match self.key(object) {
            Ok((shard, key)) if ask.is_plain() && shard.custom.is_none() => {
                return self.get_plain(py, (shard, &key), default, ask);
            }
            Ok((shard, key)) => self.find_in(object, (shard, &key), ask.read, ask.retry),
            Err(error) => Err(error),
        };
        self.answer(py, found, default, ask)
    }

    /// `get` of the value alone.
    #[inline]
    fn get_plain<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        default: Option<Bound<'py, PyAny>>,
        ask: Ask,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = match self.try_get(py, (shard, key), ask.retry, |_| ()) {
            Ok(Memory::Knows(answer)) => return Ok(alone(py, answer, default)),
            Ok(Memory::Asks(unanswered)) => self.find_after(py, (shard, key), unanswered, ask.retry),
            Err(error) => Err(error),
        };
        self.answer(py, found, default, ask)
    }

    /// `get` of a text to which the hot tier has no answer.
    // Apart, so that the quick way is short.
    #[inline(never)]
    fn get_text_after<'py>(
        &self,
        py: Python<'py>,
        (shard, text): (&Shard, &str),
        unanswered: PyResult<Unanswered>,
        default: Option<Bound<'py, PyAny>>,
        ask: Ask,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = dolium::Key::from(text);
        let found =
            unanswered.and_then(|unanswered| self.find_after(py, (shard, &key), unanswered, ask.retry));
        self.answer(py, found, default, ask)
    }

    /// What `get` returns for what was found.
    pub(super) fn answer<'py>(
        &self,
        py: Python<'py>,
        found: PyResult<Option<Found<'py>>>,
        default: Option<Bound<'py, PyAny>>,
        ask: Ask,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = match found {
            Err(error) if self.lenient && error::is_contention(py, &error) => None,
            other => other?,
        };
        let fresh = |found: &Found<'_>| {
            ask.max_age.is_none_or(|limit| dolium::Clock::System.now() - found.store_time <= limit)
        };
        match found.filter(fresh) {
            Some(found) => found.answer(ask.expire_time, ask.tag),
            None => nothing(py, default, ask.expire_time, ask.tag),
        }
    }

    /// The value of a key; `None` if there is none, or if it was refused.
    pub fn find<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        read: bool,
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let (shard, key) = self.key(object)?;
        self.find_in(object, (shard, &key), read, retry)
    }

    /// The same where the key is converted.
    fn find_in<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        read: bool,
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let py = object.py();
        if let Some(custom) = &shard.custom {
            let found = custom.find(self, shard, object, key, read, retry);
            return Ok(self.unless_refused(py, found)?.flatten());
        }
        if read {
            return match find_file(py, shard, key, retry)? {
                Some(found) => Ok(Some(found)),
                None => self.find_for_reading(py, (shard, key), retry),
            };
        }
        let beside = |entry: &EntryRef<'_>| (entry.expire_time(), entry.tag(), entry.store_time());
        match self.try_get(py, (shard, key), retry, beside)? {
            Memory::Knows(answer) => Ok(answer.map(|(value, (expire_time, tag, store_time))| Found {
                value,
                expire_time,
                tag,
                store_time,
            })),
            Memory::Asks(unanswered) => self.find_after(py, (shard, key), unanswered, retry),
        }
    }

    /// Goes on, without the interpreter, where the hot tier has no answer.
    fn find_after<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        unanswered: Unanswered,
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let located = shard.enter(py, retry, |cache| host::locate_after(cache, key, unanswered))?;
        let Some(Entry { value, expire_time, tag, store_time, .. }) = located else { return Ok(None) };
        let loaded = self.load_located(py, (shard, key), value);
        let value = self.unless_refused(py, loaded)?.flatten();
        Ok(value.map(|value| Found { value, expire_time, tag, store_time }))
    }

    /// An entry with its value as an object; `None` if that was refused.
    pub(super) fn found<'py>(&self, py: Python<'py>, entry: Entry) -> PyResult<Option<Found<'py>>> {
        let Entry { value, expire_time, tag, store_time, .. } = entry;
        let value = self.unless_refused(py, self.load(py, value))?;
        Ok(value.map(|value| Found { value, expire_time, tag, store_time }))
    }
}

/// The value alone, or the default.
#[inline]
fn alone<'py>(
    py: Python<'py>,
    answer: Option<(Bound<'py, PyAny>, ())>,
    default: Option<Bound<'py, PyAny>>,
) -> Bound<'py, PyAny> {
    let value = answer.map(|(value, ())| value).or(default);
    value.unwrap_or_else(|| py.None().into_bound(py))
}

/// The names and values of keyword arguments, one after the other, in order of the names.
fn in_order_of_names<'py>(kwargs: &Bound<'py, PyDict>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if kwargs.is_empty() {
        return Ok(Vec::new());
    }
    let mut named: Vec<_> = kwargs.iter().collect();
    let mut compared = Ok(());
    named.sort_by(|(one, _), (other, _)| {
        one.compare(other).unwrap_or_else(|error| {
            compared = Err(error);
            Equal
        })
    });
    compared.map(|()| named.into_iter().flat_map(<[_; 2]>::from).collect())
}

#[pymethods]
impl Store {
    /// Return the value of `key`, or `default` if there is none or it has expired.
    ///
    /// `read=True` returns an open binary file for values that are bytes. `expire_time=True` and
    /// `tag=True` return a tuple with the time of expiry (seconds since 1970, or None) and the tag.
    /// `max_age` treats a value as missing if it was stored more than so many seconds ago.
    /// `retry=True` waits without a limit instead of raising `Timeout`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set("a", 1, tag="x")
    /// True
    /// >>> cache.get("a"), cache.get("b", default=0), cache.get("a", tag=True)
    /// (1, 0, (1, 'x'))
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, default=None, read=Flag(false), expire_time=Flag(false), tag=Flag(false), retry=Flag(false), *, max_age=None),
           text_signature = "($self, key, default=None, read=False, expire_time=False, tag=False, retry=False, *, max_age=None)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        read: Flag,
        expire_time: Flag,
        tag: Flag,
        retry: Flag,
        max_age: Option<Seconds>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let max_age = max_age.map(|Seconds(age)| age);
        let ask = Ask { read: read.0, expire_time, tag, retry: retry.0, max_age };
        let py = key.py();
        // What is common is to be fast.
        let plain = if ask.is_plain() { inner.plain_text(key) } else { None };
        let Some((shard, text)) = plain else {
            return inner.get_other(key, default, ask);
        };
        let unanswered = match inner.try_get_text(py, shard, text, ask.retry) {
            Ok(Memory::Knows(answer)) => return Ok(alone(py, answer, default)),
            Ok(Memory::Asks(unanswered)) => Ok(unanswered),
            Err(error) => Err(error),
        };
        inner.get_text_after(py, (shard, text), unanswered, default, ask)
    }

    /// Return the value of the key that `memoize` makes of a name and the arguments of a call, or `default`.
    #[pyo3(signature = (name, args, kwargs, default, /))]
    fn _get_call<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (inner, py) = (self.inner()?, name.py());
        let ask = Ask { read: false, expire_time: Flag(false), tag: Flag(false), retry: true, max_age: None };
        let (none, named) = (py.None().into_bound(py), in_order_of_names(kwargs)?);
        let positional = || once(name.as_borrowed()).chain(args.iter_borrowed());
        let items =
            || positional().chain(once(none.as_borrowed())).chain(named.iter().map(Bound::as_borrowed));
        if let Some((shard, key)) = inner.key_of_items(py, items(), args.len() + 2 + named.len())? {
            return inner.get_plain(py, (shard, &key), Some(default), ask);
        }
        let key = PyTuple::new(py, items().map(Borrowed::to_owned).collect::<Vec<_>>())?;
        inner.get_other(key.as_any(), Some(default), ask)
    }

    /// Return the value of `key` as an open binary file.
    ///
    /// >>> import dolium, io
    /// >>> cache = dolium.Cache()
    /// >>> cache.set("a", io.BytesIO(b"abc"), read=True)
    /// True
    /// >>> with cache.read("a") as file:
    /// ...     file.read()
    /// b'abc'
    ///
    /// Raises:
    ///     KeyError: There is no such key.
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, retry=Flag(false)), text_signature = "($self, key, retry=False)")]
    fn read<'py>(&self, key: &Bound<'py, PyAny>, retry: Flag) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let found = inner.find(key, true, retry.0 || inner.lenient)?;
        found.map(|found| found.value).ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    /// Return the facts that are stored about the entry of `key`, or None if there is no such key.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["a"] = b"12345"
    /// >>> cache.info("a").size
    /// 6
    #[pyo3(signature = (key, *, retry=Flag(false)), text_signature = "($self, key, *, retry=False)")]
    fn info(&self, key: &Bound<'_, PyAny>, retry: Flag) -> PyResult<Option<Info>> {
        let (shard, stored) = self.inner()?.key(key)?;
        let info = shard.enter(key.py(), retry.0, |cache| cache.info(&stored))?;
        info.map(|info| Info::of(key.py(), info)).transpose()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.inner()?.find(key, false, true)?;
        found.map(|found| found.value).ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (shard, stored) = self.inner()?.key(key)?;
        clock::follow(key.py());
        match host::try_contains(shard.cache(true), &stored) {
            Some(answer) => Ok(answer),
            None => shard.enter(key.py(), true, |cache| cache.contains(&stored)),
        }
    }

    /// How many values were refused because nobody vouches for them.
    #[getter]
    fn _refused(&self) -> PyResult<u64> {
        Ok(self.inner()?.shared.refused.load(Ordering::Relaxed))
    }
}
