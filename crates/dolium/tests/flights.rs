//! `get_or_compute` and flights: threads and processes that miss one key compute it once, whatever happens to the owner.
#![expect(clippy::disallowed_methods, reason = "a child is told by its environment where to go")]

use dolium::host::{Asked, Ended, Joined};
use dolium::{Cache, Error, Expiry, Key, PutOptions, Value, host};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

type Never = std::convert::Infallible;

fn open() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().expect("directory");
    let cache = Cache::open(directory.path()).expect("opened");
    (directory, cache)
}

fn compute(cache: &Cache, key: &str, f: impl FnOnce() -> Value) -> Value {
    cache.get_or_compute(key, &PutOptions::new(), || Ok::<_, Never>(f())).expect("computed")
}

#[test]
fn threads_that_miss_one_key_compute_it_once() {
    let (_directory, cache) = open();
    let (calls, meet) = (AtomicU32::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                meet.wait();
                let value = compute(&cache, "key", || {
                    calls.fetch_add(1, SeqCst);
                    std::thread::sleep(Duration::from_millis(100));
                    "value".into()
                });
                assert_eq!(value, Value::from("value"));
            });
        }
    });
    assert_eq!(calls.into_inner(), 1);
}

#[test]
fn a_failure_is_that_of_all_who_waited() {
    let (_directory, cache) = open();
    let calls = AtomicU32::new(0);
    let fail = || {
        calls.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        Err::<Value, _>("no such page")
    };
    let meet = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                meet.wait();
                let error = cache.get_or_compute("key", &PutOptions::new(), fail).expect_err("failed");
                assert!(matches!(error, Error::Computation(_)));
                assert_eq!(error.to_string(), "no such page");
            });
        }
    });
    // A thread that comes so late that it meets no flight tries for itself.
    assert!(calls.into_inner() < 4);
    assert_eq!(compute(&cache, "key", || 1.into()), Value::Int(1));
}

#[test]
fn a_panic_lets_the_next_caller_compute() {
    let (_directory, cache) = open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        compute(&cache, "key", || panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    assert_eq!(compute(&cache, "key", || 1.into()), Value::Int(1));
}

#[test]
fn a_computation_that_meets_its_own_key_computes() {
    let (_directory, cache) = open();
    let value = compute(&cache, "key", || compute(&cache, "key", || "inner".into()));
    assert_eq!(value, Value::from("inner"));
}

#[test]
fn threads_in_a_circle_all_end() {
    for length in [2, 3] {
        let (_directory, cache) = open();
        let meet = Barrier::new(length);
        std::thread::scope(|scope| {
            for first in 0..length {
                let (cache, meet) = (&cache, &meet);
                scope.spawn(move || {
                    compute(cache, &format!("key {first}"), || {
                        meet.wait();
                        compute(cache, &format!("key {}", (first + 1) % length), || 1.into())
                    });
                });
            }
        });
    }
}

#[test]
fn what_is_not_kept_is_returned() {
    let (_directory, cache) = open();
    let expired = PutOptions::new().expire(Expiry::After(-1.0));
    for n in 0..3 {
        let value = cache.get_or_compute("key", &expired, || Ok::<_, Never>(n.into())).expect("computed");
        assert_eq!(value, Value::Int(n));
    }
    assert_eq!(cache.get("key").expect("read"), None);
    assert_eq!(compute(&cache, "null", || Value::Null), Value::Null);
}

#[test]
fn inside_a_transaction_no_caller_waits() {
    let (_directory, cache) = open();
    let key = Key::from("key");
    let Joined::Owner(flight) = host::join_flight(&cache, &key, Asked::new()) else {
        panic!("another computes")
    };
    let (said, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = cache.transact().expect("begun");
            said.send(compute(&cache, "key", || 1.into())).expect("heard");
            transaction.commit().expect("committed");
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)), Ok(Value::Int(1)));
    });
    flight.end(Ended::Left);
}

#[test]
fn a_waiter_is_called_and_deserters_are_told() {
    let (_directory, cache) = open();
    let key = Key::from("key");
    let Joined::Owner(flight) = host::join_local_flight(&cache, &key, Asked::new()) else {
        panic!("another computes")
    };
    let deserted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&deserted);
    flight.on_desertion(move || _ = count.fetch_add(1, SeqCst));
    let waiter = || match host::join_local_flight(&cache, &key, Asked::new()) {
        Joined::Waiter(waiter) => waiter,
        other => panic!("{other:?}"),
    };
    let (first, second) = (waiter(), waiter());
    drop(first);
    assert_eq!(deserted.load(SeqCst), 0);
    drop(second);
    assert_eq!(deserted.load(SeqCst), 1);
    let called = Arc::new(AtomicU32::new(0));
    let third = waiter();
    let count = Arc::clone(&called);
    third.call(move || _ = count.fetch_add(1, SeqCst));
    assert!(third.wait(Some(Duration::from_millis(10)), None).expect("waited").is_none());
    flight.end(Ended::Kept);
    assert!(matches!(third.ended(), Some(Ended::Kept)));
    let count = Arc::clone(&called);
    third.call(move || _ = count.fetch_add(1, SeqCst));
    assert_eq!(called.load(SeqCst), 2);
}

/// This binary again, as a process that computes "key".
fn other(directory: &Path, crash: Option<u32>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("DOLIUM_FLIGHTS", directory).stderr(Stdio::piped()).stdout(Stdio::null());
    if let Some(step) = crash {
        command.env("DOLIUM_CRASH", step.to_string());
    }
    command.spawn().expect("spawned")
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_FLIGHTS") else { return };
    let cache = Cache::open(&directory).expect("opened");
    let slow = || {
        std::fs::write(Path::new(&directory).join("computing"), "").expect("written");
        std::thread::sleep(Duration::from_millis(30));
        "theirs".into()
    };
    compute(&cache, "key", slow);
    std::process::exit(0);
}

#[test]
fn processes_that_miss_one_key_compute_it_once() {
    let (directory, cache) = open();
    let key = Key::from("key");
    let Joined::Owner(flight) = host::join_flight(&cache, &key, Asked::new()) else {
        panic!("another computes")
    };
    let mut others: Vec<Child> = (0..4).map(|_| other(directory.path(), None)).collect();
    std::thread::sleep(Duration::from_millis(300));
    assert!(others.iter_mut().all(|other| matches!(other.try_wait(), Ok(None))), "one did not wait");
    cache.set("key", "ours").expect("set");
    flight.end(Ended::Kept);
    for mut other in others {
        assert!(other.wait().expect("ended").success());
    }
    assert_eq!(cache.get("key").expect("read"), Some(Value::from("ours")));
}

/// Where an owner can die, in the order of a flight: joining the leases, taking one, computing, storing, letting go.
const POINTS: [&str; 20] = [
    "flight begun",
    "lease slot taken",
    "lease file read",
    "lease table mapped",
    "lease slot inherited",
    "lease table locked",
    "lease marked",
    "lease unlinked",
    "lease taken",
    "lease table unlocked",
    "flight leased",
    "flight looked again",
    "flight computed",
    "bytes stored",
    "head stored",
    "flight kept",
    "lease about to end",
    "lease freed",
    "lease ended",
    "flight ended",
];

#[test]
fn t23_an_owner_killed_at_any_step_is_relieved() {
    // Its steps before and after the computation, those of the tier included, counted from 1.
    let mut seen = BTreeSet::new();
    for step in 1..200 {
        let (directory, cache) = open();
        // The next caller has its part in the table already.
        compute(&cache, "before", || 1.into());
        let mut dead = other(directory.path(), Some(step));
        // Until it computes, or is dead already.
        while !directory.path().join("computing").exists() && matches!(dead.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let asked = Instant::now();
        let value = compute(&cache, "key", || "ours".into());
        let waited = asked.elapsed();
        let status = dead.wait().expect("ended");
        // Generous: the machine may do much else. What is promised is 200 ms.
        assert!(waited < Duration::from_secs(5), "step {step}: {waited:?}");
        assert!(value == *"ours" || value == *"theirs", "{value:?}");
        assert_eq!(cache.get("key").expect("read"), Some(value));
        let mut said = String::new();
        std::io::Read::read_to_string(&mut dead.stderr.take().expect("piped"), &mut said).expect("read");
        if let Some(name) = said.lines().find_map(|line| line.strip_prefix("crashed at: ")) {
            seen.insert(name.to_owned());
        }
        if status.success() {
            break;
        }
    }
    println!("killed at {seen:?}");
    let missing: Vec<_> = POINTS.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(missing.is_empty(), "never killed at {missing:?}: {seen:?}");
}
