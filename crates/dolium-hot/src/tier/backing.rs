//! The database behind a tier, as the first process that attaches needs it.

use crate::log::record::View;

/// An error of a [`BackingStore`].
type BackingError = Box<dyn std::error::Error + Send + Sync>;

/// The database behind a tier, as the first process that attaches needs it.
pub trait BackingStore {
    /// Returns the epoch of the tier, and the sequence number in it, that the database has applied. Returns `None` if
    /// the database knows of no tier.
    fn applied(&mut self) -> Result<Option<(u64, u64)>, BackingError>;

    /// Applies records, in this order, and says in the same transaction that the sequence number 0 of a new epoch is
    /// applied, or with `None` that there is no tier any more. It vouches for no resting tier any more.
    fn begin(&mut self, epoch: Option<u64>, records: Records<'_>) -> Result<(), BackingError>;

    /// The bytes to which a tier may grow; 0 if it has the size that was asked for.
    fn most(&mut self) -> u64 {
        0
    }

    /// Says that the resting tier of `epoch` is in use again, if the database still vouches that nothing has changed
    /// since `seq` was applied. It asks and says so in one transaction. `false`: it does not, and has changed nothing.
    fn resume(&mut self, epoch: u64, seq: u64) -> Result<bool, BackingError> {
        let _ = (epoch, seq);
        Ok(false)
    }

    /// Hears, before `begin`, that the tier was copied from another directory while records waited in it: how many were
    /// found that follow what the database has, and whether these are all.
    fn copied(&mut self, found: usize, is_whole: bool) {
        let _ = (found, is_whole);
    }
}

/// Records that were found in a tier that no process had attached.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a>(&'a [Vec<u64>]);

impl<'a> Records<'a> {
    pub(crate) fn new(words: &'a [Vec<u64>]) -> Self {
        Self(words)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = View<'a>> {
        self.0.iter().map(|words| View::verified(words))
    }
}
