//! Owns what this process knows of keys that are not there, so that a lookup of one need not ask SQLite.
//!
//! A filter holds every key of the database, and perhaps takes others for one of them. The housekeeper builds it, in slices,
//! once enough lookups have found nothing; from then on each lookup follows the log of the tier first. Nothing here is
//! shared, so a kill leaves nothing behind. A commit that the log does not name counts itself before it happens, and then the
//! filter is of no use any more. `dolium-hot/tests/absence_protocol.rs` tries every order.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dolium_hot::Tier;

use crate::sqlite::keys::Place;
use crate::sqlite::{keys, schema};
use crate::store::Handle;
use crate::store::housekeeper;
use crate::system::error::Result;
use crate::system::fork_gate;
use crate::system::wait::Wait;

/// Lookups that found nothing in the database before a filter is thought of, and the number of entries for each: reading
/// the keys costs an eighth of what these lookups have cost.
const ASKED: u64 = 4096;
const ENTRIES_PER_LOOKUP: u64 = 8;

/// The most entries of a database for which there is a filter: 16 MiB.
const MOST: u64 = 1 << 23;

/// How long the housekeeper reads keys at once, and how many with one statement.
const SLICE: Duration = Duration::from_millis(10);
const ROWS: u16 = 1024;

/// How often the housekeeper tries to put a filter where lookups find it.
const TRIES: u32 = 1000;

/// Bytes of log that a lookup follows, without and with the interpreter's other threads waiting, and the housekeeper.
pub(crate) const FOLLOWED_AT_ONCE: u64 = 4 << 10;
pub(crate) const FOLLOWED: u64 = 256 << 10;
const FOLLOWED_APART: u64 = 64 << 20;

/// What a process knows of absent keys.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    /// Read by lookups, which never wait for it.
    known: RwLock<Option<Known>>,
    is_known: AtomicBool,
    /// Lookups for which the database found nothing, since a filter was begun.
    asked: AtomicU64,
    /// The filter that is being built. Only the housekeeper's.
    begun: Mutex<Option<Begun>>,
}

/// The keys of a database, as of a place in the log.
#[derive(Debug)]
struct Known {
    epoch: u64,
    additions: u64,
    offset: AtomicU64,
    filter: Filter,
    /// A thread follows the log.
    is_busy: AtomicBool,
    /// The log has lost records, or holds one that may stand for any change.
    is_lost: AtomicBool,
}

#[derive(Debug)]
struct Begun {
    known: Known,
    after: Option<Place>,
}

impl Absences {
    /// Whether a key is surely not there. Neither waits nor enters the kernel; `most`: bytes of log that may be followed for
    /// it. The tier has been asked for the key, or has it not anyway.
    #[inline(never)]
    pub fn tell(&self, tier: &Tier, key: dolium_hot::Key<'_>, most: u64) -> bool {
        if !self.is_known.load(Relaxed) {
            return false;
        }
        let Ok(known) = self.known.try_read() else { return false };
        let Some(known) = known.as_ref() else { return false };
        // A tier that has ended may have another database behind it.
        known.is_current(tier)
            && known.follow(tier, most)
            && !known.filter.may_have(tier.hash(key))
            && tier.is_live()
    }

    /// Notes a lookup for which the database found nothing.
    pub fn note(&self, handle: &Arc<Handle>) {
        let asked = self.asked.fetch_add(1, Relaxed);
        if asked >= ASKED && asked.is_multiple_of(ASKED) {
            housekeeper::wake(handle);
        }
    }

    /// Forgets all, as when a cache is closed, and in a forked child.
    pub fn forget(&self) {
        self.asked.store(0, Relaxed);
        self.is_known.store(false, Relaxed);
        // A thread that a fork has ended may hold them for ever: then this process knows nothing any more.
        if let Ok(mut known) = self.known.try_write() {
            *known = None;
        }
        if let Ok(mut begun) = self.begun.try_lock() {
            *begun = None;
        }
    }

    fn put(&self, known: Option<Known>) {
        let _inside = fork_gate::enter();
        let is_known = known.is_some();
        self.is_known.store(false, Relaxed);
        // Lookups hold it for a moment only, unless a fork has ended their thread.
        for _ in 0..TRIES {
            if let Ok(mut place) = self.known.try_write() {
                *place = known;
                self.is_known.store(is_known, Relaxed);
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Keeps up with the log, and lets go of what is of no use any more.
    fn keep_up(&self, tier: &Tier) {
        let is_void = self.known.try_read().is_ok_and(|known| {
            known.as_ref().is_some_and(|known| {
                if known.is_current(tier) {
                    known.follow(tier, FOLLOWED_APART);
                }
                !known.is_current(tier)
            })
        });
        if is_void {
            self.put(None);
        }
    }
}

impl Known {
    /// Begins with nothing. `None` while a commit is announced, which may happen before or after the keys are read.
    fn begin(tier: &Tier, entries: u64) -> Option<Self> {
        // In this order, and all before the keys are read.
        let (offset, additions) = (tier.drained_to(), tier.additions());
        (!tier.is_announced()).then(|| Self {
            epoch: tier.epoch(),
            additions,
            offset: AtomicU64::new(offset),
            filter: Filter::new(entries),
            is_busy: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        })
    }

    /// Whether nothing has changed that the log does not name.
    fn is_current(&self, tier: &Tier) -> bool {
        self.epoch == tier.epoch()
            && self.additions == tier.additions()
            && !self.is_lost.load(Relaxed)
            && !self.filter.is_full()
            && !tier.has_foreign()
    }

    /// Adds what the log has got since. Returns whether all of it is known now.
    fn follow(&self, tier: &Tier, most: u64) -> bool {
        let (head, from) = (tier.head(), self.offset.load(Acquire));
        if head == from {
            return true;
        }
        if head.saturating_sub(from).saturating_mul(16) > most || self.is_busy.swap(true, Acquire) {
            return false;
        }
        // No other thread moves it now.
        let from = self.offset.load(Relaxed);
        let reached = tier.follow(from, FOLLOWED_APART, |view| {
            if view.kind().has_row() {
                self.filter.add(tier.hash(view.key()));
            }
        });
        match reached {
            Some(offset) => self.offset.store(offset, Release),
            None => self.is_lost.store(true, Relaxed),
        }
        self.is_busy.store(false, Release);
        reached.is_some_and(|reached| reached >= head)
    }
}

impl Handle {
    /// Called by the housekeeper at each tick: builds the filter, a slice at a time, if it is worth it. Returns whether
    /// there is more to do.
    pub(crate) fn learn_absences(self: &Arc<Self>, wait: Wait) -> bool {
        let absences = &self.reads.absences;
        let Some(tier) = self.tier.get() else {
            if absences.is_known.load(Relaxed) {
                absences.put(None);
            }
            return false;
        };
        if absences.is_known.load(Relaxed) {
            absences.keep_up(&tier);
        }
        let begun = {
            let _inside = fork_gate::enter();
            absences.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        if begun.is_none() && (absences.is_known.load(Relaxed) || absences.asked.load(Relaxed) < ASKED) {
            return false;
        }
        // A failure leaves all as it was: the database goes on being asked.
        let begun = match begun {
            Some(begun) => Ok(Some(begun)),
            None => self.begin_absences(&tier, wait),
        };
        let more = begun.and_then(|begun| begun.map(|begun| self.read_keys(&tier, begun, wait)).transpose());
        let Ok(Some(Some(begun))) = more else { return false };
        let _inside = fork_gate::enter();
        *absences.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        true
    }

    /// Begins a filter, if enough lookups have found nothing.
    fn begin_absences(self: &Arc<Self>, tier: &Tier, wait: Wait) -> Result<Option<Begun>> {
        let asked = self.reads.absences.asked.load(Relaxed);
        let count = self.read_now(wait, |connection| Ok(schema::counter(connection, "count")?))?;
        let entries = u64::try_from(count).unwrap_or(0);
        if entries > MOST || self.has_foreign(tier, wait)? {
            self.reads.absences.asked.store(0, Relaxed);
            return Ok(None);
        }
        if asked * ENTRIES_PER_LOOKUP < entries {
            return Ok(None);
        }
        self.reads.absences.asked.store(0, Relaxed);
        Ok(Known::begin(tier, entries).map(|known| Begun { known, after: None }))
    }

    /// Reads keys for a while. Returns what is begun if there are more, and makes it known if there are none.
    fn read_keys(self: &Arc<Self>, tier: &Tier, mut begun: Begun, wait: Wait) -> Result<Option<Begun>> {
        let since = Instant::now();
        while since.elapsed() < SLICE && !fork_gate::is_wanted() {
            let found = self.read_now(wait, |connection| {
                let mut hashes = Vec::with_capacity(usize::from(ROWS));
                let after = keys::after(connection, begun.after.as_ref(), ROWS, |key| {
                    hashes.push(key.with_hot(|hot| tier.hash(hot)));
                })?;
                connection.count_reads(hashes.len());
                Ok(Some((hashes, after)))
            })?;
            let Some((hashes, after)) = found else { return Ok(None) };
            for hash in hashes {
                begun.known.filter.add(hash);
            }
            // Now and then, lest the log lose records meanwhile.
            let is_followed = begun.known.follow(tier, FOLLOWED_APART);
            if !begun.known.is_current(tier) {
                return Ok(None);
            }
            begun.after = after;
            if begun.after.is_none() {
                if is_followed {
                    self.reads.absences.put(Some(begun.known));
                }
                return Ok(None);
            }
        }
        Ok(Some(begun))
    }
}

/// Words of a block, which is a line of the processor's cache; and bits that a key has in it.
const BLOCK: usize = 8;
const PROBES: u32 = 6;

/// Bits for each entry.
const BITS: u64 = 16;

/// A Bloom filter of keys by their hashes, of which each lies in one block.
#[derive(Debug)]
struct Filter {
    words: Box<[AtomicU64]>,
    added: AtomicU64,
    most: u64,
}

impl Filter {
    /// A filter for so many keys, and as many again.
    fn new(entries: u64) -> Self {
        let most = entries.max(ASKED);
        let blocks = (most * BITS).div_ceil(64 * BLOCK as u64);
        let words = usize::try_from(blocks).unwrap_or(1).max(1) * BLOCK;
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            added: AtomicU64::new(0),
            most: 2 * most,
        }
    }

    /// Whether it holds so many keys that it takes too many others for them.
    fn is_full(&self) -> bool {
        self.added.load(Relaxed) > self.most
    }

    fn add(&self, hash: u64) {
        let (block, probes) = self.place(hash);
        let mut is_new = false;
        for (word, bit) in probes {
            if block[word].load(Relaxed) & bit == 0 {
                is_new = true;
                block[word].fetch_or(bit, Relaxed);
            }
        }
        if is_new {
            self.added.fetch_add(1, Relaxed);
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        let (block, mut probes) = self.place(hash);
        probes.all(|(word, bit)| block[word].load(Relaxed) & bit != 0)
    }

    fn place(&self, hash: u64) -> (&[AtomicU64], impl Iterator<Item = (usize, u64)> + use<>) {
        let blocks = (self.words.len() / BLOCK) as u64;
        let block = (((hash >> 32) * blocks) >> 32) as usize * BLOCK;
        let mixed = (hash ^ hash >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let probes = (0..PROBES).map(move |probe| {
            let at = mixed >> (10 + 9 * probe);
            ((at >> 6) as usize % BLOCK, 1 << (at & 63))
        });
        (&self.words[block..block + BLOCK], probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> u64 {
        let mixed = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn filter_has_what_was_added_and_takes_few_others_for_it() {
        let filter = Filter::new(100_000);
        (0..100_000).for_each(|key| filter.add(hash(key)));
        assert!((0..100_000).all(|key| filter.may_have(hash(key))));
        let taken = (100_000..200_000).filter(|&key| filter.may_have(hash(key))).count();
        assert!(taken < 1000, "{taken} of 100,000");
        assert!(!filter.is_full());
    }

    #[test]
    fn filter_of_too_many_keys_is_full() {
        let filter = Filter::new(ASKED);
        (0..3 * ASKED).for_each(|key| filter.add(hash(key)));
        assert!(filter.is_full());
    }
}
