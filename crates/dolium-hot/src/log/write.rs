//! Owns every change of the tier: appending records, publishing and dropping slots, moving the tail.
//! The caller holds the append lock; nothing here waits, allocates or can fail half-way.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::atomic::Atomic;
use super::crash;
use super::hash;
use super::memory::{Bounds, Memory, OFFSET};
use super::prefetch::prefetch;
use super::record::{HEAD, Key, Known, MOST, PendingRecord, is_of_key, pad};
use super::scratch::Scratch;
use crate::layout::geometry::{BUCKET, UNIT};
use crate::layout::header::field;

/// The record would overwrite one that is not in the database yet: drain, then try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFull;

/// Words of a cache line.
const LINE: usize = 8;

/// Units of a record that `prepare` prefetches; the processor sees by itself where a longer one goes on.
const PREFETCHED: u64 = 128;

/// Where a record will lie.
struct Extent {
    start: u64,
    end: u64,
}

/// Where a key is named, or may be.
struct Own {
    slot: usize,
    /// What the slot says, if the key was found there.
    word: Option<u64>,
}

impl<A: Atomic> Memory<'_, A> {
    /// Appends a record and makes the index name it.
    pub fn append(&self, record: &mut PendingRecord) -> Result<(), LogFull> {
        self.settle();
        let known = *record.known(self.epoch);
        let slot = self.slot_for(record, known).ok_or(LogFull)?;
        self.append_at(slot, record)
    }

    /// Appends a record if the one at an offset, which the caller has copied, still is the newest of the key. Returns
    /// `false` if it is not.
    pub fn append_over(&self, record: &mut PendingRecord, offset: u64) -> Result<bool, LogFull> {
        self.settle();
        match self.slot_naming(record.known(self.epoch).hash, offset) {
            Some(slot) => self.append_at(slot, record).map(|()| true),
            None => Ok(false),
        }
    }

    /// The slot that names the record of a key at an offset, if the log still has that.
    #[inline]
    pub fn slot_naming(&self, hash: u64, offset: u64) -> Option<usize> {
        let first = self.bucket(hash);
        let is_named = |slot: &A| slot.load(Relaxed) == hash & !OFFSET | offset;
        let is_there = offset >= self.field(field::TAIL).load(Relaxed);
        self.slots(first).iter().position(is_named).filter(|_| is_there).map(|at| first + at)
    }

    /// Whether the index names a record of the same key.
    pub fn knows(&self, record: &mut PendingRecord) -> bool {
        let hash = record.known(self.epoch).hash;
        let is_known = |kind, bytes: &[u8]| {
            self.find(Key { kind, spelling: 0, bytes }, hash, &mut Scratch::new()).is_some()
        };
        record.with_key(is_known)
    }

    fn append_at(&self, slot: usize, record: &mut PendingRecord) -> Result<(), LogFull> {
        // All that can be refused is refused before anything is stored.
        let start = self.start(std::slice::from_ref(record))?;
        self.store_all(start, std::slice::from_mut(record), || {});
        self.name(slot, record.known(self.epoch).hash, record.offset);
        Ok(())
    }

    /// Appends records so that readers see all of them or none, and either all survive a crash or none. `scratch` takes a
    /// word for each.
    pub fn append_all(&self, records: &mut [PendingRecord], scratch: &mut Scratch) -> Result<(), LogFull> {
        self.settle();
        if records.len() > MOST || !self.slots_suffice(records, scratch) {
            return Err(LogFull);
        }
        let start = self.start(records)?;
        self.store_all(start, records, || self.publish(start));
        // The last record of a key, and none before it.
        for record in records.iter_mut().rev() {
            let known = *record.known(self.epoch);
            if let Some(slot) = self.slot_for(record, known).filter(|slot| self.named(*slot) < start) {
                self.name(slot, known.hash, record.offset);
            }
        }
        self.end_publishing();
        Ok(())
    }

    /// Appends records in the same way if the ones at the offsets, of which each comes once and the caller has copied them,
    /// still are the newest of their keys. Returns `false` if one is not. The keys keep their slots.
    pub fn append_all_over(&self, records: &mut [PendingRecord], offsets: &[u64]) -> Result<bool, LogFull> {
        self.settle();
        if records.len() > MOST {
            return Err(LogFull);
        }
        for (record, offset) in records.iter_mut().zip(offsets) {
            let known = record.known(self.epoch);
            let Some(slot) = self.slot_naming(known.hash, *offset) else { return Ok(false) };
            known.seen = Some((slot, known.hash & !OFFSET | offset));
        }
        let start = self.start(records)?;
        self.store_all(start, records, || self.publish(start));
        for record in records {
            let known = *record.known(self.epoch);
            if let Some((slot, _)) = known.seen {
                self.name(slot, known.hash, record.offset);
            }
        }
        self.end_publishing();
        Ok(true)
    }

    /// Says that the records from an offset to the head are newer than what the index names. Does nothing to a tier that is
    /// not in use any more.
    pub fn publish(&self, start: u64) {
        self.field(field::STATE).replace(field::LIVE, field::publishing(start), Release);
        crash::point("chunk announced");
    }

    /// The index names them all.
    pub fn end_publishing(&self) {
        let state = self.field(field::STATE);
        let published = state.load(Relaxed);
        if field::published(published).is_some() {
            state.replace(published, field::LIVE, Release);
        }
        crash::point("chunk published");
    }

    /// Does what can be done for a record before the append lock is taken, because other writers wait while it is held.
    /// Most of what this looks at only needs to be in the processor's cache when it is read again.
    pub fn prepare(&self, record: &mut PendingRecord) {
        // Without the append lock the header may be anything.
        let Some(Bounds { head, .. }) = self.bounds() else { return };
        let hash = record.hash(self.epoch);
        let slot = self.bucket(hash);
        prefetch(self.slot(slot));
        prefetch(self.access(slot));
        let extent = self.place(head, record.units());
        let place = Self::word_of(self.geometry.within(extent.start));
        let words = Self::word_of(record.units().min(PREFETCHED));
        for line in self.log().get(place..place + words).unwrap_or_default().chunks(LINE) {
            prefetch(&line[0]);
        }
        // While that comes.
        record.learn(self.epoch, hash);
        let own = self.own_slot(record, hash);
        record.known(self.epoch).seen = own.and_then(|own| Some((own.slot, own.word?)));
    }

    /// Stores records, and moves the head over them after `publish`.
    fn store_all(&self, start: u64, records: &mut [PendingRecord], publish: impl FnOnce()) {
        let mut at = start;
        let mut rest = records.iter().filter(|record| !record.kind.is_fill()).count() as u64;
        let mut seq = self.field(field::LAST).load(Relaxed);
        for record in records {
            let extent = self.place(at, record.units());
            let has_seq = u64::from(!record.kind.is_fill());
            seq += has_seq;
            rest -= has_seq;
            record.offset = extent.start;
            self.store(at, &extent, record.seal(self.epoch, extent.start, seq * has_seq, rest * has_seq));
            at = extent.end;
        }
        crash::point("bytes stored");
        publish();
        self.field(field::HEAD).store(at, Release);
        crash::point("head stored");
        self.field(field::LAST).store(seq, Release);
        crash::point("last stored");
    }

    /// If nothing is dirty, everything in the log is clean, fills too.
    pub fn settle(&self) {
        if self.field(field::LAST).load(Relaxed) == self.field(field::APPLIED).load(Acquire) {
            self.field(field::DRAINED).fetch_max(self.field(field::HEAD).load(Relaxed), Release);
        }
    }

    /// Where records will start, after the tail has made way for them.
    fn start(&self, records: &[PendingRecord]) -> Result<u64, LogFull> {
        let start = self.field(field::HEAD).load(Relaxed);
        let end = records.iter().fold(start, |at, record| self.place(at, record.units()).end);
        let drained = self.field(field::DRAINED).load(Acquire);
        let too_long = records.iter().any(|record| record.units() > self.geometry.longest());
        if too_long || end >= 1 << 48 || end.saturating_sub(self.geometry.units) > drained {
            return Err(LogFull);
        }
        self.make_way(end, drained);
        Ok(start)
    }

    /// A record never wraps.
    fn place(&self, at: u64, units: u64) -> Extent {
        let left = self.geometry.units - self.geometry.within(at);
        let start = if units > left { at + left } else { at };
        Extent { start, end: start + units }
    }

    /// Moves the tail so that the log may reach up to `end`. A little further than need be, so that the line that all
    /// readers read is not written at each set.
    fn make_way(&self, end: u64, drained: u64) {
        let needed = end.saturating_sub(self.geometry.units);
        if needed > self.field(field::TAIL).load(Relaxed) {
            // Release, since it drops slots: a reader that finds their keys gone must find them in the database. Not a
            // store, because a process that forgets clean records moves the tail without the append lock.
            self.field(field::TAIL).fetch_max((needed + self.geometry.units / 64).min(drained), Release);
            crash::point("tail stored");
        }
        // Even if it stays: the space up to it may not have been written since it was moved.
        A::fence(Release);
    }

    fn store(&self, at: u64, extent: &Extent, words: &[u64]) {
        let log = self.log();
        if extent.start > at {
            let place = Self::word_of(self.geometry.within(at));
            log[place].store(pad(extent.start - at), Relaxed);
        }
        let place = Self::word_of(self.geometry.within(extent.start));
        for (shared, word) in log[place..place + words.len()].iter().zip(words) {
            shared.store(*word, Relaxed);
        }
    }

    fn name(&self, slot: usize, hash: u64, offset: u64) {
        let access = self.access(slot);
        // It hardly ever is anything else, and pages that no process stores to are never written back.
        if access.load(Relaxed) != 0 {
            access.store(0, Relaxed);
        }
        self.point(slot, hash, offset);
        crash::point("slot stored");
    }

    /// The slot of a record's key, or one that may be given away.
    fn slot_for(&self, record: &PendingRecord, Known { hash, seen, .. }: Known) -> Option<usize> {
        // A offset never comes back: what a slot names still is what it was, if the log still has it.
        let is_as_seen = |&(slot, word): &(usize, u64)| {
            self.slot(slot).load(Relaxed) == word
                && Self::offset_of(word) >= self.field(field::TAIL).load(Relaxed)
        };
        let own = || Some(self.own_slot(record, hash)?.slot);
        let slot = seen.filter(is_as_seen).map(|(slot, _)| slot).or_else(own);
        slot.or_else(|| self.slot_to_give(hash))
    }

    /// The slot in a bucket that misses its key least.
    fn slot_to_give(&self, hash: u64) -> Option<usize> {
        self.clean_slots(self.bucket(hash)).min_by_key(|slot| self.named(*slot))
    }

    /// Returns the slot of a record's key, whose hash this is. No process changes records while the append lock is
    /// held, so that the key is compared where it lies. Without the append lock this may find another's key, if the
    /// tail goes past its record.
    fn own_slot(&self, record: &PendingRecord, hash: u64) -> Option<Own> {
        let first = self.bucket(hash);
        let slots = self.slots(first);
        let is_tagged = |slot: &A| slot.load(Acquire) >> 48 == hash >> 48;
        let mut tagged =
            (0..BUCKET).fold(0_u32, |tagged, at| tagged | u32::from(is_tagged(&slots[at])) << at);
        // One only, and clean: it is the key's, or may be given away. No look into the log is needed to know which.
        if tagged.is_power_of_two() {
            let slot = first + tagged.trailing_zeros() as usize;
            if self.named(slot) < self.field(field::DRAINED).load(Acquire) {
                return Some(Own { slot, word: None });
            }
        }
        let tail = self.field(field::TAIL).load(Relaxed);
        while tagged != 0 {
            let at = tagged.trailing_zeros() as usize;
            tagged &= tagged - 1;
            let (slot, word) = (first + at, slots[at].load(Acquire));
            let offset = Self::offset_of(word);
            let is_own = |kind, bytes: &[u8]| self.has_key(offset, Key { kind, spelling: 0, bytes });
            if offset >= tail.max(1) && record.with_key(is_own) {
                return Some(Own { slot, word: Some(word) });
            }
        }
        None
    }

    /// Whether the record at an offset is about a key. It may be anything, without the append lock.
    pub fn has_key(&self, offset: u64, key: Key<'_>) -> bool {
        let start = Self::word_of(self.geometry.within(offset));
        let words = (HEAD + key.bytes.len().div_ceil(8)).next_multiple_of(UNIT);
        let Some(record) = self.log().get(start..start + words) else { return false };
        let word = |at: usize| record[at].load(Relaxed);
        let (whole, rest) = key.bytes.as_chunks::<8>();
        let ends_as = |word: u64| (word ^ hash::tail(rest)) << (64 - 8 * rest.len()) == 0;
        is_of_key(word(0), word(6), key)
            && whole
                .iter()
                .zip(&record[HEAD..])
                .all(|(chunk, word)| word.load(Relaxed).to_le_bytes() == *chunk)
            && (rest.is_empty() || ends_as(word(HEAD + whole.len())))
    }

    /// The slots of a bucket that may be given away.
    pub fn clean_slots(&self, first: usize) -> impl Iterator<Item = usize> {
        let drained = self.field(field::DRAINED).load(Acquire);
        (first..first + BUCKET).filter(move |slot| self.named(*slot) < drained)
    }

    /// The offset that a slot names, 0 for none.
    pub fn named(&self, slot: usize) -> u64 {
        Self::offset_of(self.slot(slot).load(Relaxed))
    }

    /// Whether each record finds a slot. Where many keys share a bucket, those that stay where they are need none.
    fn slots_suffice(&self, records: &mut [PendingRecord], scratch: &mut Scratch) -> bool {
        const RECORDS: u64 = MOST as u64;
        // Few fit even if all of them share a bucket.
        let count = records.len();
        let has_space = |record: &mut PendingRecord| {
            self.clean_slots(self.bucket(record.known(self.epoch).hash)).count() >= count
        };
        if count <= BUCKET && records.iter_mut().all(has_space) {
            return true;
        }
        let bucket = |record: &mut PendingRecord| self.bucket(record.known(self.epoch).hash) as u64;
        scratch.fill(records.iter_mut().enumerate().map(|(at, record)| bucket(record) * RECORDS + at as u64));
        let wanted = scratch.words_mut();
        wanted.sort_unstable();
        let bucket = |word: u64| (word / RECORDS) as usize;
        let record = |word: u64| &records[(word % RECORDS) as usize];
        wanted.chunk_by(|a, b| bucket(*a) == bucket(*b)).all(|crowd| {
            let clean = self.clean_slots(bucket(crowd[0])).count();
            crowd.len() <= clean
                || crowd.iter().filter(|word| !self.has_dirty_slot(record(**word))).count() <= clean
        })
    }

    fn has_dirty_slot(&self, record: &PendingRecord) -> bool {
        let own = self.own_slot(record, record.hash(self.epoch));
        let word = own.and_then(|own| own.word);
        word.is_some_and(|word| Self::offset_of(word) >= self.field(field::DRAINED).load(Acquire))
    }
}
