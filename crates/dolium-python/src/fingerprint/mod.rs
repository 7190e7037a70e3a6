//! Fingerprints: 20 bytes that two values share if and only if their types and contents are equal.
//!
//! `docs/design.md` specifies the encoding. Here is the walk over what Python has built in; what stands for an object
//! of any other type is asked of `dolium.functions.fingerprint`.

mod array;
mod encode;
mod file;
mod leaves;
mod memory;
mod refusal;
mod walk;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};

use walk::Walk;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<memory::Raw>()?;
    module.add_class::<array::DescribeArray>()?;
    module.add_function(wrap_pyfunction!(fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(stored_key, module)?)?;
    module.add_function(wrap_pyfunction!(file::digest, module)?)
}

/// The fingerprint of a value.
#[pyfunction]
#[pyo3(name = "_fingerprint", signature = (value, /))]
fn fingerprint<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let digest = Walk::new(py).fingerprint(value).map_err(|refusal| refusal.raise(py, None, "the value"))?;
    Ok(PyBytes::new(py, &digest))
}

/// The key of a call: the name and version of the function, then one part for each value.
///
/// None, truth values, integers of 64 bits, floats, and text of up to 64 bytes stand for themselves, all else is its
/// fingerprint. `labels` say in an error what a value is, as in "argument 'options'".
#[pyfunction]
#[pyo3(signature = (name, version, parts, labels = None, /))]
pub(crate) fn stored_key<'py>(
    name: &Bound<'py, PyString>,
    version: &Bound<'py, PyAny>,
    parts: &Bound<'py, PyTuple>,
    labels: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = name.py();
    let mut key = Vec::with_capacity(parts.len() + 2);
    key.extend([name.as_any().clone(), version.clone()]);
    let mut walk = None;
    for (position, part) in parts.iter_borrowed().enumerate() {
        if is_plain(&part) {
            key.push(part.to_owned());
        } else if is_nan(&part) {
            key.push(PyFloat::new(py, f64::NAN).into_any());
        } else {
            let walk = walk.get_or_insert_with(|| Walk::new(py));
            let digest = walk.fingerprint(&part).map_err(|refusal| {
                let label = labels.and_then(|labels| labels.get_item(position).ok());
                let label = label.map_or_else(|| format!("part {position}"), |label| label.to_string());
                refusal.raise(py, Some(&name.to_string()), &label)
            })?;
            key.push(PyBytes::new(py, &digest).into_any());
        }
    }
    PyTuple::new(py, key)
}

/// Bytes of text that stands for itself.
const SHORT: usize = 64;

/// Whether a part of a key stands for itself.
#[inline]
pub(crate) fn is_plain(part: &Bound<'_, PyAny>) -> bool {
    if let Ok(text) = part.cast_exact::<PyString>() {
        return text.to_str().is_ok_and(|text| text.len() <= SHORT);
    }
    if part.is_exact_instance_of::<PyInt>() {
        return part.extract::<i64>().is_ok();
    }
    if let Ok(float) = part.cast_exact::<PyFloat>() {
        return !float.value().is_nan();
    }
    part.is_none() || part.is_exact_instance_of::<PyBool>()
}

fn is_nan(part: &Bound<'_, PyAny>) -> bool {
    part.cast_exact::<PyFloat>().is_ok_and(|float| float.value().is_nan())
}
