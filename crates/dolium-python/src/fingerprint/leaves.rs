//! Values without parts: numbers, text, bytes, and the memory of arrays.

use blake3::Hasher;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyComplex, PyComplexMethods, PyDict, PyEllipsis, PyFloat, PyInt, PyString,
};

use super::encode::{self, tag};
use super::memory::{self, Raw};

/// Bytes from which the interpreter is left meanwhile.
pub(super) const MANY: usize = 1 << 16;

/// Writes the form of a value that has no parts, and returns the bytes that were hashed for it. None: it has parts.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(out, text).map(Some);
    }
    if let Ok(int) = value.cast_exact::<PyInt>() {
        return write_int(out, int).map(Some);
    }
    if value.is_none() {
        out.push(tag::NONE);
    } else if let Ok(bool) = value.cast_exact::<PyBool>() {
        out.push(if bool.is_true() { tag::TRUE } else { tag::FALSE });
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        out.push(tag::FLOAT);
        encode::float(out, float.value());
    } else {
        return write_other(out, value);
    }
    Ok(Some(0))
}

fn write_other(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let py = value.py();
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        write_bytes(py, out, tag::BYTES, bytes.as_bytes());
        return Ok(Some(bytes.as_bytes().len()));
    }
    if value.is_exact_instance_of::<PyByteArray>() {
        return write_bytearray(py, out, &PyBuffer::get(value)?).map(Some);
    }
    if let Ok(raw) = value.cast_exact::<Raw>() {
        write_raw(py, out, raw.get())?;
        return Ok(Some(raw.get().length()));
    }
    if let Ok(complex) = value.cast_exact::<PyComplex>() {
        out.push(tag::COMPLEX);
        encode::float(out, complex.real());
        encode::float(out, complex.imag());
        return Ok(Some(0));
    }
    if value.is_exact_instance_of::<PyEllipsis>() {
        out.push(tag::ELLIPSIS);
        return Ok(Some(0));
    }
    Ok(None)
}

/// Text as UTF-8, in which lone surrogates are characters like others.
pub(super) fn write_text(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> PyResult<usize> {
    let py = text.py();
    if let Ok(text) = text.to_str() {
        write_bytes(py, out, tag::TEXT, text.as_bytes());
        return Ok(text.len());
    }
    let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    write_bytes(py, out, tag::TEXT, bytes);
    Ok(bytes.len())
}

pub(super) fn write_bytes(py: Python<'_>, out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    let start = out.len();
    encode::header(out, tag, bytes.len());
    if bytes.len() < MANY {
        out.extend_from_slice(bytes);
        return encode::close(out, start);
    }
    let mut hasher = encode::hasher();
    hasher.update(&out[start..]);
    py.detach(|| hasher.update(bytes));
    encode::replace(out, start, encode::finish(&hasher));
}

fn write_bytearray(py: Python<'_>, out: &mut Vec<u8>, buffer: &PyBuffer<u8>) -> PyResult<usize> {
    let start = out.len();
    encode::header(out, tag::BYTEARRAY, buffer.item_count());
    let mut hasher = encode::hasher();
    hasher.update(&out[start..]);
    if buffer.item_count() < MANY {
        memory::feed(py, out, buffer)?;
        encode::close(out, start);
    } else {
        memory::feed(py, &mut hasher, buffer)?;
        encode::replace(out, start, encode::finish(&hasher));
    }
    Ok(buffer.item_count())
}

/// Memory of arrays. Its hash begins with its first byte, so that tiles are chunks of BLAKE3.
fn write_raw(py: Python<'_>, out: &mut Vec<u8>, raw: &Raw) -> PyResult<()> {
    encode::header(out, tag::RAW, raw.length());
    if raw.length() <= encode::HASH {
        return raw.feed(py, out);
    }
    out.extend_from_slice(raw.hash(py)?.as_bytes());
    Ok(())
}

fn write_int(out: &mut Vec<u8>, int: &Bound<'_, PyInt>) -> PyResult<usize> {
    if let Ok(small) = int.extract() {
        encode::int(out, small);
        return Ok(0);
    }
    let negative: bool = int.lt(0)?;
    let bits: usize = if negative { int.call_method0("__invert__")? } else { int.as_any().clone() }
        .call_method0("bit_length")?
        .extract()?;
    let keywords = PyDict::new(int.py());
    keywords.set_item("signed", true)?;
    let bytes = int.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&keywords))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    write_bytes(int.py(), out, tag::INT, bytes);
    Ok(bytes.len())
}

/// What takes the bytes of a value, piece by piece.
pub(super) trait Sink: Send {
    fn take(&mut self, bytes: &[u8]);
}

impl Sink for Hasher {
    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
