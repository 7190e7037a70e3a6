//! The place of a directory's open transaction in a process, and the context that owns it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::transaction::OpenTransaction;
use crate::system::context::{self, Context};

#[derive(Default)]
pub(crate) struct TransactionSlot {
    open: Mutex<Option<OpenTransaction>>,
    /// The context that the open transaction belongs to ([`context::owner`]), 0 for none.
    owner: AtomicU64,
    /// The last transaction could not become one of the database: the next begins as one.
    is_direct: AtomicBool,
    /// The process was forked while a transaction was open here: SQLite's view of this file is void.
    forked: AtomicBool,
}

impl TransactionSlot {
    /// The open transaction, if there is one. The caller is inside the fork gate.
    pub fn lock(&self) -> MutexGuard<'_, Option<OpenTransaction>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a transaction is open, or begins. One load.
    pub fn is_taken(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// Whether the open transaction is the calling context's own.
    #[inline]
    pub fn is_own(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && context::is_current(owner)
    }

    /// Whether a context of the calling thread has the open transaction.
    pub fn is_of_thread(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && context::is_of_thread(owner)
    }

    /// Whether another context of the calling thread has the open transaction: while this one keeps the thread, that one
    /// cannot end it.
    pub fn is_of_neighbor(&self) -> bool {
        self.is_of_thread() && !self.is_own()
    }

    /// Puts a transaction of a context into its place, which the caller has locked.
    pub fn put(&self, slot: &mut Option<OpenTransaction>, open: OpenTransaction, context: &Arc<Context>) {
        *slot = Some(open);
        self.owner.store(context::owner(context), Ordering::Release);
    }

    /// Takes the transaction out of its place, which the caller has locked.
    pub fn take(&self, slot: &mut Option<OpenTransaction>) -> Option<OpenTransaction> {
        self.owner.store(0, Ordering::Release);
        slot.take()
    }

    /// Has the next transaction begin as one of the database.
    pub fn take_direct_way(&self) {
        self.is_direct.store(true, Ordering::Relaxed);
    }

    /// Whether this one does. Asking takes that back.
    pub fn takes_direct_way(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed) && self.is_direct.swap(false, Ordering::Relaxed)
    }

    /// Notes before a fork whether a transaction is open: that decides whether the child can use the directory.
    pub fn note_fork(&self) {
        let open = self.open.lock().is_ok_and(|slot| slot.is_some());
        self.forked.store(open, Ordering::Release);
    }

    /// In the parent of a fork: its transaction goes on.
    pub fn forget_fork(&self) {
        self.forked.store(false, Ordering::Release);
    }

    /// In a forked child: the transaction is the parent's.
    pub fn abandon(&self) {
        let mut slot = self.lock();
        if let Some(open) = slot.take() {
            open.abandon();
            self.forked.store(true, Ordering::Release);
        }
        self.owner.store(0, Ordering::Release);
    }

    /// Whether the process was forked while a transaction was open here.
    pub fn is_forked(&self) -> bool {
        self.forked.load(Ordering::Acquire)
    }
}
