//! A transaction on SQLite as a value: what is not committed is undone when it is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sqlite::evict::used_bytes;
use crate::sqlite::{Access, Connection, Finished, LongValues, Write, schema, transaction, trash};
use crate::store::Handle;
use crate::store::housekeeper;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::wait::Deadline;
use crate::value::settings::Settings;

/// Reads that a write counts for.
const WRITE: usize = 512;

/// A transaction that holds SQLite's write lock, on a connection that goes back to the pool in the end.
///
/// ```ignore
/// let transaction = self.begin()?;
/// let mut write = transaction.write();
/// write.put(…)?;
/// let finished = write.finish()?;
/// transaction.commit(finished, deadline)?;
/// ```
#[must_use = "a transaction that is dropped is undone"]
pub(crate) struct WriteTransaction<'h> {
    handle: &'h Arc<Handle>,
    /// None once it is given back, or given to a longer transaction.
    connection: Option<Connection>,
}

impl WriteTransaction<'_> {
    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is given away only when the transaction ends")
    }

    /// What changes rows in this transaction.
    pub fn write(&self) -> Write<'_> {
        let long_values = LongValues {
            files: Arc::clone(&self.handle.values),
            min_file_size: self.handle.settings.current().min_file_size,
        };
        Write::new(self.connection()).filing(long_values)
    }

    /// Commits what a `write` has finished.
    pub fn commit(self, finished: Finished, deadline: &mut Deadline) -> Result<()> {
        self.handle.commit(self.connection(), deadline)?;
        let Finished { files, has_trash } = finished;
        for file in files {
            file.keep();
        }
        self.handle.after_commit(has_trash);
        Ok(())
    }

    /// The connection, with the transaction open, for a transaction that outlives one call.
    pub fn into_connection(mut self) -> Connection {
        self.connection.take().expect("it is given away only when the transaction ends")
    }
}

impl Drop for WriteTransaction<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            if !connection.is_autocommit() {
                connection.roll_back();
            }
            self.handle.connections.give_back(connection, &self.handle.database, None);
        }
    }
}

impl Handle {
    /// Begins a transaction, with all tables there. The caller holds the writer lock and is inside the fork gate; busy is
    /// an error.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<WriteTransaction<'_>> {
        let transaction = self.begin_for_rest()?;
        // What changes past a tier is not in the one that rests.
        if self.tier.lock.tier_inside().is_none() {
            transaction.write().forget_rest()?;
        }
        Ok(transaction)
    }

    /// Begins a transaction that leaves alone what the database says of a resting tier.
    pub(crate) fn begin_for_rest(self: &Arc<Self>) -> Result<WriteTransaction<'_>> {
        self.renew()?;
        self.check_replaced();
        let connection = loop {
            let connection = match self.connections.pool.take(|version| self.open(version))? {
                Some(connection) => connection,
                None => self.create()?,
            };
            if !connection.has_moved() {
                connection.count_reads(WRITE);
                break connection;
            }
            self.connections.pool.forget();
            self.reopen(connection);
        };
        let started = self.start(&connection);
        // SQLite takes a file for read-only if its header names a format that is not ours to write.
        let is_foreign =
            connection.is_readonly(c"main").unwrap_or(false) && !files::is_protected(&self.database);
        if is_foreign {
            self.connections.pool.forget();
            connection.close_quickly();
            let detail = "its header names a format that cannot be written".into();
            return Err(Error::Damaged { path: self.database.clone(), detail });
        }
        match started {
            Ok(()) => Ok(WriteTransaction { handle: self, connection: Some(connection) }),
            Err(error) => {
                self.connections.give_back(connection, &self.database, Some(&error));
                Err(error)
            }
        }
    }

    /// Begins the transaction on a connection, and brings about what its first write needs.
    fn start(self: &Arc<Self>, connection: &Connection) -> Result<()> {
        let inherited = if connection.has_schema.get() { None } else { self.settings_of_first()? };
        connection.init_empty(self.network, inherited.as_ref().unwrap_or(&self.settings.current()))?;
        transaction::begin(connection)?;
        if self.tier.lock.is_apart() && crate::sqlite::tier::applied(connection)?.is_some() {
            // No other thread can begin one now.
            transaction::roll_back(connection)?;
            return Err(self.tier.lock.exclude());
        }
        self.prepare(connection, inherited)
    }

    fn create(self: &Arc<Self>) -> Result<Connection> {
        self.expect_layout()?;
        files::create_directory(&self.directory)?;
        let settings = match self.settings_of_first()? {
            Some(inherited) => Arc::new(inherited),
            None => self.settings.current(),
        };
        let access = if self.tier.lock.is_exclusive() {
            Access::Create
        } else {
            // Others may be doing the same: what lies beside the database may be theirs.
            files::create_store(&self.database)?;
            Access::Write
        };
        let opened = self
            .connections
            .pool
            .take(|version| Connection::open(&self.database, access, self.network, &settings, version))?;
        let connection = opened.ok_or_else(|| Error::Replaced { path: self.database.clone() })?;
        // A process that makes shards at this moment looks for the database after it has made them.
        if let Err(error) = self.expect_layout() {
            self.connections.pool.forget();
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
            schema::ensure(connection, &inherited.unwrap_or_else(|| self.settings.lasting()))?;
            schema::store_shards(connection, self.shards.count())?;
            self.upkeep.has_trash.fetch_or(trash::is_there(connection)?, Ordering::Relaxed);
        }
        let unsaved = self.settings.unsaved().clone();
        if !unsaved.is_empty() {
            let settings = self.settings.current();
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
        if !self.settings.is_loaded() {
            // Another program may have made the store since it was looked for.
            let _ = self.stored_settings(connection).map(|stored| self.adopt_settings(stored));
            self.settings.set_stored();
        }
        let saved = connection.saved.take();
        if saved > 0 {
            self.settings.unsaved().drain(..saved);
        }
    }

    /// Commits. In a rollback journal, readers may stand in the way of that; the transaction stays open.
    pub(crate) fn commit(&self, connection: &Connection, deadline: &mut Deadline) -> Result<()> {
        if connection.is_severed() {
            return Err(Error::Severed { directory: self.directory.clone() });
        }
        self.volume.set_used(used_bytes(connection)?);
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

    /// Wakes the housekeeper after a commit, so that it looks after what that has left.
    pub(crate) fn after_commit(self: &Arc<Self>, has_trash: bool) {
        if has_trash {
            self.upkeep.has_trash.store(true, Ordering::Relaxed);
        }
        housekeeper::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::sqlite::schema::{load_setting, store_setting};
    use crate::system::fork_gate;
    use crate::system::wait::Wait;

    #[test]
    fn a_transaction_that_is_dropped_is_undone_and_gives_its_connection_back() -> Result<()> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", 0).open()?;
        cache.set("there", 1)?;
        let handle = Arc::clone(&cache.handle);
        let mut deadline = Deadline::new(Wait::Forever);
        let _held = handle.acquire(&mut deadline)?;
        let _inside = fork_gate::enter();
        let change = |transaction: &WriteTransaction<'_>| {
            store_setting(transaction.connection(), "undone", &1.into())?;
            transaction.write().finish()
        };
        change(&handle.begin()?)?;
        let connection = handle.connections.pool.take(|_| Ok(None))?.expect("it is in the pool");
        assert!(connection.is_autocommit(), "no transaction is open");
        assert_eq!(load_setting(&connection, "undone")?, None);
        handle.connections.pool.put(connection);
        let transaction = handle.begin()?;
        let finished = change(&transaction)?;
        transaction.commit(finished, &mut deadline)?;
        let connection = handle.connections.pool.take(|_| Ok(None))?.expect("it is in the pool");
        assert_eq!(load_setting(&connection, "undone")?, Some(1.into()));
        handle.connections.pool.put(connection);
        Ok(())
    }
}
