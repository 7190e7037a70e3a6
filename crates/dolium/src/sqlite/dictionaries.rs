//! The table `DoliumDictionary`, and what is noted of the groups of values that dictionaries are for.
//!
//! Other programs may have made the table, or stored anything in it. What cannot be read as a dictionary is damaged, and
//! a table of another shape is none.

use rusqlite::{Connection, Row as SqlRow, params};

use crate::system::clock::Timestamp;
use crate::system::error::{Result, is_empty_store};
use crate::value::dictionary::{LONGEST, number};
use crate::value::frame::Frame;

use super::columns::{real, text};

/// The dictionaries that one cache may have.
pub(crate) const MOST: i64 = 16;

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS DoliumDictionary (
    number INTEGER PRIMARY KEY,
    "group" TEXT NOT NULL,
    adopted REAL NOT NULL,
    unused REAL,
    hash BLOB NOT NULL,
    bytes BLOB NOT NULL
);
"#;

/// A dictionary as it lies in the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub number: i64,
    pub group: String,
    /// When it was adopted.
    pub adopted: Timestamp,
    /// Since when no value is known to use it.
    pub unused: Option<Timestamp>,
    /// `None` if they are damaged: neither hash nor number fit, or they are no bytes.
    pub bytes: Option<Vec<u8>>,
}

impl Stored {
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let found: Option<Vec<u8>> = row.get(5)?;
        let hash: Option<Vec<u8>> = row.get(4)?;
        let key: i64 = row.get(0)?;
        let is_sound = |bytes: &Vec<u8>| {
            hash.as_deref() == Some(blake3::hash(bytes).as_bytes()) && i64::from(number(bytes)) == key
        };
        Ok(Self {
            number: key,
            group: text(row, 1)?.unwrap_or_default(),
            adopted: real(row, 2)?.unwrap_or(0.0),
            unused: real(row, 3)?,
            bytes: found.filter(is_sound),
        })
    }
}

/// The columns of a [`Stored`]. What is no bytes, or too many, does not reach the memory of this process.
fn columns() -> String {
    format!(
        r#"number, "group", adopted, unused,
        CASE WHEN typeof(hash) = 'blob' AND length(hash) = 32 THEN hash END,
        CASE WHEN typeof(bytes) = 'blob' AND length(bytes) <= {LONGEST} THEN bytes END"#
    )
}

/// The number of the newest dictionary of a group that is in use.
pub(crate) fn current(connection: &Connection, group: &str) -> Result<Option<i64>> {
    const SELECT: &str = r#"SELECT number FROM DoliumDictionary WHERE "group" = ?1 AND unused IS NULL
        ORDER BY adopted DESC, number LIMIT 1"#;
    let found = connection.prepare_cached(SELECT).and_then(|mut select| {
        let mut rows = select.query([group])?;
        rows.next()?.map(|row| row.get(0)).transpose()
    });
    unless_other_table(found)
}

/// The dictionary of a number.
pub(crate) fn load(connection: &Connection, number: u32) -> Result<Option<Stored>> {
    let select = format!("SELECT {} FROM DoliumDictionary WHERE number = ?1", columns());
    let found = connection.prepare_cached(&select).and_then(|mut select| {
        let mut rows = select.query([number])?;
        rows.next()?.map(Stored::read).transpose()
    });
    unless_other_table(found)
}

/// All dictionaries, by the time of their adoption.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Stored>> {
    // A foreign program may have stored more than a cache of ours can have.
    let select =
        format!("SELECT {} FROM DoliumDictionary ORDER BY adopted, number LIMIT {}", columns(), MOST * MOST);
    let found = connection
        .prepare(&select)
        .and_then(|mut select| select.query_map([], Stored::read)?.collect::<rusqlite::Result<Vec<_>>>());
    unless_other_table(found)
}

/// What came of adding a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Done,
    /// It was there.
    Already,
    /// The cache has as many as it may have.
    TooMany,
    /// Another has its number.
    Taken,
}

/// Adds a dictionary of a group, and makes the table if need be.
pub(crate) fn add(connection: &Connection, group: &str, adopted: Timestamp, bytes: &[u8]) -> Result<Added> {
    const INSERT: &str =
        r#"INSERT INTO DoliumDictionary (number, "group", adopted, hash, bytes) VALUES (?1, ?2, ?3, ?4, ?5)"#;
    connection.execute_batch(TABLE)?;
    let number = number(bytes);
    if let Some(there) = load(connection, number)? {
        let is_same = there.bytes.as_deref() == Some(bytes);
        return Ok(if is_same { Added::Already } else { Added::Taken });
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM DoliumDictionary", [], |row| row.get(0))?;
    if count >= MOST {
        return Ok(Added::TooMany);
    }
    let hash = blake3::hash(bytes);
    connection.execute(INSERT, params![number, group, adopted, hash.as_bytes(), bytes])?;
    Ok(Added::Done)
}

/// Removes a dictionary. A group that has none left begins anew.
pub(crate) fn remove(connection: &Connection, dictionary: &Stored) -> Result<()> {
    const IS_LEFT: &str = r#"SELECT EXISTS (SELECT 1 FROM DoliumDictionary WHERE "group" = ?1)"#;
    connection.execute("DELETE FROM DoliumDictionary WHERE number = ?1", [dictionary.number])?;
    let is_left: bool = connection.query_row(IS_LEFT, [&dictionary.group], |row| row.get(0))?;
    if !is_left {
        connection.execute(
            "DELETE FROM Dolium WHERE key IN (?1, ?2)",
            [came_key(&dictionary.group), tried_key(&dictionary.group)],
        )?;
    }
    Ok(())
}

/// Says since when no value is known to use a dictionary; `None` if one does.
pub(crate) fn set_unused(connection: &Connection, number: i64, since: Option<Timestamp>) -> Result<()> {
    connection
        .execute("UPDATE DoliumDictionary SET unused = ?2 WHERE number = ?1", params![number, since])?;
    Ok(())
}

/// The groups of which values have been counted.
pub(crate) fn counted_groups(connection: &Connection) -> Result<Vec<String>> {
    // `!` follows the space.
    const SELECT: &str = "SELECT key FROM Dolium WHERE key >= 'values of ' AND key < 'values of!'";
    let found = connection.prepare(SELECT).and_then(|mut select| {
        select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    });
    let keys = unless_other_table(found)?;
    Ok(keys.iter().filter_map(|key| key.strip_prefix(CAME)).map(str::to_owned).collect())
}

/// What the note of the values of a group begins with.
const CAME: &str = "values of ";

fn came_key(group: &str) -> String {
    format!("{CAME}{group}")
}

fn tried_key(group: &str) -> String {
    format!("tried at {group}")
}

/// Adds to the number of values of a group that have come. Returns how many these are, and how many there were when a
/// training began last, or 0.
pub(crate) fn count(connection: &Connection, group: &str, more: u64) -> Result<(u64, u64)> {
    const ADD: &str = "INSERT INTO Dolium VALUES (?1, ?2)
        ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value";
    connection.prepare_cached(ADD)?.execute(params![came_key(group), i64::try_from(more).unwrap_or(0)])?;
    Ok((noted(connection, &came_key(group))?, noted(connection, &tried_key(group))?))
}

/// Notes that a training begins.
pub(crate) fn note_try(connection: &Connection, group: &str, came: u64) -> Result<()> {
    const PUT: &str =
        "INSERT INTO Dolium VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(PUT, params![tried_key(group), i64::try_from(came).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn noted(connection: &Connection, key: &str) -> Result<u64> {
    let mut select = connection.prepare_cached("SELECT value FROM Dolium WHERE key = ?1")?;
    let mut rows = select.query([key])?;
    let found = rows.next()?.map(|row| super::columns::int(row, 0)).transpose()?;
    Ok(found.and_then(|found| u64::try_from(found).ok()).unwrap_or(0))
}

/// Shows `see` the rows below a `rowid` that hold frames, the newest first, from `limit` rows: `rowid`, the beginning of
/// the stored bytes, the name of the value file. Returns the `rowid` to go on below, `None` at the end.
pub(crate) fn frames_below(
    connection: &Connection,
    below: i64,
    limit: u32,
    mut see: impl FnMut(i64, Option<&[u8]>, Option<String>),
) -> Result<Option<i64>> {
    let select = format!(
        "SELECT rowid, CASE WHEN filename = '.dolium' AND typeof(value) = 'blob' THEN substr(value, 1, {}) END,
            CASE WHEN substr(filename, -7) = '.dolium' THEN filename END
        FROM Cache WHERE rowid < ?1 ORDER BY rowid DESC LIMIT ?2",
        Frame::HEAD
    );
    let mut select = connection.prepare_cached(&select)?;
    let mut rows = select.query(params![below, limit])?;
    let (mut last, mut seen) = (None, 0);
    while let Some(row) = rows.next()? {
        let rowid = row.get(0)?;
        last = Some(rowid);
        seen += 1;
        if let Some(name) = text(row, 2)? {
            let head: Option<Vec<u8>> = row.get(1)?;
            see(rowid, head.as_deref(), super::disguise::file_of(&name));
        }
    }
    Ok(last.filter(|_| seen == limit))
}

/// The stored bytes of the rows with these numbers, as far as they hold small frames.
pub(crate) fn frames(connection: &Connection, rowids: &[i64], longest: usize) -> Result<Vec<Vec<u8>>> {
    let select = format!(
        "SELECT value FROM Cache WHERE rowid = ?1 AND filename = '.dolium' AND typeof(value) = 'blob'
            AND length(value) <= {longest}"
    );
    let mut select = connection.prepare_cached(&select)?;
    let mut found = Vec::new();
    for rowid in rowids {
        let mut rows = select.query([rowid])?;
        if let Some(row) = rows.next()? {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// What a statement about our table found. A store without the table has none, and so has one whose table another program
/// has made in its own way.
fn unless_other_table<T: Default>(found: rusqlite::Result<T>) -> Result<T> {
    match found {
        Err(error) if is_empty_store(&error) || is_other_shape(&error) => Ok(T::default()),
        found => Ok(found?),
    }
}

fn is_other_shape(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.starts_with("no such column"),
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such column"),
        rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        _ => false,
    }
}
