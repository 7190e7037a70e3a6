//! Owns the statements that read rows. Those that change rows are in `write`.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::clock::Timestamp;
use crate::key::Key;
use crate::scalar::Scalar;
use crate::value::{Columns, Row};

/// Reads the columns `rowid, store_time, expire_time, tag, size, mode, filename, value`, starting with
/// column `first`.
pub(crate) fn row(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        rowid: row.get(first)?,
        store_time: row.get::<_, Option<f64>>(first + 1)?.unwrap_or(0.0),
        expire_time: row.get(first + 2)?,
        tag: row.get(first + 3)?,
        columns: Columns {
            size: row.get::<_, Option<i64>>(first + 4)?.unwrap_or(0),
            mode: row.get::<_, Option<i64>>(first + 5)?.unwrap_or(0),
            filename: row.get(first + 6)?,
            value: row.get(first + 7)?,
        },
    })
}

/// The row of a key, unless it has expired.
pub(crate) fn find(connection: &Connection, key: &Key<'_>, now: Timestamp) -> rusqlite::Result<Option<Row>> {
    const SELECT: &str = "SELECT rowid, store_time, expire_time, tag, size, mode, filename, value
        FROM Cache WHERE key = ?1 AND raw = ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row((key, key.raw()), |columns| row(columns, 0)).optional()?;
    Ok(found.filter(|row| is_alive(row.expire_time, now)))
}

/// Whether a key is there and has not expired.
pub(crate) fn contains(connection: &Connection, key: &Key<'_>, now: Timestamp) -> rusqlite::Result<bool> {
    const SELECT: &str = "SELECT expire_time FROM Cache WHERE key = ?1 AND raw = ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row((key, key.raw()), |row| row.get::<_, Option<f64>>(0)).optional()?;
    Ok(found.is_some_and(|expire_time| is_alive(expire_time, now)))
}

/// An entry lives up to, not including, the moment it expires.
pub(crate) fn is_alive(expire_time: Option<Timestamp>, now: Timestamp) -> bool {
    expire_time.is_none_or(|expire_time| expire_time > now)
}

/// A counter of the table `Settings`, 0 where it is missing.
pub(crate) fn counter(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let value = super::schema::load_setting(connection, name)?;
    Ok(value.as_ref().and_then(Scalar::as_int).unwrap_or(0))
}

/// Bytes of the database's pages, and those of them that hold nothing.
pub(crate) fn page_bytes(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let pragma = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let size = pragma("PRAGMA page_size")?;
    Ok((size * pragma("PRAGMA page_count")?, size * pragma("PRAGMA freelist_count")?))
}
