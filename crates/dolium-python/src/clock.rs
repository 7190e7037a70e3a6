//! The time of day as Python code sees it: the engine is told what `time.time` says where a test has replaced it.
//!
//! A test replaces it in one of two ways. freezegun, `unittest.mock` and pytest's `monkeypatch` put another object in its
//! place. time-machine leaves the object alone and makes it call other code, so that once that package is imported the
//! object itself is asked. A program in which neither has happened pays for a look at two dictionaries where the time
//! matters, and reads the kernel's clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict};

use crate::lazy::{Lazy, filled, word};

/// Packages that change what the function does instead of replacing it.
const CHANGERS: [&str; 1] = ["time_machine"];

static ASK: Lazy = Lazy::new("dolium.clock", "ask");

/// The namespace of the module `time`, and the modules that are imported.
struct Places {
    time: Py<PyDict>,
    modules: Py<PyDict>,
}

static PLACES: PyOnceLock<Places> = PyOnceLock::new();
/// The function that reads the system's clock.
static ORIGINAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
/// How many modules were imported when they were looked at last.
static MODULES: AtomicUsize = AtomicUsize::new(0);
/// Whether the function has to be asked, although it is the original.
static IS_CHANGED: AtomicBool = AtomicBool::new(false);
/// Whether a thread was told the time, and may have to be told that it is over.
static WAS_TOLD: AtomicBool = AtomicBool::new(false);

/// Whether [`follow`] has found a test's clock in this process. One load.
#[inline]
pub(crate) fn was_told() -> bool {
    WAS_TOLD.load(Ordering::Relaxed)
}

/// Tells the engine what time it is for the calling thread, if a test decides that. Returns whether one does.
#[inline]
pub(crate) fn follow(py: Python<'_>) -> bool {
    let is_usual = !was_told() && is_original(py).unwrap_or(false);
    !is_usual && ask(py)
}

/// Whether `time.time` is what it always was.
#[inline]
fn is_original(py: Python<'_>) -> Option<bool> {
    let (places, original) = (PLACES.get(py)?, ORIGINAL.get(py)?);
    let has_imported = places.modules.bind(py).len() != MODULES.load(Ordering::Relaxed);
    let function = places.time.bind(py).get_item(word!(py, "time")).ok().flatten()?;
    Some(!has_imported && function.is(original) && !IS_CHANGED.load(Ordering::Relaxed))
}

#[cold]
fn ask(py: Python<'_>) -> bool {
    // What a replacement raises is for the code that calls it: the engine goes by the system's clock.
    let time = replaced(py).unwrap_or_else(|error| {
        error.write_unraisable(py, None);
        None
    });
    if time.is_some() {
        WAS_TOLD.store(true, Ordering::Relaxed);
    }
    dolium::host::tell_time(time);
    time.is_some()
}

/// What `time.time` says, if it is not the original.
fn replaced(py: Python<'_>) -> PyResult<Option<f64>> {
    let places = filled(&PLACES, py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok(Places {
            time: py.import("time")?.dict().unbind(),
            modules: modules.cast_into::<PyDict>()?.unbind(),
        })
    })?;
    let modules = places.modules.bind(py);
    let count = modules.len();
    if MODULES.swap(count, Ordering::Relaxed) != count {
        let has_changer = CHANGERS.into_iter().any(|name| modules.contains(name).unwrap_or(false));
        IS_CHANGED.store(has_changer, Ordering::Relaxed);
    }
    let Some(function) = places.time.bind(py).get_item(word!(py, "time"))? else { return Ok(None) };
    // This module may have been imported while the time stood still.
    if ORIGINAL.get(py).is_none() && is_of_module(&function, py)? {
        let _ = ORIGINAL.set(py, function.clone().unbind());
    }
    let is_original = ORIGINAL.get(py).is_some_and(|original| function.is(original));
    if is_original && !IS_CHANGED.load(Ordering::Relaxed) {
        return Ok(None);
    }
    // Before it ends, the interpreter empties the module.
    if function.is_none() {
        return Ok(None);
    }
    let time: f64 = ASK.get(py)?.call1((function,))?.extract()?;
    Ok(Some(time).filter(|time| time.is_finite()))
}

/// Whether a function is the one that the module `time` is compiled with.
fn is_of_module(function: &Bound<'_, PyAny>, py: Python<'_>) -> PyResult<bool> {
    Ok(function.is_exact_instance_of::<PyCFunction>()
        && function.getattr(word!(py, "__self__"))?.is(&py.import("time")?))
}
