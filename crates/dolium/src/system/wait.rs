//! Owns waiting: how long a caller is ready to wait, pauses between tries, and the hook that lets a
//! host language deliver signals meanwhile.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::system::error::{Error, Result};

/// How long an operation may wait for other writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// At most this long, then [`Error::Timeout`].
    AtMost(Duration),
    /// As long as it takes.
    Forever,
}

type InterruptHook = fn() -> bool;

static HOOK: OnceLock<InterruptHook> = OnceLock::new();

/// Sets the function that is called at least every 50 ms while an operation waits, with no lock of the
/// engine held. If it returns `false`, the operation ends with [`Error::Interrupted`]. Only the first
/// call counts.
pub fn set_interrupt_hook(hook: fn() -> bool) {
    let _ = HOOK.set(hook);
}

thread_local! {
    static UNHOOKED: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is the engine's own: it never asks the hook, which may wait for a thread (Python's
/// interpreter lock held across a fork) that waits for this one.
pub(crate) fn never_ask_hook() {
    UNHOOKED.set(true);
}

/// Whether the calling thread is the engine's own.
pub(crate) fn is_own_thread() -> bool {
    UNHOOKED.get()
}

thread_local! {
    static OBEYED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// The calling thread is the engine's own, and works for a caller that ends the work by this flag.
pub(crate) fn obey(stopped: Arc<AtomicBool>) {
    OBEYED.set(Some(stopped));
}

pub(crate) fn may_continue() -> bool {
    let is_stopped = OBEYED.with_borrow(|stopped| stopped.as_ref().map(|it| it.load(Ordering::Relaxed)));
    if let Some(is_stopped) = is_stopped {
        return !is_stopped;
    }
    UNHOOKED.get() || HOOK.get().is_none_or(|hook| hook())
}

/// Pause before the second try, and longest pause between two tries.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(16);

/// One operation's wait.
pub(crate) struct Deadline {
    wait: Wait,
    end: Option<Instant>,
    pause: Duration,
    longest: Duration,
}

impl Deadline {
    pub fn new(wait: Wait) -> Self {
        let end = match wait {
            Wait::AtMost(timeout) => Instant::now().checked_add(timeout),
            Wait::Forever => None,
        };
        Self { wait, end, pause: SHORTEST, longest: LONGEST }
    }

    /// The wait of an operation that must get between the transactions of another program.
    pub fn eager(wait: Wait) -> Self {
        Self { longest: SHORTEST, ..Self::new(wait) }
    }

    /// Returns what is left of the time, or `None` if there is no limit.
    pub fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// How long the caller was ready to wait.
    pub fn waited(&self) -> Duration {
        match self.wait {
            Wait::AtMost(timeout) => timeout,
            Wait::Forever => Duration::MAX,
        }
    }

    /// Sleeps before another try, after asking the hook. `Ok(false)`: the time is over. Not inside the fork gate.
    pub fn pause(&mut self) -> Result<bool> {
        if may_continue() { Ok(self.sleep()) } else { Err(Error::Interrupted) }
    }

    /// Sleeps before another try. Returns `false` if the time is over.
    pub fn sleep(&mut self) -> bool {
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        std::thread::sleep(left.map_or(self.pause, |left| left.min(self.pause)));
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}
