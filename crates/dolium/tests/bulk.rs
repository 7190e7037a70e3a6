//! Bulk calls beside a loop of single calls, beside other writers, and beyond what the hot tier takes together.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dolium::{Cache, Clock, Expiry, Key, Number, Order, Payload, Policy, PutOptions, Scalar, Value};
use proptest::prelude::*;

const MIN_FILE_SIZE: i64 = 64;

/// Tiers that take nothing, a few records, and all records of a call.
const HOT_SIZES: [i64; 3] = [0, 64 << 10, 1 << 20];

#[derive(Clone, Debug)]
enum Call {
    Set(Vec<(i64, Value)>, Option<f64>, Option<String>),
    Add(Vec<(i64, Value)>, Option<f64>, Option<String>),
    Delete(Vec<i64>),
    Get(Vec<i64>),
    /// What is dirty becomes rows, and what is read next is cold.
    Reopen,
    Advance,
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        Just(Value::Float(f64::INFINITY)),
        ".{0,40}".prop_map(Value::Text),
        // Some go to files, and some fill a small log.
        (0..2000usize).prop_map(|length| Value::Bytes(vec![7; length])),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let items = || prop::collection::vec((0..40i64, value()), 0..90);
    let keys = || prop::collection::vec(0..40i64, 0..400);
    let expire =
        || prop_oneof![Just(None), Just(Some(-1.0)), (1..50).prop_map(|seconds| Some(f64::from(seconds)))];
    let tag = || prop_oneof![Just(None), "[ab]".prop_map(Some)];
    prop_oneof![
        4 => (items(), expire(), tag()).prop_map(|(items, expire, tag)| Call::Set(items, expire, tag)),
        4 => (items(), expire(), tag()).prop_map(|(items, expire, tag)| Call::Add(items, expire, tag)),
        3 => keys().prop_map(Call::Delete),
        2 => keys().prop_map(Call::Get),
        1 => Just(Call::Reopen),
        2 => Just(Call::Advance),
    ]
}

fn payload(value: &Value) -> Payload<'_> {
    match value {
        Value::Int(value) => Payload::Int(*value),
        Value::Float(value) => Payload::Float(*value),
        Value::Text(value) => Payload::Text(value),
        Value::Bytes(value) => Payload::Bytes(value),
        other => unreachable!("no strategy makes {other:?}"),
    }
}

fn put(expire: Option<f64>, tag: Option<&String>) -> PutOptions {
    let expire = expire.map_or(Expiry::Never, Expiry::After);
    PutOptions::new().expire(expire).tag(Scalar::from(tag.map(String::as_str)))
}

fn open(directory: &Path, clock: &Clock, hot_size: i64, policy: Policy) -> Cache {
    Cache::builder(directory)
        .clock(clock.clone())
        .policy(policy)
        .setting("disk_min_file_size", MIN_FILE_SIZE)
        .setting("hot_size", hot_size)
        .setting("statistics", 1)
        // When an expired entry goes is no matter of the call.
        .setting("cull_limit", 0)
        .open()
        .unwrap()
}

/// What a call answers, and what a loop of single calls answers together.
fn both(bulk: &Cache, looped: &Cache, call: &Call) -> [Vec<Option<Value>>; 2] {
    let number = |number: usize| vec![Some(Value::Int(i64::try_from(number).unwrap()))];
    match call {
        Call::Set(items, expire, tag) => {
            let options = put(*expire, tag.as_ref());
            let pairs = items.iter().map(|(key, value)| (*key, payload(value)));
            let stored =
                items.iter().filter(|(key, value)| looped.set_with(*key, payload(value), &options).unwrap());
            [number(bulk.set_many(pairs, &options).unwrap()), number(stored.count())]
        }
        Call::Add(items, expire, tag) => {
            let options = put(*expire, tag.as_ref());
            let pairs = items.iter().map(|(key, value)| (*key, payload(value)));
            let positions = |positions: Vec<usize>| positions.into_iter().flat_map(number).collect();
            let added = (0..items.len()).filter(|at| {
                let (key, value) = &items[*at];
                looped.add(*key, payload(value), &options).unwrap()
            });
            [positions(bulk.add_many(pairs, &options).unwrap()), positions(added.collect())]
        }
        Call::Delete(keys) => {
            let deleted = keys.iter().filter(|key| looped.delete(**key).unwrap()).count();
            let keys: Vec<_> = keys.iter().copied().map(Key::from).collect();
            [number(bulk.delete_many(&keys).unwrap()), number(deleted)]
        }
        Call::Get(keys) => {
            let found = keys.iter().map(|key| looped.get(*key).unwrap()).collect();
            let keys: Vec<_> = keys.iter().copied().map(Key::from).collect();
            [bulk.get_many(&keys).unwrap(), found]
        }
        Call::Reopen | Call::Advance => [Vec::new(), Vec::new()],
    }
}

fn entries(cache: &Cache) -> Vec<(i64, Value, Option<f64>, Scalar)> {
    let entry = |key| {
        let entry = cache.entry(key).unwrap()?;
        Some((key, entry.value, entry.expire_time, entry.tag))
    };
    (0..40).filter_map(entry).collect()
}

/// The keys that have not expired, in the order of insertion.
fn order(cache: &Cache) -> Vec<Key<'static>> {
    let keys = cache.keys(Order::Insertion).unwrap().map(Result::unwrap);
    keys.filter(|key| cache.contains(key.borrowed()).unwrap()).collect()
}

fn run(calls: &[Call], hot_size: i64, policy: Policy) {
    let clock = Clock::manual(1000.0);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let reopened =
        || directories.each_ref().map(|directory| open(directory.path(), &clock, hot_size, policy));
    let [mut bulk, mut looped] = reopened();
    for call in calls {
        match call {
            Call::Advance => clock.advance(Duration::from_secs(20)),
            Call::Reopen => {
                bulk.close().unwrap();
                looped.close().unwrap();
                [bulk, looped] = reopened();
            }
            _ => {}
        }
        let [found, expected] = both(&bulk, &looped, call);
        assert_eq!(found, expected, "{call:?}");
        assert_eq!(entries(&bulk), entries(&looped), "after {call:?}");
    }
    let counted = |cache: &Cache| cache.stats().map(|stats| (stats.hits, stats.misses)).unwrap();
    assert_eq!(counted(&bulk), counted(&looped));
    // A call that deletes takes rows along that have expired, which a single call leaves; what is stored after that is new.
    let removes = calls.iter().any(|call| matches!(call, Call::Delete(_) | Call::Advance));
    let expires =
        calls.iter().any(|call| matches!(call, Call::Set(_, Some(_), _) | Call::Add(_, Some(_), _)));
    if !(removes && expires) {
        assert_eq!(order(&bulk), order(&looped));
    }
    bulk.flush().unwrap();
    assert_eq!(bulk.check(false).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn bulk_calls_agree_with_a_loop_of_single_calls(
        calls in prop::collection::vec(call(), 1..14),
        hot_size in 0..3usize,
        policy in prop_oneof![Just(Policy::None), Just(Policy::LeastRecentlyUsed), Just(Policy::LeastFrequentlyUsed)],
    ) {
        run(&calls, HOT_SIZES[hot_size], policy);
    }
}

/// More keys than the log of a small tier takes together.
const MANY: i64 = 20_000;

fn small(directory: &Path) -> Cache {
    Cache::builder(directory).setting("hot_size", 1 << 20).size_limit(None).open().unwrap()
}

/// Runs `other` again and again, with a number, while `call` runs on another thread. Returns what `call` returns.
fn beside<T: Send>(cache: &Cache, call: impl FnOnce(&Cache) -> T + Send, mut other: impl FnMut(i64)) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let result = call(cache);
            is_done.store(true, Ordering::SeqCst);
            result
        });
        let mut number = 0;
        while !is_done.load(Ordering::SeqCst) {
            other(number);
            number += 1;
        }
        caller.join().unwrap()
    })
}

#[test]
fn other_writers_go_on_while_many_keys_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let cache = small(directory.path());
    let (began, mut longest, mut sets) = (Instant::now(), Duration::ZERO, 0);
    let call = |cache: &Cache| cache.set_many((0..MANY).map(|key| (key, key)), &PutOptions::new()).unwrap();
    let stored = beside(&cache, call, |number| {
        let since = Instant::now();
        cache.set(-1 - number, number).unwrap();
        longest = longest.max(since.elapsed());
        sets += 1;
        std::thread::sleep(Duration::from_millis(1));
    });
    assert_eq!(stored, usize::try_from(MANY).unwrap());
    assert!(longest < began.elapsed() / 2, "a set waited {longest:?} of {:?}", began.elapsed());
    assert_eq!(cache.len().unwrap(), stored + sets);
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn what_others_change_meanwhile_is_before_or_after_a_bulk_call() {
    const BASE: i64 = 1_000_000;
    const BASE_AND_ONE: i64 = BASE + 1;
    let directory = tempfile::tempdir().unwrap();
    let cache = small(directory.path());
    cache.set(5, 0).unwrap();
    let mut sums = vec![0];
    let call = |cache: &Cache| cache.set_many((0..MANY).map(|key| (key, BASE)), &PutOptions::new()).unwrap();
    beside(&cache, call, |_| {
        let sum = cache.incr(5, 1, None, &PutOptions::new()).unwrap();
        let Number::Int(sum) = sum else { panic!("{sum:?}") };
        sums.push(sum);
    });
    // Each sum follows from the one before, or, once, from what the call has stored.
    let jumps: Vec<_> = sums.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    let last = *sums.last().unwrap();
    let found = cache.get(5).unwrap();
    match jumps[..] {
        [] => assert_eq!(found, Some(Value::Int(BASE)), "no sum knows of the call, so it came last"),
        [[_, BASE_AND_ONE]] => assert_eq!(found, Some(Value::Int(last))),
        _ => panic!("{jumps:?}"),
    }
}

#[test]
fn each_key_is_added_once_by_a_bulk_call_or_a_single_one() {
    let directory = tempfile::tempdir().unwrap();
    let cache = small(directory.path());
    let mut singles = 0;
    let call =
        |cache: &Cache| cache.add_many((0..MANY).map(|key| (key, 1)), &PutOptions::new()).unwrap().len();
    let added = beside(&cache, call, |number| {
        let key = MANY - 1 - number % MANY;
        singles += usize::from(cache.add(key, 2, &PutOptions::new()).unwrap());
    });
    let ones = (0..MANY).filter(|key| cache.get(*key).unwrap() == Some(Value::Int(1))).count();
    assert_eq!((added, added + singles), (ones, usize::try_from(MANY).unwrap()));
}

#[test]
fn each_entry_is_deleted_once_by_a_bulk_call_or_a_single_one() {
    let directory = tempfile::tempdir().unwrap();
    let cache = small(directory.path());
    cache.set_many((0..MANY).map(|key| (key, key)), &PutOptions::new()).unwrap();
    let keys: Vec<_> = (0..MANY).map(Key::from).collect();
    let mut singles = 0;
    let deleted = beside(
        &cache,
        |cache| cache.delete_many(&keys).unwrap(),
        |number| {
            singles += usize::from(cache.delete(MANY - 1 - number % MANY).unwrap());
        },
    );
    assert_eq!((deleted + singles, cache.len().unwrap()), (keys.len(), 0));
}

#[test]
fn get_many_sees_a_bulk_call_beyond_the_tier_whole_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let cache = small(directory.path());
    let keys: Vec<_> = (0..MANY).map(Key::from).collect();
    cache.set_many((0..MANY).map(|key| (key, 1)), &PutOptions::new()).unwrap();
    let few = [keys[0].clone(), keys[keys.len() / 2].clone(), keys[keys.len() - 1].clone()];
    let call = |cache: &Cache| cache.set_many((0..MANY).map(|key| (key, 2)), &PutOptions::new()).unwrap();
    let is_one = |found: &[Option<Value>]| found.iter().all(|value| value == &found[0]);
    beside(&cache, call, |_| {
        let found = cache.get_many(&few).unwrap();
        assert!(is_one(&found), "{found:?}");
    });
    assert_eq!(cache.get_many(&few).unwrap(), vec![Some(Value::Int(2)); 3]);
}
