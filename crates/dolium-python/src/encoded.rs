//! Values of codecs: what the package has encoded on its way into the store, and what it decodes on its way back.

use std::cell::OnceCell;

use dolium::Cache;
use dolium::raw::{self, Frame, Zstd, encoder};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::lazy::Lazy;
use crate::memory::{self, Memory, Place};
use crate::{enter, error};

pub(crate) static DECODE: Lazy = Lazy::new("dolium.codecs.decoding", "decode");
static SCAN: Lazy = Lazy::new("dolium.codecs.json", "scan");

/// Bytes from which on the interpreter is left to compress or decompress.
pub(crate) const MANY: usize = 4 << 10;

/// A value that a codec has encoded.
pub(crate) struct Made<'py> {
    encoder: u8,
    /// What the encoder made, after the filters that the package applies.
    body: Content<'py>,
    filters: Vec<u8>,
    /// The length of what the encoder made.
    length: u64,
    is_aligned: bool,
    /// What is stored instead of these bytes and filters.
    packed: Option<(Vec<u8>, Vec<u8>)>,
    /// The number in the frame's field of the dictionary.
    dictionary: Option<u32>,
}

/// Bytes, objects whose memory they are, one behind the other, or ASCII text that they are.
pub(crate) struct Content<'py> {
    whole: OnceCell<Bound<'py, PyBytes>>,
    parts: Option<Bound<'py, PyTuple>>,
    text: Option<Bound<'py, PyString>>,
}

impl<'py> Content<'py> {
    pub fn of(object: Bound<'py, PyAny>) -> PyResult<Self> {
        let nothing = Self { whole: OnceCell::new(), parts: None, text: None };
        Ok(if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            Self { whole: OnceCell::from(bytes.clone()), ..nothing }
        } else if let Ok(text) = object.cast_exact::<PyString>() {
            Self { text: Some(text.clone()), ..nothing }
        } else {
            Self { parts: Some(object.cast_into::<PyTuple>()?), ..nothing }
        })
    }

    /// All bytes in one piece.
    fn bytes(&self) -> PyResult<&[u8]> {
        match &self.text {
            Some(text) => text.to_str().map(str::as_bytes),
            None => Ok(self.whole()?.as_bytes()),
        }
    }

    /// All bytes as one object.
    pub fn whole(&self) -> PyResult<&Bound<'py, PyBytes>> {
        if self.whole.get().is_none() {
            let made = match (&self.parts, &self.text) {
                (Some(parts), _) => memory::joined(parts)?,
                (None, Some(text)) => memory::bytes(text.py(), text.to_str()?.as_bytes())?,
                (None, None) => return Err(PyRuntimeError::new_err("a codec has made nothing")),
            };
            let _ = self.whole.set(made);
        }
        self.whole.get().ok_or_else(|| PyRuntimeError::new_err("a codec has made nothing"))
    }

    /// The large memory that the parts are, if they are not in one piece yet.
    pub fn memory(&self) -> PyResult<Option<Memory>> {
        let Some(parts) = &self.parts else { return Ok(None) };
        let parts: Vec<_> = parts.iter().collect();
        Memory::of(parts.iter())
    }

    /// A copy that may be written to.
    fn copied(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(memory) = self.memory()? {
            let mut reader = memory.reader(py);
            let fill = |place: &mut Place<'_>| place.take_all(&mut reader);
            let (copied, done) = memory::filled(py, memory.length(), fill)?;
            done?;
            return Ok(copied.into_any());
        }
        Ok(memory::bytearray(py, self.bytes()?)?.into_any())
    }
}

/// The values with which a value may share a dictionary: those of a group in a cache.
#[derive(Clone, Copy)]
pub(crate) struct Peers<'a> {
    pub cache: &'a Cache,
    pub group: &'a str,
}

/// Compression as the last filter: the level, the bytes of an element, and whether to use a dictionary.
type Compression = (i32, u8, bool);

/// What `Codec._encode` returns.
type Parts<'py> = (u8, Bound<'py, PyAny>, Vec<u8>, u64, bool, Option<Compression>);

impl<'py> Made<'py> {
    /// Encodes a value. Returns `None` if it is stored as without a codec.
    pub fn of(
        codec: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        peers: Peers<'_>,
    ) -> PyResult<Option<Self>> {
        let parts = codec.call_method1("_encode", (value,))?;
        if parts.is_none() {
            return Ok(None);
        }
        let (encoder, body, filters, length, is_aligned, compression): Parts<'_> = parts.extract()?;
        let body = Content::of(body)?;
        let mut made = Self { encoder, body, filters, length, is_aligned, packed: None, dictionary: None };
        if let Some((level, element, shares)) = compression {
            made.compress(codec.py(), Zstd::new(level).element(element), Some(peers).filter(|_| shares))?;
        }
        Ok((!made.is_plain() || ![encoder::TEXT, encoder::BYTES].contains(&encoder)).then_some(made))
    }

    fn compress(&mut self, py: Python<'_>, zstd: Zstd<'_>, peers: Option<Peers<'_>>) -> PyResult<()> {
        let body = self.body.bytes()?;
        if self.filters.is_empty() {
            self.length = body.len() as u64;
        }
        let packed = match peers {
            // The store may be asked.
            Some(Peers { cache, group }) => {
                let packed;
                (packed, self.dictionary) =
                    enter::leave(py, || raw::group(cache, group).compress(zstd, body));
                packed
            }
            None if body.len() < MANY => zstd.apply(body),
            None => enter::leave(py, || zstd.apply(body)),
        };
        self.packed = packed.map(|(last, packed)| ([&*self.filters, &*last].concat(), packed));
        Ok(())
    }

    /// Whether a frame says no more of it than its encoder.
    fn is_plain(&self) -> bool {
        self.packed.is_none() && self.filters.is_empty() && self.dictionary.is_none()
    }

    /// The pickle that it is, if a row can say so without a frame.
    pub fn pickle(&self) -> Option<&Bound<'py, PyBytes>> {
        self.body.whole.get().filter(|_| self.is_plain() && self.encoder == encoder::PICKLE)
    }

    pub fn frame(&self) -> PyResult<Frame<'_>> {
        let (filters, body) = match &self.packed {
            Some((filters, packed)) => (&**filters, &**packed),
            None => (&*self.filters, self.body.bytes()?),
        };
        let frame = Frame::new(self.encoder, body).aligned(self.is_aligned).dictionary(self.dictionary);
        Ok(if filters.is_empty() { frame } else { frame.filtered(filters, self.length) })
    }

    /// The frame without its body, and the large memory that this is. `None` if the frame must have its body.
    pub fn lent(&self) -> PyResult<Option<(Frame<'static>, Memory)>> {
        let frame = Frame::new(self.encoder, b"").aligned(self.is_aligned);
        if !self.is_plain() || frame.is_signed() && self.is_aligned {
            return Ok(None);
        }
        Ok(self.body.memory()?.map(|memory| (frame, memory)))
    }

    /// What a reader will get.
    pub fn again(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let body = if is_viewed(self.encoder) {
            self.body.copied(py)?
        } else {
            self.body.whole()?.clone().into_any()
        };
        DECODE.get(py)?.call1((self.encoder, PyBytes::new(py, &self.filters), body, true, self.is_aligned))
    }
}

/// Bytes as a decoder wants them: in memory of its own, if what it makes is a view of them.
pub(crate) fn body<'py>(py: Python<'py>, encoder: u8, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(if is_viewed(encoder) {
        memory::bytearray(py, bytes)?.into_any()
    } else {
        memory::bytes(py, bytes)?.into_any()
    })
}

/// Whether what a decoder makes is a view of the bytes.
fn is_viewed(encoder: u8) -> bool {
    [encoder::ARRAY, encoder::BUFFERS].contains(&encoder)
}

/// JSON without a type, for which no Python code needs to run.
pub(crate) fn scan<'py>(py: Python<'py>, bytes: &[u8]) -> Option<PyResult<Bound<'py, PyAny>>> {
    let text = std::str::from_utf8(bytes.strip_prefix(b"\0")?).ok()?;
    let scanned = SCAN.get(py).and_then(|scan| scan.call1((PyString::new(py, text), 0)));
    match scanned.and_then(|found| found.extract::<(Bound<'py, PyAny>, usize)>()) {
        Ok((value, end)) if end == text.len() || text.chars().count() == end => Some(Ok(value)),
        Ok(_) => Some(Err(unreadable(py, "JSON with more behind it"))),
        Err(error) if error.is_instance_of::<PyException>(py) => {
            Some(Err(unreadable(py, &error.value(py).to_string())))
        }
        Err(error) => Some(Err(error)),
    }
}

/// The error of a value that counts as missing.
pub(crate) fn unreadable(py: Python<'_>, why: &str) -> PyErr {
    error::UNREADABLE.error(py, (format!("the value cannot be read: {why}"),))
}

/// Compress bytes; None if that does not save a sixteenth. Return the numbers of the filters, and the bytes.
#[pyfunction]
#[pyo3(signature = (data, level, element, /))]
fn zstd_apply<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
    level: i32,
    element: u8,
) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
    let bytes = data.as_bytes();
    let packed = enter::leave(py, || Zstd::new(level).element(element).apply(bytes));
    packed.map(|(filters, packed)| Ok((PyBytes::new(py, &filters), memory::bytes(py, &packed)?))).transpose()
}

/// Undo filters up to one that is the package's. Return how many are left, and the bytes; None if they are damaged.
#[pyfunction]
#[pyo3(signature = (filters, data, /))]
fn filters_undo<'py>(
    py: Python<'py>,
    filters: &[u8],
    data: &[u8],
) -> PyResult<Option<(usize, Bound<'py, PyAny>)>> {
    let found = enter::leave(py, || raw::undo(filters, data, None));
    found.map(|(left, bytes)| Ok((left, memory::bytes(py, &bytes)?.into_any()))).transpose()
}

/// Encode text as UTF-8, while other threads get their turn.
#[pyfunction]
#[pyo3(signature = (text, /))]
fn encode_text<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    memory::bytes(text.py(), memory::utf8(text)?.as_bytes())
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_text, module)?)?;
    module.add_function(wrap_pyfunction!(zstd_apply, module)?)?;
    module.add_function(wrap_pyfunction!(filters_undo, module)?)
}
