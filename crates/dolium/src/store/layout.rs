//! What kind of cache a directory is, and how many shards it has: decided once, under a lock, before anything is stored.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::flight::Place;
use crate::sqlite::schema;
use crate::system::error::{self, Error, Result};
use crate::system::files::{self, DATABASE};
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warning;

use super::Handle;

/// How long an opener waits for the process that decides at this moment, which takes a few system calls.
const DECIDING: Duration = Duration::from_mins(1);

/// The directory of a shard.
pub(crate) fn shard_path(root: &Path, shard: usize) -> PathBuf {
    root.join(files::shard_name(shard))
}

/// Whether a cache without shards is in the directory.
pub(crate) fn is_plain(directory: &Path) -> bool {
    files::exists(&directory.join(DATABASE))
}

/// Whether a cache of shards is in the directory. A directory `000` that holds other things is not one.
pub(crate) fn is_sharded(directory: &Path) -> bool {
    let first = shard_path(directory, 0);
    is_plain(&first) || files::holds_only_a_store(&first)
}

/// Fails if a cache of shards is in the directory, which a cache without shards would hide.
pub(crate) fn expect_plain(directory: &Path) -> Result<()> {
    if !is_sharded(directory) {
        return Ok(());
    }
    let detail = "a FanoutCache is in this directory; open it with FanoutCache, or choose another directory \
        for the Cache";
    Err(Error::Layout { directory: directory.to_path_buf(), detail: detail.into() })
}

/// Fails if a cache without shards is in the directory, which shards would hide.
pub(crate) fn expect_sharded(directory: &Path) -> Result<()> {
    if !is_plain(directory) {
        return Ok(());
    }
    let detail = "a Cache is in this directory; open it with Cache, or choose another directory for the \
        FanoutCache";
    Err(Error::Layout { directory: directory.to_path_buf(), detail: detail.into() })
}

/// The number of shards that the directory has. A new one gets `asked` of them. Not inside the fork gate.
pub(crate) fn settle(root: &Path, asked: usize) -> Result<usize> {
    let mut deadline = Deadline::new(Wait::AtMost(DECIDING));
    loop {
        let settled = {
            let _inside = fork_gate::enter();
            try_settle(root, asked)?
        };
        if let Some(count) = settled {
            return Ok(count);
        }
        if !deadline.pause()? {
            let (directory, waited) = (root.to_path_buf(), deadline.waited());
            return Err(Error::Timeout { directory, waited, done: 0 });
        }
    }
}

/// Decides in the same way without waiting. Returns `None` if another process decides at this moment.
fn try_settle(root: &Path, asked: usize) -> Result<Option<usize>> {
    let found = files::count_shards(root);
    if found > 0 {
        return Ok(Some(found));
    }
    files::create_cache_directory(root)?;
    // The fork gate is entered, so that no fork inherits the lock.
    let Some(_lock) = files::try_lock_directory(root) else { return Ok(None) };
    if files::count_shards(root) == 0 {
        expect_sharded(root)?;
        // The last directory to be made is the first one, whose presence is the decision. Of a process that dies
        // before, the next one completes what it left.
        for shard in (0..asked).rev() {
            files::create_cache_directory(&shard_path(root, shard))?;
        }
        // A cache without shards may have been made meanwhile: it looks for shards before and after.
        if let Err(error) = expect_sharded(root) {
            (0..asked).for_each(|shard| files::remove_empty_directory(&shard_path(root, shard)));
            return Err(error);
        }
    }
    Ok(Some(files::count_shards(root)))
}

/// What a store is among the shards of one cache.
pub(crate) struct Shards {
    /// The number of shards, which the store keeps; 0 for a cache without.
    count: AtomicU64,
    /// As a shard but the first: the first one, whose settings hold.
    first: OnceLock<Arc<Handle>>,
    /// All shards of the cache, which have one limit.
    siblings: Mutex<Vec<Weak<Handle>>>,
    /// A cache of another layout was in the directory already when it was opened.
    is_mixed: AtomicBool,
    /// Where computations of the cache are shared. All shards use that of the first.
    pub place: Place,
}

impl Shards {
    pub(super) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            first: OnceLock::new(),
            siblings: Mutex::default(),
            is_mixed: AtomicBool::new(false),
            place: Place::new(),
        }
    }

    /// The number of shards; 0 for a cache without.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// This is one of so many shards.
    pub fn set_count(&self, count: u64) {
        self.count.store(count, Ordering::Relaxed);
    }

    /// The first shard, unless this is the first, or no shard.
    pub fn first(&self) -> Option<&Arc<Handle>> {
        self.first.get()
    }

    /// These are the shards of the cache, this one among them.
    pub fn set_siblings(&self, shards: &[Arc<Handle>]) {
        let _inside = fork_gate::enter();
        *self.siblings.lock().unwrap_or_else(PoisonError::into_inner) =
            shards.iter().map(Arc::downgrade).collect();
    }

    /// All shards of the cache, this one included; none for a cache without.
    pub fn siblings(&self) -> Vec<Arc<Handle>> {
        let _inside = fork_gate::enter();
        let siblings = self.siblings.lock().unwrap_or_else(PoisonError::into_inner);
        siblings.iter().filter_map(Weak::upgrade).collect()
    }

    /// Makes this a shard that follows the first one, whose settings hold for all: one transaction there decides.
    pub fn follow(&self, first: &Arc<Handle>) {
        let _ = self.first.set(Arc::clone(first));
    }

    /// Says whether a cache of another layout was in the directory already when this one was opened.
    pub fn set_mixed(&self, is_mixed: bool) {
        self.is_mixed.store(is_mixed, Ordering::Relaxed);
    }
}

impl Handle {
    /// The directory holds a cache of another layout, too, and has done so before this one was opened.
    pub(crate) fn tell_mixed(&self, root: &Path, is_sharded: bool) {
        self.shards.set_mixed(true);
        self.warnings.add(Warning::Mixed { directory: root.to_path_buf(), is_sharded });
    }

    /// Makes the directory if it is not there, with those of the other shards. Not inside the fork gate.
    pub(crate) fn make_directory(self: &Arc<Self>) -> Result<()> {
        if files::is_directory(&self.directory) {
            return Ok(());
        }
        if let Some(root) = self.directory.parent()
            && let Ok(shards @ 1..) = usize::try_from(self.shards.count())
        {
            settle(root, shards)?;
            // A directory more would change what others take for the number of shards.
            let _inside = fork_gate::enter();
            self.expect_layout()?;
        }
        files::create_cache_directory(&self.directory)
    }

    /// Fails if the directory has become that of a cache with another layout since it was opened. Called before a store
    /// is made, inside the fork gate.
    pub(super) fn expect_layout(self: &Arc<Self>) -> Result<()> {
        let asked = usize::try_from(self.shards.count()).unwrap_or(usize::MAX);
        if self.shards.is_mixed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if asked == 0 {
            return expect_plain(&self.directory);
        }
        let root = self.directory.parent().unwrap_or(&self.directory);
        let Some(directories) = try_settle(root, asked)? else {
            // As when a foreign program is busy: the caller lets go of its lock and comes back.
            return Err(error::busy());
        };
        if directories == asked || self.stored_by_others(root, directories.max(asked)) == Some(asked) {
            return Ok(());
        }
        let detail = format!("the cache has {directories} shards now, not {asked}; open it again");
        Err(Error::Layout { directory: root.to_path_buf(), detail })
    }

    /// The number of shards that a store of one of them names. Directories of shards without entries may be missing.
    fn stored_by_others(&self, root: &Path, shards: usize) -> Option<usize> {
        let paths = (0..shards).map(|shard| shard_path(root, shard)).filter(|path| is_plain(path));
        let mut stored = paths.filter_map(|path| {
            let handle = Self::of(&path, self.is_read_only());
            let stored = handle.try_read(&mut |connection| Ok(schema::load_shards(connection)?));
            usize::try_from(stored.ok()??).ok()
        });
        stored.next()
    }
}
