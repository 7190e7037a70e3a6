//! Owns what the module asks of the process it is loaded into: a call at exit, a pause before forks, and
//! the command line.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::enter;
use crate::store::deferred;

/// Transactions that threads have open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Those of the thread.
    static MINE: Cell<usize> = const { Cell::new(0) };
}

/// A level of a transaction was begun.
pub(crate) fn entered() {
    OPEN.fetch_add(1, Ordering::Relaxed);
    MINE.set(MINE.get() + 1);
}

/// A level of a transaction ended.
pub(crate) fn left() {
    if MINE.get() > 0 {
        MINE.set(MINE.get() - 1);
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a fork waits for the transactions of other threads. The child cannot use a directory with an
/// open one; waiting longer would turn that into a hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Called before `os.fork()`, with the GIL: lets the transactions of other threads end.
#[pyfunction]
fn _before_fork(py: Python<'_>) {
    let others = || OPEN.load(Ordering::Relaxed) > MINE.get();
    if others() {
        enter::leave(py, || {
            let end = Instant::now() + PATIENCE;
            while others() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
}

/// Called in the child: the threads that had transactions are gone.
#[pyfunction]
fn _after_fork() {
    deferred::forget();
    OPEN.store(MINE.get(), Ordering::Relaxed);
}

/// Called at exit.
#[pyfunction]
fn _shutdown(py: Python<'_>) {
    enter::leave(py, dolium::shutdown);
}

/// The module `sys` of the interpreter that the process's state belongs to.
static OWNER: OnceLock<usize> = OnceLock::new();

/// Refuses a second interpreter in the process: objects of the first are kept in statics.
pub(crate) fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?.as_ptr() as usize;
    if *OWNER.get_or_init(|| sys) == sys {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "dolium works in one interpreter of a process, the first that imports it; \
         use threads or processes instead of subinterpreters",
    ))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    dolium::set_interrupt_hook(enter::interrupt);
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(_shutdown, module)?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = pyo3::types::PyDict::new(py);
        hooks.set_item("before", wrap_pyfunction!(_before_fork, module)?)?;
        hooks.set_item("after_in_child", wrap_pyfunction!(_after_fork, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}
