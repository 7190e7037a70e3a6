//! The keeper's part in dictionaries: it counts the values of each group, has a thread train when enough have come, and
//! adopts what pays.
//!
//! The thread holds no lock and no transaction. It reads a few rows at a time, and only while the cache is open. A process
//! that ends or is killed meanwhile leaves nothing behind, because adoption is one transaction. The note that a training
//! begins is one as well, so that processes which see the same values do not all train.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::sqlite::Connection;
use crate::sqlite::dictionaries::{self, Added};
use crate::store::Handle;
use crate::store::dictionaries::{Group, LOOK};
use crate::system::clock::Clock;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::wait::{Wait, never_ask_hook};
use crate::value::dictionary::{self, Dictionary};
use crate::value::filters::undo;
use crate::value::frame::{Frame, filter};

/// Values that must have come before the first training.
const FIRST: u64 = 512;

/// Values that a process counts by itself before it notes them in the table, at least.
pub(super) const STEP: u64 = 64;

/// A process notes values when they are this part of those that have come.
const PART: u64 = 8;

/// The length of the largest value that counts as small.
pub(crate) const SMALL: u64 = 64 << 10;

/// Bytes of all samples together.
const SAMPLES: u64 = 1 << 20;

/// Rows that are looked through for samples, and how many of them at once.
const ROWS: u32 = 1 << 17;
const AT_ONCE: u32 = 256;

/// Values of the group that are candidates for samples: the newest.
const CANDIDATES: usize = 4096;

/// A dictionary is adopted if the cache may be this many times as large.
const PART_OF_LIMIT: u64 = 16;

/// How long a training waits, again and again, for values that were counted on their way to the store. All of a batch are
/// counted before the first one is there.
const PATIENCE: [Duration; 7] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// How long the keeper waits for writers.
const WAIT: Wait = Wait::AtMost(Duration::from_millis(50));

/// A thread of this process trains.
static IS_TRAINING: AtomicBool = AtomicBool::new(false);

/// In a forked child, which has no thread that trains.
pub(super) fn forget() {
    IS_TRAINING.store(false, Ordering::Relaxed);
}

/// What a training has brought.
pub(crate) struct Trained {
    /// The dictionary that the group had.
    former: Option<u32>,
    dictionary: Arc<Dictionary>,
}

impl Handle {
    /// Looks after the groups of this cache. Returns whether to come again soon. One load if there is nothing to do.
    pub(super) fn keep_dictionaries(self: &Arc<Self>) -> bool {
        let known = &self.upkeep.dictionaries;
        if known.is_due.swap(false, Ordering::Relaxed) && !self.is_read_only() {
            for group in known.groups().iter() {
                if let Some(trained) = group.trained.swap(None)
                    && let Err(Error::Timeout { .. }) = self.adopt(group, &trained)
                {
                    group.trained.store(Some(trained));
                    known.is_due.store(true, Ordering::Relaxed);
                }
                let is_full = group.uncounted.load(Ordering::Relaxed) >= group.step.load(Ordering::Relaxed);
                if is_full && IS_TRAINING.swap(true, Ordering::AcqRel) {
                    // After the other training.
                    known.is_due.store(true, Ordering::Relaxed);
                } else if is_full {
                    match self.count(group) {
                        Ok(true) => self.start_training(group),
                        counted => {
                            IS_TRAINING.store(false, Ordering::Release);
                            if counted.is_err() {
                                // Tried again with the next values.
                                group.step.fetch_add(STEP, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
        }
        // In this order, and the end of a training in the other.
        known.is_training.load(Ordering::Acquire) || known.is_due.load(Ordering::Relaxed)
    }

    /// Notes the values that have come. Returns whether they are enough for a training, which is noted as well.
    fn count(self: &Arc<Self>, group: &Group) -> Result<bool> {
        let uncounted = group.uncounted.load(Ordering::Relaxed);
        let (came, is_due) = self.write(WAIT, |write| {
            // None of what the hot tier knows.
            write.changes([]);
            let (came, tried) = dictionaries::count(write.connection(), &group.name, uncounted)?;
            let is_due = came >= FIRST.max(tried.saturating_mul(2));
            if is_due {
                dictionaries::note_try(write.connection(), &group.name, came)?;
            }
            Ok((came, is_due))
        })?;
        group.uncounted.fetch_sub(uncounted, Ordering::Relaxed);
        group.step.store((came / PART).max(STEP), Ordering::Relaxed);
        Ok(is_due)
    }

    fn start_training(self: &Arc<Self>, group: &Arc<Group>) {
        // Weak, since a forked child inherits what the thread holds, and never drops it.
        let training = Training { first: Arc::downgrade(self), group: Arc::downgrade(group) };
        self.upkeep.dictionaries.is_training.store(true, Ordering::Release);
        let started = thread::Builder::new().name("dolium-training".into()).spawn(move || {
            never_ask_hook();
            training.run();
        });
        // Without a thread, `training` was dropped, which ends it.
        drop(started);
    }

    /// Makes a trained dictionary the current one of its group, unless the group has got another meanwhile.
    fn adopt(self: &Arc<Self>, group: &Group, trained: &Trained) -> Result<bool> {
        let Trained { former, dictionary } = trained;
        let bytes = dictionary.bytes();
        let limit = self.total_limit(&self.settings.current()).unwrap_or(u64::MAX);
        if bytes.len() as u64 > limit / PART_OF_LIMIT {
            return Ok(false);
        }
        let added = self.write(WAIT, |write| {
            write.changes([]);
            let connection = write.connection();
            let current = dictionaries::current(connection, &group.name)?;
            if current != former.map(i64::from) {
                return Ok(Added::Already);
            }
            dictionaries::add(connection, &group.name, Clock::System.now(), bytes)
        })?;
        if added == Added::Done {
            self.upkeep.dictionaries.keep(dictionary);
            group.adopt(Arc::clone(dictionary));
        }
        Ok(added == Added::Done)
    }

    /// Shows `f` a connection, unless the cache was closed: its directory may be gone then. Does not wait for others.
    fn read_if_open<T: Default>(self: &Arc<Self>, mut f: impl FnMut(&Connection) -> Result<T>) -> Option<T> {
        self.unless_closed(|| self.try_read(&mut f).ok())?
    }
}

/// Values as Zstandard sees them.
type Samples = Vec<Vec<u8>>;

/// A training under way.
struct Training {
    first: Weak<Handle>,
    group: Weak<Group>,
}

impl Drop for Training {
    fn drop(&mut self) {
        let _inside = fork_gate::enter();
        if let Some(first) = self.first.upgrade() {
            first.upkeep.dictionaries.is_due.store(true, Ordering::Relaxed);
            first.upkeep.dictionaries.is_training.store(false, Ordering::Release);
        }
        IS_TRAINING.store(false, Ordering::Release);
    }
}

impl Training {
    fn run(self) {
        let mut drawn = self.draw();
        for wait in PATIENCE {
            let is_enough = drawn.as_ref().is_some_and(|(samples, _)| samples.len() as u64 >= FIRST / 2);
            if is_enough || self.is_over() {
                break;
            }
            thread::sleep(wait);
            drawn = self.draw();
        }
        let Some((samples, former)) = drawn else { return };
        let trained = dictionary::train(&samples, former.as_deref());
        let _inside = fork_gate::enter();
        if let (Some(group), Some(dictionary)) = (self.group.upgrade(), trained) {
            let former = former.map(|former| former.number());
            group.trained.store(Some(Arc::new(Trained { former, dictionary: Arc::new(dictionary) })));
        }
    }

    /// Whether nothing needs a dictionary any more, because the cache is closed.
    fn is_over(&self) -> bool {
        let _inside = fork_gate::enter();
        self.first.upgrade().is_none_or(|first| first.upkeep.look().is_none())
    }

    /// Samples of the group out of all shards, and the dictionary that it has. Returns `None` if the cache is closed, or
    /// a shard cannot be read now, as one cannot that is only being made.
    fn draw(&self) -> Option<(Samples, Option<Arc<Dictionary>>)> {
        let (shards, numbers, former) = {
            let _inside = fork_gate::enter();
            let (first, group) = (self.first.upgrade()?, self.group.upgrade()?);
            let mut shards: Vec<_> = first.siblings().iter().map(Arc::downgrade).collect();
            if shards.is_empty() {
                shards.push(Weak::clone(&self.first));
            }
            let (all, current) = first.read_if_open(|connection| {
                Ok((dictionaries::all(connection)?, dictionaries::current(connection, &group.name)?))
            })?;
            let own = all.into_iter().filter(|stored| stored.group == group.name);
            let mut numbers: Vec<u32> = own.filter_map(|stored| u32::try_from(stored.number).ok()).collect();
            numbers.push(group.number);
            let current = current.and_then(|current| u32::try_from(current).ok());
            let former = current.map(|current| first.dictionary(current, LOOK)).transpose().ok()?.flatten();
            (shards, numbers, former)
        };
        let parts = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let mut samples = Vec::new();
        for shard in shards {
            samples.extend(draw_from(&shard, &numbers, SAMPLES / u64::from(parts), ROWS / parts)?);
        }
        Some((samples, former))
    }
}

/// Draws samples out of one shard: evenly from the newest values that name one of these numbers.
fn draw_from(shard: &Weak<Handle>, numbers: &[u32], budget: u64, mut rows: u32) -> Option<Samples> {
    let mut candidates: Vec<(i64, u64)> = Vec::new();
    let mut below = i64::MAX;
    while rows > 0 && candidates.len() < CANDIDATES {
        let (found, next) = look(shard, |connection| {
            let mut found = Vec::new();
            let next = dictionaries::frames_below(connection, below, AT_ONCE, |rowid, head, file| {
                let head = head.filter(|_| file.is_none()).and_then(Frame::peek);
                let Some(Frame { length, dictionary: Some(number), .. }) = head.map(|head| head.frame) else {
                    return;
                };
                if numbers.contains(&number) && (1..=SMALL).contains(&length) {
                    found.push((rowid, length));
                }
            })?;
            Ok((found, next))
        })?;
        candidates.extend(found);
        rows = rows.saturating_sub(AT_ONCE);
        match next {
            Some(next) => below = next,
            None => break,
        }
    }
    let mut samples = Vec::new();
    for rowids in evenly(&candidates, budget).chunks(AT_ONCE as usize / 4) {
        // Dictionaries are loaded outside of the read, which may be repeated.
        let longest = usize::try_from(SMALL).unwrap_or(usize::MAX) * 2;
        let stored = look(shard, |connection| dictionaries::frames(connection, rowids, longest))?;
        for stored in stored {
            let _inside = fork_gate::enter();
            samples.extend(sample(&shard.upgrade()?, &stored));
        }
    }
    Some(samples)
}

/// Shows `f` a connection of a cache that is there and open. Inside the fork gate, so that no child inherits the handle.
fn look<T: Default>(handle: &Weak<Handle>, f: impl FnMut(&Connection) -> Result<T>) -> Option<T> {
    let _inside = fork_gate::enter();
    handle.upgrade()?.read_if_open(f)
}

/// What Zstandard was given of a small value, or would have been. Returns `None` if it cannot be had.
fn sample(handle: &Arc<Handle>, stored: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::parse(stored)?;
    let last = frame.filters.last().filter(|last| matches!(**last, filter::ZSTD | filter::ZSTD_DICTIONARY));
    let used = match (last, frame.dictionary) {
        (Some(&filter::ZSTD_DICTIONARY), Some(number)) => Some(handle.dictionary(number, LOOK).ok()??),
        _ => None,
    };
    let (_, bytes) =
        undo(last.map_or(&[], std::slice::from_ref), frame.body, used.as_deref().map(Dictionary::decoder))?;
    (1..=SMALL).contains(&(bytes.len() as u64)).then_some(bytes)
}

/// Picks values of at most `budget` bytes together, as evenly as their lengths let it.
fn evenly(candidates: &[(i64, u64)], budget: u64) -> Vec<i64> {
    let total: u64 = candidates.iter().map(|(_, length)| length).sum();
    let (mut passed, mut picked, mut rowids) = (0, 0, Vec::new());
    for &(rowid, length) in candidates {
        passed += length;
        // As much of the budget as of the candidates.
        let share = u128::from(passed) * u128::from(budget.min(total)) / u128::from(total.max(1));
        if u128::from(picked + length) <= share {
            picked += length;
            rowids.push(rowid);
        }
    }
    rowids
}
