//! The memory of Python objects as bytes, which the engine reads without the interpreter and without a copy of the whole.
//!
//! Another thread may write to the memory meanwhile, so it is read through cells, a piece at a time.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read};

use pyo3::buffer::{PyBuffer, ReadOnlyCell};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyFloat, PyInt, PyMemoryView, PySlice, PyString, PyTuple};
use send_wrapper::SendWrapper;

use crate::enter;
use crate::lazy::Lazy;

static MMAP: Lazy = Lazy::new("mmap", "mmap");

/// Bytes from which on a value file is written from the memory itself.
const LARGE: usize = 1 << 16;

/// Bytes from which on other threads run while they are copied.
pub(crate) const MANY: usize = 1 << 20;

/// Bytes that are copied before the other threads get their turn.
const PIECE: usize = 1 << 18;

/// Letters that are encoded before the other threads get their turn.
const LETTERS: usize = 1 << 16;

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

/// Bytes as an object. The other threads get their turn, if they are many.
pub(crate) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if bytes.len() < MANY {
        return Ok(PyBytes::new(py, bytes));
    }
    let mut bytes = bytes;
    let length = bytes.len();
    written(py, length, |piece| bytes.read(piece))
}

/// So many bytes of `read` as an object, in pieces between which the other threads get their turn.
fn written(
    py: Python<'_>,
    length: usize,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> PyResult<Bound<'_, PyBytes>> {
    let mut piece = vec![0; PIECE];
    PyBytes::new_with_writer(py, length, |writer| {
        loop {
            let count = read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            writer.write_bytes(&piece[..count])?;
            py.detach(|| {});
        }
    })
}

/// Bytes that may be written to, which are copied without the interpreter if they are many.
pub(crate) fn bytearray<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
    if bytes.len() < MANY {
        return Ok(PyByteArray::new(py, bytes));
    }
    Ok(filled(py, bytes.len(), |place| place.take(bytes))?.0)
}

/// Bytes that may be written to, all of which `fill` writes without the interpreter.
pub(crate) fn filled<T: Send>(
    py: Python<'_>,
    length: usize,
    fill: impl FnOnce(&mut Place<'_>) -> T + Send,
) -> PyResult<(Bound<'_, PyByteArray>, T)> {
    let array = PyByteArray::new(py, b"");
    // Does not write to the memory, which would take as long as to fill it.
    array.resize(length)?;
    let buffer = PyBuffer::get(&array)?;
    #[expect(
        deprecated,
        reason = "the pointer in its place needs `unsafe`; a cell is written like a pointer"
    )]
    let mut place = Place(SendWrapper::new(buffer.as_mut_slice(py).unwrap_or_default()));
    let done = enter::leave(py, || fill(&mut place));
    drop(place);
    drop(buffer);
    Ok((array, done))
}

/// The memory that is not written yet. The wrapper lets it leave the interpreter, but not the thread.
pub(crate) struct Place<'a>(SendWrapper<&'a [Cell<u8>]>);

impl Place<'_> {
    /// Writes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let (now, later) = self.0.split_at(bytes.len().min(self.0.len()));
        now.iter().zip(bytes).for_each(|(cell, byte)| cell.set(*byte));
        *self.0 = later;
    }

    /// Writes all that a reader reads.
    pub fn take_all(&mut self, reader: &mut Reader<'_>) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            match reader.read(&mut piece)? {
                0 => return Ok(()),
                count => self.take(&piece[..count]),
            }
        }
    }
}

/// Text as UTF-8. Where Python must encode it, the other threads get their turn, and it keeps no copy.
#[inline]
pub(crate) fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    let length = text.len()?;
    if length < MANY || text.call_method0("isascii")?.is_truthy()? {
        return text.to_str().map(Cow::Borrowed);
    }
    let py = text.py();
    let mut whole = String::with_capacity(2 * length);
    for begin in (0..length).step_by(LETTERS) {
        let piece = PySlice::new(py, begin.try_into()?, (begin + LETTERS).try_into()?, 1);
        whole.push_str(text.get_item(piece)?.cast::<PyString>()?.to_str()?);
        py.detach(|| {});
    }
    Ok(Cow::Owned(whole))
}

/// The bytes that objects' memory shows, one behind the other.
pub(crate) fn joined<'py>(parts: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyBytes>> {
    let (py, items): (_, Vec<_>) = (parts.py(), parts.iter().collect());
    match Memory::of(items.iter())? {
        Some(memory) if memory.length() >= MANY => {
            let mut reader = memory.reader(py);
            written(py, memory.length(), |piece| reader.read(piece))
        }
        _ => Ok(PyBytes::new(py, b"").call_method1("join", (parts,))?.cast_into()?),
    }
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
