//! The lock among the threads of one process.
//!
//! Owns a timed mutex that is one word, so that a fork hook can lock it in one handler and unlock it in another, which
//! `std::sync::Mutex` does not allow. Does not know its owner: a caller that unlocks must have locked.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and a waiter may sleep.
const WANTED: u32 = 2;

#[derive(Debug, Default)]
pub(crate) struct LocalLock {
    word: AtomicU32,
    courtesy: Courtesy,
}

impl LocalLock {
    pub(crate) const fn new() -> Self {
        Self { word: AtomicU32::new(FREE), courtesy: Courtesy::new() }
    }

    pub(crate) fn try_lock(&self) -> bool {
        self.word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok()
    }

    pub(crate) fn lock(&self) {
        while !self.lock_until(Instant::now() + Duration::from_secs(1)) {}
    }

    /// True once it is ours, false when `until` came first. One attempt is made even when `until` is past.
    pub(crate) fn lock_until(&self, until: Instant) -> bool {
        self.courtesy.pay(|| self.word.load(Relaxed) == FREE);
        if self.try_lock() {
            return true;
        }
        // A waiter that has slept takes the lock as WANTED: others may still sleep, and one wake too many costs less
        // than one too few.
        while self.word.swap(WANTED, Acquire) != FREE {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            sleep(&self.word, WANTED, left);
        }
        true
    }

    pub(crate) fn unlock(&self) {
        if self.word.swap(FREE, Release) == WANTED && wake(&self.word) {
            self.courtesy.owe();
        }
    }
}

/// Fairness for locks that are not handed over. A thread that releases a lock and takes it again at once would win
/// against the waiter that it has just woken. That could go on for a tenth of a second, since waking takes longer. So a
/// releaser that woke a waiter owes it a moment.
#[derive(Debug, Default)]
pub(crate) struct Courtesy(AtomicBool);

/// Longer than waking mostly takes, and short against everything that is done under these locks.
const MOMENT: Duration = Duration::from_micros(100);

impl Courtesy {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_owed(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(crate) fn owe(&self) {
        self.0.store(true, Relaxed);
    }

    /// Waits for the other to take the lock, if owed.
    pub(crate) fn pay(&self, free: impl Fn() -> bool) {
        // Read first: a swap would take the cache line from the others on every acquisition.
        if !self.0.load(Relaxed) || !self.0.swap(false, Relaxed) {
            return;
        }
        let start = Instant::now();
        while free() && start.elapsed() < MOMENT {
            std::thread::yield_now();
        }
    }
}

#[cfg(target_os = "linux")]
fn sleep(word: &AtomicU32, seen: u32, at_most: Duration) {
    let _ = rustix::thread::futex::wait(
        word,
        rustix::thread::futex::Flags::PRIVATE,
        seen,
        Some(&timespec(at_most)),
    )
    // No futex here (a strict sandbox): poll.
    .map_err(|error| {
        if !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::TIMEDOUT)
        {
            std::thread::sleep(at_most.min(Duration::from_millis(1)));
        }
    });
}

#[cfg(target_os = "linux")]
fn wake(word: &AtomicU32) -> bool {
    rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, 1).is_ok_and(|woken| woken > 0)
}

#[cfg(target_os = "linux")]
pub(crate) fn timespec(time: Duration) -> rustix::thread::futex::Timespec {
    rustix::thread::futex::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(not(target_os = "linux"))]
fn sleep(_: &AtomicU32, _: u32, at_most: Duration) {
    std::thread::sleep(at_most.min(Duration::from_millis(1)));
}

#[cfg(not(target_os = "linux"))]
fn wake(_: &AtomicU32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_times_out_and_a_freed_one_does_not() {
        let lock = LocalLock::new();
        assert!(lock.try_lock());
        assert!(!lock.lock_until(Instant::now()));
        assert!(!lock.lock_until(Instant::now() + Duration::from_millis(5)));
        lock.unlock();
        assert!(lock.lock_until(Instant::now()));
    }

    #[test]
    fn threads_exclude_each_other() {
        use std::sync::atomic::AtomicU64;
        let lock = LocalLock::new();
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        lock.lock();
                        // Load and store apart: increments are lost unless the lock excludes.
                        count.store(count.load(Relaxed) + 1, Relaxed);
                        lock.unlock();
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 80_000);
    }
}
