//! Owns removing many entries: by age, tag, policy, or all. Eviction is honest: only as much as is needed,
//! and never the entry that was just written.

use std::sync::Arc;

use dolium_hot::Counter;

use crate::sqlite::evict::{OVERHEAD, used_bytes};
use crate::sqlite::{Write, statements};
use crate::store::Handle;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::wait::Wait;
use crate::system::warning::Warning;
use crate::value::key::Key;
use crate::value::policy::{Policy, ReadNotes};
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

use super::Cache;

/// Rows that one transaction removes at most, so that other writers get their turn.
const STEP: u32 = 100;

/// Each process looks again after this part of the budget that is left, as if so many filled it at once...
const WRITERS: u64 = 16;

/// ...and after this part of the limit, so that even more of them cannot exceed it by far.
const PARTS: u64 = 256;

/// Bytes to write before a cache without a limit is looked at again: another process may have given it one.
const UNLIMITED: i64 = 64 << 20;

/// What a row of so many bytes of key and value takes.
pub(super) fn cost(bytes: u64) -> i64 {
    i64::try_from(bytes + OVERHEAD).unwrap_or(i64::MAX)
}

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
        Ok(expired + self.evict_to_limit(None, Scope::This)?)
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
        let names = self.handle.read(self.wait, |connection| Ok(statements::filenames(connection)?))?;
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

    /// Notes a write of so many bytes, the last of them under that key, and evicts if the cache has become too large.
    /// Measures only when enough was written since the last time for that to be possible.
    pub(crate) fn wrote(&self, key: &Key<'_>, bytes: u64) -> Result<()> {
        let cost = cost(bytes);
        let before = self.handle.volume.spend(cost);
        if before > cost || self.in_transaction() {
            return Ok(());
        }
        self.enforce_limit(Some(key))
    }

    /// Evicts entries until the limit is kept, and sets how many bytes may be written before the next look. The entry
    /// `last`, which was written last, stays.
    pub(crate) fn enforce_limit(&self, last: Option<&Key<'_>>) -> Result<()> {
        self.handle.refresh_limit();
        let settings = self.handle.settings.current();
        if settings.size_limit.is_none() || settings.policy == Policy::None || settings.cull_limit == 0 {
            self.handle.volume.set_budget(UNLIMITED);
            return Ok(());
        }
        if self.is_far_below_limit(&settings) {
            return Ok(());
        }
        match self.evict_to_limit(last, Scope::All) {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            // The write that brought us here is done, and may not be reported as failed. The next one tries again.
            _ => Ok(()),
        }
    }

    /// Returns whether less than half of the limit is used, even if the dirty records take twice their size in the
    /// database. That needs no drain, and it is true of most caches, most of the time.
    fn is_far_below_limit(&self, settings: &Settings) -> bool {
        let Some(limit) = self.total_limit(settings) else { return false };
        let has_no_files = |shard: &Arc<Handle>| !shard.volume.expects_files();
        if self.in_transaction() || !self.together().iter().all(has_no_files) {
            return false;
        }
        let used = self.together().iter().map(|shard| estimate(shard, self.wait)).sum::<Result<u64>>();
        let is_far_below = used.as_ref().is_ok_and(|used| *used < limit / 2);
        if let (true, Ok(used)) = (is_far_below, used) {
            self.set_budget(limit, used);
        }
        is_far_below
    }

    /// Each shard gets a part of the budget, because this process may write to all.
    fn set_budget(&self, limit: u64, used: u64) {
        let budget = (limit.saturating_sub(used) / WRITERS).min(limit / PARTS) / self.together().len() as u64;
        for shard in self.together() {
            shard.volume.set_budget(i64::try_from(budget).unwrap_or(i64::MAX));
        }
    }

    /// All shards that have one limit; a cache without shards is alone.
    fn together(&self) -> &[Arc<Handle>] {
        self.group.as_ref().map_or(std::slice::from_ref(&self.handle), |group| group.members())
    }

    /// The limit of the whole cache.
    pub(crate) fn total_limit(&self, settings: &Settings) -> Option<u64> {
        settings.size_limit.map(|limit| limit.saturating_mul(self.together().len() as u64))
    }

    /// Evicts until all shards together are within the limit, the fullest first, down to one level. What was written
    /// last, under that key, stays. Returns how many entries have gone.
    fn evict_to_limit(&self, last: Option<&Key<'_>>, scope: Scope) -> Result<usize> {
        let settings = self.handle.settings.current();
        let Some(limit) = self.total_limit(&settings) else { return Ok(0) };
        // A thread that has one shard locked must not wait for another: the next one may do the reverse.
        let is_bound =
            self.group.is_some() && self.together().iter().any(|shard| shard.transaction.is_of_thread());
        let volumes = self.together().iter().map(|shard| {
            let volume = if is_bound && !shard.transaction.is_own() { estimate } else { measure };
            volume(shard, self.wait)
        });
        let mut volumes = volumes.collect::<Result<Vec<u64>>>()?;
        let is_own = |place: usize| Arc::ptr_eq(&self.together()[place], &self.handle);
        let own = (0..volumes.len()).find(|place| is_own(*place)).unwrap_or_default();
        let mut removed = 0;
        let own_level = level(&volumes, limit);
        if volumes[own] > own_level {
            let (count, volume) = self.evict_to(own_level, last)?;
            removed += count;
            volumes[own] = volume;
        }
        if volumes.iter().sum::<u64>() > limit && scope == Scope::All && !is_bound {
            // What stays here, since it was written last, the others give up.
            let others: Vec<u64> =
                (0..volumes.len()).filter(|place| !is_own(*place)).map(|place| volumes[place]).collect();
            let level = level(&others, limit.saturating_sub(volumes[own]));
            for place in (0..volumes.len()).filter(|place| !is_own(*place)) {
                if volumes[place] > level {
                    let shard = Self { handle: Arc::clone(&self.together()[place]), ..self.clone() };
                    let (count, volume) = shard.evict_to(level, None)?;
                    removed += count;
                    volumes[place] = volume;
                }
            }
        }
        let used = volumes.iter().sum();
        if used <= limit {
            self.set_budget(limit, used);
        }
        Ok(removed)
    }

    /// Warns, once, of eviction at a limit that no program has asked for.
    fn tell_of_default_limit(&self, settings: &Settings) {
        let limit = self.total_limit(settings).filter(|limit| self.handle.is_default_limit(*limit));
        let first = &self.together()[0];
        if let Some(size_limit) = limit {
            first.warnings.add(Warning::Evicting { directory: first.directory.clone(), size_limit });
        }
    }

    /// Evicts until this directory holds so many bytes at most. Returns how many entries have gone, and the bytes that
    /// are left.
    fn evict_to(&self, level: u64, last: Option<&Key<'_>>) -> Result<(usize, u64)> {
        let settings = self.handle.settings.current();
        let mut total = 0;
        // The newest entry of a cache stays, but another shard may need its space.
        let mut protection =
            if self.group.is_some() && last.is_none() { Protection::NewestFirst } else { Protection::Newest };
        self.handle.volume.expect_no_file();
        loop {
            let used = measure(&self.handle, self.wait)?;
            let Some(column) = settings.policy.plan().column.filter(|_| used > level) else {
                return Ok((total, used));
            };
            if settings.policy.plan().reads != ReadNotes::Nothing {
                self.write_pending_quietly();
            }
            let now = self.clock.now();
            let removed = self.handle.write(self.wait, |write| {
                // Others may have evicted while we waited for our turn.
                let excess = used_bytes(write.connection())?.saturating_sub(level);
                if excess == 0 {
                    return Ok(None);
                }
                Ok(Some(match write.remove_expired(now, STEP)? {
                    0 => {
                        let spares_newest = protection != Protection::Nothing;
                        write.remove_by_policy(column, excess, last, spares_newest, STEP)?
                    }
                    expired => expired,
                }))
            })?;
            match removed {
                None => {}
                Some(0) if protection == Protection::NewestFirst => protection = Protection::Nothing,
                Some(0) => return Ok((total, used)),
                Some(removed) => {
                    total += removed;
                    self.handle.volume.count_evicted(removed as u64);
                    self.handle.tier.count(Counter::Evictions, removed as u64);
                    self.tell_of_default_limit(&settings);
                }
            }
        }
    }
}

/// How far an eviction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// To this directory.
    This,
    /// To all shards that have one limit.
    All,
}

/// What becomes of the entry that was inserted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// It stays.
    Newest,
    /// It stays as long as there are others.
    NewestFirst,
    /// It goes like any other.
    Nothing,
}

/// Returns the level to which the fullest of these must be emptied, so that all together hold no more than `limit`.
fn level(volumes: &[u64], limit: u64) -> u64 {
    let mut sorted = volumes.to_vec();
    sorted.sort_unstable();
    let mut left = limit;
    for (place, volume) in sorted.iter().enumerate() {
        let part = left / (sorted.len() - place) as u64;
        if *volume > part {
            return part;
        }
        left -= volume;
    }
    u64::MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_shards_give_until_all_are_within_the_limit() {
        assert_eq!(level(&[10, 20, 30], 60), u64::MAX);
        assert_eq!(level(&[10, 20, 30], 50), 20);
        assert_eq!(level(&[10, 20, 30], 40), 15);
        assert_eq!(level(&[1250; 4], 1000), 250);
        assert_eq!(level(&[100, 5000, 5000], 1000), 450);
        assert_eq!(level(&[], 7), u64::MAX);
    }
}
