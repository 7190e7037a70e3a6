//! What a user should know although nothing failed: the engine collects warnings.
//! Does not show them: that is for the language in front of it.

use std::collections::HashSet;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::system::fork_gate;

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
    /// Entries are being evicted, because the cache has reached the default `size_limit`, which no program has asked for.
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
    /// Recent writes were discarded, because another program changed the database before they were stored.
    Disturbed {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// Recent writes stay in the hot tier, because another program kept the database locked until the cache was closed.
    Left {
        /// The directory of the cache.
        directory: PathBuf,
    },
    /// Recent writes stay in the hot tier of processes that are dead or stuck. Walks and counts of a cache that is opened
    /// read-only leave them out.
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
    /// The database refused entries that had been stored in the hot tier, and they are lost.
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
                "{}: the database is damaged; it was renamed to {}, and the cache continues with an empty one",
                path.display(),
                aside.display(),
            ),
            Self::Replaced { path } => write!(
                f,
                "{}: the file was removed or replaced while the cache was in use, and its entries are gone; \
                    close the cache before you remove its directory",
                path.display(),
            ),
            Self::Evicting { directory, size_limit } => write!(
                f,
                "{}: the cache has reached the default size_limit of {size_limit} bytes and evicts entries; \
                    pass the size_limit that you want, or None to keep all entries",
                directory.display(),
            ),
            Self::TooLarge { directory, size, size_limit } => write!(
                f,
                "{}: a value of {size} bytes was not stored, because it is larger than size_limit ({size_limit} bytes); \
                    raise size_limit, or set it to None",
                directory.display(),
            ),
            Self::Shards { directory, stored, asked } => write!(
                f,
                "{}: the cache has {stored} shards, and keeps them although {asked} were asked for; \
                    pass shards={stored}, or use a new directory",
                directory.display(),
            ),
            Self::Mixed { directory, is_sharded } => {
                let (opened, other) =
                    if *is_sharded { ("FanoutCache", "Cache") } else { ("Cache", "FanoutCache") };
                write!(
                    f,
                    "{}: this directory also holds a {other}, whose entries this {opened} does not see; \
                        give each a directory of its own",
                    directory.display(),
                )
            }
            Self::Disturbed { directory } => write!(
                f,
                "{}: discarded recent writes: another program changed the database after the last process of dolium had \
                    ended, and before they were stored; close the cache before other programs write to its database",
                directory.display(),
            ),
            Self::Left { directory } => write!(
                f,
                "{}: another program keeps the database locked; recent writes are kept in cache.hot, and will be stored \
                    when the cache is next opened, unless another program changes the database first",
                directory.display(),
            ),
            Self::Waiting { directory } => write!(
                f,
                "{}: iteration and counts leave out recent writes, because the processes that made them are dead or \
                    stuck; open the cache for writing to store them",
                directory.display(),
            ),
            Self::Copied { directory, stored, is_whole } => {
                write!(f, "{}: this is a copy of a cache that was in use; ", directory.display())?;
                match stored {
                    Some(stored) => {
                        write!(f, "{stored} recent writes were stored in it, ")?;
                    }
                    None => f.write_str(
                        "iteration and counts leave out recent writes until a program opens the copy for writing, ",
                    )?,
                }
                f.write_str(if *is_whole {
                    "and writes made during the copy may be missing; "
                } else {
                    "and writes made during the copy are missing; "
                })?;
                f.write_str("use `dolium backup` to copy a cache in use")
            }
            Self::Refused { directory, reason } => write!(
                f,
                "{}: lost an entry that had been set, because the database refused it: {reason}; pass hot_size=0, so that \
                    constraints of your own on its tables are checked when an entry is set",
                directory.display(),
            ),
            Self::NoSigningKey { reason } => f.write_str(reason),
        }
    }
}

/// The warnings of one directory that were not shown yet.
#[derive(Default)]
pub(crate) struct Warnings {
    any: AtomicBool,
    state: Mutex<(HashSet<Discriminant<Warning>>, Vec<Warning>)>,
}

impl Warnings {
    pub fn add(&self, warning: Warning) {
        let _inside = fork_gate::enter();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.insert(discriminant(&warning)) {
            state.1.push(warning);
            self.any.store(true, Ordering::Release);
        }
    }

    /// Forgets that the database was replaced, if that was not shown yet.
    pub fn withdraw_replaced(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = |warning: &Warning| !matches!(warning, Warning::Replaced { .. });
        if !state.1.iter().all(is_other) {
            state.0.retain(|kind| *kind != discriminant(&Warning::Replaced { path: PathBuf::new() }));
            state.1.retain(is_other);
        }
    }

    /// Takes all of them out. One load if there are none.
    pub fn take(&self) -> Vec<Warning> {
        if !self.any.load(Ordering::Acquire) || !self.any.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let _inside = fork_gate::enter();
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}
