//! The two error types: what can go wrong when a process joins a directory, and when it waits for a lock.
//! Every message names the path and says what helps; what a caller does about an error is its own decision.

use std::io;
use std::path::PathBuf;

/// Why a directory could not be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The operating system refused.
    #[error("{}: cannot {doing} it: {source}", path.display())]
    Io {
        /// What was tried: "open", "create", …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The path is not an ordinary file.
    #[error("{}: this is not an ordinary file; move it away", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Another process has been creating or recovering the shared file all the time.
    #[error("{}: another process is still preparing this file; try again, and look for a stopped process if this lasts", path.display())]
    Busy {
        /// `cache.lock`.
        path: PathBuf,
    },
    /// The caller's tick said stop.
    #[error("{}: waiting for the process that prepares this file was interrupted", path.display())]
    Interrupted {
        /// `cache.lock`.
        path: PathBuf,
    },
    /// Every slot is taken.
    #[error("{}: all {slots} process slots are in use; close the cache in another process", path.display())]
    Full {
        /// `cache.lock`.
        path: PathBuf,
        /// How many there are.
        slots: u32,
    },
    /// The shared file is gone or damaged, and it cannot be replaced while processes use the old one.
    #[error("{}: the file was deleted or damaged while other processes use it; close the cache there, then open it again", path.display())]
    InUse {
        /// `cache.hot`.
        path: PathBuf,
    },
    /// Made by another version of dolium.
    #[error("{}: the file has layout {found}, and this version of dolium knows only {known}; use one version everywhere, or close the cache in all processes and delete the file", path.display())]
    Version {
        /// `cache.hot`.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// Processes that see the directory through another mount use the other kind of lock.
    #[error("{}: other processes use the directory through another mount, and the two cannot share locks; open it through one mount only", path.display())]
    Mixed {
        /// The directory.
        path: PathBuf,
    },
    /// Other processes, to which the system refuses shared memory, use a lock on a file.
    #[error("{}: another process that uses this directory cannot share memory{}", path.display(), told(note.as_deref()))]
    Apart {
        /// The directory.
        path: PathBuf,
        /// What that process said.
        note: Option<String>,
    },
    /// Other processes share memory that the system refuses to this one, or have left entries in it.
    #[error("{}: other processes use this file or have left entries in it, and the system refuses it to this process ({why}); allow it, or store hot_size=0 in the cache and close the cache in all processes", path.display())]
    Excluded {
        /// `cache.hot`.
        path: PathBuf,
        /// The refusal.
        why: Box<AttachError>,
    },
    /// A tier that no process has attached may hold entries that the database does not have.
    #[error("{}: the file may hold unsaved entries; open the cache with dolium once so that they are stored", path.display())]
    Unrecovered {
        /// `cache.hot`.
        path: PathBuf,
    },
    /// The database behind the tier could not be read or written.
    #[error("{}: cannot start the hot tier: {source}", path.display())]
    BackingStore {
        /// The directory.
        path: PathBuf,
        /// What the caller's [`BackingStore`](crate::BackingStore) said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No shared memory here: use [`FileLock`](crate::FileLock).
    #[error("{}: the directory is on {name}, which has no safe shared memory; use a local file system for a hot tier", path.display())]
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
    /// A living process held the lock for as long as the caller was ready to wait.
    #[error("another thread or process kept the writer lock; try again, or wait longer")]
    Timeout,
    /// The caller's tick said stop.
    #[error("waiting for the writer lock was interrupted")]
    Interrupted,
    /// The process forked after it had attached: attach anew.
    #[error("the writer lock belongs to the parent of this process; open the cache again")]
    Forked,
    /// The operating system refused; a closed descriptor is one cause. Attach anew.
    #[error("the writer lock cannot be used: {0}; open the cache again")]
    Io(#[from] io::Error),
}
