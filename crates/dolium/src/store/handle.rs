//! Owns what a process knows of one directory: connections, writer lock, settings, the open transaction.
//! Every read and write of SQLite goes through [`Handle::read`] and [`Handle::write`], which own the
//! order of things: fork gate, fork check, writer lock, transaction, retries, and what to do about damage.
//! Knows nothing of keys and values.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::flight::Place;
use crate::sqlite::files::with_suffix;
use crate::sqlite::{Access, Connection, read_unopened};
use crate::store::lock::WriterLock;
use crate::store::lookups::Lookups;
use crate::store::pending::Pending;
use crate::store::pool::Pool;
use crate::store::read_pin::ReadPin;
use crate::store::transaction::OpenTransaction;
use crate::system::context;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::sentinel;
use crate::system::value_files::ValueFiles;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warnings;
use crate::value::settings::Settings;

/// How long attaching waits for programs that use the database.
pub(super) const ATTACHING: Duration = Duration::from_secs(10);

/// What this process has evicted and refused.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    pub evicted: AtomicU64,
    pub refused: AtomicU64,
}

pub(crate) struct Handle {
    pub directory: PathBuf,
    pub database: PathBuf,
    pub values: Arc<ValueFiles>,
    /// A file system of a network: no shared memory, no write-ahead log.
    pub network: bool,
    pub(super) read_only: AtomicBool,
    pub(super) generation: AtomicU64,
    /// The process was forked while a transaction was open here: SQLite's view of this file is void.
    pub(crate) forked: AtomicBool,
    pub(super) settings: RwLock<Arc<Settings>>,
    pub(super) loaded: AtomicBool,
    /// Of the settings: what the policy asks of reads, a code of `ReadNotes`.
    pub(super) noted_reads: AtomicU8,
    /// Of the settings: whether hits and misses are counted.
    pub(super) counts_hits: AtomicBool,
    /// A `size_limit` was passed or set in this process.
    pub(super) chosen_limit: AtomicBool,
    /// Settings that were passed when there was no store to keep them.
    pub(super) unsaved: Mutex<Vec<String>>,
    /// Settings that are changed for this process only.
    pub(super) local: Mutex<Vec<String>>,
    pub(crate) pool: Pool,
    pub(crate) read_pin: ReadPin,
    pub(crate) lock: WriterLock,
    pub(crate) transaction: Mutex<Option<OpenTransaction>>,
    /// The context that the open transaction belongs to ([`context::owner`]), 0 for none.
    pub(crate) owner: AtomicU64,
    pub(crate) pending: Pending,
    pub(crate) lookups: Lookups,
    /// Where computations of this cache are shared.
    pub(crate) place: Place,
    pub(crate) warnings: Warnings,
    pub(crate) evictions: Evictions,
    /// Bytes that may be written before the volume has to be measured again.
    pub(crate) budget: AtomicI64,
    /// Value files may wait in the hot tier whose sizes the database does not know yet.
    pub(crate) files_wait: AtomicBool,
    pub(super) min_file_size: AtomicUsize,
    pub(crate) has_trash: AtomicBool,
    pub(crate) commits: AtomicU32,
    /// The disk was nearly full when it was looked at last.
    pub(crate) is_scarce: AtomicBool,
    /// The tier of others, if this process may only read.
    pub(super) observer: Mutex<Option<dolium_hot::Observer>>,
    /// Whether the housekeeper looks, or this process has just looked, for what other programs write.
    pub(super) detects_foreign: AtomicBool,
    /// How far the log of the tier reached at the housekeeper's last tick.
    pub(super) seen_head: AtomicU64,
    /// The epoch of others' tier and how far its log reached when this process, which may only read, waited in vain for
    /// a drain.
    pub(super) awaited: Mutex<Option<(u64, u64)>>,
    /// Reads before there was a tier.
    pub(super) reads: AtomicU32,
    /// How many shards share the memory that one cache may take.
    pub(crate) hot_share: AtomicU64,
    /// As one of several shards: their number, which the store keeps. Else 0.
    pub(crate) shards: AtomicU64,
    /// As a shard but the first: the first one, whose settings hold.
    pub(super) first: OnceLock<Arc<Handle>>,
    /// A cache of another layout was in the directory already when it was opened.
    pub(crate) is_mixed: AtomicBool,
    pub(crate) awake: AtomicBool,
    /// The housekeeper is at work here.
    pub(crate) maintaining: AtomicBool,
    /// Closed, and not used since: the housekeeper stays away.
    pub(crate) closed: AtomicBool,
    /// The write-ahead log as this process has it open.
    pub(super) log: Mutex<Option<super::damage::Log>>,
    pub(super) last_check: Mutex<Option<Instant>>,
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
            forked: AtomicBool::new(false),
            settings: RwLock::new(Arc::new(Settings::defaults())),
            loaded: AtomicBool::new(false),
            noted_reads: AtomicU8::new(0),
            counts_hits: AtomicBool::new(false),
            chosen_limit: AtomicBool::new(false),
            unsaved: Mutex::default(),
            local: Mutex::default(),
            pool: Pool::default(),
            read_pin: ReadPin::default(),
            lock: WriterLock::new(directory),
            transaction: Mutex::default(),
            owner: AtomicU64::new(0),
            pending: Pending::default(),
            lookups: Lookups::default(),
            place: Place::new(),
            warnings: Warnings::default(),
            evictions: Evictions::default(),
            budget: AtomicI64::new(0),
            files_wait: AtomicBool::new(false),
            min_file_size: AtomicUsize::new(Settings::defaults().min_file_size),
            has_trash: AtomicBool::new(false),
            commits: AtomicU32::new(0),
            is_scarce: AtomicBool::new(false),
            observer: Mutex::default(),
            detects_foreign: AtomicBool::new(false),
            seen_head: AtomicU64::new(0),
            awaited: Mutex::default(),
            reads: AtomicU32::new(0),
            hot_share: AtomicU64::new(1),
            shards: AtomicU64::new(0),
            first: OnceLock::new(),
            is_mixed: AtomicBool::new(false),
            awake: AtomicBool::new(false),
            maintaining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            log: Mutex::default(),
            last_check: Mutex::default(),
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Runs `f` on a connection, after what waited in the hot tier was drained. Where there is no store yet the
    /// answer is `T::default()`.
    ///
    /// `f` may run more than once. SQLite's view is one transaction per statement, or the open transaction of the calling
    /// context.
    pub fn read<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if !self.owns_transaction() {
            self.settle_order(wait)?;
        }
        self.read_now(wait, f)
    }

    /// The same for one of many reads that belong together: who may only read waits for others at the first of them.
    pub fn read_on<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if self.is_read_only() { self.read_now(wait, f) } else { self.read(wait, f) }
    }

    /// The same with what SQLite has now.
    pub fn read_now<T: Default>(
        self: &Arc<Self>,
        wait: Wait,
        mut f: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        if self.owns_transaction() {
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

    /// What `f` finds in a database that nobody has open, this process neither; else `None`.
    pub(crate) fn read_unopened<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Option<T> {
        let _inside = fork_gate::enter();
        if self.owns_transaction() || self.renew().is_err() {
            return None;
        }
        read_unopened(&self.database, f)
    }

    pub(crate) fn try_read<T: Default>(
        self: &Arc<Self>,
        f: &mut impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        let _inside = fork_gate::enter();
        self.renew()?;
        self.check_replaced();
        let result = loop {
            let Some(connection) = self.pool.take(|pool_version| self.open(pool_version))? else {
                return Ok(T::default());
            };
            // Before, so that nothing old is read; after, because a writer may have come meanwhile.
            let is_current = || connection.is_current(&self.database);
            match is_current().then(|| f(&connection)).filter(|_| is_current()) {
                Some(result) => {
                    connection.count_reads(1);
                    self.give_back(connection, result.as_ref().err());
                    break result;
                }
                None => self.pool.forget(),
            }
        };
        if result.is_ok() && self.read_pin.count() {
            self.pin_reads();
        }
        result
    }

    /// Returns a connection to the pool, unless it met damage.
    pub(crate) fn give_back(&self, connection: Connection, error: Option<&Error>) {
        let damaged = error.and_then(Error::as_sqlite).is_some_and(error::is_damage);
        if damaged || !connection.is_autocommit() {
            self.pool.forget();
            connection.close_quickly();
        } else {
            self.remember_log(&connection);
            self.pool.put(connection);
        }
    }

    /// Opens a connection to a store that exists, and reads the settings if nobody has.
    pub(crate) fn open(self: &Arc<Self>, pool_version: u64) -> Result<Option<Connection>> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        if sentinel::is_broken() {
            // The connections of all handles: SQLite would share their descriptors with a new one.
            for handle in Self::all() {
                handle.drop_severed();
            }
        }
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
                    self.lock.reset();
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
        if !self.loaded.load(Ordering::Acquire) {
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

    /// Gives up what the program closed behind our back. The caller is inside the fork gate.
    pub(crate) fn drop_severed(&self) {
        self.pool.drop_severed();
        self.read_pin.drop_severed();
    }

    pub(crate) fn timeout(&self, deadline: &Deadline) -> Error {
        Error::Timeout { directory: self.directory.clone(), waited: deadline.waited(), done: 0 }
    }

    /// Whether the calling context is inside a transaction of its own.
    pub(crate) fn owns_transaction(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && context::is_current(owner)
    }

    /// Whether a context of the calling thread has the open transaction.
    pub(crate) fn is_of_thread(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && context::is_of_thread(owner)
    }

    /// Whether another context of the calling thread has the open transaction: while this one keeps the thread, that one
    /// cannot end it.
    pub(crate) fn is_of_neighbor(&self) -> bool {
        self.is_of_thread() && !self.owns_transaction()
    }

    /// Before waiting for writers: to wait for a neighbor would be in vain. Not inside the fork gate.
    pub(crate) fn refuse_neighbor(self: &Arc<Self>) -> Result<()> {
        if self.is_of_neighbor() {
            self.end_orphan();
            if self.is_of_neighbor() {
                return Err(Error::Neighbor { directory: self.directory.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn in_transaction<T>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut OpenTransaction) -> Result<T>,
    ) -> Result<T> {
        let _inside = fork_gate::enter();
        self.renew()?;
        let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        let open = slot.as_mut().ok_or_else(|| Error::RolledBack { directory: self.directory.clone() })?;
        if open.connection().is_severed() {
            return Err(Error::Severed { directory: self.directory.clone() });
        }
        if open.connection().is_autocommit() {
            return Err(Error::RolledBack { directory: self.directory.clone() });
        }
        f(open).map_err(|error| error.located(&self.database))
    }

    /// The one place that notices a fork: what is inherited is dropped unused. The caller is inside the fork gate.
    pub(crate) fn renew(&self) -> Result<()> {
        let generation = crate::store::fork::generation();
        if self.generation.load(Ordering::Acquire) != generation {
            let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = slot.take() {
                open.abandon();
                self.forked.store(true, Ordering::Release);
            }
            self.owner.store(0, Ordering::Release);
            self.pool.reset();
            self.lock.reset();
            self.pending.reset();
            self.lookups.reset();
            self.awake.store(false, Ordering::Relaxed);
            // By a housekeeper that the child has not.
            self.detects_foreign.store(false, Ordering::Relaxed);
            self.maintaining.store(false, Ordering::SeqCst);
            self.generation.store(generation, Ordering::Release);
        }
        if self.forked.load(Ordering::Acquire) {
            return Err(Error::Forked { directory: self.directory.clone() });
        }
        Ok(())
    }

    /// Closes all idle connections. `quickly`: without the checkpoint that the last one would make.
    pub(crate) fn close_connections(&self, quickly: bool) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for connection in self.read_pin.take().into_iter().chain(self.pool.drain()) {
            if quickly {
                connection.close_quickly();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _inside = fork_gate::enter();
        if self.generation.load(Ordering::Acquire) == crate::store::fork::generation() {
            self.close_connections(false);
        }
        // In a forked child nothing of this is ours; `pool` is empty, since the fork closed it.
    }
}
