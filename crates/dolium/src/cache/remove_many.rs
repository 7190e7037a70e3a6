//! Owns removing many entries because a caller asks for it: by age, tag, policy, or all. What keeps a cache within its
//! limit by itself is in `store/evict.rs`.

use std::sync::Arc;

use dolium_hot::Counter;

use crate::sqlite::evict::{Excess, Spared, used_bytes};
use crate::sqlite::{Write, read};
use crate::store::Handle;
use crate::store::evict::{STEP, level};
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::wait::Wait;
use crate::value::eviction_policy::ReadNotes;
use crate::value::scalar::Scalar;

use super::Cache;

impl Cache {
    /// Removes the entries that have expired by `now`, by default the current time. Returns how many.
    pub fn expire(&self, now: Option<Timestamp>) -> Result<usize> {
        let now = now.unwrap_or_else(|| self.clock.now());
        let removed = self.in_steps(|write| write.remove_expired(now, STEP))?;
        self.handle.tier.count(Counter::Expirations, removed as u64);
        Ok(removed)
    }

    /// Removes the entries with a tag. Returns how many.
    pub fn evict(&self, tag: &Scalar) -> Result<usize> {
        self.in_steps(|write| write.remove_tagged(tag, STEP))
    }

    /// Removes expired entries, then others by policy until the volume is within `size_limit`. Returns
    /// how many. As a shard: until what this one gives for all of them to be within their limit is gone.
    pub fn cull(&self) -> Result<usize> {
        self.handle.refresh_limit();
        let expired = self.expire(None)?;
        let settings = self.handle.settings.current();
        let Some(limit) = self.handle.total_limit(&settings) else { return Ok(expired) };
        let mut excess = Excess {
            level: level(&self.volumes()?, limit),
            now: self.clock.now(),
            // The newest entry of a cache stays, but another shard may need its space.
            spared: Spared::Newest,
        };
        let mut total = expired;
        loop {
            if settings.policy.plan().reads != ReadNotes::Nothing {
                self.write_pending_quietly();
            }
            let evict = |write: &mut Write<'_>| write.remove_excess(settings.policy, &excess, STEP, |_| true);
            match self.handle.write(self.wait, evict)? {
                None => return Ok(total),
                Some(0) => match excess.spared.fewer(self.group.is_some()) {
                    Some(spared) => excess.spared = spared,
                    None => return Ok(total),
                },
                Some(removed) => {
                    total += removed;
                    self.handle.count_evicted(removed, &settings);
                }
            }
        }
    }

    /// The bytes in use of all shards that have one limit, the dirty records included where this thread may wait for them
    /// to be drained; of a cache without shards its own.
    fn volumes(&self) -> Result<Vec<u64>> {
        let shards = self.group.as_ref().map_or(std::slice::from_ref(&self.handle), |group| group.members());
        // A thread that has one shard locked must not wait for another: the next one may do the reverse.
        let is_bound = self.group.is_some() && shards.iter().any(|shard| shard.transaction.is_of_thread());
        let volumes = shards.iter().map(|shard| {
            let volume = if is_bound && !shard.transaction.is_own() { estimate } else { measure };
            volume(shard, self.wait)
        });
        volumes.collect()
    }

    /// Removes all entries. Returns how many.
    pub fn clear(&self) -> Result<usize> {
        // A closure: the method's name alone is not general enough in the lifetime of `Write`.
        #[expect(clippy::redundant_closure_for_method_calls, reason = "see above")]
        let removed = self.handle.write(self.wait, |write| write.remove_all());
        match removed {
            // Clearing is what users reach for when a store is damaged.
            Err(Error::Damaged { .. }) if !self.in_transaction() => {
                let mut deadline = crate::system::wait::Deadline::new(self.wait);
                let held = self.handle.acquire(&mut deadline)?;
                self.handle.quarantine_locked(held.tier(), false)?;
                Ok(0)
            }
            // Removing takes space in the log. A new store takes less than the old one gives back.
            Err(Error::Full { .. }) if !self.in_transaction() => self.discard(),
            other => other,
        }
    }

    /// Removes the store itself and all value files.
    fn discard(&self) -> Result<usize> {
        let count = self.len()?;
        let names = self.handle.read(self.wait, |connection| Ok(read::filenames(connection)?))?;
        let mut deadline = crate::system::wait::Deadline::new(self.wait);
        let held = self.handle.acquire(&mut deadline)?;
        self.handle.discard_locked(held.tier())?;
        for name in &names {
            self.handle.values.remove(name);
        }
        Ok(count)
    }

    /// Repeats a step until it finds nothing more. After a timeout the error says what was removed.
    fn in_steps(&self, mut step: impl FnMut(&mut Write<'_>) -> Result<usize>) -> Result<usize> {
        let mut total = 0;
        loop {
            match self.handle.write(self.wait, &mut step) {
                Ok(removed) if removed < STEP as usize => return Ok(total + removed),
                Ok(removed) => total += removed,
                Err(Error::Timeout { directory, waited, .. }) => {
                    return Err(Error::Timeout { directory, waited, done: total });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns the bytes in use if the dirty records take twice their size in the database. Needs no drain.
fn estimate(handle: &Arc<Handle>, wait: Wait) -> Result<u64> {
    // Before the look at the database: what is drained between them counts twice.
    let waiting = handle.tier.get().map_or(0, |tier| tier.dirty_bytes());
    let used = handle.read_now(wait, |connection| Ok(used_bytes(connection)?))?;
    Ok(used.saturating_add(2 * waiting))
}

/// Bytes in use: pages of the database that hold something, and value files.
fn measure(handle: &Arc<Handle>, wait: Wait) -> Result<u64> {
    handle.read(wait, |connection| Ok(used_bytes(connection)?))
}
