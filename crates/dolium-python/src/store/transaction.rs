//! Owns transactions: those of `transact()`, and those in which this crate calls Python code.

use pyo3::prelude::*;

use super::deferred::{self, After};
use super::{Flag, Shard, Store};

impl Shard {
    /// Runs `f` in a transaction. Unlike an operation of the engine, `f` may run Python code: between the
    /// calls that make up a transaction, the engine holds nothing that a fork or the GIL waits for.
    pub fn transact<T>(&self, py: Python<'_>, retry: bool, f: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        self.begin(py, retry)?;
        match f() {
            Ok(result) => {
                self.commit(py)?;
                Ok(result)
            }
            Err(error) => {
                self.rollback(py)?;
                Err(error)
            }
        }
    }

    pub fn begin(&self, py: Python<'_>, retry: bool) -> PyResult<()> {
        self.enter(py, retry, dolium::Cache::begin)
    }

    pub fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let committed = self.enter(py, true, dolium::Cache::commit);
        let how = if committed.is_ok() { After::Commit } else { After::Rollback };
        deferred::ended(py, self.cache(false), how)?;
        committed
    }

    pub fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        let undone = self.enter(py, true, dolium::Cache::rollback);
        deferred::ended(py, self.cache(false), After::Rollback)?;
        undone
    }
}

#[pymethods]
impl Store {
    /// Begins a transaction of this thread, or one more level of it.
    #[pyo3(name = "_begin", signature = (retry=Flag(false)), text_signature = "($self, retry=False)")]
    fn begin(&self, py: Python<'_>, retry: Flag) -> PyResult<()> {
        let shards = &self.inner()?.shared.shards;
        for (index, shard) in shards.iter().enumerate() {
            if let Err(error) = shard.begin(py, retry.0) {
                for shard in &shards[..index] {
                    shard.rollback(py)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends a level of the transaction; the outermost commits.
    #[pyo3(name = "_commit")]
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.each(py, Shard::commit)
    }

    /// Undoes the transaction, if this is its outermost level.
    #[pyo3(name = "_rollback")]
    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        self.each(py, Shard::rollback)
    }

    /// Whether this thread is inside a transaction of this cache.
    fn _in_transaction(&self) -> PyResult<bool> {
        Ok(self.inner()?.shared.shards[0].cache(false).in_transaction())
    }
}

/// The `with` block of a transaction. Native, because between two lines of Python a signal may raise: one that came
/// after the transaction had begun would leave it open, and all other writers waiting, for ever.
#[pyclass(frozen, subclass, module = "dolium._dolium")]
pub(crate) struct Transaction {
    store: Py<Store>,
    retry: bool,
}

#[pymethods]
impl Transaction {
    #[new]
    #[pyo3(signature = (store, retry=Flag(false)), text_signature = "(store, retry=False)")]
    fn new(store: Py<Store>, retry: Flag) -> Self {
        Self { store, retry: retry.0 }
    }

    /// Begins.
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        self.store.get().begin(py, Flag(self.retry))
    }

    /// Commits, or undoes all if the block has raised.
    #[pyo3(signature = (kind, error, trace, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (error, trace);
        let store = self.store.get();
        if kind.is_none() { store.commit(py) } else { store.rollback(py) }
    }
}

impl Store {
    /// Ends all shards, whatever happens to some of them; raises what went wrong first.
    fn each(&self, py: Python<'_>, end: impl Fn(&Shard, Python<'_>) -> PyResult<()>) -> PyResult<()> {
        let shards = self.inner()?.shared.shards.iter().rev();
        let ended: Vec<PyResult<()>> = shards.map(|shard| end(shard, py)).collect();
        ended.into_iter().collect()
    }
}
