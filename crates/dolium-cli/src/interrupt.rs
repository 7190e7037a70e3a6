//! Ctrl-C while a command works: the first asks it to end in order, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static WANTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on a signal only asks. A command that calls this has to look at [`is_wanted`].
pub(crate) fn ask_first() {
    WANTED.get_or_init(|| {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: what the first signal sets, the second finds. Where neither can be had, a signal ends the
            // process at once.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&wanted))
                .and_then(|_| flag::register(signal, Arc::clone(&wanted)));
        }
        wanted
    });
}

/// Whether the user wants the command to end.
pub(crate) fn is_wanted() -> bool {
    WANTED.get().is_some_and(|wanted| wanted.load(Ordering::Relaxed))
}
