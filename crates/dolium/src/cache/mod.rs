//! Owns [`Cache`]: a directory's entries as a map that is shared by threads and processes. Its methods
//! are spread over this folder by what they do; each turns into one read or one write of the handle.

mod annotations;
pub(crate) mod backup;
mod bulk;
mod bulk_item;
mod change;
pub(crate) mod check;
mod compute;
mod dictionary;
mod exit;
mod frame;
pub mod host;
mod hot;
mod hot_deque;
mod hot_queue;
mod hot_transaction;
mod iterate;
mod lock;
mod long;
mod nonblocking;
mod open;
mod place;
mod prepare;
mod queue;
pub mod raw;
mod read;
mod record;
mod remove_many;
mod restore;
pub(crate) mod sharded;
mod sql;
mod tier_report;
mod transaction;
#[cfg(feature = "serde")]
mod typed;
mod upkeep;
mod write;

pub use backup::Backup;
pub use check::Problem;
pub use iterate::{Items, Keys, Order};
pub use open::Builder;
pub use queue::Side;
pub use read::{Info, Stream};
pub use sharded::ShardedCache;
pub use tier_report::{HotTierStatus, TierUnavailable};
pub use transaction::Transaction;
pub use upkeep::Stats;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Handle;
use crate::system::clock::Clock;
use crate::system::error::Result;
use crate::system::wait::Wait;
use crate::system::warning::Warning;

/// A persistent cache in a directory.
///
/// Cheap to clone; all clones, and all caches of the process on the same directory, share connections,
/// settings and transactions. Safe to use from any number of threads and processes at once.
///
/// Methods that write wait for other writers as long as the cache's [`Wait`] lets them, then fail
/// with [`Error::Timeout`](crate::Error::Timeout). Reads do not wait for writers.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Value};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("answer", 42)?;
/// assert_eq!(cache.get("answer")?, Some(Value::Int(42)));
/// assert_eq!(cache.get("question")?, None);
/// # Ok::<(), dolium::Error>(())
/// ```
#[derive(Clone)]
pub struct Cache {
    pub(crate) handle: Arc<Handle>,
    pub(crate) clock: Clock,
    pub(crate) wait: Wait,
    /// What the shards of one cache have together, if this is a shard.
    pub(crate) group: Option<Arc<sharded::Group>>,
    /// Whether reads count for statistics and eviction.
    pub(crate) counts: bool,
}

impl Cache {
    /// Opens the cache in `directory` with its stored settings, or diskcache's defaults for a new one.
    /// Creates the directory if need be, and nothing else: the store is made by the first write.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::builder(directory).open()
    }

    /// Opens a cache with settings of your own.
    pub fn builder(directory: impl AsRef<Path>) -> Builder {
        Builder::new(directory.as_ref())
    }

    /// The same cache with another [`Wait`].
    #[must_use]
    pub fn with_wait(&self, wait: Wait) -> Self {
        Self { wait, ..self.clone() }
    }

    /// The same cache for reads that are a part of something else: they count neither as hits and misses
    /// nor for eviction.
    #[must_use]
    pub fn without_stats(&self) -> Self {
        Self { counts: false, ..self.clone() }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.handle.directory
    }

    /// How long operations wait for other writers.
    #[must_use]
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// Whether this process can only read: it asked for that, or the directory cannot be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.handle.is_read_only()
    }

    /// Takes the warnings that no earlier call has taken.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.handle.warnings.take()
    }
}

/// diskcache's default timeout.
pub(crate) const DEFAULT_WAIT: Wait = Wait::AtMost(Duration::from_mins(1));
