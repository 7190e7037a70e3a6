//! Owns the hit of a wrapped function: from the arguments of a call to its result, in one native call.

use std::sync::OnceLock;

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::{Store, Tally};
use crate::fingerprint::{is_plain, stored_key};
use crate::lazy::{filled, word};

/// What finds the results of a wrapped function: the base class of such functions.
///
/// A call asks for the result here. Where there is none, the method `_missed` of the subclass computes it, and in
/// another mode than the normal one its method `_in_mode` does everything.
#[pyclass(frozen, subclass, module = "dolium._dolium")]
#[derive(Default)]
pub(crate) struct Recall {
    ready: OnceLock<Ready>,
}

struct Ready {
    /// Says the mode of the running context.
    mode: Py<PyAny>,
    normal: Py<PyAny>,
    calls: Py<PyAny>,
    store: Py<Store>,
    tally: Py<Tally>,
    name: Py<PyString>,
    bind: Py<PyAny>,
    /// How many arguments are what counts of them, if all of a call are positional.
    straight: Option<usize>,
    labels: Py<PyTuple>,
    /// Whether each call decides whether it renews the result.
    is_early: bool,
    /// The version, once it is found for good.
    version: PyOnceLock<Py<PyAny>>,
}

/// What a call finds.
enum Found<'py> {
    Result(Bound<'py, PyAny>),
    /// Nothing that is fresh, under this key.
    Nothing(Bound<'py, PyTuple>),
}

impl Ready {
    fn of(calls: &Bound<'_, PyAny>, mode: Py<PyAny>, normal: Py<PyAny>) -> PyResult<Self> {
        let results = calls.getattr("results")?;
        Ok(Self {
            mode,
            normal,
            store: calls.getattr("cache")?.cast_into::<Store>()?.unbind(),
            tally: results.getattr("tally")?.cast_into::<Tally>()?.unbind(),
            name: calls.getattr("name")?.cast_into::<PyString>()?.unbind(),
            bind: calls.getattr("bind")?.unbind(),
            straight: calls.getattr("straight")?.extract()?,
            labels: calls.getattr("labels")?.cast_into::<PyTuple>()?.unbind(),
            is_early: calls.getattr("early")?.is_truthy()?,
            calls: calls.clone().unbind(),
            version: PyOnceLock::new(),
        })
    }

    #[inline]
    fn is_normal(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.mode.bind(py).call0()?.is(&self.normal))
    }

    /// What counts of each argument.
    #[inline]
    fn parts<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        if kwargs.is_none() && self.straight == Some(args.len()) {
            return Ok(args.clone());
        }
        Ok(self.bind.bind(args.py()).call(args, kwargs)?.cast_into::<PyTuple>()?)
    }

    fn version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(version) = self.version.get(py) {
            return Ok(version.bind(py).clone());
        }
        let calls = self.calls.bind(py);
        let version = calls.getattr(word!(py, "version"))?;
        if !version.is_none() {
            return Ok(filled(&self.version, py, || Ok(version.unbind()))?.bind(py).clone());
        }
        calls.call_method0(word!(py, "find_version"))
    }

    fn find<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Found<'py>> {
        let py = args.py();
        let parts = self.parts(args, kwargs)?;
        let version = self.version(py)?;
        let key = || stored_key(self.name.bind(py), &version, &parts, Some(self.labels.bind(py)));
        let is_plain = parts.iter_borrowed().all(|part| is_plain(&part));
        if !is_plain || self.is_early {
            let key = key()?;
            let found = if self.is_early { None } else { self.unless_raised(py, self.look_up(&key))? };
            return Ok(found.map_or(Found::Nothing(key), Found::Result));
        }
        match self.unless_raised(py, self.look_up_plain(&version, &parts))? {
            Some(result) => Ok(Found::Result(result)),
            None => key().map(Found::Nothing),
        }
    }

    fn look_up<'py>(&self, key: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (inner, py) = (self.store.get().inner()?, key.py());
        let (shard, key) = inner.key(key.as_any())?;
        inner.result(py, (shard, &key), self.tally.get())
    }

    /// The same where each part stands for itself, without a tuple of them.
    #[inline]
    fn look_up_plain<'py>(
        &self,
        version: &Bound<'py, PyAny>,
        parts: &Bound<'py, PyTuple>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (inner, py) = (self.store.get().inner()?, parts.py());
        let name = self.name.bind(py).as_any();
        let items = [name.as_borrowed(), version.as_borrowed()].into_iter().chain(parts.iter_borrowed());
        match inner.key_of_items(py, items, parts.len() + 2)? {
            Some((shard, key)) => inner.result(py, (shard, &key), self.tally.get()),
            None => self.look_up(&stored_key(self.name.bind(py), version, parts, None)?),
        }
    }

    /// What cannot be read is a miss, of which the user is told.
    #[inline]
    fn unless_raised<T>(&self, py: Python<'_>, found: PyResult<Option<T>>) -> PyResult<Option<T>> {
        match found {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let results = self.calls.bind(py).getattr("results")?;
                results.call_method1("tell", ("read", error.into_value(py)))?;
                Ok(None)
            }
            other => other,
        }
    }
}

impl Recall {
    fn ready(&self) -> PyResult<&Ready> {
        self.ready.get().ok_or_else(|| {
            PyRuntimeError::new_err("the wrapped function is not ready: its class did not call _prepare")
        })
    }
}

#[pymethods]
impl Recall {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    /// Say whose calls these are, what says the mode, and which mode is the normal one.
    #[pyo3(signature = (calls, mode, normal, /))]
    fn _prepare(&self, calls: &Bound<'_, PyAny>, mode: Py<PyAny>, normal: Py<PyAny>) -> PyResult<()> {
        // A wrapper is prepared once.
        let _ = self.ready.set(Ready::of(calls, mode, normal)?);
        Ok(())
    }

    /// Whether there is a fresh result of a call, and that result, or else the key of the call.
    #[pyo3(signature = (args, kwargs, /))]
    fn _find<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<(bool, Bound<'py, PyAny>)> {
        let kwargs = Some(kwargs).filter(|kwargs| !kwargs.is_empty());
        Ok(match self.ready()?.find(args, kwargs)? {
            Found::Result(result) => (true, result),
            Found::Nothing(key) => (false, key.into_any()),
        })
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, ready) = (slf.py(), slf.get().ready()?);
        let named = || kwargs.map_or_else(|| PyDict::new(py), Clone::clone);
        if !ready.is_normal(py)? {
            return slf.call_method1(word!(py, "_in_mode"), (args, named()));
        }
        match ready.find(args, kwargs)? {
            Found::Result(result) => Ok(result),
            Found::Nothing(key) => slf.call_method1(word!(py, "_missed"), (key, args, named())),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(ready) = self.ready.get() else { return Ok(()) };
        visit.call(&ready.mode)?;
        visit.call(&ready.normal)?;
        visit.call(&ready.calls)?;
        visit.call(&ready.store)?;
        visit.call(&ready.tally)?;
        visit.call(&ready.name)?;
        visit.call(&ready.bind)?;
        visit.call(&ready.labels)
    }
}
