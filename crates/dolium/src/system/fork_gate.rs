//! Owns the fork gate that every use of SQLite, and of any mutex of the engine, passes. A fork closes it first.
//!
//! SQLite keeps a table of open files per process, which a child inherits: it would believe itself to
//! hold the parent's locks and take none. So no connection may be open, and no mutex held, while the
//! process forks. Nothing that waits for another process, or for Python, may wait inside the fork gate.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

/// How many forks wait for the fork gate to close.
static WANTED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static INSIDE: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
    static CLOSED: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// What a cell holds, which is made when it is first needed, inside the fork gate. A child that is forked in the middle of
/// `get_or_init` would wait for ever.
pub(crate) fn init<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    cell.get().unwrap_or_else(|| {
        let _inside = enter();
        cell.get_or_init(make)
    })
}

/// Proof that the thread is inside the fork gate. May be nested.
pub(crate) struct ForkGuard(PhantomData<*const ()>);

/// Enters the fork gate; waits while a fork is under way.
pub(crate) fn enter() -> ForkGuard {
    DEPTH.with(|depth| {
        if depth.get() == 0 {
            let guard = GATE.read().unwrap_or_else(PoisonError::into_inner);
            INSIDE.with(|inside| *inside.borrow_mut() = Some(guard));
        }
        depth.set(depth.get() + 1);
    });
    ForkGuard(PhantomData)
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        DEPTH.with(|depth| {
            depth.set(depth.get() - 1);
            if depth.get() == 0 {
                INSIDE.with(|inside| *inside.borrow_mut() = None);
            }
        });
    }
}

/// Whether this thread is inside.
pub(crate) fn is_inside() -> bool {
    DEPTH.with(Cell::get) > 0
}

/// Whether a fork waits for the fork gate to close. A thread that does much inside looks, and leaves.
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed) > 0
}

/// Waits until no thread is inside the fork gate, and keeps all threads out. The forking thread calls this before a
/// fork. Returns `false` if this thread is inside itself; then the fork gate stays as it is.
pub(crate) fn close() -> bool {
    if is_inside() {
        return false;
    }
    WANTED.fetch_add(1, Ordering::Relaxed);
    let guard = GATE.write().unwrap_or_else(PoisonError::into_inner);
    WANTED.fetch_sub(1, Ordering::Relaxed);
    CLOSED.with(|closed| *closed.borrow_mut() = Some(guard));
    // Dropping a handle between here and `open` enters the fork gate again.
    DEPTH.with(|depth| depth.set(1));
    true
}

/// Lets all threads in again. The same thread calls this after the fork, in the parent and in the child.
pub(crate) fn open() {
    if CLOSED.with(|closed| closed.borrow().is_some()) {
        DEPTH.with(|depth| depth.set(0));
    }
    CLOSED.with(|closed| *closed.borrow_mut() = None);
}
