//! Power loss: each page of the file is from some other moment, and the database from an earlier one still.

use super::model::operation;
use super::mortal::Mortal;
use super::world::{Op, Rows, World};
use crate::layout::geometry::Geometry;
use proptest::prelude::*;

/// Words of a page of the model: a few records, so that they straddle pages.
const PAGE: usize = 64;

fn sorted(rows: &Rows) -> Rows {
    let mut rows = rows.clone();
    rows.sort_unstable();
    rows
}

proptest! {
    #[test]
    fn after_a_power_loss_the_state_is_a_prefix_of_the_history(
        units in 130..400_u64,
        ops in proptest::collection::vec(operation(10), 1..150),
        seeds in proptest::collection::vec(any::<u64>(), 24),
    ) {
        let mut world = World::new(Geometry { buckets: 4, units });
        let mut history = vec![world.clone()];
        // An eviction is no change that a prefix must know of: entries may go at any time.
        for op in ops.iter().filter(|op| !matches!(op, Op::Evict(_))) {
            world.run(op);
            history.push(world.clone());
        }
        for seed in seeds {
            let mut random = seed | 1;
            let mut next = |below: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                usize::try_from(random % below as u64).expect("small")
            };
            let mut lost = history[next(history.len())].clone();
            let pages = lost.words.len().div_ceil(PAGE);
            // Some pages reached the medium lately, others long ago, and mostly they are new.
            for page in 0..pages {
                let from = if next(3) > 0 { history.len() - 1 } else { next(history.len()) };
                for at in page * PAGE..((page + 1) * PAGE).min(lost.words.len()) {
                    lost.words[at] = Mortal::clone(&history[from].words[at]);
                }
            }
            let reopened = sorted(&lost.reopened());
            prop_assert!(
                history.iter().any(|then| sorted(&then.truth) == reopened),
                "{:?} was never the state", reopened
            );
        }
    }
}
