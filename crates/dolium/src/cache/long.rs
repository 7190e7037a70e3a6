//! Work on one cache that may take long, on a thread of its own: the caller may not wait for a host language while it has
//! a connection open, and so can end the work at any time. A backup has a thread in the same way.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sqlite::{InterruptHandle, Raw};
use crate::store::fork;
use crate::system::error::{Error, Result};
use crate::system::wait::{may_continue, obey};

use super::Cache;

/// How often the caller is asked whether it still wants the work.
const TICK: Duration = Duration::from_millis(50);

/// Ticks that the caller waits for work that it has ended. What takes longer ends without it, and changes nothing.
const ENDING: u32 = 2;

/// How far the end has been decided.
const WORKING: u8 = 0;
const COMMITTING: u8 = 1;
const STOPPED: u8 = 2;

/// Work under way.
#[derive(Default)]
pub(super) struct Work {
    end: AtomicU8,
    /// Tells the worker while it waits.
    stopped: Arc<AtomicBool>,
    /// The statement that runs.
    statement: Mutex<Option<InterruptHandle>>,
    phase: Mutex<&'static str>,
}

impl Work {
    /// Says what is done from now on. Fails if the caller has ended the work.
    pub fn enter(&self, phase: &'static str) -> Result<()> {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.go_on()
    }

    pub fn go_on(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Decides that the work will be complete. Fails if the caller has ended it.
    pub fn complete(&self) -> Result<()> {
        let decided = self.end.compare_exchange(WORKING, COMMITTING, Ordering::SeqCst, Ordering::SeqCst);
        match decided {
            Err(STOPPED) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// Takes the decision back, because the work begins again.
    pub fn again(&self) {
        let _ = self.end.compare_exchange(COMMITTING, WORKING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Runs statements that the caller may interrupt.
    pub fn on<T>(&self, connection: &Raw, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let running = |handle| *self.statement.lock().unwrap_or_else(PoisonError::into_inner) = handle;
        running(Some(connection.get_interrupt_handle()));
        let done = self.go_on().and_then(|()| f());
        running(None);
        match done {
            Err(_) if self.stopped.load(Ordering::Relaxed) => Err(Error::Interrupted),
            done => done,
        }
    }

    /// Ends the work, unless it is about to be complete.
    fn stop(&self) -> bool {
        if self.end.compare_exchange(WORKING, STOPPED, Ordering::SeqCst, Ordering::SeqCst) == Err(COMMITTING)
        {
            return false;
        }
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(statement) = &*self.statement.lock().unwrap_or_else(PoisonError::into_inner) {
            statement.interrupt();
        }
        true
    }

    fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does work on a cache. `watch` is called about every 50 ms with what is being done. If it returns `false`, or the
/// interrupt hook does, the work ends with [`Error::Interrupted`]. Within a transaction of the calling context it is part
/// of that, and cannot be ended.
pub(super) fn run<T: Send + 'static>(
    cache: &Cache,
    watch: &mut dyn FnMut(&'static str) -> bool,
    f: impl FnOnce(&Cache, &Work) -> Result<T> + Send + 'static,
) -> Result<T> {
    let work = Arc::new(Work::default());
    if cache.in_transaction() {
        return f(cache, &work);
    }
    // To the worker it would be another thread's, whose transaction ends some time.
    cache.handle.refuse_neighbor()?;
    let (tell, told) = channel();
    let directory = cache.directory().to_path_buf();
    let generation = fork::generation();
    let (worker, own) = (Arc::clone(&work), cache.clone());
    std::thread::Builder::new()
        .name("dolium-work".into())
        .spawn(move || {
            obey(Arc::clone(&worker.stopped));
            // The caller has left if it has ended the work, and in a forked child, where this thread is not.
            let _ = tell.send(f(&own, &worker));
        })
        .map_err(Error::io(directory.clone()))?;
    let mut left = ENDING;
    let mut is_wanted = true;
    loop {
        match told.recv_timeout(TICK) {
            // The host language has something to raise, even if the work was complete by then.
            Ok(_) if !is_wanted => return Err(Error::Interrupted),
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                let source = std::io::Error::other("the thread that works ended early");
                return Err(Error::Io { path: directory, source });
            }
            Err(RecvTimeoutError::Timeout) if fork::generation() != generation => {
                return Err(Error::Forked { directory });
            }
            Err(RecvTimeoutError::Timeout) => {
                is_wanted = is_wanted && may_continue() && watch(work.phase());
                if !is_wanted && work.stop() {
                    if left == 0 {
                        return Err(Error::Interrupted);
                    }
                    left -= 1;
                }
            }
        }
    }
}
