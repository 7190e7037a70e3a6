//! The engine against a plain map with a manual clock: whatever the order of operations, both agree, and
//! `check` finds nothing wrong in the end.

#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use dolium::{Cache, Clock, Expiry, Number, Order, Payload, Policy, PutOptions, Scalar, Side, Value};
use proptest::prelude::*;
use proptest::strategy::Union;

/// Small files, so that every kind of value is also met outside the row.
const MIN_FILE_SIZE: i64 = 64;

#[derive(Clone, Debug)]
enum Operation {
    Set(i64, Value, Option<f64>, Option<String>),
    Add(i64, Value, Option<f64>),
    Touch(i64, Option<f64>),
    Incr(i64, i64),
    Delete(i64),
    Pop(i64),
    Get(i64),
    Evict(String),
    Expire,
    Clear,
    Push(Value, bool),
    Pull(bool),
    SetMany(Vec<(i64, Value)>),
    DeleteMany(Vec<i64>),
    Transaction(Vec<(i64, Value)>, bool),
    Advance(u32),
    Reopen,
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-1e9..1e9).prop_map(Value::Float),
        ".{0,40}".prop_map(Value::Text),
        "[a-z\r\n]{0,200}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
    ]
}

fn key() -> impl Strategy<Value = i64> {
    // Not above 0: those numbers are the queue's.
    -8..=0i64
}

fn tag() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), "[ab]".prop_map(Some)]
}

fn expire() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), (1..50).prop_map(|seconds| Some(f64::from(seconds)))]
}

fn operation() -> Union<BoxedStrategy<Operation>> {
    Union::new_weighted(vec![
        (8, (key(), value(), expire(), tag()).prop_map(|(k, v, e, t)| Operation::Set(k, v, e, t)).boxed()),
        (3, (key(), value(), expire()).prop_map(|(k, v, e)| Operation::Add(k, v, e)).boxed()),
        (2, (key(), expire()).prop_map(|(k, e)| Operation::Touch(k, e)).boxed()),
        (3, (key(), any::<i64>()).prop_map(|(k, d)| Operation::Incr(k, d)).boxed()),
        (3, key().prop_map(Operation::Delete).boxed()),
        (3, key().prop_map(Operation::Pop).boxed()),
        (6, key().prop_map(Operation::Get).boxed()),
        (1, "[ab]".prop_map(Operation::Evict).boxed()),
        (1, Just(Operation::Expire).boxed()),
        (1, Just(Operation::Clear).boxed()),
        (2, (value(), any::<bool>()).prop_map(|(v, front)| Operation::Push(v, front)).boxed()),
        (2, any::<bool>().prop_map(Operation::Pull).boxed()),
        (2, prop::collection::vec((key(), value()), 0..6).prop_map(Operation::SetMany).boxed()),
        (1, prop::collection::vec(key(), 0..6).prop_map(Operation::DeleteMany).boxed()),
        (
            2,
            (prop::collection::vec((key(), value()), 0..6), any::<bool>())
                .prop_map(|(items, commit)| Operation::Transaction(items, commit))
                .boxed(),
        ),
        (3, (1..30u32).prop_map(Operation::Advance).boxed()),
        (1, Just(Operation::Reopen).boxed()),
    ])
}

#[derive(Clone, Debug)]
struct Item {
    value: Value,
    expire: Option<f64>,
    tag: Option<String>,
    order: u64,
}

/// What the engine should hold: by key, with the order of insertion.
#[derive(Clone, Debug, Default)]
struct Model {
    items: BTreeMap<i64, Item>,
    inserted: u64,
    now: f64,
}

const MIDDLE: i64 = 500_000_000_000_000;

impl Model {
    fn alive(&self, key: i64) -> Option<&Item> {
        self.items.get(&key).filter(|item| item.expire.is_none_or(|time| time > self.now))
    }

    fn set(&mut self, key: i64, value: Value, expire: Option<f64>, tag: Option<String>) {
        self.put(key, value, expire, tag);
        self.cull();
    }

    fn put(&mut self, key: i64, value: Value, expire: Option<f64>, tag: Option<String>) {
        let expire = expire.map(|seconds| self.now + seconds);
        let order = self.items.get(&key).map(|item| item.order);
        let order = order.unwrap_or_else(|| {
            self.inserted += 1;
            self.inserted
        });
        self.items.insert(key, Item { value, expire, tag, order });
    }

    /// When entries that have expired are removed is the engine's business; that no other is, is not.
    fn forget_expired(&mut self, cache: &Cache, after: &Operation) {
        let there: Vec<_> = cache.keys(Order::Insertion).unwrap().map(Result::unwrap).collect();
        let gone = |key: &i64| !there.contains(&dolium::Key::Int(*key));
        let lost: Vec<_> = self.items.keys().filter(|key| gone(key) && self.alive(**key).is_some()).collect();
        assert!(lost.is_empty(), "{lost:?} are gone after {after:?}");
        self.items.retain(|key, _| !gone(key));
    }

    /// Each write takes expired entries along; the model never has more than the engine's `cull_limit`.
    fn cull(&mut self) {
        self.items.retain(|_, item| item.expire.is_none_or(|time| time > self.now));
    }

    fn end_of_queue(&self, front: bool) -> Option<i64> {
        let mut keys = self.items.keys().filter(|key| **key > 0);
        if front { keys.next() } else { keys.next_back() }.copied()
    }
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

fn run(operations: Vec<Operation>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1000.0);
    // With and without.
    let hot_size = if operations.len().is_multiple_of(2) { 0 } else { 1 << 20 };
    let open = || {
        Cache::builder(directory.path())
            .clock(clock.clone())
            .policy(Policy::None)
            .setting("disk_min_file_size", MIN_FILE_SIZE)
            .setting("cull_limit", 1_000_000)
            .setting("hot_size", hot_size)
            .open()
            .unwrap()
    };
    let mut cache = open();
    let mut model = Model { now: 1000.0, ..Model::default() };
    for operation in operations {
        apply(&cache, &mut model, &operation, &clock);
        if matches!(operation, Operation::Reopen) {
            cache.close().unwrap();
            cache = open();
        }
        model.forget_expired(&cache, &operation);
        assert_eq!(cache.len().unwrap(), model.items.len(), "after {operation:?}");
    }
    let mut order: Vec<_> = model.items.iter().map(|(key, item)| (item.order, *key)).collect();
    order.sort_unstable();
    let expected: Vec<_> = order.into_iter().map(|(_, key)| dolium::Key::Int(key)).collect();
    let found: Vec<_> = cache.keys(Order::Insertion).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, expected);
    for (key, item) in &model.items {
        if model.alive(*key).is_some() {
            let entry = cache.entry(*key).unwrap().expect("an entry of the model");
            assert_eq!((&entry.value, entry.expire_time), (&item.value, item.expire));
            assert_eq!(entry.tag, Scalar::from(item.tag.as_deref()));
        }
    }
    cache.flush().unwrap();
    assert_eq!(cache.check(false).unwrap(), []);
}

#[expect(clippy::too_many_lines, reason = "one arm for each operation")]
fn apply(cache: &Cache, model: &mut Model, operation: &Operation, clock: &Clock) {
    match operation.clone() {
        Operation::Set(key, value, expire, tag) => {
            assert!(cache.set_with(key, payload(&value), &put(expire, tag.as_ref())).unwrap());
            model.set(key, value, expire, tag);
        }
        Operation::Add(key, value, expire) => {
            let added = cache.add(key, payload(&value), &put(expire, None)).unwrap();
            assert_eq!(added, model.alive(key).is_none());
            if added {
                model.set(key, value, expire, None);
            }
        }
        Operation::Touch(key, expire) => {
            let touched = cache.touch(key, expire.map_or(Expiry::Never, Expiry::After)).unwrap();
            assert_eq!(touched, model.alive(key).is_some());
            if touched {
                model.items.get_mut(&key).unwrap().expire = expire.map(|seconds| model.now + seconds);
            }
        }
        Operation::Incr(key, delta) => incr(cache, model, key, delta),
        Operation::Delete(key) => {
            assert_eq!(cache.delete(key).unwrap(), model.alive(key).is_some());
            if model.alive(key).is_some() {
                model.items.remove(&key);
            }
        }
        Operation::Pop(key) => {
            let popped = cache.pop(key).unwrap().map(|entry| entry.value);
            assert_eq!(popped, model.alive(key).map(|item| item.value.clone()));
            if popped.is_some() {
                model.items.remove(&key);
            }
        }
        Operation::Get(key) => {
            let expected = model.alive(key).map(|item| item.value.clone());
            assert_eq!(cache.get(key).unwrap(), expected);
            assert_eq!(cache.contains(key).unwrap(), expected.is_some());
        }
        Operation::Evict(tag) => {
            let before = model.items.len();
            model.items.retain(|_, item| item.tag.as_ref() != Some(&tag));
            assert_eq!(cache.evict(&tag.into()).unwrap(), before - model.items.len());
        }
        Operation::Expire => {
            let before = model.items.len();
            model.cull();
            assert_eq!(cache.expire(None).unwrap(), before - model.items.len());
        }
        Operation::Clear => {
            assert_eq!(cache.clear().unwrap(), model.items.len());
            model.items.clear();
        }
        Operation::Push(value, front) => {
            let end = model.end_of_queue(front);
            let key = end.map_or(MIDDLE, |key| if front { key - 1 } else { key + 1 });
            let side = if front { Side::Front } else { Side::Back };
            assert_eq!(
                cache.push(payload(&value), None, side, &PutOptions::new()).unwrap(),
                dolium::Key::Int(key)
            );
            model.set(key, value, None, None);
        }
        Operation::Pull(front) => {
            let side = if front { Side::Front } else { Side::Back };
            let expected = model.end_of_queue(front);
            let peeked = cache.peek(None, side).unwrap();
            let pulled = cache.pull(None, side).unwrap();
            assert_eq!(peeked, pulled);
            let pulled = pulled.map(|(key, entry)| (key, entry.value));
            let item = expected.and_then(|key| model.items.remove(&key).map(|item| (key, item.value)));
            assert_eq!(pulled, item.map(|(key, value)| (dolium::Key::Int(key), value)));
        }
        Operation::SetMany(items) => {
            let count =
                cache.set_many(items.iter().map(|(key, value)| (*key, payload(value))), &PutOptions::new());
            assert_eq!(count.unwrap(), items.len());
            // No item, no write.
            let is_write = !items.is_empty();
            for (key, value) in items {
                model.put(key, value, None, None);
            }
            if is_write {
                model.cull();
            }
        }
        Operation::DeleteMany(keys) => {
            let mut expected = 0;
            for key in &keys {
                expected += usize::from(model.alive(*key).is_some());
                model.items.remove(key);
            }
            let keys: Vec<_> = keys.into_iter().map(dolium::Key::from).collect();
            assert_eq!(cache.delete_many(&keys).unwrap(), expected);
        }
        Operation::Transaction(items, commit) => {
            let before = model.clone();
            let transaction = cache.transact().unwrap();
            for (key, value) in items {
                cache.set(key, payload(&value)).unwrap();
                model.set(key, value, None, None);
                assert_eq!(cache.get(key).unwrap(), model.alive(key).map(|item| item.value.clone()));
            }
            if commit {
                transaction.commit().unwrap();
            } else {
                drop(transaction);
                *model = before;
            }
        }
        Operation::Advance(seconds) => {
            clock.advance(Duration::from_secs(seconds.into()));
            model.now += f64::from(seconds);
        }
        Operation::Reopen => {}
    }
}

fn incr(cache: &Cache, model: &mut Model, key: i64, delta: i64) {
    let result = cache.incr(key, delta, Some(Number::Int(0)), &PutOptions::new());
    match model.alive(key).map(|item| item.value.clone()) {
        None => {
            assert_eq!(result.unwrap(), Number::Int(delta));
            model.set(key, Value::Int(delta), None, None);
        }
        Some(Value::Int(value)) => match value.checked_add(delta) {
            Some(sum) => {
                assert_eq!(result.unwrap(), Number::Int(sum));
                model.items.get_mut(&key).unwrap().value = Value::Int(sum);
            }
            None => assert!(matches!(result, Err(dolium::Error::Overflow))),
        },
        #[expect(clippy::cast_precision_loss, reason = "what adding to a float does")]
        Some(Value::Float(value)) => {
            let sum = value + delta as f64;
            assert_eq!(result.unwrap(), Number::Float(sum));
            model.items.get_mut(&key).unwrap().value = Value::Float(sum);
        }
        Some(_) => assert!(matches!(result, Err(dolium::Error::NotANumber))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map(operations in prop::collection::vec(operation(), 1..60)) {
        run(operations);
    }
}
