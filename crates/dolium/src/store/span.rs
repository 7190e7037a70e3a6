//! Owns what this process knows of a cache that is one queue without holes, as a `Deque` is, and how the log moves its ends.
//!
//! In such a cache the number of an item follows from its position. What a commit changes without a record in the log
//! (an eviction, a cull) grows `commits`. So does a drain, and then the database is asked anew.

use dolium_hot::{Tier, View};

use crate::sqlite::queue::Whole;
use crate::value::key::{Key, QueuePlace};

use super::followed::Followed;

/// All keys of the cache at a place in the log: the numbers from `front` to `back`, none of which expires. There are none if
/// `front` is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    followed: Followed,
    /// What the tier had counted before the database was read.
    commits: u64,
    front: i64,
    back: i64,
}

impl Span {
    /// What the database had. `offset`: up to there, the database has all changes. `commits`: what the tier had counted
    /// before.
    /// `None`: that is no queue whose changes the log tells.
    pub fn new(whole: &Whole, offset: u64, commits: u64) -> Option<Self> {
        let Whole { front, back, applied: Some((epoch, seq)), expires: false, .. } = *whole else {
            return None;
        };
        Some(Self { followed: Followed::new(epoch, seq, offset), commits, front, back })
    }

    /// The number of the last change that this knows.
    pub fn seq(&self) -> u64 {
        self.followed.seq()
    }

    /// The commits after which this was read.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The first number, and the last.
    pub fn range(&self) -> (i64, i64) {
        (self.front, self.back)
    }

    /// How many items there are.
    pub fn length(&self) -> i64 {
        self.back - self.front + 1
    }

    /// The number of the item at a position, which counts from the end if it is negative.
    pub fn number(&self, position: i64) -> Option<i64> {
        let position = if position < 0 { position + self.length() } else { position };
        (0..self.length()).contains(&position).then_some(self.front + position)
    }

    /// Follows the log to its end. Returns `false` if this is of no use any more: there was a commit, the log has lost
    /// records or has more than `most` bytes of them, or the cache is not one queue without holes.
    pub fn follow(&mut self, tier: &Tier, most: u64) -> bool {
        let mut followed = self.followed;
        let is_known = followed.follow(tier, most, |view| self.apply(view));
        self.followed = followed;
        is_known && self.commits == tier.commits()
    }

    fn apply(&mut self, view: &View<'_>) -> bool {
        let number = match Key::queue_place(view.key(), None) {
            Some(QueuePlace::Number(number)) => number,
            // The removal of a key that was not there.
            Some(QueuePlace::Between) | None => return !view.kind().has_row(),
        };
        if view.kind().has_row() {
            self.add(number) && view.expire_time().is_none()
        } else {
            self.remove(number)
        }
    }

    fn add(&mut self, number: i64) -> bool {
        if self.front > self.back {
            (self.front, self.back) = (number, number);
        } else if number == self.back + 1 {
            self.back = number;
        } else if number == self.front - 1 {
            self.front = number;
        }
        (self.front..=self.back).contains(&number)
    }

    /// Returns `false` if that leaves a hole.
    fn remove(&mut self, number: i64) -> bool {
        if number == self.front && number <= self.back {
            self.front += 1;
        } else if number == self.back && number >= self.front {
            self.back -= 1;
        }
        !(self.front..=self.back).contains(&number)
    }
}
