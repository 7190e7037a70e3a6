//! Owns raw SQL: what `cache._sql(…)` and `cache._con.execute(…)` return looks like a cursor of `sqlite3`.
//! The statement runs on the engine's own connection; a second SQLite in the process would drop its locks.

use std::sync::atomic::{AtomicUsize, Ordering};

use dolium::raw::QueryResult;
use dolium::{Scalar, raw};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::store::Store;
use crate::value::{scalar, unscalar};

/// The rows that a statement returned.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct Cursor {
    result: QueryResult,
    next: AtomicUsize,
}

impl Cursor {
    pub fn new(result: QueryResult) -> Self {
        Self { result, next: AtomicUsize::new(0) }
    }

    fn row<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(row) = self.result.rows.get(index) else {
            self.next.store(self.result.rows.len(), Ordering::Relaxed);
            return Ok(None);
        };
        let values: Vec<_> = row.iter().map(|value| unscalar(py, value)).collect::<PyResult<_>>()?;
        Ok(Some(PyTuple::new(py, values)?))
    }
}

#[pymethods]
impl Cursor {
    /// Return the rows that are left, as tuples.
    fn fetchall<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = PyList::empty(py);
        while let Some(row) = self.row(py)? {
            rows.append(row)?;
        }
        Ok(rows)
    }

    /// Return at most `size` of the rows that are left.
    #[pyo3(signature = (size=1))]
    fn fetchmany<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyList>> {
        let rows = PyList::empty(py);
        while rows.len() < size
            && let Some(row) = self.row(py)?
        {
            rows.append(row)?;
        }
        Ok(rows)
    }

    /// Return the next row, or None.
    fn fetchone<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.row(py)
    }

    /// Does nothing: the rows were read when the statement ran.
    #[expect(clippy::unused_self, reason = "a method of sqlite3's cursors")]
    fn close(&self) {}

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.row(py)
    }

    /// Rows that the statement changed, or -1 if it only read.
    #[getter]
    fn rowcount(&self) -> i64 {
        if self.result.columns.is_empty() { i64::try_from(self.result.changed).unwrap_or(-1) } else { -1 }
    }

    /// The row that was inserted last.
    #[getter]
    fn lastrowid(&self) -> i64 {
        self.result.last_rowid
    }

    /// The names of the columns, each in a tuple of seven, or None for a statement without rows.
    #[getter]
    fn description<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if self.result.columns.is_empty() {
            return Ok(None);
        }
        let none = || py.None();
        let columns: Vec<_> = self
            .result
            .columns
            .iter()
            .map(|name| (name, none(), none(), none(), none(), none(), none()).into_pyobject(py))
            .collect::<PyResult<_>>()?;
        Ok(Some(PyTuple::new(py, columns)?))
    }
}

/// The part of a `sqlite3.Connection` that programs use. It runs statements on the database of a cache.
#[pyclass(frozen, module = "dolium._dolium")]
pub(crate) struct Connection {
    store: Py<Store>,
}

#[pymethods]
impl Connection {
    /// Run a statement.
    #[pyo3(signature = (sql, parameters=None, /), text_signature = "($self, sql, parameters=(), /)")]
    fn execute(&self, py: Python<'_>, sql: &str, parameters: Option<&Bound<'_, PyAny>>) -> PyResult<Cursor> {
        run(py, self.store.get(), sql, &[arguments(parameters)?])
    }

    /// Run a statement once for each set of parameters, in one transaction.
    #[pyo3(signature = (sql, parameters, /))]
    fn executemany(&self, py: Python<'_>, sql: &str, parameters: &Bound<'_, PyAny>) -> PyResult<Cursor> {
        let sets: Vec<_> =
            parameters.try_iter()?.map(|set| arguments(Some(&set?))).collect::<PyResult<_>>()?;
        run(py, self.store.get(), sql, &sets)
    }
}

#[pymethods]
impl Store {
    /// Run a statement on the cache's database; return a cursor with the rows.
    ///
    /// One that writes keeps the counters right. It runs in the transaction that the caller is inside, or in its own.
    #[pyo3(signature = (sql, parameters=None, /), text_signature = "($self, sql, parameters=(), /)")]
    fn _sql(&self, py: Python<'_>, sql: &str, parameters: Option<&Bound<'_, PyAny>>) -> PyResult<Cursor> {
        run(py, self, sql, &[arguments(parameters)?])
    }

    /// An object with `execute` and `executemany`, as diskcache's connection has them.
    #[getter]
    fn _con(slf: Bound<'_, Self>) -> Connection {
        Connection { store: slf.unbind() }
    }
}

fn arguments(parameters: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Scalar>> {
    let Some(parameters) = parameters else {
        return Ok(Vec::new());
    };
    parameters.try_iter()?.map(|parameter| scalar(&parameter?)).collect()
}

fn run(py: Python<'_>, store: &Store, sql: &str, sets: &[Vec<Scalar>]) -> PyResult<Cursor> {
    let shard = &store.inner()?.shared.shards[0];
    shard.change(py, true, |cache| raw::sql_many(cache, sql, sets)).map(Cursor::new)
}
