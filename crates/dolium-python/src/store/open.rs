//! Opening: what the constructors of `Cache` and `FanoutCache` hand over becomes engine caches.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dolium::{Builder, Cache, Scalar, ShardedCache, Wait};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::custom::Custom;
use super::{Inner, Seconds, Shard, Shared, Store};
use crate::trust::Trust;
use crate::value::scalar_of;
use crate::{enter, error};

fn trust(py: Python<'_>, name: &str) -> PyResult<Trust> {
    match name {
        "all" => Ok(Trust::All),
        "signed" => Ok(Trust::Signed),
        "none" => Ok(Trust::Nothing),
        other => {
            let message = format!("trust must be 'signed', 'all' or 'none', not '{other}'");
            Err(error::INVALID.error(py, (message,)))
        }
    }
}

fn wait(seconds: f64) -> Wait {
    // Not a number counts as no waiting, infinity as waiting for ever.
    match Duration::try_from_secs_f64(seconds.max(0.0)) {
        Ok(timeout) => Wait::AtMost(timeout),
        Err(_) => Wait::Forever,
    }
}

fn passed(settings: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Scalar)>> {
    settings
        .iter()
        .map(|(name, value)| {
            let name: String = name.extract()?;
            let value = setting(&name, &value)?;
            Ok((name, value))
        })
        .collect()
}

/// The value of a setting. None stands for no limit; in the store that is infinity, as for diskcache.
pub(super) fn setting(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Scalar> {
    if name == "size_limit" && value.is_none() {
        return Ok(Scalar::Real(f64::INFINITY));
    }
    let setting = dolium::raw::read_setting(name, scalar_of(name, value)?);
    setting.map_err(|message| error::INVALID.error(value.py(), (message,)))
}

/// Which setting was probably meant by a name that is none, as the end of a message.
pub(super) fn meant(name: &str) -> String {
    match dolium::raw::known_setting(name) {
        Err(Some(meant)) => format!("; do you mean '{meant}'?"),
        _ => String::new(),
    }
}

/// Warns of a setting that dolium does not know, once for each name and directory.
pub(super) fn warn_unknown(py: Python<'_>, directory: &str, name: &str) -> PyResult<()> {
    static TOLD: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = told.insert((directory.to_owned(), name.to_owned()));
    drop(told);
    if !is_new {
        return Ok(());
    }
    let meant = meant(name);
    let message =
        format!("{directory}: dolium has no setting '{name}', which is stored and changes nothing{meant}");
    error::warn(error::UNKNOWN_SETTING.get(py)?, &message)
}

fn open(builder: Builder, shards: Option<usize>) -> dolium::Result<Vec<Cache>> {
    match shards {
        None => Ok(vec![builder.open()?]),
        Some(shards) => Ok(ShardedCache::open_with(&builder, shards)?.shards().to_vec()),
    }
}

#[pymethods]
impl Store {
    /// Opens the cache: the constructor of subclasses calls this once.
    ///
    /// `timeout` is in seconds. `disk` is None for exactly `Disk`, else a subclass. `shards` is None for a
    /// single directory.
    #[pyo3(signature = (directory, timeout, settings, *, read_only, trust, disk, shards, codec=None))]
    #[expect(clippy::too_many_arguments, reason = "the constructors' arguments, gathered")]
    fn _open(
        &self,
        py: Python<'_>,
        directory: &str,
        timeout: Seconds,
        settings: &Bound<'_, PyDict>,
        read_only: bool,
        trust: &str,
        disk: Option<&Bound<'_, PyAny>>,
        shards: Option<usize>,
        codec: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let trust = self::trust(py, trust)?;
        let mut builder = Cache::builder(directory).read_only(read_only);
        builder = builder.timeout(match wait(timeout.0) {
            Wait::AtMost(timeout) => timeout,
            _ => Duration::MAX,
        });
        for (name, value) in passed(settings)? {
            // A `Disk` of the user's has settings of its own, and refuses those that it does not know.
            let is_disks = disk.is_some() && name.starts_with("disk_");
            if !is_disks && dolium::raw::known_setting(&name).is_err() {
                warn_unknown(py, directory, &name)?;
            }
            builder = builder.setting(&name, value);
        }
        let caches = enter::enter(py, || open(builder, shards))?;
        let mut opened = Vec::with_capacity(caches.len());
        for cache in &caches {
            let custom = match disk {
                None => None,
                Some(class) => {
                    let settings = enter::enter(py, || cache.settings())?;
                    Some(Custom::new(class, &cache.directory().to_string_lossy(), &settings)?)
                }
            };
            opened.push(Shard::new(cache, custom));
        }
        let common = Shared {
            shards: opened,
            trust,
            codec,
            protocol: AtomicI64::new(-1),
            refused: AtomicU64::new(0),
            warned: AtomicU64::new(0),
        };
        let inner = Inner { shared: Arc::new(common), lenient: shards.is_some(), strict: false };
        // Warnings of opening are shown now, not at the first use.
        for shard in &inner.shared.shards {
            shard.enter(py, false, |_| Ok(()))?;
        }
        self.set_inner(inner)
    }

    /// A store of the same class and directory on which refused values raise.
    fn _strict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let inner = slf.get().inner()?;
        if inner.strict {
            return Ok(slf.clone().into_any());
        }
        let class = slf.get_type();
        let twin = class.call_method1("__new__", (&class,))?;
        twin.cast::<Self>()?.get().set_inner(Inner { strict: true, ..inner.clone() })?;
        twin.getattr("__dict__")?.call_method1("update", (slf.getattr("__dict__")?,))?;
        Ok(twin)
    }

    /// Makes `store` the cache of shard number `index` alone.
    fn _open_shard(&self, index: usize, store: &Bound<'_, Self>) -> PyResult<()> {
        let inner = self.inner()?;
        let shards = &inner.shared.shards;
        let shard = shards.get(index).ok_or_else(|| PyValueError::new_err("there is no such shard"))?;
        let custom = shard.custom.as_ref().map(|custom| custom.share(store.py()));
        let common = Shared {
            shards: vec![Shard::new(shard.cache(false), custom)],
            trust: inner.shared.trust,
            codec: inner.shared.codec.as_ref().map(|codec| codec.clone_ref(store.py())),
            protocol: AtomicI64::new(-1),
            refused: AtomicU64::new(0),
            warned: AtomicU64::new(0),
        };
        store.get().set_inner(Inner { shared: Arc::new(common), lenient: false, strict: inner.strict })
    }

    /// The user's `Disk` of a shard, or None if it is exactly `Disk`.
    #[pyo3(signature = (index=0))]
    fn _custom_disk(&self, py: Python<'_>, index: usize) -> PyResult<Option<Py<PyAny>>> {
        let custom = self.inner()?.shared.shards.get(index).and_then(|shard| shard.custom.as_ref());
        Ok(custom.map(|custom| custom.disk.clone_ref(py)))
    }

    /// The directories of the shards.
    #[getter]
    fn _directories(&self) -> PyResult<Vec<String>> {
        let shards = &self.inner()?.shared.shards;
        Ok(shards.iter().map(|shard| shard.cache(false).directory().to_string_lossy().into_owned()).collect())
    }

    /// Whether the cache only reads.
    #[getter]
    fn _read_only(&self) -> PyResult<bool> {
        Ok(self.inner()?.shared.shards[0].cache(false).is_read_only())
    }
}
