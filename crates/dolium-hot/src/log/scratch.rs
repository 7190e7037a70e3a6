//! Owns the place that records are copied to.

use std::array::from_fn;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;

use super::atomic::Atomic;
use super::record::{self, BODY};
use super::{buffer_pool, hash};
use crate::layout::geometry::UNIT;

/// Units of the records that most are.
const FEW: usize = 32;

/// A unit that may have been copied.
type CopiedUnit = [MaybeUninit<u64>; UNIT];

/// Words that were copied: on the stack if they are few, else on the heap.
pub(crate) struct Scratch {
    few: [CopiedUnit; FEW],
    /// How many words of `few` are filled; if none, the words are in `many`.
    filled: usize,
    many: Vec<u64>,
}

impl Scratch {
    #[inline]
    pub fn new() -> Self {
        let few = [const { [const { MaybeUninit::uninit() }; UNIT] }; FEW];
        Self { few, filled: 0, many: Vec::new() }
    }

    /// Replaces what is there by a copy of a record. Returns the sum of its body, which is made on the way: what was just
    /// stored is better not loaded.
    #[inline]
    pub fn copy<A: Atomic>(&mut self, record: &[A], epoch: u64) -> u64 {
        let (shared, _) = record.as_chunks();
        match self.few.get_mut(..shared.len()) {
            Some(few) if few.len() > BODY => {
                let sum = copy(few, shared, epoch);
                self.filled = UNIT * few.len();
                sum
            }
            _ => self.copy_long(record, epoch),
        }
    }

    // Apart, so that the common way is short.
    #[cold]
    #[inline(never)]
    fn copy_long<A: Atomic>(&mut self, record: &[A], epoch: u64) -> u64 {
        let (shared, _) = record.as_chunks();
        if shared.len() <= BODY {
            self.fill_many(record.iter().map(|word| word.load(Relaxed)));
            return record::body_sum(&self.many, epoch);
        }
        self.filled = 0;
        if self.many.capacity() == 0 {
            self.many = buffer_pool::take();
        }
        self.many.clear();
        self.many.reserve(UNIT * shared.len());
        let (places, _) = self.many.spare_capacity_mut().as_chunks_mut();
        let sum = copy(&mut places[..shared.len()], shared, epoch);
        // SAFETY: there is space for that many, and `copy` has written all of them.
        unsafe { self.many.set_len(UNIT * shared.len()) };
        sum
    }

    /// Replaces what is there by other words.
    pub fn fill(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        if words.len() == 0 || words.len() > UNIT * FEW {
            return self.fill_many(words);
        }
        self.filled = 0;
        for (place, word) in self.few.as_flattened_mut().iter_mut().zip(words) {
            place.write(word);
            self.filled += 1;
        }
    }

    fn fill_many(&mut self, words: impl Iterator<Item = u64>) {
        self.filled = 0;
        if self.many.capacity() == 0 {
            self.many = buffer_pool::take();
        }
        self.many.clear();
        self.many.extend(words);
    }

    /// What was filled in last.
    #[inline]
    pub fn words(&self) -> &[u64] {
        if self.filled == 0 {
            return &self.many;
        }
        let filled = &self.few.as_flattened()[..self.filled];
        // SAFETY: that many were written, and nothing makes them uninitialized again.
        unsafe { filled.assume_init_ref() }
    }

    /// The same, to be changed.
    pub fn words_mut(&mut self) -> &mut [u64] {
        if self.filled == 0 {
            return &mut self.many;
        }
        let filled = &mut self.few.as_flattened_mut()[..self.filled];
        // SAFETY: as above.
        unsafe { filled.assume_init_mut() }
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if self.many.capacity() > 0 {
            buffer_pool::keep(std::mem::take(&mut self.many));
        }
    }
}

/// Writes all of `places`, of which there are as many as units of the record.
#[inline]
fn copy<A: Atomic>(places: &mut [CopiedUnit], shared: &[[A; UNIT]], epoch: u64) -> u64 {
    assert!(places.len() == shared.len(), "each unit has its place");
    let (head, places) = places.split_at_mut(BODY);
    let (shared_head, shared) = shared.split_at(BODY);
    let mut first = 0;
    for (at, (place, unit)) in head.iter_mut().zip(shared_head).enumerate() {
        let [word, _] = copy_unit(place, unit);
        first = if at == 0 { word } else { first };
    }
    let (places, last_places) = places.as_chunks_mut::<4>();
    let (shared, last) = shared.as_chunks::<4>();
    let fours = places.iter_mut().zip(shared);
    let rest = last_places.iter_mut().zip(last);
    hash::units(
        fours.map(|(places, units)| |at: usize| copy_unit(&mut places[at], &units[at])),
        rest.map(|(place, unit)| copy_unit(place, unit)),
        record::seed(first, epoch),
    )
}

#[inline]
fn copy_unit<A: Atomic>(place: &mut CopiedUnit, unit: &[A; UNIT]) -> [u64; UNIT] {
    from_fn(|at| *place[at].write(unit[at].load(Relaxed)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_copy_of_any_length_is_the_record_and_its_sum() {
        let mut scratch = Scratch::new();
        for units in [BODY, BODY + 1, FEW - 1, FEW, FEW + 1, FEW + 7, 4096, FEW, 100] {
            let words: Vec<u64> =
                (0..(UNIT * units) as u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            let shared: Vec<AtomicU64> = words.iter().copied().map(AtomicU64::new).collect();
            let sum = scratch.copy(&shared, 7);
            assert_eq!(scratch.words(), words, "{units} units");
            if units > BODY {
                assert_eq!(sum, record::body_sum(&words, 7), "{units} units");
            }
        }
    }
}
