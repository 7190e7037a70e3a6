//! Owns the time of day: every timestamp that is stored or compared comes from here.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Seconds since the Unix epoch, as diskcache stores them.
pub type Timestamp = f64;

/// The last answer of the system's clock in this process, as bits. Threads may overwrite each other's.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// Seconds, two ticks of a slow kernel, that answers may run ahead of it to be later than others.
const LEAD: Timestamp = 0.02;

/// Whether a thread was ever told the time. Outside of tests none is.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

thread_local! {
    static TOLD: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// Tells the calling thread what time it is: [`Clock::System`] answers it until the next call. `None` gives the thread
/// the system's clock again. A host language in whose tests the time stands still calls this before each operation.
///
/// ```
/// dolium::host::tell_time(Some(1000.0));
/// assert_eq!(dolium::Clock::System.now(), 1000.0);
/// dolium::host::tell_time(None);
/// assert!(dolium::Clock::System.now() > 1000.0);
/// ```
pub fn tell_time(time: Option<Timestamp>) {
    if time.is_some() || IS_TOLD.load(Ordering::Relaxed) {
        IS_TOLD.store(true, Ordering::Relaxed);
        TOLD.set(time);
    }
}

/// What the calling thread was told. One load, as long as no thread ever was.
#[inline]
fn told() -> Option<Timestamp> {
    if IS_TOLD.load(Ordering::Relaxed) { TOLD.get() } else { None }
}

/// Where a cache reads the time of day.
///
/// ```
/// let clock = dolium::Clock::manual(1000.0);
/// clock.advance(std::time::Duration::from_secs(5));
/// assert_eq!(clock.now(), 1005.0);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Clock {
    /// The system's clock, or what [`tell_time`] said to the thread.
    #[default]
    System,
    /// A clock that only moves when told to: bits of an `f64`.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock for tests that stands at `start`.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.to_bits())))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => told().unwrap_or_else(|| {
                let now = precise();
                LATEST.store(now.to_bits(), Ordering::Relaxed);
                now
            }),
            Self::Manual(bits) => f64::from_bits(bits.load(Ordering::SeqCst)),
        }
    }

    /// The time to within some milliseconds, for what is only compared: at a third of the price of `now`. In a thread
    /// each answer is later than all that this and `now` have said before, as long as that leads at most `LEAD` ahead.
    pub(crate) fn recently(&self) -> Timestamp {
        let Self::System = self else { return self.now() };
        if let Some(time) = told() {
            return time;
        }
        let (tick, latest) = (coarse(), f64::from_bits(LATEST.load(Ordering::Relaxed)));
        let next = if latest < tick + LEAD { latest.next_up() } else { latest };
        // Else the clock was put back.
        let time = if next < tick + 2.0 * LEAD { next.max(tick) } else { tick };
        LATEST.store(time.to_bits(), Ordering::Relaxed);
        time
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(bits) = self {
            let next = f64::from_bits(bits.load(Ordering::SeqCst)) + by.as_secs_f64();
            bits.store(next.to_bits(), Ordering::SeqCst);
        }
    }
}

/// The system's time in whole seconds since the Unix epoch, whatever the thread was told.
pub(crate) fn seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// Without the detour over `SystemTime`, which takes longer than the clock itself.
fn precise() -> Timestamp {
    read(ClockId::Realtime)
}

/// The time of the last tick.
fn coarse() -> Timestamp {
    #[cfg(target_os = "linux")]
    let clock = ClockId::RealtimeCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Realtime;
    read(clock)
}

fn read(clock: ClockId) -> Timestamp {
    let time = clock_gettime(clock);
    #[expect(clippy::cast_precision_loss, reason = "less than 2^53")]
    let seconds = time.tv_sec as f64;
    #[expect(clippy::cast_precision_loss, reason = "less than a second")]
    let nanoseconds = time.tv_nsec as f64;
    seconds + nanoseconds * 1e-9
}

/// Converts a time of day to what the store keeps. Times before 1970 become negative.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Converts what the store keeps to a time of day; saturates at the epoch and where it overflows.
#[must_use]
pub fn system_time(time: Timestamp) -> SystemTime {
    Duration::try_from_secs_f64(time.max(0.0))
        .ok()
        .and_then(|after| UNIX_EPOCH.checked_add(after))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recently_is_later_than_what_was_said_before_and_near() {
        let clock = Clock::System;
        for _ in 0..100_000 {
            let (now, first, second) = (clock.now(), clock.recently(), clock.recently());
            assert!(now < first && first < second, "{now} {first} {second}");
            assert!((second - now).abs() < 2.0 * LEAD, "{now} {second}");
        }
        // The user puts the clock back.
        LATEST.store((clock.now() + 3600.0).to_bits(), Ordering::Relaxed);
        assert!((clock.recently() - clock.now()).abs() < 2.0 * LEAD);
    }
}
