//! Flights: one caller computes a key, and those who miss it meanwhile, in this process and in others, wait for its result.
//!
//! A [`Flight`] is the computation, a [`Waiter`] one who waits for it. What they compute and where they keep it is the
//! caller's: a flight knows a mark of the key, and how the computation ended. All of it is advice. A caller that cannot
//! have a flight computes for itself ([`Joined::Alone`]), and a waiter looks again when the flight has ended.
//!
//! The flights of a process lie on its board (`board.rs`). Those that processes share have a lease in `dolium-hot` as well,
//! and a thread waits for the leases of others (`watcher.rs`). A flight belongs to a computation, not to a thread.

mod board;
mod place;
pub(crate) mod watcher;

pub use place::Space;
pub(crate) use place::{Place, mark};

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use dolium_hot::{Claim, Leases, Outcome, Watch, crash_point};

use crate::system::error::{Error, Result};
use board::{Id, Wake};

/// How long a thread waits without asking the interrupt hook.
const SLICE: Duration = Duration::from_millis(40);

/// The same for a thread that has no hook to ask. It looks by itself then, should no other thread wake it.
const LONG_SLICE: Duration = Duration::from_millis(250);

/// How many waiting threads are woken at once. Each one that leaves wakes the next.
const ABREAST: usize = 2;

/// The longest wait where no table can tell a circle.
const BLIND: Duration = Duration::from_mins(1);

/// How a flight ended, for the callers that waited.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The result is stored: look it up.
    Kept,
    /// There is a result, but it is not stored: compute, all at once and without flights.
    Unkept,
    /// It failed in this process, with whatever the owner had to say: the attempt of all who waited here.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The computation has stopped: one of the waiters takes over.
    Left,
}

impl Ended {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Kept => Self::Kept,
            Outcome::Unkept => Self::Unkept,
            // The failure itself is the other process's: one of this process tries.
            Outcome::Failed | Outcome::Left => Self::Left,
        }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Kept => Outcome::Kept,
            Self::Unkept => Outcome::Unkept,
            Self::Failed(_) => Outcome::Failed,
            Self::Left => Outcome::Left,
        }
    }
}

/// The end of a flight, also after those who waited for it have left.
#[derive(Debug, Default)]
struct Ending {
    id: Id,
    outcome: OnceLock<Ended>,
    /// The next flight of the same key that one of those who waited has begun, or joined.
    successor: OnceLock<Arc<Self>>,
    /// The threads that are woken one after the other.
    line: Mutex<VecDeque<Thread>>,
}

impl Ending {
    fn new(id: Id) -> Arc<Self> {
        Arc::new(Self { id, ..Self::default() })
    }

    /// Has threads woken, a few at a time. All at once, they would fight for the interpreter of a host language.
    fn line_up(&self, threads: VecDeque<Thread>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        for _ in 0..ABREAST {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        let next = self.line.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(thread) = next {
            thread.unpark();
        }
    }

    /// The end of the newest flight that came out of this one.
    fn newest(self: &Arc<Self>) -> Arc<Self> {
        let mut newest = self;
        while let Some(successor) = newest.successor.get() {
            newest = successor;
        }
        Arc::clone(newest)
    }
}

/// A flight that the caller has waited for.
#[derive(Clone, Debug)]
pub struct After(Arc<Ending>);

/// What a caller says of itself.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// The flights inside which the caller is, by [`Flight::id`]: they go on when it does. None of them is waited for.
    pub aboard: &'a [u64],
    /// Whether the caller's thread stops while it waits, and with it all flights that the thread has begun.
    pub blocks: bool,
    /// The flight for which the caller has waited in vain. All who waited for it share the next attempt of the process, also
    /// those who come when that is over.
    pub after: Option<&'a After>,
}

impl<'a> Asked<'a> {
    /// A caller inside no flight, whose thread goes on while it waits for the first time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the flights inside which the caller is.
    #[must_use]
    pub fn aboard(mut self, flights: &'a [u64]) -> Self {
        self.aboard = flights;
        self
    }

    /// Says whether the caller's thread stops while it waits.
    #[must_use]
    pub fn blocks(mut self, blocks: bool) -> Self {
        self.blocks = blocks;
        self
    }

    /// Names the flight for which the caller has waited in vain.
    #[must_use]
    pub fn after(mut self, flight: Option<&'a After>) -> Self {
        self.after = flight;
        self
    }
}

/// What a caller is to do.
#[derive(Debug)]
#[must_use = "the caller has to compute or wait"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle each")]
pub enum Joined {
    /// Look once more, compute, store, then end the flight.
    Owner(Flight),
    /// Wait.
    Waiter(Waiter),
    /// Compute without a flight: waiting would close a circle, or there is no room for a lease.
    Alone,
}

/// A computation that others may wait for. Dropped, it ends as [`Ended::Left`]. In a forked child it is nothing.
#[derive(Debug)]
#[must_use = "the flight ends when this is dropped"]
pub struct Flight {
    id: Id,
    generation: u64,
    lease: Option<(Leases, Watch)>,
}

impl Flight {
    /// Names the flight in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Ends the flight. If the result is kept, the caller stores it before.
    pub fn end(mut self, ended: Ended) {
        self.finish(ended);
    }

    fn finish(&mut self, ended: Ended) {
        let id = std::mem::take(&mut self.id);
        if id == 0 || self.generation != dolium_hot::generation() {
            return;
        }
        // First: a caller that then finds no flight of this process must not find its own process's lease.
        if let Some((leases, lease)) = self.lease.take() {
            leases.release(lease, ended.outcome());
        }
        board::end(id, ended);
        crash_point("flight ended");
    }

    /// Joins those who wait for this flight: for a computation that is not done by its caller.
    pub fn join(&self, asked: Asked<'_>) -> Waiter {
        let (ending, from) = board::with(|board| board.board(self.id, asked)).unwrap_or_default();
        Waiter::new(self.id, ending, from, None)
    }

    /// Calls `f` whenever none is left who waits for this flight, in whatever thread. It must not wait.
    pub fn on_desertion(&self, f: impl Fn() + Send + Sync + 'static) {
        board::with(|board| board.set_deserted(self.id, Arc::new(f)));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.finish(Ended::Left);
    }
}

/// A caller that waits for a flight. Dropped, it waits no longer.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct Waiter {
    id: Id,
    generation: u64,
    ending: Arc<Ending>,
    from: Vec<Id>,
    /// Looks after the leases of other processes, if no thread can.
    watched: Option<Leases>,
    limit: Option<Duration>,
    /// Calls that the board knows of.
    calls: Mutex<Vec<u64>>,
}

impl Waiter {
    fn new(id: Id, ending: Arc<Ending>, from: Vec<Id>, watched: Option<Leases>) -> Self {
        let limit = board::with(|board| board.is_blind(id, &from)).then_some(BLIND);
        let calls = Mutex::default();
        Self { id, generation: dolium_hot::generation(), ending, from, watched, limit, calls }
    }

    /// Returns how long waiting makes sense, or `None` if that is as long as the flight lasts.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Whether flights wait with the caller, so that it tells other processes when it leaves.
    #[must_use]
    pub fn holds_up_flights(&self) -> bool {
        !self.from.is_empty()
    }

    /// For [`Asked::after`].
    #[must_use]
    pub fn after(&self) -> After {
        After(Arc::clone(&self.ending))
    }

    /// How the flight ended; `None` while it goes on.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        if self.generation != dolium_hot::generation() {
            return Some(Ended::Left);
        }
        self.ending.outcome.get().cloned()
    }

    /// Waits until the flight ends. Returns `None` if it has not, and `patience` or the limit is over. Asks `tick`, if
    /// there is one, at least every 50 ms whether to go on, with nothing held. Drop the waiter soon: the threads that
    /// waited are woken one after the other, each by one that no longer waits.
    pub fn wait(
        &self,
        patience: Option<Duration>,
        mut tick: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<Option<Ended>> {
        let slice = if tick.is_some() || self.watched.is_some() { SLICE } else { LONG_SLICE };
        let patience = patience.into_iter().chain(self.limit).min();
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let token = board::with(|board| board.wake(self.id, Wake::Thread(std::thread::current())));
        let ended = loop {
            if let Some(ended) = self.ended() {
                break Some(ended);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break None;
            }
            if let Some(leases) = &self.watched {
                watcher::look(leases);
            }
            std::thread::park_timeout(left.map_or(slice, |left| left.min(slice)));
            if tick.as_mut().is_some_and(|tick| !tick()) {
                board::forget(self.id, token);
                return Err(Error::Interrupted);
            }
        };
        if ended.is_none() {
            board::forget(self.id, token);
        }
        Ok(ended)
    }

    /// Calls `f` when the flight ends, in whatever thread, or at once if it has. It must not wait.
    pub fn call(&self, f: impl FnOnce() + Send + 'static) {
        let mut f: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(f));
        let token = board::with(|board| {
            let f = if board.knows(self.id) { f.take() } else { None };
            f.map(|f| board.wake(self.id, Wake::Call(f)))
        });
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).extend(token);
        if let Some(f) = f {
            f();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.generation == dolium_hot::generation() {
            let calls = self.calls.get_mut().unwrap_or_else(PoisonError::into_inner);
            for token in calls {
                board::forget(self.id, *token);
            }
            board::leave(self.id, &self.from);
            if self.ending.outcome.get().is_some() {
                self.ending.wake_next();
            }
        }
    }
}

/// Joins the flight of a key, given as a hash of it, or begins one. Not inside the gate.
pub(crate) fn join(space: &Space<'_>, mark: u128, asked: Asked<'_>) -> Joined {
    let (id, from) = match board::with(|board| board.join(space.id(), mark, asked)) {
        board::Found::Circle => return Joined::Alone,
        board::Found::Waits(id, ending, from) => {
            let waiter = Waiter::new(id, ending, from, None);
            let is_circle = !waiter.from.is_empty() && !board::link(id);
            return if is_circle { Joined::Alone } else { Joined::Waiter(waiter) };
        }
        board::Found::Begun(id, from) => (id, from),
    };
    crash_point("flight begun");
    // From here on the flight ends, whatever happens.
    let mut flight = Flight { id, generation: dolium_hot::generation(), lease: None };
    let Some((leases, claim)) = space.claim(mark) else { return Joined::Owner(flight) };
    match claim {
        Claim::Ours(lease) => {
            board::with(|board| board.set_lease(id, &leases, lease));
            flight.lease = Some((leases, lease));
            crash_point("flight leased");
            Joined::Owner(flight)
        }
        Claim::Theirs(watch) => {
            let ending = board::with(|board| board.set_remote(id, &leases, watch, &from));
            // It ends when the other process's does.
            flight.id = 0;
            let is_watched = watcher::watch(&leases);
            let waiter = Waiter::new(id, ending, from, (!is_watched).then(|| leases.clone()));
            if let Some(outcome) = leases.outcome(watch) {
                board::end(id, Ended::of(outcome));
            }
            if board::with(|board| board.is_awaited_by_flights(id)) && !board::link(id) {
                // Each waiting caller computes for itself.
                board::end(id, Ended::Unkept);
                return Joined::Alone;
            }
            Joined::Waiter(waiter)
        }
        Claim::Full | Claim::Lost => Joined::Owner(flight),
    }
}
