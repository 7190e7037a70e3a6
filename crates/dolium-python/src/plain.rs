//! Owns reading keys back, and the pickles of plain data that most keys which are no text or number are:
//! None, bool, int, float, str, bytes and tuples of them. Runs nothing; whatever it does not know it
//! leaves to Python.

use dolium::Key;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyString, PyTuple};

use crate::lazy::Lazy;
use crate::store::Trust;

static LOADS: Lazy = Lazy::new("pickle", "loads");
static TRUSTED: Lazy = Lazy::new("dolium.trust", "loads");

/// The Python object that a key was. A refused pickle raises `UntrustedValueError`.
pub(crate) fn key<'py>(py: Python<'py>, key: &Key<'_>, trust: Trust) -> PyResult<Bound<'py, PyAny>> {
    Ok(match key {
        Key::Int(value) => value.into_pyobject(py)?.into_any(),
        Key::Float(value) => PyFloat::new(py, *value).into_any(),
        Key::Text(value) => PyString::new(py, value).into_any(),
        Key::Bytes(value) => PyBytes::new(py, value).into_any(),
        Key::Pickle(pickle) => {
            if let Some(object) = load(py, pickle)? {
                return Ok(object);
            }
            let loads = if trust == Trust::All { &LOADS } else { &TRUSTED };
            loads.get(py)?.call1((PyBytes::new(py, pickle),))?
        }
    })
}

/// The plain data in a pickle. `None`: there is something else in it.
fn load<'py>(py: Python<'py>, pickle: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    Machine { py, rest: pickle, stack: Vec::new(), marks: Vec::new() }.run()
}

struct Machine<'py, 'a> {
    py: Python<'py>,
    rest: &'a [u8],
    stack: Vec<Bound<'py, PyAny>>,
    marks: Vec<usize>,
}

impl<'py, 'a> Machine<'py, 'a> {
    fn run(mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        while let Some(opcode) = self.take(1) {
            match opcode[0] {
                b'.' => return Ok(self.stack.pop().filter(|_| self.stack.is_empty())),
                opcode => {
                    if self.step(opcode)?.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// Runs one opcode. `None`: it is unknown, or the pickle is damaged.
    fn step(&mut self, opcode: u8) -> PyResult<Option<()>> {
        let py = self.py;
        let object = match opcode {
            0x80 => return Ok(self.take(1).map(drop)),
            0x95 => return Ok(self.take(8).map(drop)),
            // Memoized, which only matters where the memo is read: an opcode that is not known here.
            0x94 => return Ok(Some(())),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(Some(()));
            }
            b't' => {
                let Some(mark) = self.marks.pop() else { return Ok(None) };
                return self.tuple(mark);
            }
            b')' => return self.tuple(self.stack.len()),
            0x85..=0x87 => {
                let length = usize::from(opcode - 0x84);
                let Some(first) = self.stack.len().checked_sub(length) else { return Ok(None) };
                return self.tuple(first);
            }
            b'N' => Some(py.None().into_bound(py)),
            0x88 | 0x89 => Some(PyBool::new(py, opcode == 0x88).to_owned().into_any()),
            b'K' => self.unsigned(1)?,
            b'M' => self.unsigned(2)?,
            b'J' => match self.take(4).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => Some(i32::from_le_bytes(bytes).into_pyobject(py)?.into_any()),
                None => None,
            },
            0x8a => self.long()?,
            b'G' => self
                .take(8)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|bytes| PyFloat::new(py, f64::from_be_bytes(bytes)).into_any()),
            0x8c => self.text(1),
            b'X' => self.text(4),
            0x8d => self.text(8),
            b'C' => self.bytes(1),
            b'B' => self.bytes(4),
            0x8e => self.bytes(8),
            _ => None,
        };
        Ok(object.map(|object| self.stack.push(object)))
    }

    fn tuple(&mut self, first: usize) -> PyResult<Option<()>> {
        if first > self.stack.len() {
            return Ok(None);
        }
        let tuple = PyTuple::new(self.py, self.stack.drain(first..))?;
        self.stack.push(tuple.into_any());
        Ok(Some(()))
    }

    fn unsigned(&mut self, width: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(value) = self.length(width) else { return Ok(None) };
        Ok(Some(value.into_pyobject(self.py)?.into_any()))
    }

    /// Integers of up to eight bytes; larger ones are left to Python.
    fn long(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(bytes) = self.length(1).filter(|length| *length <= 8).and_then(|length| self.take(length))
        else {
            return Ok(None);
        };
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut value = [if negative { 0xff } else { 0 }; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(Some(i64::from_le_bytes(value).into_pyobject(self.py)?.into_any()))
    }

    fn text(&mut self, width: usize) -> Option<Bound<'py, PyAny>> {
        let length = self.length(width)?;
        let text = str::from_utf8(self.take(length)?).ok()?;
        Some(PyString::new(self.py, text).into_any())
    }

    fn bytes(&mut self, width: usize) -> Option<Bound<'py, PyAny>> {
        let length = self.length(width)?;
        Some(PyBytes::new(self.py, self.take(length)?).into_any())
    }
}
