//! Tells which context calls: a thread, or one of the things that a host language runs in turns on a thread.
//! A transaction belongs to the context that began it, and does not outlive it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

type ContextHook = fn() -> u32;

static HOOK: OnceLock<ContextHook> = OnceLock::new();

/// Sets the function that tells which context runs on the calling thread: the [`number`](Context::number) of one that
/// has begun a transaction, 0 for the thread itself, [`NO_CONTEXT`] for any other. Only the first call counts.
///
/// The engine asks only while the thread has a transaction open, sometimes with its own locks held: the function must not
/// wait.
pub fn set_context_hook(hook: fn() -> u32) {
    let _ = HOOK.set(hook);
}

/// What the hook returns for a context that has begun no transaction.
pub const NO_CONTEXT: u32 = u32::MAX;

/// Something that takes turns with others on one thread: a coroutine or a greenlet. Threads are contexts by themselves.
#[derive(Debug)]
pub struct Context {
    number: u32,
    ended: AtomicBool,
}

impl Context {
    /// A context with a number of its own.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mut number = NO_CONTEXT;
        while number == 0 || number == NO_CONTEXT {
            number = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        Self { number, ended: AtomicBool::new(false) }
    }

    /// What tells it from the others of its thread.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Says that it will never run again: a transaction of it that is still open is rolled back shortly after.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether that was said.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The calling thread's own, which ends with it.
    pub(crate) fn of_thread() -> Arc<Self> {
        // A thread that is ending already has only its destructors before it, whose transactions end with them.
        THREAD
            .try_with(|thread| Arc::clone(&thread.0))
            .unwrap_or_else(|_| Arc::new(Self { number: 0, ended: AtomicBool::new(false) }))
    }
}

/// The thread's own context. Beside the number of the thread, because what has a destructor costs more to look at.
struct Thread(Arc<Context>);

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.end();
    }
}

thread_local! {
    static THREAD: Thread = Thread(Arc::new(Context { number: 0, ended: AtomicBool::new(false) }));
}

/// A number for the calling thread: never 0, never used again.
pub(crate) fn thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static ID: Cell<u32> = const { Cell::new(0) };
    }
    ID.with(|id| {
        if id.get() == 0 {
            id.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        id.get()
    })
}

/// A context of the calling thread as one number, which is never 0.
pub(crate) fn owner(context: &Context) -> u64 {
    u64::from(thread()) << 32 | u64::from(context.number)
}

/// Whether an owner is a context of the calling thread.
pub(crate) fn is_of_thread(owner: u64) -> bool {
    owner >> 32 == u64::from(thread())
}

/// Whether an owner is the context that calls.
#[cold]
pub(crate) fn is_current(owner: u64) -> bool {
    let current = || HOOK.get().map_or(0, |hook| hook());
    is_of_thread(owner) && owner & u64::from(u32::MAX) == u64::from(current())
}
