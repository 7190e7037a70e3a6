//! Owns finding the records of a tier that no process has attached: after a crash, a reboot, a loss of power.

use super::atomic::Atomic;
use super::memory::Memory;
use super::record::View;
use super::scratch::Scratch;
use std::sync::atomic::Ordering::Relaxed;

impl<A: Atomic> Memory<'_, A> {
    /// The records numbered `applied` + 1, + 2 and so on, as far as none is missing, wherever they lie: pages may have
    /// been lost, the header's among them. What comes back is the history up to some moment, without a chunk that is not
    /// whole.
    pub fn scan(&self, applied: u64) -> Vec<Vec<u64>> {
        let mut found: Vec<Vec<u64>> = Vec::new();
        let mut scratch = Scratch::new();
        let mut unit = 0;
        while unit < self.geometry.units {
            let Some(view) = self.at_unit(unit, &mut scratch) else {
                unit += 1;
                continue;
            };
            // What lies inside a whole record is a value, even if it looks like a record.
            unit += view.units();
            if !view.kind().is_fill() && view.seq() > applied {
                found.push(scratch.words().to_vec());
            }
        }
        // Of two with one sequence number the one further up is what is left of a chunk that was never finished.
        found.sort_by_key(|words| (View::verified(words).seq(), View::verified(words).offset()));
        found.dedup_by_key(|words| View::verified(words).seq());
        found.truncate(history(&found, applied));
        found
    }

    fn at_unit<'s>(&self, unit: u64, scratch: &'s mut Scratch) -> Option<View<'s>> {
        let place = Self::word_of(unit);
        let offset = self.log().get(place + 2)?.load(Relaxed);
        // Cheap, and false for nearly all that is not the beginning of a record.
        if self.geometry.within(offset) != unit || offset < self.geometry.units {
            return None;
        }
        self.copy_below(u64::MAX, offset, scratch)
    }
}

/// How many of the records are history: numbered without a gap, and their chunks whole.
fn history(records: &[Vec<u64>], applied: u64) -> usize {
    let mut whole = 0;
    let mut rest = None;
    for (at, words) in records.iter().enumerate() {
        let view = View::verified(words);
        let fits = view.seq() == applied + 1 + at as u64 && rest.is_none_or(|rest| rest == view.rest());
        if !fits {
            break;
        }
        rest = view.rest().checked_sub(1);
        if rest.is_none() {
            whole = at + 1;
        }
    }
    whole
}
