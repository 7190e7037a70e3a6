//! Owns the settings as this process knows them: stored ones, and those that were changed here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::system::gate;
use crate::value::policy::Reads;
use crate::value::scalar::Scalar;
use crate::value::settings::Settings;

use super::Handle;

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

impl Handle {
    /// The settings as this process knows them.
    pub fn settings(&self) -> Arc<Settings> {
        let _pass = gate::enter();
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes stored settings those of this process, except for what was set here and is not stored yet.
    pub(crate) fn adopt_settings(&self, mut stored: Settings) {
        let _pass = gate::enter();
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        for name in self.unsaved().iter().chain(self.local().iter()) {
            if let Some(value) = settings.get(name) {
                stored.set(name, value.clone());
            }
        }
        *settings = Arc::new(stored);
        self.remember(&settings);
        self.loaded.store(true, Ordering::Release);
        self.room.store(0, Ordering::Relaxed);
    }

    /// Changes a setting for this process.
    pub(crate) fn change_setting(&self, name: &str, value: Scalar, keep: Keep) {
        let _pass = gate::enter();
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut settings).set(name, value);
        self.remember(&settings);
        self.local().retain(|local| local != name);
        match keep {
            Keep::Save => self.unsaved().push(name.to_owned()),
            Keep::Local => self.local().push(name.to_owned()),
            Keep::Stored => {}
        }
        self.room.store(0, Ordering::Relaxed);
    }

    /// The settings for a new store: those that were changed for this process only are not meant for it.
    pub(super) fn lasting_settings(&self) -> Settings {
        let mut settings = Settings::clone(&self.settings());
        for name in self.local().iter() {
            settings.forget(name);
        }
        settings
    }

    /// What a setting is as long as nobody has passed or stored it. A store that is made gets it; one that
    /// somebody else has made meanwhile says otherwise as soon as it is read.
    pub(crate) fn presume_setting(&self, name: &str, value: Scalar) {
        let _pass = gate::enter();
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
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
        self.min_file_size.store(settings.min_file_size, Ordering::Relaxed);
    }

    /// Whether hits and misses are counted. One load.
    pub(crate) fn counts_hits(&self) -> bool {
        self.counts_hits.load(Ordering::Relaxed)
    }

    /// Bytes from which on a value lies in a file. One load.
    pub(crate) fn min_file_size(&self) -> usize {
        self.min_file_size.load(Ordering::Relaxed)
    }

    /// What the policy asks of reads. One load.
    pub(crate) fn noted_reads(&self) -> Reads {
        Reads::of(self.noted_reads.load(Ordering::Relaxed))
    }

    /// The settings are read again when the store is opened next.
    pub(crate) fn forget_settings(&self) {
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
        let _pass = gate::enter();
        self.unsaved().is_empty() && (self.is_loaded() || self.local().iter().any(|local| local == name))
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        let _pass = gate::enter();
        !self.unsaved().is_empty()
    }

    pub(super) fn unsaved(&self) -> MutexGuard<'_, Vec<String>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
