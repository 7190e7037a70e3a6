//! Owns the statements that read rows. Those that change rows are in `write`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::system::clock::Timestamp;
use crate::value::key::Key;
use crate::value::put_options::is_alive;
use crate::value::scalar::Scalar;
use crate::value::{Columns, Row};

/// The mode of a row whose columns do not have the types they should have. Nobody stores it.
pub(crate) const UNREADABLE: i64 = -1;

/// Reads the columns `rowid, store_time, expire_time, tag, size, mode, filename, value`, starting with
/// column `first`. A row that somebody has spoilt is an entry without a value, not an error.
pub(crate) fn row(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    let filename: Scalar = row.get(first + 6)?;
    let mode: Scalar = row.get(first + 5)?;
    let is_readable = matches!(mode, Scalar::Int(_))
        && matches!(&filename, Scalar::Null | Scalar::Text(_))
        && matches!(row.get_ref(first + 2)?, ValueRef::Null | ValueRef::Real(_) | ValueRef::Integer(_));
    Ok(Row {
        rowid: row.get(first)?,
        store_time: real(row, first + 1)?.unwrap_or(0.0),
        expire_time: real(row, first + 2)?,
        tag: row.get(first + 3)?,
        columns: Columns {
            size: int(row, first + 4)?,
            mode: mode.as_int().filter(|_| is_readable).unwrap_or(UNREADABLE),
            filename: filename.as_text().map(str::to_owned),
            value: row.get(first + 7)?,
        },
    })
}

/// A number, if there is one.
pub(crate) fn real(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<f64>> {
    Ok(row.get::<_, Scalar>(column)?.as_real())
}

/// An integer; 0 if there is none.
pub(crate) fn int(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(row.get::<_, Scalar>(column)?.as_int().unwrap_or(0))
}

/// Text, if there is one.
pub(crate) fn text(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Scalar>(column)?.as_text().map(str::to_owned))
}

/// The sum of the column `size`, of which only numbers count, as `int` reads them. SQLite's own `sum` fails
/// where the integers overflow, and gives a float as soon as one row holds anything else.
pub(crate) const SIZES: &str =
    "CAST(total(CASE WHEN typeof(size) IN ('integer', 'real') THEN CAST(size AS INTEGER) END) AS INTEGER)";

/// The names of all value files. One that is not text names nothing.
pub(crate) fn filenames(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare_cached("SELECT filename FROM Cache WHERE filename IS NOT NULL")?;
    let names = select.query_map([], |row| text(row, 0))?;
    names.filter_map(Result::transpose).collect()
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
    let found = select.query_row((key, key.raw()), |row| real(row, 0)).optional()?;
    Ok(found.is_some_and(|expire_time| is_alive(expire_time, now)))
}

/// What proves a key, if anything lies beside its row. A store of diskcache, or of an earlier version, has no such table.
pub(crate) fn proof(connection: &Connection, key: &Key<'_>) -> rusqlite::Result<Option<Vec<u8>>> {
    const SELECT: &str = "SELECT proof FROM DoliumKeys
        WHERE rowid = (SELECT rowid FROM Cache WHERE key = ?1 AND raw = ?2)";
    let found = connection
        .prepare_cached(SELECT)
        .and_then(|mut select| select.query_row((key, key.raw()), |row| row.get::<_, Scalar>(0)).optional());
    match found {
        Ok(Some(Scalar::Blob(proof))) => Ok(Some(proof)),
        Ok(_) => Ok(None),
        Err(error) if crate::system::error::is_empty_store(&error) => Ok(None),
        Err(error) => Err(error),
    }
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
