//! What can go wrong when a process joins a directory or waits for its lock.
//!
//! Owns the two error types. Refuses to decide what a caller does about them, but every message names the path and says
//! what would help.

use std::io;
use std::path::PathBuf;

/// Why a directory could not be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: "open", "create", …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The path is not an ordinary file.
    #[error("{} is not an ordinary file; move it away", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Another process has been creating or recovering the shared file all the time.
    #[error("another process is still preparing {}; try again, and if this lasts look for a stopped process that has it open", path.display())]
    Busy {
        /// `cache.lock`.
        path: PathBuf,
    },
    /// Every slot is taken.
    #[error("{} serves {slots} processes and all of them are there; close the cache in some", path.display())]
    Full {
        /// `cache.lock`.
        path: PathBuf,
        /// How many there are.
        slots: u32,
    },
    /// The shared file is gone or damaged, and it cannot be replaced while processes use the old one.
    #[error("{} was deleted or damaged while other processes use it; close the cache in those, then open it again", path.display())]
    InUse {
        /// `cache.hot`.
        path: PathBuf,
    },
    /// Made by another version of dolium.
    #[error("{} has layout {found} and this program knows only {known}; use the same version of dolium everywhere, or close all others and delete the file", path.display())]
    Version {
        /// `cache.hot`.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// Processes that see the directory through another file system use the other kind of lock.
    #[error("{} is in use through another file system view (a network mount and a local one?), and the two cannot share locks; open it in one way only", path.display())]
    Mixed {
        /// The directory.
        path: PathBuf,
    },
    /// Other processes, to which the system refuses shared memory, use a lock on a file.
    #[error("another process that uses {} cannot share memory{}", path.display(), told(note.as_deref()))]
    Apart {
        /// The directory.
        path: PathBuf,
        /// What that process said.
        note: Option<String>,
    },
    /// Other processes share memory that the system refuses to this one, or have left entries in it.
    #[error("{} holds entries that other processes keep or have left there, and this process is refused it ({why}); lift what refuses it, or use hot_size=0 for the cache, which counts from when no process has it open", path.display())]
    Excluded {
        /// `cache.hot`.
        path: PathBuf,
        /// The refusal.
        why: Box<AttachError>,
    },
    /// A tier that nobody has attached may hold what the database has not.
    #[error("{} may hold entries that are not in the database yet; open the cache with a program that knows how to save them", path.display())]
    Unrecovered {
        /// `cache.hot`.
        path: PathBuf,
    },
    /// The database behind the tier could not be read or written.
    #[error("cannot start the tier of {}: {source}", path.display())]
    Base {
        /// The directory.
        path: PathBuf,
        /// What the caller's [`Base`](crate::Base) said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No shared memory here: use [`FileLock`](crate::FileLock).
    #[error("{} is on {name}, which gives no safe shared memory", path.display())]
    NotLocal {
        /// The directory.
        path: PathBuf,
        /// The file system's name.
        name: String,
    },
}

impl AttachError {
    pub(crate) fn io(doing: &'static str, path: &std::path::Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// Whether the system refuses what only sharing memory needs: a cache works without it. A directory that is missing,
    /// or that this process may not write, is another matter.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_refusal(&self, directory: &std::path::Path) -> bool {
        use rustix::fs::{Access, access};
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => false,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    access(directory, Access::WRITE_OK).is_ok()
                }
                _ => true,
            },
            Self::Apart { .. } => true,
            _ => false,
        }
    }
}

fn told(note: Option<&str>) -> String {
    note.map_or_else(String::new, |note| format!(": {note}"))
}

/// Why a lock was not acquired. Nothing is held then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A living process held it for the whole patience.
    #[error("another thread or process held the write lock all the time")]
    Timeout,
    /// The caller's tick said stop.
    #[error("waiting for the write lock was interrupted")]
    Interrupted,
    /// The process forked after it had attached: attach anew.
    #[error("the write lock belongs to the parent of this process; attach again")]
    Forked,
    /// The operating system refused; a closed descriptor is one cause. Attach anew.
    #[error("the write lock is unusable: {0}")]
    Io(#[from] io::Error),
}
