//! Owns the encoding of records.
//!
//! | word | |
//! |---|---|
//! | 0 | units (32 bits), kind, kind of the key, spelling of the key, kind of the tag |
//! | 1 | checksum of all others, seeded with the epoch; offset and sequence number come last |
//! | 2 | offset |
//! | 3 | sequence number, 0 for a fill (48 bits); how many records of the same chunk follow (16 bits) |
//! | 4 | store time |
//! | 5 | expire time, NaN for none |
//! | 6 | lengths of key and tag, 32 bits each |
//! | 7 | length of the file name (16 bits), kind of the value, note of the caller, length of the value (32 bits, from bit 32) |
//! | 8 | size of the value file |
//! | 9 | mode |
//! | 10… | key, tag, file name and value, one behind the other; then, if the caller has more to say, its length in 4 bytes, and that |

mod view;

pub use view::View;

use super::{buffer_pool, hash};
use crate::layout::geometry::UNIT;

/// Words before the bytes of a record.
pub(crate) const HEAD: usize = 10;
/// Units before its body, the part whose checksum is known before its place is.
pub(crate) const BODY: usize = 2;

/// A key as two processes compare it. Keys that SQLite takes for equal have the same kind and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Tells apart keys that have the same bytes.
    pub kind: u8,
    /// How the caller spelt it, where that is more than equality sees. Not compared.
    pub spelling: u8,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// A float.
    Real(f64),
    /// UTF-8 text.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// When it was written, in seconds.
    pub store_time: f64,
    /// When it expires, in seconds.
    pub expire_time: Option<f64>,
    /// The tag.
    pub tag: Cell<'a>,
    /// The length of its value file.
    pub size: i64,
    /// How the value is stored.
    pub mode: i64,
    /// The value file.
    pub filename: Option<&'a str>,
    /// The value.
    pub value: Cell<'a>,
    /// Whatever else the caller wants to know of the record when it is drained.
    pub note: u8,
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stores a row.
    Set,
    /// Removes a key.
    Delete,
    /// Repeats a row of the database.
    Fill,
    /// Repeats that the database has no row of a key. Such a record removes nothing.
    Absent,
}

/// The bits of a sequence number; an offset has as many, and grows faster.
const SEQ: u64 = (1 << 48) - 1;
/// The most records of a chunk.
pub(crate) const MOST: usize = 1 << 16;
/// Bytes of the length of what a caller adds.
const EXTRA_LEN: usize = 4;

/// The end of the ring, which is too short for the record that came.
pub(crate) const PAD: u8 = 4;

/// An earlier version takes such a record for damage, passes over it, and asks the database.
const ABSENT: u8 = 5;

impl Kind {
    /// Whether the record only repeats what the database has: it has no sequence number, and no drain takes it.
    #[must_use]
    #[inline]
    pub fn is_fill(self) -> bool {
        matches!(self, Self::Fill | Self::Absent)
    }

    /// Whether the record has a row.
    #[must_use]
    #[inline]
    pub fn has_row(self) -> bool {
        matches!(self, Self::Set | Self::Fill)
    }

    fn code(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Delete => 2,
            Self::Fill => 3,
            Self::Absent => ABSENT,
        }
    }

    fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Set),
            2 => Some(Self::Delete),
            3 => Some(Self::Fill),
            ABSENT => Some(Self::Absent),
            _ => None,
        }
    }
}

impl<'a> Cell<'a> {
    fn code(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::Real(_) => 2,
            Self::Text(_) => 3,
            Self::Blob(_) => 4,
        }
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(bytes) | Self::Blob(bytes) => bytes.len(),
        }
    }

    #[inline]
    fn of(code: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(match code {
            0 if bytes.is_empty() => Self::Null,
            1 => Self::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            2 => Self::Real(f64::from_le_bytes(bytes.try_into().ok()?)),
            3 => Self::Text(bytes),
            4 => Self::Blob(bytes),
            _ => return None,
        })
    }
}

/// A record that is ready but for its place in the log. Made before any lock is asked for.
#[derive(Clone, Debug)]
pub struct PendingRecord {
    words: Vec<u64>,
    pub(crate) kind: Kind,
    /// Where it was stored.
    pub(crate) offset: u64,
    key_kind: u8,
    key_len: usize,
    known: Option<Known>,
}

/// What can be known of a record before its place is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The epoch of the tier for which it holds.
    epoch: u64,
    /// The hash of the key.
    pub hash: u64,
    /// The checksum of all but offset and sequence number.
    body: u64,
    /// The slot that named the key's last record when it was looked for without the append lock, and what was in it.
    pub seen: Option<(usize, u64)>,
}

impl PendingRecord {
    /// A record that stores or repeats a row.
    #[must_use]
    pub fn row(kind: Kind, key: Key<'_>, row: &Row<'_>) -> Self {
        Self::row_with_tail(kind, key, row, 0).0
    }

    /// The same, and what else the caller wants to find with it when it is drained. Its `note` has to say that there is
    /// something.
    #[must_use]
    pub fn row_and(kind: Kind, key: Key<'_>, row: &Row<'_>, extra: &[u8]) -> Self {
        let length = extra.len() as u64;
        let (mut pending_record, start) = Self::row_with_tail(kind, key, row, EXTRA_LEN + extra.len());
        let space = &mut bytes_of_mut(&mut pending_record.words[HEAD..])[start..];
        push(push(space, &length.to_le_bytes()[..EXTRA_LEN]), extra);
        pending_record
    }

    /// A record of a row with so many free bytes behind it, and where that begins.
    #[inline]
    fn row_with_tail(kind: Kind, key: Key<'_>, row: &Row<'_>, tail: usize) -> (Self, usize) {
        let name = row.filename.unwrap_or_default().as_bytes();
        let total = key.bytes.len() + row.tag.len() + name.len() + row.value.len();
        let mut words = Self::head(kind, key, total + tail);
        words[0] |= u64::from(row.tag.code()) << 56;
        words[4] = row.store_time.to_bits();
        words[5] = row.expire_time.unwrap_or(f64::NAN).to_bits();
        words[6] = key.bytes.len() as u64 | (row.tag.len() as u64) << 32;
        words[7] = name.len() as u64
            | u64::from(row.value.code()) << 16
            | u64::from(row.note) << 24
            | (row.value.len() as u64) << 32;
        words[8] = row.size.cast_unsigned();
        words[9] = row.mode.cast_unsigned();
        let space = push(bytes_of_mut(&mut words[HEAD..]), key.bytes);
        let space = push_cell(space, &row.tag);
        let space = push(space, name);
        push_cell(space, &row.value);
        let key_len = key.bytes.len();
        (Self { words, kind, offset: 0, key_kind: key.kind, key_len, known: None }, total)
    }

    /// A record that removes a key.
    #[must_use]
    pub fn delete(key: Key<'_>) -> Self {
        Self::without_row(Kind::Delete, key)
    }

    /// A record that repeats that the database has no row of a key.
    #[must_use]
    pub fn absent(key: Key<'_>) -> Self {
        Self::without_row(Kind::Absent, key)
    }

    fn without_row(kind: Kind, key: Key<'_>) -> Self {
        let mut words = Self::head(kind, key, key.bytes.len());
        words[5] = f64::NAN.to_bits();
        words[6] = key.bytes.len() as u64;
        push(bytes_of_mut(&mut words[HEAD..]), key.bytes);
        Self { words, kind, offset: 0, key_kind: key.kind, key_len: key.bytes.len(), known: None }
    }

    fn head(kind: Kind, key: Key<'_>, bytes: usize) -> Vec<u64> {
        let length = (HEAD + bytes.div_ceil(8)).next_multiple_of(UNIT);
        let mut words = buffer_pool::take();
        words.resize(length, 0);
        words[0] = (length / UNIT) as u64
            | u64::from(kind.code()) << 32
            | u64::from(key.kind) << 40
            | u64::from(key.spelling) << 48;
        words
    }

    /// Its length in units.
    pub(crate) fn units(&self) -> u64 {
        (self.words.len() / UNIT) as u64
    }

    /// Bytes that it takes in the log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// What it says. Before it has a place, its offset and sequence number are 0.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::verified(&self.words)
    }

    /// Calls `f` with the key.
    pub(crate) fn with_key<T>(&self, f: impl FnOnce(u8, &[u8]) -> T) -> T {
        let bytes = bytes_of(&self.words[HEAD..]);
        f(self.key_kind, &bytes[..self.key_len])
    }

    /// The hash of its key.
    #[inline]
    pub(crate) fn hash(&self, epoch: u64) -> u64 {
        self.with_key(|kind, bytes| hash::key(kind, bytes, epoch))
    }

    /// What does not need the append lock, computed unless that has been done.
    #[inline]
    pub(crate) fn known(&mut self, epoch: u64) -> &mut Known {
        if self.known.as_ref().is_none_or(|known| known.epoch != epoch) {
            self.learn(epoch, self.hash(epoch));
        }
        self.known.as_mut().expect("it was just made")
    }

    /// Computes that, with the hash of the key.
    #[inline]
    pub(crate) fn learn(&mut self, epoch: u64, hash: u64) {
        self.known = Some(Known { epoch, hash, body: body_sum(&self.words, epoch), seen: None });
    }

    /// Gives it its place, its sequence number, and how many records of its chunk follow.
    pub(crate) fn seal(&mut self, epoch: u64, offset: u64, seq: u64, rest: u64) -> &[u64] {
        let body = self.known(epoch).body;
        self.words[2] = offset;
        self.words[3] = seq & SEQ | rest << 48;
        self.words[1] = checksum(&self.words, body);
        &self.words
    }
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        buffer_pool::keep(std::mem::take(&mut self.words));
    }
}

/// What the first word of anything in the log says: units, and the code of the kind.
#[inline]
pub(crate) fn first(word: u64) -> (u64, u8) {
    (word & 0xffff_ffff, byte(word, 4))
}

/// Whether a record with these words 0 and 6 can be about a key.
pub(crate) fn is_of_key(first: u64, lengths: u64, key: Key<'_>) -> bool {
    byte(first, 5) == key.kind && low(lengths) == key.bytes.len()
}

/// The first word of a pad.
pub(crate) fn pad(units: u64) -> u64 {
    units | u64::from(PAD) << 32
}

/// The checksum of a record. Offset and sequence number, which are known last, come last.
#[inline]
pub(crate) fn checksum(words: &[u64], body: u64) -> u64 {
    hash::finish(body, [words[2], words[3]])
}

/// What the checksum begins with: the first word in it tells the length.
#[inline]
pub(crate) fn seed(first: u64, epoch: u64) -> u64 {
    epoch ^ first.rotate_left(32)
}

pub(crate) fn body_sum(words: &[u64], epoch: u64) -> u64 {
    let (units, _) = words.as_chunks();
    let (fours, rest) = units[BODY..].as_chunks::<4>();
    hash::units(fours.iter().map(|four| |at: usize| four[at]), rest.iter().copied(), seed(words[0], epoch))
}

#[inline]
fn byte(word: u64, at: usize) -> u8 {
    word.to_le_bytes()[at]
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "32 bits fit")]
fn low(word: u64) -> usize {
    word as u32 as usize
}

#[inline]
fn high(word: u64) -> usize {
    low(word >> 32)
}

/// Puts bytes at the front of the space that is left, and returns the rest of it.
fn push<'s>(space: &'s mut [u8], bytes: &[u8]) -> &'s mut [u8] {
    let (here, behind) = space.split_at_mut(bytes.len());
    here.copy_from_slice(bytes);
    behind
}

fn push_cell<'s>(space: &'s mut [u8], cell: &Cell<'_>) -> &'s mut [u8] {
    match cell {
        Cell::Null => space,
        Cell::Int(value) => push(space, &value.to_le_bytes()),
        Cell::Real(value) => push(space, &value.to_le_bytes()),
        Cell::Text(bytes) | Cell::Blob(bytes) => push(space, bytes),
    }
}

#[inline]
fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: any initialized word is eight initialized bytes, and bytes need no alignment. They are in the order of
    // the file, since big-endian machines have no tier.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: as above; and any eight bytes are a word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'_> = Key { kind: 3, spelling: 1, bytes: b"a key of some length" };

    fn rows() -> Vec<Row<'static>> {
        let row = Row {
            store_time: 12.5,
            expire_time: None,
            tag: Cell::Null,
            size: 0,
            mode: 1,
            filename: None,
            value: Cell::Blob(b"0123456789abcdef"),
            note: 9,
        };
        vec![
            row,
            Row { expire_time: Some(1e10), tag: Cell::Text(b"tag"), value: Cell::Int(-1), ..row },
            Row {
                tag: Cell::Real(0.5),
                filename: Some("ab/cd/ef.val"),
                size: 1 << 40,
                value: Cell::Null,
                ..row
            },
            Row { mode: -1, tag: Cell::Blob(b""), value: Cell::Text("ü".as_bytes()), ..row },
        ]
    }

    #[test]
    fn a_record_reads_back() {
        for row in rows() {
            let mut pending_record = PendingRecord::row(Kind::Set, KEY, &row);
            pending_record.with_key(|kind, bytes| assert_eq!((kind, bytes), (KEY.kind, KEY.bytes)));
            let words = pending_record.seal(7, 99, 5, 0).to_vec();
            let view = read(&words, 7, 99).unwrap();
            assert_eq!((view.kind(), view.seq(), view.key()), (Kind::Set, 5, KEY));
            assert_eq!(view.row(), Some(row));
            assert_eq!(view.expire_time(), row.expire_time);
        }
        for (kind, mut pending_record) in
            [(Kind::Delete, PendingRecord::delete(KEY)), (Kind::Absent, PendingRecord::absent(KEY))]
        {
            let view = read(pending_record.seal(7, 99, 5, 0), 7, 99).unwrap();
            assert_eq!((view.kind(), view.key(), view.row()), (kind, KEY, None));
        }
    }

    #[test]
    fn what_a_caller_adds_reads_back() {
        for row in rows() {
            for extra in [&b""[..], b"x", &[7; 1000]] {
                let mut pending_record = PendingRecord::row_and(Kind::Set, KEY, &row, extra);
                let words = pending_record.seal(7, 99, 5, 0).to_vec();
                let view = read(&words, 7, 99).unwrap();
                assert_eq!((view.key(), view.row(), view.extra()), (KEY, Some(row), Some(extra)));
            }
        }
    }

    fn read(words: &[u64], epoch: u64, offset: u64) -> Option<View<'_>> {
        View::read(words, body_sum(words, epoch), offset)
    }

    #[test]
    fn a_changed_record_is_none() {
        let words = PendingRecord::row(Kind::Set, KEY, &rows()[1]).seal(7, 99, 5, 0).to_vec();
        assert!(read(&words, 8, 99).is_none(), "of another epoch of the file");
        assert!(read(&words, 7, 98).is_none(), "of another place");
        for bit in 0..64 * words.len() {
            let mut bad = words.clone();
            bad[bit / 64] ^= 1 << (bit % 64);
            assert!(read(&bad, 7, 99).is_none(), "bit {bit}");
        }
    }
}
