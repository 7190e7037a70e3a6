//! A kill before every store, of whatever operation, and again before every store of the recovery.

use super::mortal::live;
use super::world::{Op, Rows, World, delete, get, pending_record};
use crate::layout::geometry::Geometry;
use crate::log::record::Kind;
use crate::log::scratch::Scratch;

const TINY: Geometry = Geometry { buckets: 2, units: 96 };

/// Everything that can happen, with laps, full buckets, chunks over the ring's end, and keys in all states.
fn script() -> Vec<Op> {
    let mut ops = Vec::new();
    for lap in 0..6_u32 {
        let value = lap * 100;
        ops.extend([
            Op::Set(1, value + 1),
            Op::Set(2, value + 2),
            Op::Chunk(vec![(3, value + 3), (1, value + 4), (4, value + 5)]),
            Op::Delete(2),
            Op::Drain(2),
            Op::Set(2, value + 6),
            Op::Read(3),
            Op::Direct(vec![(1, Some(value + 7)), (3, None)], lap % 2 == 0),
            Op::Read(1),
            Op::Set(5, value + 8),
            Op::Evict(4),
            Op::Evict(5),
            Op::Drain(100),
            Op::Read(4),
            Op::Evict(1),
            Op::Direct(vec![(6, Some(value + 9))], false),
            Op::Set(3, value + 10),
            Op::Over(3, value + 11),
            Op::Over(9, 0),
            Op::Set(7, value + 12),
            Op::ChunkOver(vec![(3, value + 13), (7, value + 14), (3, value + 15), (8, value + 16)]),
        ]);
    }
    ops
}

/// Checks the state after a kill: what was done is there, what was not done is not, and what was under way is one or
/// the other.
fn check_after(world: &mut World, when: &str) {
    let (before, after) = (world.truth.clone(), world.next.clone());
    let reopened = world.reopened();
    assert!(same(&reopened, &before) || same(&reopened, &after), "reopened {when}: {reopened:?}");
    if world.holds_t {
        // A drain needs no append lock, and may come first.
        let mut drained = world.clone();
        drained.drain(usize::MAX);
        drained.recover();
        drained.check_clean(when);
        world.recover();
    }
    world.check_clean(when);
    let seen = world.sees();
    let is = |rows: &_| (0..=u8::MAX).all(|key| seen[usize::from(key)] == get(rows, key));
    assert!(is(&before) || is(&after), "seen {when}: neither {before:?} nor {after:?}");
    world.truth = if is(&after) { after } else { before };
    // Whatever the last one left, it is history or it is gone: nothing comes back later.
    for op in [Op::Set(7, 1), Op::Set(7, 2), Op::Drain(1), Op::Set(8, 46), Op::Delete(8), Op::Set(1, 3)] {
        world.run(&op);
        world.check_sees(&world.truth, when);
        // Until a process writes the database, an orphan of it may still come up.
        let reopened = if world.database.orphan.is_some() { world.truth.clone() } else { world.reopened() };
        assert!(same(&reopened, &world.truth), "reopened later {when}: {reopened:?} for {:?}", world.truth);
    }
}

fn same(one: &[(u8, u32)], two: &[(u8, u32)]) -> bool {
    let sorted = |rows: &[(u8, u32)]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    sorted(one) == sorted(two)
}

#[test]
fn a_kill_before_any_store_leaves_the_state_before_or_after_the_operation() {
    let mut world = World::new(TINY);
    let (mut kills, mut twice) = (0, 0);
    for (at, op) in script().iter().enumerate() {
        for stores in 0.. {
            let mut victim = world.clone();
            if live(stores, || victim.run(op)).is_some() {
                world = victim;
                break;
            }
            kills += 1;
            let when = format!("after {stores} stores of operation {at}, {op:?}");
            for again in 0.. {
                let mut heir = victim.clone();
                if !heir.holds_t || live(again, || heir.recover()).is_some() {
                    check_after(&mut heir, &when);
                    break;
                }
                twice += 1;
                heir.holds_t = true;
                check_after(&mut heir, &format!("{when}, and {again} of its recovery"));
            }
        }
        world.check_sees(&world.truth, "in passing");
    }
    println!("{kills} kills, {twice} more in recovery");
    assert!(kills > 1000 && twice > 5000);
}

#[test]
fn what_a_dead_writer_stored_whole_has_happened_and_the_rest_never_comes_back() {
    let mut world = World::new(TINY);
    world.run(&Op::Set(9, 0));
    let chunk = Op::Chunk(vec![(1, 23), (2, 23), (3, 23)]);
    let mut outcomes = std::collections::BTreeSet::new();
    for stores in 0.. {
        let mut victim = world.clone();
        if live(stores, || victim.run(&chunk)).is_some() {
            break;
        }
        victim.recover();
        outcomes.insert(victim.look(1).is_some());
        assert_eq!(victim.look(1), victim.look(3), "all or none");
        // The same length as the first of the chunk, so that the others stay where they are.
        victim.truth = if victim.look(1).is_some() { victim.next.clone() } else { victim.truth.clone() };
        victim.run(&Op::Set(9, 46));
        assert!(same(&victim.reopened(), &victim.truth));
    }
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn readers_see_all_of_a_chunk_or_none_wherever_its_writer_dies() {
    let mut world = World::new(TINY);
    for op in [Op::Set(1, 1), Op::Set(2, 1), Op::Drain(1), Op::Set(3, 1), Op::Set(1, 2), Op::Read(4)] {
        world.run(&op);
    }
    let mut outcomes = [0, 0];
    for lap in 1..5 {
        let value = lap * 100;
        let chunk = Op::Chunk(vec![(1, 7), (2, value + 1), (1, value + 2), (4, value + 3), (1, value + 4)]);
        for stores in 0.. {
            let mut victim = world.clone();
            if live(stores, || victim.run(&chunk)).is_some() {
                world = victim;
                break;
            }
            let (before, after) = (victim.truth.clone(), victim.next.clone());
            let sees_all = |world: &World, when: &str| {
                let seen = world.sees();
                let is = |rows: &Rows| (0..=u8::MAX).all(|key| seen[usize::from(key)] == get(rows, key));
                assert!(is(&before) || is(&after), "after {stores} stores {when}: {before:?} {after:?}");
                is(&after)
            };
            let is_there = sees_all(&victim, "without its recovery");
            outcomes[usize::from(is_there)] += 1;
            for again in 0.. {
                let mut heir = victim.clone();
                let is_done = !heir.holds_t || live(again, || heir.recover()).is_some();
                let when = format!("and {again} of the recovery");
                assert!(sees_all(&heir, &when) || !is_there, "what was seen is gone {when}");
                heir.drain(usize::MAX);
                assert!(sees_all(&heir, &when) || !is_there, "what was seen is drained away {when}");
                if is_done {
                    break;
                }
            }
        }
        world.drain(1);
    }
    assert!(outcomes.into_iter().all(|count| count > 10), "{outcomes:?}");
}

#[test]
fn a_commit_that_nothing_shows_is_there_before_the_recovery_or_never() {
    let mut world = World::new(TINY);
    world.run(&Op::Set(1, 1));
    world.run(&Op::Set(2, 1));
    world.drain(usize::MAX);
    let mut orphans = 0;
    for op in [Op::Direct(vec![(2, Some(2))], false), Op::Evict(2)] {
        for (stores, is_revived) in (0..).flat_map(|stores| [(stores, false), (stores, true)]) {
            let mut victim = world.clone();
            if live(stores, || victim.run(&op)).is_some() {
                break;
            }
            if victim.database.orphan.is_none() || !victim.holds_t {
                continue;
            }
            orphans += 1;
            if is_revived {
                victim.recover_log();
                victim.truth = victim.next.clone();
            }
            victim.recover();
            victim.run(&Op::Set(3, 3));
            // All processes die, and the first that opens the database lets SQLite recover its log.
            assert!(same(&victim.reopened(), &victim.truth), "{op:?} at store {stores}");
        }
    }
    assert!(orphans > 2);
}

#[test]
fn a_panicking_owner_loses_nothing() {
    let world = World::new(TINY);
    let memory = world.memory();
    memory.append(&mut pending_record(Kind::Set, 1, 1)).expect("room");
    memory.append(&mut delete(1)).expect("room");
    assert!(memory.recover(0, &mut Scratch::new()));
    assert_eq!(world.look(1), None);
    assert_eq!(world.reopened(), Vec::new());
}

#[test]
fn what_a_direct_commit_deleted_stays_away_though_a_dead_drainer_left_its_record_behind() {
    // The drainer dies before it moves `drained`, the committer before it counts; both at every store.
    let mut resurrections = 0;
    for drain in 0..8 {
        for direct in 0..12 {
            let mut world = World::new(TINY);
            world.run(&Op::Set(4, 0));
            let _ = live(drain, || world.run(&Op::Drain(1)));
            world.recover_log();
            if live(direct, || world.run(&Op::Direct(vec![(4, None)], false))).is_none() && world.holds_t {
                world.recover_log();
                world.recover();
                let is_deleted = world.database.rows.is_empty() && world.database.applied == 2;
                resurrections += u32::from(is_deleted);
                assert!(!is_deleted || world.look(4).is_none(), "{drain} {direct}");
            }
        }
    }
    assert!(resurrections > 0);
}
