//! Owns what users are told of the hot tier: whether there is one, why not, and what goes on in it.

use std::fmt;

use dolium_hot::{Observer, SizeReason, TierStats};

use crate::system::error::{Error, Result};

use super::Cache;

/// Why a directory has no hot tier now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierUnavailable {
    /// The file system is one of a network, where processes of several machines share no memory.
    Network,
    /// The setting `hot_size`, or `DOLIUM_HOT_SIZE` for this process, is 0.
    TurnedOff,
    /// No process uses the cache.
    Unused,
    /// Those who use the cache made none.
    Declined,
    /// The system refused one to those who use the cache: memory, a lock, a mode, space on the disk.
    Refused {
        /// What it refused, and how.
        reason: String,
    },
}

impl fmt::Display for TierUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "processes cannot share memory on the file system of a network",
            Self::TurnedOff => "turned off by hot_size = 0",
            Self::Unused => "no process uses the cache; the next that does makes one",
            Self::Declined => {
                "the processes that use the cache made none: they only read, have it turned off, or found the disk nearly full"
            }
            Self::Refused { reason } => return write!(f, "the system refuses it: {reason}"),
        })
    }
}

/// The hot tier of a directory, as all processes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotTierStatus {
    /// How many processes have attached to the directory: those that have written, or have read for a while.
    pub processes: u32,
    /// What goes on in the tier, or why there is none.
    pub stats: std::result::Result<TierStats, TierUnavailable>,
    /// Whether the setting `hot_size`, or `DOLIUM_HOT_SIZE` for this process, says how large it is.
    pub is_size_set: bool,
}

impl HotTierStatus {
    /// Why the tier has its size, for people. Empty without a tier.
    #[must_use]
    pub fn size_reason(&self) -> &'static str {
        match self.stats.as_ref().map(|stats| stats.sized) {
            Err(_) => "",
            Ok(SizeReason::Returns) => "keys that it had let go of came again",
            Ok(SizeReason::Writes) => "more was written than it took",
            Ok(SizeReason::Disk) => "the disk is nearly full",
            Ok(_) if self.is_size_set => "set by hot_size",
            Ok(_) => "as it began",
        }
    }

    /// That of a cache with these two shards. Of none, the reason of the first.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let stats = match (self.stats, other.stats) {
            (Ok(one), Ok(other)) => Ok(one.and(&other)),
            (Err(why), Err(_)) => Err(why),
            (one, other) => one.or(other),
        };
        let is_size_set = self.is_size_set || other.is_size_set;
        Self { processes: self.processes.max(other.processes), stats, is_size_set }
    }
}

impl Cache {
    /// The hot tier of the directory, as all processes see it. Writes nothing and attaches to nothing. A walk
    /// over the index: a tenth of a millisecond for 16 MiB.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use dolium::{Cache, Counter};
    ///
    /// let cache = Cache::open(dir.path())?;
    /// cache.set("answer", 42)?;
    /// cache.get("answer")?;
    /// let tier = cache.hot_tier()?;
    /// assert_eq!(tier.processes, 1);
    /// let stats = tier.stats.expect("it is on by default");
    /// assert_eq!((stats.counted(Counter::Sets), stats.counted(Counter::Hits)), (1, 1));
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn hot_tier(&self) -> Result<HotTierStatus> {
        let path = self.directory();
        // Where the system does not tell, no process is seen.
        let processes = dolium_hot::count_attached(path).unwrap_or(0);
        let others = || Ok::<_, Error>(self.handle.observer(self.wait)?.map(|(others, _)| others));
        let seen = match self.handle.tier.get() {
            Some(tier) => Some(tier.stats()),
            None => others()?.filter(Observer::is_live).map(|others| others.stats()),
        };
        let refused = || {
            let own = self.handle.tier.lock.refusal().map(|reason| reason.to_string());
            own.or_else(|| dolium_hot::note_in(path).filter(|_| processes > 0))
        };
        let why = || match () {
            () if self.handle.network => TierUnavailable::Network,
            () if self.handle.asked_hot_size() == Some(0) => TierUnavailable::TurnedOff,
            () => match refused() {
                Some(reason) => TierUnavailable::Refused { reason },
                None if processes == 0 => TierUnavailable::Unused,
                None => TierUnavailable::Declined,
            },
        };
        let is_size_set = self.handle.asked_hot_size().is_some_and(|size| size >= 0);
        Ok(HotTierStatus { processes, stats: seen.ok_or_else(why), is_size_set })
    }
}
