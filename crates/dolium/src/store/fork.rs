//! Owns what happens when the process forks: see `system::fork_gate` for why connections are closed before.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::flight::watcher;
use crate::store::Handle;
use crate::store::housekeeper;
use crate::system::fork_gate;

/// Grows in the child of a fork. One load.
pub(crate) fn generation() -> u64 {
    dolium_hot::generation()
}

/// Asks to be told of forks.
pub(crate) fn register() {
    // Not a `Once`: a child that another thread forks in the middle of it would wait for ever. Threads that come at once all
    // register, and the first counts.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Ordering::Acquire) {
        // `false`: another thread was first. Another copy of this crate cannot be, since no program can link two.
        let _ = dolium_hot::on_fork(prepare, parent, child);
        IS_DONE.store(true, Ordering::Release);
    }
}

/// One fork at a time, from before the housekeeper is stopped until it may start again: the C library lets the
/// handlers of two threads overlap, and the second would take a housekeeper along that the first has started.
static FORKING: Mutex<()> = Mutex::new(());

thread_local! {
    static TURN: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Prepares a fork: afterwards no thread is inside the fork gate, and no connection is open. A transaction of the
/// forking thread stays open in the parent, and so does one that another thread left open between two calls. In the
/// child the directory of such a transaction is unusable.
fn prepare() {
    // A thread that forks inside the fork gate cannot wait, because another may be waiting for the fork gate.
    if !fork_gate::is_inside() {
        let turn = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
        TURN.with(|mine| *mine.borrow_mut() = Some(turn));
    }
    watcher::pause();
    housekeeper::stop();
    if fork_gate::close() {
        for handle in Handle::all() {
            handle.transaction.note_fork();
            handle.connections.close(true);
        }
    }
}

fn parent() {
    for handle in Handle::all() {
        handle.transaction.forget_fork();
    }
    fork_gate::open();
    housekeeper::resume(false);
    watcher::resume();
    TURN.with(|mine| *mine.borrow_mut() = None);
}

/// What the child inherited is dropped when a handle is used: `Handle::renew`.
fn child() {
    crate::store::pause::end_pauses();
    fork_gate::open();
    housekeeper::resume(true);
    watcher::resume();
    TURN.with(|mine| *mine.borrow_mut() = None);
}
