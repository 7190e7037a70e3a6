//! Owns a place in the log of the tier up to which a process has followed the changes.

use dolium_hot::{Tier, View};

/// How far the log was followed, and the last change up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    epoch: u64,
    offset: u64,
    seq: u64,
}

impl Followed {
    /// The database has the change `seq` of this epoch, and all that lies below `offset`.
    pub fn new(epoch: u64, seq: u64, offset: u64) -> Self {
        Self { epoch, offset, seq }
    }

    /// The number of the last change.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Shows `apply` each change up to the end of the log, until it returns `false`. Returns whether all of them were
    /// there and applied: not after a direct commit, nor where the log has lost records, or has more than `most` bytes
    /// of them.
    pub fn follow(&mut self, tier: &Tier, most: u64, mut apply: impl FnMut(&View<'_>) -> bool) -> bool {
        let (mut is_known, mut seq) = (self.epoch == tier.epoch(), self.seq);
        let reached = tier.follow(self.offset, most, |view| {
            if is_known && view.seq() > seq {
                is_known = view.seq() == seq + 1 && apply(&view);
                seq = view.seq();
            }
        });
        if let Some(offset) = reached {
            (self.offset, self.seq) = (offset, seq);
        }
        is_known && reached.is_some()
    }
}
