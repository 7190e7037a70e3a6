//! Owns what becomes of records that SQLite refuses after all: a unique index of a user's own, say. Each is left out with its
//! chunk, since it would keep all that came after it from the database, and be the first to be refused again.

use dolium_hot::View;

use crate::system::error::{self, Error, Result};
use crate::value::key::Key;

use super::Write;

/// How records become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplyMode {
    /// All of them or none: nothing is as quick.
    Batch,
    /// Each chunk in a savepoint of its own, without those of which SQLite refuses a record.
    PerChunk,
}

/// Records that were left out.
#[derive(Debug, Default)]
pub(crate) struct Rejected {
    pub count: u64,
    /// What SQLite said of the first.
    pub reason: Option<String>,
    files: Vec<(Key<'static>, String)>,
}

impl Rejected {
    fn add(&mut self, key: Key<'static>, view: &View<'_>, error: &rusqlite::Error) {
        self.count += 1;
        self.reason.get_or_insert_with(|| match error {
            rusqlite::Error::StatementChangedRows(_) => "a unique index has that already".to_owned(),
            other => other.to_string(),
        });
        self.files.extend(view.row().and_then(|row| row.filename).map(|name| (key, name.to_owned())));
    }
}

/// Whether SQLite refused a record, so that the transaction may succeed without it.
pub(crate) fn is_rejection(error: &Error) -> bool {
    error.as_sqlite().is_some_and(error::is_row_error)
}

impl Write<'_> {
    /// Makes rows of records, one after the other.
    pub fn apply_each<'v>(
        &mut self,
        records: impl Iterator<Item = View<'v>>,
        mode: ApplyMode,
    ) -> Result<Rejected> {
        let mut rejected = Rejected::default();
        let mut chunk = Vec::new();
        let mut records = records.peekable();
        while let Some(view) = records.next() {
            chunk.extend(Key::from_hot(view.key()).map(|key| (key, view)));
            if view.rest() > 0 && records.peek().is_some() {
                continue;
            }
            let apply =
                |write: &mut Self| chunk.iter().try_for_each(|(key, view)| write.apply_record(key, view));
            let applied = if mode == ApplyMode::Batch { apply(self) } else { self.attempt(apply) };
            match applied {
                Err(Error::Sqlite { source, .. })
                    if mode == ApplyMode::PerChunk && error::is_row_error(&source) =>
                {
                    chunk.drain(..).for_each(|(key, view)| rejected.add(key, &view, &source));
                }
                done => done?,
            }
            chunk.clear();
        }
        self.trash_of(&rejected)?;
        Ok(rejected)
    }

    /// Only now, since a later record of the same key may name the same file.
    fn trash_of(&mut self, rejected: &Rejected) -> Result<()> {
        for (key, filename) in &rejected.files {
            let used = self.head(key)?.and_then(|head| head.filename);
            if used.as_ref() != Some(filename) {
                self.trash(Some(filename))?;
            }
        }
        Ok(())
    }
}
