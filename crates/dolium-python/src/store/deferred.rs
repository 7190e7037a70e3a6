//! Owns what a transaction leaves to do for the `Disk` of a user when it ends: the files of entries that
//! went are removed after the commit, those of new entries after a rollback.
//!
//! Transactions belong to a thread and a directory, whatever objects are used inside them, and so does
//! what they leave.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use dolium::Cache;
use pyo3::prelude::*;

/// When a file is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Commit,
    Rollback,
}

struct Removal {
    when: After,
    disk: Py<PyAny>,
    filename: String,
}

thread_local! {
    static DEFERRED: RefCell<HashMap<PathBuf, Vec<Removal>>> = RefCell::default();
}

/// Removes a value file through its `Disk` when the thread's transaction has ended like that; without a
/// transaction, which is as good as a commit, at once or never.
pub(crate) fn remove(
    cache: &Cache,
    disk: &Bound<'_, PyAny>,
    filename: Option<&str>,
    when: After,
) -> PyResult<()> {
    let Some(filename) = filename else {
        return Ok(());
    };
    if cache.in_transaction() {
        let removal = Removal { when, disk: disk.clone().unbind(), filename: filename.to_owned() };
        let directory = cache.directory().to_path_buf();
        DEFERRED.with_borrow_mut(|deferred| deferred.entry(directory).or_default().push(removal));
    } else if when == After::Commit {
        disk.call_method1("remove", (filename,))?;
    }
    Ok(())
}

/// In a forked child: the transaction is the parent's, and so are the files.
pub(crate) fn forget() {
    drop(DEFERRED.take());
}

/// Does what was left for an end like this, if the thread's transaction on the directory has ended.
pub(crate) fn ended(py: Python<'_>, cache: &Cache, how: After) -> PyResult<()> {
    if cache.in_transaction() {
        return Ok(());
    }
    // Taken out first: a `Disk` may use the cache.
    let removals =
        DEFERRED.with_borrow_mut(
            |deferred| {
                if deferred.is_empty() { None } else { deferred.remove(cache.directory()) }
            },
        );
    for removal in removals.into_iter().flatten().filter(|removal| removal.when == how) {
        removal.disk.bind(py).call_method1("remove", (&removal.filename,))?;
    }
    Ok(())
}
