//! Small transactions, which the hot tier takes as a chunk: what they see, what others see, and when they are more than that.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dolium::{Cache, Counter, Order, PutOptions, Value, Wait, host};

fn open(directory: &Path) -> Cache {
    let cache = Cache::open(directory).unwrap();
    // Attached, and the housekeeper looks for other programs.
    cache.set("first", 0).unwrap();
    assert!(cache.contains("first").unwrap());
    cache
}

fn get(cache: &Cache, key: &str) -> Option<i64> {
    cache.get(key).unwrap().map(|value| match value {
        Value::Int(value) => value,
        other => panic!("never stored: {other:?}"),
    })
}

/// How many transactions went to the database directly.
fn direct(cache: &Cache) -> u64 {
    cache.hot_tier().unwrap().stats.unwrap().counted(Counter::Direct)
}

/// In a thread that ends.
fn elsewhere<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

#[test]
fn a_small_transaction_needs_no_commit_of_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let before = direct(&cache);
    for number in 1..=50 {
        let transaction = cache.transact().unwrap();
        cache.set("key", number).unwrap();
        cache.incr("counter", 1, Some(0.into()), &PutOptions::new()).unwrap();
        transaction.commit().unwrap();
    }
    assert_eq!((get(&cache, "key"), get(&cache, "counter")), (Some(50), Some(50)));
    assert_eq!(direct(&cache), before);
    // Any of these makes it one of the database.
    for more in [0, 1, 2] {
        let transaction = cache.transact().unwrap();
        cache.set("key", more).unwrap();
        match more {
            0 => assert_eq!(cache.len().unwrap(), 3),
            1 => assert!(cache.set("large", &vec![1; 1 << 20]).unwrap()),
            _ => (0..600_i64).for_each(|key| assert!(cache.set(key, 0).unwrap())),
        }
        assert_eq!((get(&cache, "key"), get(&cache, "counter")), (Some(more), Some(50)));
        transaction.commit().unwrap();
        assert_eq!(get(&cache, "key"), Some(more));
        assert_eq!(direct(&cache), before + u64::try_from(more).unwrap() + 1);
    }
    assert_eq!(cache.len().unwrap(), 604);
}

#[test]
fn a_transaction_sees_its_own_changes_and_others_see_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    for (key, value) in [("set", 1), ("gone", 2), ("popped", 3), ("touched", 4), ("cold", 5)] {
        cache.set(key, value).unwrap();
    }
    // Known to the database alone.
    cache.close().unwrap();
    let cache = open(directory.path());
    let keys = ["set", "gone", "popped", "touched", "cold", "added", "absent"];
    let all = || keys.map(|key| get(&cache, key));
    let old = all();
    for commits in [false, true] {
        let transaction = cache.transact().unwrap();
        cache.set("set", 10).unwrap();
        assert!(cache.delete("gone").unwrap());
        assert!(!cache.delete("gone").unwrap());
        assert_eq!(cache.pop("popped").unwrap().unwrap().value, Value::Int(3));
        assert!(cache.touch("touched", dolium::Expiry::After(1e6)).unwrap());
        assert!(cache.add("added", 6, &PutOptions::new()).unwrap());
        assert!(!cache.add("added", 7, &PutOptions::new()).unwrap());
        assert_eq!(cache.incr("cold", 1, None, &PutOptions::new()).unwrap(), 6.into());
        assert!(cache.incr("absent", 1, None, &PutOptions::new()).is_err());
        let new = [Some(10), None, None, Some(4), Some(6), Some(6), None];
        assert_eq!(all(), new);
        assert!(!cache.contains("gone").unwrap() && cache.contains("added").unwrap());
        assert_eq!(elsewhere(all), old);
        if commits {
            transaction.commit().unwrap();
            assert_eq!((all(), elsewhere(all)), (new, new));
            assert!(cache.entry("touched").unwrap().unwrap().expire_time.is_some());
        } else {
            drop(transaction);
            assert_eq!(all(), old);
        }
    }
}

#[test]
fn rows_stand_in_the_order_in_which_a_transaction_stored_them() {
    let orders = [0, 1].map(|hot_size| {
        let directory = tempfile::tempdir().unwrap();
        let cache =
            Cache::builder(directory.path()).setting("hot_size", hot_size * (1 << 20)).open().unwrap();
        for key in ["a", "b", "c"] {
            cache.set(key, 1).unwrap();
        }
        let transaction = cache.transact().unwrap();
        cache.set("d", 1).unwrap();
        cache.set("a", 2).unwrap();
        cache.delete("b").unwrap();
        cache.set("e", 1).unwrap();
        cache.set("b", 3).unwrap();
        cache.set("d", 2).unwrap();
        cache.set("b", 4).unwrap();
        transaction.commit().unwrap();
        cache.keys(Order::Insertion).unwrap().map(|key| format!("{:?}", key.unwrap())).collect::<Vec<_>>()
    });
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0].len(), 5);
}

#[test]
fn readers_in_order_wait_for_no_small_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.set("waits", 1).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("inside", 1).unwrap();
    let since = Instant::now();
    let impatient = cache.with_wait(Wait::AtMost(Duration::from_secs(20)));
    assert_eq!(elsewhere(|| impatient.len().unwrap()), 2);
    assert_eq!(
        elsewhere(|| impatient.get_many(&["waits".into(), "inside".into()]).unwrap()[1].clone()),
        None
    );
    assert!(since.elapsed() < Duration::from_secs(10), "it waits for the transaction");
    transaction.commit().unwrap();
    assert_eq!(cache.len().unwrap(), 3);
}

/// A process of the tests below.
#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = open(Path::new(&directory)).with_wait(Wait::Forever);
    let told = |text: &str| {
        println!("{text}");
        std::io::stdout().flush().unwrap();
    };
    match std::env::var("DOLIUM_TEST_ROLE").unwrap().as_str() {
        "count" => {
            let number = std::env::var("DOLIUM_TEST_COUNT").unwrap().parse().unwrap();
            for _ in 0..number {
                let transaction = cache.transact().unwrap();
                let one = get(&cache, "one").unwrap_or(0) + 1;
                cache.set("one", one).unwrap();
                cache.incr("other", 1, Some(0.into()), &PutOptions::new()).unwrap();
                if one % 50 == 0 {
                    // One of the database, now and then.
                    cache.len().unwrap();
                }
                transaction.commit().unwrap();
            }
        }
        "forever" => {
            let before = get(&cache, "one").unwrap_or(0);
            told("ready");
            for number in before + 1.. {
                let transaction = cache.transact().unwrap();
                for key in ["one", "other", "third"] {
                    cache.set(key, number).unwrap();
                }
                transaction.commit().unwrap();
            }
        }
        "hold" => {
            cache.set("waits", 1).unwrap();
            let _transaction = cache.transact().unwrap();
            cache.set("inside", 1).unwrap();
            told("ready");
            std::thread::sleep(Duration::from_mins(1));
        }
        role => panic!("{role}"),
    }
}

fn command(directory: &Path, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--quiet"]);
    command.env("DOLIUM_TEST_DIRECTORY", directory).env("DOLIUM_TEST_ROLE", role);
    command.stdout(Stdio::piped());
    command
}

/// A process that has said that it is ready.
fn begun(directory: &Path, role: &str) -> std::process::Child {
    let mut child = command(directory, role).spawn().unwrap();
    let (mut said, mut byte) = (String::new(), [0]);
    let output = child.stdout.as_mut().unwrap();
    while !said.contains("ready") {
        output.read_exact(&mut byte).unwrap();
        said.push(char::from(byte[0]));
    }
    child
}

#[test]
fn no_update_of_processes_that_count_in_transactions_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let children: Vec<_> = (0..4)
        .map(|_| command(directory.path(), "count").env("DOLIUM_TEST_COUNT", "300").spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((get(&cache, "one"), get(&cache, "other")), (Some(1200), Some(1200)));
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_killed_process_leaves_all_of_a_transaction_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    for round in 0..if std::env::var_os("DOLIUM_TORTURE").is_some() { 200 } else { 12 } {
        let mut child = begun(directory.path(), "forever");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                // Both ways: a later read never finds less than an earlier one.
                while !is_over.load(Ordering::Relaxed) {
                    let [one, other, third] = ["one", "other", "third"].map(|key| get(&cache, key));
                    assert!(one <= other && other <= third, "{one:?} {other:?} {third:?}");
                }
            });
            std::thread::sleep(Duration::from_millis(5 + round * 3));
            child.kill().unwrap();
            child.wait().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let dead = ["one", "other", "third"].map(|key| get(&cache, key));
            let later = cache.set("later", 1);
            let recovered = ["one", "other", "third"].map(|key| get(&cache, key));
            // First: a reader that goes on would hide what failed.
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            assert!(later.is_ok(), "{later:?}");
            assert!(dead.iter().all(|value| *value == dead[0]), "without recovery: {dead:?}");
            assert!(recovered.iter().all(|value| *value == recovered[0]), "recovered: {recovered:?}");
            // One that was whole in the log, but not acknowledged, is completed by the next writer.
            let more = recovered[0].zip(dead[0]).map_or(0, |(now, before)| now - before);
            assert!(
                (0..=1).contains(&more) && recovered[0].is_some() >= dead[0].is_some(),
                "{dead:?} {recovered:?}"
            );
        });
        if round % 4 == 0 {
            cache.close().unwrap();
        }
    }
    assert_eq!(cache.check(false).unwrap(), []);
}

#[test]
fn a_process_killed_inside_a_transaction_frees_the_locks_without_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path()).with_wait(Wait::AtMost(Duration::from_secs(20)));
    let mut child = begun(directory.path(), "hold");
    // Its housekeeper drains, for others that read in order.
    assert_eq!(cache.len().unwrap(), 2);
    let quick = cache.with_wait(Wait::AtMost(Duration::from_millis(20)));
    assert!(matches!(quick.set("later", 1), Err(dolium::Error::Timeout { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    cache.set("later", 1).unwrap();
    assert_eq!((get(&cache, "inside"), get(&cache, "later")), (None, Some(1)));
    let transaction = cache.transact().unwrap();
    cache.set("later", 2).unwrap();
    transaction.commit().unwrap();
    assert_eq!(cache.len().unwrap(), 3);
}

#[test]
fn a_full_log_makes_a_transaction_one_of_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::builder(directory.path()).setting("hot_size", 64 << 10).open().unwrap();
    for number in 0..2000_i64 {
        let transaction = cache.transact().unwrap();
        for key in 0..8 {
            cache.set(100 * (number % 40) + key, &vec![u8::try_from(number % 251).unwrap(); 700]).unwrap();
        }
        transaction.commit().unwrap();
    }
    assert_eq!(cache.len().unwrap(), 320);
    assert_eq!(cache.check(false).unwrap(), []);
    let counts: Vec<_> = (0..8_i64).map(|key| cache.get(100 * 39 + key).unwrap()).collect();
    assert!(counts.iter().all(|value| *value == counts[0] && value.is_some()));
}

#[test]
fn once_another_program_writes_transactions_go_to_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    cache.flush().unwrap();
    let change = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as database:\n    \
                  database.execute('UPDATE Cache SET value = 7')";
    let database = directory.path().join("cache.db");
    let done = Command::new("python3").args(["-c", change]).arg(&database).status().unwrap();
    assert!(done.success());
    let end = Instant::now() + Duration::from_secs(20);
    while get(&cache, "first") != Some(7) {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = direct(&cache);
    let transaction = cache.transact().unwrap();
    cache.incr("first", 1, None, &PutOptions::new()).unwrap();
    transaction.commit().unwrap();
    assert!(direct(&cache) > before);
    assert_eq!(get(&cache, "first"), Some(8));
}

#[test]
fn a_transaction_on_a_database_that_another_program_locks_waits_as_long_as_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path()).with_wait(Wait::AtMost(Duration::from_millis(100)));
    cache.flush().unwrap();
    let lock = "import sqlite3, sys\ndatabase = sqlite3.connect(sys.argv[1])\n\
                database.execute('BEGIN IMMEDIATE')\nprint('ready', flush=True)\nsys.stdin.read()";
    let mut locker = Command::new("python3")
        .args(["-c", lock])
        .arg(directory.path().join("cache.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    locker.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let transaction = cache.transact().unwrap();
    cache.set("small", 1).unwrap();
    let error = cache.push("item", None, dolium::Side::Back, &PutOptions::new()).unwrap_err();
    assert!(matches!(error, dolium::Error::Timeout { .. }), "{error:?}");
    assert_eq!(get(&cache, "small"), Some(1), "what was changed before stays");
    drop(locker.stdin.take());
    locker.wait().unwrap();
    cache.push("item", None, dolium::Side::Back, &PutOptions::new()).unwrap();
    transaction.commit().unwrap();
    assert_eq!((get(&cache, "small"), cache.len().unwrap()), (Some(1), 3));
    assert!(!host::is_held_by_neighbor(&cache));
}
