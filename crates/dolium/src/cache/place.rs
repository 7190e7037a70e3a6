//! Owns where a read of one key looks before it asks the database.

use dolium_hot::{Tier, View};

use crate::system::error::{Error, Result};
use crate::value::key::Key;

use super::Cache;

/// Where a read of one key looks before it asks the database.
pub(super) enum Place {
    Tier(Tier),
    /// At the tier of others, without being one of its members: this process may only read, or it cannot become one in
    /// time.
    Beside,
    Nowhere,
}

impl Cache {
    /// Where a read of one key looks first.
    pub(super) fn place_of_tier(&self, is_inside: bool) -> Result<Place> {
        if is_inside {
            return Ok(Place::Nowhere);
        }
        Ok(match self.handle.tier_to_look() {
            Ok(Some(tier)) => Place::Tier(tier),
            // Another process prepares a tier, and has not done so in time.
            Err(Error::Timeout { .. }) => Place::Beside,
            Ok(None) if self.is_read_only() => Place::Beside,
            Ok(None) => Place::Nowhere,
            Err(error) => return Err(error),
        })
    }

    /// What a tier says of a key, to a process that is not one of its members.
    pub(super) fn observe<T>(&self, key: &Key<'_>, f: impl Fn(&View<'_>) -> T) -> Result<Option<T>> {
        let Some((observer, is_disturbed)) = self.handle.observer(self.wait)? else { return Ok(None) };
        // Rows that another program may have changed are asked of SQLite.
        let is_dirty = |view: &View<'_>| !view.kind().is_fill() && view.offset() >= observer.drained_to();
        let is_known = |view: &View<'_>| !is_disturbed || is_dirty(view);
        Ok(key.with_hot(|hot| observer.get(hot, |view| is_known(&view).then(|| f(&view)))).flatten())
    }
}
