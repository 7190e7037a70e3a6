//! Processes that transact, write and read at once, with a log so short that each often finds it full.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use dolium::{Cache, Value};

/// Generous: a loaded machine must not fail a test, a deadlock must.
const LONG: Duration = Duration::from_secs(100);

/// How long the processes work.
fn time() -> Duration {
    Duration::from_secs(if std::env::var_os("DOLIUM_TORTURE").is_some() { 60 } else { 1 })
}

fn open(directory: &Path) -> Cache {
    Cache::builder(directory.join("cache")).setting("hot_size", 64 << 10).open().unwrap()
}

struct Process(Child);

impl Process {
    fn start(role: &str, directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--quiet", "--nocapture"]);
        Self(command.env("DOLIUM_TEST_ROLE", role).env("DOLIUM_TEST_DIRECTORY", directory).spawn().unwrap())
    }

    fn succeeds(mut self, what: &str) {
        let until = Instant::now() + LONG;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{what} hangs");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(self.0.wait().unwrap().success(), "{what} failed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    match std::env::var("DOLIUM_TEST_ROLE").unwrap().as_str() {
        "transact" => transact(&open(directory)),
        "set" => set(&open(directory)),
        "read" => read(&open(directory), directory),
        "only read" => {
            let cache = Cache::builder(directory.join("cache")).read_only(true).open().unwrap();
            read(&cache, directory);
        }
        other => panic!("no role {other}"),
    }
}

/// Gives both keys the same number, which grows.
fn move_both(cache: &Cache, number: i64) {
    let transaction = cache.transact().unwrap();
    cache.set("first", number).unwrap();
    cache.set("second", number).unwrap();
    transaction.commit().unwrap();
}

fn transact(cache: &Cache) {
    let until = Instant::now() + time();
    for number in (1..).take_while(|_| Instant::now() < until) {
        move_both(cache, number);
    }
    cache.close().unwrap();
}

/// Fills the log again and again.
fn set(cache: &Cache) {
    let until = Instant::now() + time();
    for number in (0..).take_while(|_| Instant::now() < until) {
        cache.set(number % 50, &[0; 500]).unwrap();
    }
    cache.close().unwrap();
}

fn number(cache: &Cache, key: &str) -> i64 {
    match cache.get(key).unwrap() {
        Some(Value::Int(number)) => number,
        other => panic!("{key} is {other:?}"),
    }
}

/// A later read returns the same change or one that came after it.
fn read(cache: &Cache, directory: &Path) {
    let (mut seen, mut changes) = (0, 0);
    std::fs::write(directory.join(std::process::id().to_string()), "reads").unwrap();
    while cache.get("end").unwrap().is_none() {
        let second = number(cache, "second");
        let first = number(cache, "first");
        assert!(
            seen <= second && second <= first,
            "after {seen} the second is {second}, then the first {first}"
        );
        changes += u32::from(first > seen);
        seen = number(cache, "second");
        assert!(first <= seen, "the first is {first}, then the second {seen}");
    }
    assert!(changes > 10, "only {changes} changes were seen");
}

#[test]
fn two_processes_that_transact_and_set_in_a_short_log_do_not_wait_for_each_other_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let others = ["transact", "set"].map(|role| (role, Process::start(role, directory.path())));
    for (role, other) in others {
        other.succeeds(role);
    }
    let cache = open(directory.path());
    assert_eq!(number(&cache, "first"), number(&cache, "second"));
    assert_eq!(cache.len().unwrap(), 52);
    assert_eq!(cache.check(false).unwrap(), []);
}

/// By single reads. `read` is the place for `get_many`, whose promise `test_get_many_sees_one_moment` has.
#[test]
fn no_reader_sees_one_key_of_a_transaction_new_and_then_the_other_old() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    move_both(&cache, 0);
    let readers = ["read", "read", "only read"].map(|role| (role, Process::start(role, directory.path())));
    let begun = || directory.path().read_dir().unwrap().count() - 1;
    while begun() < readers.len() {
        thread::sleep(Duration::from_millis(1));
    }
    let until = Instant::now() + time();
    for number in (1..).take_while(|_| Instant::now() < until) {
        move_both(&cache, number);
        // Every other time it is a record in the tier, of each key alone, that the next transaction finds.
        if number % 2 == 0 {
            cache.set("second", number).unwrap();
            cache.set("first", number).unwrap();
        }
    }
    cache.set("end", 1).unwrap();
    for (role, reader) in readers {
        reader.succeeds(role);
    }
}
