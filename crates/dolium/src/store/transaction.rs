//! Owns transactions that outlive one call: `begin`, `commit`, `rollback`, and the guard around them.
//! A transaction belongs to a thread; what the thread does meanwhile, through any `Cache` on the
//! directory, is part of it, and other threads and processes wait to write and read the state before.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use dolium_hot::{Counter, Guard, Writing};

use crate::cache::Cache;
use crate::sqlite::{Connection, Write};
use crate::store::Handle;
use crate::store::pause::{has_transaction, is_paused, wait_for_forks};
use crate::system::error::{Error, Result};
use crate::system::gate;
use crate::system::value_files::NewFile;
use crate::system::wait::{Deadline, Patience};
use crate::value::key::Key;

/// A number for the calling thread: never 0, never used again.
pub(crate) fn current_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static ID: Cell<u64> = const { Cell::new(0) };
    }
    ID.with(|id| {
        if id.get() == 0 {
            id.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        id.get()
    })
}

pub(crate) struct OpenTransaction {
    connection: Connection,
    /// The writer lock; none for the moment in which it is taken.
    guard: Option<Guard>,
    /// How many `begin`s are open.
    depth: u32,
    files: Vec<Arc<NewFile>>,
    has_trash: bool,
    /// T, if there is a hot tier, which is empty and stays so.
    writing: Option<Writing>,
    /// The keys whose rows have changed; `None`: any.
    changed: Option<Vec<Key<'static>>>,
}

impl OpenTransaction {
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs one operation. If it fails, its own changes are undone, those before it stay.
    pub fn step<T>(&mut self, f: &mut impl FnMut(&mut Write<'_>) -> Result<T>) -> Result<T> {
        self.execute("SAVEPOINT step")?;
        let mut write = Write::new(&self.connection);
        let done = f(&mut write).and_then(|result| {
            let changed = write.take_changed();
            Ok((result, changed, write.finish()?))
        });
        match done {
            Ok((result, changed, (files, has_trash))) => {
                self.execute("RELEASE step")?;
                self.changed = self.changed.take().zip(changed).map(|(before, now)| [before, now].concat());
                self.files.extend(files);
                self.has_trash |= has_trash;
                Ok(result)
            }
            Err(error) => {
                if !self.connection.is_autocommit() {
                    self.execute("ROLLBACK TO step")?;
                    self.execute("RELEASE step")?;
                }
                Err(error)
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// In a forked child: nothing here may be touched, not even closed, since it is the parent's.
    pub fn abandon(self) {
        let Self { connection, guard, files, writing, .. } = self;
        std::mem::forget((connection, guard, writing));
        for file in &files {
            file.keep();
        }
    }
}

impl Handle {
    /// Opens a transaction, or one more level of the thread's own.
    pub(crate) fn begin_transaction(self: &Arc<Self>, patience: Patience) -> Result<()> {
        if self.is_mine() {
            let _pass = gate::enter();
            self.renew()?;
            let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(open) = slot.as_mut() {
                open.depth += 1;
                return Ok(());
            }
        }
        let (guard, writing) = loop {
            wait_for_forks()?;
            let mut deadline = Deadline::new(patience);
            let occupied = self.locked_directly(&mut deadline, |_, writing| self.occupy(writing))?;
            if let (true, guard, writing) = occupied {
                break (guard, writing);
            }
        };
        let _pass = gate::enter();
        if let Some(open) = self.transaction.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            open.guard = Some(guard);
            open.writing = writing;
        }
        Ok(())
    }

    /// Begins a transaction and puts it into the slot, inside the gate: a fork must find an open transaction there.
    /// `false`: a fork was announced meanwhile.
    fn occupy(self: &Arc<Self>, writing: Option<&mut Writing>) -> Result<bool> {
        let connection = self.begin()?;
        if let Some(writing) = writing
            && let Err(error) = self.admit(&connection, writing)
        {
            let _ = connection.execute_batch("ROLLBACK");
            self.give_back(connection, None);
            return Err(error);
        }
        let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        // With the slot locked: who announces a fork and looks into it later finds the transaction there.
        if is_paused() && !has_transaction() {
            drop(slot);
            let undone = connection.execute_batch("ROLLBACK");
            self.give_back(connection, None);
            return Ok(undone.map(|()| false)?);
        }
        *slot = Some(OpenTransaction {
            connection,
            guard: None,
            depth: 1,
            files: Vec::new(),
            has_trash: false,
            writing: None,
            changed: Some(Vec::new()),
        });
        self.owner.store(current_thread(), Ordering::Release);
        Ok(true)
    }

    /// Closes a level of the thread's transaction; the outermost commits. Returns whether it was that.
    pub(crate) fn commit_transaction(self: &Arc<Self>) -> Result<bool> {
        let _pass = gate::enter();
        let Some(open) = self.leave_transaction(false)? else {
            return Ok(false);
        };
        let OpenTransaction { connection, guard, files, has_trash, mut writing, changed, .. } = open;
        let lost = connection.is_autocommit();
        let done = if lost {
            Err(Error::RolledBack { directory: self.directory.clone() })
        } else {
            // Readers in a rollback journal may hold it up for as long as they like to.
            let declared = writing.as_mut().map_or(Ok(()), |writing| {
                let mut write = Write::new(&connection);
                write.restore_changed(changed);
                write.declare(writing)
            });
            declared.and_then(|()| self.commit(&connection, &mut Deadline::new(Patience::Forever)))
        };
        if let (Ok(()), Some(writing)) = (&done, &mut writing) {
            writing.committed();
            writing.count(Counter::Direct, 1);
        }
        if done.is_err() && !connection.is_autocommit() {
            connection.roll_back();
        }
        self.pool.put(connection);
        drop(writing);
        drop(guard);
        done.map_err(|error| error.located(&self.database))?;
        for file in &files {
            file.keep();
        }
        self.after_commit(has_trash);
        Ok(true)
    }

    /// Undoes the thread's whole transaction, if this is its outermost level.
    pub(crate) fn rollback_transaction(self: &Arc<Self>) -> Result<()> {
        let _pass = gate::enter();
        if let Some(open) = self.leave_transaction(true)? {
            let OpenTransaction { connection, guard, writing, .. } = open;
            if !connection.is_autocommit() {
                connection.roll_back();
            }
            self.pool.put(connection);
            drop(writing);
            drop(guard);
        }
        Ok(())
    }

    /// Takes the transaction out if its outermost level is left. In a forked child there is none, and
    /// leaving does nothing. The caller is inside the gate and stays there until the transaction has ended.
    fn leave_transaction(&self, quietly: bool) -> Result<Option<OpenTransaction>> {
        if self.renew().is_err() {
            return Ok(None);
        }
        let mine = self.is_mine();
        let mut slot = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.as_mut() {
            Some(open) if mine && open.depth > 1 => {
                open.depth -= 1;
                Ok(None)
            }
            Some(_) if mine => {
                self.owner.store(0, Ordering::Release);
                Ok(slot.take())
            }
            _ if quietly => Ok(None),
            _ => Err(Error::Invalid("commit without a transaction of this thread".into())),
        }
    }
}

/// A transaction: all of it happens, or nothing. Dropped without [`commit`](Self::commit), it is undone.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::open(dir.path())?;
/// let transaction = cache.transact()?;
/// cache.set("a", 1)?;
/// cache.set("b", 2)?;
/// transaction.commit()?;
/// assert_eq!(cache.len()?, 2);
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use = "a transaction that is dropped is undone"]
pub struct Transaction<'c> {
    cache: &'c Cache,
    open: bool,
    /// A transaction belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl<'c> Transaction<'c> {
    pub(crate) fn begin(cache: &'c Cache) -> Result<Self> {
        cache.begin()?;
        Ok(Self { cache, open: true, not_send: PhantomData })
    }

    /// Makes the changes visible to everybody, if this is the outermost transaction of the thread.
    pub fn commit(mut self) -> Result<()> {
        self.open = false;
        self.cache.commit()
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // Nothing can be done about a failure, and SQLite undoes what is not committed.
            let _ = self.cache.rollback();
        }
    }
}
