//! Owns what a process knows of one directory: connections, writer lock, settings, the open transaction.
//! Every read and write of SQLite goes through [`Handle::read`] and [`Handle::write`], which own the
//! order of things: gate, fork check, writer lock, transaction, retries, and what to do about damage.
//! Knows nothing of keys and values.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::anchor::Anchor;
use crate::cache::Evictions;
use crate::error::{self, Error, Result};
use crate::files::{self, Identity};
use crate::gate;
use crate::keeper;
use crate::lock::{Guard, WriterLock};
use crate::pending::Pending;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::sqlite::{Access, Connection, Write, schema};
use crate::transaction::{OpenTransaction, current_thread};
use crate::wait::{Deadline, Patience};
use crate::warning::{Warning, Warnings};

/// diskcache's name of the database.
pub(crate) const DATABASE: &str = "cache.db";

/// How often a handle looks whether somebody replaced the database under it.
const LOOK: Duration = Duration::from_millis(100);

type Registry = HashMap<(Identity, bool), Weak<Handle>>;

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// What becomes of a setting that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The next write stores it.
    Save,
    /// It holds for this process only.
    Local,
    /// It is what is stored.
    Stored,
}

pub(crate) struct Handle {
    pub directory: PathBuf,
    pub database: PathBuf,
    /// A file system of a network: no shared memory, no write-ahead log.
    pub network: bool,
    read_only: AtomicBool,
    generation: AtomicU64,
    /// The process was forked while a transaction was open here: SQLite's view of this file is void.
    pub(crate) forked: AtomicBool,
    settings: RwLock<Arc<Settings>>,
    loaded: AtomicBool,
    /// Settings that were passed when there was no store to keep them.
    unsaved: Mutex<Vec<String>>,
    /// Settings that are changed for this process only.
    local: Mutex<Vec<String>>,
    pub(crate) pool: Pool,
    pub(crate) anchor: Anchor,
    pub(crate) lock: WriterLock,
    pub(crate) transaction: Mutex<Option<OpenTransaction>>,
    /// The thread that the open transaction belongs to, 0 for none.
    pub(crate) owner: AtomicU64,
    pub(crate) pending: Pending,
    pub(crate) warnings: Warnings,
    pub(crate) evictions: Evictions,
    /// Bytes that may be written before the volume has to be measured again.
    pub(crate) room: AtomicI64,
    pub(crate) has_trash: AtomicBool,
    pub(crate) commits: AtomicU32,
    /// As the first shard of several: their number, which the store keeps. Else 0.
    pub(crate) shards: AtomicU64,
    pub(crate) awake: AtomicBool,
    /// The keeper is at work here.
    pub(crate) maintaining: AtomicBool,
    /// Closed, and not used since: the keeper stays away.
    pub(crate) closed: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Handle {
    /// The handle of a directory that exists: one for all its users in this process.
    pub fn of(directory: &Path, read_only: bool) -> Result<Arc<Self>> {
        crate::fork::register();
        let _pass = gate::enter();
        let identity = files::identity(directory).ok_or_else(|| Error::Io {
            path: directory.to_path_buf(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.get_or_insert_with(HashMap::new);
        let known = registry.get(&(identity, read_only)).and_then(Weak::upgrade);
        // A new directory may have got the inode of one that was removed while its cache lives on.
        if let Some(handle) = known.filter(|handle| files::identity(&handle.directory) == Some(identity)) {
            return Ok(handle);
        }
        let network = crate::lock::is_network(directory);
        let handle = Arc::new(Self {
            directory: directory.to_path_buf(),
            database: directory.join(DATABASE),
            network,
            read_only: AtomicBool::new(read_only),
            generation: AtomicU64::new(crate::fork::generation()),
            forked: AtomicBool::new(false),
            settings: RwLock::new(Arc::new(Settings::defaults())),
            loaded: AtomicBool::new(false),
            unsaved: Mutex::default(),
            local: Mutex::default(),
            pool: Pool::default(),
            anchor: Anchor::default(),
            lock: WriterLock::new(directory),
            transaction: Mutex::default(),
            owner: AtomicU64::new(0),
            pending: Pending::default(),
            warnings: Warnings::default(),
            evictions: Evictions::default(),
            room: AtomicI64::new(0),
            has_trash: AtomicBool::new(false),
            commits: AtomicU32::new(0),
            shards: AtomicU64::new(0),
            awake: AtomicBool::new(false),
            maintaining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            looked: Mutex::default(),
        });
        registry.retain(|_, handle| handle.strong_count() > 0);
        registry.insert((identity, read_only), Arc::downgrade(&handle));
        Ok(handle)
    }

    /// All handles that are alive. The caller is inside the gate, or has closed it.
    pub fn all() -> Vec<Arc<Self>> {
        let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        registry.iter().flat_map(HashMap::values).filter_map(Weak::upgrade).collect()
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Runs `f` on a connection. Where there is no store yet the answer is `T::default()`.
    ///
    /// `f` may run more than once. SQLite's view is one transaction per statement, or the thread's own
    /// open transaction.
    pub fn read<T: Default>(
        self: &Arc<Self>,
        patience: Patience,
        mut f: impl FnMut(&rusqlite::Connection) -> Result<T>,
    ) -> Result<T> {
        if self.is_mine() {
            return self.in_transaction(|open| f(open.connection()));
        }
        let mut deadline = None;
        let mut damages = 0;
        loop {
            match self.try_read(&mut f) {
                Err(error) if error.as_sqlite().is_some_and(error::is_busy) => {
                    let deadline = deadline.get_or_insert_with(|| Deadline::new(patience));
                    if !deadline.pause()? {
                        return Err(self.timeout(deadline));
                    }
                }
                Err(error) if error.as_sqlite().is_some_and(error::is_empty_store) => {
                    return Ok(T::default());
                }
                Err(error) => match error.located(&self.database) {
                    Error::Damaged { detail, .. } if damages < 2 => {
                        self.set_aside_if_damaged(patience, damages > 0, &detail)?;
                        damages += 1;
                    }
                    error => return Err(error),
                },
                done => return done,
            }
        }
    }

    fn try_read<T: Default>(
        self: &Arc<Self>,
        f: &mut impl FnMut(&rusqlite::Connection) -> Result<T>,
    ) -> Result<T> {
        let _pass = gate::enter();
        self.renew()?;
        self.look();
        let Some(connection) = self.pool.take(|epoch| self.open(epoch))? else {
            return Ok(T::default());
        };
        let result = f(&connection);
        self.give_back(connection, result.as_ref().err());
        if result.is_ok() && self.anchor.count() {
            self.anchor_reads();
        }
        result
    }

    /// Returns a connection to the pool, unless it met damage.
    fn give_back(&self, connection: Connection, error: Option<&Error>) {
        let damaged = error.and_then(Error::as_sqlite).is_some_and(error::is_damage);
        if damaged || !connection.is_autocommit() {
            self.pool.forget();
            connection.close_quickly();
        } else {
            self.pool.put(connection);
        }
    }

    /// Opens a connection to a store that exists, and reads the settings if nobody has.
    pub(crate) fn open(self: &Arc<Self>, epoch: u64) -> Result<Option<Connection>> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut opened = Err(Error::Invalid(String::new()));
        if !self.is_read_only() {
            opened = Connection::open(&self.database, Access::Write, self.network, &settings, epoch);
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
            opened = Connection::open(&self.database, Access::Read, self.network, &settings, epoch);
        }
        let Some(connection) = opened? else {
            return Ok(None);
        };
        if !self.loaded.load(Ordering::Acquire) {
            match schema::load_settings(&connection) {
                Ok(stored) => self.adopt_settings(stored),
                Err(error) if error::is_empty_store(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(connection))
    }

    /// Runs `f` in a transaction that excludes every other writer, and commits it. If `f` fails, nothing
    /// is changed. Inside the thread's open transaction, `f` is one step of that.
    ///
    /// `f` may run again after a damaged store was set aside.
    pub fn write<T>(
        self: &Arc<Self>,
        patience: Patience,
        mut f: impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.is_mine() {
            return self.in_transaction(|open| open.step(&mut f));
        }
        let mut deadline = Deadline::new(patience);
        let first = self.locked(&mut deadline, |deadline| self.try_write(deadline, &mut f));
        let done = match first {
            Err(Error::Full { .. }) if self.make_room() => {
                self.locked(&mut deadline, |deadline| self.try_write(deadline, &mut f))
            }
            other => other,
        };
        done.map(|(result, _guard)| result)
    }

    /// Runs `f` under the writer lock and inside the gate, again as long as a foreign program is busy with
    /// the database, and once more after a damaged store was set aside. Returns the lock too.
    pub(crate) fn locked<T>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        mut f: impl FnMut(&mut Deadline) -> Result<T>,
    ) -> Result<(T, Guard)> {
        let mut damages = 0;
        loop {
            let guard = self.acquire(deadline)?;
            let attempt = {
                let _pass = gate::enter();
                f(deadline)
            };
            match attempt.map_err(|error| error.located(&self.database)) {
                Ok(result) => return Ok((result, guard)),
                Err(Error::Sqlite { source, .. }) if error::is_busy(&source) => {
                    // The interrupt hook may use this very cache.
                    drop(guard);
                    if !deadline.pause()? {
                        return Err(self.timeout(deadline));
                    }
                }
                Err(Error::Damaged { .. }) if damages < 2 => {
                    self.set_aside_locked(damages > 0)?;
                    damages += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the writer lock. Not inside the gate: the owner may be another process.
    pub(crate) fn acquire(&self, deadline: &mut Deadline) -> Result<Guard> {
        if self.is_read_only() {
            return Err(Error::ReadOnly { directory: self.directory.clone() });
        }
        {
            let _pass = gate::enter();
            self.renew()?;
        }
        self.lock.acquire(&self.database, deadline).map_err(|error| match error {
            Error::Timeout { .. } => self.timeout(deadline),
            other => other,
        })
    }

    fn try_write<T>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        let connection = self.begin()?;
        let result = self.run(&connection, deadline, f);
        if result.is_err() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        self.give_back(connection, result.as_ref().err());
        result
    }

    /// A connection in a transaction that holds SQLite's write lock, with all tables there. The caller
    /// holds the writer lock and is inside the gate; busy is an error.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Connection> {
        self.renew()?;
        let connection = loop {
            let connection = match self.pool.take(|epoch| self.open(epoch))? {
                Some(connection) => connection,
                None => self.create()?,
            };
            if !connection.has_moved() {
                break connection;
            }
            self.pool.forget();
            self.reopen(connection);
        };
        let begin = || {
            connection.found(self.network, &self.settings())?;
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.prepare(&connection)
        };
        match begin() {
            Ok(()) => Ok(connection),
            Err(error) => {
                self.give_back(connection, Some(&error));
                Err(error)
            }
        }
    }

    fn create(self: &Arc<Self>) -> Result<Connection> {
        files::create_directory(&self.directory)?;
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = self
            .pool
            .take(|epoch| Connection::open(&self.database, Access::Create, self.network, &settings, epoch))?;
        Ok(opened.expect("a store that is asked to be created is there"))
    }

    /// What the first write of each connection, and of each process, has to bring about. It counts only
    /// once the transaction has committed: `settle`.
    fn prepare(&self, connection: &Connection) -> Result<()> {
        if !connection.has_schema.get() {
            schema::ensure(connection, &self.settings())?;
            schema::store_shards(connection, self.shards.load(Ordering::Relaxed))?;
            let trash: bool =
                connection.query_row("SELECT EXISTS (SELECT 1 FROM DoliumTrash)", [], |row| row.get(0))?;
            self.has_trash.fetch_or(trash, Ordering::Relaxed);
        }
        let unsaved = self.unsaved().clone();
        if !unsaved.is_empty() {
            let settings = self.settings();
            for name in &unsaved {
                if let Some(value) = settings.get(name) {
                    schema::store_setting(connection, name, value)?;
                }
            }
            schema::ensure_policy_index(connection, &settings)?;
        }
        connection.saved.set(unsaved.len());
        Ok(())
    }

    /// What `prepare` brought about is there to stay.
    fn settle(&self, connection: &Connection) {
        connection.has_schema.set(true);
        self.loaded.store(true, Ordering::Release);
        let saved = connection.saved.take();
        if saved > 0 {
            self.unsaved().drain(..saved);
        }
    }

    fn run<T>(
        self: &Arc<Self>,
        connection: &Connection,
        deadline: &mut Deadline,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut write = Write::new(connection);
        let result = f(&mut write)?;
        let (new_files, has_trash) = write.finish()?;
        self.commit(connection, deadline)?;
        for file in &new_files {
            file.keep();
        }
        self.after_commit(has_trash);
        Ok(result)
    }

    /// Commits. In a rollback journal, readers may stand in the way of that; the transaction stays open.
    pub(crate) fn commit(&self, connection: &Connection, deadline: &mut Deadline) -> Result<()> {
        loop {
            match connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
                Ok(_) => {
                    self.settle(connection);
                    return Ok(());
                }
                Err(error) if error::is_busy(&error) && !connection.is_autocommit() => {
                    if !deadline.sleep() {
                        return Err(self.timeout(deadline));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn after_commit(self: &Arc<Self>, has_trash: bool) {
        if has_trash {
            self.has_trash.store(true, Ordering::Relaxed);
        }
        keeper::wake(self);
    }

    pub(crate) fn timeout(&self, deadline: &Deadline) -> Error {
        Error::Timeout { directory: self.directory.clone(), waited: deadline.waited(), done: 0 }
    }

    /// Whether the calling thread is inside a transaction of its own.
    pub(crate) fn is_mine(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && owner == current_thread()
    }

    fn in_transaction<T>(self: &Arc<Self>, f: impl FnOnce(&mut OpenTransaction) -> Result<T>) -> Result<T> {
        let _pass = gate::enter();
        self.renew()?;
        let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        let open = slot.as_mut().ok_or_else(|| Error::RolledBack { directory: self.directory.clone() })?;
        if open.connection().is_autocommit() {
            return Err(Error::RolledBack { directory: self.directory.clone() });
        }
        f(open).map_err(|error| error.located(&self.database))
    }

    // ---- forks, replaced files, damage

    /// The one place that notices a fork: what is inherited is dropped unused. The caller is inside the gate.
    pub(crate) fn renew(&self) -> Result<()> {
        let generation = crate::fork::generation();
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
            self.awake.store(false, Ordering::Relaxed);
            self.maintaining.store(false, Ordering::SeqCst);
            self.generation.store(generation, Ordering::Release);
        }
        if self.forked.load(Ordering::Acquire) {
            return Err(Error::Forked { directory: self.directory.clone() });
        }
        Ok(())
    }

    /// Now and then, looks whether the database was replaced, so that readers notice too.
    fn look(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        *looked = Some(Instant::now());
        drop(looked);
        if let Ok(Some(connection)) = self.pool.take(|_| Ok(None)) {
            if connection.has_moved() {
                self.pool.forget();
                self.reopen(connection);
            } else {
                self.pool.put(connection);
            }
        }
    }

    /// The database was removed or replaced by somebody: its connections speak to a file without a name.
    fn reopen(&self, connection: Connection) {
        self.warnings.add(Warning::Replaced { path: self.database.clone() });
        connection.close_quickly();
        self.close_connections(true);
        self.loaded.store(false, Ordering::Release);
        self.room.store(0, Ordering::Relaxed);
    }

    fn set_aside_if_damaged(self: &Arc<Self>, patience: Patience, surely: bool, detail: &str) -> Result<()> {
        let guard = self.acquire(&mut Deadline::new(patience)).map_err(|error| match error {
            Error::ReadOnly { .. } => Error::Damaged {
                path: self.database.clone(),
                detail: format!("{detail}; and it is read-only here"),
            },
            other => other,
        })?;
        let result = self.set_aside_locked(surely);
        drop(guard);
        result
    }

    /// Sets a damaged store aside under another name, unless a fresh look finds it sound: then another
    /// process has done so already. `surely`: damage was met again after such a look, which does not compare
    /// indexes with rows. The caller holds the writer lock.
    pub(crate) fn set_aside_locked(self: &Arc<Self>, surely: bool) -> Result<()> {
        let _pass = gate::enter();
        if self.owner.load(Ordering::Relaxed) != 0 {
            return Err(Error::Damaged {
                path: self.database.clone(),
                detail: "found inside a transaction".into(),
            });
        }
        self.close_connections(true);
        if !surely && self.is_sound() {
            return Ok(());
        }
        let aside = crate::aside::rename_store(&self.database)?;
        self.room.store(0, Ordering::Relaxed);
        self.warnings.add(Warning::SetAside { path: self.database.clone(), aside });
        Ok(())
    }

    /// Removes the store; the next write makes a new one. Other processes notice as they notice a store that
    /// was set aside. The caller holds the writer lock.
    pub(crate) fn discard_locked(&self) -> Result<()> {
        let _pass = gate::enter();
        self.close_connections(true);
        crate::aside::remove_store(&crate::aside::rename_store(&self.database)?);
        self.room.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn is_sound(&self) -> bool {
        let settings = self.settings();
        let opened = Connection::open(&self.database, Access::Write, self.network, &settings, 0);
        let checked = opened.and_then(|connection| match connection {
            None => Ok(true),
            Some(connection) => {
                let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
                let read = schema::load_settings(&connection);
                connection.close_quickly();
                Ok(verdict == "ok" && read.err().as_ref().is_none_or(error::is_empty_store))
            }
        });
        match checked {
            Ok(sound) => sound,
            Err(error) => error.as_sqlite().is_some_and(error::is_busy),
        }
    }

    // ---- settings

    /// The settings as this process knows them.
    pub fn settings(&self) -> Arc<Settings> {
        let _pass = gate::enter();
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes stored settings those of this process, except for what was set here and is not stored yet.
    pub(crate) fn adopt_settings(&self, mut stored: Settings) {
        let _pass = gate::enter();
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        for name in self.unsaved().iter().chain(self.local().iter()) {
            if let Some(value) = settings.get(name) {
                stored.set(name, value.clone());
            }
        }
        *settings = Arc::new(stored);
        self.loaded.store(true, Ordering::Release);
        self.room.store(0, Ordering::Relaxed);
    }

    /// Changes a setting for this process.
    pub(crate) fn change_setting(&self, name: &str, value: crate::scalar::Scalar, keep: Keep) {
        let _pass = gate::enter();
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut settings).set(name, value);
        self.local().retain(|local| local != name);
        match keep {
            Keep::Save => self.unsaved().push(name.to_owned()),
            Keep::Local => self.local().push(name.to_owned()),
            Keep::Stored => {}
        }
        self.room.store(0, Ordering::Relaxed);
    }

    /// The settings are read again when the store is opened next.
    pub(crate) fn forget_settings(&self) {
        self.loaded.store(false, Ordering::Release);
    }

    fn local(&self) -> MutexGuard<'_, Vec<String>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        let _pass = gate::enter();
        !self.unsaved().is_empty()
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<String>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- closing

    /// Closes all idle connections. `quickly`: without the checkpoint that the last one would make.
    pub(crate) fn close_connections(&self, quickly: bool) {
        for connection in self.anchor.take().into_iter().chain(self.pool.drain()) {
            if quickly {
                connection.close_quickly();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _pass = gate::enter();
        if self.generation.load(Ordering::Acquire) == crate::fork::generation() {
            self.close_connections(false);
        }
        // In a forked child nothing of this is ours; `pool` is empty, since the fork closed it.
    }
}
