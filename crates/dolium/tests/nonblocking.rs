//! What is changed in the hot tier without waiting is what the general way would have made of it.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::time::Duration;

use dolium::{Cache, Entry, Error, Expiry, Number, Payload, PutOptions, Value, host};
use proptest::prelude::*;

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[derive(Clone, Debug)]
enum Op {
    Set(Stored, Times),
    Incr(Number, Option<Number>),
    Delete,
    Touch,
    /// Adds in a transaction, which is committed or not.
    Transact(bool),
    Close,
    Drain,
}

#[derive(Clone, Debug)]
enum Stored {
    Int(i64),
    Float(f64),
    /// From 64 on in a file.
    Bytes(usize),
}

#[derive(Clone, Debug)]
enum Times {
    Plain,
    /// With a tag, and an old entry's store time is kept.
    Kept,
    Expired,
    Expires,
}

fn operation() -> impl Strategy<Value = Op> {
    let stored = prop_oneof![
        (0..9_i64).prop_map(Stored::Int),
        Just(Stored::Int(i64::MAX)),
        Just(Stored::Float(0.5)),
        (0..200_usize).prop_map(Stored::Bytes),
    ];
    let times = prop_oneof![3 => Just(Times::Plain), 1 => Just(Times::Kept), 1 => Just(Times::Expired), 1 => Just(Times::Expires)];
    let number = || prop_oneof![4 => Just(Number::Int(1)), 2 => Just(Number::Float(0.25)), 1 => Just(Number::Float(f64::NAN))];
    prop_oneof![
        8 => (stored, times).prop_map(|(value, times)| Op::Set(value, times)),
        12 => (number(), proptest::option::of(number())).prop_map(|(delta, default)| Op::Incr(delta, default)),
        4 => Just(Op::Delete),
        2 => Just(Op::Touch),
        1 => any::<bool>().prop_map(Op::Transact),
        1 => Just(Op::Close),
        1 => Just(Op::Drain),
    ]
}

/// A small tier, so that it is full now and then.
fn open(directory: &tempfile::TempDir) -> Cache {
    let builder = Cache::builder(directory.path()).setting("hot_size", 64 << 10);
    builder.setting("disk_min_file_size", 64).open().unwrap()
}

/// Does one thing, in memory first if that is wanted, and tells how it ended.
fn run(cache: &Cache, key: &str, op: &Op, tries: bool) -> String {
    match op {
        Op::Set(value, times) => {
            let put = match times {
                Times::Plain => PutOptions::new(),
                Times::Kept => PutOptions::new().tag("tag").keep(true),
                Times::Expired => PutOptions::new().expire_in(Duration::ZERO),
                Times::Expires => PutOptions::new().expire_in(Duration::from_secs(1000)),
            };
            let bytes = vec![7; if let Stored::Bytes(length) = value { *length } else { 0 }];
            let payload = match value {
                Stored::Int(value) => Payload::Int(*value),
                Stored::Float(value) => Payload::Float(*value),
                Stored::Bytes(_) => Payload::Bytes(&bytes),
            };
            format!("{:?}", cache.set_with(key, payload, &put))
        }
        Op::Incr(delta, default) => {
            let quick = if tries { host::try_incr(cache, &key.into(), *delta) } else { None };
            let sum = quick.map_or_else(|| cache.incr(key, *delta, *default, &PutOptions::new()), Ok);
            format!("{sum:?}")
        }
        Op::Delete => {
            let quick = tries && host::try_delete(cache, &key.into());
            format!("{:?}", if quick { Ok(true) } else { cache.delete(key) })
        }
        Op::Touch => format!("{:?}", cache.touch(key, Expiry::After(Duration::from_secs(500).as_secs_f64()))),
        Op::Transact(commits) => {
            let transaction = cache.transact().unwrap();
            assert_eq!(host::try_incr(cache, &key.into(), 1), None);
            assert!(!host::try_delete(cache, &key.into()));
            let sum = cache.incr(key, 1, Some(Number::Int(0)), &PutOptions::new());
            if *commits {
                transaction.commit().unwrap();
            }
            format!("{sum:?}")
        }
        Op::Close => format!("{:?}", cache.close()),
        Op::Drain => format!("{:?}", cache.len().is_ok()),
    }
}

fn shown(cache: &Cache, key: &str) -> String {
    let shown = |Entry { value, expire_time, tag, store_time, .. }: Entry| {
        // A pickle's signature depends on nothing that differs.
        (value, tag, expire_time.is_some(), store_time > 1e11)
    };
    format!("{:?}", cache.entry(key).unwrap().map(shown))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_try_is_as_the_general_way(
        ops in proptest::collection::vec((0..KEYS.len(), operation()), 1..300),
    ) {
        let (quick, slow) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (quick, slow) = (open(&quick), open(&slow));
        for (at, op) in &ops {
            let key = KEYS[*at];
            prop_assert_eq!(run(&quick, key, op, true), run(&slow, key, op, false), "{} {:?}", key, op);
            prop_assert_eq!(shown(&quick, key), shown(&slow, key), "{} after {:?}", key, op);
        }
        for cache in [&quick, &slow] {
            cache.close().unwrap();
            prop_assert!(cache.check(false).unwrap().is_empty());
        }
        for key in KEYS {
            prop_assert_eq!(shown(&quick, key), shown(&slow, key), "{}", key);
        }
    }
}

#[test]
fn a_sum_that_is_no_number_is_stored_and_never_in_a_file() {
    for hot_size in [0, -1] {
        let directory = tempfile::tempdir().unwrap();
        let builder = Cache::builder(directory.path()).setting("hot_size", hot_size);
        let cache = builder.setting("disk_min_file_size", 0).open().unwrap();
        cache.set("known", 1).unwrap();
        assert!(cache.contains("known").unwrap());
        let quick = host::try_incr(&cache, &"known".into(), f64::NAN);
        assert_eq!(quick, None, "to sign it takes the key's file");
        cache.incr("known", f64::NAN, None, &PutOptions::new()).unwrap();
        assert!(matches!(cache.get("known").unwrap(), Some(Value::Pickle { signed: true, .. })));
        assert_eq!(cache.info("known").unwrap().unwrap().path, None);
        assert!(matches!(cache.incr("known", 1, None, &PutOptions::new()), Err(Error::NotANumber)));
    }
}

#[test]
fn a_removal_of_many_counts_each_living_key_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    for key in ["a", "b", "c"] {
        cache.set(key, 1).unwrap();
    }
    cache.set_with("d", 1, &PutOptions::new().expire_in(Duration::ZERO)).unwrap();
    assert!(cache.contains("c").unwrap(), "from now on the tier answers");
    let keys = ["a", "b", "a", "d"].map(Into::into);
    assert_eq!(host::try_delete_many(&cache, &keys), Some(2));
    assert_eq!(host::try_delete_many(&cache, &keys), Some(0), "they are gone");
    assert!(cache.contains("c").unwrap());
    assert_eq!(cache.len().unwrap(), 1, "the expired one went, too");
    assert!(cache.contains("c").unwrap());
    assert_eq!(host::try_delete_many(&cache, &["c", "a"].map(Into::into)), Some(1));
    assert_eq!(host::try_delete_many(&cache, &[]), Some(0));
}

#[test]
fn a_removal_of_many_with_an_unknown_key_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    cache.set("a", 1).unwrap();
    assert!(cache.contains("a").unwrap(), "from now on the tier answers");
    assert_eq!(host::try_delete_many(&cache, &["a", "unknown"].map(Into::into)), None);
    assert!(cache.contains("a").unwrap());
}
