//! Annotations in the table `Dolium`.

use rusqlite::{Connection, OptionalExtension, params};

use crate::system::error::{Result, is_empty_store};
use crate::value::scalar::Scalar;

/// What the keys of annotations begin with, so that none is taken for a row of the engine's.
const PREFIX: &str = "annotation ";

/// The annotation of a name.
pub(crate) fn annotation(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>> {
    const SELECT: &str = "SELECT value FROM Dolium WHERE key = ?1";
    let found = connection
        .prepare_cached(SELECT)
        .and_then(|mut select| select.query_row([format!("{PREFIX}{name}")], |row| row.get(0)).optional());
    match found {
        Ok(Some(Scalar::Blob(bytes))) => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        // A store of diskcache has no such table.
        Err(error) if is_empty_store(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the annotation of a name.
pub(crate) fn annotate(connection: &Connection, name: &str, bytes: &[u8]) -> Result<()> {
    const UPSERT: &str =
        "INSERT INTO Dolium VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(UPSERT)?.execute(params![format!("{PREFIX}{name}"), bytes])?;
    Ok(())
}
