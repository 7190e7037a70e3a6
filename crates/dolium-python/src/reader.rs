//! Owns files on both sides: a Python file that the engine reads from, and a value that Python reads.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;

use dolium::Stream;
use pyo3::exceptions::{PyIsADirectoryError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::lazy::Lazy;
use crate::memory::copied;
use crate::{enter, signals};

static OPEN: Lazy = Lazy::new("dolium.disk", "open_descriptor");
static READ: Lazy = Lazy::new("posix", "read");
static BYTES_IO: Lazy = Lazy::new("io", "BytesIO");

/// Bytes asked for at once, as in diskcache.
const CHUNK: usize = 1 << 22;

/// A Python object with a method `read`, as a reader. Attaches to the interpreter for each chunk; the
/// engine reads before it takes any lock.
pub(crate) struct PyReader {
    read: Py<PyAny>,
    chunk: Option<PyBackedBytes>,
    position: usize,
}

impl PyReader {
    pub fn new(file: &Bound<'_, PyAny>) -> Self {
        Self { read: file.clone().unbind(), chunk: None, position: 0 }
    }

    fn fill(&mut self) -> PyResult<()> {
        self.position = 0;
        let filled = enter::back(|py| {
            let chunk = self.read.bind(py).call_method1("read", (CHUNK,))?;
            if let Ok(chunk) = chunk.cast::<PyBytes>() {
                return Ok(PyBackedBytes::from(chunk.clone()));
            }
            if chunk.is_instance_of::<PyByteArray>() || chunk.is_instance_of::<PyMemoryView>() {
                return copied(&chunk).map(PyBackedBytes::from);
            }
            let message = "the file must be opened in binary mode: its read() did not return bytes";
            Err(PyTypeError::new_err(message))
        });
        let filled = filled.ok_or_else(|| PyRuntimeError::new_err("the interpreter is shutting down"))??;
        self.chunk = Some(filled);
        Ok(())
    }
}

impl Read for PyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.as_ref().is_none_or(|chunk| self.position == chunk.len())
            && let Err(error) = self.fill()
        {
            signals::keep(error);
            return Err(io::Error::other("a Python exception"));
        }
        let chunk = self.chunk.as_deref().unwrap_or_default();
        let count = (&chunk[self.position..]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

/// The Python file for a value. A value file keeps its path as `name`.
pub(crate) fn open(py: Python<'_>, stream: Stream) -> PyResult<Bound<'_, PyAny>> {
    match stream {
        Stream::File { file, path } => {
            use std::os::fd::IntoRawFd;
            OPEN.get(py)?.call1((file.into_raw_fd(), path.to_string_lossy().into_owned()))
        }
        Stream::Memory(cursor) => in_memory(py, cursor.get_ref()),
        mut other => {
            let mut bytes = Vec::new();
            other.read_to_end(&mut bytes)?;
            in_memory(py, &bytes)
        }
    }
}

/// All `size` bytes of a value file, read once to where they stay, without the interpreter's lock. Returns `None` if it has
/// fewer or more.
pub(crate) fn whole(py: Python<'_>, mut file: File, size: usize) -> PyResult<Option<Bound<'_, PyBytes>>> {
    // One more is asked for, which says whether there are more.
    let bytes = match READ.get(py)?.call1((file.as_raw_fd(), size + 1)) {
        // Nothing has asked before what has the name.
        Err(error) if error.is_instance_of::<PyIsADirectoryError>(py) => return Ok(None),
        read => read?.cast_into::<PyBytes>()?,
    };
    match bytes.as_bytes().len() {
        length if length == size => return Ok(Some(bytes)),
        length if length > size => return Ok(None),
        _ => {}
    }
    // A file system may return less than was asked for.
    let read = enter::leave(py, || {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map(|_| bytes)
    })?;
    Ok((read.len() == size).then(|| PyBytes::new(py, &read)))
}

fn in_memory<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    BYTES_IO.get(py)?.call1((PyBytes::new(py, bytes),))
}
