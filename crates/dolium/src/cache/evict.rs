//! Owns removing many entries: by age, tag, policy, or all. Eviction is honest: only as much as is needed,
//! and never the entry that was just written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dolium_hot::Counter;
use rusqlite::Connection;

use crate::sqlite::statements::{self, counter};
use crate::sqlite::{Head, Write};
use crate::store::Handle;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::wait::Patience;
use crate::system::warning::Warning;
use crate::value::key::Key;
use crate::value::policy::{Policy, Reads};
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

use super::Cache;

/// Rows that one transaction removes at most, so that other writers get their turn.
const STEP: u32 = 100;

/// Bytes that a row costs beside its key and value: columns, and its places in the indexes.
const OVERHEAD: u64 = 128;

/// Each process looks again after this part of the room that is left, as if so many filled it at once...
const WRITERS: u64 = 16;

/// ...and after this part of the limit, so that even more of them cannot exceed it by far.
const PARTS: u64 = 256;

/// What a row of so many bytes of key and value takes.
pub(super) fn cost(bytes: u64) -> i64 {
    i64::try_from(bytes + OVERHEAD).unwrap_or(i64::MAX)
}

impl Cache {
    /// Removes the entries that have expired by `now`, by default the current time. Returns how many.
    pub fn expire(&self, now: Option<Timestamp>) -> Result<usize> {
        let now = now.unwrap_or_else(|| self.clock.now());
        let removed = self.in_steps(|write| write.remove_expired(now, STEP))?;
        self.handle.count(Counter::Expirations, removed as u64);
        Ok(removed)
    }

    /// Removes the entries with a tag. Returns how many.
    pub fn evict(&self, tag: &Scalar) -> Result<usize> {
        self.in_steps(|write| write.remove_tagged(tag, STEP))
    }

    /// Removes expired entries, then others by policy until the volume is within `size_limit`. Returns
    /// how many.
    pub fn cull(&self) -> Result<usize> {
        let expired = self.expire(None)?;
        Ok(expired + self.evict_by_policy(self.own_limit(), None)?)
    }

    /// Removes all entries. Returns how many.
    pub fn clear(&self) -> Result<usize> {
        // A closure: the method's name alone is not general enough in the lifetime of `Write`.
        #[expect(clippy::redundant_closure_for_method_calls, reason = "see above")]
        let removed = self.handle.write(self.patience, |write| write.remove_all());
        match removed {
            // Clearing is what users reach for when a store is damaged.
            Err(Error::Damaged { .. }) if !self.in_transaction() => {
                let mut deadline = crate::system::wait::Deadline::new(self.patience);
                let held = self.handle.acquire(&mut deadline)?;
                self.handle.set_aside_locked(held.tier(), false)?;
                Ok(0)
            }
            // Removing takes room in the log. A new store takes less than the old one gives back.
            Err(Error::Full { .. }) if !self.in_transaction() => self.discard(),
            other => other,
        }
    }

    /// Removes the store itself and all value files.
    fn discard(&self) -> Result<usize> {
        let count = self.len()?;
        let names = self.handle.read(self.patience, |connection| Ok(statements::filenames(connection)?))?;
        let mut deadline = crate::system::wait::Deadline::new(self.patience);
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
            match self.handle.write(self.patience, &mut step) {
                Ok(removed) if removed < STEP as usize => return Ok(total + removed),
                Ok(removed) => total += removed,
                Err(Error::Timeout { directory, waited, .. }) => {
                    return Err(Error::Timeout { directory, waited, done: total });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// After a write of so many bytes, last under that key: evicts if the cache has become too large. Measures only when enough
    /// was written since the last time for that to be possible.
    pub(crate) fn wrote(&self, key: &Key<'_>, bytes: u64) -> Result<()> {
        let cost = cost(bytes);
        let before = self.handle.room.fetch_sub(cost, Ordering::Relaxed);
        if before > cost || self.in_transaction() {
            return Ok(());
        }
        self.enforce_limit(Some(key))
    }

    /// Evicts what is too much, and notes how much may be written before it is to be looked at again. What was
    /// written last stays.
    pub(crate) fn enforce_limit(&self, last: Option<&Key<'_>>) -> Result<()> {
        let settings = self.handle.settings();
        if settings.size_limit.is_none() || settings.policy == Policy::None || settings.cull_limit == 0 {
            self.handle.room.store(i64::MAX / 2, Ordering::Relaxed);
            return Ok(());
        }
        if self.is_far_below_limit(settings.size_limit) {
            return Ok(());
        }
        let evicted = self.evict_by_policy(self.own_limit(), last).and_then(|_| self.relieve_largest());
        match evicted {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            // The write that brought us here is done, and may not be reported as failed. The next one tries again.
            _ => Ok(()),
        }
    }

    /// Whether less than half of the limit is used even if what waits in the tier takes twice its size there, which is
    /// known without draining it: most caches are, most of the time.
    fn is_far_below_limit(&self, limit: Option<u64>) -> bool {
        let Some(limit) = limit.filter(|_| self.group.is_none()) else { return false };
        if self.handle.files_wait.load(Ordering::Relaxed) || self.in_transaction() {
            return false;
        }
        // Before the look at the database: what is drained between them counts twice.
        let waiting = self.handle.tier().map_or(0, |tier| tier.dirty_bytes());
        match self.handle.read_now(self.patience, |connection| used_bytes(connection)) {
            Ok(used) if used.saturating_add(2 * waiting) < limit / 2 => {
                self.leave_room(limit, used + 2 * waiting);
                true
            }
            _ => false,
        }
    }

    fn leave_room(&self, limit: u64, used: u64) {
        let room = i64::try_from(((limit - used) / WRITERS).min(limit / PARTS)).unwrap_or(i64::MAX);
        self.handle.room.store(room, Ordering::Relaxed);
    }

    /// As a shard: evicts elsewhere if all shards together are too large.
    fn relieve_largest(&self) -> Result<()> {
        if self.group.is_some() {
            let used = measure(&self.handle, self.patience)?;
            if let Some((other, limit)) = self.balance(used)? {
                other.evict_by_policy(Some(limit), None)?;
            }
        }
        Ok(())
    }

    /// What this directory may hold: the limit, or as a shard what the others leave of theirs.
    fn own_limit(&self) -> Option<u64> {
        let limit = self.handle.settings().size_limit?;
        Some(self.group.as_ref().map_or(limit, |group| group.allowance(&self.handle, limit)))
    }

    /// The limit of the whole cache.
    pub(crate) fn total_limit(&self, settings: &Settings) -> Option<u64> {
        let shards = self.group.as_ref().map_or(1, |group| group.shards());
        settings.size_limit.map(|limit| limit.saturating_mul(shards))
    }

    fn evict_by_policy(&self, limit: Option<u64>, last: Option<&Key<'_>>) -> Result<usize> {
        let settings = self.handle.settings();
        let (Some(limit), Some(column)) = (limit, settings.policy.plan().column) else {
            return Ok(0);
        };
        let mut total = 0;
        self.handle.files_wait.store(false, Ordering::Relaxed);
        loop {
            let used = measure(&self.handle, self.patience)?;
            if used <= limit {
                self.leave_room(limit, used);
                return Ok(total);
            }
            if settings.policy.plan().reads != Reads::Nothing {
                self.write_pending_quietly();
            }
            let now = self.clock.now();
            let removed = self.handle.write(self.patience, |write| {
                // Others may have evicted while we waited for our turn.
                let excess = used_bytes(write.connection())?.saturating_sub(limit);
                if excess == 0 {
                    return Ok(None);
                }
                Ok(Some(match write.remove_expired(now, STEP)? {
                    0 => write.remove_by_policy(column, excess, last)?,
                    expired => expired,
                }))
            })?;
            let Some(removed) = removed else { continue };
            if removed == 0 {
                return Ok(total);
            }
            total += removed;
            self.handle.evictions.evicted.fetch_add(removed as u64, Ordering::Relaxed);
            self.handle.count(Counter::Evictions, removed as u64);
            self.handle.warnings.add(Warning::Evicting {
                directory: self.handle.directory.clone(),
                size_limit: self.total_limit(&settings).unwrap_or(limit),
            });
        }
    }
}

/// Bytes in use: pages of the database that hold something, and value files.
pub(crate) fn measure(handle: &Arc<Handle>, patience: Patience) -> Result<u64> {
    handle.read(patience, |connection| used_bytes(connection))
}

fn used_bytes(connection: &Connection) -> Result<u64> {
    let (pages, free) = statements::page_bytes(connection)?;
    let used = (pages - free).saturating_add(counter(connection, "size")?);
    Ok(u64::try_from(used).unwrap_or(0))
}

/// Selects entries in the order of a policy. Neither the order nor what is excepted may need a scan: the
/// policies have one index each.
fn candidates(column: &str) -> String {
    format!(
        "SELECT rowid, expire_time, size, filename, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)
         FROM Cache WHERE rowid IS NOT ?2 AND rowid != (SELECT max(rowid) FROM Cache) ORDER BY {column} LIMIT ?1"
    )
}

impl Write<'_> {
    /// Removes entries that have expired, at most `limit`. Returns how many.
    pub(crate) fn remove_expired(&mut self, now: Timestamp, limit: u32) -> Result<usize> {
        self.remove_expired_but(now, limit, &[])
    }

    /// The same, sparing some rows.
    pub(crate) fn remove_expired_but(&mut self, now: Timestamp, limit: u32, but: &[i64]) -> Result<usize> {
        const SELECT: &str = "SELECT rowid, expire_time, size, filename, 0 FROM Cache
            WHERE expire_time IS NOT NULL AND expire_time <= ?1 ORDER BY expire_time LIMIT ?2";
        let mut found = self.heads(SELECT, (now, limit))?;
        found.retain(|(head, _)| !but.contains(&head.rowid));
        self.remove_heads(&found)
    }

    fn remove_tagged(&mut self, tag: &Scalar, limit: u32) -> Result<usize> {
        const SELECT: &str =
            "SELECT rowid, expire_time, size, filename, 0 FROM Cache WHERE tag = ?1 LIMIT ?2";
        let found = self.heads(SELECT, (tag, limit))?;
        self.remove_heads(&found)
    }

    /// Removes entries in the order of a policy until about `excess` bytes are freed, one step at most.
    /// What was written last stays, and what was inserted last, whatever the policy thinks of it.
    fn remove_by_policy(&mut self, column: &str, excess: u64, last: Option<&Key<'_>>) -> Result<usize> {
        let last = last.map(|key| self.head(key)).transpose()?.flatten().map(|head| head.rowid);
        let mut freed = 0;
        let mut found = self.heads(&candidates(column), (STEP, last))?;
        let needed = found.iter().position(|(head, inline)| {
            let bytes = u64::try_from(head.size.saturating_add(*inline)).unwrap_or(0);
            freed = u64::saturating_add(freed, bytes).saturating_add(OVERHEAD);
            freed >= excess
        });
        found.truncate(needed.map_or(found.len(), |last| last + 1));
        self.remove_heads(&found)
    }

    fn heads(&self, select: &str, arguments: impl rusqlite::Params) -> Result<Vec<(Head, i64)>> {
        let mut select = self.connection().prepare_cached(select)?;
        let rows = select.query_map(arguments, |row| {
            let head = Head {
                rowid: row.get(0)?,
                expire_time: statements::real(row, 1)?,
                size: statements::int(row, 2)?,
                filename: statements::text(row, 3)?,
            };
            Ok((head, row.get(4)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn remove_heads(&mut self, found: &[(Head, i64)]) -> Result<usize> {
        for (head, _) in found {
            self.remove_and_name(head)?;
        }
        Ok(found.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_policy_scans_for_what_it_evicts() -> Result<()> {
        for policy in [Policy::LeastRecentlyStored, Policy::LeastRecentlyUsed, Policy::LeastFrequentlyUsed] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let cache = Cache::builder(directory.path()).policy(policy).open()?;
            let column = policy.plan().column.expect("this policy evicts");
            let explain = format!("EXPLAIN QUERY PLAN {}", candidates(column));
            let plan = cache.sql(&explain, &[Scalar::Int(1), Scalar::Int(1)])?;
            let steps: Vec<_> = plan.rows.iter().filter_map(|row| row.last()?.as_text()).collect();
            let ordered = format!("SCAN Cache USING INDEX Cache_{column}");
            assert_eq!(steps, [&ordered, "SCALAR SUBQUERY 1", "SEARCH Cache"], "{policy:?}");
        }
        Ok(())
    }
}
