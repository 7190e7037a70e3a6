//! What a fork does to us.
//!
//! Owns the process's generation, its one `pthread_atfork` registration, and the list of descriptors that a child must
//! close: locks belong to the open file description, which parent and child share, so a child that kept the parent's
//! descriptor would keep the dead parent's slot alive. Refuses to know what the engine's hooks do.
//!
//! A child made without the handlers (a raw `clone`, a `vfork`) still sees a new generation, where the kernel wipes
//! pages on fork; its inherited descriptors are closed when the stale objects are dropped or the child execs.

use crate::system::local::LocalLock;
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicU64};
use std::sync::{Arc, OnceLock};

/// A number that differs between a process and its forked children and never comes back among descendants. Costs two
/// loads. Whatever was made under another generation belongs to an ancestor and must not be used.
#[must_use]
pub fn generation() -> u64 {
    let page = PAGE.load(Acquire);
    let page = if page.is_null() { make_page() } else { page };
    // SAFETY: `make_page` published a mapping (or a leaked box) that is aligned, holds an `AtomicU64`, and is never
    // freed. Every access to it is atomic. In a forked child the page is still mapped; wiped means zero.
    let word = unsafe { &*page };
    match word.load(Relaxed) {
        0 => renew(word),
        known => known,
    }
}

static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// Ordinary memory: copied by a fork, so that a child's numbers start above its parent's.
static COUNTER: AtomicU64 = AtomicU64::new(0);

#[cold]
fn renew(word: &AtomicU64) -> u64 {
    let fresh = COUNTER.fetch_add(1, Relaxed) + 1;
    match word.compare_exchange(0, fresh, SeqCst, Relaxed) {
        Ok(_) => fresh,
        Err(theirs) => theirs,
    }
}

/// Not a `OnceLock`: a fork while another thread is inside it would leave the child's locked for ever.
#[cold]
fn make_page() -> *mut AtomicU64 {
    let fresh = wiped_page().unwrap_or_else(|| Box::into_raw(Box::new(AtomicU64::new(0))));
    // The loser's page leaks: at most one per thread that raced for the first call.
    match PAGE.compare_exchange(std::ptr::null_mut(), fresh, Release, Acquire) {
        Ok(_) => fresh,
        Err(theirs) => theirs,
    }
}

/// A page that reads as zero in every forked child, where the kernel offers it (Linux 4.14).
#[cfg(target_os = "linux")]
fn wiped_page() -> Option<*mut AtomicU64> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    let len = rustix::param::page_size();
    // SAFETY: a new private mapping at an address of the kernel's choice replaces nothing.
    let page = unsafe {
        mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }
    .ok()?;
    // SAFETY: the range is the whole mapping above, which nothing else refers to. When the advice is refused the
    // mapping is an ordinary page and the child handler does the wiping.
    let _ = unsafe { madvise(page, len, Advice::LinuxWipeOnFork) };
    Some(page.cast())
}

#[cfg(not(target_os = "linux"))]
fn wiped_page() -> Option<*mut AtomicU64> {
    None
}

struct Hooks {
    prepare: fn(),
    parent: fn(),
    child: fn(),
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Registers the engine's fork hooks; the first registration of a process wins, and `false` says that there was one.
///
/// `prepare` runs before the fork and `parent` and `child` after it, all in the forking thread. `prepare` may drop and
/// attach [`Shared`](crate::Shared)s. `child` runs when the inherited slots are closed already and [`generation`] is
/// new. A hook must not panic: the process would abort.
pub fn on_fork(prepare: fn(), parent: fn(), child: fn()) -> bool {
    register();
    HOOKS.set(Hooks { prepare, parent, child }).is_ok()
}

/// Locked across every fork, so that a child finds the list below whole and no descriptor of ours is half made.
static GATE: LocalLock = LocalLock::new();
static DESCRIPTORS: Descriptors = Descriptors(UnsafeCell::new(Vec::new()));

pub(crate) struct Descriptors(UnsafeCell<Vec<Arc<AtomicI32>>>);

// SAFETY: the vector is touched only by the holder of GATE (a `Gate`, or the child handler, which runs alone and
// inherits the gate from the prepare handler).
unsafe impl Sync for Descriptors {}

/// While it lives no thread of this process can fork.
pub(crate) struct Gate(&'static Descriptors);

pub(crate) fn gate() -> Gate {
    register();
    GATE.lock();
    Gate(&DESCRIPTORS)
}

impl Drop for Gate {
    fn drop(&mut self) {
        GATE.unlock();
    }
}

impl Gate {
    /// Children will close this descriptor.
    pub(crate) fn watch(&self, descriptor: &Arc<AtomicI32>) {
        // SAFETY: `self` proves that the gate is held, so nothing else refers to the vector.
        let list = unsafe { &mut *self.0.0.get() };
        let number = descriptor.load(Relaxed);
        for known in list.iter().filter(|known| known.load(Relaxed) == number) {
            // The kernel gave its number away, so other code closed it behind our back. It must never close the new
            // one.
            known.store(-1, Relaxed);
        }
        list.push(Arc::clone(descriptor));
    }

    pub(crate) fn forget(&self, descriptor: &Arc<AtomicI32>) {
        // SAFETY: as in `watch`.
        unsafe { &mut *self.0.0.get() }.retain(|known| !Arc::ptr_eq(known, descriptor));
    }
}

#[cfg(unix)]
fn register() {
    const NEVER: u8 = 0;
    const NOW: u8 = 1;
    const DONE: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(NEVER);
    if STATE.load(Acquire) == DONE {
        return;
    }
    if STATE.compare_exchange(NEVER, NOW, Acquire, Acquire).is_ok() {
        // SAFETY: the handlers are `extern "C"` functions that live as long as the program. Failure (no memory) is
        // survivable: generations still work, and a child's descriptors are closed on exec.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
        STATE.store(DONE, Release);
        return;
    }
    // Another thread is registering. Bounded: in a child that was forked in that very moment it never finishes.
    for _ in 0..1000 {
        if STATE.load(Acquire) == DONE {
            return;
        }
        std::thread::yield_now();
    }
}

#[cfg(not(unix))]
fn register() {
    const _: AtomicU8 = AtomicU8::new(0);
}

#[cfg(unix)]
extern "C" fn prepare() {
    if let Some(hooks) = HOOKS.get() {
        (hooks.prepare)();
    }
    GATE.lock();
}

#[cfg(unix)]
extern "C" fn parent() {
    GATE.unlock();
    if let Some(hooks) = HOOKS.get() {
        (hooks.parent)();
    }
}

#[cfg(unix)]
extern "C" fn child() {
    // SAFETY: the prepare handler of the forking thread, which is the only thread here, holds the gate.
    for descriptor in unsafe { &*DESCRIPTORS.0.get() } {
        let number = descriptor.swap(-1, Relaxed);
        if number >= 0 {
            // SAFETY: the number was ours in the parent and nothing has run in this process since. Should a careless
            // daemon have closed it before, the worst is that the child lacks a descriptor that it also lost there.
            unsafe { libc::close(number) };
        }
    }
    let page = PAGE.load(Acquire);
    if !page.is_null() {
        // SAFETY: see `generation`. The kernel has wiped the page already where it can.
        unsafe { &*page }.store(0, SeqCst);
    }
    GATE.unlock();
    if let Some(hooks) = HOOKS.get() {
        (hooks.child)();
    }
}
