//! Owns bringing all entries of the database into a tier that has grown for them, a slice at a time.
//!
//! Each is a fill, as a read offers it: it comes only if the tier does not know its key, and nothing was committed since
//! the row was read. So nothing here needs a rule of its own, and a kill costs warmth alone.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dolium_hot::{PendingRecord, Tier};

use crate::sqlite::read;
use crate::store::{Handle, housekeeper};
use crate::system::error::Result;
use crate::system::fork_gate;
use crate::system::wait::Wait;

/// How long the housekeeper brings entries at once, all shards together, and how many with one statement: as long as those are
/// read, no commit may come.
const SLICE: Duration = Duration::from_millis(100);
const ROWS: u16 = 256;

/// How often the same rows are read because a commit came, or because more than this part of them did not come in.
const TRIES: u32 = 8;
const MISSING: usize = 16;

/// At how many ticks nothing may come in, because a process has the append lock all the while or the database cannot be read.
const IDLE: u32 = 200;

/// How often a slice is offered to a tier whose append lock others take.
const ROUNDS: usize = 32;

/// How far it has come.
#[derive(Debug)]
pub(crate) struct Warming {
    /// The bytes of a tier that takes all entries.
    needed: u64,
    /// The tier that gets them, once there is one.
    epoch: Option<u64>,
    /// The number of the last row.
    after: i64,
    /// How often the rows after it were read.
    tries: u32,
    /// At how many ticks nothing came in.
    idle: u32,
}

impl Handle {
    /// Has the housekeeper bring all entries into the tier that comes next, which takes so many bytes.
    pub(super) fn begin_warming(&self, needed: u64) {
        self.put_warming(Some(Warming { needed, epoch: None, after: 0, tries: 0, idle: 0 }));
    }

    fn put_warming(&self, warming: Option<Warming>) {
        let _inside = fork_gate::enter();
        *self.reads.growth.warming.lock().unwrap_or_else(PoisonError::into_inner) = warming;
    }

    /// Called by the housekeeper at each tick. Returns whether there is more to bring.
    pub(crate) fn warm_tier(self: &Arc<Self>, wait: Wait) -> bool {
        let warming = {
            let _inside = fork_gate::enter();
            self.reads.growth.warming.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let Some(mut warming) = warming else { return false };
        // The next use attaches to the tier.
        let Some(tier) = self.tier.get() else {
            self.put_warming(Some(warming));
            return true;
        };
        if warming.epoch != Some(tier.epoch()) {
            // Writes may have let it grow once more.
            warming = Warming { epoch: Some(tier.epoch()), after: 0, tries: 0, idle: 0, ..warming };
        }
        let is_more = tier.capacity() >= warming.needed
            && self.bring(&tier, &mut warming, wait).unwrap_or_else(|_| {
                warming.idle += 1;
                true
            })
            // Reads bring the rest.
            && warming.idle < IDLE;
        if is_more {
            self.put_warming(Some(warming));
        }
        is_more
    }

    /// Brings entries for a while. Returns whether there are more.
    fn bring(self: &Arc<Self>, tier: &Tier, warming: &mut Warming, wait: Wait) -> Result<bool> {
        let (since, shards) = (Instant::now(), self.shards.count().max(1));
        let most = SLICE / u32::try_from(shards).unwrap_or(u32::MAX);
        while since.elapsed() < most && !self.is_wanted() {
            // What lies in the log for long would have to go for it.
            if !tier.is_live() || !tier.is_in_first_lap() {
                return Ok(false);
            }
            let Some(slice) = self.read_slice(tier, warming.after, wait)? else { return Ok(false) };
            tier.prefault();
            let last = slice.last;
            match slice.offer(tier) {
                Offered::Nothing => {
                    warming.idle += 1;
                    return Ok(true);
                }
                Offered::Some if warming.tries < TRIES => warming.tries += 1,
                Offered::Some | Offered::All => (warming.after, warming.tries, warming.idle) = (last, 0, 0),
            }
        }
        Ok(true)
    }

    /// Whether another thread waits for the housekeeper: to fork, to end the process, or to close the directory.
    pub(super) fn is_wanted(&self) -> bool {
        fork_gate::is_wanted() || housekeeper::is_stopping() || self.is_closed()
    }

    /// Reads the rows after one; `None` if there are none.
    fn read_slice(self: &Arc<Self>, tier: &Tier, after: i64, wait: Wait) -> Result<Option<Slice>> {
        let commits = tier.commits();
        let (fills, last) = self.read_now(wait, |connection| {
            let found = read::fills_after(connection, after, ROWS)?;
            connection.count_reads(found.0.len());
            Ok(found)
        })?;
        Ok(last.map(|last| Slice { fills, last, commits }))
    }
}

/// Rows on their way into the tier.
struct Slice {
    fills: Vec<PendingRecord>,
    /// The number of the last row.
    last: i64,
    /// How many commits there had been before they were read.
    commits: u64,
}

impl Slice {
    /// Brings the rows into the tier.
    fn offer(mut self, tier: &Tier) -> Offered {
        tier.prepare(&mut self.fills);
        let all = self.fills.len();
        for _ in 0..ROUNDS {
            self.fills.retain_mut(|fill| !tier.try_fill(fill, self.commits) && !tier.knows(fill));
            if self.fills.is_empty() || tier.commits() != self.commits {
                break;
            }
            thread::yield_now();
        }
        if tier.commits() != self.commits {
            Offered::Some
        } else if self.fills.len() <= all / MISSING {
            Offered::All
        } else if self.fills.len() < all {
            Offered::Some
        } else {
            Offered::Nothing
        }
    }
}

/// What came in of a slice.
#[derive(Debug, PartialEq, Eq)]
enum Offered {
    /// All, or nearly: a bucket that is full takes no more.
    All,
    /// Not enough, or a commit came.
    Some,
    /// Nothing: a process has the append lock.
    Nothing,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::value::key::Key;
    use crate::{Cache, Value};

    const KEYS: i64 = 30;

    /// What happens between the reading of a slice and its arrival in a tier that knows none of its keys.
    fn between(happens: impl FnOnce(&Cache, &Tier) -> Result<()>) -> Result<(tempfile::TempDir, Cache)> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open()?;
        (0..KEYS).try_for_each(|key| cache.set(key, "old").map(drop))?;
        cache.flush()?;
        let tier = cache.handle.tier.get().expect("tier");
        tier.forget_clean();
        let slice = cache.handle.read_slice(&tier, 0, Wait::Forever)?.expect("rows");
        assert_eq!(i64::try_from(slice.fills.len()), Ok(KEYS));
        happens(&cache, &tier)?;
        slice.offer(&tier);
        Ok((directory, cache))
    }

    fn values(cache: &Cache) -> Vec<Option<Value>> {
        (0..KEYS).map(|key| cache.get(key).expect("get")).collect()
    }

    /// Of each three keys one is set, one deleted, and one stays.
    fn change(cache: &Cache) -> Result<()> {
        for key in 0..KEYS {
            match key % 3 {
                0 => drop(cache.set(key, "new")?),
                1 => drop(cache.delete(key)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn changed() -> Vec<Option<Value>> {
        let one = [Some("new".into()), None, Some("old".into())];
        (0..KEYS / 3).flat_map(|_| one.clone()).collect()
    }

    #[test]
    fn what_is_dirty_stays_if_a_slice_was_read_before() -> Result<()> {
        let (_directory, cache) = between(|cache, _| change(cache))?;
        assert_eq!(values(&cache), changed());
        Ok(())
    }

    #[test]
    fn what_was_drained_stays_if_a_slice_was_read_before() -> Result<()> {
        let (_directory, cache) = between(|cache, tier| {
            change(cache)?;
            cache.flush()?;
            // As if the log had come round.
            tier.forget_clean();
            Ok(())
        })?;
        assert_eq!(values(&cache), changed());
        Ok(())
    }

    #[test]
    fn what_was_committed_stays_if_a_slice_was_read_before() -> Result<()> {
        let (_directory, cache) = between(|cache, _| {
            let transaction = cache.transact()?;
            assert_eq!(
                cache.len()?,
                usize::try_from(KEYS).expect("few"),
                "makes it a transaction of the database"
            );
            change(cache)?;
            transaction.commit()
        })?;
        assert_eq!(values(&cache), changed());
        Ok(())
    }

    #[test]
    fn slice_arrives_if_nothing_happens() -> Result<()> {
        let (_directory, cache) = between(|_, _| Ok(()))?;
        let tier = cache.handle.tier.get().expect("tier");
        assert_eq!(tier.stats().keys, KEYS.unsigned_abs());
        assert!(values(&cache).iter().all(|value| *value == Some("old".into())));
        Ok(())
    }

    #[test]
    fn rows_wait_for_a_process_that_has_the_append_lock() -> Result<()> {
        let (_directory, cache) = between(|_, _| Ok(()))?;
        let tier = cache.handle.tier.get().expect("tier");
        tier.forget_clean();
        let mut warming = Warming { needed: 0, epoch: Some(tier.epoch()), after: 0, tries: 0, idle: 0 };
        let held = tier.try_lock().expect("the append lock");
        let bring = || cache.handle.bring(&tier, &mut warming, Wait::Forever);
        let is_more = thread::scope(|scope| scope.spawn(bring).join()).expect("no panic")?;
        assert!(is_more);
        assert_eq!((warming.after, warming.idle), (0, 1));
        drop(held);
        assert!(!cache.handle.bring(&tier, &mut warming, Wait::Forever)?);
        assert_eq!((warming.after, warming.idle), (KEYS, 0));
        assert_eq!(tier.stats().keys, KEYS.unsigned_abs());
        Ok(())
    }

    #[test]
    fn warming_ends_while_a_fork_waits_for_the_housekeeper() -> Result<()> {
        let (_directory, cache) = between(|_, _| Ok(()))?;
        let tier = cache.handle.tier.get().expect("tier");
        let mut warming = Warming { needed: 0, epoch: Some(tier.epoch()), after: 0, tries: 0, idle: 0 };
        housekeeper::stop();
        let is_more = cache.handle.bring(&tier, &mut warming, Wait::Forever);
        housekeeper::resume(false);
        assert!(is_more?);
        assert_eq!((warming.after, warming.idle), (0, 0));
        assert!(!cache.handle.bring(&tier, &mut warming, Wait::Forever)?);
        assert_eq!(warming.after, KEYS);
        Ok(())
    }

    #[test]
    fn fill_comes_only_if_nothing_is_newer() -> Result<()> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open()?;
        cache.set("key", 1)?;
        cache.flush()?;
        let tier = cache.handle.tier.get().expect("tier");
        let read = || {
            let commits = tier.commits();
            let found = cache.handle.read_now(Wait::Forever, |connection| {
                let row = read::find(connection, &Key::from("key"), f64::NEG_INFINITY)?;
                Ok(row.and_then(|row| crate::sqlite::tier::fill(&Key::from("key"), &row)))
            });
            found.map(|fill| (fill.expect("a row"), commits))
        };
        let (mut known, commits) = read()?;
        assert!(!tier.try_fill(&mut known, commits), "the tier knows the key");
        let transaction = cache.transact()?;
        assert_eq!(cache.len()?, 1, "makes it a transaction of the database");
        cache.set("key", 2)?;
        let (mut old, before) = (known, commits);
        transaction.commit()?;
        assert!(!tier.try_fill(&mut old, before), "a commit came since");
        let (mut new, commits) = read()?;
        assert!(tier.try_fill(&mut new, commits));
        assert_eq!(cache.get("key")?, Some(2.into()));
        Ok(())
    }
}
