//! The statements that read rows. Those that change rows are in `write`.

use dolium_hot::PendingRecord;
use rusqlite::{Connection, OptionalExtension};

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::Row;
use crate::value::key::Key;
use crate::value::put_options::is_alive;
use crate::value::scalar::{Scalar, Stored};

use super::columns::{self, filename, int, real, text};
use super::disguise;
use super::tier::fill;

/// The names of all value files. One that is not text names nothing.
pub(crate) fn filenames(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare_cached("SELECT filename FROM Cache WHERE filename IS NOT NULL")?;
    let names = select.query_map([], |row| filename(row, 0))?;
    names.filter_map(Result::transpose).collect()
}

/// The row of a key, unless it has expired.
pub(crate) fn find(connection: &Connection, key: &Key<'_>, now: Timestamp) -> rusqlite::Result<Option<Row>> {
    const SELECT: &str = "SELECT rowid, store_time, expire_time, tag, size, mode, filename, value
        FROM Cache WHERE key = ?1 AND raw = ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row((key, key.raw()), |row| columns::row(row, 0)).optional()?;
    Ok(found.filter(|row| is_alive(row.expire_time, now)))
}

/// The rows of many keys, all of one moment; expired ones are not there. They are read in the order of the index, so that
/// keys of one page of it come one after the other.
pub(crate) fn find_many<'k>(
    connection: &super::Connection,
    keys: impl IntoIterator<Item = &'k Key<'k>>,
    now: Timestamp,
) -> Result<Vec<Option<Row>>> {
    // Inside a transaction of the thread's own it is one moment anyway.
    let begins = connection.is_autocommit();
    if begins {
        connection.execute_batch("BEGIN")?;
    }
    let mut ordered: Vec<(usize, &Key<'_>)> = keys.into_iter().enumerate().collect();
    ordered.sort_unstable_by(|(_, a), (_, b)| a.stored_order(b));
    let mut rows: Vec<Option<Row>> = Vec::with_capacity(ordered.len());
    rows.resize_with(ordered.len(), || None);
    let found = ordered.iter().try_for_each(|&(place, key)| {
        rows[place] = find(connection, key, now)?;
        Ok::<(), rusqlite::Error>(())
    });
    connection.count_reads(rows.len());
    if begins {
        connection.execute_batch("COMMIT")?;
    }
    found?;
    Ok(rows)
}

/// Records that repeat the rows behind a number, and the number of the last row: `None` if there are no more. At most so many
/// rows are read. Those that are long, or cannot be read, have no record.
pub(crate) fn fills_after(
    connection: &Connection,
    after: i64,
    most: u16,
) -> rusqlite::Result<(Vec<PendingRecord>, Option<i64>)> {
    const SELECT: &str = "SELECT rowid, store_time, expire_time, tag, size, mode, filename, value, key, raw
        FROM Cache WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let mut rows = select.query((after, most))?;
    let (mut fills, mut last) = (Vec::with_capacity(most.into()), None);
    while let Some(found) = rows.next()? {
        let row = columns::row(found, 0)?;
        last = Some(row.rowid);
        if let Some(key) = Key::from_columns(found.get::<_, Stored>(8)?, &found.get(9)?) {
            fills.extend(fill(&key, &row));
        }
    }
    Ok((fills, last))
}

/// A key, and when its row expires.
pub(crate) type Expiring = (Key<'static>, Option<Timestamp>);

/// The keys of the rows with a tag. Returns `None` if they are more than `most`, or one has no valid
/// key.
pub(crate) fn tagged(
    connection: &Connection,
    tag: &Scalar,
    most: u32,
) -> rusqlite::Result<Option<Vec<Expiring>>> {
    const SELECT: &str = "SELECT key, raw, expire_time FROM Cache WHERE tag = ?1 LIMIT ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let rows = select.query_map((tag, most + 1), |row| {
        Ok(Key::from_columns(row.get::<_, Stored>(0)?, &row.get(1)?).zip(Some(real(row, 2)?)))
    })?;
    let found = rows.collect::<rusqlite::Result<Option<Vec<_>>>>()?;
    Ok(found.filter(|found| found.len() <= most as usize))
}

/// What SQLite says of a key.
#[derive(Debug, Default)]
pub(crate) enum Found<T> {
    /// There is no database that could be asked.
    #[default]
    Unknown,
    /// There is no row.
    Absent,
    /// There is a row, expired or not.
    There(T),
}

impl<T> Found<T> {
    pub fn of(row: Option<T>) -> Self {
        row.map_or(Self::Absent, Self::There)
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub fn there(self) -> Option<T> {
        if let Self::There(row) = self { Some(row) } else { None }
    }
}

/// When the row of a key expires.
pub(crate) fn expiry(connection: &Connection, key: &Key<'_>) -> rusqlite::Result<Found<Option<Timestamp>>> {
    const SELECT: &str = "SELECT expire_time FROM Cache WHERE key = ?1 AND raw = ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row((key, key.raw()), |row| real(row, 0));
    Ok(Found::of(found.optional()?))
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

/// Bytes of the database's pages, and those of them that hold nothing.
pub(crate) fn page_bytes(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let pragma = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let size = pragma("PRAGMA page_size")?;
    Ok((size * pragma("PRAGMA page_count")?, size * pragma("PRAGMA freelist_count")?))
}

/// What a row says of its entry beside the value.
pub(crate) struct Facts {
    pub store_time: Timestamp,
    pub expire_time: Option<Timestamp>,
    pub access_time: Timestamp,
    pub access_count: i64,
    /// Bytes of the key and the value, in the row and in the value file.
    pub size: i64,
    pub tag: Scalar,
    pub mode: i64,
    pub filename: Option<String>,
}

/// What the row of a key says, expired or not.
pub(crate) fn facts(connection: &Connection, key: &Key<'_>) -> rusqlite::Result<Option<Facts>> {
    const SELECT: &str =
        "SELECT store_time, expire_time, access_time, access_count, tag, size, mode, filename,
        octet_length(key) + coalesce(octet_length(value), 0)
        FROM Cache WHERE key = ?1 AND raw = ?2";
    let mut select = connection.prepare_cached(SELECT)?;
    let found = select.query_row((key, key.raw()), |row| {
        Ok(Facts {
            store_time: real(row, 0)?.unwrap_or(0.0),
            expire_time: real(row, 1)?,
            access_time: real(row, 2)?.unwrap_or(0.0),
            access_count: int(row, 3)?,
            tag: row.get(4)?,
            size: int(row, 5)?.saturating_add(int(row, 8)?),
            mode: disguise::seen(Some(int(row, 6)?), text(row, 7)?.as_deref()).0.unwrap_or_default(),
            filename: filename(row, 7)?,
        })
    });
    found.optional()
}

/// Bytes that a key and a value take in a row.
pub(crate) fn size_in_row(connection: &Connection, key: &Key<'_>, value: &Scalar) -> rusqlite::Result<i64> {
    const SIZE: &str = "SELECT octet_length(?1) + coalesce(octet_length(?2), 0)";
    connection.prepare_cached(SIZE)?.query_row((key, value), |row| row.get(0))
}

/// The highest `rowid`, 0 in an empty store.
pub(crate) fn last_rowid(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT coalesce(max(rowid), 0) FROM Cache")?;
    select.query_row([], |row| row.get(0))
}

/// How SQLite journals changes, like `wal`.
pub(crate) fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))
}

/// A number that is another one once another connection has changed the database.
pub(crate) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}
