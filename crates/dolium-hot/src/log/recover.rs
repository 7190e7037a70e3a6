//! Owns repairing what a dead or panicking owner of the append lock left half done, and walking the log.
//!
//! What was written whole has happened: the head moves over it. Otherwise its bytes would lie behind the head with
//! sequence numbers that others get again, and a later scan of the log could take them for history.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::atomic::Atomic;
use super::crash;
use super::memory::{Bounds, Found, Memory};
use super::record::{Key, PAD, View, first};
use super::scratch::Scratch;
use crate::layout::header::field;

impl<A: Atomic> Memory<'_, A> {
    /// Publishes what the owner of the append lock had stored, and gives the sequence numbers that it used their due.
    /// `applied` is the sequence number that the database has applied, and no commit of that owner may come to it later. A
    /// death anywhere in it leaves the same to do.
    /// Returns `false` if the tier cannot be repaired.
    pub fn recover(&self, applied: u64, scratch: &mut Scratch) -> bool {
        let Some(Bounds { drained, head }) = self.bounds().filter(|_| applied >> 48 == 0) else {
            return false;
        };
        let known = self.field(field::LAST).load(Acquire).max(self.field(field::APPLIED).load(Acquire));
        let last = self.newest(drained, head, known.max(applied), scratch);
        // As its writer would have: it may be a chunk that comes to light here.
        self.publish(head);
        let (head, last) = self.complete(head, last, scratch);
        self.field(field::HEAD).store(head, Release);
        crash::point("head recovered");
        self.field(field::LAST).store(last, Release);
        crash::point("last recovered");
        let applied = applied.max(self.field(field::APPLIED).load(Acquire));
        let is_whole = self.restore_all(head, applied, scratch);
        self.renounce();
        self.field(field::COMMITS).fetch_add(1, Release);
        self.end_publishing();
        is_whole
    }

    /// The highest sequence number.
    fn newest(&self, from: u64, to: u64, known: u64, scratch: &mut Scratch) -> u64 {
        let (mut at, mut last) = (from, known);
        while let Some((view, next)) = self.next(at, to, scratch) {
            last = last.max(view.map_or(0, |view| view.seq()));
            at = next;
        }
        last
    }

    /// Head and last behind the records and whole chunks that were stored but not published.
    fn complete(&self, head: u64, last: u64, scratch: &mut Scratch) -> (u64, u64) {
        let limit = self.field(field::TAIL).load(Relaxed) + self.geometry.units;
        let (mut done, mut at, mut seq) = ((head, last), head, last);
        let mut rest = None;
        while at < limit {
            if let Some(units) = self.pad_at(at) {
                at += units;
                continue;
            }
            let Some(view) = self.whole_at(at, limit, scratch) else { break };
            at += view.units();
            if view.kind().is_fill() {
                continue;
            }
            seq += 1;
            if view.seq() != seq || rest.is_some_and(|rest| rest != view.rest()) {
                break;
            }
            rest = view.rest().checked_sub(1);
            if rest.is_none() {
                done = (at, seq);
            }
        }
        done
    }

    /// Makes the index name the newest dirty record of every key, and nothing older than the newest record; takes nothing
    /// out of it. What the database has is not named again where the index does not name the key: a direct commit may
    /// have changed it since. From the tail on, for what the dead owner had not named may have been drained.
    fn restore_all(&self, head: u64, applied: u64, scratch: &mut Scratch) -> bool {
        let mut at = self.field(field::TAIL).load(Relaxed).max(head.saturating_sub(self.geometry.units));
        let mut offsets = Vec::new();
        while let Some((view, next)) = self.next(at, head, scratch) {
            if view.is_some_and(|view| !view.kind().is_fill()) {
                offsets.push(at);
            }
            at = next;
        }
        // The newest first, for readers may not see what lies between two records of a chunk.
        offsets.into_iter().rev().fold(true, |is_whole, offset| {
            let view = self.copy_below(head, offset, scratch);
            let Some((key, is_dirty)) = view.map(|view| (view.key(), view.seq() > applied)) else {
                return is_whole;
            };
            let (kind, bytes) = (key.kind, key.bytes.to_vec());
            self.restore(kind, &bytes, offset, is_dirty, scratch) && is_whole
        })
    }

    fn restore(&self, kind: u8, bytes: &[u8], offset: u64, is_dirty: bool, scratch: &mut Scratch) -> bool {
        let hash = self.hash(kind, bytes);
        let known = self.find(Key { kind, spelling: 0, bytes }, hash, scratch).map(|(place, _)| place);
        let slot = match known {
            Some(Found { offset: named, .. }) if named >= offset => return true,
            Some(place) => Some(place.slot),
            None if !is_dirty => return true,
            // There is one: its writer had made sure of it, and nothing was named since.
            None => self.clean_slots(self.bucket(hash)).min_by_key(|slot| self.named(*slot)),
        };
        if let Some(slot) = slot {
            self.point(slot, hash, offset);
            crash::point("slot recovered");
        }
        slot.is_some()
    }

    /// Returns what lies at an offset below `head`, and where the next record begins; `None` at the end. Passes over
    /// damage unit by unit, so that it is not in the way of what lies behind it.
    pub fn next<'s>(&self, at: u64, head: u64, scratch: &'s mut Scratch) -> Option<(Option<View<'s>>, u64)> {
        if at >= head {
            return None;
        }
        if let Some(units) = self.pad_at(at) {
            return Some((None, head.min(at + units)));
        }
        let view = self.whole_at(at, head, scratch);
        let units = view.map_or(1, |view| view.units());
        Some((view, at + units))
    }

    /// The record that lies there.
    fn whole_at<'s>(&self, at: u64, end: u64, scratch: &'s mut Scratch) -> Option<View<'s>> {
        // Cheap, and false for nearly all that is not the beginning of a record.
        let place = Self::word_of(self.geometry.within(at));
        if self.log().get(place + 2)?.load(Relaxed) != at {
            return None;
        }
        self.copy_below(end, at, scratch)
    }

    fn pad_at(&self, at: u64) -> Option<u64> {
        let place = self.geometry.within(at);
        let (units, kind) = first(self.log()[Self::word_of(place)].load(Relaxed));
        (kind == PAD && units == self.geometry.units - place).then_some(units)
    }
}
