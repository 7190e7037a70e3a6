//! The walk over a value and its parts. It keeps its own stack, so no depth is too deep, and it knows the way to the part
//! that it is at.

use std::collections::{HashMap, HashSet};

use blake3::Hasher;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PyRange, PySet, PySlice, PyString, PyTuple, PyType};

use super::array::{self, DescribeArray};
use super::encode::{self, Fingerprint, tag};
use super::leaves;
use super::refusal::{Refusal, Stop};
use crate::lazy::Lazy;

static HANDLER: Lazy = Lazy::new("dolium.functions.fingerprint", "handler");

/// Work is counted in parts and in pieces of this many bytes. A value of little work is walked without remembering.
const PIECE: usize = 64;
const LITTLE: u64 = 1000;
/// Less work than this is done again where a part occurs again.
const WORTH: u64 = 16;
/// Signals are let in after so much work.
const PAUSE: u64 = 1 << 16;
/// Levels of which none is searched for what contains itself: it comes again on every level below.
const SHALLOW: usize = 64;
/// Encodings of ordered parts that are longer are hashed as they grow.
const LONG: usize = 1 << 16;

/// A walk over one value after the other.
pub(super) struct Walk<'py> {
    py: Python<'py>,
    out: Vec<u8>,
    frames: Vec<Frame<'py>>,
    /// The parts of the frames that have no sequence of their own.
    values: Vec<Bound<'py, PyAny>>,
    /// Where the parts of sets and dicts begin and end in `out`.
    marks: Vec<usize>,
    /// Forms of parts that were walked, by address. The object is kept, so that no other gets its address.
    known: HashMap<usize, (Bound<'py, PyAny>, Vec<u8>)>,
    /// The addresses of what is being walked below [`SHALLOW`].
    open: HashSet<usize>,
    handlers: HashMap<usize, (Bound<'py, PyType>, Bound<'py, PyAny>)>,
    work: u64,
    pause: u64,
}

/// A value whose parts are being walked.
pub(super) struct Frame<'py> {
    pub object: Bound<'py, PyAny>,
    pub parts: Parts<'py>,
    /// How many parts were begun.
    pub next: usize,
    /// Where its parts begin in the common stacks, and its encoding in `out`.
    pub values: usize,
    marks: usize,
    start: usize,
    work: u64,
    hasher: Option<Box<Hasher>>,
}

pub(super) enum Parts<'py> {
    Tuple(Bound<'py, PyTuple>),
    List(Bound<'py, PyList>, usize),
    /// So many of the common stack, in order.
    Values(usize),
    Set(usize),
    /// Twice as many: a key, its value.
    Dict(usize),
    /// What stands for an object.
    Object,
}

impl Parts<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Tuple(tuple) => tuple.len(),
            Self::List(_, count) | Self::Values(count) | Self::Set(count) | Self::Dict(count) => *count,
            Self::Object => 1,
        }
    }
}

impl<'py> Walk<'py> {
    pub fn new(py: Python<'py>) -> Self {
        Self {
            py,
            out: Vec::with_capacity(512),
            frames: Vec::new(),
            values: Vec::new(),
            marks: Vec::new(),
            known: HashMap::new(),
            open: HashSet::new(),
            handlers: HashMap::new(),
            work: 0,
            pause: PAUSE,
        }
    }

    /// The fingerprint of a value.
    pub fn fingerprint(&mut self, value: &Bound<'py, PyAny>) -> Result<Fingerprint, Refusal> {
        self.out.clear();
        match self.run(value) {
            Ok(()) => Ok(encode::of_form(&self.out)),
            Err(stop) => Err(Refusal::new(stop, &self.frames, &self.values)),
        }
    }

    fn run(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Stop> {
        self.enter(value.clone())?;
        while let Some(frame) = self.frames.last_mut() {
            if frame.next == frame.parts.count() {
                self.finish();
                continue;
            }
            let part = match &frame.parts {
                Parts::Tuple(tuple) => tuple.get_item(frame.next)?,
                Parts::List(list, _) => list.get_item(frame.next)?,
                _ => self.values[frame.values + frame.next].clone(),
            };
            frame.next += 1;
            self.enter(part)?;
        }
        Ok(())
    }

    fn enter(&mut self, value: Bound<'py, PyAny>) -> Result<(), Stop> {
        self.work += 1;
        let start = self.out.len();
        if !self.known.is_empty()
            && let Some((_, form)) = self.known.get(&address(&value))
        {
            self.out.extend_from_slice(form);
            self.closed();
            return Ok(());
        }
        if let Some(bytes) = leaves::write(&mut self.out, &value)? {
            self.work += (bytes / PIECE) as u64;
            self.keep(value, start, (bytes / PIECE) as u64);
            self.closed();
            return Ok(());
        }
        if self.work > self.pause {
            self.py.check_signals()?;
            self.pause = self.work + PAUSE;
        }
        if self.frames.len() >= SHALLOW && !self.open.insert(address(&value)) {
            return Err(Stop::Circle(value.unbind()));
        }
        self.begin(value, start)
    }

    /// Remembers the form of a part that was work.
    fn keep(&mut self, value: Bound<'py, PyAny>, start: usize, work: u64) {
        if work >= WORTH && self.work > LITTLE {
            self.known.insert(address(&value), (value, self.out[start..].to_vec()));
        }
    }

    /// Begins a value that has parts.
    fn begin(&mut self, value: Bound<'py, PyAny>, start: usize) -> Result<(), Stop> {
        let (values, marks) = (self.values.len(), self.marks.len());
        let work = self.work;
        let parts = self.parts(&value)?;
        if matches!(parts, Parts::Set(_) | Parts::Dict(_)) {
            self.marks.push(self.out.len());
        }
        self.frames.push(Frame { object: value, parts, next: 0, values, marks, start, work, hasher: None });
        Ok(())
    }

    /// Writes the header of a value, and finds its parts.
    fn parts(&mut self, value: &Bound<'py, PyAny>) -> Result<Parts<'py>, Stop> {
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            encode::header(&mut self.out, tag::TUPLE, tuple.len());
            return Ok(Parts::Tuple(tuple.clone()));
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            encode::header(&mut self.out, tag::LIST, list.len());
            return Ok(Parts::List(list.clone(), list.len()));
        }
        let before = self.values.len();
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            pyo3::sync::critical_section::with_critical_section(dict, || {
                self.values.extend(dict.iter().flat_map(|(key, value)| [key, value]));
            });
            let count = self.values.len() - before;
            encode::header(&mut self.out, tag::DICT, count / 2);
            return Ok(Parts::Dict(count));
        }
        let tag = if let Ok(set) = value.cast_exact::<PySet>() {
            pyo3::sync::critical_section::with_critical_section(set, || self.values.extend(set.iter()));
            tag::SET
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.values.extend(set.iter());
            tag::FROZENSET
        } else {
            return self.parts_of_other(value);
        };
        let count = self.values.len() - before;
        encode::header(&mut self.out, tag, count);
        Ok(Parts::Set(count))
    }

    fn parts_of_other(&mut self, value: &Bound<'py, PyAny>) -> Result<Parts<'py>, Stop> {
        let tag = if value.is_exact_instance_of::<PyRange>() {
            tag::RANGE
        } else if value.is_exact_instance_of::<PySlice>() {
            tag::SLICE
        } else {
            return self.describe(value);
        };
        self.out.push(tag);
        for name in ["start", "stop", "step"] {
            self.values.push(value.getattr(name)?);
        }
        Ok(Parts::Values(3))
    }

    /// Asks the package what stands for an object: the name of its type, and its parts.
    fn describe(&mut self, value: &Bound<'py, PyAny>) -> Result<Parts<'py>, Stop> {
        let class = value.get_type();
        let handler = if let Some((_, handler)) = self.handlers.get(&address(&class)) {
            handler.clone()
        } else {
            let handler = HANDLER.get(self.py)?.call1((&class,))?;
            self.handlers.insert(address(&class), (class, handler.clone()));
            handler
        };
        if handler.is_exact_instance_of::<DescribeArray>()
            && let Some(bytes) = array::write(&mut self.out, value)?
        {
            self.work += (bytes / PIECE) as u64;
            return Ok(Parts::Values(0));
        }
        let description = if handler.is_none() { handler } else { handler.call1((value,))? };
        if description.is_none() {
            return Err(Stop::unknown(&value.get_type()));
        }
        if let Ok(what) = description.cast::<PyString>() {
            return Err(Stop::Unknown(what.to_string()));
        }
        let (name, parts): (Bound<'py, PyString>, Bound<'py, PyAny>) = description
            .extract()
            .map_err(|_| PyTypeError::new_err("a description of a value is a name and its parts"))?;
        self.out.push(tag::OBJECT);
        leaves::write_text(&mut self.out, &name)?;
        self.values.push(parts);
        Ok(Parts::Object)
    }

    /// Ends the value whose parts were all walked.
    fn finish(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        if self.frames.len() >= SHALLOW {
            self.open.remove(&address(&frame.object));
        }
        encode::sort(&mut self.out, &self.marks[frame.marks..]);
        self.marks.truncate(frame.marks);
        self.values.truncate(frame.values);
        match frame.hasher {
            Some(mut hasher) => {
                hasher.update(&self.out[frame.start..]);
                encode::replace(&mut self.out, frame.start, encode::finish(&hasher));
            }
            None => encode::close(&mut self.out, frame.start),
        }
        self.keep(frame.object, frame.start, self.work - frame.work);
        self.closed();
    }

    /// A part of the last frame was written whole.
    fn closed(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        match frame.parts {
            Parts::Dict(_) if frame.next % 2 == 1 => {}
            Parts::Set(_) | Parts::Dict(_) => self.marks.push(self.out.len()),
            _ if self.out.len() - frame.start > LONG => {
                let hasher = frame.hasher.get_or_insert_with(|| Box::new(encode::hasher()));
                hasher.update(&self.out[frame.start..]);
                self.out.truncate(frame.start);
            }
            _ => {}
        }
    }
}

fn address<T>(object: &Bound<'_, T>) -> usize {
    object.as_ptr() as usize
}
