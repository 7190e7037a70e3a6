//! Arrays of NumPy whose elements are plain numbers in C order: the same form that `dolium.functions.arrays` describes,
//! written without its help from the buffer that the array offers.

use pyo3::buffer::{ElementType, PyBuffer, PyUntypedBuffer};
use pyo3::prelude::*;

use super::encode::{self, tag};
use super::leaves::write_bytes;
use super::memory::{self, Word};

/// What describes arrays: calls the function that it is made of, for arrays that this module does not know.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct DescribeArray {
    describe: Py<PyAny>,
}

#[pymethods]
impl DescribeArray {
    #[new]
    #[pyo3(signature = (describe, /))]
    fn new(describe: Py<PyAny>) -> Self {
        Self { describe }
    }

    fn __call__<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.describe.bind(value.py()).call1((value,))
    }
}

/// The name by which arrays count.
const NAME: &[u8] = b"numpy:ndarray";

/// Writes an array, and returns its bytes; `None` and nothing if it is not of the plain kind.
pub(super) fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let Ok(buffer) = PyUntypedBuffer::get(value) else { return Ok(None) };
    if buffer.dimensions() == 0 || !buffer.is_c_contiguous() {
        return Ok(None);
    }
    // One letter: in the byte order of the machine. Characters and truth values have letters that are not here.
    let [b'b' | b'B' | b'h' | b'H' | b'i' | b'I' | b'l' | b'L' | b'q' | b'Q' | b'f' | b'd'] =
        buffer.format().to_bytes()
    else {
        return Ok(None);
    };
    let py = value.py();
    match ElementType::from_format(buffer.format()) {
        ElementType::SignedInteger { bytes: 1 } => typed::<i8>(py, out, *b"|i1", buffer),
        ElementType::SignedInteger { bytes: 2 } => typed::<i16>(py, out, *b"<i2", buffer),
        ElementType::SignedInteger { bytes: 4 } => typed::<i32>(py, out, *b"<i4", buffer),
        ElementType::SignedInteger { bytes: 8 } => typed::<i64>(py, out, *b"<i8", buffer),
        ElementType::UnsignedInteger { bytes: 1 } => typed::<u8>(py, out, *b"|u1", buffer),
        ElementType::UnsignedInteger { bytes: 2 } => typed::<u16>(py, out, *b"<u2", buffer),
        ElementType::UnsignedInteger { bytes: 4 } => typed::<u32>(py, out, *b"<u4", buffer),
        ElementType::UnsignedInteger { bytes: 8 } => typed::<u64>(py, out, *b"<u8", buffer),
        ElementType::Float { bytes: 4 } => typed::<f32>(py, out, *b"<f4", buffer),
        ElementType::Float { bytes: 8 } => typed::<f64>(py, out, *b"<f8", buffer),
        _ => Ok(None),
    }
}

fn typed<T: Word>(
    py: Python<'_>,
    out: &mut Vec<u8>,
    mut dtype: [u8; 3],
    buffer: PyUntypedBuffer,
) -> PyResult<Option<usize>> {
    // Elements that are not aligned are left to NumPy.
    let Ok(buffer) = buffer.into_typed::<T>() else { return Ok(None) };
    if cfg!(target_endian = "big") && dtype[0] == b'<' {
        dtype[0] = b'>';
    }
    out.push(tag::OBJECT);
    write_bytes(py, out, tag::TEXT, NAME);
    let parts = out.len();
    encode::header(out, tag::TUPLE, 3);
    write_bytes(py, out, tag::TEXT, &dtype);
    let shape = out.len();
    encode::header(out, tag::TUPLE, buffer.dimensions());
    for &length in buffer.shape() {
        encode::int(out, length.cast_signed() as i64);
    }
    encode::close(out, shape);
    write_elements(py, out, &buffer)?;
    encode::close(out, parts);
    Ok(Some(buffer.len_bytes()))
}

fn write_elements<T: Word>(py: Python<'_>, out: &mut Vec<u8>, buffer: &PyBuffer<T>) -> PyResult<()> {
    encode::header(out, tag::RAW, buffer.len_bytes());
    if buffer.len_bytes() <= encode::HASH {
        return memory::feed(py, out, buffer);
    }
    out.extend_from_slice(memory::hash(py, buffer)?.as_bytes());
    Ok(())
}
