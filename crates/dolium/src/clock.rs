//! Owns the time of day: every timestamp that is stored or compared comes from here.

#![expect(clippy::disallowed_methods, reason = "the owner of the clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, as diskcache stores them.
pub type Timestamp = f64;

/// Where a cache reads the time of day.
///
/// ```
/// let clock = dolium::Clock::manual(1000.0);
/// clock.advance(std::time::Duration::from_secs(5));
/// assert_eq!(clock.now(), 1005.0);
/// ```
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
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
            Self::System => timestamp(SystemTime::now()),
            Self::Manual(bits) => f64::from_bits(bits.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(bits) = self {
            let next = f64::from_bits(bits.load(Ordering::SeqCst)) + by.as_secs_f64();
            bits.store(next.to_bits(), Ordering::SeqCst);
        }
    }
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
