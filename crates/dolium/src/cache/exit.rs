//! What happens when the process ends without closing its caches: the hot tier is drained, as `close` drains it.
//!
//! A program that ends returns from `main` or calls `exit`. One that is killed runs nothing, and the next process that
//! opens the cache replays the dirty records in `cache.hot`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the end of the process waits: as long as closing may wait for another program's transaction, and a little.
const LONGEST: Duration = Duration::from_secs(65);

/// How often it looks whether all is closed.
const LOOK: Duration = Duration::from_micros(200);

/// A host language has closed the caches itself.
static CLOSED: AtomicBool = AtomicBool::new(false);

static ENDED: AtomicBool = AtomicBool::new(false);

/// Asks to be told of the end.
pub(crate) fn register() {
    // Not a `Once`: a child that another thread forks in the middle of it would wait for ever. Threads that come at once all
    // register, and the first counts.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Ordering::Acquire) {
        // Where the C library takes no more of them, `cache.hot` is replayed later.
        let _ = dolium_hot::on_exit(end);
        IS_DONE.store(true, Ordering::Release);
    }
}

/// From now on the end of the process changes nothing.
pub(crate) fn forget() {
    CLOSED.store(true, Ordering::Relaxed);
}

fn end() {
    if CLOSED.load(Ordering::Relaxed) {
        return;
    }
    // The thread that ends the process has destroyed its thread-local variables, which the engine needs.
    let closing = std::thread::Builder::new().name("dolium-exit".into()).spawn(|| {
        crate::system::wait::never_ask_hook();
        super::host::shutdown();
        ENDED.store(true, Ordering::Release);
    });
    let since = Instant::now();
    while closing.as_ref().is_ok_and(|thread| !thread.is_finished())
        && !ENDED.load(Ordering::Acquire)
        && since.elapsed() < LONGEST
    {
        std::thread::sleep(LOOK);
    }
}
