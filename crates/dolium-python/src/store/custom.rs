//! Owns caches whose keys and values a user's subclass of `Disk` converts. Its methods are called as
//! diskcache calls them; between them, the engine moves whole rows.
//!
//! Python code must not run inside an operation of the engine (see `enter`), so what has to be atomic
//! around it is a transaction of several operations.

use std::borrow::Cow;

use dolium::raw::{Columns, Frame, Row, mode};
use dolium::{Cache, Key, Payload, PutOptions, Scalar, Side, raw};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error;
use crate::lazy::Lazy;
use crate::plain;
use crate::signature::{self, Current};
use crate::store::deferred::{self, After};
use crate::store::{Found, How, Inner, QueueItem, Shard, no_number};
use crate::trust::Trust;
use crate::value::{key_column, scalar, unscalar};

static DISK: Lazy = Lazy::new("dolium.disk", "Disk");
static TAKES_KEY: Lazy = Lazy::new("dolium.disk", "takes_key");

/// A `Disk` of the user's.
#[expect(clippy::struct_excessive_bools, reason = "one for each method that a class may have of its own")]
pub(crate) struct Custom {
    pub disk: Py<PyAny>,
    /// It has a `remove` of its own, which must see every value file that goes.
    pub removes: bool,
    /// It has a `put` of its own.
    puts: bool,
    /// It has a `hash` of its own.
    hashes: bool,
    /// Its `store` knows the argument `key`; in old versions of diskcache there was none.
    takes_key: bool,
}

/// Where `peek`, `pull` and `peekitem` look.
#[derive(Clone, Copy)]
pub(crate) enum End<'p> {
    Queue { prefix: Option<&'p str>, side: Side, remove: bool },
    Order { last: bool },
}

impl Custom {
    /// Makes the `Disk` of a directory, with the settings that begin with `disk_`.
    pub fn new(class: &Bound<'_, PyAny>, directory: &str, settings: &[(String, Scalar)]) -> PyResult<Self> {
        let py = class.py();
        let keywords = PyDict::new(py);
        for (name, value) in settings {
            if let Some(name) = name.strip_prefix("disk_") {
                keywords.set_item(name, unscalar(py, value)?)?;
            }
        }
        let disk = class.call((directory,), Some(&keywords))?;
        let base = DISK.get(py)?;
        let overrides = |name: &str| Ok::<_, PyErr>(!disk.get_type().getattr(name)?.is(&base.getattr(name)?));
        Ok(Self {
            removes: overrides("remove")?,
            puts: overrides("put")?,
            hashes: overrides("hash")?,
            takes_key: TAKES_KEY.get(py)?.call1((disk.getattr("store")?,))?.is_truthy()?,
            disk: disk.unbind(),
        })
    }

    /// The same for another store on the same directory.
    pub fn share(&self, py: Python<'_>) -> Self {
        Self { disk: self.disk.clone_ref(py), ..*self }
    }

    pub fn key_and_index(&self, object: &Bound<'_, PyAny>, inner: &Inner) -> PyResult<(usize, Key<'static>)> {
        let py = object.py();
        let shards = inner.shared.shards.len();
        let key = if self.puts { self.key(object)? } else { inner.key_of(object)?.into_owned() };
        let index = if shards == 1 {
            0
        } else if self.hashes {
            self.disk.bind(py).call_method1("hash", (object,))?.rem(shards)?.extract()?
        } else {
            key.shard_hash() as usize % shards
        };
        Ok((index, key))
    }

    fn key(&self, object: &Bound<'_, PyAny>) -> PyResult<Key<'static>> {
        let py = object.py();
        let columns = self.disk.bind(py).call_method1("put", (object,));
        let columns = columns.map_err(|error| error::unusable(object, error))?;
        let (column, raw): (Bound<'_, PyAny>, Bound<'_, PyAny>) = columns.extract()?;
        let raw = raw.is_truthy()?;
        match (scalar(&column)?, raw) {
            (Scalar::Blob(bytes), false) => {
                Ok(signature::made(&bytes).unwrap_or(Key::Pickle(Cow::Owned(bytes))))
            }
            (Scalar::Blob(bytes), true) => Ok(Key::Bytes(Cow::Owned(bytes))),
            (Scalar::Text(text), true) => Ok(Key::Text(Cow::Owned(text))),
            (Scalar::Int(number), true) => Ok(Key::Int(number)),
            (Scalar::Real(number), true) if !number.is_nan() => Ok(Key::Float(number)),
            _ => Err(PyTypeError::new_err(
                "Disk.put must return bytes, or with raw=True bytes, str, int or float (but not NaN)",
            )),
        }
    }

    /// The Python object that a key was.
    pub fn key_back<'py>(
        &self,
        py: Python<'py>,
        cache: &Cache,
        key: &Key<'_>,
        trust: Trust,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _current = Current::enter(cache, key, trust);
        let column = unscalar(py, &key_column(key))?;
        self.disk.bind(py).call_method1("get", (column, key.raw()))
    }

    fn columns(
        &self,
        object: Option<&Bound<'_, PyAny>>,
        value: &Bound<'_, PyAny>,
        read: bool,
    ) -> PyResult<Columns> {
        let py = value.py();
        let disk = self.disk.bind(py);
        let columns = match object.filter(|_| self.takes_key) {
            Some(object) => {
                let keywords = PyDict::new(py);
                keywords.set_item("key", object)?;
                disk.call_method("store", (value, read), Some(&keywords))?
            }
            None => disk.call_method1("store", (value, read))?,
        };
        let columns = columns.cast::<PyTuple>()?;
        let (size, mode, filename, value): (i64, i64, Option<String>, Bound<'_, PyAny>) =
            columns.extract()?;
        Ok(Columns { size, mode, filename, value: scalar(&value)? })
    }

    /// The entry of a file went; it follows when that is certain.
    fn went(&self, py: Python<'_>, shard: &Shard, filename: Option<&str>) -> PyResult<()> {
        if self.removes {
            deferred::remove(shard.cache(false), self.disk.bind(py), filename, After::Commit)?;
        }
        Ok(())
    }

    /// A new file has an entry now, unless the transaction that it is part of comes to nothing.
    fn came(&self, py: Python<'_>, shard: &Shard, filename: Option<&str>) -> PyResult<()> {
        deferred::remove(shard.cache(false), self.disk.bind(py), filename, After::Rollback)
    }

    /// A new file got no entry.
    pub fn discard(&self, py: Python<'_>, filename: Option<&str>) -> PyResult<()> {
        if let Some(filename) = filename {
            self.disk.bind(py).call_method1("remove", (filename,))?;
        }
        Ok(())
    }

    fn fetch<'py>(
        &self,
        py: Python<'py>,
        inner: &Inner,
        shard: &Shard,
        key: &Key<'_>,
        columns: &Columns,
        read: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if columns.mode == mode::FRAME {
            // No `Disk` knows them.
            let value = shard.enter(py, false, |cache| raw::framed_value(cache, key, columns))?;
            let value =
                value.ok_or_else(|| PyFileNotFoundError::new_err("the value file of a frame is gone"))?;
            return inner.load(py, value);
        }
        let _current = Current::enter(shard.cache(false), key, inner.shared.trust);
        let value = unscalar(py, &columns.value)?;
        self.disk.bind(py).call_method1("fetch", (columns.mode, columns.filename.as_deref(), value, read))
    }

    /// The value of a key. A file that is gone means that the row has changed since it was read, or else
    /// that the entry is damaged, which is a miss.
    pub fn find<'py>(
        &self,
        inner: &Inner,
        shard: &Shard,
        object: &Bound<'py, PyAny>,
        key: &Key<'_>,
        read: bool,
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let py = object.py();
        let mut missing = None;
        while let Some(row) = shard.enter(py, retry, |cache| raw::row(cache, key))? {
            if missing.as_ref() == Some(&row.columns) {
                break;
            }
            match self.fetch(py, inner, shard, key, &row.columns, read) {
                Err(error) if error.is_instance_of::<PyOSError>(py) => missing = Some(row.columns),
                value => return Ok(Some(found(&row, value?))),
            }
        }
        Ok(None)
    }

    #[expect(clippy::too_many_arguments, reason = "what `set` is told, and where it is to be done")]
    pub fn store(
        &self,
        inner: &Inner,
        shard: &Shard,
        object: &Bound<'_, PyAny>,
        key: &Key<'_>,
        value: &Bound<'_, PyAny>,
        options: &PutOptions,
        read: bool,
        how: How,
        retry: bool,
    ) -> PyResult<bool> {
        let py = object.py();
        let columns = self.prepare(inner, shard, object, key, value, read)?;
        self.put(py, shard, key, &columns, options, how, retry)
    }

    /// The columns of a value. Whoever asks for them must `put` them, or `discard` their file.
    pub fn prepare(
        &self,
        inner: &Inner,
        shard: &Shard,
        object: &Bound<'_, PyAny>,
        key: &Key<'_>,
        value: &Bound<'_, PyAny>,
        read: bool,
    ) -> PyResult<Columns> {
        let _current = Current::enter(shard.cache(false), key, inner.shared.trust);
        let columns = self.columns(Some(object), value, read);
        columns.map_err(|error| error::unstorable(Some(object), object.py(), error))
    }

    #[expect(clippy::too_many_arguments, reason = "what `set` is told, and where it is to be done")]
    pub fn put(
        &self,
        py: Python<'_>,
        shard: &Shard,
        key: &Key<'_>,
        columns: &Columns,
        options: &PutOptions,
        how: How,
        retry: bool,
    ) -> PyResult<bool> {
        let stored = self.replacing(py, shard, key, retry, || {
            shard.change(py, retry, |cache| {
                let payload = Payload::Columns(columns.clone());
                match how {
                    How::Replace => cache.set_with(key, payload, options),
                    How::Add => cache.add(key, payload, options),
                }
            })
        });
        let filename = columns.filename.as_deref();
        if matches!(stored, Ok(true)) {
            self.came(py, shard, filename)?;
        } else {
            self.discard(py, filename)?;
        }
        stored
    }

    /// Runs something that may remove the entry of a key, then tells the `Disk` of its file.
    fn replacing(
        &self,
        py: Python<'_>,
        shard: &Shard,
        key: &Key<'_>,
        retry: bool,
        change: impl FnOnce() -> PyResult<bool>,
    ) -> PyResult<bool> {
        if !self.removes {
            return change();
        }
        shard.transact(py, retry, || {
            let row = shard.step(py, |cache| raw::row(cache, key))?;
            let changed = change()?;
            if changed {
                self.went(py, shard, row.and_then(|row| row.columns.filename).as_deref())?;
            }
            Ok(changed)
        })
    }

    pub fn remove(&self, py: Python<'_>, shard: &Shard, key: &Key<'_>, retry: bool) -> PyResult<bool> {
        self.replacing(py, shard, key, retry, || shard.change(py, retry, |cache| cache.delete(key)))
    }

    pub fn pop<'py>(
        &self,
        inner: &Inner,
        shard: &Shard,
        object: &Bound<'py, PyAny>,
        key: &Key<'_>,
        retry: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let py = object.py();
        shard.transact(py, retry, || {
            let Some(row) = shard.step(py, |cache| raw::row(cache, key))? else {
                return Ok(None);
            };
            let value = match self.fetch(py, inner, shard, key, &row.columns, false) {
                Err(error) if error.is_instance_of::<PyOSError>(py) => None,
                value => Some(value?),
            };
            shard.step(py, |cache| cache.delete(key))?;
            self.went(py, shard, row.columns.filename.as_deref())?;
            Ok(value.map(|value| found(&row, value)))
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what `push` is told, and where it is to be done")]
    pub fn push(
        &self,
        inner: &Inner,
        shard: &Shard,
        value: &Bound<'_, PyAny>,
        prefix: Option<&str>,
        side: Side,
        options: &PutOptions,
        read: bool,
        retry: bool,
    ) -> PyResult<Key<'static>> {
        let py = value.py();
        let mut made = None;
        let pushed = shard.transact(py, retry, || {
            // The key is part of what is signed: it has to be known before the value is stored.
            let key = shard.step(py, |cache| cache.push(0, prefix, side, options))?;
            let columns = {
                let _current = Current::enter(shard.cache(false), &key, inner.shared.trust);
                self.columns(None, value, read).map_err(|error| error::unstorable(None, py, error))?
            };
            made.clone_from(&columns.filename);
            shard.step(py, |cache| cache.set_with(&key, Payload::Columns(columns), options))?;
            self.came(py, shard, made.as_deref())?;
            Ok(key)
        });
        if pushed.is_err() {
            self.discard(py, made.as_deref())?;
        }
        pushed
    }

    /// `pull`, `peek` and `peekitem`. Items whose files are gone are removed and passed over.
    pub fn end<'py>(
        &self,
        inner: &Inner,
        shard: &Shard,
        py: Python<'py>,
        end: End<'_>,
        retry: bool,
    ) -> PyResult<Option<QueueItem<'py>>> {
        let remove = matches!(end, End::Queue { remove: true, .. });
        let search = || loop {
            let seen = shard.enter(py, retry, |cache| match end {
                End::Queue { prefix, side, .. } => raw::queue_row(cache, prefix, side, |_, _| Ok(Some(()))),
                End::Order { last } => raw::peek_row(cache, last, |_, _| Ok(Some(()))),
            })?;
            let Some((key, row, ())) = seen else {
                return Ok(None);
            };
            let value = match self.fetch(py, inner, shard, &key, &row.columns, false) {
                Err(error) if error.is_instance_of::<PyOSError>(py) => None,
                value => Some(value?),
            };
            if remove || value.is_none() {
                shard.change(py, retry, |cache| cache.delete(&key))?;
                self.went(py, shard, row.columns.filename.as_deref())?;
            }
            if let Some(value) = value {
                let key = match end {
                    End::Queue { .. } => plain::key(py, shard.cache(false), &key, inner.shared.trust)?,
                    End::Order { .. } => self.key_back(py, shard.cache(false), &key, inner.shared.trust)?,
                };
                return Ok(Some((key, found(&row, value))));
            }
        };
        if remove { shard.transact(py, retry, search) } else { search() }
    }

    /// Runs something that may remove many entries, then tells the `Disk` of their files.
    pub fn removing(
        &self,
        py: Python<'_>,
        shard: &Shard,
        retry: bool,
        change: impl FnOnce() -> PyResult<usize>,
    ) -> PyResult<usize> {
        // The engine itself removes the files of frames.
        const NAMES: &str =
            "SELECT filename FROM Cache WHERE filename IS NOT NULL AND substr(filename, -7) != '.dolium'";
        let names = || {
            let table = shard.step(py, |cache| raw::sql(cache, NAMES, &[]))?;
            let names = table.rows.into_iter().filter_map(|row| match row.into_iter().next() {
                Some(Scalar::Text(name)) => Some(name),
                _ => None,
            });
            Ok::<_, PyErr>(names.collect::<std::collections::HashSet<_>>())
        };
        shard.transact(py, retry, || {
            let before = names()?;
            let count = change()?;
            let after = names()?;
            for filename in before.difference(&after) {
                self.went(py, shard, Some(filename))?;
            }
            Ok(count)
        })
    }
}

fn found<'py>(row: &Row, value: Bound<'py, PyAny>) -> Found<'py> {
    Found { value, expire_time: row.expire_time, tag: row.tag.clone(), store_time: row.store_time }
}

/// The number in the row of a key, for `incr`.
pub(crate) fn number<'py>(
    object: &Bound<'py, PyAny>,
    shard: &Shard,
    key: &Key<'_>,
) -> PyResult<Option<Found<'py>>> {
    let py = object.py();
    let Some(row) = shard.step(py, |cache| raw::row(cache, key))? else {
        return Ok(None);
    };
    match row.columns.value {
        Scalar::Int(_) | Scalar::Real(_) => {
            let value = unscalar(py, &row.columns.value)?;
            Ok(Some(found(&row, value)))
        }
        // An exception is no value.
        Scalar::Blob(ref stored) if row.columns.mode == mode::FRAME && Frame::is_raised(stored) => Ok(None),
        _ => Err(no_number(object, "other than a number")),
    }
}

/// Puts a number into the row of a key, whatever the `Disk` would make of it.
pub(crate) fn store_number(
    py: Python<'_>,
    shard: &Shard,
    key: &Key<'_>,
    sum: &Bound<'_, PyAny>,
    options: &PutOptions,
) -> PyResult<()> {
    let value = scalar(sum)?;
    shard.step(py, |cache| {
        let known =
            raw::row(cache, key)?.map(|row| row.columns).filter(|columns| columns.mode != mode::FRAME);
        let columns = known.unwrap_or_default();
        cache.set_with(key, Payload::Columns(Columns { value, ..columns }), options).map(drop)
    })
}
