//! Owns opening a cache: paths, settings that are passed, and when they are stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::fanout::Group;
use crate::sqlite::schema;
use crate::store::{Handle, Keep};
use crate::system::clock::Clock;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::wait::Patience;
use crate::value::policy::Policy;
use crate::value::scalar::Scalar;
use crate::value::settings::METADATA;

use super::{Cache, PATIENCE};

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
    patience: Patience,
    read_only: bool,
    clock: Clock,
    settings: Vec<(String, Scalar)>,
    /// Settings that a new store gets unless others are passed; it need not be made for them.
    pub(crate) defaults: Vec<(String, Scalar)>,
    pub(crate) group: Option<Arc<Group>>,
}

impl Builder {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            // Absolute: a `chdir` of the program must not move the cache.
            directory: std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf()),
            patience: PATIENCE,
            read_only: false,
            clock: Clock::System,
            settings: Vec::new(),
            defaults: Vec::new(),
            group: None,
        }
    }

    /// How long operations wait for other writers; 60 s if not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.patience = Patience::Timeout(timeout);
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

    /// Any setting of diskcache, or one of your own. It is stored if it differs from what is stored.
    pub fn setting(mut self, name: &str, value: impl Into<Scalar>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The value that was passed for a setting.
    pub(crate) fn passed(&self, name: &str) -> Option<&Scalar> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
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
        crate::value::sign::prepare().map_err(|error| Error::Invalid(error.to_string()))?;
        self.place()?;
        if !self.directory.is_dir() {
            if self.read_only {
                return Err(Error::Io { path: self.directory, source: std::io::ErrorKind::NotFound.into() });
            }
            match files::create_cache_directory(&self.directory) {
                // Whoever makes a cache while his program starts may never use it: the first write says so.
                Err(error) if !error.is_of_circumstances() => return Err(error),
                _ => {}
            }
        }
        let cache = Cache {
            handle: Handle::of(&self.directory, self.read_only),
            clock: self.clock,
            patience: self.patience,
            group: self.group,
            counts: true,
        };
        for (name, value) in &self.settings {
            validate(name, value)?;
        }
        for (name, value) in self.defaults {
            cache.handle.presume_setting(&name, value);
        }
        cache.apply(self.settings)?;
        Ok(cache)
    }
}

fn validate(name: &str, value: &Scalar) -> Result<()> {
    if name == "eviction_policy" && value.as_text().and_then(Policy::from_name).is_none() {
        return Err(Error::Invalid(format!(
            "eviction_policy must be none, least-recently-stored, least-recently-used or least-frequently-used, not {value:?}"
        )));
    }
    Ok(())
}

impl Cache {
    /// Makes passed settings those of this process, and stores the ones that differ.
    fn apply(&self, passed: Vec<(String, Scalar)>) -> Result<()> {
        let passed: Vec<_> =
            passed.into_iter().filter(|(name, _)| !METADATA.contains(&name.as_str())).collect();
        if passed.is_empty() {
            return Ok(());
        }
        match self.handle.glance(|connection| Ok(schema::load_settings(connection)?)) {
            Some(stored) => self.handle.adopt_settings(stored),
            None => self.load_settings()?,
        }
        let settings = self.handle.settings();
        for (name, value) in passed {
            if settings.get(&name) != Some(&value) {
                self.handle.change_setting(&name, value, Keep::Save);
            }
        }
        // A new store is made at once, so that what was passed holds for whoever comes next.
        if (self.handle.has_unsaved() || !files::exists(&self.handle.database)) && !self.is_read_only() {
            match self.handle.write(self.patience, |_| Ok(())) {
                // They hold for this process all the same.
                Err(error) if error.is_of_circumstances() => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Sees to it that the stored settings are known. What decides how a value is stored asks for it
    /// first: the first operation of a process may be a write.
    pub(crate) fn know_settings(&self) -> Result<()> {
        if self.handle.is_loaded() { Ok(()) } else { self.load_settings() }
    }

    /// Reads the stored settings, if there is a store.
    pub(crate) fn load_settings(&self) -> Result<()> {
        let stored =
            self.handle.read_now(self.patience, |connection| Ok(Some(schema::load_settings(connection)?)))?;
        if let Some(stored) = stored {
            self.handle.adopt_settings(stored);
        }
        Ok(())
    }
}
