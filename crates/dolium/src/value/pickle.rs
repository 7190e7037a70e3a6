//! Canonical pickles: one sequence of bytes for each plain Python value.
//!
//! A key that is not a `str`, `bytes`, `float` or 64-bit `int` is stored as its canonical pickle.
//! This module writes those bytes, from calls or from another pickle of the value (`graph`); it runs no pickle and
//! knows nothing about Python objects.
//! What it writes is, byte for byte, what `pickletools.optimize(pickle.dumps(x, protocol))` of
//! Python 3.10 to 3.13 returns for a value in which no object occurs twice, with two differences
//! that make equal keys have equal bytes:
//!
//! * There are no memo references. `pickle` writes a second occurrence of the *same object* as a
//!   reference, so that `('ab', 'ab')` has one of two encodings depending on how the strings were
//!   made. Here both are written out. (In Python, `Pickler.fast = True` does the same.)
//! * The elements of a `frozenset`, and of a `set` in one batch, are sorted by their encoding. `pickle` writes
//!   them in the order of their hashes, which differs from process to process.
//!
//! A key whose canonical pickle has more than [`LONGEST`] bytes is stored by a digest instead:
//! [`Key::from_pickle`](crate::Key::from_pickle) decides.
//!
//! # Use
//!
//! ```
//! use dolium::raw::pickle::{Protocol, Writer};
//!
//! // ('mod.f', 1, None, frozenset({2, 'x'}))
//! let mut w = Writer::new(Protocol::V5);
//! w.begin_tuple(4);
//! w.text("mod.f");
//! w.int(1);
//! w.none();
//! let mut set = w.begin_frozenset();
//! w.element(&mut set);
//! w.int(2);
//! w.element(&mut set);
//! w.text("x");
//! w.end_frozenset(set);
//! w.end_tuple(4);
//! let stored_key: Vec<u8> = w.finish();
//! # assert_eq!(stored_key[..2], [0x80, 5]);
//! ```
//!
//! Scalars are one call: [`none`](Writer::none), [`bool`](Writer::bool), [`int`](Writer::int),
//! [`big_int`](Writer::big_int), [`float`](Writer::float), [`complex`](Writer::complex),
//! [`text`](Writer::text), [`bytes`](Writer::bytes), [`uuid`](Writer::uuid),
//! [`date`](Writer::date), [`time`](Writer::time), [`datetime`](Writer::datetime),
//! [`timedelta`](Writer::timedelta). Anything that pickles as "call this global with these
//! arguments" (an `Enum` member, a `timezone`) is [`global`](Writer::global), a tuple, and
//! [`reduce`](Writer::reduce).
//!
//! From Rust, [`Plain`] builds the same bytes: `encode(&("mod.f", 1, None::<bool>))` is the stored
//! key of Python's `('mod.f', 1, None)`.
//!
//! Framing is not a concern of the calls: opcodes are collected without frames and
//! [`finish`](Writer::finish) adds them. The caller is responsible for balanced calls; unbalanced
//! ones give bytes that no pickle reader accepts, never undefined behaviour.

mod frame;
pub(crate) mod graph;
pub mod names;
pub mod op;
mod plain;
pub mod read;

use frame::HEADER_LEN;
pub use plain::{Plain, encode};

/// The most bytes, without its frames, of a key's canonical pickle that is stored as it is.
pub const LONGEST: usize = 64 << 10;

/// A pickle protocol that has frames and short strings. Older ones are left to Python.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protocol 4.
    V4,
    /// Protocol 5, the default.
    #[default]
    V5,
}

impl Protocol {
    /// The protocol of that number, if this module can write it.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// The time of day of a [`Writer::time`] or [`Writer::datetime`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a time of day of Python")]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
    /// Python's `fold`: the second of two equal wall-clock times.
    pub fold: bool,
}

/// A `frozenset` being written: see [`Writer::begin_frozenset`].
#[derive(Debug)]
#[must_use = "the set is unfinished until end_frozenset"]
pub struct OpenSet {
    starts: Vec<usize>,
}

/// Writes one value as a canonical pickle.
#[derive(Debug)]
pub struct Writer {
    /// Room for the header, then opcodes without frames.
    buf: Vec<u8>,
    protocol: Protocol,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new(Protocol::default())
    }
}

impl Writer {
    /// Starts a pickle.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self::with_buffer(protocol, Vec::with_capacity(128))
    }

    /// Starts a pickle in `buffer`, whose contents are discarded and whose memory is used again.
    #[must_use]
    pub fn with_buffer(protocol: Protocol, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; HEADER_LEN]);
        Self { buf: buffer, protocol }
    }

    /// `None`.
    pub fn none(&mut self) {
        self.buf.push(op::NONE);
    }

    /// `True` or `False`.
    pub fn bool(&mut self, value: bool) {
        self.buf.push(if value { op::NEWTRUE } else { op::NEWFALSE });
    }

    /// An `int` of 64 bits.
    pub fn int(&mut self, value: i64) {
        if let Ok(byte) = u8::try_from(value) {
            self.buf.extend_from_slice(&[op::BININT1, byte]);
        } else if let Ok(short) = u16::try_from(value) {
            let [a, b] = short.to_le_bytes();
            self.buf.extend_from_slice(&[op::BININT2, a, b]);
        } else if let Ok(word) = i32::try_from(value) {
            let [a, b, c, d] = word.to_le_bytes();
            self.buf.extend_from_slice(&[op::BININT, a, b, c, d]);
        } else {
            self.long(&value.to_le_bytes());
        }
    }

    /// An `int` of any size, in two's complement, least significant byte first: what
    /// `int.to_bytes(n, 'little', signed=True)` returns. Superfluous sign bytes do no harm; no
    /// bytes at all are 0.
    ///
    /// # Panics
    ///
    /// When the number has 2 GiB or more, which `pickle` cannot carry either.
    pub fn big_int(&mut self, value: &[u8]) {
        let value = minimal(value);
        if value.len() <= 8 {
            let fill = if value.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut word = [fill; 8];
            word[..value.len()].copy_from_slice(value);
            self.int(i64::from_le_bytes(word));
        } else {
            self.long(value);
        }
    }

    /// A `float`. All bits are kept, those of a NaN and the sign of zero too.
    pub fn float(&mut self, value: f64) {
        self.buf.push(op::BINFLOAT);
        self.buf.extend_from_slice(&value.to_bits().to_be_bytes());
    }

    /// A `complex`.
    pub fn complex(&mut self, real: f64, imaginary: f64) {
        self.global("builtins", "complex");
        self.begin_tuple(2);
        self.float(real);
        self.float(imaginary);
        self.end_tuple(2);
        self.reduce();
    }

    /// A `str`.
    pub fn text(&mut self, value: &str) {
        self.text_bytes(value.as_bytes());
    }

    /// A `str` given as UTF-8 in which lone surrogates are encoded as three bytes each, which is
    /// Python's `str.encode('utf-8', 'surrogatepass')` (and WTF-8). Not checked.
    pub fn text_bytes(&mut self, value: &[u8]) {
        self.sized([op::SHORT_BINUNICODE, op::BINUNICODE, op::BINUNICODE8], value);
    }

    /// A `bytes`.
    pub fn bytes(&mut self, value: &[u8]) {
        self.sized([op::SHORT_BINBYTES, op::BINBYTES, op::BINBYTES8], value);
    }

    /// Starts a `tuple` of `len` items; write them, then call [`end_tuple`](Self::end_tuple).
    pub fn begin_tuple(&mut self, len: usize) {
        if len > 3 {
            self.buf.push(op::MARK);
        }
    }

    /// Ends the tuple that [`begin_tuple`](Self::begin_tuple) started with the same `len`.
    pub fn end_tuple(&mut self, len: usize) {
        self.buf.push(match len {
            0 => op::EMPTY_TUPLE,
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        });
    }

    /// Starts a `frozenset`. Call [`element`](Self::element) before writing each element, in any
    /// order, and [`end_frozenset`](Self::end_frozenset) after the last.
    pub fn begin_frozenset(&mut self) -> OpenSet {
        self.buf.push(op::MARK);
        OpenSet { starts: Vec::new() }
    }

    /// The next value written is an element of `set`.
    pub fn element(&self, set: &mut OpenSet) {
        set.starts.push(self.buf.len());
    }

    /// Ends a `frozenset`, and sorts its elements by their encoding.
    // By value: a set that has ended takes no more elements.
    #[expect(clippy::needless_pass_by_value, reason = "consumes the open set")]
    pub fn end_frozenset(&mut self, set: OpenSet) {
        if let [first, _, ..] = set.starts[..] {
            let ends = set.starts[1..].iter().copied().chain([self.buf.len()]);
            let mut elements: Vec<&[u8]> =
                set.starts.iter().copied().zip(ends).map(|(a, b)| &self.buf[a..b]).collect();
            if !elements.is_sorted() {
                elements.sort_unstable();
                let sorted = elements.concat();
                self.buf[first..].copy_from_slice(&sorted);
            }
        }
        self.buf.push(op::FROZENSET);
    }

    /// A class or function: its `__module__` and `__qualname__` (dots allowed).
    pub fn global(&mut self, module: &str, qualname: &str) {
        self.text(module);
        self.text(qualname);
        self.buf.push(op::STACK_GLOBAL);
    }

    /// Calls the callable below the tuple on top with that tuple: [`global`](Self::global), the
    /// tuple of arguments, `reduce`.
    pub fn reduce(&mut self) {
        self.buf.push(op::REDUCE);
    }

    /// Makes an instance of the class below the tuple on top, by `__new__` with that tuple.
    pub fn new_object(&mut self) {
        self.buf.push(op::NEWOBJ);
    }

    /// A `uuid.UUID` whose `is_safe` is `SafeUUID.unknown`, by its `int`.
    pub fn uuid(&mut self, value: u128) {
        self.global("uuid", "UUID");
        self.buf.extend_from_slice(&[op::EMPTY_TUPLE, op::NEWOBJ, op::EMPTY_DICT]);
        self.text("int");
        let mut signed = [0; 17];
        signed[..16].copy_from_slice(&value.to_le_bytes());
        self.big_int(&signed);
        self.buf.extend_from_slice(&[op::SETITEM, op::BUILD]);
    }

    /// A `datetime.date`.
    pub fn date(&mut self, year: u16, month: u8, day: u8) {
        let [high, low] = year.to_be_bytes();
        self.of_bytes("date", &[high, low, month, day]);
    }

    /// A `datetime.time` without `tzinfo`.
    pub fn time(&mut self, time: TimeOfDay) {
        let [hour, rest @ ..] = packed_time(time);
        let mut packed = [hour | u8::from(time.fold) << 7, 0, 0, 0, 0, 0];
        packed[1..].copy_from_slice(&rest);
        self.of_bytes("time", &packed);
    }

    /// A `datetime.datetime` without `tzinfo`.
    pub fn datetime(&mut self, year: u16, month: u8, day: u8, time: TimeOfDay) {
        let [high, low] = year.to_be_bytes();
        let mut packed = [high, low, month | u8::from(time.fold) << 7, day, 0, 0, 0, 0, 0, 0];
        packed[4..].copy_from_slice(&packed_time(time));
        self.of_bytes("datetime", &packed);
    }

    /// A `datetime.timedelta`, by its normalised attributes.
    pub fn timedelta(&mut self, days: i32, seconds: i32, microseconds: i32) {
        self.global("datetime", "timedelta");
        self.begin_tuple(3);
        self.int(days.into());
        self.int(seconds.into());
        self.int(microseconds.into());
        self.end_tuple(3);
        self.reduce();
    }

    /// Whether there are more than [`LONGEST`] bytes already: the key will be stored by its digest, and whatever follows is
    /// in vain.
    #[must_use]
    #[inline]
    pub fn is_long(&self) -> bool {
        self.buf.len() >= HEADER_LEN + LONGEST
    }

    /// Ends the pickle and returns it.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.buf.push(op::STOP);
        frame::finish(self.protocol, self.buf)
    }

    /// A `LONG` of more than 32 bits.
    fn long(&mut self, value: &[u8]) {
        let value = minimal(value);
        if let Ok(len) = u8::try_from(value.len()) {
            self.buf.extend_from_slice(&[op::LONG1, len]);
        } else {
            let len = i32::try_from(value.len()).expect("an int of 2 GiB cannot be pickled");
            self.buf.push(op::LONG4);
            self.buf.extend_from_slice(&len.to_le_bytes());
        }
        self.buf.extend_from_slice(value);
    }

    /// Data after a length of 1, 4 or 8 bytes.
    fn sized(&mut self, [short, long, huge]: [u8; 3], value: &[u8]) {
        if let Ok(len) = u8::try_from(value.len()) {
            self.buf.extend_from_slice(&[short, len]);
        } else if let Ok(len) = u32::try_from(value.len()) {
            self.buf.push(long);
            self.buf.extend_from_slice(&len.to_le_bytes());
        } else {
            self.buf.push(huge);
            self.buf.extend_from_slice(&(value.len() as u64).to_le_bytes());
        }
        self.buf.extend_from_slice(value);
    }

    /// A class of `datetime` that is restored from one `bytes`.
    fn of_bytes(&mut self, class: &str, packed: &[u8]) {
        self.global("datetime", class);
        self.begin_tuple(1);
        self.bytes(packed);
        self.end_tuple(1);
        self.reduce();
    }
}

fn packed_time(time: TimeOfDay) -> [u8; 6] {
    let [_, high, middle, low] = time.microsecond.to_be_bytes();
    [time.hour, time.minute, time.second, high, middle, low]
}

/// Two's complement without superfluous sign bytes.
fn minimal(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., below, top] = value {
        let sign = if below & 0x80 == 0 { 0 } else { 0xff };
        if *top != sign {
            break;
        }
        value = &value[..=rest.len()];
    }
    value
}
