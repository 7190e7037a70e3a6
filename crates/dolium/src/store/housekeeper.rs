//! Owns the one thread of the process that does what should not hold up a caller: checkpoints, emptying
//! the trash, writing pending reads. It starts with the first write, sleeps while nothing is dirty, and
//! keeps no cache alive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::store::Handle;
use crate::store::crowd;
use crate::system::fork_gate;
use crate::system::wait::Wait;

/// How often the housekeeper looks after dirty caches. It drains a dirty record at the second tick that sees it.
const TICK: Duration = Duration::from_millis(50);

/// How often it looks for other programs while locks are taken, and for how many ticks after the last one. By then the
/// lock has been drained.
const LOOK: Duration = Duration::from_millis(2);
const LOOKING: u8 = 3;

/// How long the last words of a cache may take.
const EXIT_WAIT: Wait = Wait::AtMost(Duration::from_millis(200));

struct Housekeeper {
    thread: Option<JoinHandle<()>>,
    stopping: bool,
    /// Held, so that the dirty records are drained even if their cache is dropped.
    dirty: Vec<Arc<Handle>>,
}

static HOUSEKEEPER: Mutex<Housekeeper> =
    Mutex::new(Housekeeper { thread: None, stopping: false, dirty: Vec::new() });
/// Beside the mutex, so that a writer that wants it again and again takes none.
static WAKE_NOW: AtomicBool = AtomicBool::new(false);
/// For how many ticks it looks for other programs in between.
static LOOKS: AtomicU8 = AtomicU8::new(0);
static CHANGED: Condvar = Condvar::new();

/// A cache wants to be looked after. One atomic if it is known already.
pub(crate) fn wake(handle: &Arc<Handle>) {
    if handle.upkeep.closed.load(Ordering::SeqCst) {
        handle.upkeep.closed.store(false, Ordering::SeqCst);
    }
    if handle.upkeep.awake.load(Ordering::Relaxed) || handle.upkeep.awake.swap(true, Ordering::Relaxed) {
        return;
    }
    let _inside = fork_gate::enter();
    let mut housekeeper = lock();
    housekeeper.dirty.push(Arc::clone(handle));
    housekeeper.start();
}

/// Has the thread run, which looks at caches that rest from time to time as long as there are many.
pub(crate) fn start() {
    let _inside = fork_gate::enter();
    let mut housekeeper = lock();
    if housekeeper.thread.is_none() {
        housekeeper.start();
    } else if housekeeper.dirty.is_empty() {
        CHANGED.notify_one();
    }
}

/// Wakes the housekeeper before its tick. Costs one load if another thread has done so already.
pub(crate) fn wake_now() {
    if WAKE_NOW.load(Ordering::Relaxed) || WAKE_NOW.swap(true, Ordering::Relaxed) {
        return;
    }
    let _inside = fork_gate::enter();
    let _housekeeper = lock();
    CHANGED.notify_one();
}

/// A lock was taken or given back in the tier: the housekeeper looks for other programs more often than at each tick. Costs one load if it
/// does already.
pub(crate) fn look_often(handle: &Arc<Handle>) {
    handle.upkeep.lock_changes.fetch_add(1, Ordering::Relaxed);
    wake(handle);
    if LOOKS.load(Ordering::Relaxed) == LOOKING || LOOKS.swap(LOOKING, Ordering::Relaxed) > 0 {
        return;
    }
    let _inside = fork_gate::enter();
    let _housekeeper = lock();
    CHANGED.notify_one();
}

/// Ends the thread, waits for it, and starts no other until `resume`.
pub(crate) fn stop() {
    let thread = {
        let mut housekeeper = lock();
        housekeeper.stopping = true;
        CHANGED.notify_one();
        housekeeper.thread.take()
    };
    // The last handle may be dropped by the thread itself; a panic in it has been printed.
    let _ = thread.filter(|thread| thread.thread().id() != thread::current().id()).map(JoinHandle::join);
}

/// Whether a fork or the end of the process waits for the thread.
pub(crate) fn is_stopping() -> bool {
    lock().stopping
}

/// Allows the thread again. `child`: in a forked child, what was dirty is the parent's business.
pub(crate) fn resume(child: bool) {
    let mut housekeeper = lock();
    housekeeper.stopping = false;
    WAKE_NOW.store(false, Ordering::Relaxed);
    if child {
        crate::store::training::forget();
        housekeeper.dirty.clear();
    } else if !housekeeper.dirty.is_empty() || crowd::is_crowded() {
        housekeeper.start();
    }
}

impl Housekeeper {
    fn start(&mut self) {
        if self.thread.is_none() && !self.stopping {
            // Without a thread (a process at its limit) callers still work; `close` does the rest.
            self.thread = thread::Builder::new().name("dolium-upkeep".into()).spawn(run).ok();
        }
        CHANGED.notify_one();
    }
}

fn run() {
    crate::system::wait::never_ask_hook();
    let (mut tick, mut looked) = (None, Instant::now());
    while let Some((handles, is_tick)) = next(&mut tick) {
        for handle in handles {
            if run_round(&handle, if is_tick { Handle::maintain } else { Handle::look }) {
                lock().dirty.push(handle);
            } else {
                say_goodbye(&handle);
            }
        }
        if crowd::is_crowded() && looked.elapsed() >= crowd::rest() {
            crowd::disperse();
            looked = Instant::now();
        }
    }
}

/// Leaves the tier of a cache that is gone, so that no other thread would do it.
pub(super) fn say_goodbye(handle: &Arc<Handle>) {
    if Arc::strong_count(handle) == 1 {
        let _ = handle.leave(EXIT_WAIT);
    }
}

/// Waits until something is dirty, and then until the next tick, or while locks are taken until the next look. Returns which
/// handles are dirty and whether it was a tick, or `None` if the thread must end. In a crowd there may be none.
fn next(tick: &mut Option<Instant>) -> Option<(Vec<Arc<Handle>>, bool)> {
    let mut housekeeper = lock();
    while housekeeper.dirty.is_empty() && !housekeeper.stopping {
        if !crowd::is_crowded() {
            housekeeper = CHANGED.wait(housekeeper).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let (woken, slept) =
            CHANGED.wait_timeout(housekeeper, crowd::rest()).unwrap_or_else(PoisonError::into_inner);
        housekeeper = woken;
        if slept.timed_out() {
            break;
        }
    }
    if housekeeper.dirty.is_empty() && !housekeeper.stopping {
        return Some((Vec::new(), false));
    }
    let now = Instant::now();
    let at = *tick.get_or_insert(now + TICK);
    let looks = LOOKS.load(Ordering::Relaxed) > 0;
    let pause = at.saturating_duration_since(now).min(if looks { LOOK } else { TICK });
    let wait = CHANGED.wait_timeout_while(housekeeper, pause, |housekeeper| {
        let is_in_time = looks || LOOKS.load(Ordering::Relaxed) == 0;
        !housekeeper.stopping && !WAKE_NOW.load(Ordering::Relaxed) && is_in_time
    });
    let (mut housekeeper, _) = wait.unwrap_or_else(PoisonError::into_inner);
    let is_tick = WAKE_NOW.swap(false, Ordering::Relaxed) || at <= Instant::now();
    if is_tick {
        *tick = None;
        let _ = LOOKS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |looks| looks.checked_sub(1));
    }
    (!housekeeper.stopping).then(|| (std::mem::take(&mut housekeeper.dirty), is_tick))
}

/// Looks after one cache, and returns whether another round is needed. A panic, which has been printed, costs only this
/// round. Else a thread that waits for the end of the round would wait for ever, and no other cache would be looked
/// after.
fn run_round(handle: &Arc<Handle>, work: impl FnOnce(&Arc<Handle>) -> bool) -> bool {
    // Before the work: what comes during it wakes the housekeeper again.
    handle.upkeep.awake.store(false, Ordering::Relaxed);
    // In this order, and `Handle::stop_upkeep` in the other: one of the two sees what the other has stored.
    handle.upkeep.maintaining.store(true, Ordering::SeqCst);
    let again = if handle.upkeep.closed.load(Ordering::SeqCst) {
        // A transaction that is open still may lose its owner.
        handle.end_orphan()
    } else {
        catch_unwind(AssertUnwindSafe(|| work(handle))).unwrap_or(false)
    };
    handle.upkeep.maintaining.store(false, Ordering::SeqCst);
    again && !handle.upkeep.awake.swap(true, Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, Housekeeper> {
    HOUSEKEEPER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_keeper_holds_up_nobody() {
        let directory = tempfile::tempdir().expect("directory");
        let handle = Handle::of(directory.path(), false);
        assert!(!run_round(&handle, |_| panic!("on purpose")));
        handle.stop_upkeep();
        handle.upkeep.closed.store(false, Ordering::SeqCst);
        assert!(run_round(&handle, |_| true));
    }
}
