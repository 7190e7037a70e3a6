//! The command line of dolium: looks into caches, changes them, moves them.
//!
//! A command is parsed (`args`), resolved to a store, keys and values (`open`, `key`, `plain`), and acted
//! out (`commands`). Data goes to standard output, talk to standard error. There is one map of exit codes
//! (`outcome`), and a pipe that nobody reads any more is a success.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod encoding;
mod help;
mod human;
mod interrupt;
mod json;
mod json_disk;
mod key;
mod keyboard;
mod open;
mod outcome;
mod output;
mod plain;
mod progress;
mod transfer;

use std::ffi::OsString;

use clap::Parser;

/// What fuzzing needs: descriptions of any bytes.
#[doc(hidden)]
pub mod fuzz {
    use crate::plain;

    /// What a pickle says, if it is one.
    #[must_use]
    pub fn describe(pickle: &[u8]) -> Option<String> {
        plain::describe(pickle).map(|description| description.data.to_string())
    }

    /// What `MessagePack` says, if the bytes are.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<String> {
        plain::unpack(bytes).map(|data| data.to_string())
    }
}

/// Runs a command line, its first element being the name of the program. Returns the exit code: 0 for done
/// or found, 1 for not found or problems found, 2 for an error, of usage too.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    match args::Cli::try_parse_from(args) {
        Ok(cli) => outcome::report(commands::act(cli)),
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            if error.use_stderr() { outcome::ERROR } else { outcome::OK }
        }
    }
}
