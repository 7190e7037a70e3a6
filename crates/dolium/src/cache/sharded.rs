//! Owns caches that spread their keys over several directories, each a cache of its own, so that writers
//! of different shards do not wait for each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Builder, Cache, HotTierStatus, Stats};
use crate::sqlite::schema;
use crate::store::Handle;
use crate::store::layout::{self, shard_path};
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::wait::Wait;
use crate::system::warning::Warning;
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

/// diskcache's default timeout of shards.
const SHARD_TIMEOUT: Duration = Duration::from_millis(10);

/// The shards of one cache, as each of them knows the others: they have one limit.
pub(crate) struct Group(Vec<Arc<Handle>>);

impl Group {
    /// The shard whose settings hold for all.
    pub fn first(&self) -> &Arc<Handle> {
        &self.0[0]
    }

    /// The shards, in their order.
    pub fn members(&self) -> &[Arc<Handle>] {
        &self.0
    }

    /// How many shards there are.
    pub fn shards(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A cache of several shards. See [`Cache`] for what each of them does.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::ShardedCache::open(dir.path(), 4)?;
/// cache.shard("key").set("key", "value")?;
/// assert_eq!(cache.len()?, 1);
/// # Ok::<(), dolium::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ShardedCache {
    directory: PathBuf,
    shards: Vec<Cache>,
}

impl ShardedCache {
    /// Opens a sharded cache. One that exists keeps the number of shards it has.
    pub fn open(directory: impl AsRef<Path>, shards: usize) -> Result<Self> {
        Self::open_with(&Cache::builder(directory).timeout(SHARD_TIMEOUT), shards)
    }

    /// Opens a sharded cache with settings of your own, the same for all shards. `size_limit` is that of
    /// all of them together.
    pub fn open_with(builder: &Builder, shards: usize) -> Result<Self> {
        if shards == 0 {
            return Err(Error::Invalid("a cache needs at least one shard; pass shards=1 or more".into()));
        }
        builder.prepare()?;
        let directory = builder.place()?.to_path_buf();
        if files::exists(&directory) && !files::is_directory(&directory) {
            return Err(files::not_there(&directory));
        }
        let count = decide(builder, shards)?;
        let handles = (0..count).map(|shard| builder.at(shard_path(&directory, shard)).handle());
        let handles: Vec<Arc<Handle>> = handles.collect::<Result<_>>()?;
        let is_mixed = layout::is_plain(&directory);
        let default = Settings::defaults().get("size_limit").map(|limit| share(limit, count));
        for (shard, handle) in handles.iter().enumerate() {
            handle.shards.set_count(count as u64);
            handle.shards.set_siblings(&handles);
            if shard > 0 {
                handle.shards.follow(&handles[0]);
            }
            if let Some(default) = default.clone() {
                handle.settings.presume(LIMIT, default);
            }
            handle.shards.set_mixed(is_mixed);
        }
        if is_mixed {
            handles[0].tell_mixed(&directory, true);
        }
        if count != shards {
            let warning = Warning::Shards { directory: directory.clone(), stored: count, asked: shards };
            handles[0].warnings.add(warning);
        }
        let group = Arc::new(Group(handles));
        let cache = |handle: &Arc<Handle>| builder.cache(Arc::clone(handle), Some(Arc::clone(&group)));
        let caches: Vec<Cache> = group.members().iter().map(cache).collect();
        let mut passed = builder.clone().into_settings();
        for (_, limit) in passed.iter_mut().filter(|(name, _)| name == LIMIT) {
            *limit = share(limit, count);
        }
        // The first shard decides for all, in one transaction; the others follow it.
        if !passed.is_empty() {
            caches[0].apply(passed)?;
            caches[1..].iter().try_for_each(Cache::copy_settings)?;
        }
        Ok(Self { directory, shards: caches })
    }

    /// The sharded cache whose shards, in their order, are these.
    #[must_use]
    pub fn of_shards(directory: impl Into<PathBuf>, shards: Vec<Cache>) -> Self {
        Self { directory: directory.into(), shards }
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

    /// The directories of the caches below this one: `named` makes some, and Python deques and indexes.
    #[must_use]
    pub fn nested(&self) -> Vec<PathBuf> {
        ["cache", "deque", "index"]
            .iter()
            .flat_map(|kind| files::caches_below(&self.directory.join(kind)))
            .collect()
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
        // Twice: the drain of a shard may evict entries of one that was measured before.
        self.shards.iter().try_for_each(|shard| shard.volume().map(drop))?;
        self.shards.iter().map(Cache::volume).sum()
    }

    /// The sum of the shards' counters.
    pub fn stats(&self) -> Result<Stats> {
        self.shards.iter().map(Cache::stats).sum()
    }

    /// The hot tiers of all shards, see [`Cache::hot_tier`].
    pub fn hot_tier(&self) -> Result<HotTierStatus> {
        let first = self.shards[0].hot_tier()?;
        self.shards[1..].iter().try_fold(first, |tiers, shard| Ok(tiers.and(shard.hot_tier()?)))
    }

    /// A setting as this process knows it. The limit is that of all shards together.
    pub fn setting(&self, name: &str) -> Result<Option<Scalar>> {
        let first = &self.shards[0];
        Ok(first.setting(name)?.map(|setting| whole_of(first, name, setting)))
    }

    /// Changes a setting of all shards for this process, and with `store` for all processes.
    pub fn change_setting(&self, name: &str, value: &Scalar, store: bool) -> Result<()> {
        let value = share_of(&self.shards[0], name, value);
        self.shards.iter().try_for_each(|shard| shard.change_setting(name, &value, store))
    }

    /// Removes expired entries, then others by policy until all shards together are within `size_limit`. Returns how
    /// many.
    pub fn cull(&self) -> Result<usize> {
        let expired: usize = self.shards.iter().map(|shard| shard.expire(None)).sum::<Result<_>>()?;
        let evicted: usize = self.shards.iter().map(Cache::cull).sum::<Result<_>>()?;
        Ok(expired + evicted)
    }

    /// Removes all entries. Returns how many.
    pub fn clear(&self) -> Result<usize> {
        self.shards.iter().map(Cache::clear).sum()
    }

    /// Writes what is pending and closes this process's connections.
    pub fn close(&self) -> Result<()> {
        // The first one last: the others ask it for settings.
        self.shards.iter().rev().try_for_each(Cache::close)
    }
}

/// The setting that counts for all shards together; each stores its share, as diskcache does.
const LIMIT: &str = "size_limit";

#[expect(clippy::cast_precision_loss, reason = "diskcache stores the quotient as a float too")]
fn share(limit: &Scalar, shards: usize) -> Scalar {
    limit.as_real().map_or_else(|| limit.clone(), |limit| Scalar::Real(limit / shards as f64))
}

/// The number of shards that a directory has: what a store of one of them says, else the directories that are there.
/// A new one gets as many as are asked for.
fn decide(builder: &Builder, asked: usize) -> Result<usize> {
    let root = builder.directory();
    let directories = files::count_shards(root);
    if directories == 0 {
        layout::expect_sharded(root)?;
        if builder.is_read_only() {
            return Ok(asked);
        }
        return match layout::settle(root, asked) {
            // A program that makes a cache while it starts may never use it: the first write says so.
            Err(error) if error.is_environmental() => Ok(asked),
            settled => settled,
        };
    }
    let Some(first) =
        (0..directories).map(|shard| shard_path(root, shard)).find(|path| layout::is_plain(path))
    else {
        return Ok(directories);
    };
    let handle = Handle::of(&first, builder.is_read_only());
    // Opening writes nothing: a connection would make a log and remove it.
    let peeked =
        || handle.peek(|unopened| Some(unopened.noted("shards")?.there().and_then(|shards| shards.as_int())));
    let unopened = || handle.read_unopened(|connection| Ok(schema::load_shards(connection)?));
    let stored = match peeked().or_else(unopened) {
        Some(stored) => stored,
        None => handle.read_now(Wait::AtMost(Duration::from_mins(1)), |connection| {
            Ok(schema::load_shards(connection)?)
        })?,
    };
    let stored = stored.and_then(|shards| usize::try_from(shards).ok()).filter(|shards| *shards > 0);
    Ok(stored.unwrap_or(directories))
}

/// As a shard: what each one has to store for a setting of all shards together. Only limits are divided.
#[must_use]
pub fn share_of(cache: &Cache, name: &str, value: &Scalar) -> Scalar {
    match &cache.group {
        Some(group) if name == LIMIT => share(value, group.members().len()),
        _ => value.clone(),
    }
}

/// As a shard: the setting of all shards together, of which each one has stored this.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "limits are far below 2^53, and the share is the quotient of a whole number"
)]
pub fn whole_of(cache: &Cache, name: &str, share: Scalar) -> Scalar {
    let Some(group) = cache.group.as_ref().filter(|_| name == LIMIT) else { return share };
    let Some(whole) = share.as_real().map(|share| share * group.shards() as f64) else { return share };
    if whole.abs() < 1e15 { Scalar::Int(whole.round() as i64) } else { Scalar::Real(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_a_shard_opens_no_other_again() -> Result<()> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = ShardedCache::open(directory.path(), 4)?;
        for key in 0..40 {
            cache.shard(key).set(key, "value")?;
        }
        for shard in cache.shards() {
            shard.flush()?;
            // A connection that is opened from now on looks at the settings of the first shard before it writes.
            shard.handle.connections.close(true);
        }
        cache.close()?;
        let are_open: Vec<_> = cache.shards.iter().map(|shard| shard.handle.connections.is_open()).collect();
        assert_eq!(are_open, [false; 4]);
        Ok(())
    }
}
