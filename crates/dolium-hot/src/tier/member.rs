//! One process's membership in a directory's shared memory.
//!
//! Owns the slot, the mapping and the two locks. Refuses to outlive a fork: in a child every inherited `Shared` is stale,
//! its locks answer [`LockError::Forked`], and dropping it touches nothing that the parent uses.

use crate::layout::header::{Header, field};
use crate::layout::map::{Map, SharedWord};
use crate::lock::guard::{Guard, Release, Which};
use crate::lock::health::{Health, check_lock_file};
use crate::lock::lockfile::{Paths, Patience, reopen};
use crate::lock::wait::{Acquired, Slice, wait};
use crate::lock::word::{self, OwnerLocks, Released};
use crate::system::access::Access;
use crate::system::descriptor::{Descriptor, Identity};
use crate::system::error::{AttachError, LockError};
use crate::system::filesystem::may_have_holes;
use crate::system::fork;
use crate::system::local::{Courtesy, LocalLock};
use crate::system::ofd::{self, LockKind, SLOTS};
use crate::tier::attach::{self, AttachMode, Joined};
use crate::tier::make::remove;
use crate::tier::successor::Successor;
use crate::tier::{BackingStore, Ended, Prefault, Tier};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// When a waiter first asks whether the owner lives.
const FIRST_PROBE: Duration = Duration::from_millis(1);
/// The longest sleep of a waiter before it looks again. Probes come at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(16);
/// Attempts before a waiter sleeps.
const SPINS: u32 = 100;

/// A slot in a directory's shared memory. Clones are the same membership; it ends with the last clone, [`Lock`] and
/// [`Guard`]. One per process and directory is meant; more are correct, but each takes a slot.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Member>);

#[derive(Debug)]
pub(crate) struct Member {
    paths: Paths,
    descriptor: Descriptor,
    slot: u32,
    map: Map,
    hot: Identity,
    header: Header,
    generation: u64,
    heir: bool,
    database: Turn,
    tier: Turn,
    prefault: Prefault,
    /// The byte locks do not tell threads apart, so only one thread of a process takes over at a time, whichever word
    /// it is for.
    burial: LocalLock,
}

/// What a process has of one lock beside the word.
#[derive(Debug, Default)]
struct Turn {
    /// Comes before the word: the word does not tell threads apart.
    local: LocalLock,
    courtesy: Courtesy,
}

impl Shared {
    /// Joins `directory`, which must exist, and makes `cache.hot` and `cache.lock` there if need be. Waits at most about
    /// ten seconds, and only for others that are doing the same or have not yet noticed that the file was deleted.
    ///
    /// Drop an unhealthy `Shared` before attaching anew: its own slot counts as in use.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        Self::attach_with(directory, access, Patience::default(), AttachMode::None)
    }

    /// Attaches in the same way, but waits as long as `patience` says. If the file is made now, it gets a tier of about `bytes`
    /// bytes, none for zero; else the directory keeps its tier. What a tier that no process has attached still holds goes to
    /// `backing` first, whatever the wish. A `successor` of the size that the file needs becomes the file.
    pub fn attach_tier(
        directory: &Path,
        access: Access,
        patience: Patience,
        bytes: u64,
        backing: &mut dyn BackingStore,
        successor: Option<Successor>,
    ) -> Result<Self, AttachError> {
        Self::attach_with(directory, access, patience, AttachMode::Tier { bytes, backing, successor })
    }

    fn attach_with(
        directory: &Path,
        access: Access,
        patience: Patience,
        mode: AttachMode<'_>,
    ) -> Result<Self, AttachError> {
        let paths = Paths::of(directory)?;
        let generation = fork::generation();
        let Joined { descriptor, slot, map, hot, header } = attach::join(&paths, access, patience, mode)?;
        // What the log holds already was written before, so it does not count as movement.
        let head = header.geometry.map_or(0, |_| map.words()[field::HEAD].load(Relaxed));
        let mut member = Member {
            paths,
            descriptor,
            slot,
            map,
            hot,
            header,
            generation,
            heir: false,
            database: Turn::default(),
            tier: Turn::default(),
            prefault: Prefault::of(head),
            burial: LocalLock::new(),
        };
        // The last owner of this slot may have died with a lock. The byte is ours now, and so is the right to free it.
        if member.names_us(Which::Tier) {
            member.must_recover();
            member.free(Which::Tier);
        }
        member.heir = member.free(Which::Database);
        Ok(Self(Arc::new(member)))
    }

    /// The tier, if the directory has one.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        Tier::of(&self.0)
    }

    /// Ends the membership in good order. If no other process is attached or can be attaching, calls `clear` with
    /// the epoch of the tier and the sequence number that it has reached, if the tier is worth its place on the disk. `clear` says in the database that no tier is in use. The file goes,
    /// unless `clear` returns that the database vouches for it as it is. The caller must have drained all before. Returns
    /// whether that was done.
    pub fn leave<E>(self, clear: impl FnOnce(Option<(u64, u64)>) -> Result<bool, E>) -> Result<bool, E> {
        let member = &*self.0;
        // Another thread may be using it, and would keep our slot when the file is gone.
        let is_alone = self.holders() == 1;
        let is_last =
            is_alone && !member.is_stale() && attach::is_last(&member.descriptor, &member.paths, member.hot);
        if is_last {
            let result = self.tier().map_or(Ok(Ended::Gone), |tier| tier.end(clear));
            if matches!(result, Ok(Ended::Gone)) {
                remove(&member.paths.hot);
            }
            reopen(&member.descriptor);
            return result.map(|ended| ended != Ended::No);
        }
        Ok(false)
    }

    /// How many there are of this membership: clones, and the locks, guards and tiers made of them.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// The writer lock: its owner may write the database.
    #[must_use]
    pub fn lock(&self) -> Lock {
        Lock(Arc::clone(&self.0), Which::Database)
    }

    /// Leaves a note why there is no tier.
    pub(crate) fn note(&self, text: &str) {
        self.0.descriptor.note(text);
    }

    /// Our slot, 0 to 4,095.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.0.slot
    }

    /// Names the epoch of the shared file. Another number means that all processes had left, or that the file was
    /// replaced.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.header.epoch
    }

    /// Whether the process that had this slot before died holding the writer lock, which was freed here on its behalf.
    #[must_use]
    pub fn inherited(&self) -> bool {
        self.0.heir
    }

    /// Whether it was attached by an ancestor of this process.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.is_stale()
    }

    /// Three system calls, about four microseconds.
    #[must_use]
    pub fn check(&self) -> Health {
        let member = &*self.0;
        if member.is_stale() {
            return Health::Forked;
        }
        match check_lock_file(&member.descriptor, &member.paths.lock) {
            Health::Sound => {}
            ill => return ill,
        }
        match std::fs::symlink_metadata(&member.paths.hot) {
            Ok(found) if Identity::of(&found) == member.hot && found.len() >= member.header.file_len() => {
                Health::Sound
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Health::Sound,
            _ => Health::FileGone,
        }
    }

    /// The directory, absolute.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.paths.directory
    }
}

/// A lock of a [`Shared`], which it keeps attached.
#[derive(Clone, Debug)]
pub struct Lock(Arc<Member>, Which);

impl Lock {
    /// Waits at most `timeout` (`None`: for ever). `tick` is called at least every 50 ms of waiting, with nothing held:
    /// it may use this lock. False makes the waiting end with [`LockError::Interrupted`].
    ///
    /// Not re-entrant: a thread that waits for itself waits for its whole timeout.
    pub fn acquire(
        &self,
        timeout: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        let Self(member, which) = self;
        if let Some(guard) = Self::try_take(member, *which) {
            return Ok(guard);
        }
        let mut pace = Pace::default();
        let local = &member.turn(*which).local;
        let acquired =
            wait(local, member.generation, timeout, tick, |slice| member.attempt(*which, slice, &mut pace))?;
        Ok(Guard::new(Arc::clone(member) as _, *which, member.generation, acquired))
    }

    /// Takes the lock if it is free and no other thread is due first. Needs no system call and no clock.
    pub(crate) fn try_take(member: &Arc<Member>, which: Which) -> Option<Guard> {
        let held = member.try_take(which);
        held.then(|| Guard::new(Arc::clone(member) as _, which, member.generation, Acquired::Free))
    }

    pub(crate) fn of(member: &Arc<Member>, which: Which) -> Self {
        Self(Arc::clone(member), which)
    }
}

/// What a waiter remembers from slice to slice.
#[derive(Default)]
struct Pace {
    slept: bool,
    probe: Option<(Instant, Duration)>,
}

impl Pace {
    /// The first probe is due a millisecond after the first refusal.
    fn due(&mut self, now: Instant) -> Instant {
        self.probe.get_or_insert((now + FIRST_PROBE, FIRST_PROBE)).0
    }

    fn probed(&mut self, now: Instant) {
        if let Some((due, gap)) = &mut self.probe {
            *gap = (*gap * 2).min(LONGEST_SLEEP);
            *due = now + *gap;
        }
    }
}

impl Member {
    pub(crate) fn is_stale(&self) -> bool {
        fork::generation() != self.generation
    }

    pub(crate) fn is_seen(&self) -> bool {
        self.descriptor.is_ours()
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.map.words()
    }

    pub(crate) fn prefault(&self) -> &Prefault {
        &self.prefault
    }

    /// As [`Map::discard`], where a file may have holes.
    pub(crate) fn discard(&self, words: Range<usize>) {
        if may_have_holes(&self.paths.directory) {
            self.map.discard(words);
        }
    }

    /// As [`Map::forget_pages`].
    pub(crate) fn forget_pages(&self) {
        self.map.forget_pages();
    }

    /// As [`Map::populate`].
    pub(crate) fn populate(&self, words: Range<usize>) {
        self.map.populate(words);
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Makes the next owner of the append lock recover first.
    pub(crate) fn must_recover(&self) {
        self.words()[field::UNRECOVERED].store(1, Relaxed);
    }

    /// Takes a lock if it is free and no other thread is due first. Then the caller must call
    /// [`release`](Self::release).
    #[inline]
    pub(crate) fn try_take(&self, which: Which) -> bool {
        let turn = self.turn(which);
        if self.is_stale() || turn.courtesy.is_owed() || !turn.local.try_lock() {
            return false;
        }
        let taken = word::try_take(&self.word(which), self.slot, false);
        if !taken {
            turn.local.unlock();
        }
        taken
    }

    fn turn(&self, which: Which) -> &Turn {
        match which {
            Which::Database => &self.database,
            Which::Tier => &self.tier,
        }
    }

    fn word(&self, which: Which) -> SharedWord<'_> {
        self.map.lock_word(which)
    }

    /// With the local lock held.
    fn attempt(&self, which: Which, slice: Slice, pace: &mut Pace) -> io::Result<Option<Acquired>> {
        let word = self.word(which);
        self.turn(which).courtesy.pay(|| word::is_free(&word));
        loop {
            if spin(|| word::try_take(&word, self.slot, pace.slept)) {
                return Ok(Some(Acquired::Free));
            }
            let now = Instant::now();
            if now >= slice.until {
                // Once more before the waiting ends for good, however short the timeout was.
                let inherited = slice.last && self.take_over(which)?;
                return Ok(inherited.then_some(Acquired::Inherited));
            }
            let due = pace.due(now);
            if now >= due {
                if self.take_over(which)? {
                    return Ok(Some(Acquired::Inherited));
                }
                pace.probed(now);
                continue;
            }
            if let Some(seen) = word::announce(&word) {
                pace.slept = true;
                word.sleep(seen, (due.min(slice.until) - now).min(LONGEST_SLEEP));
            }
        }
    }

    fn take_over(&self, which: Which) -> io::Result<bool> {
        self.burial.lock();
        let result = word::take_over(&self.word(which), self, self.slot, SLOTS);
        self.burial.unlock();
        result
    }

    /// Frees the word if it names our slot.
    fn free(&self, which: Which) -> bool {
        match word::release(&self.word(which), self.slot) {
            Released::Quietly => true,
            Released::Wake => {
                self.wake(which);
                true
            }
            Released::NotOurs => false,
        }
    }

    fn wake(&self, which: Which) {
        match which {
            // Each has it for long, and would win it back again and again.
            Which::Database if self.word(which).wake(1) => self.turn(which).courtesy.owe(),
            Which::Database => {}
            // Each has it for less than it takes to wake up: one after the other they would wait for the processor as
            // often as they are.
            Which::Tier => _ = self.word(which).wake(i32::MAX.cast_unsigned()),
        }
    }

    pub(crate) fn is_taken(&self, which: Which) -> bool {
        !word::is_free(&self.word(which))
    }

    pub(crate) fn names_us(&self, which: Which) -> bool {
        word::names(&self.word(which), self.slot)
    }
}

/// Tries a few times: both locks are mostly held for less than it takes to fall asleep.
fn spin(mut take: impl FnMut() -> bool) -> bool {
    (0..SPINS).any(|_| {
        let taken = take();
        if !taken {
            std::hint::spin_loop();
        }
        taken
    })
}

impl Release for Member {
    fn is_held(&self, which: Which) -> bool {
        self.names_us(which)
    }

    // The word first, so that a thread that gets the local lock does not find our own name in the word.
    fn release(&self, which: Which) {
        self.free(which);
        self.turn(which).local.unlock();
    }
}

impl OwnerLocks for Member {
    fn claim(&self, slot: u32) -> io::Result<bool> {
        let granted = ofd::try_lock(self.descriptor.borrow()?, slot, LockKind::Exclusive)?;
        // If the program closed our descriptor and its number means another file now, any byte is granted.
        if granted && !self.descriptor.is_ours() {
            return Err(crate::system::descriptor::closed());
        }
        Ok(granted)
    }

    fn release(&self, slot: u32) -> io::Result<()> {
        ofd::unlock(self.descriptor.borrow()?, slot)
    }
}
