//! Deques in the hot tier, beside the same operations on a plain list: what is said of a position must be so.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test looks at the database itself")]

use std::time::Duration;

use dolium::host::{Position, deque_len, first_number, item_at, push_within, replace_at};
use dolium::{Cache, Clock, Counter, Expiry, Key, Order, Payload, Policy, PutOptions, Side, Value};
use proptest::prelude::*;

const MIDDLE: i64 = 500_000_000_000_000;

#[derive(Clone, Debug)]
enum Op {
    Look(i64),
    Replace(i64, usize),
    PushWithin(Side, u64, usize),
    Push(Side, bool),
    Pull(Side),
    /// A key of the queue, or another, is set or removed.
    Set(Key<'static>),
    Delete(Key<'static>),
    /// The same in no log.
    Transact(Vec<i64>),
    DeleteMany(Vec<i64>),
    Evict,
    Clear,
    Advance(u32),
    Drain,
    Lap(i64),
    Reopen,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Front), Just(Side::Back)]
}

fn key() -> impl Strategy<Value = Key<'static>> {
    prop_oneof![
        8 => (-4..4_i64).prop_map(|number| Key::Int(MIDDLE + number)),
        1 => Just(Key::Float(500_000_000_000_000.5)),
        1 => Just(Key::Int(-1)),
        1 => Just(Key::from("other")),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let length = || prop_oneof![8 => 0..40_usize, 1 => Just(900), 1 => Just(40_000)];
    prop_oneof![
        16 => (-8..8_i64).prop_map(Op::Look),
        6 => (-8..8_i64, length()).prop_map(|(position, length)| Op::Replace(position, length)),
        10 => (side(), 0..8_u64, length()).prop_map(|(side, most, length)| Op::PushWithin(side, most, length)),
        10 => (side(), prop::bool::weighted(0.03)).prop_map(|(side, expires)| Op::Push(side, expires)),
        4 => side().prop_map(Op::Pull),
        1 => key().prop_map(Op::Set),
        2 => key().prop_map(Op::Delete),
        1 => prop::collection::vec(-4..4_i64, 0..4).prop_map(Op::Transact),
        1 => prop::collection::vec(-4..4_i64, 0..4).prop_map(Op::DeleteMany),
        1 => Just(Op::Evict),
        1 => Just(Op::Clear),
        1 => (1..15_u32).prop_map(Op::Advance),
        3 => Just(Op::Drain),
        1 => (1..400_i64).prop_map(Op::Lap),
        1 => Just(Op::Reopen),
    ]
}

type Item = (Key<'static>, Value);

/// All keys in their order, with their values.
fn items(cache: &Cache) -> Vec<Item> {
    let keys: Vec<_> = cache.keys(Order::Sorted).unwrap().map(Result::unwrap).collect();
    keys.into_iter().filter_map(|key| cache.get(key.clone()).unwrap().map(|value| (key, value))).collect()
}

fn at(items: &[Item], position: i64) -> Option<&Item> {
    let length = i64::try_from(items.len()).unwrap();
    usize::try_from(if position < 0 { position + length } else { position }).ok().and_then(|at| items.get(at))
}

fn tagged() -> PutOptions {
    PutOptions::new().tag("tagged")
}

/// Looks in the tier at once, and then at all keys, which drains.
fn look(cache: &Cache, position: i64) {
    let (known, length) = (item_at(cache, position).unwrap(), deque_len(cache).unwrap());
    let all = items(cache);
    match known {
        Position::Item(entry) => assert_eq!(Some(&entry.value), at(&all, position).map(|(_, value)| value)),
        Position::Outside => assert_eq!(at(&all, position), None),
        Position::Unknown => {}
    }
    if let Some(length) = length {
        assert_eq!(length, all.len() as u64);
    }
}

fn apply(hot: &Cache, direct: &Cache, op: &Op, number: usize) {
    let text = |length: &usize| format!("{number} {}", "x".repeat(*length));
    let both = [hot, direct];
    match op {
        Op::Look(position) => look(hot, *position),
        Op::Replace(position, length) => {
            let (all, value) = (items(direct), text(length));
            match replace_at(hot, *position, value.as_str()).unwrap() {
                Position::Item(()) => {
                    let (key, _) = at(&all, *position).unwrap().clone();
                    direct.set(key, value.as_str()).unwrap();
                }
                Position::Outside => assert_eq!(at(&all, *position), None),
                Position::Unknown => {}
            }
        }
        Op::PushWithin(side, most, length) => {
            let value = text(length);
            if push_within(hot, value.as_str(), *side, *most).unwrap() {
                direct.push(value.as_str(), None, *side, &PutOptions::new()).unwrap();
                if direct.len().unwrap() as u64 > *most {
                    let other = if *side == Side::Back { Side::Front } else { Side::Back };
                    direct.pull(None, other).unwrap();
                }
                assert!(direct.len().unwrap() as u64 <= *most);
            }
        }
        Op::Push(side, expires) => {
            let expire = if *expires { Expiry::After(10.0) } else { Expiry::Never };
            let value = format!("{number}");
            drop(both.map(|cache| cache.push(value.as_str(), None, *side, &tagged().expire(expire)).ok()));
        }
        Op::Pull(side) => drop(both.map(|cache| cache.pull(None, *side).unwrap())),
        Op::Set(key) => drop(both.map(|cache| cache.set(key.clone(), "set").unwrap())),
        Op::Delete(key) => drop(both.map(|cache| cache.delete(key.clone()).unwrap())),
        Op::Transact(numbers) => both.iter().for_each(|cache| {
            let transaction = cache.transact().unwrap();
            for number in numbers {
                cache.set(MIDDLE + number, "transacted").unwrap();
            }
            transaction.commit().unwrap();
        }),
        Op::DeleteMany(numbers) => both.iter().for_each(|cache| {
            let keys: Vec<_> = numbers.iter().map(|number| Key::Int(MIDDLE + number)).collect();
            cache.delete_many(&keys).unwrap();
        }),
        Op::Evict => drop(both.map(|cache| cache.evict(&"tagged".into()).unwrap())),
        Op::Clear => drop(both.map(|cache| cache.clear().unwrap())),
        Op::Lap(times) => {
            for time in 0..*times {
                let value = format!("{time} {}", "x".repeat(200));
                for cache in both {
                    drop(cache.set(-1, value.as_str()));
                }
            }
            for cache in both {
                drop(cache.delete(-1));
            }
        }
        Op::Drain => drop(hot.len().unwrap()),
        Op::Advance(_) | Op::Reopen => {}
    }
}

fn run(ops: &[Op], hot_size: i64) {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let clock = Clock::manual(1000.0);
    let open = |at: usize| {
        Cache::builder(directories[at].path())
            .clock(clock.clone())
            .policy(Policy::None)
            .setting("cull_limit", 1_000_000)
            .setting("hot_size", if at == 0 { hot_size } else { 0 })
            .open()
            .unwrap()
    };
    let mut caches = [open(0), open(1)];
    for (number, op) in ops.iter().enumerate() {
        if let Op::Advance(seconds) = op {
            clock.advance(Duration::from_secs((*seconds).into()));
        }
        if let Op::Reopen = op {
            for cache in &caches {
                cache.close().unwrap();
            }
            caches = [open(0), open(1)];
        }
        apply(&caches[0], &caches[1], op, number);
        if number % 7 == 0 {
            let [hot, direct] = caches.each_ref().map(items);
            assert_eq!(hot, direct, "operation {number}: {op:?}");
        }
    }
    let [hot, direct] = caches.each_ref().map(items);
    assert_eq!(hot, direct, "at the end");
    caches[0].flush().unwrap();
    assert_eq!(caches[0].check(false).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn positions_in_the_tier_are_those_of_all_keys(
        ops in prop::collection::vec(op(), 1..70),
        hot_size in prop_oneof![Just(64_i64 << 10), Just(1 << 20)],
    ) {
        run(&ops, hot_size);
    }
}

fn opened(items: i64) -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache =
        Cache::builder(directory.path()).policy(Policy::None).setting("hot_size", 1 << 20).open().unwrap();
    for number in 0..items {
        cache.push(number, None, Side::Back, &PutOptions::new()).unwrap();
    }
    (directory, cache)
}

fn counted(cache: &Cache, counter: Counter) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().counted(counter)
}

fn int(cache: &Cache, position: i64) -> i64 {
    match item_at(cache, position).unwrap() {
        Position::Item(entry) => match entry.value {
            Value::Int(number) => number,
            other => panic!("{other:?}"),
        },
        other => panic!("{position}: {other:?}"),
    }
}

#[test]
fn a_deque_by_position_makes_no_direct_write() {
    let (_directory, cache) = opened(1000);
    let before = counted(&cache, Counter::Direct);
    for number in 0..1000_i64 {
        assert_eq!(int(&cache, number), number);
        assert_eq!(int(&cache, number - 1000), number);
        assert_eq!(replace_at(&cache, number, -number).unwrap(), Position::Item(()));
        assert_eq!(int(&cache, number), -number);
        assert_eq!(deque_len(&cache).unwrap(), Some(1000));
        assert_eq!(item_at(&cache, 1000).unwrap(), Position::Outside);
        assert_eq!(replace_at(&cache, -1001, 0).unwrap(), Position::Outside);
        assert!(!push_within(&cache, 0, Side::Back, 999).unwrap(), "more than one must go");
        assert!(push_within(&cache, 1000, Side::Back, 1001).unwrap());
        assert_eq!(int(&cache, -1), 1000);
        cache.pull(None, Side::Back).unwrap();
    }
    assert_eq!(counted(&cache, Counter::Direct), before);
}

#[test]
fn a_full_deque_gives_an_item_for_each_without_a_direct_write() {
    let (_directory, cache) = opened(3);
    let before = counted(&cache, Counter::Direct);
    let all = || (0..3).map(|position| int(&cache, position)).collect::<Vec<_>>();
    for number in 10..5000 {
        assert!(push_within(&cache, number, Side::Back, 3).unwrap());
        assert_eq!(int(&cache, -1), number);
        assert_eq!(deque_len(&cache).unwrap(), Some(3));
    }
    assert_eq!(all(), [4997, 4998, 4999]);
    assert!(push_within(&cache, 7, Side::Front, 3).unwrap());
    assert_eq!(all(), [7, 4997, 4998]);
    assert!(!push_within(&cache, 8, Side::Front, 2).unwrap(), "two would have to go");
    assert!(!push_within(&cache, 8, Side::Front, 0).unwrap(), "none would be left");
    assert_eq!(all(), [7, 4997, 4998]);
    assert_eq!(counted(&cache, Counter::Direct), before);
    assert_eq!(items(&cache).len(), 3);
}

#[test]
fn a_hole_another_key_and_a_transaction_are_declined() {
    let (_directory, cache) = opened(5);
    let is_known = || deque_len(&cache).unwrap().is_some();
    assert!(is_known());
    cache.set("other", 1).unwrap();
    assert!(!is_known());
    cache.delete("other").unwrap();
    cache.len().unwrap();
    assert!(is_known(), "and later it is one queue again");
    cache.delete(MIDDLE + 2).unwrap();
    assert!(!is_known());
    cache.set(MIDDLE + 2, 2).unwrap();
    cache.len().unwrap();
    assert!(is_known());
    let transaction = cache.transact().unwrap();
    assert!(!is_known());
    assert_eq!(item_at(&cache, 0).unwrap(), Position::Unknown);
    assert!(!push_within(&cache, 5, Side::Back, 9).unwrap(), "in a transaction");
    transaction.commit().unwrap();
    cache.push(5, None, Side::Back, &PutOptions::new().expire(Expiry::After(100.0))).unwrap();
    assert!(!is_known(), "an item that expires");
}

#[test]
fn a_commit_without_a_number_makes_positions_unknown() {
    let (_directory, cache) = opened(100);
    assert_eq!(int(&cache, 7), 7);
    cache.delete_many(&[Key::Int(MIDDLE)]).unwrap();
    assert_eq!(int(&cache, 7), 8);
    // In no log: a call that the log does not take is a transaction beside others, and so has no sequence number.
    let long = "x".repeat(9000);
    let taken: Vec<_> =
        (0..200_i64).map(|number| (Key::Int(MIDDLE + 100 + number), Payload::Text(long.as_str()))).collect();
    cache.set_many(taken, &PutOptions::new()).unwrap();
    let length = deque_len(&cache).unwrap();
    assert_eq!(length, Some(299));
    assert_eq!(int(&cache, 98), 99);
}

#[test]
fn a_fraction_is_no_position_though_a_hole_has_its_number() {
    let is_noted = |directory: &tempfile::TempDir| {
        let database = rusqlite::Connection::open(directory.path().join("cache.db")).unwrap();
        let select = "SELECT count(*) FROM Dolium WHERE key = 'integers'";
        database.query_row(select, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    };
    let (directory, cache) = opened(0);
    cache.set(MIDDLE - 2, "first").unwrap();
    cache.set(MIDDLE, "third").unwrap();
    cache.set(Key::Float(500_000_000_000_000.5), "other").unwrap();
    assert!(is_noted(&directory));
    assert_eq!(cache.len().unwrap(), 3);
    assert!(!is_noted(&directory));
    assert_eq!(deque_len(&cache).unwrap(), None);
    assert_eq!(first_number(&cache).unwrap(), None);
    assert_eq!(item_at(&cache, 2).unwrap(), Position::Unknown);
    cache.delete(Key::Float(500_000_000_000_000.5)).unwrap();
    cache.delete(MIDDLE - 2).unwrap();
    cache.len().unwrap();
    assert_eq!(deque_len(&cache).unwrap(), Some(1));

    // The same where the database says that all keys are integers: by a drain, in a transaction, and beside the log.
    let set_all = |cache: &Cache, numbers: std::ops::Range<i64>, length: usize| {
        let value = "x".repeat(length);
        let odd = Key::Float(500_000_000_000_002.5);
        let keys = numbers.filter(|number| *number != 2).map(|number| Key::Int(MIDDLE + number)).chain([odd]);
        let items: Vec<_> = keys.map(|key| (key, Payload::Text(value.as_str()))).collect();
        cache.set_many(items, &PutOptions::new()).unwrap();
    };
    for case in 0..3 {
        cache.clear().unwrap();
        cache.push("first", None, Side::Back, &PutOptions::new()).unwrap();
        cache.len().unwrap();
        assert_eq!(deque_len(&cache).unwrap(), Some(1));
        match case {
            0 => set_all(&cache, 1..4, 10),
            1 => {
                let transaction = cache.transact().unwrap();
                set_all(&cache, 1..4, 10);
                transaction.commit().unwrap();
            }
            _ => set_all(&cache, 1..200, 9000),
        }
        let length = cache.len().unwrap();
        assert_eq!(length, if case < 2 { 4 } else { 200 });
        assert_eq!(deque_len(&cache).unwrap(), None, "case {case}");
        assert_eq!(first_number(&cache).unwrap(), None, "case {case}");
        cache.delete(Key::Float(500_000_000_000_002.5)).unwrap();
        cache.set(MIDDLE + 2, "the hole").unwrap();
        cache.len().unwrap();
        assert_eq!(deque_len(&cache).unwrap(), Some(length as u64), "case {case}");
        assert_eq!(first_number(&cache).unwrap(), Some(MIDDLE));
        // Seen so by a look at each key; the next drain notes it.
        cache.push("last", None, Side::Back, &PutOptions::new()).unwrap();
        cache.flush().unwrap();
        assert!(is_noted(&directory), "case {case}");
    }
}

#[test]
fn a_key_of_another_program_is_no_integer_by_the_note_of_before() {
    let (directory, cache) = opened(3);
    cache.delete(MIDDLE + 1).unwrap();
    cache.flush().unwrap();
    assert_eq!(first_number(&cache).unwrap(), None, "a hole");
    let database = rusqlite::Connection::open(directory.path().join("cache.db")).unwrap();
    let insert =
        "INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 1, 1, 1, 1, 7)";
    // As many keys as lie from the first to the last, and the database has said of the first three that they are integers.
    database.execute(insert, [500_000_000_000_001.5]).unwrap();
    assert_eq!((cache.len().unwrap(), first_number(&cache).unwrap()), (3, None));
    assert_eq!((deque_len(&cache).unwrap(), item_at(&cache, 1).unwrap()), (None, Position::Unknown));
    database.execute("DELETE FROM Cache WHERE key = ?", [500_000_000_000_001.5]).unwrap();
    database.execute(insert, [MIDDLE + 1]).unwrap();
    assert_eq!((cache.len().unwrap(), first_number(&cache).unwrap()), (3, Some(MIDDLE)));
}
