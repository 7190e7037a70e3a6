//! The settings as this process knows them: stored ones, and those that were changed here.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::sqlite::unopened::Unopened;
use crate::sqlite::{Connection, schema};
use crate::system::error::{self, Result};
use crate::system::fork_gate;
use crate::system::wait::Wait;
use crate::value::eviction_policy::{Policy, ReadNotes};
use crate::value::scalar::Scalar;
use crate::value::settings::{DEFAULT_LIMIT, Settings};

use super::Handle;

/// More than is lost when the default limit is divided among shards.
const ROUNDED: u64 = 1 << 10;

/// What becomes of a setting that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The next write stores it.
    Save,
    /// It holds for this process only.
    Local,
    /// It is what is stored.
    Stored,
}

/// The settings as this process knows them.
pub(crate) struct LiveSettings {
    current: RwLock<Arc<Settings>>,
    /// The stored settings are among them.
    loaded: AtomicBool,
    /// What the policy asks of reads, a code of `ReadNotes`.
    noted_reads: AtomicU8,
    /// Whether hits and misses are counted.
    counts_hits: AtomicBool,
    /// What is `plain_size`; 0 until the stored settings are known.
    plain_size: AtomicUsize,
    /// A `size_limit` was passed or set in this process.
    chosen_limit: AtomicBool,
    /// Settings that were passed when there was no store to keep them.
    unsaved: Mutex<Vec<String>>,
    /// Settings that are changed for this process only.
    local: Mutex<Vec<String>>,
}

impl Default for LiveSettings {
    fn default() -> Self {
        let defaults = Settings::defaults();
        Self {
            loaded: AtomicBool::new(false),
            noted_reads: AtomicU8::new(0),
            counts_hits: AtomicBool::new(false),
            plain_size: AtomicUsize::new(0),
            chosen_limit: AtomicBool::new(false),
            unsaved: Mutex::default(),
            local: Mutex::default(),
            current: RwLock::new(Arc::new(defaults)),
        }
    }
}

impl LiveSettings {
    /// The settings as this process knows them.
    pub fn current(&self) -> Arc<Settings> {
        let _inside = fork_gate::enter();
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes stored settings those of this process, except for what was set here and is not stored yet. Returns whether
    /// that changes any.
    pub(super) fn adopt(&self, mut stored: Settings) -> bool {
        let _inside = fork_gate::enter();
        let mut settings = self.current.write().unwrap_or_else(PoisonError::into_inner);
        for name in self.unsaved().iter().chain(self.local().iter()) {
            if let Some(value) = settings.get(name) {
                stored.set(name, value.clone());
            }
        }
        let is_changed = !settings.has_values_of(&stored);
        self.set_loaded();
        if is_changed {
            *settings = Arc::new(stored);
            self.remember(&settings);
        }
        self.remember_plain_size(&settings);
        is_changed
    }

    /// Changes a setting for this process.
    pub(super) fn change(&self, name: &str, value: Scalar, keep: Keep) {
        let _inside = fork_gate::enter();
        let mut settings = self.current.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut settings).set(name, value);
        self.remember(&settings);
        self.local().retain(|local| local != name);
        match keep {
            Keep::Save => self.unsaved().push(name.to_owned()),
            Keep::Local => self.local().push(name.to_owned()),
            Keep::Stored => {}
        }
    }

    /// The settings for a new store: those that were changed for this process only are not meant for it.
    pub(super) fn lasting(&self) -> Settings {
        let mut settings = Settings::clone(&self.current());
        for name in self.local().iter() {
            settings.forget(name);
        }
        settings
    }

    /// Sets a default, which holds until a caller passes or stores the setting. A new store is created with it. If
    /// another process has created the store meanwhile, the value in it overrides the default as soon as it is read.
    pub(crate) fn presume(&self, name: &str, value: Scalar) {
        let _inside = fork_gate::enter();
        let mut settings = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_known =
            self.is_loaded() || self.unsaved().iter().chain(self.local().iter()).any(|known| known == name);
        if !is_known {
            Arc::make_mut(&mut settings).set(name, value);
            self.remember(&settings);
        }
    }

    /// Keeps what each read asks for where it costs one load.
    fn remember(&self, settings: &Settings) {
        self.noted_reads.store(settings.policy.plan().reads.code(), Ordering::Relaxed);
        self.counts_hits.store(settings.statistics, Ordering::Relaxed);
        if self.is_loaded() {
            self.remember_plain_size(settings);
        }
    }

    fn remember_plain_size(&self, settings: &Settings) {
        let limit = settings.size_limit.filter(|_| settings.policy != Policy::None);
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        self.plain_size.store(settings.min_file_size.min(limit), Ordering::Relaxed);
    }

    /// Whether hits and misses are counted. One load.
    pub(crate) fn counts_hits(&self) -> bool {
        self.counts_hits.load(Ordering::Relaxed)
    }

    /// Bytes from which on a value may lie in a file or be refused, and from which on nothing is known of it as long as the
    /// stored settings are not known. One load.
    pub(crate) fn plain_size(&self) -> usize {
        self.plain_size.load(Ordering::Relaxed)
    }

    /// What the policy asks of reads. One load.
    pub(crate) fn noted_reads(&self) -> ReadNotes {
        ReadNotes::of(self.noted_reads.load(Ordering::Relaxed))
    }

    /// The settings have been stored as they are.
    pub(super) fn set_stored(&self) {
        self.set_loaded();
        self.remember_plain_size(&self.current());
    }

    fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// The settings are read again when the store is opened next.
    pub(crate) fn forget(&self) {
        self.loaded.store(false, Ordering::Release);
    }

    pub(super) fn local(&self) -> MutexGuard<'_, Vec<String>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Whether a setting is neither stored nor about to be: what it was changed to holds for this process only.
    pub(crate) fn is_only_here(&self, name: &str) -> bool {
        let _inside = fork_gate::enter();
        self.unsaved().is_empty() && (self.is_loaded() || self.local().iter().any(|local| local == name))
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        let _inside = fork_gate::enter();
        !self.unsaved().is_empty()
    }

    pub(super) fn unsaved(&self) -> MutexGuard<'_, Vec<String>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Makes stored settings those of this process, except for what was set here and is not stored yet.
    pub(crate) fn adopt_settings(&self, stored: Settings) {
        if self.settings.adopt(stored) {
            self.volume.measure_again();
        }
    }

    /// Changes a setting for this process.
    pub(crate) fn change_setting(&self, name: &str, value: Scalar, keep: Keep) {
        self.settings.change(name, value, keep);
        self.volume.measure_again();
    }

    /// What the first shard has stored, if this is another one and there is a store. Neither waits.
    pub(crate) fn settings_of_first(&self) -> Result<Option<Settings>> {
        let Some(first) = self.shards.first() else { return Ok(None) };
        match first.try_read(&mut |connection| Ok(Some(schema::load_settings(connection)?))) {
            Err(error) if error.as_sqlite().is_some_and(error::is_busy) => Err(error),
            // A store that cannot be read has left a copy in each shard.
            other => Ok(other.ok().flatten()),
        }
    }

    /// What the first shard has stored, or the store of this connection. Does not wait.
    pub(super) fn stored_settings(&self, connection: &Connection) -> Result<Settings> {
        match self.settings_of_first()? {
            Some(stored) => Ok(stored),
            None => Ok(schema::load_settings(connection)?),
        }
    }

    /// Sees to it that the stored settings are known, as far as a database says them that no process has open.
    pub(crate) fn peek_settings(&self) -> Option<()> {
        if !self.settings.is_loaded() {
            let decisive = self.shards.first().map_or(self, |first| first);
            self.adopt_settings(decisive.peek(Unopened::settings)?);
        }
        Some(())
    }

    /// What the first shard has stored, or the store of this directory, if there is one.
    pub(crate) fn read_settings(self: &Arc<Self>, wait: Wait) -> Result<Option<Settings>> {
        let load = |connection: &Connection| Ok(Some(schema::load_settings(connection)?));
        if let Some(first) = self.shards.first()
            && let Some(stored) = first.read_now(wait, load)?
        {
            return Ok(Some(stored));
        }
        self.read_now(wait, load)
    }

    /// What the first shard has stored of one setting, or the store of this directory.
    pub(crate) fn read_setting(self: &Arc<Self>, name: &str, wait: Wait) -> Result<Option<Scalar>> {
        let load = |connection: &Connection| Ok(schema::load_setting(connection, name)?);
        if let Some(first) = self.shards.first()
            && let Some(stored) = first.read_now(wait, load)?
        {
            return Ok(Some(stored));
        }
        self.read_now(wait, load)
    }

    /// Notices what other processes have stored since. What cannot be read at this moment stays as it is known.
    pub(crate) fn refresh_settings(self: &Arc<Self>) {
        if let Ok(Some(stored)) = self.read_settings(Wait::AtMost(Duration::ZERO)) {
            self.adopt_settings(stored);
        }
    }

    /// Reads the settings again if another process has changed one that eviction depends on. Looks at no others for
    /// that.
    pub(crate) fn refresh_limit(self: &Arc<Self>) {
        const DECISIVE: [&str; 3] = ["size_limit", "eviction_policy", "cull_limit"];
        let known = self.settings.current();
        let has_changed = |connection: &Connection| {
            for name in DECISIVE {
                if schema::load_setting(connection, name)?.as_ref() != known.get(name) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let source = self.shards.first().unwrap_or(self);
        if source.read_now(Wait::AtMost(Duration::ZERO), has_changed).unwrap_or(false) {
            self.refresh_settings();
        }
    }

    /// Those of the first shard, or of a cache without shards.
    fn deciding_settings(&self) -> &LiveSettings {
        self.shards.first().map_or(&self.settings, |first| &first.settings)
    }

    /// Notes that a `size_limit` was passed or set, so that eviction at it is what was asked for.
    pub(crate) fn choose_limit(&self) {
        self.deciding_settings().chosen_limit.store(true, Ordering::Relaxed);
    }

    /// Whether the limit of the whole cache is the default, and no program of this process has asked for it. One that
    /// another process stored is no default, unless it is the same number.
    pub(crate) fn is_default_limit(&self, limit: u64) -> bool {
        !self.deciding_settings().chosen_limit.load(Ordering::Relaxed)
            && DEFAULT_LIMIT.abs_diff(limit) < ROUNDED
    }
}
