//! Owns the row `integers` of the table `Dolium`, which says that all keys are integers: a database of which that is known can
//! be one queue without a look at each key. Its value is that of `foreign` at that time, so that another program which changes
//! rows takes it away.
//!
//! A new store has it. The first key of another kind removes it, in the same transaction.

use crate::system::error::Result;
use crate::value::key::Key;

use super::Write;

/// A look at each key, by its index. An integer that is stored as a real number is one; text would be compared as a number.
macro_rules! are_integers {
    () => {
        "NOT EXISTS (SELECT 1 FROM Cache
        WHERE typeof(key) NOT IN ('integer', 'real') OR key != CAST(key AS INTEGER))"
    };
}

pub(super) use are_integers;

impl Write<'_> {
    /// If it is asked for, looks at each key, and notes that all are integers if they are. Takes about 0.1 s for a million.
    pub fn note_integers_if(&mut self, is_asked_for: bool) -> Result<()> {
        const NOTE: &str = concat!(
            "INSERT OR REPLACE INTO Dolium
            SELECT 'integers', value FROM Dolium WHERE key = 'foreign' AND ",
            are_integers!()
        );
        if is_asked_for {
            self.connection().prepare_cached(NOTE)?.execute([])?;
        }
        Ok(())
    }

    /// A row with this key was added.
    pub(super) fn added_key(&mut self, key: &Key<'_>) -> Result<()> {
        const FORGET: &str = "DELETE FROM Dolium WHERE key = 'integers'";
        if !matches!(key, Key::Int(_)) && !self.rows.has_other_keys {
            self.connection().prepare_cached(FORGET)?.execute([])?;
            self.rows.has_other_keys = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;
    use crate::value::scalar::Scalar;
    use crate::value::settings::Settings;
    use crate::value::{Columns, mode};
    use rusqlite::{Connection, Result as SqlResult};

    fn store() -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        schema::ensure(&connection, &Settings::defaults()).expect("a schema");
        connection
    }

    fn is_noted(connection: &Connection) -> bool {
        let count: SqlResult<i64> =
            connection.query_row("SELECT count(*) FROM Dolium WHERE key = 'integers'", [], |row| row.get(0));
        count.expect("a count") == 1
    }

    fn add(write: &mut Write<'_>, key: impl Into<Key<'static>>) -> Result<()> {
        let columns = Columns::inline(mode::RAW, Scalar::Int(1));
        write.insert(&key.into(), &columns, None, &Scalar::Null, 1.0)
    }

    #[test]
    fn another_key_takes_the_note_away_a_look_brings_it_back() -> Result<()> {
        for other in [Key::from("text"), Key::Float(1.5), Key::Bytes(b"bytes".as_slice().into())] {
            let connection = store();
            let mut write = Write::new(&connection);
            add(&mut write, 1)?;
            assert!(is_noted(&connection));
            add(&mut write, other.clone())?;
            assert!(!is_noted(&connection), "{other:?}");
            write.note_integers_if(true)?;
            assert!(!is_noted(&connection), "{other:?}");
            connection.execute("DELETE FROM Cache WHERE key != 1", [])?;
            write.note_integers_if(true)?;
            assert!(is_noted(&connection));
        }
        Ok(())
    }

    #[test]
    fn a_key_after_one_that_was_undone_takes_the_note_away() -> Result<()> {
        let connection = store();
        connection.execute_batch("BEGIN")?;
        let mut write = Write::new(&connection);
        let undone = write.attempt(|write| {
            add(write, "undone")?;
            Err::<(), _>(rusqlite::Error::InvalidQuery.into())
        });
        assert!(undone.is_err() && is_noted(&connection));
        add(&mut write, "another")?;
        assert!(!is_noted(&connection));
        Ok(())
    }
}
