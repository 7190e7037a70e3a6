//! Owns opening a cache: paths, settings that are passed, and when they are stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::sharded::Group;
use crate::sqlite::unopened::Unopened;
use crate::sqlite::{Connection, Write, schema};
use crate::store::{Handle, Keep, layout};
use crate::system::clock::Clock;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::wait::Wait;
use crate::value::eviction_policy::Policy;
use crate::value::scalar::Scalar;
use crate::value::settings::{METADATA, Settings, read_setting};

use super::{Cache, DEFAULT_WAIT};

/// Options of a cache that is about to be opened.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Policy};
///
/// let cache = Cache::builder(dir.path())
///     .size_limit(Some(64 << 20))
///     .policy(Policy::LeastRecentlyUsed)
///     .open()?;
/// # Ok::<(), dolium::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    directory: PathBuf,
    wait: Wait,
    read_only: bool,
    clock: Clock,
    settings: Vec<(String, Scalar)>,
    /// What is wrong with a setting that was passed: `open` says so.
    invalid: Option<String>,
}

impl Builder {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            // Absolute: a `chdir` of the program must not move the cache.
            directory: std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf()),
            wait: DEFAULT_WAIT,
            read_only: false,
            clock: Clock::System,
            settings: Vec::new(),
            invalid: None,
        }
    }

    /// How long operations wait for other writers; 60 s if not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wait = Wait::AtMost(timeout);
        self
    }

    /// Never writes: works on a read-only mount, and refuses writes with `Error::ReadOnly`.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Where the cache reads the time of day.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Largest volume in bytes before entries are evicted; `None` is unbounded. 1 GiB if never set.
    pub fn size_limit(self, limit: Option<u64>) -> Self {
        let limit = limit.map_or(Scalar::Real(f64::INFINITY), |limit| {
            Scalar::Int(i64::try_from(limit).unwrap_or(i64::MAX))
        });
        self.setting("size_limit", limit)
    }

    /// Which entries are evicted first.
    pub fn policy(self, policy: Policy) -> Self {
        self.setting("eviction_policy", policy.name())
    }

    /// Any setting of diskcache, or one of your own. It is stored if it differs from what is stored. Sizes may be texts
    /// with a unit, such as `"2 GiB"`. [`open`](Self::open) refuses a value that makes no sense.
    pub fn setting(mut self, name: &str, value: impl Into<Scalar>) -> Self {
        match read_setting(name, value.into()) {
            Ok(value) => self.settings.push((name.to_owned(), value)),
            Err(message) => self.invalid = Some(message),
        }
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The same options for another directory.
    pub(crate) fn at(&self, directory: PathBuf) -> Self {
        Self { directory, ..self.clone() }
    }

    /// The directory, unless it has no place: its name is empty, or is relative to a directory that is gone.
    pub(crate) fn place(&self) -> Result<&Path> {
        if self.directory.is_absolute() {
            return Ok(&self.directory);
        }
        let source = std::io::ErrorKind::NotFound.into();
        Err(Error::Io { path: self.directory.clone(), source })
    }

    /// Opens the cache. The database is touched only if settings were passed, and written only if they
    /// differ from the stored ones.
    pub fn open(self) -> Result<Cache> {
        self.prepare()?;
        let is_sharded = layout::is_sharded(&self.directory);
        if is_sharded && !layout::is_plain(&self.directory) {
            layout::expect_plain(&self.directory)?;
        }
        let handle = self.handle()?;
        if is_sharded {
            handle.tell_mixed(&self.directory, false);
        }
        let cache = self.cache(handle, None);
        cache.apply(self.settings)?;
        Ok(cache)
    }

    /// The handle of the directory, which is made if need be.
    pub(crate) fn handle(&self) -> Result<Arc<Handle>> {
        if !files::is_directory(&self.directory) {
            if self.read_only {
                return Err(files::not_there(&self.directory));
            }
            match files::create_cache_directory(&self.directory) {
                // A program may open a cache while it starts and never use it, so the first write reports the failure
                // instead.
                Err(error) if !error.is_environmental() => return Err(error),
                _ => {}
            }
        }
        super::exit::register();
        Ok(Handle::of(&self.directory, self.read_only))
    }

    /// A cache with these options, without settings.
    pub(crate) fn cache(&self, handle: Arc<Handle>, group: Option<Arc<Group>>) -> Cache {
        Cache { handle, clock: self.clock.clone(), wait: self.wait, group, counts: true }
    }

    /// Fails if a setting that was passed makes no sense, the directory has no place, or the signing key is unfit.
    pub(crate) fn prepare(&self) -> Result<()> {
        crate::value::sign::prepare().map_err(|error| Error::Invalid(error.to_string()))?;
        self.place()?;
        self.invalid.clone().map_or(Ok(()), |message| Err(Error::Invalid(message)))
    }

    /// The settings that were passed.
    pub(crate) fn into_settings(self) -> Vec<(String, Scalar)> {
        self.settings
    }
}

impl Cache {
    /// Makes passed settings those of this process, and stores the ones that differ: all in one transaction.
    pub(crate) fn apply(&self, passed: Vec<(String, Scalar)>) -> Result<()> {
        let passed: Vec<_> =
            passed.into_iter().filter(|(name, _)| !METADATA.contains(&name.as_str())).collect();
        if passed.is_empty() {
            return Ok(());
        }
        if passed.iter().any(|(name, _)| name == "size_limit") {
            self.handle.choose_limit();
        }
        if let Some(stored) = self.stored_here()? {
            self.handle.adopt_settings(stored);
        }
        let settings = self.handle.settings.current();
        for (name, value) in passed {
            if settings.get(&name) != Some(&value) {
                self.handle.change_setting(&name, value, Keep::Save);
            }
        }
        // A new store is made at once, so that what was passed holds for the processes that come next.
        if self.handle.settings.has_unsaved() || !files::exists(&self.handle.database) {
            self.store_settings(|_| Ok(()))?;
        }
        Ok(())
    }

    /// As a shard but the first, after that has stored what was passed: takes it over. The copy here is for diskcache,
    /// and for the day when the first store is lost.
    pub(crate) fn copy_settings(&self) -> Result<()> {
        let Some(agreed) = self.group.as_ref().map(|group| group.first().settings.current()) else {
            return Ok(());
        };
        let differs = |stored: &Settings| {
            copied(&agreed).any(|(name, value)| stored.get(name).is_none_or(|stored| stored != value))
        };
        if self.stored_here()?.as_ref().is_none_or(differs) {
            self.store_settings(|write| {
                // What holds at this moment: another process may have changed it since.
                let Some(stored) = self.handle.settings_of_first()? else { return Ok(()) };
                for (name, value) in copied(&stored) {
                    schema::store_setting(write.connection(), name, value)?;
                }
                schema::ensure_policy_index(write.connection(), &stored)
            })?;
        }
        self.handle.adopt_settings(Settings::clone(&agreed));
        Ok(())
    }

    /// What the store of this very directory says.
    fn stored_here(&self) -> Result<Option<Settings>> {
        let load = |connection: &Connection| Ok(schema::load_settings(connection)?);
        match self.handle.peek(Unopened::settings).or_else(|| self.handle.read_unopened(load)) {
            Some(stored) => Ok(Some(stored)),
            None => self.handle.read_now(self.opening_wait(), |connection| Ok(Some(load(connection)?))),
        }
    }

    /// A write for the sake of settings. Where nothing can be written they hold for this process all the same.
    fn store_settings(&self, f: impl FnMut(&mut Write<'_>) -> Result<()>) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        match self.handle.write(self.opening_wait(), f) {
            Err(error) if error.is_environmental() => Ok(()),
            other => other,
        }
    }

    /// How long opening waits for others that open at the same time, however little a read may wait.
    fn opening_wait(&self) -> Wait {
        match (self.wait, DEFAULT_WAIT) {
            (Wait::AtMost(own), Wait::AtMost(least)) => Wait::AtMost(own.max(least)),
            _ => Wait::Forever,
        }
    }

    /// Sees to it that the stored settings are known. What decides how a value is stored asks for it
    /// first: the first operation of a process may be a write.
    pub(crate) fn know_settings(&self) -> Result<()> {
        if self.handle.settings.is_loaded() { Ok(()) } else { self.load_settings() }
    }

    /// Reads the stored settings, if there is a store.
    pub(crate) fn load_settings(&self) -> Result<()> {
        if let Some(stored) = self.handle.read_settings(self.wait)? {
            self.handle.adopt_settings(stored);
        }
        Ok(())
    }
}

/// The settings that all shards of a cache have alike. An index is made in each by itself.
fn copied(settings: &Settings) -> impl Iterator<Item = (&str, &Scalar)> {
    settings.iter().filter(|(name, _)| *name != "tag_index")
}
