//! Owns how a command ends: the exit codes, and what is said on standard error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Done, or found.
pub(crate) const OK: i32 = 0;
/// Not found, or problems found.
pub(crate) const NOT_FOUND: i32 = 1;
/// An error, of usage too.
pub(crate) const ERROR: i32 = 2;
/// The user ended the command, as a shell calls it.
pub(crate) const INTERRUPTED: i32 = 130;

/// How a command ends that meets no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, or found.
    Done,
    /// What was asked for is not there, or is not as it should be.
    NotFound,
}

impl From<bool> for Outcome {
    fn from(found: bool) -> Self {
        if found { Self::Done } else { Self::NotFound }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// The engine says why.
    Engine(dolium::Error),
    /// A file that is no part of a cache.
    File(PathBuf, io::Error),
    /// Standard output or input.
    Stream(io::Error),
    /// There is no such directory.
    NoDirectory(PathBuf),
    /// The user ended the command, which says how far it came.
    Interrupted(String),
    /// Anything else, in a whole sentence.
    Other(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File(path.to_path_buf(), error)
    }

    /// Whether whoever read our output has heard enough.
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => write!(f, "{message}; `dolium --help` tells more"),
            Self::Engine(error) => write!(f, "{error}"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Stream(error) => write!(f, "standard input or output: {error}"),
            Self::NoDirectory(path) => write!(f, "{}: there is no such directory", path.display()),
            Self::Interrupted(message) | Self::Other(message) => f.write_str(message),
        }
    }
}

impl From<dolium::Error> for Failure {
    fn from(error: dolium::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// What every step of a command returns.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The exit code of a command, after telling why.
pub(crate) fn report(ended: Result<Outcome>) -> i32 {
    match ended {
        Ok(Outcome::Done) => OK,
        Ok(Outcome::NotFound) => NOT_FOUND,
        Err(failure) if failure.is_broken_pipe() => OK,
        Err(Failure::Engine(dolium::Error::Interrupted)) => {
            say("interrupted; nothing was changed");
            INTERRUPTED
        }
        Err(failure @ Failure::Interrupted(_)) => {
            say(&failure.to_string());
            INTERRUPTED
        }
        Err(failure) => {
            say(&failure.to_string());
            ERROR
        }
    }
}

/// Says something to the user, not to the next program in the pipe.
pub(crate) fn say(message: &str) {
    use io::Write;
    // Nobody is left to tell if this cannot be printed.
    let _ = writeln!(io::stderr(), "dolium: {message}");
}
