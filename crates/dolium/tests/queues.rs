//! Queues in the hot tier, beside the same operations on a cache without one: both give the same items, under the same keys.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::time::Duration;

use dolium::{Cache, Clock, Counter, Expiry, Key, Policy, PutOptions, Scalar, Side, Value};
use proptest::prelude::*;

const MIDDLE: i64 = 500_000_000_000_000;
const PREFIXES: [Option<&str>; 3] = [None, Some("a"), Some("a-5")];

#[derive(Clone, Debug)]
enum Op {
    Push(usize, Side, usize, Option<u32>, bool),
    Pull(usize, Side),
    Peek(usize, Side),
    /// Any key of a queue, or beside it.
    Set(Key<'static>),
    Delete(Key<'static>),
    /// A change of the database that is in no log: keys near the middle, and whether it is kept.
    Transact(Vec<i64>, bool),
    Evict,
    Expire,
    Clear,
    Advance(u32),
    Drain,
    /// So many sets of another key, which a small log does not hold.
    Lap(i64),
    Reopen,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Front), Just(Side::Back)]
}

fn key() -> impl Strategy<Value = Key<'static>> {
    let near = (-6..6_i64).prop_map(|number| MIDDLE + number);
    prop_oneof![
        6 => near.clone().prop_map(Key::Int),
        6 => near.clone().prop_map(|number| Key::from(format!("a-{number:015}"))),
        3 => near.prop_map(|number| Key::from(format!("a-5-{number:015}"))),
        1 => (1..50_i64).prop_map(Key::Int),
        1 => Just(Key::Float(500_000_000_000_000.5)),
        1 => Just(Key::Float(500_000_000_000_001.0)),
        1 => Just(Key::from("b-500000000000000")),
        1 => Just(Key::from(b"a-500000000000000".to_vec())),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let queue = || prop_oneof![5 => Just(0_usize), 5 => Just(1), 1 => Just(2)];
    let expire = prop_oneof![5 => Just(None), 1 => (1..20_u32).prop_map(Some)];
    let length = prop_oneof![8 => 0..40_usize, 1 => Just(900), 1 => Just(40_000)];
    prop_oneof![
        14 => (queue(), side(), length, expire, any::<bool>())
            .prop_map(|(queue, side, length, expire, is_tagged)| Op::Push(queue, side, length, expire, is_tagged)),
        14 => (queue(), side()).prop_map(|(queue, side)| Op::Pull(queue, side)),
        4 => (queue(), side()).prop_map(|(queue, side)| Op::Peek(queue, side)),
        1 => key().prop_map(Op::Set),
        3 => key().prop_map(Op::Delete),
        1 => (prop::collection::vec(-4..4_i64, 0..4), any::<bool>()).prop_map(|(keys, kept)| Op::Transact(keys, kept)),
        1 => prop_oneof![Just(Op::Evict), Just(Op::Expire), Just(Op::Clear)],
        2 => (1..15_u32).prop_map(Op::Advance),
        2 => Just(Op::Drain),
        1 => (1..400_i64).prop_map(Op::Lap),
        1 => Just(Op::Reopen),
    ]
}

/// What an operation answered, to compare.
type Seen = Option<(Option<Key<'static>>, Value)>;

fn apply(cache: &Cache, op: &Op, number: usize) -> Seen {
    match op {
        Op::Push(queue, side, length, expire, is_tagged) => {
            let value = format!("{number} {}", "x".repeat(*length));
            let expire = expire.map_or(Expiry::Never, |seconds| Expiry::After(f64::from(seconds)));
            let tag = Scalar::from(is_tagged.then_some("tagged"));
            let options = PutOptions::new().expire(expire).tag(tag);
            // Where the next number is taken by a key of another form, as `a-5-…` is for the queue `a`, it fails.
            let key = cache.push(value.as_str(), PREFIXES[*queue], *side, &options).ok();
            return Some((key, Value::Null));
        }
        Op::Pull(queue, side) => {
            let found = cache.pull(PREFIXES[*queue], *side).unwrap();
            return found.map(|(key, entry)| (Some(key), entry.value));
        }
        Op::Peek(queue, side) => {
            let found = cache.peek(PREFIXES[*queue], *side).unwrap();
            return found.map(|(key, entry)| (Some(key), entry.value));
        }
        Op::Set(key) => drop(cache.set(key.clone(), "set").unwrap()),
        Op::Delete(key) => drop(cache.delete(key.clone()).unwrap()),
        Op::Transact(keys, is_kept) => {
            let transaction = cache.transact().unwrap();
            for key in keys {
                cache.set(MIDDLE + key, "transacted").unwrap();
                drop(cache.push("transacted", Some("a"), Side::Front, &PutOptions::new()));
            }
            if *is_kept {
                transaction.commit().unwrap();
            }
        }
        Op::Evict => drop(cache.evict(&"tagged".into()).unwrap()),
        Op::Expire => drop(cache.expire(None).unwrap()),
        Op::Clear => drop(cache.clear().unwrap()),
        Op::Lap(times) => {
            for time in 0..*times {
                cache.set(-1, format!("{time} {}", "x".repeat(200)).as_str()).unwrap();
            }
        }
        Op::Drain => drop(cache.len().unwrap()),
        Op::Advance(_) | Op::Reopen => {}
    }
    None
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
        let [hot, direct] = caches.each_ref().map(|cache| apply(cache, op, number));
        assert_eq!(hot, direct, "operation {number}: {op:?}");
    }
    for prefix in PREFIXES {
        loop {
            let [hot, direct] = caches.each_ref().map(|cache| cache.pull(prefix, Side::Front).unwrap());
            let [hot, direct] = [hot, direct].map(|found| found.map(|(key, entry)| (key, entry.value)));
            assert_eq!(hot, direct, "at the end");
            if hot.is_none() {
                break;
            }
        }
    }
    for cache in &caches {
        cache.flush().unwrap();
    }
    assert_eq!(caches[0].check(false).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn queues_in_the_tier_are_those_of_the_database(
        ops in prop::collection::vec(op(), 1..70),
        hot_size in prop_oneof![Just(64_i64 << 10), Just(1 << 20)],
    ) {
        run(&ops, hot_size);
    }
}

fn direct_writes(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().counted(Counter::Direct)
}

fn opened() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("hot_size", 1 << 20).open().unwrap();
    cache.set("first", 1).unwrap();
    (directory, cache)
}

#[test]
fn pushes_and_pulls_are_no_direct_writes() {
    let (_directory, cache) = opened();
    let before = direct_writes(&cache);
    cache.push("x", Some("jobs"), Side::Back, &PutOptions::new()).unwrap();
    for number in 0..2000_i64 {
        let side = if number % 3 == 0 { Side::Front } else { Side::Back };
        cache.push(number, Some("jobs"), side, &PutOptions::new()).unwrap();
        if number % 2 == 0 {
            assert!(cache.pull(Some("jobs"), Side::Front).unwrap().is_some());
            assert!(cache.peek(Some("jobs"), Side::Back).unwrap().is_some());
        }
    }
    while cache.pull(Some("jobs"), Side::Front).unwrap().is_some() {}
    assert_eq!(direct_writes(&cache), before);
}

#[test]
fn a_long_queue_of_the_database_is_pulled_in_the_tier() {
    let (_directory, cache) = opened();
    let transaction = cache.transact().unwrap();
    for number in 0..1500_i64 {
        cache.push(number, None, Side::Back, &PutOptions::new()).unwrap();
    }
    transaction.commit().unwrap();
    let before = direct_writes(&cache);
    for number in 0..750_i64 {
        for (side, expected) in [(Side::Front, number), (Side::Back, 1499 - number)] {
            let (key, entry) = cache.pull(None, side).unwrap().unwrap();
            assert_eq!((key, entry.value), (Key::Int(MIDDLE + expected), Value::Int(expected)));
        }
    }
    assert_eq!(cache.pull(None, Side::Front).unwrap(), None);
    assert_eq!(direct_writes(&cache), before);
}

#[test]
fn a_push_finds_what_a_large_bulk_write_has_put_behind_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("hot_size", 64 << 10).open().unwrap();
    let push = |cache: &Cache| cache.push(0, None, Side::Back, &PutOptions::new()).unwrap();
    assert_eq!(push(&cache), Key::Int(MIDDLE));
    let value = "x".repeat(100);
    // More than the log takes: it has no record of them.
    let items = (1..=1500).map(|number| (Key::Int(MIDDLE + number), value.as_str()));
    cache.set_many(items, &PutOptions::new()).unwrap();
    assert_eq!(push(&cache), Key::Int(MIDDLE + 1501));
}

#[test]
fn an_odd_key_behind_many_items_keeps_its_place() {
    let (_directory, cache) = opened();
    let push = |number: i64| cache.push(number, None, Side::Back, &PutOptions::new()).unwrap();
    (0..600_i64).for_each(|number| drop(push(number)));
    #[expect(clippy::cast_precision_loss, reason = "below 2 to the 53rd")]
    cache.set(MIDDLE as f64 + 299.5, "odd").unwrap();
    cache.len().unwrap();
    let pulled: Vec<_> = std::iter::from_fn(|| cache.pull(None, Side::Front).unwrap()).collect();
    assert_eq!(pulled.len(), 601);
    assert_eq!(pulled[300].1.value, Value::from("odd"));
}
