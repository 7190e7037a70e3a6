//! Owns keeping transactions out of the way of a fork that is announced: the child of a fork can use no
//! directory on which another thread had a transaction open.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::store::Handle;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::wait::may_continue;

/// How many forks are about to happen: no transaction begins meanwhile.
static PAUSES: AtomicU32 = AtomicU32::new(0);

/// How often a thread that waits for a transaction, or for a fork, looks.
const LOOK: Duration = Duration::from_millis(1);

/// How long a fork holds up a transaction at most. After that the fork has taken place, or the thread that announced it
/// is gone.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Announces a fork: waits until the transactions of other threads are over, at most as long as `limit`, and lets
/// none begin until [`resume_transactions`]. The child of a fork cannot use a directory with an open one.
///
/// For a host language to call before it forks, holding nothing that those threads wait for. The transaction of
/// the calling thread goes on.
pub fn pause_transactions(limit: Duration) {
    crate::store::fork::register();
    PAUSES.fetch_add(1, Ordering::SeqCst);
    let end = Instant::now() + limit;
    while others_have_transactions() && Instant::now() < end {
        std::thread::sleep(LOOK);
    }
}

/// Ends a pause: to be called after the fork, by the parent. In the child it has ended.
pub fn resume_transactions() {
    let _ = PAUSES.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |pauses| pauses.checked_sub(1));
}

/// In a forked child, or where the fork never came.
pub(crate) fn end_pauses() {
    PAUSES.store(0, Ordering::SeqCst);
}

fn others_have_transactions() -> bool {
    let _inside = fork_gate::enter();
    Handle::all().iter().any(|handle| {
        let slot = handle.transaction.lock();
        slot.is_some() && !handle.transaction.is_of_thread()
    })
}

/// Whether the calling thread has a transaction, on whatever directory: then a fork waits for it to end.
pub(crate) fn has_transaction() -> bool {
    let _inside = fork_gate::enter();
    Handle::all().iter().any(|handle| handle.transaction.is_of_thread())
}

pub(crate) fn is_paused() -> bool {
    PAUSES.load(Ordering::SeqCst) > 0
}

/// Waits for forks to be over, unless they wait for the calling thread. Not inside the fork gate.
pub(crate) fn wait_for_forks() -> Result<()> {
    if !is_paused() || has_transaction() {
        return Ok(());
    }
    let start = Instant::now();
    while is_paused() && start.elapsed() < LONGEST_PAUSE {
        if !may_continue() {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(LOOK);
    }
    if start.elapsed() >= LONGEST_PAUSE {
        end_pauses();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;

    #[test]
    fn a_pause_waits_for_others_and_keeps_new_ones_out() {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::open(directory.path()).expect("opened");
        let mine = Cache::open(tempfile::tempdir().expect("directory").path()).expect("opened");
        let transaction = mine.transact().expect("begun");
        std::thread::scope(|scope| {
            let (begun, wait) = std::sync::mpsc::channel();
            let first = cache.clone();
            scope.spawn(move || {
                let transaction = first.transact().expect("begun");
                begun.send(()).expect("heard");
                std::thread::sleep(Duration::from_millis(100));
                first.set("a", 1).expect("set");
                transaction.commit().expect("committed");
            });
            wait.recv().expect("begun");
            pause_transactions(Duration::from_secs(50));
            // As the fork does: a commit under way is waited for there.
            assert!(fork_gate::close());
            fork_gate::open();
            assert!(cache.contains("a").expect("read"), "the pause began before the transaction was over");
            let second = scope.spawn(|| cache.transact().and_then(crate::Transaction::commit));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            // The thread that the pause waits for may begin another.
            mine.transact().and_then(crate::Transaction::commit).expect("nested");
            resume_transactions();
            second.join().expect("no panic").expect("begun after the pause");
        });
        transaction.commit().expect("committed");
        let start = Instant::now();
        pause_transactions(Duration::from_secs(50));
        resume_transactions();
        assert!(start.elapsed() < Duration::from_secs(1), "it waits though no transaction is open");
    }
}
