//! Owns changing one key: `set`, `add`, `touch`, `incr`, `decr`, `delete`, `pop`.

use dolium::{Cache, Entry, Error, Expiry, Number, Payload, PutOptions, host};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

use super::read::nothing;
use super::{Argument, Flag, Found, Inner, Seconds, Store, put};
use crate::memory::{self, Memory};
use crate::reader::PyReader;
use crate::value::Outgoing;
use crate::{clock, error};

/// `set` or `add`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Replace,
    Add,
}

impl Inner {
    /// Stores a value. Returns whether it was stored.
    #[expect(clippy::too_many_arguments, reason = "what `set` is told")]
    pub fn store(
        &self,
        object: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        options: &PutOptions,
        read: bool,
        how: How,
        retry: bool,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let py = object.py();
        let codec = self.codec(py, codec)?;
        let (shard, key) = self.key(object)?;
        let put = |cache: &Cache, payload: Payload<'_>| match how {
            How::Replace => cache.set_with(&key, payload, options),
            How::Add => cache.add(&key, payload, options),
        };
        let result = if let Some(custom) = &shard.custom {
            custom.store(self, shard, object, &key, value, options, read, how, retry)
        } else if read && !is_plain(value) {
            let mut reader = PyReader::new(value);
            shard.change(py, retry, |cache| put(cache, Payload::Reader(&mut reader)))
        } else if codec.is_none()
            && memory::is_memory(value)
            && let Some(memory) = Memory::of(std::iter::once(value))?
            && host::is_filed(shard.cache(retry), memory.length())
        {
            let mut reader = memory.reader(py);
            shard.change(py, retry, |cache| put(cache, Payload::Reader(&mut reader)))
        } else {
            let outgoing = Outgoing::by(codec.as_ref().map(|codec| (codec, self.peers(""))), value, || {
                self.protocol(py)
            })
            .map_err(|error| error::unstorable(Some(object), py, error))?;
            if let Outgoing::Made(made) = &outgoing
                && let Some((frame, memory)) = shard.lent(made)?
            {
                let (length, mut reader) = (memory.length(), memory.reader(py));
                let stored = shard.change(py, retry, |cache| {
                    put(cache, Payload::Framed { frame, length, body: &mut reader })
                });
                return self.soften(py, retry, stored, || false);
            }
            if let Outgoing::Parts(parts) = &outgoing
                && let Some(memory) = parts.memory()?
                && host::is_filed(shard.cache(retry), memory.length())
            {
                let mut reader = memory.reader(py);
                let stored = shard.change(py, retry, |cache| put(cache, Payload::PickleReader(&mut reader)));
                return self.soften(py, retry, stored, || false);
            }
            let loan = outgoing.lend()?;
            clock::follow(py);
            if how == How::Replace && host::try_set(shard.cache(retry), &key, loan.clone().payload(), options)
            {
                return Ok(true);
            }
            shard.change(py, retry, |cache| put(cache, loan.payload()))
        };
        self.soften(py, retry, result, || false)
    }

    /// Removes a key. Returns whether it was there.
    pub fn remove(&self, object: &Bound<'_, PyAny>, retry: bool) -> PyResult<bool> {
        let py = object.py();
        let (shard, key) = self.key(object)?;
        clock::follow(py);
        let result = match &shard.custom {
            Some(custom) if custom.removes => custom.remove(py, shard, &key, retry),
            _ if host::try_delete(shard.cache(retry), &key) => Ok(true),
            _ => shard.change(py, retry, |cache| cache.delete(&key)),
        };
        self.soften(py, retry, result, || false)
    }

    fn take<'py>(&self, object: &Bound<'py, PyAny>, retry: bool) -> PyResult<Option<Found<'py>>> {
        let py = object.py();
        let (shard, key) = self.key(object)?;
        if let Some(custom) = &shard.custom {
            let found = custom.pop(self, shard, object, &key, retry);
            return Ok(self.unless_refused(py, found)?.flatten());
        }
        let sure = self.is_sure();
        shard.wait_turn(py, retry)?;
        match shard.run(py, retry, |cache| host::pop_if(cache, &key, sure))? {
            Ok(None) => Ok(None),
            Ok(Some(Entry { value, expire_time, tag, store_time, .. })) => {
                let value = self.load_located(py, (shard, &key), value)?;
                Ok(value.map(|value| Found { value, expire_time, tag, store_time }))
            }
            // Only Python can say whether the value may be loaded, and then it is still there if not.
            Err(Error::Refused) => {
                let found = shard.transact(py, retry, || {
                    let Some(Entry { value, expire_time, tag, store_time, .. }) =
                        shard.step(py, |cache| cache.entry(&key))?
                    else {
                        return Ok(None);
                    };
                    let value = self.load(py, value)?;
                    shard.step(py, |cache| cache.delete(&key))?;
                    Ok(Some(Found { value, expire_time, tag, store_time }))
                });
                Ok(self.unless_refused(py, found)?.flatten())
            }
            Err(error) => Err(error::raise(py, error)),
        }
    }

    /// Adds to a number. Numbers that the engine cannot add are added by Python, in a transaction.
    fn add_number<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        delta: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
        options: &PutOptions,
        retry: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let (shard, key) = self.key(object)?;
        let initial = default.map(number);
        if shard.custom.is_none()
            && let (Some(delta), Some(initial)) = (number(delta), initial.map_or(Some(None), |n| n.map(Some)))
        {
            clock::follow(py);
            let quick = host::try_incr(shard.cache(retry), &key, delta);
            let sum = quick.map_or_else(
                || {
                    shard.wait_turn(py, retry)?;
                    shard.run(py, retry, |cache| cache.incr(&key, delta, initial, options))
                },
                |sum| Ok(Ok(sum)),
            );
            match sum? {
                Ok(Number::Int(sum)) => return Ok(sum.into_pyobject(py)?.into_any()),
                Ok(Number::Float(sum)) => return Ok(PyFloat::new(py, sum).into_any()),
                Err(Error::NotANumber | Error::Overflow) => {}
                Err(Error::Missing) => return Err(PyKeyError::new_err((object.clone().unbind(),))),
                Err(error) => return Err(error::raise(py, error)),
            }
        }
        shard.transact(py, retry, || {
            let found = match &shard.custom {
                Some(_) => super::custom::number(object, shard, &key)?,
                None => self.number(object, shard, &key)?,
            };
            let Some(found) = found else {
                let Some(default) = default else {
                    return Err(PyKeyError::new_err((object.clone().unbind(),)));
                };
                let sum = default.add(delta)?;
                self.store(
                    object,
                    &sum,
                    options,
                    false,
                    How::Replace,
                    true,
                    Some(&py.None().into_bound(py)),
                )?;
                return Ok(sum);
            };
            let expire = found.expire_time.map_or(Expiry::Never, Expiry::At);
            let options = PutOptions::new().expire(expire).tag(found.tag);
            let sum = found.value.add(delta)?;
            match &shard.custom {
                Some(_) => super::custom::store_number(py, shard, &key, &sum, &options)?,
                None => drop(self.store(
                    object,
                    &sum,
                    &options,
                    false,
                    How::Replace,
                    true,
                    Some(&py.None().into_bound(py)),
                )?),
            }
            Ok(sum)
        })
    }

    fn number<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        shard: &super::Shard,
        key: &dolium::Key<'_>,
    ) -> PyResult<Option<Found<'py>>> {
        let py = object.py();
        let Some(Entry { value, expire_time, tag, store_time, .. }) =
            shard.step(py, |cache| cache.entry(key))?
        else {
            return Ok(None);
        };
        let value = self.load(py, value)?;
        if !value.is_exact_instance_of::<PyInt>() && !value.is_exact_instance_of::<PyFloat>() {
            return Err(no_number(object, &value.get_type().name()?.to_string_lossy()));
        }
        Ok(Some(Found { value, expire_time, tag, store_time }))
    }
}

/// The error of adding to something else.
pub(crate) fn no_number(key: &Bound<'_, PyAny>, kind: &str) -> PyErr {
    let message = format!(
        "the value of key {} is of type {kind}; only an int or a float can be added to",
        error::shown(key)
    );
    error::UNSTORABLE.error(key.py(), (message,))
}

/// Values that diskcache stores as they are, whatever `read` says.
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
}

/// A number that the engine can add.
pub(super) fn number(object: &Bound<'_, PyAny>) -> Option<Number> {
    if object.is_exact_instance_of::<PyInt>() || object.is_exact_instance_of::<PyBool>() {
        object.extract().ok().map(Number::Int)
    } else {
        object.cast_exact::<PyFloat>().ok().map(|number| Number::Float(number.value()))
    }
}

#[pymethods]
impl Store {
    /// Store `value` under `key`; return True if it was stored.
    ///
    /// `expire` is in seconds or a `timedelta`, and `tag` is a text, number or bytes for `evict`. With
    /// `read=True` the value is a file opened for reading in binary mode, whose contents are stored in a
    /// file of its own.
    /// `codec` says how the value is stored, see `dolium.codecs`.
    /// `retry=True` waits without a limit instead of raising `Timeout`. A value larger than
    /// `size_limit` is not stored: the result is False, and a warning says so once.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set("key", {"any": "value"}, expire=60, tag="examples")
    /// True
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    ///     OSError: The disk is full, or the directory cannot be written; the old value is still there.
    #[pyo3(signature = (key, value, expire=None, read=Flag(false), tag=None, retry=Flag(false), *, codec=None),
           text_signature = "($self, key, value, expire=None, read=False, tag=None, retry=False, *, codec=None)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        read: Flag,
        tag: Option<&Bound<'_, PyAny>>,
        retry: Flag,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let options = put(expire, tag)?;
        self.inner()?.store(key, value, &options, read.0, How::Replace, retry.0, codec)
    }

    /// Store `value` under `key` unless there is one; return True if it was stored.
    ///
    /// Of several processes that add one key at once, exactly one gets True. Arguments and errors are
    /// those of `set`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.add("key", 1), cache.add("key", 2), cache["key"]
    /// (True, False, 1)
    #[pyo3(signature = (key, value, expire=None, read=Flag(false), tag=None, retry=Flag(false), *, codec=None),
           text_signature = "($self, key, value, expire=None, read=False, tag=None, retry=False, *, codec=None)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn add(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        read: Flag,
        tag: Option<&Bound<'_, PyAny>>,
        retry: Flag,
        codec: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let options = put(expire, tag)?;
        self.inner()?.store(key, value, &options, read.0, How::Add, retry.0, codec)
    }

    /// Let `key` expire in `expire` seconds from now, or never; return True if it is there.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["key"] = 1
    /// >>> cache.touch("key", expire=3600), cache.touch("other")
    /// (True, False)
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, expire=None, retry=Flag(false)), text_signature = "($self, key, expire=None, retry=False)")]
    fn touch(&self, key: &Bound<'_, PyAny>, expire: Option<Seconds>, retry: Flag) -> PyResult<bool> {
        let inner = self.inner()?;
        let (shard, stored) = inner.key(key)?;
        let expire = put(expire, None)?.expire;
        let result = shard.change(key.py(), retry.0, |cache| cache.touch(&stored, expire));
        inner.soften(key.py(), retry.0, result, || false)
    }

    /// Add `delta` to the number under `key`, atomically; return the sum.
    ///
    /// A missing key counts as `default`, or raises KeyError if that is None; it is then stored with
    /// `expire` (seconds) and `tag`. Integers of any size add exactly.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.incr("visits"), cache.incr("visits", 10), cache.incr("ratio", 0.5)
    /// (1, 11, 0.5)
    ///
    /// Raises:
    ///     KeyError: There is no such key, and `default` is None.
    ///     TypeError: The value is not a number.
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, delta=None, default=Argument::Missing, retry=Flag(false), *, expire=None, tag=None),
           text_signature = "($self, key, delta=1, default=0, retry=False, *, expire=None, tag=None)")]
    fn incr<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        delta: Option<Bound<'py, PyAny>>,
        default: Argument<'py>,
        retry: Flag,
        expire: Option<Seconds>,
        tag: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let delta = delta.map_or_else(|| Ok::<_, PyErr>(1_i64.into_pyobject(py)?.into_any()), Ok)?;
        let inner = self.inner()?;
        let options = put(expire, tag)?;
        let result = inner.add_number(key, &delta, initial(py, default)?.as_ref(), &options, retry.0);
        inner.soften(py, retry.0, result, || py.None().into_bound(py))
    }

    /// Subtract `delta` from the number under `key`, atomically; return the difference.
    ///
    /// Everything else is as with `incr`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.decr("left", default=10)
    /// 9
    #[pyo3(signature = (key, delta=None, default=Argument::Missing, retry=Flag(false), *, expire=None, tag=None),
           text_signature = "($self, key, delta=1, default=0, retry=False, *, expire=None, tag=None)")]
    fn decr<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        delta: Option<Bound<'py, PyAny>>,
        default: Argument<'py>,
        retry: Flag,
        expire: Option<Seconds>,
        tag: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let delta = match delta {
            Some(delta) => delta.neg()?,
            None => (-1_i64).into_pyobject(py)?.into_any(),
        };
        self.incr(key, Some(delta), default, retry, expire, tag)
    }

    /// Remove `key`; return True if it was there.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["key"] = 1
    /// >>> cache.delete("key"), cache.delete("key")
    /// (True, False)
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, retry=Flag(false)), text_signature = "($self, key, retry=False)")]
    fn delete(&self, key: &Bound<'_, PyAny>, retry: Flag) -> PyResult<bool> {
        self.inner()?.remove(key, retry.0)
    }

    /// Remove `key` and return its value, or `default` if it is not there.
    ///
    /// `expire_time=True` and `tag=True` return a tuple, as with `get`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["key"] = 1
    /// >>> cache.pop("key"), cache.pop("key", default="gone")
    /// (1, 'gone')
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (key, default=None, expire_time=Flag(false), tag=Flag(false), retry=Flag(false)),
           text_signature = "($self, key, default=None, expire_time=False, tag=False, retry=False)")]
    fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        expire_time: Flag,
        tag: Flag,
        retry: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let result = inner.take(key, retry.0);
        match inner.soften(key.py(), retry.0, result, || None)? {
            Some(found) => found.answer(expire_time, tag),
            None => nothing(key.py(), default, expire_time, tag),
        }
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.inner()?.store(key, value, &PutOptions::new(), false, How::Replace, true, None).map(drop)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.inner()?.remove(key, true)? {
            Ok(())
        } else {
            Err(PyKeyError::new_err((key.clone().unbind(),)))
        }
    }

    /// Stores a value that every eviction takes last: the rows of locks and counters.
    #[pyo3(signature = (key, value, expire=None, tag=None, add=Flag(false)),
           text_signature = "($self, key, value, expire=None, tag=None, add=False)")]
    fn _keep(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expire: Option<Seconds>,
        tag: Option<&Bound<'_, PyAny>>,
        add: Flag,
    ) -> PyResult<bool> {
        let options = put(expire, tag)?.keep(true);
        let how = if add.0 { How::Add } else { How::Replace };
        // What the package counts with has a form of its own, whatever the codec.
        let plain = key.py().None().into_bound(key.py());
        self.inner()?.store(key, value, &options, false, how, true, Some(&plain))
    }
}

/// The argument `default` of `incr`: 0 if it is missing; None means that a missing key is an error.
fn initial<'py>(py: Python<'py>, default: Argument<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match default {
        Argument::Missing => Ok(Some(0_i64.into_pyobject(py)?.into_any())),
        Argument::Given(object) => Ok(Some(object).filter(|object| !object.is_none())),
    }
}
