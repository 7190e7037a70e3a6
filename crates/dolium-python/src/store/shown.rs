//! Values of the hot tier as Python's objects.

use dolium::host::ValueRef;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString};

/// A value as it was found in the hot tier.
pub(super) enum Shown<'py> {
    Object(Bound<'py, PyAny>),
    Pickle(Bound<'py, PyBytes>, bool),
}

impl<'py> Shown<'py> {
    #[inline]
    pub(super) fn of(py: Python<'py>, value: ValueRef<'_>) -> Self {
        Self::Object(match value {
            ValueRef::Bytes(value) => PyBytes::new(py, value).into_any(),
            ValueRef::Text(value) => PyString::new(py, value).into_any(),
            ValueRef::Int(value) => PyInt::new(py, value).into_any(),
            ValueRef::Float(value) => PyFloat::new(py, value).into_any(),
            ValueRef::Pickle { bytes, signed } => return Self::Pickle(PyBytes::new(py, bytes), signed),
            _ => py.None().into_bound(py),
        })
    }
}
