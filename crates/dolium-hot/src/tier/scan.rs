//! Owns finding the records of a tier that nobody has attached: after a crash, a reboot, a loss of power.

use super::memory::Memory;
use super::record::{HEAD, Kind, View};
use super::shape::UNIT;
use std::sync::atomic::Ordering::Relaxed;

impl Memory<'_> {
    /// The records numbered `applied` + 1, + 2 and so on, as far as none is missing, wherever they lie: pages may have
    /// been lost, the header's among them. What comes back is the history up to some moment.
    pub fn scan(&self, applied: u64) -> Vec<Vec<u64>> {
        let mut found: Vec<(u64, Vec<u64>)> = Vec::new();
        let mut scratch = Vec::new();
        for unit in 0..self.shape.units {
            if let Some(view) = self.at_unit(unit, &mut scratch)
                && view.kind() != Kind::Fill
                && view.number() > applied
            {
                found.push((view.number(), scratch.clone()));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        let in_turn =
            found.into_iter().zip(applied + 1..).take_while(|((number, _), expected)| number == expected);
        in_turn.map(|((_, words), _)| words).collect()
    }

    fn at_unit<'s>(&self, unit: u64, scratch: &'s mut Vec<u64>) -> Option<View<'s>> {
        let place = Self::word_of(unit);
        let position = self.log().get(place + 2)?.load(Relaxed);
        // Cheap, and false for nearly all that is not the beginning of a record.
        if position % self.shape.units != unit || position < self.shape.units {
            return None;
        }
        self.copy_below(u64::MAX, position, scratch)?;
        debug_assert!(scratch.len() >= HEAD && scratch.len().is_multiple_of(UNIT));
        View::read(scratch, self.epoch, position)
    }
}
