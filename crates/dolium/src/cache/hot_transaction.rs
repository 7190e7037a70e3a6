//! Owns what operations on one key do inside a transaction that is a small one. What does not fit there is left to the
//! callers' direct way, which makes it one of the database.

use dolium_hot::{AccessWord, Tier, View};

use crate::sqlite::read::{self, Found};
use crate::store::absences::FOLLOWED;
use crate::store::small::Asked;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::Row;
use crate::value::key::Key;

use super::Cache;
use super::change::{Change, Decided};
use super::record::row_of;

impl Cache {
    /// The row of a key, expired or not, as the small transaction of the calling context has it. Returns `None` if the
    /// context is in none.
    pub(super) fn row_inside(&self, key: &Key<'_>) -> Option<Found<Row>> {
        let see = |view: View<'_>, access: Option<AccessWord<'_>>| {
            if let Some(access) = access.filter(|_| self.is_alive(&view)) {
                self.note(access);
            }
            row_of(&view)
        };
        let is_absent = |tier: &Tier| self.is_absent(tier, key, FOLLOWED).then_some(None);
        match key.with_hot(|hot| self.handle.ask_small(hot, see, is_absent)) {
            Asked::Outside => None,
            Asked::Known(row) => Some(Found::of(row)),
            // Nothing of ours changes the row before the transaction ends.
            Asked::Unknown => self.handle.read_beside_small(|connection| {
                Ok(Found::of(read::find(connection, key, Timestamp::NEG_INFINITY)?))
            }),
        }
    }

    /// Changes a key as `decide` says about its row, in the small transaction of the calling context. Returns `None` if the
    /// direct way is needed.
    pub(super) fn change_inside<T>(
        &self,
        key: &Key<'_>,
        decide: &mut impl FnMut(Option<Row>) -> Result<Change<T>>,
    ) -> Result<Option<T>> {
        let Some(row) = self.row_inside(key).map(Found::there) else { return Ok(None) };
        let Decided { record, file, answer, .. } = match decide(row)?.decided(key) {
            Ok(decided) => decided,
            Err(answer) => return Ok(Some(answer)),
        };
        Ok((file.is_none() && self.handle.push_small(record)).then_some(answer))
    }
}
