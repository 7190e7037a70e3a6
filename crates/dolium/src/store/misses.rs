//! The keys that this process missed lately, so that only a key that is missed again takes a place in the hot tier.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::system::fork_gate;

/// How many keys are remembered at most. A key drives out the one before it in its place, so a scan of many more keys
/// remembers next to none of them.
const PLACES: usize = 4096;

/// Marks of the keys, one in each place; 0 is none.
#[derive(Debug, Default)]
pub(crate) struct RecentMisses(OnceLock<Box<[AtomicU32]>>);

impl RecentMisses {
    /// Remembers a key by its hash. Returns whether it was remembered before.
    pub fn repeats(&self, hash: u64) -> bool {
        let places = fork_gate::init(&self.0, || (0..PLACES).map(|_| AtomicU32::new(0)).collect());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a part of the hash picks the place, another the mark"
        )]
        let (place, mark) = (hash as usize % PLACES, (hash >> 32) as u32 | 1);
        places[place].swap(mark, Relaxed) == mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> u64 {
        (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_key_repeats_once_it_was_missed() {
        let misses = RecentMisses::default();
        assert!(!misses.repeats(hash(1)));
        assert!(!misses.repeats(hash(2)));
        assert!(misses.repeats(hash(1)) && misses.repeats(hash(2)));
    }

    #[test]
    fn a_scan_of_many_keys_repeats_hardly_any_when_it_comes_again() {
        let misses = RecentMisses::default();
        let scan = || (0..20 * PLACES as u64).filter(|&key| misses.repeats(hash(key))).count();
        assert_eq!(scan(), 0);
        assert!(scan() < PLACES / 10);
    }
}
