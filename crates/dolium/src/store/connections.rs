//! The connections of a directory in a process: those of the pool, that of the read pin, and the log that they share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::sqlite::Connection;
use crate::sqlite::files::with_suffix;
use crate::store::crowd;
use crate::store::housekeeper;
use crate::store::pool::Pool;
use crate::store::read_pin::ReadPin;
use crate::system::error::{self, Error};
use crate::system::files::{self, Identity};

/// How often a handle looks whether another program replaced the database under it.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Which files the write-ahead log and its index are.
#[derive(PartialEq, Eq)]
struct Log([Option<Identity>; 2]);

impl Log {
    fn of(database: &Path) -> Self {
        Self(Self::paths(database).map(|path| files::identity(&path)))
    }

    fn paths(database: &Path) -> [PathBuf; 2] {
        ["-wal", "-shm"].map(|suffix| with_suffix(database, suffix))
    }

    fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// How many directories this process has connections to.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many directories this process has connections to.
pub(super) fn count_open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

#[derive(Default)]
pub(crate) struct Connections {
    pub pool: Pool,
    pub read_pin: ReadPin,
    /// The write-ahead log as the connections of a version of the pool have it open. The last connection of an earlier
    /// version that comes back may remove it.
    log: Mutex<Option<(u64, Log)>>,
    /// Shared while a thread opens the database, exclusive while one takes its name away.
    opening: RwLock<()>,
    last_check: Mutex<Option<Instant>>,
    /// Whether this directory is one of those that are open.
    is_open: AtomicBool,
    /// How often a connection had been lent at the last look.
    seen_uses: AtomicU64,
    /// The database as it was when the connections were closed for a rest.
    rested_on: Mutex<Option<Identity>>,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.note_closed();
    }
}

impl Connections {
    /// Returns a connection to the pool, unless it met damage.
    pub fn give_back(&self, connection: Connection, database: &Path, error: Option<&Error>) {
        let damaged = error.and_then(Error::as_sqlite).is_some_and(error::is_damage);
        if damaged || !connection.is_autocommit() {
            self.pool.forget();
            connection.close_quickly();
        } else {
            self.remember_log(&connection, database);
            self.pool.put(connection);
        }
    }

    /// Notes that a connection was opened, and has the housekeeper look at all of them if they are many.
    fn note_open(&self) {
        if !self.is_open.swap(true, Ordering::Relaxed) {
            OPEN.fetch_add(1, Ordering::Relaxed);
            if crowd::is_crowded() {
                housekeeper::start();
            }
        }
    }

    /// Whether this process has connections, as far as it is known.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn note_closed(&self) {
        if self.is_open.swap(false, Ordering::Relaxed) {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether connections are open, and no thread has used one since the last call.
    pub fn have_rested(&self) -> bool {
        let uses = self.pool.uses_at_rest();
        self.is_open.load(Ordering::Relaxed)
            && uses.is_some_and(|uses| self.seen_uses.swap(uses, Ordering::Relaxed) == uses)
    }

    /// Closes all idle connections until the next use.
    pub fn rest(&self, database: &Path) {
        *self.rested_on.lock().unwrap_or_else(PoisonError::into_inner) = files::identity(database);
        self.close(false);
    }

    /// Whether the database was replaced while no connection was open that would know. Asks once for each rest.
    pub fn has_moved_at_rest(&self, database: &Path) -> bool {
        let rested_on = self.rested_on.lock().unwrap_or_else(PoisonError::into_inner).take();
        rested_on.is_some_and(|rested_on| files::identity(database) != Some(rested_on))
    }

    /// Called with a connection that was used, so that the log, if there is one, is open.
    fn remember_log(&self, connection: &Connection, database: &Path) {
        if !connection.is_known.replace(true) {
            self.note_open();
            files::share_with_group(database, &Log::paths(database));
            let log = Log::of(database);
            let mut known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let is_newer = known.as_ref().is_none_or(|(version, _)| *version < connection.pool_version);
            if is_newer && log.is_whole() {
                *known = Some((connection.pool_version, log));
            }
        }
    }

    /// Whether the log that a connection has open was removed or replaced. Connections of before and after must not meet:
    /// they would share SQLite's index of the log, not the log.
    pub fn log_has_moved(&self, connection: &Connection, database: &Path) -> bool {
        let known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|(version, _)| *version == connection.pool_version);
        known.is_some_and(|(_, known)| *known != Log::of(database))
    }

    /// Whether it is time to look whether the database was replaced.
    pub fn is_check_due(&self) -> bool {
        let mut checked = self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.is_some_and(|checked| checked.elapsed() < CHECK_INTERVAL) {
            return false;
        }
        *checked = Some(Instant::now());
        true
    }

    /// Gives up what the program closed behind our back. The caller is inside the fork gate.
    pub fn drop_severed(&self) {
        self.pool.drop_severed();
        self.read_pin.drop_severed();
    }

    /// For a thread that opens the database: the name stays until this is dropped. SQLite opens the log after the
    /// database, by its name. No connection may have the old database and the log of the new one, because a checkpoint
    /// would move what was committed to the new one into the old one.
    pub fn begin_opening(&self) -> RwLockReadGuard<'_, ()> {
        self.opening.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f`, which takes the name of the database away, while no thread opens one, and closes those that have the old
    /// one. The caller is inside the fork gate.
    pub fn replace<T>(&self, f: impl FnOnce() -> T) -> T {
        let alone = self.opening.write().unwrap_or_else(PoisonError::into_inner);
        let done = f();
        // First: the thread that pins reads opens a connection while it keeps others from closing that.
        drop(alone);
        self.close(true);
        done
    }

    /// Closes all idle connections. `quickly`: without the checkpoint that the last one would make.
    pub fn close(&self, quickly: bool) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.note_closed();
        for connection in self.read_pin.take().into_iter().chain(self.pool.drain()) {
            if quickly {
                connection.close_quickly();
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test plays the other programs itself")]
mod tests {
    use super::*;
    use crate::sqlite::Access;
    use crate::value::settings::Settings;

    fn lent(connections: &Connections, database: &Path) -> Connection {
        let open =
            |version| Connection::open(database, Access::Create, false, &Settings::defaults(), version);
        let connection = connections.pool.take(open).expect("a database").expect("a connection");
        connection.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; COMMIT").expect("a log");
        connection
    }

    #[test]
    fn a_connection_that_comes_back_late_takes_its_log_along() {
        let directory = tempfile::tempdir().expect("a directory");
        let (connections, database) = (Connections::default(), directory.path().join("cache.db"));
        let late = lent(&connections, &database);
        connections.close(false);
        connections.give_back(late, &database, None);
        assert!(!with_suffix(&database, "-wal").exists(), "it was the last");
        // So that the next log gets no number that this one had.
        for number in 0..100 {
            std::fs::write(directory.path().join(format!("{number}")), "").expect("a file");
        }
        let next = lent(&connections, &database);
        assert!(!connections.log_has_moved(&next, &database), "it is the log of this connection");
        connections.give_back(next, &database, None);
        let next = lent(&connections, &database);
        assert!(!connections.log_has_moved(&next, &database));
        std::fs::remove_file(with_suffix(&database, "-wal")).expect("a log");
        assert!(connections.log_has_moved(&next, &database), "another program has removed it");
        connections.give_back(next, &database, None);
    }
}
