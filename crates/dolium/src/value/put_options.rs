//! What is stored beside a value: expiry, tag, and whether the entry is kept whatever the policy.

use std::time::{Duration, SystemTime};

use crate::system::clock::{self, Timestamp};
use crate::value::scalar::Scalar;

/// The time of writing, and of reading, of a row that every policy takes last: the end of the year 9999. What other
/// programs evict respects it too, since it is all in the columns by which they choose. An `access_count` goes with it.
pub(crate) const KEPT: Timestamp = 253_402_300_799.0;

/// What is stored beside a value.
///
/// ```
/// use dolium::PutOptions;
/// use std::time::Duration;
///
/// let options = PutOptions::new().expire_in(Duration::from_secs(60)).tag("reports");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PutOptions {
    /// When the entry expires.
    pub expire: Expiry,
    /// The tag, by which entries can be evicted and listed.
    pub tag: Scalar,
    /// Whether the entry is evicted last, whatever the policy: for locks and counters.
    pub keep: bool,
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// So many seconds after it is written; it may be negative, which makes it expired at once.
    After(f64),
    /// At that time.
    At(Timestamp),
}

impl Expiry {
    pub(crate) fn at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::After(seconds) => Some(now + seconds),
            Self::At(time) => Some(time),
        }
    }
}

impl From<Duration> for Expiry {
    fn from(after: Duration) -> Self {
        Self::After(after.as_secs_f64())
    }
}

impl From<SystemTime> for Expiry {
    fn from(time: SystemTime) -> Self {
        Self::At(clock::timestamp(time))
    }
}

impl PutOptions {
    /// No expiry, no tag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says when the entry expires.
    #[must_use]
    pub fn expire(mut self, expire: impl Into<Expiry>) -> Self {
        self.expire = expire.into();
        self
    }

    /// Expires the entry after a time.
    #[must_use]
    pub fn expire_in(mut self, after: Duration) -> Self {
        self.expire = after.into();
        self
    }

    /// Expires the entry at a time.
    #[must_use]
    pub fn expire_at(mut self, time: SystemTime) -> Self {
        self.expire = time.into();
        self
    }

    /// Tags the entry.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Scalar>) -> Self {
        self.tag = tag.into();
        self
    }

    /// Has the entry evicted last, whatever the policy. Its time of writing is then the end of the year 9999.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The time of writing that is stored.
    pub(crate) fn time(&self, now: Timestamp) -> Timestamp {
        if self.keep { KEPT } else { now }
    }
}

/// An entry lives up to, not including, the moment it expires.
pub(crate) fn is_alive(expire_time: Option<Timestamp>, now: Timestamp) -> bool {
    expire_time.is_none_or(|expire_time| expire_time > now)
}
