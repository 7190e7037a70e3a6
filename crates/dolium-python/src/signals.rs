//! The exception that Python code raised while the engine called it, kept until the operation is back.

use std::cell::RefCell;

use pyo3::prelude::*;

use crate::lazy::{Lazy, word};

static MAIN_THREAD: Lazy = Lazy::new("threading", "main_thread");
static CURRENT_THREAD: Lazy = Lazy::new("threading", "get_ident");

thread_local! {
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Whether Python runs handlers of signals in the calling thread: in the main one alone.
pub(crate) fn may_come(py: Python<'_>) -> PyResult<bool> {
    let main = MAIN_THREAD.get(py)?.call0()?.getattr(word!(py, "ident"))?;
    main.eq(CURRENT_THREAD.get(py)?.call0()?)
}

/// The exception that ended a wait.
pub(crate) fn raised() -> Option<PyErr> {
    RAISED.take()
}

/// Keeps an exception of Python code that the engine called (a reader, say) until the operation is back.
pub(crate) fn keep(error: PyErr) {
    RAISED.set(Some(error));
}
