//! Pickles of large memory. Its bytes go past `pickle`, which would copy them while no other thread runs.
//!
//! The stored pickle is the one that `pickle.dumps` makes, to the byte. A reader gives `pickle.loads` the same objects as
//! it would make: `bytes` and `bytearray` that are copied before, in the place of their opcodes.

use dolium::raw::pickle::op::{self, Op, Scalar};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::lazy::Lazy;
use crate::memory::{self, MANY};
use crate::{encoded, enter};

static LOADS: Lazy = Lazy::new("pickle", "loads");
static PARTS: Lazy = Lazy::new("dolium.codecs.pickled", "parts");
static ARRAY: Lazy = Lazy::new("numpy", "ndarray");

/// How many items of a container are looked at.
const LOOKED_AT: usize = 4;

/// The pickle of a value that is large memory, or has some among its first items. `None` if it is another.
pub(crate) fn dumped<'py>(
    value: &Bound<'py, PyAny>,
    protocol: i64,
) -> PyResult<Option<encoded::Content<'py>>> {
    if !is_bulky(value) {
        return Ok(None);
    }
    let parts = PARTS.get(value.py())?.call1((value, protocol))?;
    encoded::Content::of(parts).map(Some)
}

fn is_bulky(value: &Bound<'_, PyAny>) -> bool {
    if let Ok(list) = value.cast_exact::<PyList>() {
        list.iter().take(LOOKED_AT).any(|item| is_large(&item))
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        tuple.iter_borrowed().take(LOOKED_AT).any(|item| is_large(&item))
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        dict.iter().take(LOOKED_AT).any(|(_, item)| is_large(&item))
    } else {
        is_large(value)
    }
}

fn is_large(object: &Bound<'_, PyAny>) -> bool {
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return bytes.as_bytes().len() >= MANY;
    }
    if let Ok(bytes) = object.cast_exact::<PyByteArray>() {
        return bytes.len() >= MANY;
    }
    let is_common = object.is_none()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyDict>();
    let is_array =
        || ARRAY.get_if_imported(object.py()).is_some_and(|class| object.is_instance(class).unwrap_or(false));
    let length = || object.getattr("nbytes").and_then(|length| length.extract::<usize>());
    !is_common && is_array() && length().is_ok_and(|length| length >= MANY)
}

/// Loads a pickle that may be trusted. `whole`: the same as an object.
pub(crate) fn load<'py>(
    py: Python<'py>,
    pickle: &[u8],
    whole: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let cut = if pickle.len() < MANY { None } else { enter::leave(py, || Cut::of(pickle)) };
    let Some(Cut { stream, parts }) = cut else { return LOADS.get(py)?.call1((whole()?,)) };
    let buffers = PyList::empty(py);
    for part in parts {
        match part {
            Scalar::ByteArray(bytes) => buffers.append(memory::bytearray(py, bytes)?)?,
            Scalar::Bytes(bytes) => buffers.append(memory::bytes(py, bytes)?)?,
            _ => {}
        }
    }
    let keywords = PyDict::new(py);
    keywords.set_item("buffers", buffers)?;
    LOADS.get(py)?.call((memory::bytes(py, &stream)?,), Some(&keywords))
}

/// A pickle that takes its large bytes from beside it.
struct Cut<'p> {
    stream: Vec<u8>,
    parts: Vec<Scalar<'p>>,
}

impl<'p> Cut<'p> {
    /// Returns `None` if there are no large bytes, or if the pickle is damaged. `pickle` keeps them out of its frames,
    /// which are not looked into.
    fn of(pickle: &'p [u8]) -> Option<Self> {
        let mut cut = Self { stream: Vec::new(), parts: Vec::new() };
        let (mut rest, mut kept) = (pickle, pickle);
        // The end of a pickle lies in its last frame, or behind it.
        while !rest.is_empty() {
            let op = Op::read(rest).ok()?;
            let after = match op.code {
                op::STOP => break,
                op::FRAME => {
                    let length = u64::from_le_bytes(*rest.get(1..)?.first_chunk()?);
                    op.rest().get(usize::try_from(length).ok()?..)?
                }
                _ => op.rest(),
            };
            let is_large = op.code != op::FRAME && rest.len() - after.len() >= MANY;
            if let Some(part @ (Scalar::Bytes(_) | Scalar::ByteArray(_))) =
                is_large.then(|| op.scalar()).flatten()
            {
                cut.stream.extend_from_slice(&kept[..kept.len() - rest.len()]);
                cut.stream.push(op::NEXT_BUFFER);
                cut.parts.push(part);
                kept = after;
            }
            rest = after;
        }
        cut.stream.extend_from_slice(kept);
        (!cut.parts.is_empty()).then_some(cut)
    }
}
