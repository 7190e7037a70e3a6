//! Owns signing for the Python class `Disk`: while native code calls `store` or `fetch` of one, the cache
//! and the key that it works on are known to the thread, since the signature covers the key.

use std::cell::RefCell;
use std::os::fd::{IntoRawFd, RawFd};
use std::path::Path;

use dolium::raw::ValueFiles;
use dolium::{Cache, Error, Key, Scalar, Value, raw};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::trust::Trust;
use crate::value::scalar;
use crate::{enter, plain};

thread_local! {
    static CURRENT: RefCell<Vec<(Cache, Key<'static>, Trust)>> = const { RefCell::new(Vec::new()) };
}

/// The cache and key that the thread works on, until it is dropped.
pub(crate) struct Current(());

impl Current {
    pub fn enter(cache: &Cache, key: &Key<'_>, trust: Trust) -> Self {
        let key = key.borrowed().into_owned();
        CURRENT.with_borrow_mut(|stack| stack.push((cache.clone(), key, trust)));
        Self(())
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // Taken out before it is dropped: dropping the last cache of a directory closes it.
        let last = CURRENT.with_borrow_mut(Vec::pop);
        drop(last);
    }
}

thread_local! {
    /// The last key that `dolium.disk.canonical` made: of what its pickle does not say, a `Disk` is told nothing.
    static MADE: RefCell<Option<Key<'static>>> = const { RefCell::new(None) };
}

/// The key that has just been made of a Python object, if this is its stored form.
pub(crate) fn made(stored: &[u8]) -> Option<Key<'static>> {
    MADE.take().filter(|key| key.pickle() == Some(stored))
}

/// The pickle that stands for a key in the database.
#[pyfunction]
#[pyo3(name = "_canonical", signature = (key, protocol, /))]
fn canonical<'py>(key: &Bound<'py, PyAny>, protocol: i64) -> PyResult<Bound<'py, PyBytes>> {
    let made = crate::key::pickled(key, protocol)?;
    let stored = PyBytes::new(key.py(), made.pickle().unwrap_or_default());
    if matches!(made, Key::Object(_)) {
        MADE.set(Some(made));
    }
    Ok(stored)
}

fn current() -> Option<(Cache, Key<'static>, Trust)> {
    CURRENT.with_borrow(|stack| stack.last().cloned())
}

/// A pickle with the signature of this user behind it, for the entry that is being stored.
#[pyfunction]
#[pyo3(signature = (pickle, /))]
fn sign<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let Some((cache, key, _)) = current() else {
        return Ok(PyBytes::new(py, pickle));
    };
    let signed = enter::enter(py, || raw::sign_pickle(&cache, &key, pickle.to_vec()))?;
    Ok(PyBytes::new(py, &signed))
}

/// A stored pickle, and whether the cache that it is read from may load it without restrictions.
#[pyfunction]
#[pyo3(signature = (stored, /))]
fn verify<'py>(py: Python<'py>, stored: &[u8]) -> PyResult<(Bound<'py, PyBytes>, bool)> {
    let Some((cache, key, trust)) = current() else {
        return Ok((PyBytes::new(py, stored), false));
    };
    let value = enter::enter(py, || raw::verify_pickle(&cache, &key, stored.to_vec()))?;
    Ok(match value {
        Value::Pickle { bytes, signed } => {
            let sure = trust == Trust::All || signed && trust == Trust::Signed;
            (PyBytes::new(py, &bytes), sure)
        }
        _ => (PyBytes::new(py, stored), false),
    })
}

/// The key in a pickle. Raises `UntrustedValueError` if its cache may not load it.
#[pyfunction]
#[pyo3(signature = (pickle, /))]
fn load_key<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let key = Key::Pickle(pickle.into());
    match current() {
        Some((cache, _, trust)) => plain::key(py, &cache, &key, trust),
        None => plain::plain_key(py, pickle),
    }
}

/// diskcache's hash of the column `key` of a key.
#[pyfunction]
#[pyo3(signature = (column, /))]
fn hash_column(column: &Bound<'_, PyAny>) -> PyResult<u32> {
    let key = match scalar(column)? {
        Scalar::Int(number) => Key::Int(number),
        Scalar::Real(number) => Key::Float(number),
        Scalar::Text(text) => Key::Text(text.into()),
        Scalar::Blob(bytes) => Key::Bytes(bytes.into()),
        Scalar::Null => return Err(PyTypeError::new_err("None is no key")),
    };
    Ok(key.shard_hash())
}

/// Opens the value file of that name in a directory; no link in the directory is followed. Returns its descriptor, which
/// the caller closes.
#[pyfunction]
#[pyo3(signature = (directory, name, /))]
fn open_value(py: Python<'_>, directory: &str, name: &str) -> PyResult<RawFd> {
    let directory = Path::new(directory);
    let path = directory.join(name);
    enter::enter(py, || ValueFiles::of(directory).open(name).map_err(|source| Error::Io { path, source }))
        .map(IntoRawFd::into_raw_fd)
}

/// Makes a value file of that name in a directory, with the rights of that. Returns its descriptor, which the caller
/// closes.
#[pyfunction]
#[pyo3(signature = (directory, name, /))]
fn create_value(py: Python<'_>, directory: &str, name: &str) -> PyResult<RawFd> {
    enter::enter(py, || ValueFiles::of(Path::new(directory)).create(name)).map(IntoRawFd::into_raw_fd)
}

/// Removes the value file of that name in a directory, and the directories that it leaves empty.
#[pyfunction]
#[pyo3(signature = (directory, name, /))]
fn remove_value(py: Python<'_>, directory: &str, name: &str) -> PyResult<()> {
    enter::enter(py, || {
        ValueFiles::of(Path::new(directory)).remove(name);
        Ok(())
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(canonical, module)?)?;
    module.add_function(wrap_pyfunction!(sign, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(open_value, module)?)?;
    module.add_function(wrap_pyfunction!(create_value, module)?)?;
    module.add_function(wrap_pyfunction!(remove_value, module)?)?;
    module.add_function(wrap_pyfunction!(load_key, module)?)?;
    module.add_function(wrap_pyfunction!(hash_column, module)?)
}
