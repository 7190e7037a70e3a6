//! The Python face of dolium: the private module `dolium._dolium`.
//!
//! It decides nothing. [`store`] has one method per method of `dolium.Cache`: it converts the arguments,
//! calls the engine through [`enter`], and converts the result. What only Python can do (pickling, the
//! `Disk` classes of users, warnings) is asked of the package around it.

#![expect(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "what documents a method of a Python class is its docstring"
)]

mod clock;
mod context;
mod encoded;
mod enter;
mod error;
mod fingerprint;
mod foreign;
mod info;
mod key;
mod lazy;
mod memory;
mod packed;
mod pickled;
mod plain;
mod process;
mod reader;
mod signals;
mod signature;
mod store;
mod text;
mod trust;
mod unpickle;
mod value;

use pyo3::prelude::*;

/// Native parts of dolium; use them through the package.
#[pymodule(gil_used = false)]
fn _dolium(module: &Bound<'_, PyModule>) -> PyResult<()> {
    process::refuse_subinterpreters(module.py())?;
    error::register(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    // Python's messages about arguments name the class, and users know it as `Cache`.
    module.add("Store", module.py().get_type::<store::Store>())?;
    module.add_class::<store::Transaction>()?;
    module.add_class::<enter::Stop>()?;
    module.add_class::<store::Tally>()?;
    module.add_class::<store::Recall>()?;
    module.add_class::<info::Info>()?;
    module.add_class::<store::KeyIterator>()?;
    module.add_class::<store::EntryIterator>()?;
    module.add_class::<store::Cursor>()?;
    module.add_class::<store::Connection>()?;
    module.add_function(wrap_pyfunction!(cli, module)?)?;
    module.add_function(wrap_pyfunction!(in_seconds, module)?)?;
    fingerprint::register(module)?;
    encoded::register(module)?;
    store::flight::register(module)?;
    signature::register(module)?;
    foreign::register(module)?;
    process::register(module)
}

/// The seconds of a `timedelta` as a number; any other object as it is.
#[pyfunction]
#[pyo3(signature = (time, /))]
fn in_seconds<'py>(time: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if time.is_instance_of::<pyo3::types::PyDelta>() {
        time.call_method0("total_seconds")
    } else {
        Ok(time.clone())
    }
}

/// Run a command line, the name of the program included; return its exit code.
#[pyfunction]
#[pyo3(name = "_cli", signature = (arguments, /))]
fn cli(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> i32 {
    enter::leave(py, || dolium_cli::run(arguments))
}
