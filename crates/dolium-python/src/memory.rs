//! The memory of Python objects as bytes, which the engine reads without the interpreter and without a copy of the whole.
//!
//! Another thread may write to the memory meanwhile, so it is read through cells, a piece at a time.

use std::io::{self, Read};

use pyo3::buffer::{PyBuffer, ReadOnlyCell};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyMemoryView, PyString};
use send_wrapper::SendWrapper;

use crate::lazy::Lazy;

static MMAP: Lazy = Lazy::new("mmap", "mmap");

/// Bytes from which on a value file is written from the memory itself.
const LARGE: usize = 1 << 16;

/// Whether an object is nothing but memory, which `pickle` refuses: it is stored as the bytes that it shows.
///
/// *Trap*: to import a module runs Python code, in which Ctrl-C may come. One that is not there has no instances.
pub(crate) fn is_memory(object: &Bound<'_, PyAny>) -> bool {
    let is_common = object.is_exact_instance_of::<PyBytes>()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>();
    let is_mmap = || MMAP.get_if_imported(object.py()).is_some_and(|class| object.get_type().is(class));
    object.is_exact_instance_of::<PyMemoryView>() || !is_common && is_mmap()
}

/// The bytes that an object's memory shows, in C order.
pub(crate) fn copied<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyMemoryView::from(object)?.call_method0("tobytes")?.cast_into()?)
}

/// Large memory of some objects, one behind the other. It stays where it is as long as this lives.
pub(crate) struct Memory(Vec<PyBuffer<u8>>);

impl Memory {
    /// Returns `None` if it is not large, or if its bytes do not lie side by side.
    pub fn of<'a, 'py: 'a>(parts: impl Iterator<Item = &'a Bound<'py, PyAny>>) -> PyResult<Option<Self>> {
        let mut buffers = Vec::new();
        for part in parts {
            let view = PyMemoryView::from(part)?;
            // Views of odd formats have no flat form.
            let flat = view.call_method1("cast", ("B",)).and_then(|flat| PyBuffer::get(&flat));
            let Ok(flat) = flat else { return Ok(None) };
            buffers.push(flat);
        }
        let memory = Self(buffers);
        Ok(Some(memory).filter(|memory| memory.length() >= LARGE))
    }

    /// Bytes in all.
    pub fn length(&self) -> usize {
        self.0.iter().map(|buffer| buffer.len_bytes()).sum()
    }

    /// All bytes, to be read once.
    pub fn reader<'a>(&'a self, py: Python<'a>) -> Reader<'a> {
        #[expect(
            deprecated,
            reason = "the pointer in its place needs `unsafe`; a cell is read like a pointer"
        )]
        let parts = self.0.iter().filter_map(|buffer| buffer.as_slice(py)).collect();
        Reader(SendWrapper::new(parts))
    }
}

/// What is not read yet. The wrapper lets it leave the interpreter, but not the thread.
pub(crate) struct Reader<'a>(SendWrapper<Vec<&'a [ReadOnlyCell<u8>]>>);

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        for part in self.0.iter_mut() {
            let (now, later) = part.split_at(part.len().min(buffer.len() - done));
            let places = buffer[done..].iter_mut().zip(now);
            places.for_each(|(place, cell)| *place = cell.get());
            (*part, done) = (later, done + now.len());
        }
        Ok(done)
    }
}
