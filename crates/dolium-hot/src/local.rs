//! The lock among the threads of one process.
//!
//! Owns a timed mutex that is one word, so that a fork hook can lock it in one handler and unlock it in another, which
//! `std::sync::Mutex` does not allow. Refuses to know who holds it: whoever unlocks must have locked.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep.
const WANTED: u32 = 2;

#[derive(Debug, Default)]
pub(crate) struct LocalLock(AtomicU32);

impl LocalLock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    pub(crate) fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(FREE, HELD, Acquire, Relaxed)
            .is_ok()
    }

    pub(crate) fn lock(&self) {
        while !self.lock_until(Instant::now() + Duration::from_secs(1)) {}
    }

    /// True once it is ours, false when `until` came first. One attempt is made even when `until` is past.
    pub(crate) fn lock_until(&self, until: Instant) -> bool {
        if self.try_lock() {
            return true;
        }
        // Whoever has slept takes the lock as WANTED: others may still sleep, and one wake too many costs less than
        // one too few.
        while self.0.swap(WANTED, Acquire) != FREE {
            let Some(left) = until
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            sleep(&self.0, WANTED, left);
        }
        true
    }

    pub(crate) fn unlock(&self) {
        if self.0.swap(FREE, Release) == WANTED {
            wake(&self.0);
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
        if !matches!(
            error,
            rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::TIMEDOUT
        ) {
            std::thread::sleep(at_most.min(Duration::from_millis(1)));
        }
    });
}

#[cfg(target_os = "linux")]
fn wake(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, 1);
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
fn wake(_: &AtomicU32) {}

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
