//! Owns the eviction policies, as data. `sqlite::evict` removes rows by them, when `store::evict` says so.

use crate::system::clock::{Clock, Timestamp};

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
    /// What the cache must record of reads.
    pub reads: ReadNotes,
}

/// What a policy asks of the reads of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadNotes {
    Nothing,
    /// When the last one was.
    Last,
    /// How many there were.
    Count,
}

const PLANS: [(Policy, Plan); 4] = [
    (Policy::None, Plan { name: "none", index: None, column: None, reads: ReadNotes::Nothing }),
    (
        Policy::LeastRecentlyStored,
        Plan {
            name: "least-recently-stored",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_store_time ON Cache (store_time)"),
            column: Some("store_time"),
            reads: ReadNotes::Nothing,
        },
    ),
    (
        Policy::LeastRecentlyUsed,
        Plan {
            name: "least-recently-used",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_access_time ON Cache (access_time)"),
            column: Some("access_time"),
            reads: ReadNotes::Last,
        },
    ),
    (
        Policy::LeastFrequentlyUsed,
        Plan {
            name: "least-frequently-used",
            index: Some("CREATE INDEX IF NOT EXISTS Cache_access_count ON Cache (access_count)"),
            column: Some("access_count"),
            reads: ReadNotes::Count,
        },
    ),
];

/// The most reads that a note counts. Read as bits, no time since 1970 is as small a number.
const MOST: u64 = 1 << 32;

impl ReadNotes {
    const ALL: [Self; 3] = [Self::Nothing, Self::Last, Self::Count];

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn of(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Nothing)
    }

    /// What the hot tier notes of the reads of a key after one more: their number, or when it was.
    pub fn note(self, before: u64, clock: &Clock) -> u64 {
        match self {
            Self::Nothing => before,
            Self::Last => clock.recently().to_bits(),
            // A time if the policy was another.
            Self::Count if before > MOST => 1,
            Self::Count => (before + 1).min(MOST),
        }
    }
}

/// Time and number of the reads that a note stands for, as far as it says.
pub(crate) fn noted(note: u64) -> (Timestamp, i64) {
    if note > MOST { (Timestamp::from_bits(note), 0) } else { (0.0, note.cast_signed()) }
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

    /// The names of all policies, as a choice in words.
    pub(crate) fn names() -> String {
        let (last, others) = PLANS.split_last().expect("there are policies");
        let others: Vec<_> = others.iter().map(|(_, plan)| format!("'{}'", plan.name)).collect();
        format!("{} or '{}'", others.join(", "), last.1.name)
    }

    /// The policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        PLANS.iter().find(|(_, plan)| plan.name == name).map(|(policy, _)| *policy)
    }
}
