//! The one door out of the interpreter: everything that may touch a disk or wait goes through [`enter`],
//! which releases the GIL (or detaches the thread), translates errors and lets signals in.
//!
//! Invariant: no lock of Rust's is held while a thread waits to attach. Inside `enter` the engine is told
//! to call [`interrupt`] only while it holds nothing, and nothing else here attaches.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::{clock, context, error, signals};

thread_local! {
    /// Whether the thread came from Python, so that signals are its business.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// While the thread is detached: the number of the context that is.
    static DETACHED: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs `f` detached from the interpreter, and raises its error.
pub(crate) fn enter<T: Send>(py: Python<'_>, f: impl FnOnce() -> dolium::Result<T> + Send) -> PyResult<T> {
    run(py, f).map_err(|error| error::raise(py, error))
}

/// Runs `f` detached from the interpreter. For callers that look at the error before it is raised.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    f: impl FnOnce() -> dolium::Result<T> + Send,
) -> dolium::Result<T> {
    run_as(py, calling(py), f)
}

/// The same for the context of a number, which the caller knows.
pub(crate) fn run_as<T: Send>(
    py: Python<'_>,
    context: u32,
    f: impl FnOnce() -> dolium::Result<T> + Send,
) -> dolium::Result<T> {
    clock::follow(py);
    detach(py, context, || {
        let _inside = Inside::new();
        f()
    })
}

/// Runs something that cannot fail detached from the interpreter.
pub(crate) fn leave<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    detach(py, calling(py), f)
}

/// Items of a native loop after which the other threads run.
const TURN: u32 = 256;

/// Counts what a loop does with the interpreter's lock, and lets the other threads run now and then. Python does so by
/// itself between two bytecodes; a native loop has none.
#[derive(Default)]
pub(crate) struct Turns(u32);

impl Turns {
    /// One more item is done. Holds no lock of the engine.
    #[inline]
    pub fn next(&mut self, py: Python<'_>) {
        self.0 += 1;
        if self.0 == TURN {
            self.0 = 0;
            py.detach(|| {});
        }
    }
}

/// The number of the context that calls. While nobody has a transaction it does not matter, except to the command line, whose
/// own are those of the thread.
pub(crate) fn calling(py: Python<'_>) -> u32 {
    if dolium::host::any_transaction() { context::number(py) } else { 0 }
}

fn detach<T: Send>(py: Python<'_>, context: u32, f: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let _detached = Detached::of(Some(context));
        f()
    })
}

/// Runs Python code for the engine, under a call that is detached: that code may call us, and other greenlets may run
/// meanwhile. None if the interpreter is shutting down.
pub(crate) fn back<T>(f: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    Python::try_attach(|py| {
        let _attached = Detached::of(None);
        f(py)
    })
}

/// The engine's hook: which context calls. It attaches only where the thread is attached already.
pub(crate) fn context() -> u32 {
    let ask = || Python::try_attach(context::number).unwrap_or(dolium::host::NO_CONTEXT);
    DETACHED.get().unwrap_or_else(ask)
}

/// What [`DETACHED`] was before.
struct Detached(Option<u32>);

impl Detached {
    fn of(context: Option<u32>) -> Self {
        Self(DETACHED.replace(context))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        DETACHED.set(self.0);
    }
}

struct Inside;

impl Inside {
    fn new() -> Self {
        INSIDE.set(INSIDE.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

/// Ends a wait from another thread. What it runs raises `KeyboardInterrupt` where it waits for other writers after that,
/// as if the thread had got a Ctrl-C; what does not wait goes on.
#[pyclass(frozen, module = "dolium._dolium")]
#[derive(Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

thread_local! {
    /// What runs on the thread stops when this is true.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Call `call` so that `ask` can end its waits; return what it returns.
    #[pyo3(signature = (call, /))]
    fn run<'py>(&self, call: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let outer = STOP.replace(Some(Arc::clone(&self.asked)));
        let result = call.call0();
        STOP.set(outer);
        result
    }

    /// End the waits of what runs, from whatever thread.
    fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

fn is_asked_to_stop() -> bool {
    STOP.with_borrow(|stop| stop.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed)))
}

/// The engine's interrupt hook: runs Python's signal handlers. `false` ends the wait; what the handler
/// raised (`KeyboardInterrupt`, mostly) is kept for [`signals::raised`].
pub(crate) fn interrupt() -> bool {
    if INSIDE.get() == 0 {
        return true;
    }
    if is_asked_to_stop() {
        return false;
    }
    // None: the interpreter is shutting down, and whoever waits may go on waiting.
    let checked = back(|py| {
        let error = py.check_signals().err();
        error.map(signals::keep)
    });
    !matches!(checked, Some(Some(())))
}
