//! A copy of the database as it is at one moment, while others go on writing.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OptionalExtension};

use crate::system::error::Result;

use super::columns::SIZES;

/// Pages that are copied between two questions whether to go on.
const PAGES: i32 = 512;

/// A read transaction: nothing that its moment needs is checkpointed away, and no value file of it is removed, because
/// value files wait in the trash until a checkpoint has passed the transaction that threw them away.
pub(crate) struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    /// Takes the moment that is now.
    pub fn begin(connection: &'c Connection) -> Result<Self> {
        connection.execute_batch("BEGIN")?;
        let snapshot = Self(connection);
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(snapshot)
    }

    /// Copies the database page by page. `go_on` hears after each step how many bytes are copied. Returns whether the
    /// copy is complete.
    pub fn copy_to(&self, copy: &mut Connection, mut go_on: impl FnMut(u64) -> bool) -> Result<bool> {
        let page: i64 = self.0.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let backup = Backup::new(self.0, copy)?;
        loop {
            let step = backup.step(PAGES)?;
            let progress = backup.progress();
            let done = i64::from(progress.pagecount - progress.remaining).saturating_mul(page);
            if !go_on(u64::try_from(done).unwrap_or(0)) {
                return Ok(false);
            }
            // No other process knows the copy, and this moment is ours already, so nothing else can come of it for
            // long.
            if step == StepResult::Done {
                return Ok(true);
            }
        }
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // A read transaction has nothing to lose.
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

/// Makes a copy a store of its own: without the rows of `lost`, whose value files are nowhere, without a hot tier in
/// front of it, and without the names of files that only the original has. Returns how many entries it holds.
pub(crate) fn make_independent(copy: &Connection, lost: &[i64]) -> Result<u64> {
    const IS_OURS: &str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'DoliumTrash'";
    copy.execute_batch("BEGIN")?;
    if copy.query_row(IS_OURS, [], |_| Ok(())).optional()?.is_some() {
        copy.execute_batch("DELETE FROM Dolium WHERE key = 'tier'; DELETE FROM DoliumTrash")?;
    }
    if !lost.is_empty() {
        let mut delete = copy.prepare("DELETE FROM Cache WHERE rowid = ?1")?;
        for rowid in lost {
            delete.execute([rowid])?;
        }
        copy.execute_batch(&format!(
            "UPDATE Settings SET value = (SELECT count(*) FROM Cache) WHERE key = 'count';
             UPDATE Settings SET value = (SELECT {SIZES} FROM Cache) WHERE key = 'size'"
        ))?;
    }
    let entries: i64 = copy.query_row("SELECT count(*) FROM Cache", [], |row| row.get(0))?;
    copy.execute_batch("COMMIT")?;
    Ok(u64::try_from(entries).unwrap_or(0))
}
