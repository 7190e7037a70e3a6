//! Any bytes: never a crash, a hang, or a value that was never stored.

use super::model::{geometry, operation};
use super::mortal::Mortal;
use super::world::{LATE, Op, World, delete, key_bytes, limit, pending_record, value_of};
use crate::layout::header::field;
use crate::log::record::{Key, Kind, View};
use crate::log::scratch::Scratch;
use proptest::prelude::*;
use std::collections::HashSet;

/// Where damage falls.
#[derive(Clone, Debug)]
enum Damage {
    Header(usize, u64),
    Slot(usize, u64),
    Log(usize, u64),
    /// Part of the log lands elsewhere.
    Copy(usize, usize, usize),
}

fn wild() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..1000_u64,
        (0..64_u32).prop_map(|bit| 1 << bit),
        Just(u64::MAX),
        (0..400_u64, 0..6_u64).prop_map(|(units, kind)| units | kind << 32),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (0..9_usize, wild()).prop_map(|(at, value)| Damage::Header(at, value)),
        (any::<usize>(), wild()).prop_map(|(at, value)| Damage::Slot(at, value)),
        (any::<usize>(), wild()).prop_map(|(at, value)| Damage::Log(at, value)),
        (any::<usize>(), any::<usize>(), 1..64_usize).prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
    ]
}

fn spoil(words: &mut [Mortal], world: &World, damage: &Damage) {
    const FIELDS: [usize; 9] = [
        field::UNRECOVERED,
        field::HEAD,
        field::LAST,
        field::DIRECT,
        field::TAIL,
        field::DRAINED,
        field::APPLIED,
        field::COMMITS,
        field::STATE,
    ];
    let (index, log) = (crate::layout::geometry::Geometry::INDEX, world.geometry.log());
    let log_len = words.len() - log;
    match damage {
        Damage::Header(at, value) => words[FIELDS[*at]] = Mortal::from(*value),
        Damage::Slot(at, value) => words[index + at % (log - index)] = Mortal::from(*value),
        Damage::Log(at, value) => words[log + at % log_len] = Mortal::from(*value),
        Damage::Copy(from, to, len) => {
            for offset in 0..*len {
                words[log + (to + offset) % log_len] = words[log + (from + offset) % log_len].clone();
            }
        }
    }
}

/// Values that were ever stored under each key.
fn stored(ops: &[Op]) -> HashSet<(u8, u32)> {
    ops.iter()
        .flat_map(|op| match op {
            Op::Set(key, value) | Op::Over(key, value) => vec![(*key, *value)],
            Op::Late(key) => vec![(*key, LATE)],
            Op::Chunk(entries) | Op::ChunkOver(entries) => entries.clone(),
            Op::Direct(changes, _) => {
                changes.iter().filter_map(|(key, value)| Some((*key, (*value)?))).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

proptest! {
    #[test]
    fn whatever_the_file_holds_nobody_crashes_hangs_or_reads_what_was_never_stored(
        geometry in geometry(),
        ops in proptest::collection::vec(operation(12), 1..60),
        damages in proptest::collection::vec(damage(), 1..12),
        chunk in 0..2000_u64,
    ) {
        let mut world = World::new(geometry);
        for op in &ops {
            world.run(op);
        }
        let mut applied = world.database.applied;
        let known = stored(&ops);
        let mut words = world.words.clone();
        for damage in &damages {
            spoil(&mut words, &world, damage);
        }
        world.words = words;
        let memory = world.memory();
        let mut scratch = Scratch::new();
        let look = |scratch: &mut Scratch| {
            for key in 0..12 {
                let bytes = key_bytes(key);
                let name = Key { kind: 3, spelling: 0, bytes: &bytes };
                if memory.find_beside(name, memory.hash(3, &bytes), scratch).is_some()
                    && let Some(value) = value_of(&View::verified(scratch.words()))
                {
                    assert!(known.contains(&(key, value)), "{key} {value}");
                }
            }
        };
        look(&mut scratch);
        memory.publish(chunk);
        look(&mut scratch);
        memory.scan(applied);
        // As `Tier::lock` does.
        if memory.bounds().is_some() && memory.recover(applied, &mut scratch) && memory.bounds().is_some() {
            look(&mut scratch);
            let _ = memory.append(&mut delete(3));
            let _ = memory.append_all(&mut [delete(1), pending_record(Kind::Fill, 2, 5)], &mut scratch);
            memory.drop_key(3, &key_bytes(1), &mut scratch);
        }
        // Draining comes to an end, in a few steps.
        for _ in 0..1000 {
            let batch = memory.pending(applied, limit(50), &mut scratch);
            for change in batch.changes() {
                let _ = value_of(&change.newest);
            }
            applied = applied.max(batch.seq());
            memory.drained(batch.end(), batch.seq());
            if !memory.is_dirty() || !memory.is_live() {
                break;
            }
        }
        prop_assert!(!memory.is_dirty() || !memory.is_live());
        memory.drop_clean(&mut scratch);
    }
}

#[test]
fn one_damaged_record_is_not_in_the_way_of_the_others() {
    let mut world = World::new(crate::layout::geometry::Geometry { buckets: 8, units: 600 });
    for key in 0..10 {
        world.run(&Op::Set(key, 7));
    }
    let log = world.geometry.log();
    // The length of the third.
    let third =
        (0..600).filter(|unit| world.words[log + unit * 2 + 2].clone().eq_offset(600 + *unit as u64)).nth(2);
    world.words[log + third.expect("ten records") * 2] = Mortal::from(u64::MAX);
    world.drain(usize::MAX);
    let rows: Vec<u8> = world.database.rows.iter().map(|row| row.0).collect();
    assert_eq!(rows, [0, 1, 3, 4, 5, 6, 7, 8, 9]);
    assert!(!world.memory().is_dirty());
}

impl Mortal {
    fn eq_offset(&self, offset: u64) -> bool {
        use crate::log::atomic::Atomic;
        self.load(std::sync::atomic::Ordering::SeqCst) == offset
    }
}
