//! Owns what concerns a cache as a whole: removing many entries, size, statistics, settings, checking,
//! closing.

use std::path::PathBuf;

use dolium::{Cache, Counter, Error, HotTierStatus, Problem, Scalar, ShardedCache, Stats, raw};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::open::{meant, setting, warn_unknown};
use super::{Argument, Flag, Inner, Shard, Store};
use crate::error;
use crate::lazy::Lazy;
use crate::value::{scalar, unscalar};

static STATS: Lazy = Lazy::new("dolium.stats", "Stats");
static HOT_TIER: Lazy = Lazy::new("dolium.stats", "HotTier");
static ENOVAL: Lazy = Lazy::new("dolium.constants", "ENOVAL");
static MESSAGE: Lazy = Lazy::new("warnings", "WarningMessage");
static UNKNOWN_FILE: Lazy = Lazy::new("dolium.errors", "UnknownFileWarning");
static EMPTY_DIRECTORY: Lazy = Lazy::new("dolium.errors", "EmptyDirWarning");
static USER_WARNING: Lazy = Lazy::new("builtins", "UserWarning");

impl Inner {
    /// Removes many entries from every shard. Several shards wait as long as it takes, as diskcache's do.
    fn remove_many(
        &self,
        py: Python<'_>,
        retry: bool,
        remove: impl Fn(&Cache) -> dolium::Result<usize> + Send + Sync,
    ) -> PyResult<usize> {
        let retry = retry || self.lenient;
        let mut total = 0;
        for shard in &self.shared.shards {
            let change = || {
                shard.wait_turn(py, retry)?;
                shard.run(py, retry, &remove)?.map_err(|error| match error {
                    Error::Timeout { .. } | Error::Neighbor { .. } => {
                        error::timeout(py, error.done(), error.to_string())
                    }
                    other => error::raise(py, other),
                })
            };
            total += match &shard.custom {
                Some(custom) if custom.removes => {
                    custom.removing(py, shard, retry, change).map_err(|error| error::counted(py, error))?
                }
                _ => change()?,
            };
        }
        Ok(total)
    }

    fn sum(&self, py: Python<'_>, f: impl Fn(&Cache) -> dolium::Result<u64> + Send + Sync) -> PyResult<u64> {
        self.shared.shards.iter().try_fold(0, |sum, shard| Ok(sum + shard.enter(py, true, &f)?))
    }

    /// The setting of the whole cache, of which its shards have stored this.
    fn whole(&self, name: &str, stored: Scalar) -> Scalar {
        if self.lenient { raw::whole_of(self.shared.shards[0].cache(true), name, stored) } else { stored }
    }

    /// Whether a setting is neither one of dolium's nor stored.
    fn is_unknown(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        let setting = || self.shared.shards[0].enter(py, true, |cache| cache.setting(name));
        Ok(raw::known_setting(name).is_err() && setting()?.is_none())
    }

    /// Reads a setting again, or changes it. The result is that of the last shard.
    fn reset<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        value: Option<&Scalar>,
        update: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if value.is_some() && self.is_unknown(py, name)? {
            warn_unknown(py, &self.shared.shards[0].cache(false).directory().to_string_lossy(), name)?;
        }
        let mut result = py.None().into_bound(py);
        for shard in &self.shared.shards {
            let setting = match value {
                None => {
                    let stored = shard.enter(py, true, |cache| cache.reload_setting(name))?;
                    stored.map(|stored| self.whole(name, stored))
                }
                Some(value) => {
                    let share = if self.lenient {
                        raw::share_of(shard.cache(true), name, value)
                    } else {
                        value.clone()
                    };
                    shard.change(py, true, |cache| cache.change_setting(name, &share, update))?;
                    Some(value.clone())
                }
            };
            let Some(setting) = setting else {
                return Err(
                    error::INVALID.error(py, (format!("the cache has no setting '{name}'{}", meant(name)),))
                );
            };
            result = unscalar(py, &setting)?;
            if let (Some(custom), Some(attribute)) = (&shard.custom, name.strip_prefix("disk_")) {
                custom.disk.bind(py).setattr(attribute, &result)?;
            }
        }
        if name == "disk_pickle_protocol" {
            self.forget_protocol();
        }
        Ok(result)
    }
}

/// What `check` found, as an entry of the list that `warnings.catch_warnings(record=True)` would give.
fn message<'py>(py: Python<'py>, problem: &Problem) -> PyResult<Bound<'py, PyAny>> {
    let class = match problem {
        Problem::Unknown(_) => &UNKNOWN_FILE,
        Problem::EmptyDirectory(_) => &EMPTY_DIRECTORY,
        _ => &USER_WARNING,
    };
    let class = class.get(py)?;
    let warning = class.call1((problem.to_string(),))?;
    MESSAGE.get(py)?.call1((warning, class, "dolium", 0))
}

fn hot_tier<'py>(py: Python<'py>, tier: &HotTierStatus) -> PyResult<Bound<'py, PyAny>> {
    let told = PyDict::new(py);
    told.set_item("processes", tier.processes)?;
    match &tier.stats {
        Err(why) => told.set_item("missing", why.to_string())?,
        Ok(stats) => {
            told.set_item("capacity", stats.capacity)?;
            told.set_item("keys", stats.keys)?;
            told.set_item("dirty_bytes", stats.dirty_bytes)?;
            told.set_item("reason", tier.size_reason())?;
            for counter in Counter::ALL {
                told.set_item(counter.name(), stats.counted(counter))?;
            }
        }
    }
    HOT_TIER.get(py)?.call((), Some(&told))
}

fn check(py: Python<'_>, shard: &Shard, fix: bool, retry: bool) -> PyResult<Vec<Problem>> {
    shard.change(py, retry, |cache| cache.check(fix))
}

#[pymethods]
impl Store {
    /// Remove the entries with `tag`; return how many there were.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> _ = cache.set("a", 1, tag="x"), cache.set("b", 2)
    /// >>> cache.evict("x"), list(cache)
    /// (1, ['b'])
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
    #[pyo3(signature = (tag, retry=Flag(false)), text_signature = "($self, tag, retry=False)")]
    fn evict(&self, tag: &Bound<'_, PyAny>, retry: Flag) -> PyResult<usize> {
        let value = scalar(tag)?;
        self.inner()?.remove_many(tag.py(), retry.0, |cache| cache.evict(&value))
    }

    /// Remove the entries that have expired by `now` (seconds since 1970, by default now); return how many.
    ///
    /// >>> import dolium, time
    /// >>> cache = dolium.Cache()
    /// >>> cache.set("a", 1, expire=60)
    /// True
    /// >>> cache.expire(now=time.time() + 120), len(cache)
    /// (1, 0)
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
    #[pyo3(signature = (now=None, retry=Flag(false)), text_signature = "($self, now=None, retry=False)")]
    fn expire(&self, py: Python<'_>, now: Option<f64>, retry: Flag) -> PyResult<usize> {
        // Zero means now, as in diskcache.
        let now = now.filter(|now| *now != 0.0);
        self.inner()?.remove_many(py, retry.0, |cache| cache.expire(now))
    }

    /// Remove expired entries, then others by policy until the cache is within `size_limit`; return how many.
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
    #[pyo3(signature = (retry=Flag(false)), text_signature = "($self, retry=False)")]
    fn cull(&self, py: Python<'_>, retry: Flag) -> PyResult<usize> {
        let inner = self.inner()?;
        // What has expired goes first, in whatever shard it is.
        let expired =
            if inner.lenient { inner.remove_many(py, retry.0, |cache| cache.expire(None))? } else { 0 };
        Ok(expired + inner.remove_many(py, retry.0, Cache::cull)?)
    }

    /// Remove all entries; return how many there were. Works on a damaged store too.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["a"] = 1
    /// >>> cache.clear(), len(cache)
    /// (1, 0)
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (retry=Flag(false)), text_signature = "($self, retry=False)")]
    fn clear(&self, py: Python<'_>, retry: Flag) -> PyResult<usize> {
        self.inner()?.remove_many(py, retry.0, Cache::clear)
    }

    /// Compare database, counters and value files; return the problems as a list of warnings.
    ///
    /// `fix=True` fixes them: it removes entries whose files are missing, and unknown files.
    ///
    /// >>> import dolium
    /// >>> dolium.Cache().check()
    /// []
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (fix=Flag(false), retry=Flag(false)), text_signature = "($self, fix=False, retry=False)")]
    fn check<'py>(&self, py: Python<'py>, fix: Flag, retry: Flag) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for shard in &self.inner()?.shared.shards {
            for problem in check(py, shard, fix.0, retry.0)? {
                list.append(message(py, &problem)?)?;
            }
        }
        Ok(list)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let count = self.inner()?.sum(py, |cache| Ok(cache.len()? as u64))?;
        Ok(usize::try_from(count)?)
    }

    /// Return the bytes that the cache takes on disk: its database and its value files.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["a"] = b"x" * 100_000
    /// >>> cache.volume() > 100_000
    /// True
    fn volume(&self, py: Python<'_>) -> PyResult<u64> {
        let inner = self.inner()?;
        if inner.shared.shards.len() > 1 {
            // The drain of a shard may evict entries of one that was measured before.
            inner.sum(py, Cache::volume)?;
        }
        inner.sum(py, Cache::volume)
    }

    /// Return how often all processes together found a value, and how often they did not.
    ///
    /// The call changes nothing. Reads are counted in memory, from when the first process opened the cache until the
    /// last closes it. `enable=True` stores the setting `statistics`, with which the numbers outlast that;
    /// `enable=False` stores that they do not. `reset=True` sets both to 0 afterwards. The pair has attributes,
    /// too: `evicted`, `refused`, and `hot` about the memory that all processes share.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.stats()
    /// (0, 0)
    /// >>> cache.get("a")
    /// >>> cache.stats()
    /// (0, 1)
    #[pyo3(signature = (enable=None, reset=Flag(false)), text_signature = "($self, enable=None, reset=False)")]
    fn stats<'py>(&self, py: Python<'py>, enable: Option<Flag>, reset: Flag) -> PyResult<Bound<'py, PyAny>> {
        let wanted = enable.map(|enable| Scalar::Int(enable.0.into()));
        let mut sum: Option<(Stats, HotTierStatus)> = None;
        for shard in &self.inner()?.shared.shards {
            let (mut stats, mut hot) = shard.enter(py, true, |cache| {
                let stats = cache.stats()?;
                if reset.0 && (stats.hits, stats.misses) != (0, 0) {
                    cache.reset_stats()?;
                }
                if let Some(wanted) = &wanted
                    && cache.setting("statistics")?.as_ref() != Some(wanted)
                {
                    cache.change_setting("statistics", wanted, true)?;
                }
                Ok((stats, cache.hot_tier()?))
            })?;
            if let Some((others, tiers)) = sum {
                (stats, hot) = (others + stats, tiers.and(hot));
            }
            sum = Some((stats, hot));
        }
        let (stats, hot) = sum.ok_or_else(|| PyValueError::new_err("a cache without shards"))?;
        let hot = hot_tier(py, &hot)?;
        STATS.get(py)?.call1((stats.hits, stats.misses, stats.evicted, stats.refused, hot, stats.unshared))
    }

    /// Make evicting and listing by tag fast.
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    fn create_tag_index(&self, py: Python<'_>) -> PyResult<()> {
        let mut shards = self.inner()?.shared.shards.iter();
        shards.try_for_each(|shard| shard.change(py, false, Cache::create_tag_index))
    }

    /// Drop the index that `create_tag_index` made.
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    fn drop_tag_index(&self, py: Python<'_>) -> PyResult<()> {
        let mut shards = self.inner()?.shared.shards.iter();
        shards.try_for_each(|shard| shard.change(py, false, Cache::drop_tag_index))
    }

    /// Make all entries safe from power loss, and readable for diskcache.
    ///
    /// Raises:
    ///     OSError: The disk refused to store them.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let mut shards = self.inner()?.shared.shards.iter();
        shards.try_for_each(|shard| shard.enter(py, true, Cache::flush))
    }

    /// Copies the cache to another directory; returns how many entries the copy holds.
    fn _backup(&self, py: Python<'_>, directory: PathBuf, replace: bool) -> PyResult<u64> {
        let inner = self.inner()?;
        let shards = &inner.shared.shards;
        let watch = &mut |_, _| true;
        let made = shards[0].enter(py, inner.lenient, |cache| {
            if !inner.lenient {
                return cache.backup_with(directory, replace, watch);
            }
            let parent = cache.directory().parent().unwrap_or(cache.directory());
            let shards = shards.iter().map(|shard| shard.cache(true).clone()).collect();
            ShardedCache::of_shards(parent, shards).backup_with(directory, replace, watch)
        })?;
        Ok(made.entries)
    }

    /// Store pending writes and close the files. The next use opens them again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        // Closing what was never opened is fine: `__del__` methods do it.
        let Some(inner) = self.inner.get() else {
            return Ok(());
        };
        // The first one last: the others ask it for settings.
        inner.shared.shards.iter().rev().try_for_each(|shard| shard.enter(py, true, Cache::close))
    }

    /// Read the setting `key` again from the store, or change it; return its value.
    ///
    /// `update=False` changes it for this process only.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.reset("cull_limit", 5), cache.reset("cull_limit")
    /// (5, 5)
    ///
    /// Raises:
    ///     ValueError: There is no such setting.
    #[pyo3(signature = (key, value=Argument::Missing, update=Flag(true)), text_signature = "($self, key, value=..., update=True)")]
    fn reset<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        value: Argument<'py>,
        update: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = match value {
            Argument::Given(value) if !value.is(ENOVAL.get(py)?) => Some(setting(key, &value)?),
            _ => None,
        };
        self.inner()?.reset(py, key, given.as_ref(), update.0)
    }

    /// A setting as this process knows it. Raises KeyError if there is none of that name.
    fn _setting<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let setting = inner.shared.shards[0].enter(py, true, |cache| cache.setting(name))?;
        let setting = setting.ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(name.to_owned()))?;
        unscalar(py, &inner.whole(name, setting))
    }

    /// All settings as this process knows them.
    fn _settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = self.inner()?.shared.shards[0].enter(py, true, Cache::settings)?;
        let dict = PyDict::new(py);
        for (name, value) in settings {
            dict.set_item(name, unscalar(py, &value)?)?;
        }
        Ok(dict)
    }
}
