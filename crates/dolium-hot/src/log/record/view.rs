//! Reading a record.

use super::{Cell, EXTRA_LEN, HEAD, Key, Kind, Row, SEQ, byte, bytes_of, checksum, first, high, low};
use crate::layout::geometry::UNIT;

/// A record that was copied out of the log, and proved to be whole.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    head: &'a [u64; HEAD],
    rest: &'a [u64],
}

impl<'a> View<'a> {
    /// Reads the record that should lie at `offset`, and whose body has this sum. Returns `None` if it is no record,
    /// not whole, or not from there.
    #[inline]
    pub(crate) fn read(words: &'a [u64], body: u64, offset: u64) -> Option<Self> {
        let (head, rest) = words.split_first_chunk()?;
        let view = Self { head, rest };
        let whole = head[2] == offset
            && first(head[0]).0 == view.units()
            && Kind::of(byte(head[0], 4)).is_some()
            && head[1] == checksum(head, body);
        let length = || view.key_len() + view.tag_len() + view.name_len() + view.value_len();
        (whole && length() <= 8 * rest.len()).then_some(view)
    }

    /// Words that `read` has accepted before.
    #[inline]
    pub(crate) fn verified(words: &'a [u64]) -> Self {
        let (head, rest) = words.split_first_chunk().expect("a record has a head");
        Self { head, rest }
    }

    /// What it does.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::of(byte(self.head[0], 4)).unwrap_or(Kind::Fill)
    }

    /// Its sequence number, 0 for a fill.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.head[3] & SEQ
    }

    /// How many records must follow it for its chunk to be whole.
    #[must_use]
    pub fn rest(&self) -> u64 {
        self.head[3] >> 48
    }

    /// Where it lies: as long as it is the newest of its key, nothing has changed.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.head[2]
    }

    /// Its key.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Key<'a> {
        Key {
            kind: byte(self.head[0], 5),
            spelling: byte(self.head[0], 6),
            bytes: &self.bytes()[..self.key_len()],
        }
    }

    /// Returns its row; `None` if the record says that there is none, or if no writer could have written it.
    #[must_use]
    pub fn row(&self) -> Option<Row<'a>> {
        if !self.kind().has_row() {
            return None;
        }
        let (_, rest) = self.bytes().split_at_checked(self.key_len() + self.tag_len())?;
        let name = rest.get(..self.name_len())?;
        Some(Row {
            store_time: self.store_time(),
            expire_time: self.expire_time(),
            tag: self.tag()?,
            size: self.head[8].cast_signed(),
            mode: self.mode(),
            filename: if name.is_empty() { None } else { Some(std::str::from_utf8(name).ok()?) },
            value: self.value()?,
            note: self.note(),
        })
    }

    /// What else the writer of its row noted.
    #[must_use]
    pub fn note(&self) -> u8 {
        byte(self.head[7], 3)
    }

    /// What else the writer of its row wanted found with it, where its `note` says that there is something.
    #[must_use]
    pub fn extra(&self) -> Option<&'a [u8]> {
        let start = self.key_len() + self.tag_len() + self.name_len() + self.value_len();
        let (length, rest) = self.bytes().get(start..)?.split_first_chunk::<EXTRA_LEN>()?;
        rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
    }

    /// Returns the value of its row, or `None` if no writer could have written it.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<Cell<'a>> {
        let start = self.key_len() + self.tag_len() + self.name_len();
        Cell::of(byte(self.head[7], 2), self.bytes().get(start..start + self.value_len())?)
    }

    /// Returns the tag of its row, or `None` if no writer could have written it.
    #[must_use]
    pub fn tag(&self) -> Option<Cell<'a>> {
        let start = self.key_len();
        Cell::of(byte(self.head[0], 7), self.bytes().get(start..start + self.tag_len())?)
    }

    /// How the value of its row is stored.
    #[must_use]
    #[inline]
    pub fn mode(&self) -> i64 {
        self.head[9].cast_signed()
    }

    /// Whether its value lies in a file.
    #[must_use]
    #[inline]
    pub fn has_file(&self) -> bool {
        self.name_len() > 0
    }

    /// When it was written.
    #[must_use]
    #[inline]
    pub fn store_time(&self) -> f64 {
        f64::from_bits(self.head[4])
    }

    /// Returns until when it is good, or `None` if it never expires.
    #[must_use]
    #[inline]
    pub fn expire_time(&self) -> Option<f64> {
        let time = f64::from_bits(self.head[5]);
        (!time.is_nan()).then_some(time)
    }

    /// Its length in units.
    #[inline]
    pub(crate) fn units(&self) -> u64 {
        ((HEAD + self.rest.len()) / UNIT) as u64
    }

    /// Adds its words to others.
    pub(crate) fn append_to(&self, words: &mut Vec<u64>) {
        words.extend_from_slice(self.head);
        words.extend_from_slice(self.rest);
    }

    #[inline]
    fn bytes(&self) -> &'a [u8] {
        bytes_of(self.rest)
    }

    #[inline]
    fn key_len(&self) -> usize {
        low(self.head[6])
    }

    #[inline]
    fn tag_len(&self) -> usize {
        high(self.head[6])
    }

    #[inline]
    fn name_len(&self) -> usize {
        low(self.head[7]) & 0xffff
    }

    #[inline]
    fn value_len(&self) -> usize {
        high(self.head[7])
    }
}
