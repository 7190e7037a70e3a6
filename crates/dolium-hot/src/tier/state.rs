//! What a tier says of itself at this moment: where its log is, whether it is in use by a writer, what was counted. All of it
//! takes no lock.

use std::sync::atomic::Ordering::Acquire;

use crate::layout::geometry::{LONGEST_PART, SizeReason};
use crate::layout::header::field;
use crate::lock::guard::Which;
use crate::log::counters::Counter;
use crate::log::record::MOST;
use crate::log::stats::TierStats;

use super::{Moment, Tier};

impl Tier {
    /// Grows with each change of the database. Read it before a row that you offer as a fill.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.memory().commits()
    }

    /// Returns this moment, or `None` while a process may be changing the tier. Takes no lock.
    ///
    /// Each change grows one of the two numbers before the append lock is free again. So a process that has grown what
    /// is loaded here is seen to have the append lock, which is loaded after, or it is done.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        let memory = self.memory();
        let moment = Moment { last: memory.field(field::LAST).load(Acquire), commits: memory.commits() };
        (!self.member.is_taken(Which::Tier) && memory.is_sound()).then_some(moment)
    }

    /// Whether all that was looked up since a moment is of that moment. A direct commit that is announced may be in the
    /// database already.
    #[must_use]
    pub fn is_still(&self, moment: Moment) -> bool {
        let memory = self.memory();
        let now = Moment { last: memory.field(field::LAST).load(Acquire), commits: memory.commits() };
        // A chunk can be read before its numbers are the last.
        !memory.is_announced() && now == moment && memory.is_settled()
    }

    /// Grows before each change that may add rows which the log does not name.
    #[must_use]
    pub fn additions(&self) -> u64 {
        self.memory().additions()
    }

    /// Whether there are records that the database has not.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.memory().is_dirty()
    }

    /// Returns whether a process has the writer lock at this moment: it drains, or it has drained before a direct
    /// write. Costs one load.
    #[must_use]
    pub fn is_writer_locked(&self) -> bool {
        self.member.is_taken(Which::Database)
    }

    /// Whether a direct commit may be under way: it has announced its sequence number, and not counted it yet.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.memory().is_announced()
    }

    /// Returns whether draining would change nothing, although the header says that something is dirty. That is so
    /// after a death between storing a record and its sequence number, until a process takes the append lock and
    /// recovers. It is also so if the header is damaged.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained_to() >= self.head()
    }

    /// Bytes of log that wait to be drained.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.memory().dirty_bytes()
    }

    /// Bytes of the log.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.geometry.log_bytes()
    }

    /// Why the log has its size.
    #[must_use]
    pub fn sized(&self) -> SizeReason {
        self.memory().sized()
    }

    /// Whether the log has never come round, so that no record had to go for another.
    #[must_use]
    pub fn is_in_first_lap(&self) -> bool {
        self.head() < 2 * self.geometry.units
    }

    /// The longest record in bytes that the log takes.
    #[must_use]
    pub fn longest(&self) -> u64 {
        16 * self.geometry.longest()
    }

    /// The most records that the log takes together, as one chunk.
    pub const MOST: usize = MOST;

    /// The part of the log, one over this, that a record may take at most.
    pub const LONGEST_PART: u64 = LONGEST_PART;

    /// Where the log ends now. What was written before is drained once [`drained_to`](Self::drained_to) is there.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.memory().field(field::HEAD).load(Acquire)
    }

    /// The number of the newest change: it grows with each.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.memory().field(field::LAST).load(Acquire)
    }

    /// Up to where all is in the database.
    #[must_use]
    pub fn drained_to(&self) -> u64 {
        self.memory().field(field::DRAINED).load(Acquire)
    }

    /// Adds to a counter, in a line that hardly any other process writes.
    #[inline]
    pub fn count(&self, counter: Counter, by: u64) {
        self.memory().count(self.member.slot(), counter, by);
    }

    /// What all processes together have counted since the epoch began. Reads a line for each of 256 processes.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> u64 {
        self.memory().counted(counter)
    }

    /// Hits and misses that only the tier counts, because the database counts the others.
    #[must_use]
    pub fn lookups(&self) -> (u64, u64) {
        self.memory().lookups()
    }

    /// The tier at this moment. A walk over the index: a tenth of a millisecond for 16 MiB.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.memory().stats()
    }
}
