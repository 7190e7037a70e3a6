//! The threads that wait for the computations of other processes, one for each table of leases.
//!
//! A fork ends them first, as it ends the housekeeper, so that a process with one thread forks as one. A thread that calls a host
//! language at that moment is left alone: the language may hold what that call needs until the fork is done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dolium_hot::Leases;

use super::{Ended, board};

/// How often the owners of leases are asked whether they live.
const PROBE: Duration = Duration::from_millis(50);

/// How long a thread stays when there is nothing to wait for.
const IDLE: Duration = Duration::from_secs(1);

/// How long a fork waits for the threads.
const ENDING: Duration = Duration::from_millis(50);

/// A fork is about to happen.
static IS_PAUSED: AtomicBool = AtomicBool::new(false);

/// Has the table looked after from now on. Returns `false` if the system refuses a thread, so that waiting callers look
/// themselves.
pub(super) fn watch(leases: &Leases) -> bool {
    if IS_PAUSED.load(Ordering::SeqCst) || !board::with(|board| board.must_watch(leases)) {
        return true;
    }
    let table = leases.clone();
    let Ok(thread) = thread::Builder::new().name("dolium-flights".into()).spawn(move || run(&table)) else {
        drop(board::with(|board| board.unwatch(leases)));
        return false;
    };
    drop(board::with(|board| board.keep_thread(thread)));
    true
}

/// Before a fork. Not inside the gate.
pub(crate) fn pause() {
    IS_PAUSED.store(true, Ordering::SeqCst);
    let (threads, tables) = board::with(board::Board::take_threads);
    tables.iter().for_each(Leases::ring);
    let start = Instant::now();
    for thread in threads {
        while !thread.is_finished() && start.elapsed() < ENDING {
            thread::sleep(Duration::from_micros(100));
        }
        if thread.is_finished() {
            // A panic has been printed.
            let _ = thread.join();
        }
    }
}

/// After a fork, in the parent and in the child, which has no flights.
pub(crate) fn resume() {
    IS_PAUSED.store(false, Ordering::SeqCst);
    for leases in board::with(|board| board.tables_awaited()) {
        watch(&leases);
    }
}

/// One look, which ends what is over and frees what the dead have left.
pub(super) fn look(leases: &Leases) {
    for (id, watch) in board::with(|board| board.remotes(leases)) {
        leases.probe(watch);
        if let Some(outcome) = leases.outcome(watch) {
            board::end(id, Ended::of(outcome));
        }
    }
}

fn run(leases: &Leases) {
    crate::system::wait::never_ask_hook();
    let (mut busy, mut probed) = (Instant::now(), Instant::now());
    loop {
        let bell = leases.bell();
        let remotes = board::with(|board| board.remotes(leases));
        if !remotes.is_empty() {
            busy = Instant::now();
        }
        let is_paused = IS_PAUSED.load(Ordering::SeqCst);
        if is_paused || busy.elapsed() > IDLE {
            // Callers that come now start another thread.
            let last = board::with(|board| {
                if is_paused || board.remotes(leases).is_empty() { board.unwatch(leases) } else { None }
            });
            if last.is_some() {
                return;
            }
        }
        if probed.elapsed() >= PROBE {
            for (_, watch) in &remotes {
                leases.probe(*watch);
            }
            probed = Instant::now();
        }
        for (id, watch) in remotes {
            if let Some(outcome) = leases.outcome(watch) {
                board::end(id, Ended::of(outcome));
            }
        }
        leases.sleep(bell, PROBE);
    }
}
