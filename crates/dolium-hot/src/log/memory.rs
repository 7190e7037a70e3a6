//! The tier's memory as every process sees it: header words, slots, log.
//!
//! Owns lock-free reading and the order of loads. Writing, which needs the append lock, is in `write`; neither knows of
//! files.
//!
//! Everything is atomic words: racing with a writer gives a record that fails its checks, never undefined behaviour.
//!
//! **Order.** A writer stores bytes (relaxed), then `head` (release), then the slot (release). Before it uses space
//! again it stores `tail` (release, since that drops slots: a reader that finds their keys gone asks the database, and
//! must find them there) and puts a release fence between that and the bytes. A reader loads the slot (acquire), so
//! that it sees the bytes that were stored before it, copies (relaxed), and after an acquire fence loads `tail` again:
//! if the copy saw any byte of a later lap, the two fences make it see the `tail` that came before that byte, and the
//! record is discarded. The checksum stands behind that, for damaged files. `tests/weak.rs` tries every order.
//!
//! **Chunks.** The index names the records of a chunk one after the other, and readers see all of them at once or none. The
//! writer says in the state where the chunk begins, then moves the head, and takes that back when all keys are named. A
//! reader loads the state first. If it is not the usual one, the reader looks into the chunk before it looks into the index:
//! up to the head, which is where it was, or behind the chunk. Of a key with several records the index names the last alone.
//! `tests/chunk_protocol.rs` searches this.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::atomic::Atomic;
use super::hash;
use super::record::{HEAD, Key, PAD, View, first};
use super::scratch::Scratch;
use crate::layout::geometry::{BUCKET, Geometry, SizeReason, UNIT};
use crate::layout::header::field;

/// Bits of a slot that are the offset; the rest is the tag.
pub(crate) const OFFSET: u64 = (1 << 48) - 1;

/// The words of a mapped tier.
pub(crate) struct Memory<'m, A = AtomicU64> {
    words: &'m [A],
    pub geometry: Geometry,
    pub epoch: u64,
}

/// The part of the log that may be dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub drained: u64,
    pub head: u64,
}

/// Where a key was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The slot's index.
    pub slot: usize,
    pub offset: u64,
}

impl<'m, A: Atomic> Memory<'m, A> {
    /// `words` are those of the whole file.
    #[inline]
    pub fn new(words: &'m [A], geometry: Geometry, epoch: u64) -> Self {
        debug_assert!(
            words.len() as u64 * 8 >= geometry.file_len(),
            "a mapping shorter than its header says"
        );
        Self { words, geometry, epoch }
    }

    #[inline]
    pub fn field(&self, at: usize) -> &'m A {
        &self.words[at]
    }

    fn state(&self) -> u64 {
        self.field(field::STATE).load(Acquire)
    }

    /// Whether the tier is in use.
    pub fn is_live(&self) -> bool {
        let state = self.state();
        state == field::LIVE || field::published(state).is_some()
    }

    /// Whether the tier is in use, and no chunk is being published: then the index alone says what is newest.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.state() == field::LIVE
    }

    /// Reads the header, if it can be believed so far that every walk ends. Returns `None` if something has damaged it.
    pub fn bounds(&self) -> Option<Bounds> {
        // In this order: each is at most what is loaded after it.
        let tail = self.field(field::TAIL).load(Acquire);
        let drained = self.field(field::DRAINED).load(Acquire);
        let head = self.field(field::HEAD).load(Acquire);
        let sane = tail <= drained
            && drained <= head
            && head - drained <= self.geometry.units
            && (self.geometry.units..OFFSET).contains(&head)
            && self.field(field::LAST).load(Acquire) < OFFSET
            && self.field(field::APPLIED).load(Acquire) < OFFSET;
        sane.then_some(Bounds { drained, head })
    }

    /// Whether who has the append lock may write at once.
    pub fn is_sound(&self) -> bool {
        self.field(field::UNRECOVERED).load(Relaxed) == 0 && self.is_settled() && self.bounds().is_some()
    }

    pub fn commits(&self) -> u64 {
        self.field(field::COMMITS).load(Acquire)
    }

    /// Why the log has its size.
    pub fn sized(&self) -> SizeReason {
        SizeReason::of(self.field(field::SIZED).load(Relaxed))
    }

    pub fn slot(&self, slot: usize) -> &'m A {
        &self.words[Geometry::INDEX + slot]
    }

    pub fn access(&self, slot: usize) -> &'m A {
        &self.words[self.geometry.access() + slot]
    }

    pub fn hash(&self, kind: u8, bytes: &[u8]) -> u64 {
        hash::key(kind, bytes, self.epoch)
    }

    /// The first slot of a key's bucket.
    pub fn bucket(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let bucket = hash as usize & (self.geometry.buckets - 1);
        bucket * BUCKET
    }

    /// The slots of a bucket.
    #[inline]
    pub fn slots(&self, first: usize) -> &'m [A; BUCKET] {
        self.words[Geometry::INDEX + first..].first_chunk().expect("a bucket is whole")
    }

    /// Finds the newest record of a key and copies it to `scratch`.
    #[inline]
    pub fn find<'s>(&self, key: Key<'_>, hash: u64, scratch: &'s mut Scratch) -> Option<(Found, View<'s>)> {
        let first = self.bucket(hash);
        let found = self.slots(first).iter().zip(first..).find_map(|(word, slot)| {
            let word = word.load(Acquire);
            let offset = word & OFFSET;
            let is_it = word != 0 && word >> 48 == hash >> 48 && self.copy(offset, scratch)?.key().is(&key);
            is_it.then_some(Found { slot, offset })
        })?;
        Some((found, View::verified(scratch.words())))
    }

    /// Finds the newest record of a key although a chunk may be being published, and copies it to `scratch`. Takes no lock.
    ///
    /// The head is what publishes a chunk: its records count from then on, whether or not the index names them yet.
    #[cold]
    #[inline(never)]
    pub fn find_beside(&self, key: Key<'_>, hash: u64, scratch: &mut Scratch) -> Option<Found> {
        let chunk = field::published(self.state());
        let published = chunk.and_then(|start| self.published_at(key, start, scratch));
        let found = published
            .map(|offset| Found { slot: self.bucket(hash), offset })
            .or_else(|| self.find(key, hash, scratch).map(|(place, _)| place));
        found.filter(|_| self.is_live())
    }

    /// Where the newest record of a key lies in a chunk that begins at an offset, and copies it.
    fn published_at(&self, key: Key<'_>, start: u64, scratch: &mut Scratch) -> Option<u64> {
        let head = self.field(field::HEAD).load(Acquire);
        if head.checked_sub(start)? > self.geometry.units {
            return None;
        }
        let (mut at, mut newest) = (start, None);
        while at < head {
            let (units, kind) = first(self.log()[Self::word_of(self.geometry.within(at))].load(Relaxed));
            if kind != PAD && self.has_key(at, key) {
                newest = Some(at);
            }
            at = at.saturating_add(units.max(1));
        }
        newest.filter(|offset| self.copy(*offset, scratch).is_some_and(|view| view.key().is(&key)))
    }

    /// Copies the record at an offset out of the log. Returns `None` if it is gone, or was never there.
    // A call, so that a walk over slots prepares nothing for it before one is worth it.
    #[inline(never)]
    pub fn copy<'s>(&self, offset: u64, scratch: &'s mut Scratch) -> Option<View<'s>> {
        let body = self.snatch(offset, scratch)?;
        View::read(scratch.words(), body, offset)
    }

    /// Copies what lies at an offset, and makes sure that it was not used again meanwhile. Returns the sum of its body.
    #[inline]
    pub fn snatch(&self, offset: u64, scratch: &mut Scratch) -> Option<u64> {
        if self.field(field::TAIL).load(Acquire) > offset {
            return None;
        }
        let head = self.field(field::HEAD).load(Acquire);
        let body = scratch.copy(self.extent(head, offset)?, self.epoch);
        A::fence(Acquire);
        // Acquire: a tail above means that the database has it, and is asked next.
        (self.field(field::TAIL).load(Acquire) <= offset).then_some(body)
    }

    /// Returns the record at an offset, if it ends at or below `end`. No writer uses its space again meanwhile.
    pub fn copy_below<'s>(&self, end: u64, offset: u64, scratch: &'s mut Scratch) -> Option<View<'s>> {
        let body = scratch.copy(self.extent(end, offset)?, self.epoch);
        View::read(scratch.words(), body, offset)
    }

    /// What lies at an offset, if it ends at or below `end`: bounded, whatever the file says.
    #[inline]
    pub fn extent(&self, end: u64, offset: u64) -> Option<&'m [A]> {
        let place = self.geometry.within(offset);
        let start = self.geometry.log() + Self::word_of(place);
        let (units, _) = first(self.words.get(start)?.load(Relaxed));
        let fits = units * UNIT as u64 >= HEAD as u64
            && units <= self.geometry.longest()
            && offset.checked_add(units)? <= end
            && place + units <= self.geometry.units;
        if !fits {
            return None;
        }
        self.words.get(start..start + Self::word_of(units))
    }

    /// The words of the log.
    pub fn log(&self) -> &'m [A] {
        let start = self.geometry.log();
        &self.words[start..start + Self::word_of(self.geometry.units)]
    }

    /// The index of the first word of a unit.
    #[expect(clippy::cast_possible_truncation, reason = "units of a log that is mapped")]
    pub fn word_of(unit: u64) -> usize {
        unit as usize * UNIT
    }

    /// Makes a slot name an offset. Stores with release, so that a reader that sees the offset sees the record.
    pub fn point(&self, slot: usize, hash: u64, offset: u64) {
        self.slot(slot).store(hash & !OFFSET | offset, Release);
    }

    pub fn offset_of(word: u64) -> u64 {
        word & OFFSET
    }
}

impl Key<'_> {
    fn is(&self, other: &Key<'_>) -> bool {
        self.kind == other.kind && self.bytes == other.bytes
    }
}
