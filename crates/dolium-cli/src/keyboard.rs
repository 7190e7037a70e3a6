//! The keys that a user presses on a terminal, one by one, while a command shows something.

use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::interrupt;

/// How often a wait without a keyboard looks for a signal.
const LOOK: Duration = Duration::from_millis(100);

/// The keyboard, if there is one. Dropped, it leaves the terminal as it was.
pub(crate) struct Keyboard {
    before: Option<Termios>,
}

impl Keyboard {
    /// Takes the keyboard over. Signals that end a command only ask from now on, because the terminal has to be left in
    /// order.
    pub fn new() -> Self {
        interrupt::ask_first();
        Self { before: take_over() }
    }

    /// Waits for a key, at most for a time.
    pub fn wait(&self, time: Duration) -> Option<u8> {
        let since = Instant::now();
        while !interrupt::is_wanted() {
            let left = time.saturating_sub(since.elapsed()).min(LOOK);
            if left.is_zero() {
                return None;
            }
            if self.before.is_none() {
                thread::sleep(left);
            } else if is_pressed(left) {
                let mut key = [0];
                return match rustix::io::read(stdin(), &mut key) {
                    Ok(1) => Some(key[0]),
                    // The terminal is gone.
                    _ => Some(b'q'),
                };
            }
        }
        None
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

fn take_over() -> Option<Termios> {
    // A process in the background would be stopped.
    let is_ours = std::io::stdin().is_terminal() && tcgetpgrp(stdin()).ok() == Some(getpgrp());
    let before = is_ours.then(|| tcgetattr(stdin()).ok()).flatten()?;
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Now, &modes).ok()?;
    Some(before)
}

fn is_pressed(time: Duration) -> bool {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let stdin = stdin();
    poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&time)).is_ok_and(|ready| ready > 0)
}
