//! Waiting for a lock with a timeout and a tick.
//!
//! Owns the order of things: first the lock among threads, then the one among processes, in slices short enough to ask
//! the caller whether to go on. Refuses to know what kind of lock it is.

use crate::system::error::LockError;
use crate::system::fork;
use crate::system::local::LocalLock;
use std::io;
use std::time::{Duration, Instant};

/// Below the 50 ms that are promised, since sleeps overshoot.
const SLICE: Duration = Duration::from_millis(40);

/// How a lock came to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acquired {
    /// It was free.
    Free,
    /// Its owner died while holding it: what the lock guards may be half done.
    Inherited,
}

/// Until when to try, and whether this is the last time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) until: Instant,
    pub(crate) last: bool,
}

/// On success `local` is locked and stays so. While the tick runs nothing is held, so it may use the lock itself.
pub(crate) fn wait(
    local: &LocalLock,
    generation: u64,
    timeout: Option<Duration>,
    tick: &mut dyn FnMut() -> bool,
    mut attempt: impl FnMut(Slice) -> io::Result<Option<Acquired>>,
) -> Result<Acquired, LockError> {
    let mut now = Instant::now();
    // A timeout that overflows the clock is for ever.
    let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
    loop {
        // The tick may have forked, and this may be the child.
        if fork::generation() != generation {
            return Err(LockError::Forked);
        }
        let slice = match deadline {
            Some(deadline) if deadline <= now + SLICE => Slice { until: deadline, last: true },
            _ => Slice { until: now + SLICE, last: false },
        };
        if local.lock_until(slice.until) {
            match attempt(slice) {
                Ok(Some(acquired)) => return Ok(acquired),
                Ok(None) => local.unlock(),
                Err(error) => {
                    local.unlock();
                    return Err(error.into());
                }
            }
        }
        if slice.last {
            return Err(LockError::Timeout);
        }
        if !tick() {
            return Err(LockError::Interrupted);
        }
        now = Instant::now();
    }
}
