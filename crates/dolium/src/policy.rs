//! Owns the eviction policies, as data. How rows are removed is `cache::evict`'s business.

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
