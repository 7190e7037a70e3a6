//! The table `DoliumTrash`: value files that no row needs any more.

use rusqlite::Connection;

use super::columns::text;

/// Whether there is trash.
pub(crate) fn is_there(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM DoliumTrash)", [], |row| row.get(0))
}

/// The first of the trash, by `rowid`. What is not text names no file.
pub(crate) fn first(connection: &Connection, limit: u16) -> rusqlite::Result<Vec<(i64, Option<String>)>> {
    let mut select =
        connection.prepare_cached("SELECT rowid, filename FROM DoliumTrash ORDER BY rowid LIMIT ?1")?;
    let rows = select.query_map([limit], |row| Ok((row.get(0)?, text(row, 1)?)))?;
    rows.collect()
}

/// The names of all files in the trash.
pub(crate) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare("SELECT filename FROM DoliumTrash")?;
    let names = select.query_map([], |row| text(row, 0))?;
    names.filter_map(Result::transpose).collect()
}

/// Forgets the trash up to a `rowid`.
pub(crate) fn forget(connection: &Connection, last: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM DoliumTrash WHERE rowid <= ?1")?.execute([last])?;
    Ok(())
}
