//! The dictionaries as this process knows them: by number, for the values that name one, and by group, for new values.
//!
//! All shards of a cache share those of the first one. Which dictionary a group has now is asked again after
//! [`TRUSTED`], so that another process's training is noticed for one small read a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::sqlite::dictionaries::{self, MOST};
use crate::store::training::{STEP, Trained};
use crate::store::{Handle, housekeeper};
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::wait::Wait;
use crate::value::dictionary::{Dictionary, number};

/// How long a process believes that a group still has the dictionary that it had.
const TRUSTED: Duration = Duration::from_secs(1);

/// How long a retired dictionary may still be in use: much longer than a process believes in it, and than a value is on
/// its way.
pub(crate) const RETIRING: Timestamp = 60.0;

/// How long a look at the table waits for others.
pub(super) const LOOK: Wait = Wait::AtMost(Duration::from_millis(50));

/// What a process knows of the dictionaries of one cache.
#[derive(Default)]
pub(crate) struct Dictionaries {
    loaded: ArcSwap<Vec<Arc<Dictionary>>>,
    groups: ArcSwap<Vec<Arc<Group>>>,
    /// The keeper has something to count, or a trained dictionary.
    pub(super) is_due: AtomicBool,
    /// A thread of this process trains for this cache.
    pub(super) is_training: AtomicBool,
}

/// Values that have much in common: those of one function, or of a cache.
pub(crate) struct Group {
    pub name: String,
    /// What its values name as long as there is no dictionary.
    pub number: u32,
    current: ArcSwapOption<Dictionary>,
    /// When the table was asked for the current one, in milliseconds of the process; 0 is never.
    asked: AtomicU64,
    /// Values that have come in this process and are not counted in the table.
    pub(super) uncounted: AtomicU64,
    /// How many of them the keeper waits for.
    pub(super) step: AtomicU64,
    /// What a training has brought.
    pub(super) trained: ArcSwapOption<Trained>,
}

impl Group {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            number: number(name.as_bytes()),
            current: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
            // Many short processes, each with less than a step of values, count right on the average.
            uncounted: AtomicU64::new(random_below(STEP)),
            step: AtomicU64::new(STEP),
            trained: ArcSwapOption::empty(),
        }
    }

    /// The dictionary for new values, as this process has learnt it within a second.
    pub fn current(&self, handle: &Arc<Handle>) -> Option<Arc<Dictionary>> {
        let (now, asked) = (milliseconds(), self.asked.load(Ordering::Relaxed));
        let is_old = asked == 0 || Duration::from_millis(now.saturating_sub(asked)) >= TRUSTED;
        // One thread asks; the others go on with what was known.
        if is_old
            && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && self.ask(handle).is_err()
        {
            self.current.store(None);
        }
        self.current.load_full()
    }

    fn ask(&self, handle: &Arc<Handle>) -> Result<()> {
        let first = handle.first_shard();
        let found = first.read_now(LOOK, |connection| dictionaries::current(connection, &self.name))?;
        let found = found.and_then(|found| u32::try_from(found).ok());
        if found != self.current.load().as_ref().map(|dictionary| dictionary.number()) {
            let loaded = found.map(|number| first.dictionary(number, LOOK)).transpose()?.flatten();
            self.current.store(loaded);
        }
        Ok(())
    }

    /// Takes a dictionary for the current one, as the keeper has just adopted it.
    pub(super) fn adopt(&self, dictionary: Arc<Dictionary>) {
        self.current.store(Some(dictionary));
    }

    /// Counts a small value that has come.
    pub fn count(&self, handle: &Arc<Handle>) {
        let uncounted = self.uncounted.fetch_add(1, Ordering::Relaxed) + 1;
        if uncounted >= self.step.load(Ordering::Relaxed) {
            let first = handle.first_shard();
            if !first.upkeep.dictionaries.is_due.swap(true, Ordering::Relaxed) {
                housekeeper::wake(first);
            }
        }
    }
}

impl Dictionaries {
    /// The group of this name.
    pub fn group(&self, name: &str) -> Arc<Group> {
        let known = |list: &[Arc<Group>]| list.iter().find(|group| group.name == name).map(Arc::clone);
        if let Some(group) = known(&self.groups.load()) {
            return group;
        }
        let new = Arc::new(Group::new(name));
        let before = self.groups.rcu(|list| {
            let mut list = Vec::clone(list);
            if known(&list).is_none() {
                list.push(Arc::clone(&new));
            }
            list
        });
        known(&before).unwrap_or(new)
    }

    pub(super) fn groups(&self) -> Arc<Vec<Arc<Group>>> {
        self.groups.load_full()
    }

    /// The dictionary of a number, if this process has used it already. One load.
    pub fn loaded(&self, number: u32) -> Option<Arc<Dictionary>> {
        self.loaded.load().iter().find(|known| known.number() == number).map(Arc::clone)
    }

    pub(super) fn keep(&self, dictionary: &Arc<Dictionary>) {
        self.loaded.rcu(|list| {
            let mut list = Vec::clone(list);
            if list.iter().all(|known| known.number() != dictionary.number()) {
                // Those that were removed meanwhile stay until others come.
                list.truncate(2 * usize::try_from(MOST).unwrap_or_default() - 1);
                list.insert(0, Arc::clone(dictionary));
            }
            list
        });
    }

    /// In a forked child, which has no thread that trains.
    pub(super) fn reset(&self) {
        self.is_training.store(false, Ordering::Relaxed);
    }
}

impl Handle {
    /// The store of the cache's dictionaries: the first of its shards.
    pub(crate) fn first_shard(self: &Arc<Self>) -> &Arc<Self> {
        self.shards.first().unwrap_or(self)
    }

    /// The dictionary of a number. Returns `None` if it is gone or damaged.
    pub(crate) fn dictionary(self: &Arc<Self>, number: u32, wait: Wait) -> Result<Option<Arc<Dictionary>>> {
        let first = self.first_shard();
        if let Some(loaded) = first.upkeep.dictionaries.loaded(number) {
            return Ok(Some(loaded));
        }
        let stored = first.read_now(wait, |connection| dictionaries::load(connection, number))?;
        let loaded = stored.and_then(|stored| Dictionary::new(stored.bytes?)).map(Arc::new);
        if let Some(loaded) = &loaded {
            first.upkeep.dictionaries.keep(loaded);
        }
        Ok(loaded)
    }
}

/// Milliseconds since some moment of this process, and one more.
fn milliseconds() -> u64 {
    static START: ArcSwapOption<Instant> = ArcSwapOption::const_empty();
    let start = START.load_full().unwrap_or_else(|| {
        let now = Arc::new(Instant::now());
        START.compare_and_swap(&None::<Arc<Instant>>, Some(Arc::clone(&now)));
        START.load_full().unwrap_or(now)
    });
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn random_below(most: u64) -> u64 {
    // Without randomness a process begins at 0.
    getrandom::u64().unwrap_or(0) % most
}
