//! Owns a shortcut for reads: a connection that holds a read transaction open while a cache is only read.
//!
//! SQLite locks its log for each read and unlocks it again, which is two system calls and half the time of
//! a `get`, unless another connection of the process holds the same lock: that of the *anchor*. An open
//! read transaction keeps the log from starting over. So it is opened only when a number of reads have seen
//! no change, and let go of by the keeper when no reads come any more.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sqlite::Connection;
use crate::store::Handle;
use crate::store::keeper;
use crate::system::error::Result;

/// Reads between two looks at whether something has changed.
const READS: u32 = 256;

#[derive(Default)]
pub(crate) struct Anchor {
    reads: AtomicU32,
    /// `reads` when the keeper looked last.
    looked: AtomicU32,
    is_held: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connection: Option<Connection>,
    /// SQLite's count of changes by others, when it was looked at last.
    version: i64,
}

impl Anchor {
    /// Counts a read. Returns whether it is time to look.
    pub fn count(&self) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed) % READS == READS - 1
    }

    /// Takes the connection out, to be closed.
    pub fn take(&self) -> Option<Connection> {
        self.is_held.store(false, Ordering::Relaxed);
        self.lock().connection.take()
    }

    /// Gives the connection up if the program closed its descriptors. One that is being opened is not there.
    pub fn drop_severed(&self) {
        if let Ok(mut held) = self.held.try_lock() {
            held.connection.take_if(|connection| connection.is_severed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// After a number of reads: holds the read transaction if nothing has changed since the last time, else
    /// lets go of it. The caller is inside the gate. A failure costs the shortcut, nothing else.
    pub(crate) fn anchor_reads(self: &Arc<Self>) {
        if self.network || self.is_read_only() {
            return;
        }
        let mut held = self.anchor.lock();
        let is_held = self.hold_if_unchanged(&mut held).unwrap_or(false);
        if !is_held {
            release(&held);
        }
        let was_held = self.anchor.is_held.swap(is_held, Ordering::Relaxed);
        drop(held);
        if is_held && !was_held {
            keeper::wake(self);
        }
    }

    fn hold_if_unchanged(self: &Arc<Self>, held: &mut Held) -> Result<bool> {
        held.connection.take_if(|connection| connection.is_severed());
        if held.connection.is_none() {
            held.connection = self.open_anchor()?;
        }
        let Some(connection) = &held.connection else { return Ok(false) };
        release(held);
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let is_unchanged = std::mem::replace(&mut held.version, version) == version;
        let Some(connection) = &held.connection else { return Ok(false) };
        if is_unchanged {
            connection.execute_batch("BEGIN")?;
            connection.prepare_cached("SELECT count(*) FROM Settings")?.query_row([], |_| Ok(()))?;
        }
        Ok(is_unchanged)
    }

    /// A connection for the anchor; none where there is no log to hold.
    fn open_anchor(self: &Arc<Self>) -> Result<Option<Connection>> {
        let Some(connection) = self.open(0)? else { return Ok(None) };
        let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok(Some(connection).filter(|_| journal == "wal"))
    }

    /// Called by the keeper: lets go if nobody has read since it was called last. Returns whether the
    /// anchor is still held.
    pub(crate) fn look_after_anchor(&self) -> bool {
        let reads = self.anchor.reads.load(Ordering::Relaxed);
        if self.anchor.looked.swap(reads, Ordering::Relaxed) == reads {
            self.release_anchor();
        }
        self.anchor.is_held.load(Ordering::Relaxed)
    }

    /// Lets go, so that a checkpoint can finish.
    pub(crate) fn release_anchor(&self) {
        if self.anchor.is_held.swap(false, Ordering::Relaxed) {
            let _pass = crate::system::gate::enter();
            release(&self.anchor.lock());
        }
    }
}

fn release(held: &Held) {
    if let Some(connection) =
        held.connection.as_ref().filter(|connection| !connection.is_autocommit() && !connection.is_severed())
    {
        // A read transaction has nothing to lose.
        let _ = connection.execute_batch("COMMIT");
    }
}
