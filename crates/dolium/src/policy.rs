//! Owns the eviction policies, as data. How rows are removed is `cache::evict`'s business.

use crate::clock::Timestamp;

/// In which order entries are evicted when a cache is larger than its `size_limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Nothing is evicted; expired entries still are.
    None,
    /// Oldest write first.
    #[default]
    LeastRecentlyStored,
    /// Longest unread first.
    LeastRecentlyUsed,
    /// Least often read first.
    LeastFrequentlyUsed,
}

/// What a policy means to SQLite.
pub(crate) struct Plan {
    /// The name in `Settings`.
    pub name: &'static str,
    /// The index that makes eviction cheap.
    pub index: Option<&'static str>,
    /// The column that orders candidates.
    pub column: Option<&'static str>,
    /// Whether a read has to be recorded.
    pub records_reads: bool,
}

const PLANS: [(Policy, Plan); 4] = [
    (Policy::None, Plan { name: "none", index: None, column: None, records_reads: false }),
    (
        Policy::LeastRecentlyStored,
        Plan {
            name: "least-recently-stored",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_store_time ON Cache (store_time)"),
            column: Some("store_time"),
            records_reads: false,
        },
    ),
    (
        Policy::LeastRecentlyUsed,
        Plan {
            name: "least-recently-used",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_access_time ON Cache (access_time)"),
            column: Some("access_time"),
            records_reads: true,
        },
    ),
    (
        Policy::LeastFrequentlyUsed,
        Plan {
            name: "least-frequently-used",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_access_count ON Cache (access_count)"),
            column: Some("access_count"),
            records_reads: true,
        },
    ),
];

/// Bits of a note that count; the rest is milliseconds.
const COUNT: u64 = (1 << 22) - 1;

/// What the hot tier notes of the reads of a key after one more at `now`: when it was read last, and how often.
pub(crate) fn note(before: u64, now: Timestamp) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, within 42 bits till 2109"
    )]
    let milliseconds = (now * 1000.0) as u64;
    milliseconds << COUNT.count_ones() | ((before & COUNT) + 1).min(COUNT)
}

/// Time and number of the reads that a note stands for.
pub(crate) fn noted(note: u64) -> (Timestamp, i64) {
    #[expect(clippy::cast_precision_loss, reason = "42 bits")]
    let time = (note >> COUNT.count_ones()) as f64 / 1000.0;
    (time, (note & COUNT).cast_signed())
}

impl Policy {
    pub(crate) fn plan(self) -> &'static Plan {
        let found = PLANS.iter().find(|(policy, _)| *policy == self);
        &found.expect("every policy has a plan").1
    }

    /// The name that diskcache and the table `Settings` use.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.plan().name
    }

    /// The policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        PLANS.iter().find(|(_, plan)| plan.name == name).map(|(policy, _)| *policy)
    }
}
