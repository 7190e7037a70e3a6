//! Owns bringing all entries of the database into a tier that has grown for them, a slice at a time.
//!
//! Each is a fill, as a read offers it: it comes only if the tier does not know its key, and nothing was committed since
//! the row was read. So nothing here needs a rule of its own, and a kill costs warmth alone.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use dolium_hot::{SizeReason, Tier};

use crate::sqlite::read;
use crate::store::Handle;
use crate::system::error::Result;
use crate::system::fork_gate;
use crate::system::wait::Wait;

/// How long the housekeeper brings entries at once, and how many with one statement: as long as those are read, no commit
/// may come.
const SLICE: Duration = Duration::from_millis(40);
const ROWS: u16 = 256;

/// How often the same rows are read again because a commit came, or because more than this part of them did not come in.
const TRIES: u32 = 8;
const MISSING: usize = 16;

/// How far it has come.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    /// The tier for which it began, once there is one.
    epoch: Option<u64>,
    /// The number of the last row.
    after: i64,
    /// How often it was read.
    tries: u32,
}

impl Handle {
    /// Has the housekeeper bring all entries into the tier that comes next.
    pub(super) fn begin_warming(&self) {
        self.put_warming(Some(Warming::default()));
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
        let is_it = *warming.epoch.get_or_insert(tier.epoch()) == tier.epoch();
        // A failure leaves all to reads.
        let is_more = is_it
            && tier.sized() == SizeReason::Returns
            && self.bring(&tier, &mut warming, wait).unwrap_or(false);
        if is_more {
            self.put_warming(Some(warming));
        }
        is_more
    }

    /// Brings entries for a while. Returns whether there are more.
    fn bring(self: &Arc<Self>, tier: &Tier, warming: &mut Warming, wait: Wait) -> Result<bool> {
        let since = Instant::now();
        while since.elapsed() < SLICE && !fork_gate::is_wanted() {
            // What lies in the log for long would have to go for it.
            if !tier.is_live() || !tier.is_in_first_lap() {
                return Ok(false);
            }
            let commits = tier.commits();
            let (mut fills, last) = self.read_now(wait, |connection| {
                let found = read::fills_after(connection, warming.after, ROWS)?;
                connection.count_reads(found.0.len());
                Ok(found)
            })?;
            let Some(last) = last else { return Ok(false) };
            tier.prepare(&mut fills);
            for fill in &mut fills {
                tier.try_fill(fill, commits);
            }
            // Another thread may have had the append lock all the while. A bucket that is full takes a few less.
            let missing = fills.iter_mut().filter_map(|fill| (!tier.knows(fill)).then_some(())).count();
            let is_lost = tier.commits() != commits || missing > fills.len() / MISSING;
            let is_void = is_lost && warming.tries < TRIES;
            warming.tries = if is_void { warming.tries + 1 } else { 0 };
            if !is_void {
                warming.after = last;
            }
        }
        Ok(true)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::value::key::Key;

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
