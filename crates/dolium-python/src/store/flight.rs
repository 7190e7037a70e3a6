//! Flights for the package: joining and beginning them, waiting with signals let in, and waking event loops.
#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dolium::host;
use dolium::host::{After, Asked, Ended, Joined, Space};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::Store;
use crate::{enter, signals};

/// Whether the interpreter ends: from now on no thread of the engine calls Python.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
/// Calls of Python that go on.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// How long the end of the interpreter waits for them.
const LONGEST: Duration = Duration::from_secs(1);

/// An exception that a computation raised.
struct Raised(Py<PyAny>);

/// A computation that others may wait for. If it is collected without an end, one of those who wait takes over.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct Flight {
    number: u64,
    flight: Mutex<Option<host::Flight>>,
}

/// One who waits for a flight.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct Waiter {
    waiter: Mutex<Option<Arc<host::Waiter>>>,
    after: After,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Flight {
    /// Names the flight in this process.
    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// Ends the flight: "kept" if the result is stored, "unkept" if there is one that is not, "left" if there is none,
    /// or the exception that the computation raised.
    #[pyo3(signature = (how, /))]
    fn end(&self, py: Python<'_>, how: &Bound<'_, PyAny>) -> PyResult<()> {
        let ended = match how.extract::<&str>() {
            Ok("kept") => Ended::Kept,
            Ok("unkept") => Ended::Unkept,
            Ok("left") => Ended::Left,
            Ok(other) => return Err(PyValueError::new_err(format!("a flight does not end {other:?}"))),
            Err(_) => Ended::Failed(Arc::new(Raised(how.clone().unbind()))),
        };
        let flight = lock(&self.flight).take();
        enter::leave(py, || {
            if let Some(flight) = flight {
                flight.end(ended);
            }
        });
        Ok(())
    }

    /// One more who waits for this flight; None if it has ended.
    #[pyo3(signature = (aboard, /))]
    fn join(&self, aboard: Vec<u64>) -> Option<Waiter> {
        let flight = lock(&self.flight);
        let waiter = flight.as_ref()?.join(Asked::new().aboard(&aboard));
        Some(Waiter::new(waiter))
    }

    /// Calls `call` whenever none is left who waits for this flight.
    #[pyo3(signature = (call, /))]
    fn on_desertion(&self, call: Py<PyAny>) {
        if let Some(flight) = lock(&self.flight).as_ref() {
            flight.on_desertion(move || run(&call));
        }
    }
}

impl Waiter {
    fn new(waiter: host::Waiter) -> Self {
        Self { after: waiter.after(), waiter: Mutex::new(Some(Arc::new(waiter))) }
    }

    fn waiter(&self) -> Option<Arc<host::Waiter>> {
        lock(&self.waiter).clone()
    }
}

#[pymethods]
impl Waiter {
    /// How long waiting makes sense, in seconds; None: as long as the flight lasts.
    #[getter]
    fn limit(&self) -> Option<f64> {
        Some(self.waiter()?.limit()?.as_secs_f64())
    }

    /// Waits at most so many seconds, and the limit; returns how the flight ended, or None.
    #[pyo3(signature = (seconds=None, /))]
    fn wait<'py>(&self, py: Python<'py>, seconds: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(waiter) = self.waiter() else { return Ok(None) };
        // A time that is too long for the clock is for ever.
        let patience = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let mut interrupt = enter::interrupt;
        let tick = signals::may_come(py)?.then_some(&mut interrupt as &mut (dyn FnMut() -> bool + Send));
        let ended =
            enter::enter(py, || waiter.wait(patience, tick.map(|tick| tick as &mut dyn FnMut() -> bool)))?;
        ended.map(|ended| said(py, &ended)).transpose()
    }

    /// How the flight ended, as `Flight.end` was told; None while it goes on.
    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.waiter().and_then(|waiter| waiter.ended()).map(|ended| said(py, &ended)).transpose()
    }

    /// Calls `call` when the flight ends, from whatever thread, or at once if it has.
    #[pyo3(signature = (call, /))]
    fn call(&self, call: Py<PyAny>) {
        if let Some(waiter) = self.waiter() {
            waiter.call(move || run(&call));
        }
    }

    /// Waits no longer.
    fn leave(&self, py: Python<'_>) {
        let Some(waiter) = lock(&self.waiter).take() else { return };
        // The others that waited want the interpreter, too: it is left only where another process may hold us up.
        if waiter.holds_up_flights() {
            enter::leave(py, || drop(waiter));
        }
    }
}

fn said<'py>(py: Python<'py>, ended: &Ended) -> PyResult<Bound<'py, PyAny>> {
    let text = match ended {
        Ended::Kept => "kept",
        Ended::Unkept => "unkept",
        Ended::Failed(failure) => match failure.downcast_ref::<Raised>() {
            Some(Raised(error)) => return Ok(error.bind(py).clone()),
            // What a program in Rust said of a flight of its own.
            None => "left",
        },
        // One of the waiters computes, which is right after every other end as well.
        _ => "left",
    };
    Ok(text.into_pyobject(py)?.into_any())
}

/// Calls Python from whatever thread, unless the interpreter ends.
fn run(call: &Py<PyAny>) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    if !IS_ENDING.load(Ordering::SeqCst) {
        enter::back(|py| {
            // What is being raised while a flight is collected goes on.
            let raised = PyErr::take(py);
            if let Err(error) = call.call0(py) {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
    CALLS.fetch_sub(1, Ordering::SeqCst);
}

/// No call of Python begins any more, and those that go on end. Without the interpreter lock.
pub(crate) fn shut_down() {
    IS_ENDING.store(true, Ordering::SeqCst);
    let start = Instant::now();
    while CALLS.load(Ordering::SeqCst) > 0 && start.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In a forked child: the calls were those of threads that are gone.
pub(crate) fn forget() {
    CALLS.store(0, Ordering::SeqCst);
}

fn joined(py: Python<'_>, joined: Joined) -> PyResult<Option<Bound<'_, PyAny>>> {
    Ok(match joined {
        Joined::Owner(flight) => {
            let flight = Flight { number: flight.id(), flight: Mutex::new(Some(flight)) };
            Some(Bound::new(py, flight)?.into_any())
        }
        Joined::Waiter(waiter) => Some(Bound::new(py, Waiter::new(waiter))?.into_any()),
        Joined::Alone => None,
    })
}

#[pymethods]
impl Store {
    /// Begin the flight of a key, or join it; None: the caller computes without. Those who waited for `after` share the
    /// next attempt.
    #[pyo3(signature = (key, aboard, blocks, after=None, /))]
    fn _flight<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        aboard: Vec<u64>,
        blocks: bool,
        after: Option<&Bound<'py, Waiter>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (shard, key) = self.inner()?.key(key)?;
        let cache = shard.cache(true);
        let after = after.map(|waiter| waiter.get().after.clone());
        let asked = Asked::new().aboard(&aboard).blocks(blocks).after(after.as_ref());
        joined(py, enter::leave(py, || host::join_flight(cache, &key, asked)))
    }
}

/// A number for callers of this process that share flights.
#[pyfunction]
fn new_flight_space() -> u64 {
    Space::new_id()
}

/// Begin a flight among the callers of a space, or join it; None: the caller computes without.
#[pyfunction]
#[pyo3(signature = (space, mark, aboard, blocks, after=None, /))]
fn join_flight<'py>(
    py: Python<'py>,
    space: u64,
    mark: &[u8],
    aboard: Vec<u64>,
    blocks: bool,
    after: Option<&Bound<'py, Waiter>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let space = Space::of_process(space);
    let after = after.map(|waiter| waiter.get().after.clone());
    let asked = Asked::new().aboard(&aboard).blocks(blocks).after(after.as_ref());
    joined(py, enter::leave(py, || space.join(mark, asked)))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Flight>()?;
    module.add_class::<Waiter>()?;
    module.add_function(wrap_pyfunction!(new_flight_space, module)?)?;
    module.add_function(wrap_pyfunction!(join_flight, module)?)
}
