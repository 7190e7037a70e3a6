//! Owns a shortcut for reads: a connection that holds a read transaction open while a cache is only read.
//!
//! SQLite locks its log for each read and unlocks it again, which is two system calls and half the time of
//! a `get`, unless another connection of the process holds the same lock: that of the *read pin*. An open
//! read transaction keeps the log from starting over. So it is opened only when a number of reads have seen
//! no change, and let go of by the housekeeper when no reads come any more.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sqlite::{Connection, read, transaction};
use crate::store::Handle;
use crate::store::housekeeper;
use crate::system::error::Result;

/// Reads between two looks at whether something has changed.
const READS: u32 = 256;

#[derive(Default)]
pub(crate) struct ReadPin {
    reads: AtomicU32,
    /// `reads` when the housekeeper looked last.
    last_tick: AtomicU32,
    is_held: AtomicBool,
    pin: Mutex<Pin>,
}

#[derive(Default)]
struct Pin {
    connection: Option<Connection>,
    /// SQLite's count of changes by others, when it was looked at last.
    version: i64,
}

impl ReadPin {
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
        if let Ok(mut pin) = self.pin.try_lock() {
            pin.connection.take_if(|connection| connection.is_severed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pin> {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Holds the read transaction, after a number of reads, if nothing has changed since the last time; else lets go of
    /// it. The caller is inside the fork gate. A failure costs the shortcut, nothing else.
    pub(crate) fn pin_reads(self: &Arc<Self>) {
        if self.network || self.is_read_only() {
            return;
        }
        let mut pin = self.connections.read_pin.lock();
        let is_held = self.hold_if_unchanged(&mut pin).unwrap_or(false);
        if !is_held {
            release(&pin);
        }
        let was_held = self.connections.read_pin.is_held.swap(is_held, Ordering::Relaxed);
        drop(pin);
        if is_held && !was_held {
            housekeeper::wake(self);
        }
    }

    fn hold_if_unchanged(self: &Arc<Self>, pin: &mut Pin) -> Result<bool> {
        pin.connection.take_if(|connection| connection.is_severed());
        if pin.connection.is_none() {
            pin.connection = self.open_pin()?;
        }
        let Some(connection) = &pin.connection else { return Ok(false) };
        release(pin);
        let version = read::data_version(connection)?;
        let is_unchanged = std::mem::replace(&mut pin.version, version) == version;
        let Some(connection) = &pin.connection else { return Ok(false) };
        if is_unchanged {
            transaction::begin_read(connection)?;
        }
        Ok(is_unchanged)
    }

    /// A connection for the read pin; none where there is no log to hold.
    fn open_pin(self: &Arc<Self>) -> Result<Option<Connection>> {
        let Some(connection) = self.open(0)? else { return Ok(None) };
        let has_log = read::journal_mode(&connection)? == "wal";
        Ok(Some(connection).filter(|_| has_log))
    }

    /// Lets go of the read pin if no thread has read since the last call. The housekeeper calls this. Returns whether
    /// the read pin is still held.
    pub(crate) fn tick_read_pin(&self) -> bool {
        let reads = self.connections.read_pin.reads.load(Ordering::Relaxed);
        if self.connections.read_pin.last_tick.swap(reads, Ordering::Relaxed) == reads {
            self.release_read_pin();
        }
        self.connections.read_pin.is_held.load(Ordering::Relaxed)
    }

    /// Lets go, so that a checkpoint can finish.
    pub(crate) fn release_read_pin(&self) {
        if self.connections.read_pin.is_held.swap(false, Ordering::Relaxed) {
            let _inside = crate::system::fork_gate::enter();
            release(&self.connections.read_pin.lock());
        }
    }
}

fn release(pin: &Pin) {
    if let Some(connection) =
        pin.connection.as_ref().filter(|connection| !connection.is_autocommit() && !connection.is_severed())
    {
        transaction::end_read(connection);
    }
}
