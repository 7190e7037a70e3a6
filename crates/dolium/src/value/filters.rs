//! What the bodies of frames go through: compression, and the order of bytes that makes it worth while.

use std::borrow::Cow;

use zstd::zstd_safe::{CDict, DDict};

use super::frame::filter::{SHUFFLE, ZSTD, ZSTD_DICTIONARY};
use super::shuffle::{shuffle, unshuffle};
use super::zstandard::{Way, compress, decompress, is_worth_trying, trial};

/// Compression as a codec asks for it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Zstd<'a> {
    /// From -50 (fast) to 22 (small).
    pub level: i32,
    /// The bytes of one element, or 1 if the value has none.
    pub element: u8,
    /// The dictionary, prepared for the level.
    pub dictionary: Option<&'a CDict<'static>>,
}

impl<'a> Zstd<'a> {
    /// Compression of a level.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self { level, element: 1, dictionary: None }
    }

    /// Says that the value is elements of so many bytes. Those of more than 16 are not shuffled.
    #[must_use]
    pub fn element(mut self, bytes: u8) -> Self {
        self.element = if bytes <= 16 { bytes.max(1) } else { 1 };
        self
    }

    /// Says with which dictionary to compress.
    #[must_use]
    pub fn dictionary(mut self, dictionary: Option<&'a CDict<'static>>) -> Self {
        self.dictionary = dictionary;
        self
    }

    /// The numbers of the filters, and the bytes that they make. `None` if the value is stored as it is: because it is
    /// short, its beginning does not shrink, or all of it does not save a sixteenth.
    ///
    /// ```
    /// use dolium::raw::{Zstd, filter, undo};
    ///
    /// let body = b"spam and eggs, ".repeat(20);
    /// let (filters, packed) = Zstd::new(3).apply(&body).expect("it pays");
    /// assert!(packed.len() < 50);
    /// assert_eq!(filters, [filter::ZSTD]);
    /// assert_eq!(undo(&filters, packed, None), Some((0, body)));
    /// assert_eq!(Zstd::new(3).apply(b"short"), None);
    /// ```
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let size = usize::from(self.element);
        let (way, number) = match self.dictionary {
            Some(dictionary) => (Way::Dictionary(dictionary), ZSTD_DICTIONARY),
            None => (Way::Level(self.level), ZSTD),
        };
        if size == 1 {
            let packed = if is_worth_trying(body) { compress(body, &way) } else { None };
            return packed.map(|packed| (vec![number], packed));
        }
        if !is_worth_trying(&shuffle(trial(body), size)) {
            return None;
        }
        compress(&shuffle(body, size), &way).map(|packed| (vec![SHUFFLE + self.element, number], packed))
    }
}

impl std::fmt::Debug for Zstd<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd")
            .field("level", &self.level)
            .field("element", &self.element)
            .finish_non_exhaustive()
    }
}

/// Undoes filters of any origin, the last one first, up to one that this crate does not know. Returns how many are left,
/// and the bytes. `None` if the bytes are damaged, ask for too much, or need a dictionary that is not here.
#[must_use]
pub fn undo<'a>(
    filters: &[u8],
    bytes: impl Into<Cow<'a, [u8]>>,
    dictionary: Option<&DDict<'static>>,
) -> Option<(usize, Vec<u8>)> {
    let mut bytes = bytes.into();
    for (left, filter) in filters.iter().enumerate().rev() {
        bytes = match *filter {
            ZSTD => decompress(&bytes, None)?.into(),
            ZSTD_DICTIONARY => decompress(&bytes, Some(dictionary?))?.into(),
            filter if filter > SHUFFLE => unshuffle(&bytes, usize::from(filter - SHUFFLE)).into(),
            _ => return Some((left + 1, bytes.into_owned())),
        };
    }
    Some((0, bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::frame::filter::OWN;
    use super::*;

    #[test]
    fn shuffled_floats_are_smaller_and_come_back() {
        let floats: Vec<u8> = (0..20_000).flat_map(|at| (f64::from(at).sqrt()).to_le_bytes()).collect();
        let (filters, packed) = Zstd::new(3).element(8).apply(&floats).expect("it pays");
        assert_eq!(filters, [SHUFFLE + 8, ZSTD]);
        let plain = Zstd::new(3).apply(&floats).map_or(floats.len(), |(_, packed)| packed.len());
        assert!(packed.len() < plain, "{} and {plain}", packed.len());
        assert_eq!(undo(&filters, packed, None), Some((0, floats)));
    }

    #[test]
    fn what_is_not_known_here_is_left_to_the_caller() {
        let body = b"spam and eggs, ".repeat(20);
        let (mut filters, packed) = Zstd::new(3).apply(&body).expect("it pays");
        filters.insert(0, OWN);
        assert_eq!(undo(&filters, packed, None), Some((1, body)));
        assert_eq!(undo(&[OWN, ZSTD], vec![1, 2, 3], None), None);
        assert_eq!(undo(&[ZSTD_DICTIONARY], vec![1, 2, 3], None), None, "there is no dictionary");
    }
}
