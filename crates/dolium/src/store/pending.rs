//! Owns what reads leave to be written later: which rows were read (for the policies that ask), hits and
//! misses. A read never waits for a write; the next write, or the housekeeper, takes these along.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::system::clock::Timestamp;
use crate::system::fork_gate;

/// Rows whose reads are kept at most before they are written.
const ROWS: usize = 4096;

/// How long reads are kept before they are written.
const AGE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct PendingReads {
    /// For each row: when it was read last, and how often.
    pub rows: HashMap<i64, (Timestamp, i64)>,
    pub hits: i64,
    pub misses: i64,
    since: Option<Instant>,
}

impl PendingReads {
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }
}

#[derive(Default)]
pub(crate) struct Pending(Mutex<PendingReads>);

impl Pending {
    /// Records a read of a row. Returns whether the housekeeper should know that something is pending now.
    pub fn record_read(&self, rowid: i64, time: Timestamp) -> bool {
        self.record(|reads| {
            let (last, count) = reads.rows.entry(rowid).or_insert((time, 0));
            *last = last.max(time);
            *count += 1;
        })
    }

    /// Reads are noted in the hot tier. Returns as `record_read` does.
    pub fn expect_notes(&self) -> bool {
        self.record(|_| {})
    }

    /// Counts a hit or a miss. Returns as `record_read` does.
    pub fn count(&self, hit: bool) -> bool {
        self.record(|reads| if hit { reads.hits += 1 } else { reads.misses += 1 })
    }

    fn record(&self, change: impl FnOnce(&mut PendingReads)) -> bool {
        self.with(|reads| {
            let first = reads.since.is_none();
            if first {
                reads.since = Some(Instant::now());
            }
            change(reads);
            first || reads.rows.len() == ROWS
        })
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        self.with(|reads| reads.rows.len() >= ROWS || reads.since.is_some_and(|since| since.elapsed() >= AGE))
    }

    pub fn is_empty(&self) -> bool {
        self.with(|reads| reads.is_empty())
    }

    /// Hits and misses that are not written yet.
    pub fn counts(&self) -> (i64, i64) {
        self.with(|reads| (reads.hits, reads.misses))
    }

    /// Takes everything out, to be written.
    pub fn take(&self) -> PendingReads {
        self.with(std::mem::take)
    }

    /// Puts back what could not be written.
    pub fn restore(&self, reads: PendingReads) {
        self.with(|now| {
            for (rowid, (time, count)) in reads.rows {
                let (last, total) = now.rows.entry(rowid).or_insert((time, 0));
                *last = last.max(time);
                *total += count;
            }
            now.hits += reads.hits;
            now.misses += reads.misses;
            now.since = now.since.or(reads.since);
        });
    }

    /// Forgets everything: in a forked child it is the parent's.
    pub fn reset(&self) {
        self.with(|reads| *reads = PendingReads::default());
    }

    /// Inside the fork gate: a fork that met the mutex locked would leave the child's locked for ever.
    fn with<T>(&self, f: impl FnOnce(&mut PendingReads) -> T) -> T {
        let _inside = fork_gate::enter();
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
