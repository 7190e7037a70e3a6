//! What the end of the process does to us: one call of the engine's, before the process is gone.
//!
//! Does not know what the engine does then. A process that is killed, or that calls `_exit`, makes no such call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

static HOOK: OnceLock<fn()> = OnceLock::new();

/// Registers what `exit`, or a return from `main`, calls before the process ends. The first registration of a process
/// wins; returns `false` if there was one, or if the C library takes no more.
///
/// Other threads still run then. The calling thread has destroyed its thread-local variables, so that the hook must not
/// use them.
pub fn on_exit(hook: fn()) -> bool {
    // SAFETY: the handler is an `extern "C"` function that lives as long as the program, or until the library that
    // holds it is unloaded, which is when the C library calls it.
    HOOK.set(hook).is_ok() && unsafe { libc::atexit(run) } == 0
}

extern "C" fn run() {
    if let Some(hook) = HOOK.get() {
        // A panic must not unwind into C. It has been printed.
        let _ = catch_unwind(AssertUnwindSafe(hook));
    }
}
