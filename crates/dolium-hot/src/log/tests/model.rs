//! Random operations against a plain list of rows.

use super::mortal::live;
use super::world::{LATE, Op, Rows, World, limit, pending_record, put};
use crate::layout::geometry::Geometry;
use crate::log::record::Kind;
use crate::log::scratch::Scratch;
use proptest::prelude::*;

pub(crate) fn operation(keys: u8) -> impl Strategy<Value = Op> {
    let key = 0..keys;
    let entry = (0..keys, 0..1000_u32);
    let change = (0..keys, proptest::option::of(0..1000_u32));
    prop_oneof![
        8 => entry.clone().prop_map(|(key, value)| Op::Set(key, value)),
        3 => key.clone().prop_map(Op::Delete),
        2 => key.clone().prop_map(Op::Early),
        2 => key.clone().prop_map(Op::Late),
        3 => entry.clone().prop_map(|(key, value)| Op::Over(key, value)),
        2 => proptest::collection::vec(entry.clone(), 1..5).prop_map(Op::Chunk),
        3 => proptest::collection::vec(entry, 1..5).prop_map(Op::ChunkOver),
        4 => key.clone().prop_map(Op::Read),
        3 => (1..8_usize).prop_map(Op::Drain),
        1 => (proptest::collection::vec(change, 0..4), any::<bool>())
            .prop_map(|(changes, all)| Op::Direct(changes, all)),
        2 => key.prop_map(Op::Evict),
    ]
}

/// Geometries from "nearly nothing fits" to "all fits".
pub(crate) fn geometry() -> impl Strategy<Value = Geometry> {
    (0..4_u32, 130..600_u64).prop_map(|(buckets, units)| Geometry { buckets: 1 << buckets, units })
}

/// Each operation alone, as SQLite would have it; `knows`: the tier knew the key.
fn alone(rows: &mut Rows, op: &Op, knows: bool) {
    match op {
        Op::Over(key, value) if knows => put(rows, *key, Some(*value)),
        Op::Set(key, value) => put(rows, *key, Some(*value)),
        Op::Delete(key) => put(rows, *key, None),
        Op::Late(key) => put(rows, *key, Some(LATE)),
        Op::Chunk(entries) | Op::ChunkOver(entries) => {
            for (key, value) in entries {
                put(rows, *key, Some(*value));
            }
        }
        Op::Direct(changes, _) => changes.iter().for_each(|(key, value)| put(rows, *key, *value)),
        Op::Over(..) | Op::Early(_) | Op::Read(_) | Op::Drain(_) | Op::Evict(_) => {}
    }
}

#[test]
fn a_drain_counts_keys_however_often_they_were_written() {
    let mut world = World::new(Geometry { buckets: 2, units: 600 });
    for value in 0..5 {
        world.run(&Op::Set(1, value));
    }
    world.run(&Op::Set(2, 0));
    world.run(&Op::Set(3, 0));
    let batch = world.memory().pending(0, limit(2), &mut Scratch::new());
    assert_eq!((batch.len(), batch.seq(), batch.changes().len()), (6, 6, 2));
}

#[test]
fn what_the_log_has_lost_is_not_the_newest_any_more() {
    let mut world = World::new(Geometry { buckets: 8, units: 130 });
    world.run(&Op::Set(1, 1));
    let offset = world.known(1).expect("just set");
    let over = |world: &World| world.memory().append_over(&mut pending_record(Kind::Set, 1, 2), offset);
    // Other keys, until the log has come round; the slot still names where the record was.
    while world.known(1).is_some() {
        world.run(&Op::Set(9, 22));
    }
    assert_eq!(over(&world), Ok(false), "the database may have been changed since");
    world.run(&Op::Set(1, 3));
    assert_eq!(over(&world), Ok(false), "it is another record");
}

proptest! {
    #[test]
    fn the_tier_and_its_database_are_one_map(
        geometry in geometry(),
        ops in proptest::collection::vec(operation(12), 1..120),
    ) {
        let mut world = World::new(geometry);
        for op in &ops {
            world.run(op);
            world.check_sees(&world.truth, "");
            let mut reopened = world.reopened();
            let mut truth = world.truth.clone();
            reopened.sort_unstable();
            truth.sort_unstable();
            prop_assert_eq!(reopened, truth);
        }
    }

    #[test]
    fn rows_stand_as_if_each_operation_had_been_applied_alone(
        geometry in geometry(),
        ops in proptest::collection::vec(operation(12), 1..120),
    ) {
        let mut world = World::new(geometry);
        let mut rows = Rows::new();
        for op in ops.iter().filter(|op| !matches!(op, Op::Evict(_))) {
            let knows = matches!(op, Op::Over(key, _) if world.known(*key).is_some());
            let known = if let Op::ChunkOver(entries) = op { world.of_known(entries) } else { Vec::new() };
            world.run(op);
            match op {
                Op::ChunkOver(_) => alone(&mut rows, &Op::ChunkOver(known), true),
                op => alone(&mut rows, op, knows),
            }
        }
        world.drain(usize::MAX);
        prop_assert_eq!(&world.database.rows, &rows);
    }

    #[test]
    fn killed_again_and_again_it_stays_a_map(
        geometry in geometry(),
        ops in proptest::collection::vec((operation(8), 0..60_u64, 0..40_u64), 1..60),
    ) {
        let mut world = World::new(geometry);
        for (op, stores, more) in &ops {
            if live(*stores, || world.run(op)).is_none() {
                let (before, after) = (world.truth.clone(), world.next.clone());
                // Its heir may die, too.
                if world.holds_t && live(*more, || world.recover()).is_none() {
                    world.recover();
                }
                let is = |rows: &Rows| (0..8).all(|key| world.look(key) == super::world::get(rows, key));
                prop_assert!(is(&before) || is(&after));
                world.truth = if is(&after) { after } else { before };
            }
            let mut reopened = world.reopened();
            let mut truth = world.truth.clone();
            reopened.sort_unstable();
            truth.sort_unstable();
            // An orphan that SQLite finds later may have the rest of what was under way.
            if world.database.orphan.is_none() {
                prop_assert_eq!(reopened, truth);
            }
        }
    }
}
