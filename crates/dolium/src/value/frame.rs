//! Frames: a value with what it needs to be judged and decoded, in one run of bytes. Does not know where a frame lies.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | magic, `0xdf` |
//! | 1 | format, 1 |
//! | 1 | encoder: what the body is, see [`encoder`] |
//! | 1 | flags: which of the fields below are there |
//! | 1 + n, 1–10 | *filters*: how many (at most 8), their numbers in the order of writing, see [`filter`], the length of the body before them |
//! | 1–10 | length of the body |
//! | 6 | *fresh until*: milliseconds since 1970 |
//! | 4 | *seconds* that the value took, a float |
//! | 4 | *dictionary*: its number |
//! | 0–63 | *aligned*: zeros, so that the body begins at a multiple of 64 and a reader may map its file |
//! | n | body |
//! | 24 | *signature*: a trailer as in [`sign`](crate::raw::sign), over all bytes before it, the stored key and [`mode::FRAME`](crate::raw::mode::FRAME) |
//!
//! Lengths are LEB128; all other numbers have their least significant byte first. A field in italics is there if its flag
//! is set. A flag that this version does not know makes the frame unreadable, and so does a length that does not fit: then
//! an entry counts as missing. A pickle is always signed; nothing else can run code, and nothing else is. Of an aligned
//! pickle with buffers the signature covers what is before the buffers, see [`Frame::signed_part`].

use crate::system::clock::Timestamp;
use crate::value::sign::TRAILER_LEN;

const MAGIC: u8 = 0xdf;
const FORMAT: u8 = 1;

/// Which optional fields a frame has, and whether its value is an exception.
mod flag {
    pub const FILTERS: u8 = 1;
    pub const FRESH: u8 = 1 << 1;
    pub const SECONDS: u8 = 1 << 2;
    pub const DICTIONARY: u8 = 1 << 3;
    pub const SIGNATURE: u8 = 1 << 4;
    pub const RAISED: u8 = 1 << 5;
    pub const ALIGNED: u8 = 1 << 6;
    pub const KNOWN: u8 = (1 << 7) - 1;
}

/// What the body of a frame is.
pub mod encoder {
    /// Nothing: the value is null.
    pub const NONE: u8 = 0;
    /// An integer of 64 bits in as few bytes as hold it, 0 in none.
    pub const INT: u8 = 1;
    /// A float of 64 bits.
    pub const FLOAT: u8 = 2;
    /// UTF-8 text.
    pub const TEXT: u8 = 3;
    /// Bytes.
    pub const BYTES: u8 = 4;
    /// A pickle of Python.
    pub const PICKLE: u8 = 5;
    /// `MessagePack`.
    pub const PACKED: u8 = 6;
    /// JSON, with the name of the type that it came from.
    pub const JSON: u8 = 7;
    /// An array: a header as in `value/array.rs`, and its elements in C order.
    pub const ARRAY: u8 = 8;
    /// A table: eight bytes, of which the first says whose it is, and a stream of Arrow's IPC.
    pub const ARROW: u8 = 9;
    /// A pickle of Python whose large buffers lie behind it, see [`Frame::signed_part`](super::Frame::signed_part).
    pub const BUFFERS: u8 = 10;
    /// A name, its length before it in one byte, and what the encoder of that name made.
    pub const OWN: u8 = 11;

    /// What an encoder is called.
    #[must_use]
    pub fn name(encoder: u8) -> &'static str {
        const NAMES: [&str; 12] = [
            "none", "int", "float", "text", "bytes", "pickle", "msgpack", "json", "array", "arrow",
            "buffers", "own",
        ];
        NAMES.get(usize::from(encoder)).copied().unwrap_or("unknown")
    }
}

/// What the body of a frame went through.
pub mod filter {
    /// One frame of Zstandard, with the length of its content.
    pub const ZSTD: u8 = 1;
    /// The same, compressed with the dictionary that the frame names.
    pub const ZSTD_DICTIONARY: u8 = 2;
    /// A name, its length before it in one byte, and what the filter of that name made.
    pub const OWN: u8 = 3;
    /// More than this: elements of so many bytes more, of which all first bytes come first, then all second ones.
    pub const SHUFFLE: u8 = 128;
}

/// The most filters that a frame has.
const FILTERS: usize = 8;

/// The bytes at a multiple of which an aligned body begins.
const ALIGNMENT: usize = 64;

/// A value with what is kept beside it.
///
/// ```
/// use dolium::raw::{Frame, encoder};
/// use dolium::{Cache, PutOptions};
///
/// let directory = tempfile::tempdir()?;
/// let cache = Cache::open(directory.path())?;
/// let frame = Frame::new(encoder::TEXT, b"found").seconds(Some(1.5));
/// cache.set_with("answer", frame, &PutOptions::new())?;
/// assert_eq!(cache.get("answer")?, Some("found".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// What the body is, see [`encoder`].
    pub encoder: u8,
    /// What the body went through, in the order of writing, see [`filter`].
    pub filters: &'a [u8],
    /// The length of the body before the filters.
    pub length: u64,
    /// Whether the value is an exception, which a reader raises.
    pub raised: bool,
    /// Until when the value is fresh, or `None` if that is as long as the entry lives.
    pub fresh_until: Option<Timestamp>,
    /// How many seconds the value took to compute.
    pub seconds: Option<f32>,
    /// The dictionary that the filters need.
    pub dictionary: Option<u32>,
    /// Whether the body begins at a multiple of 64 bytes, so that a reader may map it.
    pub is_aligned: bool,
    /// The value.
    pub body: &'a [u8],
}

/// A frame of which only the beginning was read.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Head<'a> {
    /// The frame, with an empty body.
    pub frame: Frame<'a>,
    /// Where the body begins.
    pub at: u64,
    /// The length of the body.
    pub body: u64,
    /// The length of the frame.
    pub stored: u64,
}

impl<'a> Frame<'a> {
    /// A frame without optional fields.
    #[must_use]
    pub fn new(encoder: u8, body: &'a [u8]) -> Self {
        Self {
            encoder,
            filters: &[],
            length: body.len() as u64,
            raised: false,
            fresh_until: None,
            seconds: None,
            dictionary: None,
            is_aligned: false,
            body,
        }
    }

    /// Says what the body went through, and how long it was before.
    #[must_use]
    pub fn filtered(mut self, filters: &'a [u8], length: u64) -> Self {
        (self.filters, self.length) = (filters, length);
        self
    }

    /// Says which dictionary the value belongs to.
    #[must_use]
    pub fn dictionary(mut self, number: Option<u32>) -> Self {
        self.dictionary = number;
        self
    }

    /// Says whether a reader may map the body.
    #[must_use]
    pub fn aligned(mut self, is_aligned: bool) -> Self {
        self.is_aligned = is_aligned;
        self
    }

    /// Says whether the value is an exception.
    #[must_use]
    pub fn raised(mut self, raised: bool) -> Self {
        self.raised = raised;
        self
    }

    /// Says until when the value is fresh.
    #[must_use]
    pub fn fresh_until(mut self, time: Option<Timestamp>) -> Self {
        self.fresh_until = time;
        self
    }

    /// Says how many seconds the value took to compute.
    #[must_use]
    pub fn seconds(mut self, seconds: Option<f32>) -> Self {
        self.seconds = seconds;
        self
    }

    /// The dictionary without which the body cannot be read.
    #[must_use]
    pub fn needed_dictionary(&self) -> Option<u32> {
        self.dictionary.filter(|_| self.filters.contains(&filter::ZSTD_DICTIONARY))
    }

    /// Whether reading the body can run code, so that the frame carries a signature.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        runs_code(self.encoder)
    }

    /// How many bytes at the beginning of a body are signed, if not all of it is. Such a body begins with this number, 8
    /// bytes. The pickle follows, and what is said of its buffers. `None` if the number does not fit.
    #[must_use]
    pub fn signed_part(&self) -> Option<usize> {
        if !(self.is_aligned && self.encoder == encoder::BUFFERS && self.filters.is_empty()) {
            return Some(self.body.len());
        }
        let length = u64::from_le_bytes(*self.body.first_chunk()?);
        usize::try_from(length).ok().filter(|length| (8..=self.body.len()).contains(length))
    }

    /// All bytes before the body.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        self.head_of(self.body.len())
    }

    /// The same for a body of so many bytes.
    pub(crate) fn head_of(&self, body: usize) -> Vec<u8> {
        let mut head = vec![MAGIC, FORMAT, self.encoder, self.flags()];
        if !self.filters.is_empty() {
            head.push(u8::try_from(self.filters.len()).unwrap_or(u8::MAX));
            head.extend_from_slice(self.filters);
            write_length(&mut head, self.length);
        }
        write_length(&mut head, body as u64);
        if let Some(time) = self.fresh_until {
            head.extend_from_slice(&milliseconds(time).to_le_bytes()[..6]);
        }
        if let Some(seconds) = self.seconds {
            head.extend_from_slice(&seconds.to_le_bytes());
        }
        if let Some(dictionary) = self.dictionary {
            head.extend_from_slice(&dictionary.to_le_bytes());
        }
        if self.is_aligned {
            head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        }
        head
    }

    fn flags(&self) -> u8 {
        [
            (!self.filters.is_empty(), flag::FILTERS),
            (self.fresh_until.is_some(), flag::FRESH),
            (self.seconds.is_some(), flag::SECONDS),
            (self.dictionary.is_some(), flag::DICTIONARY),
            (self.is_signed(), flag::SIGNATURE),
            (self.raised, flag::RAISED),
            (self.is_aligned, flag::ALIGNED),
        ]
        .into_iter()
        .fold(0, |flags, (is_set, flag)| if is_set { flags | flag } else { flags })
    }

    /// The most bytes before a body.
    pub const HEAD: usize = 128;

    /// Reads a stored frame, of which nothing is believed. Returns `None` if it is damaged, or of a format that this
    /// version does not know. A pickle in it may be run only after its signature was verified.
    #[must_use]
    #[inline]
    pub fn parse(stored: &'a [u8]) -> Option<Self> {
        let head = Self::peek(stored)?;
        if head.stored != stored.len() as u64 {
            return None;
        }
        // Both fit, since the whole does.
        let body = stored.get(usize::try_from(head.at).ok()?..)?.get(..usize::try_from(head.body).ok()?)?;
        Some(Self { body, ..head.frame })
    }

    /// Reads the beginning of a stored frame: all of it, or at least [`HEAD`](Self::HEAD) bytes. Returns `None` as
    /// [`parse`](Self::parse) does.
    #[must_use]
    #[inline]
    pub fn peek(stored: &'a [u8]) -> Option<Head<'a>> {
        let [MAGIC, FORMAT, encoder, flags, rest @ ..] = stored else { return None };
        let mut rest = Rest(rest);
        let has = |flag| flags & flag != 0;
        let is_known = flags & !flag::KNOWN == 0 && has(flag::SIGNATURE) == runs_code(*encoder);
        if !is_known {
            return None;
        }
        let (filters, length) = if has(flag::FILTERS) {
            let [count] = rest.take()?;
            let count = Some(usize::from(count)).filter(|count| (1..=FILTERS).contains(count))?;
            (rest.take_slice(count)?, Some(rest.length()?))
        } else {
            (&[][..], None)
        };
        let body = rest.length()?;
        let fresh_until = if has(flag::FRESH) { Some(rest.time()?) } else { None };
        let seconds = if has(flag::SECONDS) { Some(f32::from_le_bytes(rest.take()?)) } else { None };
        let dictionary = if has(flag::DICTIONARY) { Some(u32::from_le_bytes(rest.take()?)) } else { None };
        let is_aligned = has(flag::ALIGNED);
        let end = stored.len() - rest.0.len();
        let at = if is_aligned { end.next_multiple_of(ALIGNMENT) } else { end } as u64;
        let trailer = if has(flag::SIGNATURE) { TRAILER_LEN as u64 } else { 0 };
        let frame = Self {
            encoder: *encoder,
            filters,
            length: length.unwrap_or(body),
            raised: has(flag::RAISED),
            fresh_until,
            seconds,
            dictionary,
            is_aligned,
            body: &[],
        };
        Some(Head { frame, at, body, stored: at.checked_add(body)?.checked_add(trailer)? })
    }

    /// The bytes of a stored frame, without its trailer, that a signature covers.
    #[must_use]
    pub fn signed_bytes(unsigned: &'a [u8]) -> &'a [u8] {
        let covered = || {
            let head = Self::peek(unsigned).filter(|head| head.frame.is_aligned)?;
            let at = usize::try_from(head.at).ok()?;
            let frame = Self { body: unsigned.get(at..)?, ..head.frame };
            unsigned.get(..at.checked_add(frame.signed_part()?)?)
        };
        covered().unwrap_or(unsigned)
    }

    /// Whether stored bytes are a frame of an exception. Reads no more than the flags.
    #[must_use]
    pub fn is_raised(stored: &[u8]) -> bool {
        matches!(stored, [MAGIC, FORMAT, _, flags, ..] if flags & flag::RAISED != 0)
    }

    /// The integer in the body.
    #[must_use]
    #[inline]
    pub fn int(&self) -> Option<i64> {
        let negative = self.body.last().is_some_and(|last| last & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes.get_mut(..self.body.len())?.copy_from_slice(self.body);
        Some(i64::from_le_bytes(bytes))
    }

    /// The float in the body.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        self.body.try_into().ok().map(f64::from_le_bytes)
    }

    /// The text in the body.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.body).ok()
    }
}

/// Whether reading what an encoder wrote can run code.
#[inline]
fn runs_code(encoder: u8) -> bool {
    encoder == encoder::PICKLE || encoder == encoder::BUFFERS
}

/// The body of an integer: its bytes, least significant first, without those that repeat its sign.
///
/// ```
/// let (bytes, length) = dolium::raw::int_body(-2);
/// assert_eq!(&bytes[..length], [0xfe]);
/// ```
#[must_use]
pub fn int_body(value: i64) -> ([u8; 8], usize) {
    let repeated = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    let bits = if value == 0 { 0 } else { 65 - repeated };
    (value.to_le_bytes(), bits.div_ceil(8) as usize)
}

/// A time of a frame, which is never earlier than it was.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 48 bits")]
fn milliseconds(time: Timestamp) -> u64 {
    (time * 1e3).ceil().clamp(0.0, 281_474_976_710_655.0) as u64
}

fn write_length(bytes: &mut Vec<u8>, mut length: u64) {
    while length >= 0x80 {
        bytes.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    bytes.push(length.to_le_bytes()[0]);
}

/// What of a frame was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    fn take_slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn length(&mut self) -> Option<u64> {
        let mut length = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            length |= bits << shift;
            if byte < 0x80 {
                return Some(length);
            }
        }
        None
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "48 bits fit")]
    fn time(&mut self) -> Option<Timestamp> {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.take::<6>()?);
        Some(u64::from_le_bytes(bytes) as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(frame: &Frame<'_>) -> Vec<u8> {
        let trailer = if frame.is_signed() { TRAILER_LEN } else { 0 };
        [frame.head(), frame.body.to_vec(), vec![0; trailer]].concat()
    }

    #[test]
    fn every_field_comes_back() {
        let full = Frame {
            filters: &[7, 9],
            length: 1 << 40,
            raised: true,
            fresh_until: Some(1.8e9 + 0.125),
            seconds: Some(0.25),
            dictionary: Some(3),
            ..Frame::new(encoder::PICKLE, b"N.")
        };
        for frame in [full, Frame::new(encoder::NONE, b""), Frame::new(encoder::BYTES, &[1; 300])] {
            assert_eq!(Frame::parse(&stored(&frame)), Some(frame));
            assert_eq!(Frame::is_raised(&stored(&frame)), frame.raised);
        }
    }

    #[test]
    fn a_small_frame_takes_five_bytes_beside_its_body() {
        assert_eq!(stored(&Frame::new(encoder::TEXT, b"abc")), b"\xdf\x01\x03\x00\x03abc");
    }

    #[test]
    fn integers_take_the_bytes_that_they_need() {
        for (value, expected) in [(0, 0), (1, 1), (-1, 1), (127, 1), (128, 2), (-128, 1), (-129, 2)] {
            let (bytes, length) = int_body(value);
            assert_eq!(length, expected, "{value}");
            assert_eq!(Frame::new(encoder::INT, &bytes[..length]).int(), Some(value));
        }
        for value in [i64::MIN, i64::MAX, i64::MIN / 3, i64::MAX / 5] {
            let (bytes, length) = int_body(value);
            assert_eq!(Frame::new(encoder::INT, &bytes[..length]).int(), Some(value));
        }
        assert_eq!(Frame::new(encoder::INT, &[0; 9]).int(), None);
    }

    #[test]
    fn an_aligned_body_begins_at_a_multiple_of_64() {
        for seconds in [None, Some(1.0)] {
            let frame = Frame::new(encoder::ARRAY, b"elements").aligned(true).seconds(seconds);
            let stored = stored(&frame);
            assert_eq!(&stored[64..], b"elements");
            assert_eq!(Frame::parse(&stored), Some(frame));
            let head = Frame::peek(&stored[..64]).expect("a head");
            assert_eq!((head.at, head.body, head.stored), (64, 8, 72));
        }
    }

    #[test]
    fn the_longest_head_is_known() {
        let filters = [filter::OWN; FILTERS];
        let frame = Frame::new(encoder::BUFFERS, b"x")
            .filtered(&filters, u64::MAX)
            .fresh_until(Some(1.0))
            .seconds(Some(1.0))
            .dictionary(Some(1))
            .aligned(true);
        assert!(frame.head().len() + 10 <= Frame::HEAD, "with the longest length of a body");
        assert_eq!(Frame::peek(&frame.head()).map(|head| head.frame), Some(Frame { body: b"", ..frame }));
    }

    #[test]
    fn the_signed_part_of_mapped_buffers_is_what_lies_before_them() {
        let body = [&11_u64.to_le_bytes()[..], b"N..buffers"].concat();
        let frame = Frame::new(encoder::BUFFERS, &body);
        assert_eq!(frame.signed_part(), Some(body.len()), "all of what is not mapped");
        assert_eq!(frame.aligned(true).signed_part(), Some(11));
        for length in [0, 7, body.len() as u64 + 1, u64::MAX] {
            let body = [&length.to_le_bytes()[..], b"N..buffers"].concat();
            assert_eq!(Frame::new(encoder::BUFFERS, &body).aligned(true).signed_part(), None, "{length}");
        }
    }

    #[test]
    fn no_cut_and_no_longer_frame_is_read() {
        let frame =
            Frame { fresh_until: Some(5.0), seconds: Some(1.0), ..Frame::new(encoder::PICKLE, b"N.") };
        let whole = stored(&frame);
        for length in 0..whole.len() {
            assert_eq!(Frame::parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(Frame::parse(&[whole, vec![0]].concat()), None);
    }

    #[test]
    fn nothing_that_this_version_does_not_know_is_read() {
        let whole = stored(&Frame::new(encoder::TEXT, b"abc"));
        for (at, byte) in [(0, 0xde), (1, 2), (2, encoder::PICKLE), (3, 1 << 7), (3, 1 << 4)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(Frame::parse(&other), None, "byte {at}");
        }
        let unsigned = [0xdf, 1, encoder::PICKLE, 0, 2, b'N', b'.'];
        assert_eq!(Frame::parse(&unsigned), None, "a pickle without a signature");
    }

    #[test]
    fn a_length_of_more_than_64_bits_is_refused() {
        let mut huge = vec![0xdf, 1, encoder::BYTES, 0];
        huge.extend_from_slice(&[0xff; 9]);
        huge.push(0x7f);
        assert_eq!(Frame::parse(&huge), None);
    }
}
