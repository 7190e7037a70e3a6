//! The exception that Python code raised while the engine called it, kept until the operation is back.

use std::cell::RefCell;

use pyo3::PyErr;

thread_local! {
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The exception that ended a wait.
pub(crate) fn raised() -> Option<PyErr> {
    RAISED.take()
}

/// Keeps an exception of Python code that the engine called (a reader, say) until the operation is back.
pub(crate) fn keep(error: PyErr) {
    RAISED.set(Some(error));
}
