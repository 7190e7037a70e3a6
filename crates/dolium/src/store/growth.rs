//! Growing the hot tier: while keys that it had to let go of are asked for again, it is too small.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dolium_hot::{Counter, Tier, Writing};

use crate::store::Handle;
use crate::store::attempts::Attempts;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::memory;
use crate::system::wait::{Deadline, Wait};

/// One key of so many is watched.
const SAMPLED: u64 = 64;

/// How many watched keys are remembered at most. A key drives out the one before it in its place.
const PLACES: usize = 1 << 14;

/// The returns within this time count together: a few each hour are not worth the space.
const WINDOW: Duration = Duration::from_mins(1);

/// Bytes of log for each return that makes a tier too small: about an eighth of the entries that it holds. A key can return
/// only after the log has come round, so that reads have waited long enough by then.
const BYTES: u64 = 2048;

/// What part of the memory, of the free disk and of the size limit a tier takes at most.
const PART_OF_MEMORY: u64 = 8;
const PART_OF_DISK: u64 = 8;
const PART_OF_LIMIT: u64 = 4;

/// What a process knows of the keys that came into the tier again.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Marks of watched keys that this process has brought into the tier; 0 is none.
    brought: OnceLock<Box<[AtomicU32]>>,
    /// The epoch of the tier for which the marks hold: their hashes are of it.
    epoch: AtomicU64,
    /// When the window began, and what had been counted then.
    window: Mutex<Option<(Instant, u64, u64)>>,
}

impl Growth {
    /// Notes that a row came into the tier. Returns for how many returns it stands.
    pub fn returns(&self, epoch: u64, hash: u64) -> u64 {
        if !hash.is_multiple_of(SAMPLED) {
            return 0;
        }
        let places = self.brought.get_or_init(|| (0..PLACES).map(|_| AtomicU32::new(0)).collect());
        if self.epoch.swap(epoch, Relaxed) != epoch {
            places.iter().for_each(|place| place.store(0, Relaxed));
        }
        let (place, mark) = ((hash / SAMPLED) as usize % PLACES, (hash >> 32) as u32 | 1);
        if places[place].swap(mark, Relaxed) == mark { SAMPLED } else { 0 }
    }

    /// The returns of the window, of so many in all since the epoch began.
    fn recent(&self, epoch: u64, counted: u64) -> u64 {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match *window {
            Some((since, known, base)) if known == epoch && since.elapsed() < WINDOW => {
                counted - base.min(counted)
            }
            _ => {
                *window = Some((Instant::now(), epoch, counted));
                0
            }
        }
    }
}

impl Handle {
    /// The bytes to which the tier may grow, 0 if the cache says how large it is.
    pub(crate) fn most_hot_size(&self) -> u64 {
        if self.asked_hot_size().is_some_and(|size| size >= 0) {
            return 0;
        }
        let memory = memory::available() / PART_OF_MEMORY;
        let disk = files::free_bytes(&self.directory).unwrap_or(0) / PART_OF_DISK;
        let limit = self.settings.current().size_limit.map_or(u64::MAX, |limit| limit / PART_OF_LIMIT);
        (memory.min(disk) / self.shards.count().max(1)).min(limit)
    }

    /// Called by the housekeeper at each tick: lets a tier that is too small grow, if it may.
    pub(crate) fn grow_if_outgrown(self: &Arc<Self>, wait: Wait) {
        let Some(tier) = self.tier.get() else { return };
        let returns = self.reads.growth.recent(tier.epoch(), tier.counted(Counter::Returns));
        if returns * BYTES >= tier.capacity() && self.most_hot_size() > tier.capacity() {
            // A writer is in the way, perhaps: the next tick tries again. The notes of reads do not go along.
            let _ = self.write_reads(wait).and_then(|()| self.outgrow(&tier, &mut Deadline::new(wait)));
        }
    }

    /// Ends the tier in favour of a larger one, which the next use makes.
    fn outgrow(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        let mut attempts = Attempts::new(self, deadline);
        let (held, deadline) = attempts.lock()?;
        if held.tier().is_none_or(|held| held.epoch() != tier.epoch()) {
            return Err(Error::Replaced { path: self.database.clone() });
        }
        let mut writing = self.quiesce_tier(held, deadline)?;
        let _inside = fork_gate::enter();
        writing.iter_mut().for_each(Writing::outgrow);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> u64 {
        (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The returns that are counted when so many keys come so often.
    fn counted(keys: u64, times: u64) -> u64 {
        let growth = Growth::default();
        (0..times).flat_map(|_| 0..keys).map(|key| growth.returns(1, hash(key))).sum()
    }

    #[test]
    fn keys_that_come_once_do_not_return() {
        assert_eq!(counted(1_000_000, 1), 0);
    }

    #[test]
    fn keys_that_come_again_are_counted_about_as_often() {
        for keys in [10_000, 100_000] {
            let returns = counted(keys, 3);
            assert!((keys..3 * keys).contains(&returns), "{returns} of {keys}");
        }
    }

    #[test]
    fn another_epoch_begins_anew() {
        let growth = Growth::default();
        assert_eq!((growth.returns(1, 64), growth.returns(1, 64)), (0, SAMPLED));
        assert_eq!((growth.returns(2, 64), growth.returns(2, 64)), (0, SAMPLED));
    }
}
