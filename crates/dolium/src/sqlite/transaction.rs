//! The statements that begin, end and divide transactions, and the one that empties the write-ahead log.

use rusqlite::Connection;

/// How much a checkpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// As much as readers allow, without waiting.
    Passive,
    /// The same, and then it cuts the log to nothing.
    Truncate,
}

/// Begins a transaction that excludes other writers.
pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(())
}

/// Commits the transaction. If readers are in the way, it stays open.
pub(crate) fn commit(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Undoes the transaction.
pub(crate) fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("ROLLBACK")
}

/// Begins a transaction that reads, and takes the moment that is now.
pub(crate) fn begin_read(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN")?;
    connection.prepare_cached("SELECT count(*) FROM Settings")?.query_row([], |_| Ok(()))
}

/// Ends a transaction that reads. It has nothing to lose, so a failure means nothing.
pub(crate) fn end_read(connection: &Connection) {
    let _ = connection.execute_batch("COMMIT");
}

/// Begins a step of a transaction, which can be undone alone.
pub(crate) fn begin_step(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("SAVEPOINT step")?.execute([])?;
    Ok(())
}

/// Keeps what the step has changed.
pub(crate) fn end_step(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("RELEASE step")?.execute([])?;
    Ok(())
}

/// Undoes what the step has changed.
pub(crate) fn undo_step(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("ROLLBACK TO step")?.execute([])?;
    end_step(connection)
}

/// Moves the write-ahead log into the database. Returns whether all of it is there now.
pub(crate) fn checkpoint(connection: &Connection, kind: Checkpoint) -> rusqlite::Result<bool> {
    let mut pragma = connection.prepare_cached(match kind {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    })?;
    let (busy, frames, done): (bool, i64, i64) =
        pragma.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // Both numbers are -1 where there is no write-ahead log: a commit is durable at once. They are also -1 while another
    // connection makes a checkpoint, which may have begun before the last commit.
    Ok(!busy && frames == done)
}
