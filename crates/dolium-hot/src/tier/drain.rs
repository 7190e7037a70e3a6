//! Owns what a drain needs: the records that the database has not got, one change per key, in an order that gives the
//! rows their places.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::crash;
use super::memory::Memory;
use super::record::{Kind, View};
use crate::layout::field;

/// How much one drain takes along.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Records at most.
    pub records: usize,
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
    number: u64,
}

/// What a batch does to one key.
#[derive(Debug)]
pub struct Change<'a> {
    /// The newest record of the key, which is what remains.
    pub newest: View<'a>,
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

    /// The number that the database then has reached.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
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

    /// The latest time at which a row of it was stored.
    #[must_use]
    pub fn latest_store_time(&self) -> Option<f64> {
        let times = self.views().filter_map(|view| view.row()).map(|row| row.store_time);
        times.max_by(f64::total_cmp)
    }

    fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.places.iter().map(|&(start, end)| View::verified(&self.words[start..end]))
    }

    /// One change per key. Rows come out in the order that applying each record alone would give, if the changes are
    /// applied in this order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change<'_>> {
        let mut places: HashMap<(u8, &[u8]), usize> = HashMap::with_capacity(self.places.len());
        let mut changes: Vec<Change<'_>> = Vec::with_capacity(self.places.len());
        for (order, view) in self.views().enumerate() {
            let key = view.key();
            let place = *places.entry((key.kind, key.bytes)).or_insert(changes.len());
            let Some(change) = changes.get_mut(place) else {
                changes.push(Change { newest: view, replaces: false, superseded: Vec::new(), order });
                continue;
            };
            change.superseded.extend(change.newest.row().and_then(|row| row.filename));
            if change.newest.kind() == Kind::Delete {
                change.replaces = true;
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

impl Memory<'_> {
    /// The records above number `applied`, from `drained` on, as many as the limit allows. The caller holds D.
    pub fn pending(&self, applied: u64, limit: Limit, scratch: &mut Vec<u64>) -> Batch {
        let head = self.field(field::HEAD).load(Acquire);
        let mut batch = Batch { number: applied, ..Batch::default() };
        let mut at = self.field(field::DRAINED).load(Acquire);
        let mut bytes = 0;
        while batch.len() < limit.records && bytes < limit.bytes {
            let Some((view, next)) = self.next(at, head, scratch) else { break };
            if let Some(view) = view.filter(|view| view.kind() != Kind::Fill && view.number() > applied) {
                batch.number = batch.number.max(view.number());
                let start = batch.words.len();
                batch.words.extend_from_slice(view.words());
                batch.places.push((start, batch.words.len()));
                bytes += 8 * view.words().len() as u64;
            }
            at = next;
        }
        batch.end = at;
        batch
    }

    /// The database has reached `number`, and with it all that lies below `end`. The caller holds D and has committed.
    pub fn drained(&self, end: u64, number: u64) {
        crash::point("committed");
        self.field(field::COMMITS).fetch_add(1, Release);
        self.field(field::APPLIED).store(number, Release);
        crash::point("applied stored");
        self.field(field::DRAINED).fetch_max(end, Release);
    }

    /// A transaction of another kind was committed under the number after the last. The caller holds D and T.
    pub fn committed(&self) {
        crash::point("committed directly");
        let number = self.field(field::LAST).load(Acquire) + 1;
        self.field(field::LAST).store(number, Release);
        crash::point("last stored after a direct commit");
        self.field(field::COMMITS).fetch_add(1, Release);
        self.field(field::APPLIED).store(number, Release);
        self.field(field::DRAINED).fetch_max(self.field(field::HEAD).load(Acquire), Release);
    }
}
