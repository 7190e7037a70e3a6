//! Owns the order of a write: writer lock, fork gate, transaction, commit, and retries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dolium_hot::{Counter, Guard, Tier, Writing};

use crate::sqlite::{Access, Connection, Write, schema, transaction, trash};
use crate::store::housekeeper;
use crate::store::lock::Held;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};
use crate::value::settings::Settings;

use super::Handle;

/// Reads that a write counts for.
const WRITE: usize = 512;

impl Handle {
    /// Runs `f` in a transaction that excludes every other writer, and commits it. If `f` fails, nothing
    /// is changed. Inside the context's open transaction, `f` is one step of that.
    ///
    /// `f` may run again after a damaged store was quarantined.
    pub fn write<T>(
        self: &Arc<Self>,
        wait: Wait,
        mut f: impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.owns_transaction() {
            return self.in_transaction(|open| open.step(&mut f));
        }
        let mut deadline = Deadline::new(wait);
        let mut direct = |deadline: &mut Deadline, writing: Option<&mut Writing>| {
            let Some(writing) = writing else { return self.try_write(deadline, &mut f) };
            let result = self.try_write(deadline, &mut |write| {
                self.verify_epoch(write.connection(), writing)?;
                let result = f(write)?;
                write.publish(writing)?;
                Ok(result)
            })?;
            writing.committed();
            writing.count(Counter::Direct, 1);
            Ok(result)
        };
        // The result without the locks: disk space is freed after they are free.
        self.retry_when_full(|| self.locked_directly(&mut deadline, &mut direct).map(|(result, ..)| result))
    }

    /// Runs `f` as `locked_after` does, with the hot tier empty and kept so by the append lock, which is returned too.
    pub(crate) fn locked_directly<T>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        mut f: impl FnMut(&mut Deadline, Option<&mut Writing>) -> Result<T>,
    ) -> Result<(T, Guard, Option<Writing>)> {
        let mut quiet = None;
        let (result, guard) = self.locked_after(
            deadline,
            |deadline, tier| tier.map(|tier| self.quiesce(deadline, tier)).transpose(),
            |deadline, mut writing| {
                let result = f(deadline, writing.as_mut())?;
                quiet = writing;
                Ok(result)
            },
        )?;
        Ok((result, guard, quiet))
    }

    /// Runs `f` under the writer lock and inside the fork gate, again as long as a foreign program is busy with
    /// the database, and once more after a damaged store was quarantined. `before` comes first and outside of the fork
    /// gate, since it may wait. Returns the lock too.
    pub(super) fn locked_after<W, T>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        mut before: impl FnMut(&mut Deadline, Option<&Tier>) -> Result<W>,
        mut f: impl FnMut(&mut Deadline, W) -> Result<T>,
    ) -> Result<(T, Guard)> {
        let mut damages = 0;
        loop {
            let held = self.acquire(deadline)?;
            let attempt = before(deadline, held.tier()).and_then(|ready| {
                let _inside = fork_gate::enter();
                f(deadline, ready)
            });
            match attempt.map_err(|error| error.located(&self.database)) {
                Ok(result) => return Ok((result, held.into_guard())),
                Err(Error::Sqlite { source, .. }) if error::is_busy(&source) => {
                    // The interrupt hook may use this very cache.
                    drop(held);
                    if !deadline.pause()? {
                        return Err(self.timeout(deadline));
                    }
                }
                Err(Error::Replaced { .. }) if damages < 2 => damages += 1,
                Err(error) => self.repair_locked(held.tier(), &mut damages, error)?,
            }
        }
    }

    /// Waits for the writer lock. Not inside the fork gate: the owner may be another process.
    pub(crate) fn acquire(self: &Arc<Self>, deadline: &mut Deadline) -> Result<Held> {
        if self.is_read_only() {
            return Err(Error::unwritable(&self.directory, &self.database));
        }
        self.refuse_neighbor()?;
        {
            let _inside = fork_gate::enter();
            self.renew()?;
        }
        self.lock.acquire(self, deadline).map_err(|error| match error {
            Error::Timeout { .. } => self.timeout(deadline),
            other => other,
        })
    }

    pub(super) fn try_write<T>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        let connection = self.begin()?;
        let result = self.run(&connection, deadline, f);
        if result.is_err() && !connection.is_autocommit() {
            connection.roll_back();
        }
        self.give_back(connection, result.as_ref().err());
        result
    }

    /// A connection in a transaction that holds SQLite's write lock, with all tables there. The caller
    /// holds the writer lock and is inside the fork gate; busy is an error.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Connection> {
        self.renew()?;
        self.check_replaced();
        let connection = loop {
            let connection = match self.pool.take(|version| self.open(version))? {
                Some(connection) => connection,
                None => self.create()?,
            };
            if !connection.has_moved() {
                connection.count_reads(WRITE);
                break connection;
            }
            self.pool.forget();
            self.reopen(connection);
        };
        let begin = || {
            let inherited = if connection.has_schema.get() { None } else { self.settings_of_first()? };
            connection.init_empty(self.network, inherited.as_ref().unwrap_or(&self.settings()))?;
            transaction::begin(&connection)?;
            if self.lock.is_apart() && crate::sqlite::tier::applied(&connection)?.is_some() {
                // Nobody else can begin one now.
                transaction::roll_back(&connection)?;
                return Err(self.lock.exclude());
            }
            self.prepare(&connection, inherited)
        };
        let started = begin();
        // SQLite takes a file for read-only if its header names a format that is not ours to write.
        let is_foreign =
            connection.is_readonly(c"main").unwrap_or(false) && !files::is_protected(&self.database);
        if is_foreign {
            self.pool.forget();
            connection.close_quickly();
            let detail = "its header names a format that cannot be written".into();
            return Err(Error::Damaged { path: self.database.clone(), detail });
        }
        match started {
            Ok(()) => Ok(connection),
            Err(error) => {
                self.give_back(connection, Some(&error));
                Err(error)
            }
        }
    }

    fn create(self: &Arc<Self>) -> Result<Connection> {
        self.expect_layout()?;
        files::create_directory(&self.directory)?;
        let settings = match self.settings_of_first()? {
            Some(inherited) => Arc::new(inherited),
            None => self.settings(),
        };
        let access = if self.lock.is_exclusive() {
            Access::Create
        } else {
            // Others may be doing the same: what lies beside the database may be theirs.
            files::create_store(&self.database)?;
            Access::Write
        };
        let opened = self
            .pool
            .take(|version| Connection::open(&self.database, access, self.network, &settings, version))?;
        let connection = opened.ok_or_else(|| Error::Replaced { path: self.database.clone() })?;
        // A process that makes shards at this moment looks for the database after it has made them.
        if let Err(error) = self.expect_layout() {
            self.pool.forget();
            if access == Access::Create && connection.is_empty()? {
                drop(connection);
                crate::sqlite::files::remove_store(&self.database);
            }
            return Err(error);
        }
        Ok(connection)
    }

    /// What the first write of each connection, and of each process, has to bring about. It counts only
    /// once the transaction has committed: `settle`.
    fn prepare(&self, connection: &Connection, inherited: Option<Settings>) -> Result<()> {
        if !connection.has_schema.get() {
            schema::ensure(connection, &inherited.unwrap_or_else(|| self.lasting_settings()))?;
            schema::store_shards(connection, self.shards.load(Ordering::Relaxed))?;
            self.has_trash.fetch_or(trash::is_there(connection)?, Ordering::Relaxed);
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
    pub(super) fn settle(&self, connection: &Connection) {
        connection.has_schema.set(true);
        if !self.is_loaded() {
            // Another program may have made the store since it was looked for.
            let _ = self.stored_settings(connection).map(|stored| self.adopt_settings(stored));
            self.loaded.store(true, Ordering::Release);
        }
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
        if connection.is_severed() {
            return Err(Error::Severed { directory: self.directory.clone() });
        }
        loop {
            match transaction::commit(connection) {
                Ok(()) => {
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
        housekeeper::wake(self);
    }
}
