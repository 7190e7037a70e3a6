//! One process's membership in a directory's shared memory.
//!
//! Owns the slot, the mapping and the lock D. Refuses to outlive a fork: in a child every inherited `Shared` is stale,
//! its locks answer [`LockError::Forked`], and dropping it touches nothing that the parent uses.

use crate::access::Access;
use crate::attach::{self, Joined, Paths};
use crate::descriptor::{Descriptor, Identity};
use crate::error::{AttachError, LockError};
use crate::fork;
use crate::guard::{Guard, Held};
use crate::health::{Health, check_lock_file};
use crate::local::{Courtesy, LocalLock};
use crate::map::{Map, SharedWord};
use crate::ofd::{self, Kind, SLOTS};
use crate::wait::{Acquired, Slice, wait};
use crate::word::{self, Graves, Released};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a waiter first asks whether the owner lives.
const FIRST_PROBE: Duration = Duration::from_millis(1);
/// Nobody sleeps longer without looking, and probes come at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(16);

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
    epoch: u64,
    generation: u64,
    heir: bool,
    /// Comes before the word: the word does not tell threads apart.
    local: LocalLock,
    /// Neither do the byte locks, so only one thread of a process buries at a time, whichever word it is for.
    burial: LocalLock,
    courtesy: Courtesy,
}

impl Shared {
    /// Joins `directory`, which must exist, and makes `cache.hot` and `cache.lock` there if need be. Waits at most about
    /// ten seconds, and only for others that are doing the same or have not yet noticed that the file was deleted.
    ///
    /// Drop an unhealthy `Shared` before attaching anew: its own slot counts as in use.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let paths = Paths::of(directory)?;
        let generation = fork::generation();
        let Joined { descriptor, slot, map, hot, epoch } = attach::join(&paths, access)?;
        let mut member = Member {
            paths,
            descriptor,
            slot,
            map,
            hot,
            epoch,
            generation,
            heir: false,
            local: LocalLock::new(),
            burial: LocalLock::new(),
            courtesy: Courtesy::default(),
        };
        // The last owner of this slot may have died with the lock. The byte is ours now, and so is the right to free it.
        member.heir = member.free();
        Ok(Self(Arc::new(member)))
    }

    /// The lock D: who may write the database.
    #[must_use]
    pub fn lock(&self) -> Lock {
        Lock(Arc::clone(&self.0))
    }

    /// Our slot, 0 to 4,095.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.0.slot
    }

    /// Names the life of the shared file: another number means that everybody had left, or the file was replaced.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Whether the process that had this slot before died holding D, which was freed here on its behalf.
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
            Ok(found) if Identity::of(&found) == member.hot && found.len() >= crate::layout::FILE_LEN => {
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

/// The lock D of a [`Shared`], which it keeps attached.
#[derive(Clone, Debug)]
pub struct Lock(Arc<Member>);

impl Lock {
    /// Waits at most `patience` (`None`: for ever). `tick` is called at least every 50 ms of waiting, with nothing held:
    /// it may use this lock. False makes the waiting end with [`LockError::Interrupted`].
    ///
    /// Not re-entrant: a thread that waits for itself waits for its whole patience.
    pub fn acquire(
        &self,
        patience: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        let member = &self.0;
        let mut pace = Pace::default();
        let acquired =
            wait(&member.local, member.generation, patience, tick, |slice| member.attempt(slice, &mut pace))?;
        Ok(Guard::new(Held::Word(Arc::clone(member)), member.generation, acquired))
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

    fn word(&self) -> SharedWord<'_> {
        self.map.d()
    }

    /// With the local lock held.
    fn attempt(&self, slice: Slice, pace: &mut Pace) -> io::Result<Option<Acquired>> {
        let word = self.word();
        self.courtesy.pay(|| word::is_free(&word));
        loop {
            if word::try_take(&word, self.slot, pace.slept) {
                return Ok(Some(Acquired::Free));
            }
            let now = Instant::now();
            if now >= slice.until {
                // Once more before the waiting ends for good, however short the patience was.
                let inherited = slice.last && self.bury()?;
                return Ok(inherited.then_some(Acquired::Inherited));
            }
            let due = pace.due(now);
            if now >= due {
                if self.bury()? {
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

    fn bury(&self) -> io::Result<bool> {
        self.burial.lock();
        let result = word::bury(&self.word(), self, self.slot, SLOTS);
        self.burial.unlock();
        result
    }

    /// Frees the word if it names our slot.
    fn free(&self) -> bool {
        match word::release(&self.word(), self.slot) {
            Released::Quietly => true,
            Released::Wake => {
                if self.word().wake_one() {
                    self.courtesy.owe();
                }
                true
            }
            Released::NotOurs => false,
        }
    }

    /// For the guard: the word first, so that nobody who gets the local lock finds our own name in the word.
    pub(crate) fn release(&self) {
        self.free();
        self.local.unlock();
    }

    pub(crate) fn names_us(&self) -> bool {
        word::names(&self.word(), self.slot)
    }
}

impl Graves for Member {
    fn claim(&self, slot: u32) -> io::Result<bool> {
        let granted = ofd::try_lock(self.descriptor.borrow()?, slot, Kind::Exclusive)?;
        // If the program closed our descriptor and its number means another file now, any byte is granted.
        if granted && !self.descriptor.is_ours() {
            return Err(crate::descriptor::closed());
        }
        Ok(granted)
    }

    fn release(&self, slot: u32) -> io::Result<()> {
        ofd::unlock(self.descriptor.borrow()?, slot)
    }
}
