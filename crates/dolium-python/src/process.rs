//! Owns what the module asks of the process it is loaded into: a call at exit, a pause before forks, and
//! the command line.

use std::sync::OnceLock;
use std::time::Duration;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::enter;
use crate::store::{deferred, flight};

/// How long a fork waits for the transactions of other threads. The child cannot use a directory with an
/// open one; waiting longer would turn that into a hang.
const FORK_WAIT: Duration = Duration::from_secs(2);

/// Called before `os.fork()`, with the GIL: lets the transactions of other threads end, and no new ones begin.
#[pyfunction]
fn _before_fork(py: Python<'_>) {
    enter::leave(py, || dolium::host::pause_transactions(FORK_WAIT));
}

/// Called in the parent, also if the fork failed.
#[pyfunction]
fn _after_fork_in_parent() {
    dolium::host::resume_transactions();
}

/// Called in the child: the threads that had transactions are gone.
#[pyfunction]
fn _after_fork_in_child() {
    deferred::forget();
    flight::forget();
}

/// Called at exit.
#[pyfunction]
fn _shutdown(py: Python<'_>) {
    enter::leave(py, || {
        flight::shut_down();
        dolium::host::shutdown();
    });
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
    dolium::host::set_interrupt_hook(enter::interrupt);
    dolium::host::set_context_hook(enter::context);
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(_shutdown, module)?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = pyo3::types::PyDict::new(py);
        hooks.set_item("before", wrap_pyfunction!(_before_fork, module)?)?;
        hooks.set_item("after_in_parent", wrap_pyfunction!(_after_fork_in_parent, module)?)?;
        hooks.set_item("after_in_child", wrap_pyfunction!(_after_fork_in_child, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}
