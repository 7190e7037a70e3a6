//! The one error type of the engine, and how failures of SQLite and of the system become one.
//! Does not decide about retries: see `handle`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::system::files;

/// Free bytes below which a file that cannot be made or lengthened is blamed on the full disk.
const FULL: u64 = 1 << 20;

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each message says what happened, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other writers kept the cache locked for longer than the caller was ready to wait.
    #[error(
        "{}: other writers kept the cache locked for {} s; raise `timeout`, or try again",
        directory.display(),
        seconds(*waited)
    )]
    Timeout {
        /// The directory of the cache.
        directory: PathBuf,
        /// How long the caller was ready to wait.
        waited: Duration,
        /// Entries that a bulk removal had already removed and committed.
        done: usize,
    },
    /// The interrupt hook (see [`set_interrupt_hook`](crate::host::set_interrupt_hook)) asked to stop waiting.
    #[error("interrupted while waiting for the cache")]
    Interrupted,
    /// `incr` or `decr` without a default met a key that is not there.
    #[error("the key is not in the cache, and no default was given")]
    Missing,
    /// `pop_if` or `pull_if` met a value that the caller does not accept; nothing was changed.
    #[error("the caller did not accept the value, which stays in the cache")]
    Refused,
    /// `incr` or `decr` met a value that is not a 64-bit integer or a float.
    #[error("the stored value is not a 64-bit integer or a float, so nothing can be added to it")]
    NotANumber,
    /// `incr` or `decr` would leave the range of a 64-bit integer.
    #[error("the sum does not fit into a 64-bit integer")]
    Overflow,
    /// A write to a cache that was opened read-only, or whose file system is.
    #[error(
        "{}: the cache is read-only; open it without `read_only`, and on a file system that can be written",
        directory.display()
    )]
    ReadOnly {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// A file is where a directory is needed.
    #[error(
        "{}: {} is a file, and a cache needs a directory; choose another path, or move the file away",
        path.display(),
        file.display()
    )]
    NotADirectory {
        /// The directory that is needed.
        path: PathBuf,
        /// The file: the path itself, or a part of it.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or quota is full. Nothing was changed.
    #[error("{}: no space is left, and nothing was changed; free some space, or lower `size_limit`", path.display())]
    Full {
        /// The file or directory that could not grow.
        path: PathBuf,
    },
    /// The store is damaged and cannot be quarantined (read-only, or in use by a transaction).
    #[error("{}: the database is damaged ({detail}); run `dolium check --fix`, or delete it to start afresh", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// Other processes replaced the database again and again while the operation waited. Nothing was changed.
    #[error("{}: other processes keep replacing the database; try again", path.display())]
    Replaced {
        /// The database file.
        path: PathBuf,
    },
    /// Any other error of SQLite.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// An operation of the file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user of this process lacks a right on a file or directory.
    #[error("{}: {detail}", path.display())]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is, its mode, and what to do.
        detail: String,
    },
    /// The program closed the descriptors of the open cache, so that their numbers may mean files of its own.
    #[error(
        "{}: this program closed the descriptors of the open cache, which it cannot use any more; open it after \
         closing, or close it before; what was written is kept, and other processes find it", directory.display()
    )]
    Severed {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// The process was forked inside a transaction; the child cannot use this directory.
    #[error(
        "{}: this process was forked while a transaction was open, and cannot use the cache; fork outside of \
         transactions, or start processes with spawn",
        directory.display()
    )]
    Forked {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// SQLite rolled a transaction back (because of a full disk, for one); what it did is undone.
    #[error("{}: an earlier error rolled this transaction back; begin it again", directory.display())]
    RolledBack {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// Another context of the calling thread (see [`Context`](crate::host::Context)) is inside a transaction, which cannot end
    /// while the caller keeps the thread waiting for it. Nothing was changed.
    #[error(
        "{}: another task or greenlet of this thread is inside transact() and cannot leave it while this one waits; \
         end that block before its next await, or write from another thread", directory.display()
    )]
    Neighbor {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// The context that began a transaction ended before the transaction did, which was therefore rolled back.
    #[error(
        "{}: the transaction was rolled back, because the thread, task or greenlet that began it ended before it; \
         leave transact() before that", directory.display()
    )]
    Orphaned {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// The shared-memory lock of the directory cannot be used.
    #[error("{}: {detail}", directory.display())]
    Lock {
        /// The directory of the cache.
        directory: PathBuf,
        /// What went wrong and what to do.
        detail: String,
    },
    /// The directory is that of a cache of another layout: with shards or without, or with another number of them.
    #[error("{}: {detail}", directory.display())]
    Layout {
        /// The directory.
        directory: PathBuf,
        /// What was found there and what to do.
        detail: String,
    },
    /// The function given to [`Cache::get_or_compute`](crate::Cache::get_or_compute) failed, here or in the thread for
    /// which this one waited.
    #[error("{0}")]
    Computation(Arc<dyn std::error::Error + Send + Sync>),
    /// An argument or a stored setting that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The value has another type than the one asked for, or cannot be stored.
    #[error("{0}")]
    Type(String),
}

/// A time as people read it: milliseconds are enough.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { directory: path },
            io::ErrorKind::PermissionDenied => files::refused(&path),
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                match files::file_in_the_way(&path) {
                    Some(file) => Self::NotADirectory { path, file, source },
                    None => Self::Io { path, source },
                }
            }
            _ => Self::Io { path, source },
        }
    }

    /// Why a cache whose database cannot be written is that: a right that is missing, or else a cache that only reads.
    pub(crate) fn unwritable(directory: &Path, database: &Path) -> Self {
        let is_refused = |path: &&Path| {
            files::may_write(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        match [directory, database].into_iter().find(is_refused) {
            Some(path) => files::refused(path),
            None => Self::ReadOnly { directory: directory.to_path_buf() },
        }
    }

    /// Why SQLite cannot open the file, if the system says so: SQLite itself does not tell.
    fn unopenable(path: &Path) -> Option<Self> {
        if files::is_hidden(path) {
            return Some(files::denied(path));
        }
        let directory = path.parent()?;
        files::open_directory(directory).err().map(Self::io(directory))
    }

    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            // What SQLite says if there is no space for the log or its index, which reading needs, too.
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) if is_on_full_disk(&path) => {
                Self::Full { path }
            }
            Some(ErrorCode::CannotOpen) => Self::unopenable(&path).unwrap_or(Self::Sqlite { path, source }),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::unwritable(path.parent().unwrap_or(&path), &path)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, detail: source.to_string() }
            }
            _ => Self::Sqlite { path, source },
        }
    }

    /// The number of entries that a bulk removal had removed before it failed.
    #[must_use]
    pub fn done(&self) -> usize {
        if let Self::Timeout { done, .. } = self { *done } else { 0 }
    }
}

/// Whether SQLite only says that another connection is busy with the database.
///
/// A broken locking protocol is what SQLite calls a lock of its log's index that is held for long, after ten seconds of
/// trying. Processes hold that lock for a moment only, but one that is stopped in this moment keeps it.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

/// As if another program were busy with the database.
pub(crate) fn busy() -> Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None).into()
}

/// Whether the database is there but has no tables yet: its creator has not committed, or died.
pub(crate) fn is_empty_store(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.starts_with("no such table"),
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such table"),
        _ => false,
    }
}

/// Whether SQLite refuses this row where it may take another: it breaks a constraint, is too large, or a function of an
/// index fails on it.
pub(crate) fn is_row_error(error: &rusqlite::Error) -> bool {
    match error {
        // Of an INSERT that leaves alone what is there: by another index than that of the keys.
        rusqlite::Error::StatementChangedRows(0) => true,
        rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => true,
            ErrorCode::Unknown => {
                let message = message.as_deref().unwrap_or_default();
                failure.extended_code == rusqlite::ffi::SQLITE_ERROR && !is_statement_error(message)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether SQLite says this of a statement, whatever the row.
fn is_statement_error(message: &str) -> bool {
    const BEGINNINGS: [&str; 6] = [
        "no such ",
        "unknown ",
        "unsafe ",
        "malformed database schema",
        "unsupported file format",
        "SQL logic error",
    ];
    message.is_empty()
        || message.contains(" has no column named ")
        || BEGINNINGS.iter().any(|beginning| message.starts_with(beginning))
}

impl From<rusqlite::Error> for Error {
    /// For use below `handle`, which adds the path with `located`.
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite { path: PathBuf::new(), source }
    }
}

impl Error {
    /// Adds the path to an error of SQLite, and sorts it.
    pub(crate) fn located(self, path: &Path) -> Self {
        match self {
            Self::Sqlite { path: known, source } if known.as_os_str().is_empty() => {
                Self::sqlite(path, source)
            }
            other => other,
        }
    }

    /// Whether the cache only reads, or the user may not write.
    pub(crate) fn is_about_writing(&self) -> bool {
        matches!(self, Self::ReadOnly { .. } | Self::Denied { .. })
    }

    /// Whether the system cannot be written to, as opposed to a call that asks for what cannot be.
    pub(crate) fn is_environmental(&self) -> bool {
        match self {
            Self::ReadOnly { .. } | Self::Denied { .. } | Self::Full { .. } => true,
            // A file above the directory may go; one in its place was named by the caller.
            Self::NotADirectory { source, .. } => source.kind() == io::ErrorKind::NotADirectory,
            Self::Io { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::InvalidInput)
            }
            _ => false,
        }
    }

    /// Whether the store can be put into a state in which the operation may succeed.
    pub(crate) fn is_repairable(&self) -> bool {
        let is_repairable = |error: &_| is_short(error) || is_schema_error(error);
        matches!(self, Self::Damaged { .. }) || self.as_sqlite().is_some_and(is_repairable)
    }

    pub(crate) fn as_sqlite(&self) -> Option<&rusqlite::Error> {
        if let Self::Sqlite { source, .. } = self { Some(source) } else { None }
    }
}

/// Whether there is not even space for the index of a log and what the file system needs to make it.
fn is_on_full_disk(path: &Path) -> bool {
    path.parent().and_then(files::free_bytes).is_some_and(|free| free < FULL)
}

/// Whether SQLite found the file to be no sound database.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether SQLite misses what a statement names, or cannot read the schema at all: the schema is not ours, or the
/// statement is a user's own and wrong.
pub(crate) fn is_schema_error(error: &rusqlite::Error) -> bool {
    let (rusqlite::Error::SqliteFailure(_, Some(message))
    | rusqlite::Error::SqlInputError { msg: message, .. }) = error
    else {
        return false;
    };
    message.starts_with("unsupported file format")
        || message.starts_with("no such column")
        || message.contains(" has no column named ")
}

/// Whether a file ended where SQLite expected more. It bears with that but for the write-ahead log.
pub(crate) fn is_short(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    extended == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
}

/// Whether the file may be there but cannot be opened for writing.
pub(crate) fn is_denied(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    )
}
