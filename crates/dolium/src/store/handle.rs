//! Owns what a process knows of one directory: connections, writer lock, settings, the open transaction.
//! Every read and write of SQLite goes through [`Handle::read`] and [`Handle::write`], which own the
//! order of things: fork gate, fork check, writer lock, transaction, retries, and what to do about damage.
//! Knows nothing of keys and values.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::sqlite::files::with_suffix;
use crate::sqlite::unopened::{self, Unopened};
use crate::sqlite::{Access, Connection, read_unopened};
use crate::store::absences::Absences;
use crate::store::connections::Connections;
use crate::store::growth::Growth;
use crate::store::layout::Shards;
use crate::store::live_settings::LiveSettings;
use crate::store::lookups::Lookups;
use crate::store::maintain::Upkeep;
use crate::store::misses::RecentMisses;
use crate::store::pending::Pending;
use crate::store::slot::TransactionSlot;
use crate::store::tier::Membership;
use crate::store::transaction::{Body, DirectTransaction};
use crate::store::volume::Volume;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::sentinel;
use crate::system::value_files::ValueFiles;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warnings;

/// How long attaching waits for programs that use the database.
pub(super) const ATTACHING: Duration = Duration::from_secs(10);

/// What reads leave to be counted.
#[derive(Default)]
pub(crate) struct Reads {
    /// What the next write stores.
    pub pending: Pending,
    /// What neither a tier nor the database counts.
    pub lookups: Lookups,
    /// Which keys have missed.
    pub misses: RecentMisses,
    pub growth: Growth,
    /// Which keys are not there.
    pub absences: Absences,
}

/// A directory as this process knows it.
pub(crate) struct Handle {
    pub directory: PathBuf,
    pub database: PathBuf,
    pub values: Arc<ValueFiles>,
    /// A file system of a network: no shared memory, no write-ahead log.
    pub network: bool,
    pub(super) read_only: AtomicBool,
    pub(super) generation: AtomicU64,
    pub(crate) settings: LiveSettings,
    pub(crate) connections: Connections,
    pub(crate) tier: Membership,
    pub(crate) transaction: TransactionSlot,
    pub(crate) reads: Reads,
    pub(crate) volume: Volume,
    pub(crate) upkeep: Upkeep,
    pub(crate) shards: Shards,
    pub(crate) warnings: Warnings,
}

impl Handle {
    pub(super) fn new(directory: &Path, read_only: bool) -> Self {
        Self {
            directory: directory.to_path_buf(),
            database: directory.join(files::DATABASE),
            values: Arc::new(ValueFiles::of(directory)),
            network: crate::store::lock::is_network(directory),
            read_only: AtomicBool::new(read_only),
            generation: AtomicU64::new(crate::store::fork::generation()),
            settings: LiveSettings::default(),
            connections: Connections::default(),
            tier: Membership::new(directory),
            transaction: TransactionSlot::default(),
            reads: Reads::default(),
            volume: Volume::default(),
            upkeep: Upkeep::default(),
            shards: Shards::new(),
            warnings: Warnings::default(),
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Drains the hot tier and then runs `f` on a connection. Returns `T::default()` if there is no store yet.
    ///
    /// `f` may run more than once. SQLite's view is one transaction per statement, or the open transaction of the
    /// calling context.
    pub fn read<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if !self.transaction.is_own() {
            self.settle_order(wait)?;
        }
        self.read_now(wait, f)
    }

    /// Does the same for one of many reads that belong together. A process that may only read waits for others at the
    /// first of them alone.
    pub fn read_on<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if self.is_read_only() { self.read_now(wait, f) } else { self.read(wait, f) }
    }

    /// Runs `f` on what SQLite has now, without draining first.
    pub fn read_now<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        mut f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if self.transaction.is_own() {
            return self.in_transaction(|open| f(open.connection()));
        }
        // Before the first try, which may itself last: see `error::is_busy`.
        let mut deadline = Deadline::new(wait);
        let mut damages = 0;
        loop {
            match self.try_read(&mut f) {
                Err(error) if error.as_sqlite().is_some_and(error::is_busy) => {
                    if !deadline.pause()? {
                        return Err(self.timeout(&deadline));
                    }
                }
                Err(error) if error.as_sqlite().is_some_and(error::is_empty_store) => {
                    return Ok(T::default());
                }
                Err(error) => {
                    let error = error.located(&self.database);
                    // No space for a log; but without one the file is the whole truth.
                    if matches!(error, Error::Full { .. })
                        && let Some(found) = self.read_unopened(&mut f)
                    {
                        return Ok(found);
                    }
                    self.repair(wait, &mut damages, error)?;
                }
                done => return done,
            }
        }
    }

    /// Returns what `f` finds in a database that no process has open, not even this one; else `None`.
    pub(crate) fn read_unopened<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Option<T> {
        let _inside = fork_gate::enter();
        if self.transaction.is_own() || self.renew().is_err() {
            return None;
        }
        read_unopened(&self.database, f)
    }

    /// Returns what `f` finds in the file of such a database, without SQLite; else `None`.
    pub(crate) fn peek<T>(&self, f: impl FnOnce(&Unopened) -> Option<T>) -> Option<T> {
        let _inside = fork_gate::enter();
        if self.connections.is_open() || self.transaction.is_own() || self.renew().is_err() {
            return None;
        }
        unopened::look(&self.database, f)
    }

    pub(crate) fn try_read<T: Default>(
        self: &Arc<Self>,
        f: &mut impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        let _inside = fork_gate::enter();
        self.renew()?;
        self.check_replaced();
        let result = loop {
            let Some(connection) = self.connections.pool.take(|pool_version| self.open(pool_version))? else {
                return Ok(T::default());
            };
            // Before, so that nothing old is read; after, because a writer may have come meanwhile.
            let is_current = || connection.is_current(&self.database);
            match is_current().then(|| f(&connection)).filter(|_| is_current()) {
                Some(result) => {
                    connection.count_reads(1);
                    self.connections.give_back(connection, &self.database, result.as_ref().err());
                    break result;
                }
                None => self.connections.pool.forget(),
            }
        };
        if result.is_ok() && self.connections.read_pin.count() {
            self.pin_reads();
        }
        result
    }

    /// Opens a connection to a store that exists, and reads the settings if this process has not read them yet.
    pub(crate) fn open(self: &Arc<Self>, pool_version: u64) -> Result<Option<Connection>> {
        let settings = self.settings.current();
        if sentinel::is_broken() {
            // The connections of all handles: SQLite would share their descriptors with a new one.
            for handle in Self::all() {
                handle.connections.drop_severed();
            }
        }
        let _opening = self.connections.begin_opening();
        let open = |access| {
            let opened = Connection::open(&self.database, access, self.network, &settings, pool_version);
            match opened {
                Err(error) if error.as_sqlite().is_some_and(error::is_denied) => Err(self.explain(error)),
                opened => opened,
            }
        };
        let mut opened = Err(Error::Invalid(String::new()));
        if !self.is_read_only() {
            opened = open(Access::Write);
            match opened {
                Err(Error::Denied { .. }) => return opened,
                Err(Error::Severed { .. }) => {
                    // No connection of this process would take to the database what goes to the tier.
                    self.tier.lock.reset();
                    return opened;
                }
                _ => {}
            }
            let denied = matches!(opened.as_ref().err().and_then(Error::as_sqlite), Some(error) if error::is_denied(error));
            // A file that vanished this moment, or a process without descriptors, is denied too, but not for ever.
            if (denied && files::is_protected(&self.database))
                || (matches!(opened, Ok(Some(_)) | Err(_)) && files::is_protected(&self.directory))
            {
                self.read_only.store(true, Ordering::Relaxed);
            } else if denied && !files::exists(&self.database) {
                opened = Ok(None);
            }
        }
        if self.is_read_only() {
            opened = open(Access::Read);
        }
        let Some(connection) = opened? else {
            return Ok(None);
        };
        if !self.settings.is_loaded() {
            match self.stored_settings(&connection) {
                Ok(stored) => self.adopt_settings(stored),
                Err(error) if error.as_sqlite().is_some_and(error::is_empty_store) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(connection))
    }

    /// What SQLite means by a file that it cannot open, if that is a matter of rights.
    fn explain(&self, error: Error) -> Error {
        let companions = ["", "-wal", "-shm"].map(|suffix| with_suffix(&self.database, suffix));
        companions.iter().find(|path| files::is_hidden(path)).map_or(error, |path| files::denied(path))
    }

    pub(crate) fn timeout(&self, deadline: &Deadline) -> Error {
        Error::Timeout { directory: self.directory.clone(), waited: deadline.waited(), done: 0 }
    }

    /// Fails if a neighbor has the transaction, because waiting for it would be in vain. Called before waiting for
    /// writers, and not inside the fork gate.
    pub(crate) fn refuse_neighbor(self: &Arc<Self>) -> Result<()> {
        if self.transaction.is_of_neighbor() {
            self.end_orphan();
            if self.transaction.is_of_neighbor() {
                return Err(Error::Neighbor { directory: self.directory.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn in_transaction<T>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut DirectTransaction) -> Result<T>,
    ) -> Result<T> {
        let mut deadline = None;
        loop {
            let wait = {
                let _inside = fork_gate::enter();
                self.renew()?;
                let mut slot = self.transaction.lock();
                let lost = || Error::RolledBack { directory: self.directory.clone() };
                let open = slot.as_mut().ok_or_else(lost)?;
                self.deepen(open)?;
                if let Body::Direct(direct) = &mut open.body {
                    if direct.connection().is_severed() {
                        return Err(Error::Severed { directory: self.directory.clone() });
                    }
                    if direct.connection().is_autocommit() {
                        return Err(lost());
                    }
                    return f(direct).map_err(|error| error.located(&self.database));
                }
                open.wait
            };
            // Another program keeps the database locked.
            let deadline = deadline.get_or_insert_with(|| Deadline::new(wait));
            if !deadline.pause()? {
                return Err(self.timeout(deadline));
            }
        }
    }

    /// The one place that notices a fork: what is inherited is dropped unused. The caller is inside the fork gate.
    pub(crate) fn renew(&self) -> Result<()> {
        let generation = crate::store::fork::generation();
        if self.generation.load(Ordering::Acquire) != generation {
            self.transaction.abandon();
            self.connections.pool.reset();
            self.tier.reset();
            self.reads.pending.reset();
            self.reads.lookups.reset();
            self.reads.absences.forget();
            self.upkeep.reset();
            self.generation.store(generation, Ordering::Release);
        }
        if self.transaction.is_forked() {
            return Err(Error::Forked { directory: self.directory.clone() });
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _inside = fork_gate::enter();
        if self.generation.load(Ordering::Acquire) == crate::store::fork::generation() {
            self.connections.close(false);
        }
        // In a forked child nothing of this is ours; `pool` is empty, since the fork closed it.
    }
}
