//! The memory of arrays, given to a hasher in C order without the interpreter and without a whole copy.
//!
//! Another thread may write to the memory meanwhile, as it may while any function of NumPy reads it. So the elements
//! are read one by one through cells, into a tile that fits the processor's cache; only tiles are hashed.

use std::ops::Range;

use blake3::hazmat::{self, ChainingValue, HasherExt as _};
use blake3::{Hash, Hasher};
use pyo3::buffer::{Element, PyBuffer, ReadOnlyCell};
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};
use send_wrapper::SendWrapper;

use super::leaves::{MANY, Sink};

/// Bytes that are hashed at once.
const TILE: usize = 1 << 16;
/// Bytes of a tile in which rows are put in order.
const SLAB: usize = 1 << 20;
/// Bytes of one piece of memory that several threads hash, and how often it is halved among them.
const PIECE: usize = 1 << 22;
const HALVINGS: u32 = 2;
/// Rows of such a tile, and columns that are read side by side.
const ROWS: usize = 128;
const COLUMNS: usize = 16;

/// The elements of an array in C order, as they lie in memory, in a description of a value.
///
/// `source` is a C-contiguous buffer of bytes, an iterator of such, or with `shape` and `strides` (both in elements, in
/// C order of the array) one of unsigned integers that are the elements.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct Raw {
    length: usize,
    source: Py<PyAny>,
    layout: Option<(Vec<usize>, Vec<usize>)>,
}

#[pymethods]
impl Raw {
    #[new]
    #[pyo3(signature = (length, source, shape = None, strides = None, /))]
    fn new(length: usize, source: Py<PyAny>, shape: Option<Vec<usize>>, strides: Option<Vec<usize>>) -> Self {
        Self { length, source, layout: shape.zip(strides) }
    }
}

impl Raw {
    pub fn length(&self) -> usize {
        self.length
    }

    /// The hash of all bytes.
    pub fn hash(&self, py: Python<'_>) -> PyResult<Hash> {
        let source = self.source.bind(py);
        if self.layout.is_none()
            && self.length > PIECE
            && let Ok(buffer) = PyBuffer::<u8>::get(source)
            && buffer.len_bytes() == self.length
        {
            return hash(py, &buffer);
        }
        if self.length < MANY {
            let mut whole = Vec::with_capacity(self.length);
            self.feed(py, &mut whole)?;
            return Ok(blake3::hash(&whole));
        }
        let mut hasher = Hasher::new();
        self.feed(py, &mut hasher)?;
        Ok(hasher.finalize())
    }

    /// Gives all bytes to a sink.
    pub fn feed(&self, py: Python<'_>, sink: &mut dyn Sink) -> PyResult<()> {
        let mut sink = Counted { sink, bytes: 0 };
        let source = self.source.bind(py);
        if let Some((shape, strides)) = &self.layout {
            feed_in_order(source, shape, strides, &mut sink)?;
        } else if let Ok(pieces) = source.cast::<PyIterator>() {
            for piece in pieces {
                feed_piece(&piece?, &mut sink)?;
            }
        } else {
            feed_piece(source, &mut sink)?;
        }
        if sink.bytes == self.length {
            return Ok(());
        }
        let (found, length) = (sink.bytes, self.length);
        Err(PyRuntimeError::new_err(format!("{found} bytes were found where {length} were announced")))
    }
}

struct Counted<'a> {
    sink: &'a mut dyn Sink,
    bytes: usize,
}

impl Sink for Counted<'_> {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.sink.take(bytes);
    }
}

fn feed_piece(piece: &Bound<'_, PyAny>, sink: &mut dyn Sink) -> PyResult<()> {
    let py = piece.py();
    match piece.cast_exact::<PyBytes>() {
        Ok(bytes) => {
            let bytes = bytes.as_bytes();
            leave(py, bytes.len(), || sink.take(bytes));
            Ok(())
        }
        Err(_) => feed(py, sink, &PyBuffer::<u8>::get(piece)?),
    }
}

/// Gives a contiguous buffer to a sink.
pub(super) fn feed<T: Word>(py: Python<'_>, sink: &mut dyn Sink, buffer: &PyBuffer<T>) -> PyResult<()> {
    let (cells, bytes) = (cells(py, buffer)?, buffer.len_bytes());
    leave(py, bytes, || feed_run(&cells, &mut vec![0; bytes.min(TILE)], sink));
    Ok(())
}

/// The hash of a contiguous buffer. Several threads hash a large one, each some subtrees of BLAKE3's tree.
pub(super) fn hash<T: Word>(py: Python<'_>, buffer: &PyBuffer<T>) -> PyResult<Hash> {
    let length = buffer.len_bytes();
    if length < MANY {
        let mut whole = Vec::with_capacity(length);
        feed(py, &mut whole, buffer)?;
        return Ok(blake3::hash(&whole));
    }
    if length <= PIECE {
        let mut hasher = Hasher::new();
        feed(py, &mut hasher, buffer)?;
        return Ok(hasher.finalize());
    }
    let (left, right) = py.detach(|| halves(buffer, 0..length, HALVINGS))?;
    Ok(hazmat::merge_subtrees_root(&left, &right, hazmat::Mode::Hash))
}

/// The hashes of the two subtrees of some bytes, without the interpreter.
fn halves<T: Word>(
    buffer: &PyBuffer<T>,
    bytes: Range<usize>,
    halvings: u32,
) -> PyResult<(ChainingValue, ChainingValue)> {
    // Half of what is in memory is no more than memory.
    let left = usize::try_from(hazmat::left_subtree_len(bytes.len() as u64)).unwrap_or(bytes.len());
    let (middle, less) = (bytes.start + left, halvings.saturating_sub(1));
    std::thread::scope(|scope| {
        let beside = || subtree(buffer, bytes.start..middle, less);
        // Where the system refuses a thread, this one hashes both.
        let beside = std::thread::Builder::new().spawn_scoped(scope, beside);
        let right = subtree(buffer, middle..bytes.end, less)?;
        let left = match beside {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            Err(_) => subtree(buffer, bytes.start..middle, less)?,
        };
        Ok((left, right))
    })
}

/// The hash of some bytes that are a subtree, without the interpreter.
fn subtree<T: Word>(buffer: &PyBuffer<T>, bytes: Range<usize>, halvings: u32) -> PyResult<ChainingValue> {
    if halvings > 0 && bytes.len() > PIECE {
        let (left, right) = halves(buffer, bytes, halvings)?;
        return Ok(hazmat::merge_subtrees_non_root(&left, &right, hazmat::Mode::Hash));
    }
    let hash = |py: Python<'_>| -> PyResult<ChainingValue> {
        let cells = cells(py, buffer)?;
        let cells = SendWrapper::new(&cells[bytes.start / T::LENGTH..bytes.end / T::LENGTH]);
        Ok(py.detach(|| {
            let mut hasher = Hasher::new();
            hasher.set_input_offset(bytes.start as u64);
            feed_run(&cells, &mut vec![0; TILE], &mut hasher);
            hasher.finalize_non_root()
        }))
    };
    Python::try_attach(hash).unwrap_or_else(|| Err(PyRuntimeError::new_err("the interpreter ends")))
}

/// Runs `f` detached from the interpreter if it takes long.
fn leave<T>(py: Python<'_>, bytes: usize, f: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    if bytes < MANY { f() } else { py.detach(f) }
}

/// The elements of a buffer. The wrapper lets them leave the interpreter, but not the thread.
#[expect(deprecated, reason = "the pointer in its place needs `unsafe`; a cell is read like a pointer")]
fn cells<'a, T: Element>(
    py: Python<'a>,
    buffer: &'a PyBuffer<T>,
) -> PyResult<SendWrapper<&'a [ReadOnlyCell<T>]>> {
    let cells = buffer.as_slice(py).ok_or_else(|| PyBufferError::new_err("the buffer is not contiguous"))?;
    Ok(SendWrapper::new(cells))
}

fn feed_in_order(
    source: &Bound<'_, PyAny>,
    shape: &[usize],
    strides: &[usize],
    sink: &mut dyn Sink,
) -> PyResult<()> {
    fn typed<T: Word>(
        buffer: &PyBuffer<T>,
        py: Python<'_>,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> PyResult<()> {
        let cells = cells(py, buffer)?;
        leave(py, cells.len() * T::LENGTH, || order.feed(&cells, sink));
        Ok(())
    }
    let py = source.py();
    let order = Order::new(shape, strides);
    if let Ok(buffer) = PyBuffer::<u64>::get(source) {
        return typed(&buffer, py, &order, sink);
    }
    if let Ok(buffer) = PyBuffer::<u32>::get(source) {
        return typed(&buffer, py, &order, sink);
    }
    if let Ok(buffer) = PyBuffer::<u16>::get(source) {
        return typed(&buffer, py, &order, sink);
    }
    typed(&PyBuffer::<u8>::get(source)?, py, &order, sink)
}

/// An element that is moved as one word.
pub(super) trait Word: Element + Send + Sync {
    /// An array of its bytes.
    type Bytes: Copy;
    const LENGTH: usize = size_of::<Self>();
    fn bytes(self) -> Self::Bytes;
    /// A tile as places of such words.
    fn places(tile: &mut [u8]) -> &mut [Self::Bytes];
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Word for $word {
            type Bytes = [u8; size_of::<Self>()];
            #[inline]
            fn bytes(self) -> Self::Bytes {
                self.to_ne_bytes()
            }
            #[inline]
            fn places(tile: &mut [u8]) -> &mut [Self::Bytes] {
                tile.as_chunks_mut().0
            }
        }
    )*};
}
words!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

fn feed_run<T: Word>(cells: &[ReadOnlyCell<T>], tile: &mut [u8], sink: &mut dyn Sink) {
    for run in cells.chunks((tile.len() / T::LENGTH).max(1)) {
        let tile = &mut tile[..run.len() * T::LENGTH];
        for (place, cell) in T::places(tile).iter_mut().zip(run) {
            *place = cell.get().bytes();
        }
        sink.take(tile);
    }
}

/// The way through memory that takes the elements in C order. Together the axes cover a contiguous piece.
struct Order {
    /// The axes before the one whose elements lie side by side, that one's length, and those after it.
    outer: Axes,
    unit: usize,
    inner: Axes,
}

#[derive(Clone)]
struct Axes {
    shape: Vec<usize>,
    strides: Vec<usize>,
    index: Vec<usize>,
    offset: usize,
}

impl Axes {
    fn new(axes: &[(usize, usize)]) -> Self {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.iter().copied().unzip();
        Self { index: vec![0; shape.len()], shape, strides, offset: 0 }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The offset of the next element. After the last one it begins again.
    #[inline]
    fn step(&mut self) -> usize {
        let offset = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.shape[axis] * self.strides[axis];
            self.index[axis] = 0;
        }
        offset
    }
}

impl Order {
    fn new(shape: &[usize], strides: &[usize]) -> Self {
        let axes: Vec<_> =
            shape.iter().copied().zip(strides.iter().copied()).filter(|(length, _)| *length != 1).collect();
        let unit = axes.iter().position(|(_, stride)| *stride == 1).unwrap_or(axes.len());
        let after = (unit + 1).min(axes.len());
        Self {
            outer: Axes::new(&axes[..unit]),
            unit: axes.get(unit).map_or(1, |(length, _)| *length),
            inner: Axes::new(&axes[after..]),
        }
    }

    fn feed<T: Word>(&self, cells: &[ReadOnlyCell<T>], sink: &mut dyn Sink) {
        let mut outer = self.outer.clone();
        let width = self.inner.count();
        let rows = (SLAB / (width * T::LENGTH).max(1)).clamp(1, ROWS).min(self.unit);
        let mut slab = vec![0; if rows > 1 { rows * width * T::LENGTH } else { TILE }];
        for _ in 0..outer.count() {
            let start = outer.step();
            if width == 1 {
                feed_run(&cells[start..start + self.unit], &mut slab, sink);
            } else if rows == 1 {
                for row in start..start + self.unit {
                    self.feed_row(cells, row, width, &mut slab, sink);
                }
            } else {
                for row in (0..self.unit).step_by(rows) {
                    let rows = rows.min(self.unit - row);
                    let slab = &mut slab[..rows * width * T::LENGTH];
                    self.transpose(&cells[start + row..], rows, width, slab);
                    sink.take(slab);
                }
            }
        }
    }

    /// One row that is longer than a slab: its elements lie far from each other.
    fn feed_row<T: Word>(
        &self,
        cells: &[ReadOnlyCell<T>],
        start: usize,
        width: usize,
        tile: &mut [u8],
        sink: &mut dyn Sink,
    ) {
        let mut inner = self.inner.clone();
        let mut rest = width;
        while rest > 0 {
            let count = rest.min(tile.len() / T::LENGTH);
            let tile = &mut tile[..count * T::LENGTH];
            for place in T::places(tile) {
                *place = cells[start + inner.step()].get().bytes();
            }
            sink.take(tile);
            rest -= count;
        }
    }

    /// Some rows: of some columns at a time, as many elements that lie side by side as there are rows.
    fn transpose<T: Word>(&self, cells: &[ReadOnlyCell<T>], rows: usize, width: usize, slab: &mut [u8]) {
        let mut inner = self.inner.clone();
        let mut offsets = [0; COLUMNS];
        let places = T::places(slab);
        for column in (0..width).step_by(COLUMNS) {
            let offsets = &mut offsets[..COLUMNS.min(width - column)];
            offsets.fill_with(|| inner.step());
            for row in 0..rows {
                let places = &mut places[row * width + column..][..offsets.len()];
                for (place, offset) in places.iter_mut().zip(offsets.iter()) {
                    *place = cells[row + offset].get().bytes();
                }
            }
        }
    }
}
