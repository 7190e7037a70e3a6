//! The statements of a check: what SQLite finds wrong, rows with value files, and counters.

use rusqlite::Connection;

use crate::system::error::Result;
use crate::value::scalar::Stored;

use super::Head;
use super::columns::{SIZES, filename, int, real};
use super::schema::counter;

/// What SQLite's integrity check finds wrong.
pub(crate) fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let lines = check.query_map([], |row| row.get(0))?;
    let lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Whether SQLite's quick check, which does not compare indexes with rows, finds nothing wrong.
pub(crate) fn is_sound(connection: &Connection) -> rusqlite::Result<bool> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

/// The rows that name a value file, each with the name as it is stored.
pub(crate) fn rows_with_files(connection: &Connection) -> Result<Vec<(Head, Stored)>> {
    let mut select = connection
        .prepare(
        "SELECT rowid, expire_time, size, filename FROM Cache WHERE filename IS NOT NULL AND filename IS NOT '.dolium'",
    )?;
    let rows = select.query_map([], |row| {
        let head = Head {
            rowid: row.get(0)?,
            expire_time: real(row, 1)?,
            size: int(row, 2)?,
            filename: filename(row, 3)?,
        };
        Ok((head, row.get(3)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether a row still names a value file.
pub(crate) fn names_file(connection: &Connection, rowid: i64, filename: &Stored) -> rusqlite::Result<bool> {
    const STILL: &str = "SELECT count(*) FROM Cache WHERE rowid = ?1 AND filename = ?2";
    let found: i64 = connection.prepare_cached(STILL)?.query_row((rowid, filename), |row| row.get(0))?;
    Ok(found > 0)
}

/// A counter of `Settings` that follows from the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Count,
    Size,
}

impl Sum {
    pub const ALL: [Self; 2] = [Self::Count, Self::Size];

    /// Its name in `Settings`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Size => "size",
        }
    }

    /// The statement that says what it should be.
    fn truth(self) -> String {
        match self {
            Self::Count => "SELECT count(*) FROM Cache".into(),
            Self::Size => format!("SELECT {SIZES} FROM Cache"),
        }
    }
}

/// What a counter says, and what it should say.
pub(crate) fn compare(connection: &Connection, sum: Sum) -> rusqlite::Result<(i64, i64)> {
    let found = connection.query_row(&sum.truth(), [], |row| row.get(0))?;
    Ok((counter(connection, sum.name())?, found))
}

/// Compares in one statement, for a connection without a transaction, so that both numbers are of one moment.
pub(crate) fn compare_at_once(connection: &Connection, sum: Sum) -> rusqlite::Result<(i64, i64)> {
    let both = format!("SELECT (SELECT value FROM Settings WHERE key = ?1), ({})", sum.truth());
    connection.query_row(&both, [sum.name()], |row| Ok((int(row, 0)?, int(row, 1)?)))
}
