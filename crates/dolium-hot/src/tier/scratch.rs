//! Owns the place that records are copied to.

use std::mem::MaybeUninit;

use super::spare;

/// Words of the records that most are.
const FEW: usize = 64;

/// Words that were copied: on the stack if they are few, else on the heap.
pub(crate) struct Scratch {
    few: [MaybeUninit<u64>; FEW],
    /// How many of `few` are filled; if none, the words are in `many`.
    filled: usize,
    many: Vec<u64>,
}

impl Scratch {
    #[inline]
    pub fn new() -> Self {
        Self { few: [const { MaybeUninit::uninit() }; FEW], filled: 0, many: Vec::new() }
    }

    /// Replaces what is there.
    #[inline]
    pub fn fill(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        self.many.clear();
        let mut filled = 0;
        if words.len() > FEW {
            if self.many.capacity() == 0 {
                self.many = spare::take();
            }
            self.many.extend(words);
        } else {
            for (place, word) in self.few.iter_mut().zip(words) {
                place.write(word);
                filled += 1;
            }
        }
        self.filled = filled;
    }

    /// What was filled in last.
    #[inline]
    pub fn words(&self) -> &[u64] {
        if self.filled == 0 {
            return &self.many;
        }
        let filled = &self.few[..self.filled];
        // SAFETY: `fill` has written that many, and nothing makes them uninitialized again.
        unsafe { filled.assume_init_ref() }
    }

    /// The same, to be changed.
    pub fn words_mut(&mut self) -> &mut [u64] {
        if self.filled == 0 {
            return &mut self.many;
        }
        let filled = &mut self.few[..self.filled];
        // SAFETY: as above.
        unsafe { filled.assume_init_mut() }
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        spare::keep(std::mem::take(&mut self.many));
    }
}
