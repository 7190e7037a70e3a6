//! Owns caches that spread their keys over several directories, each a cache of its own, so that writers
//! of different shards do not wait for each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cache::{Builder, Cache, HotTier, Stats, measure};
use crate::sqlite::schema;
use crate::store::Handle;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::wait::Patience;
use crate::system::warning::Warning;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

/// diskcache's default patience for shards.
const PATIENCE: Duration = Duration::from_millis(10);

/// What the shards of one cache have together: their limit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: Vec<Member>,
}

/// What this process believes a shard to hold.
#[derive(Debug)]
struct Member {
    directory: PathBuf,
    volume: AtomicU64,
}

impl Group {
    fn new(directories: impl Iterator<Item = PathBuf>) -> Self {
        let members = directories.map(|directory| Member { directory, volume: AtomicU64::new(0) });
        Self { members: members.collect() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u64 {
        self.members.len() as u64
    }

    /// What a shard may hold: its share, and what the others leave of theirs.
    pub fn allowance(&self, handle: &Handle, share: u64) -> u64 {
        let others: u64 = self
            .members
            .iter()
            .filter(|member| member.directory != handle.directory)
            .map(|member| member.volume.load(Ordering::Relaxed))
            .sum();
        share.saturating_mul(self.shards()).saturating_sub(others).max(share)
    }

    fn note(&self, shard: usize, volume: u64) {
        self.members[shard].volume.store(volume, Ordering::Relaxed);
    }
}

/// A cache of several shards. See [`Cache`] for what each of them does.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Fanout::open(dir.path(), 4)?;
/// cache.shard("key").set("key", "value")?;
/// assert_eq!(cache.len()?, 1);
/// # Ok::<(), dolium::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fanout {
    directory: PathBuf,
    shards: Vec<Cache>,
}

impl Fanout {
    /// Opens a sharded cache. One that exists keeps the number of shards it has.
    pub fn open(directory: impl AsRef<Path>, shards: usize) -> Result<Self> {
        Self::open_with(&Cache::builder(directory).timeout(PATIENCE), shards)
    }

    /// Opens a sharded cache with settings of your own, the same for all shards. `size_limit` is that of
    /// all of them together.
    pub fn open_with(builder: &Builder, shards: usize) -> Result<Self> {
        if shards == 0 {
            return Err(Error::Invalid("a cache needs at least one shard".into()));
        }
        let directory = builder.place()?.to_path_buf();
        let stored = stored_shards(builder)?;
        let count = stored.unwrap_or(shards);
        let path = |shard| shard_path(&directory, shard);
        let group = Arc::new(Group::new((0..count).map(path)));
        let caches = (0..count).map(|shard| open_shard(builder, path(shard), count, &group));
        let caches: Vec<Cache> = caches.collect::<Result<_>>()?;
        caches[0].handle.shards.store(count as u64, Ordering::Relaxed);
        for cache in &caches {
            cache.handle.hot_share.store(count as u64, Ordering::Relaxed);
        }
        if count != shards {
            let warning = Warning::Shards { directory: directory.clone(), stored: count, asked: shards };
            caches[0].handle.warnings.add(warning);
        }
        Ok(Self { directory, shards: caches })
    }

    /// The directory of all shards.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The shards, in their order.
    #[must_use]
    pub fn shards(&self) -> &[Cache] {
        &self.shards
    }

    /// The number of the shard that a key belongs to.
    #[must_use]
    pub fn shard_index(&self, key: &Key<'_>) -> usize {
        key.shard_hash() as usize % self.shards.len()
    }

    /// The shard that a key belongs to.
    #[must_use]
    pub fn shard<'k>(&self, key: impl Into<Key<'k>>) -> &Cache {
        &self.shards[self.shard_index(&key.into())]
    }

    /// A cache of its own in a subdirectory, with the given name and settings.
    #[must_use = "a builder does nothing until `open`"]
    pub fn named(&self, name: &str) -> Builder {
        let directory = name.split('/').fold(self.directory.join("cache"), |path, part| path.join(part));
        Cache::builder(directory)
    }

    /// How many entries there are.
    pub fn len(&self) -> Result<usize> {
        self.shards.iter().map(Cache::len).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes that all shards take on disk.
    pub fn volume(&self) -> Result<u64> {
        self.shards.iter().map(Cache::volume).sum()
    }

    /// The sum of the shards' counters.
    pub fn stats(&self) -> Result<Stats> {
        self.shards.iter().map(Cache::stats).sum()
    }

    /// The hot tiers of all shards, see [`Cache::hot_tier`].
    pub fn hot_tier(&self) -> Result<HotTier> {
        let first = self.shards[0].hot_tier()?;
        self.shards[1..].iter().try_fold(first, |tiers, shard| Ok(tiers.and(shard.hot_tier()?)))
    }

    /// Removes all entries. Returns how many.
    pub fn clear(&self) -> Result<usize> {
        self.shards.iter().map(Cache::clear).sum()
    }

    /// Writes what is pending and closes this process's connections.
    pub fn close(&self) -> Result<()> {
        self.shards.iter().try_for_each(Cache::close)
    }
}

fn shard_path(directory: &Path, shard: usize) -> PathBuf {
    directory.join(format!("{shard:03}"))
}

fn open_shard(builder: &Builder, path: PathBuf, count: usize, group: &Arc<Group>) -> Result<Cache> {
    let shard = builder.at(path);
    #[expect(clippy::cast_precision_loss, reason = "diskcache stores the quotient as a float too")]
    let split = |limit: f64| Scalar::Real(limit / count as f64);
    let passed = builder.passed("size_limit").map(|limit| limit.as_real().unwrap_or(f64::INFINITY));
    let mut shard = match passed {
        Some(limit) => shard.setting("size_limit", split(limit)),
        None => shard,
    };
    if passed.is_none() {
        let default = Settings::defaults().get("size_limit").and_then(Scalar::as_real);
        shard.defaults.push(("size_limit".to_owned(), split(default.unwrap_or(f64::INFINITY))));
    }
    shard.group = Some(Arc::clone(group));
    shard.open()
}

/// The number of shards that a directory has: what its first shard says, else the directories that are
/// there. `None`: it is new.
fn stored_shards(builder: &Builder) -> Result<Option<usize>> {
    let directories = files::count_shards(builder.directory());
    // Directories alone may be what another process is making at this moment; the first write comes after the last.
    if !(0..directories)
        .any(|shard| files::exists(&shard_path(builder.directory(), shard).join(files::DATABASE)))
    {
        return Ok(None);
    }
    let first = builder.at(shard_path(builder.directory(), 0));
    let handle = Handle::of(first.directory(), builder.is_read_only());
    let patience = Patience::Timeout(Duration::from_mins(1));
    let stored = handle.read_now(patience, |connection| Ok(schema::load_shards(connection)?))?;
    Ok(Some(
        stored
            .and_then(|shards| usize::try_from(shards).ok())
            .filter(|shards| *shards > 0)
            .unwrap_or(directories),
    ))
}

impl Cache {
    /// As a shard: notes what this one holds and, if all together hold too much although this one is
    /// within its share, evicts from the one that holds most.
    pub(crate) fn balance(&self, used: u64) -> Result<Option<(Cache, u64)>> {
        let (Some(group), Some(share)) = (&self.group, self.handle.settings().size_limit) else {
            return Ok(None);
        };
        let mut total = 0;
        let mut largest = (0, 0);
        for (shard, member) in group.members.iter().enumerate() {
            let volume = if member.directory == self.handle.directory {
                used
            } else {
                measure(&Handle::of(&member.directory, false), self.patience)?
            };
            group.note(shard, volume);
            total += volume;
            largest = largest.max((volume, shard));
        }
        let limit = share.saturating_mul(group.shards());
        let (volume, position) = largest;
        let directory = &group.members[position].directory;
        if total <= limit || *directory == self.handle.directory {
            return Ok(None);
        }
        let other = Self { handle: Handle::of(directory, false), ..self.clone() };
        Ok(Some((other, volume.saturating_sub(total - limit).max(share))))
    }
}
