//! Owns removing many entries because a caller asks for it: by keys, age, tag, policy, or all. What keeps a cache within its
//! limit by itself is in `store/evict.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use dolium_hot::{Cell, Counter, PendingRecord, Tier, View};

use crate::sqlite::evict::{Excess, Spared, used_bytes};
use crate::sqlite::read::Expiring;
use crate::sqlite::tier::cell;
use crate::sqlite::{Write, read};
use crate::store::Handle;
use crate::store::evict::{STEP, level};
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::wait::{Deadline, Wait};
use crate::value::eviction_policy::ReadNotes;
use crate::value::key::Key;
use crate::value::put_options::{PutOptions, is_alive};
use crate::value::scalar::Scalar;

use super::Cache;
use super::bulk::count;
use super::bulk_item::{Change, Content, Item, Last};
use super::hot::fit;
use super::long::{self, Work};

/// Entries with one tag up to which the tier removes them.
const FEW: u32 = 512;

/// Bytes of log that may wait to be drained when it does: to drain more takes no longer than to read it.
const LITTLE: u64 = 64 << 10;

/// How often it tries while other writers are faster.
const TRIES: u32 = 2;

/// The changes that no drain has reached, as far as tags go.
struct Waiting {
    /// The newest record of each key, and whether it has the tag. Without a row it has none.
    newest: HashMap<(u8, Vec<u8>), (Expiring, bool)>,
}

impl Waiting {
    /// Returns `None` where a drain is the better way to know.
    fn look(tier: &Tier, tag: &Scalar) -> Option<Self> {
        let mut newest = HashMap::new();
        let mut is_clear = true;
        tier.follow(tier.drained_to(), LITTLE, |view| {
            let has_tag = if view.kind().has_row() { has_tag(&view, tag) } else { Some(false) };
            match (Key::from_hot(view.key()), has_tag) {
                (Some(key), Some(has_tag)) => {
                    let place = (view.key().kind, view.key().bytes.to_vec());
                    newest.insert(place, ((key, view.expire_time()), has_tag));
                }
                _ => is_clear = false,
            }
        })?;
        is_clear.then_some(Self { newest })
    }

    /// The keys of all entries with the tag. Returns `None` if one has expired: a drain may remove it before it counts.
    fn tagged(self, stored: Vec<Expiring>, now: Timestamp) -> Option<Vec<Key<'static>>> {
        let is_newer =
            |key: &Key<'_>| key.with_hot(|hot| self.newest.contains_key(&(hot.kind, hot.bytes.to_vec())));
        let mut found: Vec<_> = stored.into_iter().filter(|(key, _)| !is_newer(key)).collect();
        let waiting = self.newest.into_values().filter(|(_, has_tag)| *has_tag);
        found.extend(waiting.map(|(expiring, _)| expiring));
        let lives = found.iter().all(|(_, expire_time)| is_alive(*expire_time, now));
        lives.then(|| found.into_iter().map(|(key, _)| key).collect())
    }
}

/// Whether the row of a record has a tag. Returns `None` where only SQLite can tell: an integer may equal a float.
fn has_tag(view: &View<'_>, tag: &Scalar) -> Option<bool> {
    match (view.tag()?, tag) {
        (Cell::Int(_), Scalar::Real(_)) | (Cell::Real(_), Scalar::Int(_)) => None,
        (_, Scalar::Null) => Some(false),
        (found, tag) => Some(found == cell(tag)),
    }
}

impl Cache {
    /// Removes many entries, all or none of them. Returns how many there were.
    pub fn delete_many(&self, keys: &[Key<'_>]) -> Result<usize> {
        let outcomes = self.change_many(&mut removals(keys), &PutOptions::default(), Change::Present)?;
        Ok(count(&outcomes))
    }

    /// Removes keys of which the tier knows that each has a row. Returns how many have not expired, or `None` if nothing has
    /// happened.
    fn remove_present(&self, tier: &Tier, keys: &[Key<'_>]) -> Option<usize> {
        let (mut records, mut offsets) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        // A key that comes twice is where it was.
        let mut last = Last::of(keys.len());
        let mut alive = 0;
        for (at, key) in keys.iter().enumerate() {
            key.with_hot(|hot| {
                let look = |view: View<'_>| (view.kind().has_row(), view.offset(), self.is_alive(&view));
                let (has_row, offset, is_alive) = tier.get(hot, |view, _| look(view))?;
                if has_row && last.note(offset, at).is_none() {
                    records.push(PendingRecord::delete(hot));
                    offsets.push(offset);
                    alive += usize::from(is_alive);
                }
                has_row.then_some(())
            })?;
        }
        if records.is_empty() {
            return Some(0);
        }
        if !fit(tier, &records) || !tier.try_append_all_over(&mut records, &offsets) {
            return None;
        }
        tier.count(Counter::Deletes, records.len() as u64);
        self.handle.after_append(tier);
        Some(alive)
    }

    /// Removes the entries that have expired by `now`, by default the current time. Returns how many.
    pub fn expire(&self, now: Option<Timestamp>) -> Result<usize> {
        let now = now.unwrap_or_else(|| self.clock.now());
        let removed = self.in_steps(|write| write.remove_expired(now, STEP))?;
        self.handle.tier.count(Counter::Expirations, removed as u64);
        Ok(removed)
    }

    /// Removes the entries with a tag. Returns how many.
    pub fn evict(&self, tag: &Scalar) -> Result<usize> {
        match self.evict_hot(tag)? {
            Some(removed) => Ok(removed),
            None => self.in_steps(|write| write.remove_tagged(tag, STEP)),
        }
    }

    /// As one chunk of the log, if few entries have the tag and little waits to be drained. Entries with the tag are those
    /// in the log, and those in the database of which the log knows nothing newer. That is true of one moment if nothing
    /// has changed in between. Returns `None` if a direct write is needed.
    fn evict_hot(&self, tag: &Scalar) -> Result<Option<usize>> {
        let Some(tier) = self.tier_to_change()? else { return Ok(None) };
        self.handle.detect_foreign_writes_once()?;
        let deadline = Deadline::new(self.wait);
        for _ in 0..TRIES {
            let Some(moment) = tier.moment() else { break };
            let Some(log) = Waiting::look(&tier, tag) else { break };
            let stored =
                self.handle.read_now(self.wait, |connection| Ok(read::tagged(connection, tag, FEW)?))?;
            let Some(keys) = stored.and_then(|stored| log.tagged(stored, self.clock.now())) else {
                break;
            };
            let mut records: Vec<_> = keys.iter().map(|key| key.with_hot(PendingRecord::delete)).collect();
            if !fit(&tier, &records) {
                break;
            }
            tier.prepare(&mut records);
            let Some(mut writing) = self.write_tier(&tier, &deadline)? else { break };
            if !tier.is_still(moment) {
                continue;
            }
            if !records.is_empty() {
                if writing.append_all(&mut records).is_err() {
                    break;
                }
                drop(writing);
                tier.count(Counter::Deletes, records.len() as u64);
                self.handle.after_append(&tier);
            }
            return Ok(Some(records.len()));
        }
        Ok(None)
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

    /// Removes all entries, or none if it fails. Returns how many.
    pub fn clear(&self) -> Result<usize> {
        self.clear_with(&mut |_| true)
    }

    /// The same. `watch` is called about every 50 ms with what is being done. If it returns `false`, the call ends with
    /// [`Error::Interrupted`], and no entry is removed.
    pub fn clear_with(&self, watch: &mut dyn FnMut(&'static str) -> bool) -> Result<usize> {
        long::run(self, watch, |cache, work| {
            work.enter("removing all entries")?;
            cache.clear_now(work)
        })
    }

    fn clear_now(&self, work: &Work) -> Result<usize> {
        let removed = self.handle.write(self.wait, |write| {
            work.again();
            let connection = write.connection();
            let removed = work.on(connection, || write.remove_all())?;
            work.complete()?;
            Ok(removed)
        });
        match removed {
            // Clearing is what users reach for when a store is damaged.
            Err(Error::Damaged { .. }) if !self.in_transaction() => {
                work.complete()?;
                let mut deadline = Deadline::new(self.wait);
                let held = self.handle.acquire(&mut deadline)?;
                self.handle.quarantine_locked(held.tier(), false)?;
                Ok(0)
            }
            // Removing takes space in the log. A new store takes less than the old one gives back.
            Err(Error::Full { .. }) if !self.in_transaction() => {
                work.complete()?;
                self.discard()
            }
            other => other,
        }
    }

    /// Removes the store itself and all value files.
    fn discard(&self) -> Result<usize> {
        let count = self.len()?;
        let names = self.handle.read(self.wait, |connection| Ok(read::filenames(connection)?))?;
        let mut deadline = Deadline::new(self.wait);
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

/// Removes many entries, if the hot tier knows all of these keys and that needs no waiting. Returns how many there were, or
/// `None` if nothing has happened: then call [`Cache::delete_many`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Key, host};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("question", "?")?;
/// assert!(cache.contains("question")?);
/// assert_eq!(host::try_delete_many(&cache, &[Key::from("question")]), Some(1));
/// assert_eq!(host::try_delete_many(&cache, &[Key::from("answer")]), None, "only the database can tell");
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn try_delete_many(cache: &Cache, keys: &[Key<'_>]) -> Option<usize> {
    if cache.in_transaction() {
        return None;
    }
    let removed = cache.handle.tier.with_tier_to_answer(|tier| cache.remove_present(tier, keys))?;
    removed.or_else(|| {
        let removals = &mut removals(keys);
        Some(count(&cache.try_change_many(removals, &PutOptions::default(), Change::Present)?))
    })
}

fn removals<'k>(keys: &'k [Key<'_>]) -> Vec<Item<'k, 'static>> {
    keys.iter().map(|key| Item { key: key.borrowed(), content: Content::Nothing }).collect()
}
