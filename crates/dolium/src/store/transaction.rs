//! Transactions that outlive one call: begin, commit, roll back, and their end if their owner's comes first.
//!
//! A transaction belongs to a context: a thread, or what a host language runs in turns on one. What the context does
//! meanwhile, through any `Cache` on the directory, is part of it. Other threads and processes wait to write, and read
//! the state before. Another context of the same thread is refused, because the owner could not go on while it waits.
//! Any thread may end a transaction: it has a number, by which any caller names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dolium_hot::{Counter, Guard, Writing};

use crate::sqlite::{Connection, Finished, Write, transaction};
use crate::store::Handle;
use crate::store::attempts::Attempts;
use crate::store::evict::Append;
use crate::store::housekeeper;
use crate::store::pause::{has_transaction, is_paused, wait_for_forks};
use crate::store::small::SmallTransaction;
use crate::system::context::Context;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::value_files::NewFile;
use crate::system::wait::{Deadline, Wait};
use crate::value::key::Key;

/// How many are open in this process.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// Whether the process has a transaction open, on whatever directory. One load.
#[must_use]
pub fn any_transaction() -> bool {
    OPEN.load(Ordering::Relaxed) > 0
}

/// Counts one transaction as open, for as long as it is there.
struct Counted;

impl Counted {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct OpenTransaction {
    /// Never used again.
    id: u64,
    /// Whose it is.
    context: Arc<Context>,
    /// The writer lock; none for the moment in which it is taken.
    guard: Option<Guard>,
    /// How many `begin`s are open.
    depth: u32,
    /// The append lock, if there is a hot tier. Once the transaction is one of the database, the tier is empty and stays so.
    pub writing: Option<Writing>,
    /// How long it waits for other programs.
    pub wait: Wait,
    pub body: Body,
    counted: Counted,
}

/// Where a transaction has its changes.
pub(crate) enum Body {
    /// In this process.
    Small(SmallTransaction),
    /// In a transaction of the database.
    Direct(Box<DirectTransaction>),
}

/// A transaction of the database.
pub(crate) struct DirectTransaction {
    connection: Connection,
    files: Vec<Arc<NewFile>>,
    has_trash: bool,
    /// The keys whose rows have changed, or `None` if any may have.
    changed: Option<Vec<Key<'static>>>,
}

impl DirectTransaction {
    pub fn new(
        connection: Connection,
        files: Vec<Arc<NewFile>>,
        has_trash: bool,
        changed: Option<Vec<Key<'static>>>,
    ) -> Self {
        Self { connection, files, has_trash, changed }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs one operation. If it fails, its own changes are undone, those before it stay.
    pub fn step<T>(&mut self, f: &mut impl FnMut(&mut Write<'_>) -> Result<T>) -> Result<T> {
        transaction::begin_step(&self.connection)?;
        let mut write = Write::new(&self.connection);
        let done = f(&mut write).and_then(|result| {
            let changed = write.take_changed();
            Ok((result, changed, write.finish()?))
        });
        match done {
            Ok((result, changed, Finished { files, has_trash })) => {
                transaction::end_step(&self.connection)?;
                match (&mut self.changed, changed) {
                    (Some(before), Some(now)) => before.extend(now),
                    (before, _) => *before = None,
                }
                self.files.extend(files);
                self.has_trash |= has_trash;
                Ok(result)
            }
            Err(error) => {
                if !self.connection.is_autocommit() {
                    transaction::undo_step(&self.connection)?;
                }
                Err(error)
            }
        }
    }
}

impl OpenTransaction {
    /// Whether its owner has ended. While it begins, its owner is at work, and what is stored is not undone.
    fn is_orphan(&self) -> bool {
        let is_stored = matches!(&self.body, Body::Small(small) if small.is_stored());
        self.guard.is_some() && self.context.has_ended() && !is_stored
    }

    /// Whether it is this one, and its outermost level is the next to end.
    pub fn ends_with(&self, id: u64) -> bool {
        self.id == id && self.depth == 1 && !self.is_orphan()
    }

    /// In a forked child: nothing here may be touched, not even closed, since it is the parent's.
    pub fn abandon(self) {
        let Self { body, guard, writing, counted, .. } = self;
        drop(counted);
        std::mem::forget((guard, writing));
        if let Body::Direct(direct) = body {
            let DirectTransaction { connection, files, .. } = *direct;
            std::mem::forget(connection);
            for file in &files {
                file.keep();
            }
        }
    }
}

impl Handle {
    /// Opens a transaction of a context of the calling thread, or one more level of the context's own. Returns its number.
    pub(crate) fn begin_transaction(self: &Arc<Self>, wait: Wait, context: &Arc<Context>) -> Result<u64> {
        if self.transaction.is_own() {
            let _inside = fork_gate::enter();
            self.renew()?;
            let mut slot = self.transaction.lock();
            if let Some(open) = slot.as_mut() {
                open.depth += 1;
                return Ok(open.id);
            }
        }
        let (id, guard, writing) = loop {
            wait_for_forks()?;
            let is_small = self.may_be_small(wait)?;
            let mut deadline = Deadline::new(wait);
            let mut attempts = Attempts::new(self, &mut deadline);
            let installed = loop {
                match self.install_once(&mut attempts, context, wait, is_small) {
                    Ok(installed) => break installed,
                    Err(error) => attempts.recover(error)?,
                }
            };
            if let Some((id, writing)) = installed {
                break (id, attempts.into_guard(), writing);
            }
        };
        let _inside = fork_gate::enter();
        if let Some(open) = self.transaction.lock().as_mut() {
            open.guard = guard;
            open.writing = writing;
        }
        // It looks after the owner's end.
        housekeeper::wake(self);
        Ok(id)
    }

    fn install_once(
        self: &Arc<Self>,
        attempts: &mut Attempts<'_>,
        context: &Arc<Context>,
        wait: Wait,
        is_small: bool,
    ) -> Result<Option<(u64, Option<Writing>)>> {
        let (held, deadline) = attempts.lock()?;
        if let Some(tier) = held.tier().filter(|_| is_small) {
            // The hook may write, which would wait for the writer lock that this thread holds.
            let writing = self.lock_tier(tier, deadline, &mut || true)?;
            let _inside = fork_gate::enter();
            self.renew()?;
            let id = self.install(context, wait, || Body::Small(SmallTransaction::default()));
            return Ok(id.map(|id| (id, Some(writing))));
        }
        let mut writing = self.quiesce_tier(held, deadline)?;
        let _inside = fork_gate::enter();
        let begun = self.begin()?;
        if let Some(writing) = &mut writing {
            self.verify_epoch(begun.connection(), writing)?;
        }
        let direct = || DirectTransaction::new(begun.into_connection(), Vec::new(), false, Some(Vec::new()));
        let id = self.install(context, wait, || Body::Direct(Box::new(direct())));
        Ok(id.map(|id| (id, writing)))
    }

    /// Puts a transaction into the slot, inside the fork gate: a fork must find an open transaction there. Returns `None` if
    /// a fork was announced meanwhile.
    fn install(&self, context: &Arc<Context>, wait: Wait, body: impl FnOnce() -> Body) -> Option<u64> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let mut slot = self.transaction.lock();
        // With the slot locked: a thread that announces a fork and looks into the slot later finds the transaction
        // there.
        if is_paused() && !has_transaction() {
            return None;
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let open = OpenTransaction {
            id,
            context: Arc::clone(context),
            guard: None,
            depth: 1,
            writing: None,
            wait,
            body: body(),
            counted: Counted::new(),
        };
        self.transaction.put(&mut slot, open, context);
        Some(id)
    }

    /// Closes a level of a transaction; the outermost commits. Returns whether it was that.
    pub(crate) fn commit_transaction(self: &Arc<Self>, id: u64) -> Result<bool> {
        let is_outermost = self.commit_level(id)?;
        if is_outermost {
            // Without the locks: to empty the log may take long.
            self.trim_log_if_scarce();
        }
        Ok(is_outermost)
    }

    fn commit_level(self: &Arc<Self>, id: u64) -> Result<bool> {
        self.store_small(id)?;
        let _inside = fork_gate::enter();
        let open = match self.leave_transaction(id) {
            Left::Level => return Ok(false),
            Left::Orphan(open) => {
                if let Some(open) = open {
                    self.undo(open);
                }
                return Err(Error::Orphaned { directory: self.directory.clone() });
            }
            Left::Outermost(open) => open,
        };
        let OpenTransaction { guard, mut writing, body, .. } = open;
        let DirectTransaction { connection, files, has_trash, changed } = match body {
            Body::Direct(direct) => *direct,
            Body::Small(small) => {
                let tier = writing.filter(|_| small.is_stored()).map(|writing| writing.tier().clone());
                drop(guard);
                if let Some(tier) = tier {
                    self.after_append(&tier);
                }
                return Ok(true);
            }
        };
        let lost = connection.is_autocommit();
        let done = if lost {
            Err(Error::RolledBack { directory: self.directory.clone() })
        } else {
            // Readers in a rollback journal may hold it up for as long as they like to.
            let published = writing.as_mut().map_or(Ok(()), |writing| {
                let mut write = Write::new(&connection);
                write.restore_changed(changed);
                write.publish(writing)
            });
            published.and_then(|()| self.commit(&connection, &mut Deadline::new(Wait::Forever)))
        };
        if let (Ok(()), Some(writing)) = (&done, &mut writing) {
            writing.committed();
            writing.count(Counter::Direct, 1);
        }
        if done.is_err() && !connection.is_autocommit() {
            connection.roll_back();
        }
        self.connections.pool.put(connection);
        if done.is_ok() {
            self.keep_limit(writing.as_mut().map_or(Append::None, Append::Held));
        }
        drop(writing);
        drop(guard);
        done.map_err(|error| error.located(&self.database))?;
        for file in &files {
            file.keep();
        }
        self.after_commit(has_trash);
        Ok(true)
    }

    /// Closes a level of a transaction; the outermost undoes all of it. Returns whether it was that.
    pub(crate) fn rollback_transaction(self: &Arc<Self>, id: u64) -> bool {
        let _inside = fork_gate::enter();
        match self.leave_transaction(id) {
            Left::Level => false,
            Left::Outermost(open) => {
                self.undo(open);
                true
            }
            Left::Orphan(open) => {
                if let Some(open) = open {
                    self.undo(open);
                }
                true
            }
        }
    }

    /// Rolls back the open transaction if its owner has ended. Returns whether one is open still.
    pub(crate) fn end_orphan(self: &Arc<Self>) -> bool {
        if !self.transaction.is_taken() {
            return false;
        }
        let _inside = fork_gate::enter();
        if self.renew().is_err() {
            return false;
        }
        let orphan = {
            let mut slot = self.transaction.lock();
            if !slot.as_ref().is_some_and(OpenTransaction::is_orphan) {
                return slot.is_some();
            }
            self.transaction.take(&mut slot)
        };
        if let Some(orphan) = orphan {
            self.undo(orphan);
        }
        false
    }

    /// The number of the context's own transaction.
    pub(crate) fn transaction_id(&self) -> Option<u64> {
        if !self.transaction.is_own() {
            return None;
        }
        let _inside = fork_gate::enter();
        self.transaction.lock().as_ref().map(|open| open.id)
    }

    /// The caller is inside the fork gate, and has been since the transaction was in its place.
    fn undo(&self, open: OpenTransaction) {
        let OpenTransaction { body, guard, writing, .. } = open;
        if let Body::Direct(direct) = body {
            let DirectTransaction { connection, .. } = *direct;
            if !connection.is_autocommit() {
                connection.roll_back();
            }
            self.connections.pool.put(connection);
        }
        drop(writing);
        drop(guard);
    }

    /// Takes a transaction out of its place if its outermost level is left. In a forked child there is none, and
    /// leaving does nothing. The caller is inside the fork gate and stays there until the transaction has ended.
    fn leave_transaction(&self, id: u64) -> Left {
        if self.renew().is_err() {
            return Left::Level;
        }
        let mut slot = self.transaction.lock();
        match slot.as_mut().filter(|open| open.id == id) {
            None => Left::Orphan(None),
            Some(open) if open.is_orphan() => Left::Orphan(self.transaction.take(&mut slot)),
            Some(open) if open.depth > 1 => {
                open.depth -= 1;
                Left::Level
            }
            Some(_) => self.transaction.take(&mut slot).map_or(Left::Orphan(None), Left::Outermost),
        }
    }
}

/// What leaving a level of a transaction leaves to do.
enum Left {
    /// Nothing: levels remain, or the process is a forked child.
    Level,
    /// To end it.
    Outermost(OpenTransaction),
    /// To undo it, if that has not been done, because its owner has ended.
    Orphan(Option<OpenTransaction>),
}
