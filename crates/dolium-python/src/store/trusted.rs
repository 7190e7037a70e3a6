//! Owns which pickles of a store are loaded, and by what.

use std::sync::atomic::Ordering;

use dolium::Value;
use dolium::raw::mode;
use pyo3::prelude::*;

use super::Inner;
use crate::lazy::Lazy;
use crate::trust::Trust;
use crate::{error, pickled};

static LOADS: Lazy = Lazy::new("pickle", "loads");
static TRUSTED: Lazy = Lazy::new("dolium.trust", "loads");

impl Inner {
    /// The object of a pickle. `whole`: the same as an object.
    pub(super) fn unpickled<'py>(
        &self,
        py: Python<'py>,
        pickle: &[u8],
        signed: bool,
        whole: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.is_trusted(signed) {
            pickled::load(py, pickle, whole)
        } else {
            TRUSTED.get(py)?.call1((whole()?,))
        }
    }

    /// What loads a pickle.
    pub(super) fn loads(&self, signed: bool) -> &'static Lazy {
        if self.is_trusted(signed) { &LOADS } else { &TRUSTED }
    }

    /// Whether a pickle may be loaded without restrictions.
    pub(super) fn is_trusted(&self, signed: bool) -> bool {
        match self.shared.trust {
            Trust::All => true,
            Trust::Signed => signed,
            Trust::Nothing => false,
        }
    }

    /// Whether a value may be loaded without asking Python first.
    pub fn is_sure(&self) -> impl Fn(&Value) -> bool + Send + use<> {
        let trust = self.shared.trust;
        move |value| match value {
            Value::Pickle { signed, .. } => trust == Trust::All || *signed && trust == Trust::Signed,
            // Whether it can be read is seen when it is.
            Value::Encoded(_) | Value::Unknown { mode: mode::FRAME, .. } => false,
            _ => true,
        }
    }

    /// A refused value counts as a miss, with one warning, unless the store is strict.
    pub fn unless_refused<T>(&self, py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
        match result {
            Err(error) if !self.strict && error::is_unreadable(py, &error) => Ok(None),
            Err(refusal) if !self.strict && error::is_untrusted(py, &refusal) => {
                if self.shared.refused.fetch_add(1, Ordering::Relaxed) == 0 {
                    let directory = self.shared.shards[0].cache(false).directory().display().to_string();
                    let why = refusal.value(py).to_string();
                    error::warn_untrusted(py, &format!("{directory}: a value is treated as missing: {why}"))?;
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}
