//! Owns what a drain needs: the records that the database has not got, one change per key, in an order that gives the
//! rows their places.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::atomic::Atomic;
use super::crash;
use super::memory::{Bounds, Memory};
use super::record::{Key, Kind, View};
use super::scratch::Scratch;
use crate::layout::geometry::{SizeReason, UNIT};
use crate::layout::header::field;

/// How much one drain takes along.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Keys after which no further record is begun: each costs the database a row, however many records it has.
    pub keys: usize,
    /// Bytes of log after which no further record is begun.
    pub bytes: u64,
}

/// Records that wait to be applied.
#[derive(Debug, Default)]
pub struct Batch {
    words: Vec<u64>,
    /// Where each record lies in `words`.
    places: Vec<(usize, usize)>,
    end: u64,
    seq: u64,
}

/// What a batch does to one key.
#[derive(Debug)]
pub struct Change<'a> {
    /// The newest record of the key, which is what remains.
    pub newest: View<'a>,
    /// The key as a new row must spell it: as the record did that would have made the row. An existing row keeps its own
    /// spelling.
    pub key: Key<'a>,
    /// Whether the row that was there before is removed, so that a new one takes its place at the end.
    pub replaces: bool,
    /// Value files that older records of the batch name.
    pub superseded: Vec<&'a str>,
    /// The record that decides about the row's place in the order of insertion.
    order: usize,
}

impl Batch {
    /// The log up to here is in the database once the batch is.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The sequence number that the database then has applied.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = View<'_>> {
        self.places.iter().map(|&(start, end)| View::verified(&self.words[start..end]))
    }

    /// One change per key. Rows come out in the order that applying each record alone would give, if the changes are
    /// applied in this order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut places: HashMap<(u8, &[u8]), usize> = HashMap::with_capacity(self.places.len());
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.places.len());
        for (order, view) in self.records().enumerate() {
            let key = view.key();
            let place = *places.entry((key.kind, key.bytes)).or_insert(changes.len());
            let Some(change) = changes.get_mut(place) else {
                changes.push(Change { newest: view, key, replaces: false, superseded: Vec::new(), order });
                continue;
            };
            change.superseded.extend(change.newest.row().and_then(|row| row.filename));
            if change.newest.kind() == Kind::Delete {
                change.replaces = true;
                change.key = key;
                change.order = order;
            }
            change.newest = view;
        }
        for change in &mut changes {
            // A record that changes the expiry only names the same file as the one before.
            let kept = change.newest.row().and_then(|row| row.filename);
            change.superseded.retain(|name| Some(*name) != kept);
        }
        changes.sort_by_key(|change| change.order);
        changes
    }
}

impl<A: Atomic> Memory<'_, A> {
    /// The records above sequence number `applied`, from `drained` on, as many as the limit allows; a chunk is not
    /// divided. The caller holds the writer lock.
    pub fn pending(&self, applied: u64, limit: Limit, scratch: &mut Scratch) -> Batch {
        // Before the head: every sequence number up to it is below.
        let last = self.field(field::LAST).load(Acquire);
        let Some(Bounds { drained, head }) = self.bounds() else {
            // Nothing here can be found by walking. The process that starts the tier anew scans for it.
            self.retire();
            return Batch { seq: applied, ..Batch::default() };
        };
        let mut batch = Batch { seq: applied, ..Batch::default() };
        // At once: a buffer that grows leaves holes of all its sizes.
        let words = (head.saturating_sub(drained)).saturating_mul(UNIT as u64).min(limit.bytes / 8);
        batch.words.reserve(usize::try_from(words).unwrap_or(0));
        let mut at = drained;
        let mut keys = HashSet::new();
        let (mut bytes, mut is_open) = (0, false);
        while is_open || (keys.len() < limit.keys && bytes < limit.bytes) {
            let Some((view, next)) = self.next(at, head, scratch) else { break };
            if let Some(view) = view.filter(|view| !view.kind().is_fill() && view.seq() > applied) {
                batch.seq = batch.seq.max(view.seq());
                let start = batch.words.len();
                view.append_to(&mut batch.words);
                batch.places.push((start, batch.words.len()));
                bytes += 8 * UNIT as u64 * view.units();
                is_open = view.rest() > 0;
                keys.insert(self.hash(view.key().kind, view.key().bytes));
            }
            at = next;
        }
        if at >= head {
            // Sequence numbers of damaged records are gone, and no process may wait for them.
            batch.seq = batch.seq.max(last);
        }
        batch.end = at;
        batch
    }

    /// The database has applied everything up to `seq`, and with it all that lies below `end`. The caller holds the
    /// writer lock and has committed.
    pub fn drained(&self, end: u64, seq: u64) {
        crash::point("committed");
        self.field(field::COMMITS).fetch_add(1, Release);
        crash::point("commits counted");
        self.field(field::APPLIED).fetch_max(seq, Release);
        crash::point("applied stored");
        self.field(field::DRAINED).fetch_max(end, Release);
    }

    /// Announces a commit past the log under the sequence number after the last, and returns that number. The caller holds
    /// the append lock. If the process dies, the next owner knows that the commit may be there without being seen.
    pub fn announce(&self) -> u64 {
        let seq = self.field(field::LAST).load(Acquire) + 1;
        self.field(field::DIRECT).store(seq, Release);
        crash::point("number announced");
        seq
    }

    /// Counts a change that may add rows which the log does not name: after it is announced, and before it happens. So a
    /// process that reads this number, finds nothing announced and then reads the rows has them, or finds another number
    /// later.
    pub fn count_addition(&self) {
        self.field(field::ADDITIONS).fetch_add(1, Release);
        crash::point("addition counted");
    }

    /// How many such changes there have been.
    pub fn additions(&self) -> u64 {
        self.field(field::ADDITIONS).load(Acquire)
    }

    /// No announced commit can come any more.
    pub fn renounce(&self) {
        self.field(field::DIRECT).store(0, Release);
    }

    /// Whether a commit is announced.
    pub fn is_announced(&self) -> bool {
        self.field(field::DIRECT).load(Acquire) != 0
    }

    /// A transaction of another kind was committed under the sequence number after the last. The caller holds the
    /// writer lock and the append lock.
    pub fn committed(&self) {
        crash::point("committed directly");
        let seq = self.field(field::LAST).load(Acquire) + 1;
        self.field(field::LAST).store(seq, Release);
        crash::point("last stored after a direct commit");
        self.field(field::COMMITS).fetch_add(1, Release);
        crash::point("commits counted after a direct commit");
        self.field(field::APPLIED).fetch_max(seq, Release);
        crash::point("applied stored after a direct commit");
        self.field(field::DRAINED).fetch_max(self.field(field::HEAD).load(Acquire), Release);
        self.renounce();
    }

    /// Rows that the index does not know were changed without a sequence number. The caller holds the writer lock and the
    /// append lock.
    pub fn committed_beside(&self) {
        crash::point("committed beside");
        self.field(field::COMMITS).fetch_add(1, Release);
        crash::point("commits counted after a commit beside");
    }

    /// Whether a quarter of the log has records. Less is read again in less time than its place on the disk is worth.
    pub fn is_worth_resting(&self) -> bool {
        let written = self.field(field::HEAD).load(Acquire) - self.geometry.units;
        4 * written >= self.geometry.units
    }

    /// Lets the tier rest: nothing is dirty, and the last process leaves. What was counted and noted ends with it.
    pub fn rest(&self) {
        self.reset_counters();
        // The database remembers another program for a day; the next process asks it.
        self.field(field::FOREIGN).store(0, Release);
        self.field(field::STATE).store(field::RESTING, Release);
    }

    /// The sequence number at which a resting tier ended, if it is fit to go on: nothing dirty, announced or left to
    /// recover.
    pub fn rests_at(&self) -> Option<u64> {
        let is_fit = self.field(field::STATE).load(Acquire) == field::RESTING
            && self.field(field::UNRECOVERED).load(Relaxed) == 0
            && !self.is_announced()
            && !self.is_dirty()
            && self.bounds().is_some();
        is_fit.then(|| self.field(field::LAST).load(Acquire))
    }

    /// Takes a resting tier into use again.
    pub fn wake(&self) {
        self.field(field::COMMITS).fetch_add(1, Release);
        self.field(field::STATE).store(field::LIVE, Release);
    }

    /// Ends the tier in favour of one of another size. The caller holds both locks, and nothing is dirty.
    pub fn outgrow(&self, bytes: u64, why: SizeReason) {
        self.field(field::NEXT).store(bytes & !4095 | why as u64, Release);
        crash::point("next size stored");
        self.field(field::STATE).store(field::OUTGROWN, Release);
        crash::point("outgrown");
    }

    /// Ends the tier: no process may use it any more.
    pub fn retire(&self) {
        self.field(field::STATE).store(field::GONE, Release);
    }
}
