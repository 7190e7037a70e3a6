//! Owns telling people that work goes on: on standard error, only on a terminal, and only once the work
//! has taken a second.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const SILENCE: Duration = Duration::from_secs(1);

/// Work of a known number of steps.
pub(crate) struct Progress {
    bar: ProgressBar,
    since: Instant,
    shown: bool,
    template: &'static str,
}

impl Progress {
    pub fn new(steps: usize, message: &'static str) -> Self {
        Self::with(steps as u64, message, "{msg} {wide_bar} {pos}/{len} ({eta} left)")
    }

    /// Work that is measured in bytes.
    pub fn of_bytes(bytes: u64, message: &'static str) -> Self {
        Self::with(bytes, message, "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} ({eta} left)")
    }

    fn with(steps: u64, message: &'static str, template: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        bar.set_message(message);
        Self { bar, since: Instant::now(), shown: false, template }
    }

    pub fn step(&mut self) {
        self.bar.inc(1);
        self.show();
    }

    /// So much is done.
    pub fn reach(&mut self, done: u64) {
        self.bar.set_position(done);
        self.show();
    }

    fn show(&mut self) {
        if !self.shown && self.since.elapsed() >= SILENCE {
            self.shown = true;
            if let Ok(style) = ProgressStyle::with_template(self.template) {
                self.bar.set_style(style);
            }
            // Draws nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Work that tells what it does, but not how much is left.
pub(crate) struct Phases {
    spinner: ProgressBar,
    since: Instant,
    phase: String,
}

impl Phases {
    pub fn new() -> Self {
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        Self { spinner, since: Instant::now(), phase: String::new() }
    }

    /// So much is being done.
    pub fn reach(&mut self, phase: String) {
        if self.since.elapsed() >= SILENCE {
            // Draws nothing where standard error is no terminal.
            self.spinner.set_draw_target(ProgressDrawTarget::stderr());
        }
        if phase != self.phase {
            self.spinner.set_message(phase.clone());
            self.phase = phase;
        }
        self.spinner.tick();
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// Does work that cannot tell how far it is, beside something that turns.
pub(crate) fn while_working<T>(message: &'static str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        // Dropped when the work is over, however it ends.
        let (alive, ended) = channel::<()>();
        scope.spawn(move || {
            if ended.recv_timeout(SILENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let spinner = ProgressBar::new_spinner().with_message(message);
            while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                spinner.tick();
            }
            spinner.finish_and_clear();
        });
        let result = work();
        drop(alive);
        result
    })
}
