//! Owns reading `MessagePack`, in which Rust programs store values of any type: the types of Python that
//! it has, tuples nowhere, extension types refused. Never calls code that the data names.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyList, PyString};

/// Nesting that is followed; the stack must survive data that anybody wrote.
const DEPTH: u32 = 200;

/// The object in `bytes`.
pub(crate) fn load<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader { py, rest: bytes };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(damaged("bytes follow its end")) }
}

fn damaged(what: &str) -> PyErr {
    PyValueError::new_err(format!("the value is no MessagePack that dolium can read: {what}"))
}

struct Reader<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
}

impl<'py, 'a> Reader<'py, 'a> {
    fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| damaged("it is cut off"))
    }

    fn length(&mut self, width: usize) -> PyResult<usize> {
        Ok(self.take(width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        if depth > DEPTH {
            return Err(damaged("it is nested too deeply"));
        }
        let py = self.py;
        let [marker] = self.number()?;
        Ok(match marker {
            0x00..=0x7f => marker.into_pyobject(py)?.into_any(),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), depth)?,
            0x90..=0x9f => self.list(usize::from(marker & 0x0f), depth)?,
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc0 => py.None().into_bound(py),
            0xc2 => false.into_pyobject(py)?.to_owned().into_any(),
            0xc3 => true.into_pyobject(py)?.to_owned().into_any(),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                PyBytes::new(py, self.take(length)?).into_any()
            }
            0xca => PyFloat::new(py, f32::from_be_bytes(self.number()?).into()).into_any(),
            0xcb => PyFloat::new(py, f64::from_be_bytes(self.number()?)).into_any(),
            0xcc => u8::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xcd => u16::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xce => u32::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xcf => u64::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xd0 => i8::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xd1 => i16::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xd2 => i32::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xd3 => i64::from_be_bytes(self.number()?).into_pyobject(py)?.into_any(),
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                self.list(length, depth)?
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                self.map(length, depth)?
            }
            0xe0..=0xff => marker.cast_signed().into_pyobject(py)?.into_any(),
            _ => return Err(damaged("it has an extension type")),
        })
    }

    fn text(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let text = str::from_utf8(self.take(length)?).map_err(|_| damaged("its text is not UTF-8"))?;
        Ok(PyString::new(self.py, text).into_any())
    }

    fn list(&mut self, length: usize, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        for _ in 0..length {
            list.append(self.value(depth + 1)?)?;
        }
        Ok(list.into_any())
    }

    fn map(&mut self, length: usize, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        let map = PyDict::new(self.py);
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            // The keys of Rust's maps may be sequences, which Python's may only be as tuples.
            let key = if let Ok(list) = key.cast::<PyList>() { list.to_tuple().into_any() } else { key };
            map.set_item(key, self.value(depth + 1)?)?;
        }
        Ok(map.into_any())
    }
}
