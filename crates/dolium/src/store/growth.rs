//! The size of the hot tier. It begins small, and is too small while keys that it had to let go of are asked for again, or
//! while more is written than it takes. Where the disk runs short it shrinks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dolium_hot::{Counter, SizeReason, Successor, Tier};

use crate::sqlite::{read, schema};
use crate::store::Handle;
use crate::store::warming::Warming;
use crate::system::error::Result;
use crate::system::files;
use crate::system::fork_gate;
use crate::system::memory;
use crate::system::wait::{Deadline, Wait};
use crate::value::eviction_policy::ReadNotes;
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

/// One key of so many is watched.
const SAMPLED: u64 = 64;

/// How many watched keys are remembered at most. A key drives out the one before it in its place.
const PLACES: usize = 1 << 14;

/// The returns within this time count together: a few each hour are not worth the space.
const WINDOW: Duration = Duration::from_mins(1);

/// Bytes of log for each return that makes a tier too small: about an eighth of the entries that it holds. A key can return
/// only after the log has come round, so that reads have waited long enough by then.
const BYTES: u64 = 2048;

/// How many times as large a tier to which keys return becomes at least.
const GROWTH: u64 = 4;

/// Bytes of log for each entry of the database, so that the index has a slot for it, too.
const ENTRY: u64 = 224;

/// The size that a tier begins with, if the setting `hot_size` leaves it to us. The shards of a cache share it.
const FIRST: u64 = 256 << 10;

/// The least of it: the smallest tier that there is.
const LEAST: u64 = 64 << 10;

/// The size to which a tier grows at once when more is written than it takes; the shards share it. What is written to more
/// waits for the database anyway.
const WRITTEN: u64 = 16 << 20;

/// Of `size_limit`, what writing and the first size take at most.
const PART_OF_WRITES: u64 = 16;

/// Free bytes of the file system that no tier takes, and below which one that has grown shrinks.
const SCARCE: u64 = 64 << 20;

/// How long the free bytes are not looked at again, and a tier that could not grow does not try again.
const REST: Duration = Duration::from_secs(1);

/// How long a writer waits for the writer lock to let the tier grow. Then it drains, as others do.
const TURN: Duration = Duration::from_millis(2);

/// How long it waits for the append lock after that.
const ENDING: Duration = Duration::from_secs(1);

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
    /// Since the free bytes were looked at.
    looked: Rest,
    /// Since a tier was to grow for reads and could not.
    failed: Rest,
    /// What the housekeeper brings into a tier that takes all.
    pub(super) warming: Mutex<Option<Warming>>,
}

/// The time after something in which it is not done again.
#[derive(Debug, Default)]
struct Rest(Mutex<Option<Instant>>);

impl Rest {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_over(&self) -> bool {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_none_or(|since| since.elapsed() >= REST)
    }
}

impl Growth {
    /// Notes that a row came into the tier. Returns for how many returns it stands.
    pub fn returns(&self, epoch: u64, hash: u64) -> u64 {
        if !hash.is_multiple_of(SAMPLED) {
            return 0;
        }
        let places = fork_gate::init(&self.brought, || (0..PLACES).map(|_| AtomicU32::new(0)).collect());
        if self.epoch.swap(epoch, Relaxed) != epoch {
            places.iter().for_each(|place| place.store(0, Relaxed));
        }
        let (place, mark) = ((hash / SAMPLED) as usize % PLACES, (hash >> 32) as u32 | 1);
        if places[place].swap(mark, Relaxed) == mark { SAMPLED } else { 0 }
    }

    /// Whether it is time to look at the free bytes.
    fn is_look_due(&self) -> bool {
        let is_due = self.looked.is_over();
        if is_due {
            self.looked.begin();
        }
        is_due
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
    /// What the cache, or for this process the environment, says about the bytes of a tier.
    pub(crate) fn asked_hot_size(&self) -> Option<i64> {
        asked_hot_size(&self.settings.current())
    }

    /// Whether the size of the tier is ours to choose.
    fn may_choose_size(&self) -> bool {
        self.asked_hot_size().is_none_or(|size| size < 0)
    }

    /// Bytes of the tier that this process would make.
    pub(crate) fn hot_size(self: &Arc<Self>) -> u64 {
        let asked = if self.settings.is_loaded() {
            self.asked_hot_size()
        } else {
            let _inside = fork_gate::enter();
            // Opening the database reads the settings. What is wrong with it will be met again.
            let _: Result<()> = self.try_read(&mut |_| Ok(()));
            // A shard that is not made yet will have those of the first.
            let inherited =
                if self.settings.is_loaded() { None } else { self.settings_of_first().ok().flatten() };
            inherited.map_or_else(|| self.asked_hot_size(), |inherited| asked_hot_size(&inherited))
        };
        // Negative: as much as fits the cache.
        if let Ok(size) = u64::try_from(asked.unwrap_or(-1)) {
            return size;
        }
        // Where less is free than writing would let it take, the databases need it. All shards take as much, so each of them
        // counts all.
        let needed = self.share(WRITTEN) * self.shards.count().max(1);
        let is_scarce = files::free_bytes(&self.directory).is_some_and(|free| free <= needed);
        if is_scarce { 0 } else { self.share(FIRST) }
    }

    /// What one shard has of so many bytes, within the limit.
    fn share(&self, bytes: u64) -> u64 {
        let limit = self.settings.current().size_limit.map_or(u64::MAX, |limit| limit / PART_OF_WRITES);
        (bytes / self.shards.count().max(1)).min(limit).max(LEAST)
    }

    /// The bytes to which the tier grows at once for what is written, 0 if the cache says how large it is.
    pub(super) fn hot_size_for_writes(&self) -> u64 {
        if self.may_choose_size() { self.share(WRITTEN) } else { 0 }
    }

    /// The bytes to which the tier may grow, 0 if the cache says how large it is.
    pub(crate) fn most_hot_size(&self) -> u64 {
        if !self.may_choose_size() {
            return 0;
        }
        let memory = memory::available() / PART_OF_MEMORY;
        let free = files::free_bytes(&self.directory).unwrap_or(0);
        let disk = free.saturating_sub(SCARCE) / PART_OF_DISK;
        let limit = self.settings.current().size_limit.map_or(u64::MAX, |limit| limit / PART_OF_LIMIT);
        (memory.min(disk) / self.shards.count().max(1)).min(limit)
    }

    /// Called by the housekeeper at each tick: lets a tier that is too small grow, if it may, and one that has grown shrink
    /// where the disk runs short.
    pub(crate) fn fit_tier(self: &Arc<Self>, wait: Wait) {
        let Some(tier) = self.tier.get() else { return };
        let growth = &self.reads.growth;
        let returns = growth.recent(tier.epoch(), tier.counted(Counter::Returns));
        if returns * BYTES >= tier.capacity() {
            // A writer is in the way, perhaps.
            if growth.failed.is_over() && self.grow_for_reads(&tier, wait).is_err() {
                growth.failed.begin();
            }
        } else if self.is_too_large(&tier) {
            let next = Next { bytes: self.share(FIRST), why: SizeReason::Disk, successor: None };
            // The next look tries again.
            let _ = self.replace_after_reads(&tier, next, wait);
        }
    }

    /// Lets a tier grow to which keys return, unless it may not, or has room for all.
    fn grow_for_reads(self: &Arc<Self>, tier: &Tier, wait: Wait) -> Result<()> {
        let (capacity, most) = (tier.capacity(), self.most_hot_size());
        if most <= capacity {
            return Ok(());
        }
        // What is asked for again proves the demand; so the tier need not find out its size in steps.
        let needed = self.hot_size_for_all(wait)?;
        // All entries have room, and those that return share a bucket of the index with too many.
        let with_room = needed.saturating_add(needed / 8);
        if (1..=capacity).contains(&with_room) && tier.is_in_first_lap() {
            return Ok(());
        }
        // An offset finds its place in the log fastest if that is as long as a power of two says.
        let rounded = needed.checked_next_power_of_two().unwrap_or(u64::MAX);
        let bytes = rounded.max(capacity * GROWTH).min(most);
        // While a writer has the lock for long, the file would be made in vain.
        drop(self.acquire(&mut Deadline::new(wait))?);
        let successor = self.tier.lock.prepare_successor(self, tier, bytes)?;
        let is_ended =
            self.replace_after_reads(tier, Next { bytes, why: SizeReason::Returns, successor }, wait)?;
        if is_ended && (1..=bytes).contains(&needed) {
            self.begin_warming(needed);
        }
        Ok(())
    }

    /// Ends the tier after the notes of reads are written, which do not go along.
    fn replace_after_reads(self: &Arc<Self>, tier: &Tier, next: Next, wait: Wait) -> Result<bool> {
        self.write_reads(wait)?;
        self.replace_tier(tier, next, wait, &mut Deadline::new(wait))
    }

    /// The bytes of a tier that takes all entries of the database; 0 if the database does not say how many there are.
    fn hot_size_for_all(self: &Arc<Self>, wait: Wait) -> Result<u64> {
        let (bytes, entries) = self.read_now(wait, |connection| {
            let (bytes, free) = read::page_bytes(connection)?;
            Ok((bytes - free, schema::counter(connection, "count")?))
        })?;
        let [bytes, entries] = [bytes, entries].map(|number| u64::try_from(number).unwrap_or(0));
        Ok(bytes.max(entries.saturating_mul(ENTRY)))
    }

    /// Whether a tier is larger than it began.
    pub(super) fn has_grown(&self, tier: &Tier) -> bool {
        self.may_choose_size() && tier.capacity() > self.share(FIRST)
    }

    /// Whether a tier has grown and the disk has run short since.
    fn is_too_large(&self, tier: &Tier) -> bool {
        self.has_grown(tier)
            && self.reads.growth.is_look_due()
            && files::free_bytes(&self.directory).is_some_and(|free| free < SCARCE)
    }

    /// Lets a tier grow that does not take what is being written: records of so many bytes, the longest of these as long.
    /// Returns whether it has come to its end, so that the next one may take them.
    pub(crate) fn grow_for_writes(self: &Arc<Self>, tier: &Tier, bytes: u64, longest: u64) -> bool {
        let wanted = self.hot_size_for_writes();
        // The parts of a log that one call and one record may take.
        if tier.capacity() >= wanted || bytes > wanted / 2 || longest > wanted / Tier::LONGEST_PART {
            return false;
        }
        let wanted = wanted.min(self.most_hot_size());
        if wanted <= tier.capacity() {
            return false;
        }
        let (turn, mut deadline) = (Wait::AtMost(TURN), Deadline::new(Wait::AtMost(ENDING)));
        let has_notes = self.settings.noted_reads() != ReadNotes::Nothing;
        let noted = if has_notes { self.write_reads(turn) } else { Ok(()) };
        noted
            .and_then(|()| {
                let next = Next { bytes: wanted, why: SizeReason::Writes, successor: None };
                self.replace_tier(tier, next, turn, &mut deadline)
            })
            .is_ok_and(|_| !tier.is_live())
    }

    /// Ends the tier in favour of the next one, which the next use makes if its file is not ready. Returns `false` if another
    /// process has ended it.
    fn replace_tier(
        self: &Arc<Self>,
        tier: &Tier,
        next: Next,
        turn: Wait,
        deadline: &mut Deadline,
    ) -> Result<bool> {
        let Next { bytes, why, successor } = next;
        let held = self.acquire(&mut Deadline::new(turn))?;
        if held.tier().is_none_or(|held| held.epoch() != tier.epoch()) {
            return Ok(false);
        }
        let Some(mut writing) = self.quiesce_tier(&held, deadline)? else { return Ok(false) };
        {
            let _inside = fork_gate::enter();
            if let Some(successor) = &successor {
                successor.enter();
            }
            writing.outgrow(bytes, why);
            drop((writing, held));
        }
        if let Some(successor) = successor {
            // If this fails the next use makes another.
            let _ = self.tier.lock.succeed(self, successor, turn);
        }
        Ok(true)
    }
}

/// The tier that comes after one that has not the right size.
struct Next {
    bytes: u64,
    why: SizeReason,
    successor: Option<Successor>,
}

/// What these settings, or for this process the environment, say about the bytes of a tier.
#[expect(clippy::disallowed_methods, reason = "the owner of this variable")]
fn asked_hot_size(settings: &Settings) -> Option<i64> {
    let asked = || std::env::var("DOLIUM_HOT_SIZE").ok().and_then(|size| size.parse().ok());
    settings.get("hot_size").and_then(Scalar::as_int).or_else(asked)
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

    /// Whether a tier ends when so many keys of so many entries return.
    #[cfg(target_os = "linux")]
    fn grows(entries: i64, returns: u64) -> bool {
        use crate::Cache;

        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).open().expect("cache");
        for key in 0..entries {
            cache.set(key, "value").expect("set");
            // Much that is dirty would let it grow, too.
            if key % 100 == 0 {
                cache.flush().expect("flush");
            }
        }
        cache.flush().expect("flush");
        let tier = cache.handle.tier.get().expect("tier");
        cache.handle.fit_tier(Wait::Forever);
        tier.count(Counter::Returns, returns);
        cache.handle.fit_tier(Wait::Forever);
        !tier.is_live()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_tier_grows_for_keys_that_return_if_it_has_no_room_for_all() {
        assert!(grows(3000, 1 << 20));
        assert!(!grows(3000, 10), "few return");
        assert!(!grows(100, 1 << 20), "all have room");
    }
}
