//! Owns what becomes of records that SQLite refuses after all: a unique index of a user's own, say. Each is left out alone,
//! since it would keep all that came after it from the database, and be the first to be refused again.

use dolium_hot::View;

use crate::system::error::{self, Error, Result};
use crate::value::key::Key;

use super::Write;

/// How records become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// All of them or none: nothing is as quick.
    Together,
    /// Each in a savepoint of its own, without those that SQLite refuses.
    Apart,
}

/// Records that were left out.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub count: u64,
    /// What SQLite said of the first.
    pub reason: Option<String>,
    files: Vec<(Key<'static>, String)>,
}

impl Refused {
    fn add(&mut self, key: Key<'static>, view: &View<'_>, error: &rusqlite::Error) {
        self.count += 1;
        self.reason.get_or_insert_with(|| match error {
            rusqlite::Error::StatementChangedRows(_) => "a unique index has that already".to_owned(),
            other => other.to_string(),
        });
        self.files.extend(view.row().and_then(|row| row.filename).map(|name| (key, name.to_owned())));
    }
}

/// Runs a transaction that makes rows of records, and if SQLite refuses one of them, again without those.
pub(crate) fn with_care<T>(mut transaction: impl FnMut(Care) -> Result<T>) -> Result<T> {
    match transaction(Care::Together) {
        Err(Error::Sqlite { source, .. }) if error::is_about_row(&source) => transaction(Care::Apart),
        done => done,
    }
}

impl Write<'_> {
    /// Makes rows of records, one after the other.
    pub fn apply_each<'v>(&mut self, records: impl Iterator<Item = View<'v>>, care: Care) -> Result<Refused> {
        let mut refused = Refused::default();
        for view in records {
            let Some(key) = Key::from_hot(view.key()) else { continue };
            if care == Care::Together {
                self.apply_record(&key, &view)?;
                continue;
            }
            match self.attempt(|write| write.apply_record(&key, &view)) {
                Err(Error::Sqlite { source, .. }) if error::is_about_row(&source) => {
                    refused.add(key, &view, &source);
                }
                done => done?,
            }
        }
        self.trash_of(&refused)?;
        Ok(refused)
    }

    /// Only now, since a later record of the same key may name the same file.
    fn trash_of(&mut self, refused: &Refused) -> Result<()> {
        for (key, filename) in &refused.files {
            let used = self.head(key)?.and_then(|head| head.filename);
            if used.as_ref() != Some(filename) {
                self.trash(Some(filename))?;
            }
        }
        Ok(())
    }
}
