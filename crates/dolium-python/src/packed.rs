//! `MessagePack`, in which Rust programs store values of any type, as Python's objects: the types that it has, tuples
//! nowhere, extension types refused. Never calls code that the data names.

use dolium::raw::msgpack::{Build, Damage, Scalar, read};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

/// Nesting that is followed; the stack must survive data that another user wrote.
const DEPTH: usize = 201;

/// The object in `bytes`.
pub(crate) fn load<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    read(bytes, DEPTH, &mut Objects(py)).map_err(|failure| match failure {
        Failure::Damaged(what) => {
            PyValueError::new_err(format!("the value is no MessagePack that dolium can read: {what}"))
        }
        Failure::Raised(error) => error,
    })
}

enum Failure {
    Damaged(Damage),
    Raised(PyErr),
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

struct Objects<'py>(Python<'py>);

impl<'p, 'py> Build<'p> for Objects<'py> {
    type Value = Bound<'py, PyAny>;
    type Error = Failure;

    fn scalar(&mut self, scalar: Scalar<'p>) -> Result<Self::Value, Failure> {
        let py = self.0;
        Ok(match scalar {
            Scalar::Nil => py.None().into_bound(py),
            Scalar::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
            Scalar::Int(number) => PyInt::new(py, number).into_any(),
            Scalar::Large(number) => PyInt::new(py, number).into_any(),
            Scalar::Float(number) => PyFloat::new(py, number).into_any(),
            Scalar::Text(text) => PyString::new(py, text).into_any(),
            Scalar::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        })
    }

    fn array(&mut self, items: Vec<Self::Value>) -> Result<Self::Value, Failure> {
        Ok(PyList::new(self.0, items)?.into_any())
    }

    fn map(&mut self, items: Vec<(Self::Value, Self::Value)>) -> Result<Self::Value, Failure> {
        let map = PyDict::new(self.0);
        for (key, value) in items {
            // The keys of Rust's maps may be sequences, which Python's may only be as tuples.
            let key = if let Ok(list) = key.cast::<PyList>() { list.to_tuple().into_any() } else { key };
            map.set_item(key, value)?;
        }
        Ok(map.into_any())
    }
}
