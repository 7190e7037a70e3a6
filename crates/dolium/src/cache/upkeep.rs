//! Owns what concerns the cache as a whole: its size, statistics, settings, durability, and raw SQL.

use std::time::Duration;

use dolium_hot::{Counter, Observer, Tier};

use crate::sqlite::files::with_suffix;
use crate::sqlite::{read, schema};
use crate::store::Keep;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::Wait;
use crate::system::warning::Warning;
use crate::value::scalar::Scalar;
use crate::value::settings::{METADATA, Settings, read_setting};

use super::Cache;

/// How long `close` waits for others at most.
const CLOSING: Duration = Duration::from_secs(1);

/// How long the last who has the cache waits for another program's transaction, if its own `timeout` does not say. That of
/// diskcache.
const LAST: Duration = Duration::from_mins(1);

/// Counters of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a value: those that were made while the setting `statistics` was on, and those that are counted
    /// in memory, since the first process came that uses the cache now.
    pub hits: i64,
    /// Reads that did not.
    pub misses: i64,
    /// Entries that this process has evicted to keep within `size_limit`.
    pub evicted: u64,
    /// Values that this process has refused for being larger than `size_limit`.
    pub refused: u64,
    /// Computations that this process began without a lease, because all places of the table were taken.
    pub unshared: u64,
}

impl std::ops::Add for Stats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            evicted: self.evicted + other.evicted,
            refused: self.refused + other.refused,
            unshared: self.unshared + other.unshared,
        }
    }
}

impl std::iter::Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
        each.fold(Self::default(), |sum, stats| sum + stats)
    }
}

impl Cache {
    /// How many entries there are, expired ones included.
    pub fn len(&self) -> Result<usize> {
        let count = self.handle.read(self.wait, |connection| Ok(schema::counter(connection, "count")?))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes that the cache takes on disk: the database and the value files.
    pub fn volume(&self) -> Result<u64> {
        let volume = self.handle.read(self.wait, |connection| {
            let pages = read::page_bytes(connection)?.0;
            Ok(pages.saturating_add(schema::counter(connection, "size")?))
        })?;
        Ok(u64::try_from(volume).unwrap_or(0))
    }

    /// Hits and misses since they were last reset, and what this process has evicted. Changes nothing.
    pub fn stats(&self) -> Result<Stats> {
        let (hits, misses) = self.handle.read(self.wait, |connection| {
            Ok((schema::counter(connection, "hits")?, schema::counter(connection, "misses")?))
        })?;
        let unstored = self.unstored_lookups()?;
        let (evicted, refused) = self.handle.volume.counted();
        Ok(Stats {
            hits: hits + unstored.0,
            misses: misses + unstored.1,
            evicted,
            refused,
            unshared: self.handle.shards.place.overflows(),
        })
    }

    /// Hits and misses that the database does not have: those that are about to be written, those that only the hot tier
    /// counts, and those that this process counts because it had no tier.
    fn unstored_lookups(&self) -> Result<(i64, i64)> {
        let in_tier = if let Some(tier) = self.handle.tier.get() {
            Some(tier.lookups())
        } else {
            let others = self.handle.observer(self.wait)?.map(|(others, _)| others);
            others.filter(Observer::is_live).map(|others| others.lookups())
        };
        let parts = [in_tier.unwrap_or_default(), self.handle.reads.lookups.counted()];
        let pending = self.handle.reads.pending.counts();
        Ok(parts.into_iter().fold(pending, |sum, part| {
            (sum.0.saturating_add_unsigned(part.0), sum.1.saturating_add_unsigned(part.1))
        }))
    }

    /// Sets hits and misses to 0.
    pub fn reset_stats(&self) -> Result<()> {
        self.set_counters(&["hits", "misses"], &Scalar::Int(0))
    }

    /// Stores a value of some counters. What memory alone has counted of hits and misses is struck off.
    fn set_counters(&self, names: &[&str], value: &Scalar) -> Result<()> {
        self.handle.write_pending(self.wait)?;
        self.handle.write(self.wait, |write| {
            // While this process holds the writer lock, no other strikes off the same.
            let (hits, misses) = self.handle.tier.get().as_ref().map_or((0, 0), Tier::lookups);
            for name in names {
                schema::store_setting(write.connection(), name, value)?;
                match *name {
                    "hits" => {
                        self.handle.tier.count(Counter::SettledHits, hits);
                        self.handle.reads.lookups.forget_hits();
                    }
                    "misses" => {
                        self.handle.tier.count(Counter::SettledMisses, misses);
                        self.handle.reads.lookups.forget_misses();
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    /// A setting: what this process has changed it to for itself, else what is stored now.
    pub fn setting(&self, name: &str) -> Result<Option<Scalar>> {
        self.know_settings()?;
        self.handle.refresh_settings();
        Ok(self.handle.settings.current().get(name).cloned())
    }

    /// All settings as this process knows them.
    pub fn settings(&self) -> Result<Vec<(String, Scalar)>> {
        self.know_settings()?;
        Ok(self
            .handle
            .settings
            .current()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect())
    }

    /// Reads a setting or counter again from the store: another process may have changed it.
    pub fn reload_setting(&self, name: &str) -> Result<Option<Scalar>> {
        let stored = if METADATA.contains(&name) {
            self.handle.read(self.wait, |connection| Ok(schema::load_setting(connection, name)?))?
        } else {
            self.handle.read_setting(name, self.wait)?
        };
        if METADATA.contains(&name) {
            let unstored = match name {
                "hits" => self.unstored_lookups()?.0,
                "misses" => self.unstored_lookups()?.1,
                _ => 0,
            };
            return Ok(Some(Scalar::Int(stored.and_then(|value| value.as_int()).unwrap_or(0) + unstored)));
        }
        if let Some(value) = &stored {
            self.handle.change_setting(name, value.clone(), Keep::Stored);
        } else if let Some(value) =
            Settings::defaults().get(name).filter(|_| self.handle.settings.is_only_here(name))
        {
            self.handle.change_setting(name, value.clone(), Keep::Stored);
        }
        Ok(stored.or_else(|| self.handle.settings.current().get(name).cloned()))
    }

    /// Changes a setting for this process, and with `store` for all. Connection settings (`sqlite_…`)
    /// hold from the next connection on; those of the file itself only for a new store.
    pub fn change_setting(&self, name: &str, value: &Scalar, store: bool) -> Result<()> {
        if METADATA.contains(&name) {
            return self.set_counters(&[name], value);
        }
        let value = &read_setting(name, value.clone()).map_err(Error::Invalid)?;
        let known = self.setting(name)?;
        if name == "size_limit" {
            self.handle.choose_limit();
        }
        self.handle.change_setting(name, value.clone(), if store { Keep::Stored } else { Keep::Local });
        if store {
            let settings = self.handle.settings.current();
            self.handle.write(self.wait, |write| {
                schema::store_setting(write.connection(), name, value)?;
                schema::ensure_policy_index(write.connection(), &settings)
            })?;
        }
        if name.starts_with("sqlite_") && known.as_ref() != Some(value) && !self.in_transaction() {
            let _inside = fork_gate::enter();
            self.handle.connections.close(true);
        }
        Ok(())
    }

    /// Makes evicting and listing by tag fast.
    pub fn create_tag_index(&self) -> Result<()> {
        self.set_tag_index(true)
    }

    /// Removes the index on tags, which costs each write a little.
    pub fn drop_tag_index(&self) -> Result<()> {
        self.set_tag_index(false)
    }

    fn set_tag_index(&self, wanted: bool) -> Result<()> {
        self.handle.write(self.wait, |write| {
            schema::set_tag_index(write.connection(), wanted)?;
            schema::store_setting(write.connection(), "tag_index", &Scalar::from(wanted))
        })?;
        self.handle.change_setting("tag_index", Scalar::from(wanted), Keep::Stored);
        Ok(())
    }

    /// Makes everything that was acknowledged so far durable, also against power loss.
    pub fn flush(&self) -> Result<()> {
        if self.is_read_only() || !files::exists(&self.handle.database) {
            return Ok(());
        }
        self.handle.write_pending(self.wait)?;
        let names = self.handle.read(self.wait, |connection| Ok(read::filenames(connection)?))?;
        self.handle.values.sync(&names)?;
        // A checkpoint syncs the log too, but readers and the checkpoints of others may keep it from starting.
        files::sync(&with_suffix(&self.handle.database, "-wal"))?;
        self.handle.checkpoint()?;
        while self.handle.empty_trash(self.wait)? {}
        Ok(())
    }

    /// Writes what is pending and closes this process's connections. The cache re-opens when it is used.
    pub fn close(&self) -> Result<()> {
        if self.in_transaction() {
            return Ok(());
        }
        if !self.is_read_only() && files::exists(&self.handle.database) {
            // A transaction of another thread or process may hold us up. What is left then is the next one's.
            let wait = match self.wait {
                Wait::AtMost(timeout) => Wait::AtMost(timeout.min(CLOSING)),
                Wait::Forever => Wait::AtMost(CLOSING),
            };
            // As long as all shards are open, each can evict for the others.
            for shard in self.handle.siblings() {
                if !shard.is_closed() && !shard.transaction.is_taken() {
                    let _ = shard.drain_all(wait);
                }
            }
            // What cannot be drained others drain, if there are any.
            if self.handle.drain_all(wait).is_err() && self.is_last() {
                self.drain_as_the_last();
            }
            let _ = self.handle.write_pending(wait);
            // A checkpoint of the housekeeper's under way would let ours, which must cover the last commit, do nothing.
            self.handle.stop_upkeep();
            self.handle.take_out_trash(wait);
            let _ = self.handle.leave(wait);
        }
        self.handle.stop_upkeep();
        let _inside = fork_gate::enter();
        self.handle.connections.close(false);
        self.handle.settings.forget();
        self.handle.tier.lock.detach_unused();
        self.handle.shards.place.close();
        self.handle.tier.forget_reads();
        self.handle.reads.absences.forget();
        if self.handle.tier.lock.tier_inside().is_some() {
            // Another thread uses the tier at this moment, and its writes must be drained, too.
            crate::store::housekeeper::wake(&self.handle);
        }
        // A program that removes the directory and only then closes the cache knows that the entries are gone.
        self.handle.warnings.withdraw_replaced();
        Ok(())
    }

    /// Returns whether no other process can drain: none is attached, and none has the writer lock.
    fn is_last(&self) -> bool {
        let is_free = self.handle.tier.get().is_some_and(|tier| !tier.is_writer_locked());
        is_free && dolium_hot::count_attached(self.directory()).is_ok_and(|count| count <= 1)
    }

    /// Drains while another program may keep the database locked. Its changes would be an argument against the dirty
    /// records. So this waits as long as a writer to the database would, before it leaves them behind.
    fn drain_as_the_last(&self) {
        let wait = match self.wait {
            Wait::AtMost(timeout) => Wait::AtMost(timeout),
            Wait::Forever => Wait::AtMost(LAST),
        };
        if self.handle.drain_all(wait).is_err() {
            self.handle.warnings.add(Warning::Left { directory: self.directory().to_path_buf() });
        }
    }

    /// Writes what is pending, for operations that only want to see it.
    pub(crate) fn write_pending_quietly(&self) {
        let wait = match self.wait {
            Wait::Forever => super::DEFAULT_WAIT,
            timeout @ Wait::AtMost(_) => timeout,
        };
        // What could not be written stays pending; nothing depends on it but precision.
        let _ = self.handle.write_pending(wait);
    }
}

/// Returns how SQLite journals changes of this store, like `wal`, or `None` if there is no store yet.
pub fn journal_mode(cache: &Cache) -> Result<Option<String>> {
    cache.handle.read(cache.wait, |connection| Ok(Some(read::journal_mode(connection)?)))
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("directory", &self.directory())
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// Ends background work of the process: all that waits is written, connections are closed. For a host language to call
/// at exit, as a Rust program does by itself; caches that are used afterwards work, without a housekeeper.
pub fn shutdown() {
    super::exit::forget();
    crate::store::housekeeper::stop();
    let handles = {
        let _inside = fork_gate::enter();
        crate::store::Handle::all()
    };
    for handle in handles {
        let cache = Cache {
            handle,
            clock: crate::system::clock::Clock::System,
            wait: Wait::Forever,
            group: None,
            counts: false,
        };
        // At exit no caller is left to tell.
        let _: Result<(), Error> = cache.close();
    }
}
