//! Owns what a tier takes along from the one before it, which had another size.

use std::sync::atomic::Ordering::Acquire;

use super::atomic::Atomic;
use super::memory::{Bounds, Memory};
use super::record::{HEAD, Kind, PendingRecord, View};
use super::scratch::Scratch;
use crate::layout::geometry::SizeReason;
use crate::layout::header::field;

/// How many times as large a tier becomes of which an earlier version said that it is too small.
const GROWTH: u64 = 4;

/// Bytes of records that are taken along at most: other processes wait meanwhile. Reads bring the rest.
pub(crate) const CARRIED: usize = 16 << 20;

/// How many records that can be.
const MOST: usize = CARRIED / (8 * HEAD);

impl<A: Atomic> Memory<'_, A> {
    /// Whether this tier was ended in favour of one of another size, with all in the database up to the sequence number
    /// `applied`.
    pub fn is_outgrown(&self, applied: u64) -> bool {
        self.field(field::STATE).load(Acquire) == field::OUTGROWN
            && !self.is_dirty()
            && self.field(field::LAST).load(Acquire) == applied
            && self.bounds().is_some()
    }

    /// How large the next tier shall be, and why. Earlier versions only said that it shall be larger.
    pub fn next_size(&self) -> (u64, SizeReason) {
        match self.field(field::NEXT).load(Acquire) {
            0 => (self.geometry.log_bytes().saturating_mul(GROWTH), SizeReason::Returns),
            next => (next & !4095, SizeReason::of(next & 4095)),
        }
    }

    /// Where the records lie that are taken along, oldest first: the newest of what the index names, `most` bytes and the rest of
    /// a record. Nothing is dirty.
    pub fn carried(&self, most: u64) -> Vec<u64> {
        let Some(Bounds { head, .. }) = self.bounds() else { return Vec::new() };
        let tail = self.field(field::TAIL).load(Acquire).max(1);
        let newest_first = |offset: &u64| std::cmp::Reverse(*offset);
        let mut offsets = Vec::new();
        for slot in 0..self.geometry.slots() {
            let offset = Self::offset_of(self.slot(slot).load(Acquire));
            if offset >= tail {
                offsets.push(offset);
            }
            // An index has room for many more than can be taken along.
            if offsets.len() == 2 * MOST {
                offsets.select_nth_unstable_by_key(MOST, newest_first);
                offsets.truncate(MOST);
            }
        }
        offsets.sort_unstable_by_key(newest_first);
        let (most, mut bytes) = (most.min(CARRIED as u64), 0);
        let is_enough = |offset: &u64| {
            bytes += self.extent(head, *offset).map_or(0, |words| words.len() as u64 * 8);
            bytes >= most
        };
        let taken = offsets.iter().position(is_enough).map_or(offsets.len(), |last| last + 1);
        offsets.truncate(taken);
        offsets.reverse();
        offsets
    }

    /// What is taken along of the record at an offset.
    pub fn repeated(&self, offset: u64, scratch: &mut Scratch) -> Option<PendingRecord> {
        self.copy(offset, scratch).and_then(|view| repeated(&view))
    }
}

/// A record that says of a key what a clean record says. Those with a proof are left to reads. Zeros behind the row, up to
/// the end of its last unit, look like an empty one.
fn repeated(view: &View<'_>) -> Option<PendingRecord> {
    match view.row() {
        Some(row) if view.extra().is_none_or(<[u8]>::is_empty) => {
            Some(PendingRecord::row(Kind::Fill, view.key(), &row))
        }
        Some(_) => None,
        None => Some(PendingRecord::absent(view.key())),
    }
}
