//! Owns what a user should know although nothing failed. The engine collects; a face shows.

use std::collections::HashSet;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::system::gate;

/// Something that happened to a cache, told once per process and directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A damaged store was renamed, and a fresh one is used.
    SetAside {
        /// The database file.
        path: PathBuf,
        /// Its new name.
        aside: PathBuf,
    },
    /// The database was removed or replaced while it was in use.
    Replaced {
        /// The database file.
        path: PathBuf,
    },
    /// Entries are being evicted, because the cache has reached its `size_limit`.
    Evicting {
        /// The directory of the cache.
        directory: PathBuf,
        /// The limit in bytes.
        size_limit: u64,
    },
    /// A value was refused, because it is larger than the whole cache may be.
    TooLarge {
        /// The directory of the cache.
        directory: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        size_limit: u64,
    },
    /// A sharded cache was opened with another number of shards than it has.
    Shards {
        /// The directory of the cache.
        directory: PathBuf,
        /// The number it has, which is used.
        stored: usize,
        /// The number asked for.
        asked: usize,
    },
    /// A cache with shards and one without are in the same directory, and neither knows the entries of the other.
    Mixed {
        /// The directory of both.
        directory: PathBuf,
        /// Whether the one that was opened has shards.
        is_sharded: bool,
    },
    /// Another program changed the database while entries waited that it did not know of.
    Disturbed {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// What was written last waits in the hot tier, since another program kept the database locked until the cache was
    /// closed.
    Left {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// What was written last waits in the hot tier of processes that are dead or stuck: walks and counts of a cache
    /// that is opened read-only leave it out.
    Waiting {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// The directory was copied, by `cp` for instance, while entries waited in its hot tier.
    Copied {
        /// The directory of the cache.
        directory: PathBuf,
        /// How many of the waiting entries are stored here now; `None` in a cache that is opened read-only.
        stored: Option<usize>,
        /// Whether these are all that waited.
        is_whole: bool,
    },
    /// The database refused entries that had been stored in the hot tier: they are gone.
    Refused {
        /// The directory of the cache.
        directory: PathBuf,
        /// What SQLite said of the first.
        reason: String,
    },
    /// There is no place for the user's signing key: this process signs with one of its own.
    NoSigningKey {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { path, aside } => write!(
                f,
                "{}: the store is damaged; it was set aside as {} and a fresh one is used",
                path.display(),
                aside.display(),
            ),
            Self::Replaced { path } => write!(
                f,
                "{}: the file was removed or replaced while the cache was in use; entries in the old one are gone",
                path.display(),
            ),
            Self::Evicting { directory, size_limit } => write!(
                f,
                "{}: the cache has reached its size_limit of {size_limit} bytes and evicts entries; \
                    raise size_limit, or set it to None, to keep them",
                directory.display(),
            ),
            Self::TooLarge { directory, size, size_limit } => write!(
                f,
                "{}: a value of {size} bytes is not stored, since size_limit is {size_limit} bytes; \
                    raise size_limit, or set it to None",
                directory.display(),
            ),
            Self::Shards { directory, stored, asked } => write!(
                f,
                "{}: the cache has {stored} shards; the {asked} asked for are ignored",
                directory.display(),
            ),
            Self::Mixed { directory, is_sharded } => {
                let (opened, other) =
                    if *is_sharded { ("FanoutCache", "Cache") } else { ("Cache", "FanoutCache") };
                write!(
                    f,
                    "{}: a {other} is in this directory, too, whose entries this {opened} does not see; \
                        give each a directory of its own",
                    directory.display(),
                )
            }
            Self::Disturbed { directory } => write!(
                f,
                "{}: another program changed the database before what was written last was taken there, and all \
                    processes of dolium had ended; that is given up for what the other program wrote",
                directory.display(),
            ),
            Self::Left { directory } => write!(
                f,
                "{}: another program keeps the database locked; what was written last waits in cache.hot, and goes to \
                    the database when the cache is opened again, unless other programs change that before",
                directory.display(),
            ),
            Self::Waiting { directory } => write!(
                f,
                "{}: walks and counts leave out what was written last, since the processes that wrote it are dead or \
                    stuck; open the cache for writing to store it",
                directory.display(),
            ),
            Self::Copied { directory, stored, is_whole } => {
                write!(f, "{}: this is a copy of a cache that was in use; ", directory.display())?;
                match stored {
                    Some(stored) => {
                        write!(f, "{stored} changes that the copy of cache.hot holds were stored here, ")?;
                    }
                    None => f.write_str(
                        "walks and counts leave out what waits in cache.hot until a program opens the copy for writing, ",
                    )?,
                }
                f.write_str(if *is_whole {
                    "what was written while the copy was made may be missing; "
                } else {
                    "others, written while the copy was made, are missing; "
                })?;
                f.write_str("copy a cache in use with `dolium backup`")
            }
            Self::Refused { directory, reason } => write!(
                f,
                "{}: the database refused an entry that was set before, which is lost: {reason}; \
                    constraints of your own on its tables are checked only when entries leave the hot tier, \
                    unless hot_size is 0",
                directory.display(),
            ),
            Self::NoSigningKey { reason } => f.write_str(reason),
        }
    }
}

/// The warnings of one directory that nobody has shown yet.
#[derive(Default)]
pub(crate) struct Warnings {
    any: AtomicBool,
    state: Mutex<(HashSet<Discriminant<Warning>>, Vec<Warning>)>,
}

impl Warnings {
    pub fn add(&self, warning: Warning) {
        let _pass = gate::enter();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.insert(discriminant(&warning)) {
            state.1.push(warning);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Takes them out. One load if there are none.
    pub fn take(&self) -> Vec<Warning> {
        if !self.any.load(Ordering::Acquire) || !self.any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let _pass = gate::enter();
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}
