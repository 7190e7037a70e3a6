//! Owns small transactions: their changes wait in this process, and become a chunk of the hot tier's log.
//!
//! A transaction begins as a small one, with both locks: nothing that it reads can change before it commits. As soon as it
//! needs more than the tier has for a key, it becomes one of the database, and what it has changed is done there again.
//! It holds what that takes already, so nothing can come between. While it is small, a reader may need what is dirty in the
//! database. Threads of this process drain under its locks, and the housekeeper does so for other processes.

use std::sync::Arc;
use std::time::Duration;

use dolium_hot::{AccessWord, Counter, Kind, PendingRecord, Tier, View, Writing};

use crate::sqlite::{Connection, Finished};
use crate::store::Handle;
use crate::store::transaction::{Body, DirectTransaction, OpenTransaction};
use crate::system::error::{self, Error, Result};
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};
use crate::value::key::Key;

/// The most changes of a small transaction. Each operation looks through all of them.
const MOST: usize = 512;

/// The part of the log that they may take.
const PART: u64 = 8;

/// What the small transaction of the calling context says of a key.
pub(crate) enum Asked<T> {
    /// The context is in none.
    Outside,
    /// It knows the key, or the tier does.
    Known(T),
    /// Only the database can tell.
    Unknown,
}

/// What a small transaction has changed.
#[derive(Default)]
pub(crate) struct SmallTransaction {
    /// In their order; of a key the last counts.
    records: Vec<PendingRecord>,
    bytes: u64,
    /// Whether the log has them: what is left is to let go of the locks.
    is_stored: bool,
}

impl SmallTransaction {
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    fn newest(&self, key: dolium_hot::Key<'_>) -> Option<usize> {
        let is_it = |record: &PendingRecord| {
            let known = record.view().key();
            (known.kind, known.bytes) == (key.kind, key.bytes)
        };
        self.records.iter().rposition(is_it)
    }

    /// Returns `false` if that would be too much.
    fn push(&mut self, tier: &Tier, record: PendingRecord) -> bool {
        let bytes = self.bytes + record.bytes();
        let fits = self.records.len() < MOST
            && bytes <= tier.capacity() / PART
            && record.bytes() <= tier.longest()
            && !record.view().has_file();
        if !fits {
            return false;
        }
        self.bytes = bytes;
        // The row keeps its place in the order of insertion and the spelling of its key, as it does in the database.
        let is_followed = |at: &usize| {
            let (before, after) = (self.records[*at].view(), record.view());
            (before.kind(), after.kind()) == (Kind::Set, Kind::Set)
                && before.key().spelling == after.key().spelling
        };
        match self.newest(record.view().key()).filter(is_followed) {
            Some(at) => {
                self.bytes -= self.records[at].bytes();
                self.records[at] = record;
            }
            None => self.records.push(record),
        }
        true
    }

    /// Stores all in the log. Returns `false` if it does not fit there, or if another program, which would not see it, uses
    /// the directory.
    fn store(&mut self, writing: &mut Writing) -> bool {
        if self.records.is_empty() {
            return true;
        }
        let tier = writing.tier().clone();
        if tier.has_foreign() || !tier.is_live() {
            return false;
        }
        tier.prepare(&mut self.records);
        let stored = match &mut self.records[..] {
            [record] => writing.append(record),
            records => writing.append_all(records),
        };
        let count = |kind: Kind, counter| {
            let count = self.records.iter().filter(|record| record.view().kind() == kind).count();
            if count > 0 {
                tier.count(counter, count as u64);
            }
        };
        if stored.is_ok() {
            count(Kind::Set, Counter::Sets);
            count(Kind::Delete, Counter::Deletes);
            self.is_stored = true;
        }
        self.is_stored
    }
}

impl Handle {
    /// Whether the next transaction can begin as a small one.
    pub(super) fn may_be_small(self: &Arc<Self>, wait: Wait) -> Result<bool> {
        // What went wrong in the last one is found, and perhaps repaired, at the beginning of one of the database.
        if self.transaction.takes_direct_way() {
            return Ok(false);
        }
        match self.tier_to_write(wait) {
            Ok(Some(tier)) => Ok(self.detect_foreign_writes_once().is_ok() && !tier.has_foreign()),
            // It has waited for long enough.
            Err(error @ (Error::Timeout { .. } | Error::Interrupted)) => Err(error),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Calls `f` with the small transaction of the calling context, if it has one.
    fn with_small<T>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut SmallTransaction, &mut Writing) -> T,
    ) -> Option<T> {
        let _inside = fork_gate::enter();
        self.renew().ok()?;
        let mut slot = self.transaction.lock();
        match slot.as_mut()? {
            OpenTransaction { body: Body::Small(small), writing: Some(writing), .. } => {
                Some(f(small, writing))
            }
            _ => None,
        }
    }

    /// Shows `f` what the small transaction of the calling context has of a key, or else the tier, with the word in which a
    /// read may be noted.
    pub(crate) fn ask_small<T>(
        self: &Arc<Self>,
        key: dolium_hot::Key<'_>,
        f: impl Fn(View<'_>, Option<AccessWord<'_>>) -> T,
        is_absent: impl FnOnce(&Tier) -> Option<T>,
    ) -> Asked<T> {
        let asked = self.with_small(|small, writing| {
            let known = small.newest(key).map(|at| f(small.records[at].view(), None));
            let tier = writing.tier();
            let known = known.or_else(|| tier.get(key, |view, access| f(view, Some(access))));
            known.or_else(|| is_absent(tier)).map_or(Asked::Unknown, Asked::Known)
        });
        asked.unwrap_or(Asked::Outside)
    }

    /// Reads the database beside the small transaction of the calling context. Returns `None` if that fails: what is wrong is
    /// found when the transaction becomes one of the database.
    pub(crate) fn read_beside_small<T: Default>(
        self: &Arc<Self>,
        mut f: impl FnMut(&Connection) -> Result<T>,
    ) -> Option<T> {
        self.try_read(&mut f).ok()
    }

    /// Adds a change to the small transaction of the calling context. Returns `false` if it has none, or if the change is
    /// too much for one.
    pub(crate) fn push_small(self: &Arc<Self>, record: PendingRecord) -> bool {
        self.with_small(|small, writing| small.push(writing.tier(), record)).unwrap_or(false)
    }

    /// Makes a small transaction one of the database. Returns `false` if another program keeps the database locked; nothing
    /// has changed then. The caller is inside the fork gate.
    pub(super) fn deepen(self: &Arc<Self>, open: &mut OpenTransaction) -> Result<bool> {
        let (Body::Small(small), Some(writing)) = (&open.body, &mut open.writing) else { return Ok(true) };
        match self.begin_over(small, writing).map_err(|error| error.located(&self.database)) {
            Ok(direct) => {
                open.body = Body::Direct(Box::new(direct));
                Ok(true)
            }
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => {
                self.transaction.take_direct_way();
                Err(error)
            }
        }
    }

    fn begin_over(
        self: &Arc<Self>,
        small: &SmallTransaction,
        writing: &mut Writing,
    ) -> Result<DirectTransaction> {
        self.empty(writing.tier(), &mut at_once())?;
        let begun = self.begin()?;
        self.verify_epoch(begun.connection(), writing)?;
        let mut write = begun.write();
        for record in &small.records {
            let view = record.view();
            if let Some(key) = Key::from_hot(view.key()) {
                write.changes([key.borrowed()]);
                write.apply_record(&key, &view)?;
            }
        }
        // As each `set` would have done. The number of the next item of a queue depends on it.
        let records: Vec<_> = small.records.iter().map(PendingRecord::view).collect();
        write.remove_expired_after(&records, self.settings.current().cull_limit)?;
        let changed = write.take_changed();
        let Finished { files, has_trash } = write.finish()?;
        Ok(DirectTransaction::new(begun.into_connection(), files, has_trash, changed))
    }

    /// Stores the changes of a transaction in the log, if it is a small one whose outermost level ends. If the log does not
    /// take them it becomes one of the database. If that fails too, all is undone.
    pub(super) fn store_small(self: &Arc<Self>, id: u64) -> Result<()> {
        let mut deadline = None;
        loop {
            let wait = {
                let _inside = fork_gate::enter();
                if self.renew().is_err() {
                    return Ok(());
                }
                let mut slot = self.transaction.lock();
                let Some(open) = slot.as_mut().filter(|open| open.ends_with(id)) else { return Ok(()) };
                let stored = match (&mut open.body, &mut open.writing) {
                    // Another process may have taken the locks of this one for those of a dead one.
                    (Body::Small(_), Some(writing)) if !writing.tier().is_seen() => {
                        Err(Error::Severed { directory: self.directory.clone() })
                    }
                    (Body::Small(small), Some(writing)) => Ok(small.store(writing)),
                    _ => Ok(false),
                };
                if matches!(stored, Ok(true)) {
                    return Ok(());
                }
                match stored.and_then(|_| self.deepen(open)) {
                    Ok(true) => return Ok(()),
                    Ok(false) => open.wait,
                    Err(error) => {
                        drop(slot);
                        self.rollback_transaction(id);
                        return Err(error);
                    }
                }
            };
            let deadline = deadline.get_or_insert_with(|| Deadline::new(wait));
            let may_go_on = deadline.pause();
            if !matches!(may_go_on, Ok(true)) {
                self.rollback_transaction(id);
                return Err(may_go_on.err().unwrap_or_else(|| self.timeout(deadline)));
            }
        }
    }

    /// Drains under the locks of a small transaction of this process, if there is one, as long as it is wanted: for a thread
    /// that would wait for these locks otherwise, or for which the thread waits that has them. Returns whether there is one.
    pub(super) fn drain_inside(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<bool> {
        while self.transaction.is_taken() {
            {
                let _inside = fork_gate::enter();
                self.renew()?;
                let slot = self.transaction.lock();
                let Some(OpenTransaction { body: Body::Small(_), writing: Some(writing), .. }) = &*slot
                else {
                    return Ok(false);
                };
                let tier = writing.tier();
                if !wanted(tier) {
                    return Ok(true);
                }
                let drained = self.empty(tier, &mut at_once());
                match drained.map_err(|error| error.located(&self.database)) {
                    Err(error) if is_busy(&error) => {}
                    drained => return drained.map(|()| true),
                }
            }
            if !deadline.pause()? {
                return Err(self.timeout(deadline));
            }
        }
        Ok(false)
    }
}

/// Whether another program has the database locked, or reads it in the way of a commit.
fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Timeout { .. }) || error.as_sqlite().is_some_and(error::is_busy)
}

/// Nothing waits inside the fork gate.
fn at_once() -> Deadline {
    Deadline::new(Wait::AtMost(Duration::ZERO))
}
