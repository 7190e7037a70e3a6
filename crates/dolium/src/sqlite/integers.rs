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
        "NOT EXISTS (SELECT 1 FROM Cache INDEXED BY Cache_key_raw
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
