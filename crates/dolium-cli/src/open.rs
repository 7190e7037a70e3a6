//! Owns opening: which kind of cache a directory is, and whether a command may write to it or make it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dolium::raw::pickle::Protocol;
use dolium::{Backup, Cache, HotTierStatus, Key, Scalar, ShardedCache, Warning};

use crate::outcome::{Failure, Result, say};

/// What a command is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look. Nothing is written, counted or created.
    Look,
    /// Change a cache that exists.
    Change,
    /// Change a cache, making one if there is none.
    Make,
}

/// An open cache.
pub(crate) enum AnyCache {
    Plain(Cache),
    Sharded(ShardedCache),
}

/// How a directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheKind {
    /// A `Cache`; or an empty directory, which a `Cache` makes that nothing was stored in yet.
    Plain,
    /// A `FanoutCache`.
    Sharded,
    /// No cache.
    Other,
    /// Nothing is there.
    Missing,
}

/// The kind of a directory.
pub(crate) fn cache_kind(directory: &Path) -> CacheKind {
    if directory.join("cache.db").exists() {
        return CacheKind::Plain;
    }
    if directory.join("000").is_dir() {
        return CacheKind::Sharded;
    }
    match std::fs::read_dir(directory) {
        Ok(mut entries) => {
            // Locks and empty directories may precede the first entry.
            let is_empty = entries.all(|entry| {
                entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"cache."))
            });
            if is_empty { CacheKind::Plain } else { CacheKind::Other }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => CacheKind::Missing,
        Err(_) => CacheKind::Other,
    }
}

impl AnyCache {
    /// Opens the cache in a directory.
    pub fn open(directory: &Path, access: Access, timeout: Duration) -> Result<Self> {
        if directory.as_os_str().is_empty() {
            return Err(Failure::Other("the name of the directory is empty; is a variable unset?".into()));
        }
        let kind = cache_kind(directory);
        match kind {
            CacheKind::Missing if access != Access::Make => {
                return Err(Failure::NoDirectory(directory.to_path_buf()));
            }
            CacheKind::Other => {
                return Err(Failure::Other(format!(
                    "{}: this is no cache: there is no cache.db in it",
                    directory.display()
                )));
            }
            _ => {}
        }
        let builder = Cache::builder(directory).timeout(timeout).read_only(access == Access::Look);
        Ok(if kind == CacheKind::Sharded {
            // The number only counts where there are no shards yet.
            Self::Sharded(ShardedCache::open_with(&builder, 1)?)
        } else {
            Self::Plain(builder.open()?)
        })
    }

    pub fn directory(&self) -> &Path {
        match self {
            Self::Plain(cache) => cache.directory(),
            Self::Sharded(sharded) => sharded.directory(),
        }
    }

    pub fn shards(&self) -> &[Cache] {
        match self {
            Self::Plain(cache) => std::slice::from_ref(cache),
            Self::Sharded(sharded) => sharded.shards(),
        }
    }

    /// The cache that keeps a key.
    pub fn shard(&self, key: &Key<'_>) -> &Cache {
        match self {
            Self::Plain(cache) => cache,
            Self::Sharded(sharded) => sharded.shard(key),
        }
    }

    /// The number of shards, of a cache that has them.
    pub fn shard_count(&self) -> Option<usize> {
        matches!(self, Self::Sharded(_)).then(|| self.shards().len())
    }

    /// Adds up what each shard says.
    pub fn sum<T: std::iter::Sum>(&self, ask: impl FnMut(&Cache) -> dolium::Result<T>) -> Result<T> {
        Ok(self.shards().iter().map(ask).sum::<dolium::Result<T>>()?)
    }

    /// The hot tier, of all shards together.
    pub fn hot_tier(&self) -> Result<HotTierStatus> {
        Ok(match self {
            Self::Plain(cache) => cache.hot_tier()?,
            Self::Sharded(sharded) => sharded.hot_tier()?,
        })
    }

    /// A setting; all shards have the same, but for their share of the limit.
    pub fn setting(&self, name: &str) -> Result<Option<Scalar>> {
        Ok(self.shards()[0].setting(name)?)
    }

    /// The largest volume of all shards together. `None`: unbounded.
    pub fn size_limit(&self) -> Result<Option<u64>> {
        let share = self.setting("size_limit")?.and_then(|limit| limit.as_real());
        #[expect(clippy::cast_precision_loss, reason = "there are few shards")]
        let limit = share.map(|share| share * self.shards().len() as f64).filter(|limit| limit.is_finite());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        Ok(limit.map(|limit| limit as u64))
    }

    /// The protocol of pickled keys. `None`: one that only Python writes.
    pub fn protocol(&self) -> Result<Option<Protocol>> {
        let number = self.setting("disk_pickle_protocol")?.and_then(|number| number.as_int());
        Ok(number.map_or(Some(Protocol::V5), Protocol::from_number))
    }

    /// Caches of their own below this one: `FanoutCache` keeps named caches, deques and indexes there.
    pub fn nested(&self) -> Vec<PathBuf> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Sharded(sharded) => sharded.nested(),
        }
    }

    /// Copies the cache, as [`Cache::backup_with`] does.
    pub fn backup(
        &self,
        destination: &Path,
        replace: bool,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Backup> {
        Ok(match self {
            Self::Plain(cache) => cache.backup_with(destination, replace, watch)?,
            Self::Sharded(sharded) => sharded.backup_with(destination, replace, watch)?,
        })
    }

    /// Tells the warnings and closes. Only now is a change complete.
    pub fn close(self) -> Result<()> {
        for shard in self.shards() {
            for warning in shard.take_warnings() {
                if !matches!(warning, Warning::Shards { .. }) {
                    say(&format!("warning: {warning}"));
                }
            }
            shard.close()?;
        }
        Ok(())
    }
}
