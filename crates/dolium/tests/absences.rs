//! Once many keys were missed, a process knows which keys are not there, and never takes one that is for absent.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes and programs itself")]

use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use dolium::host::{try_contains, try_get};
use dolium::{Cache, Key, PutOptions};

/// Generous: a loaded machine must not fail a test.
const PATIENCE: Duration = Duration::from_mins(1);
const ENTRIES: i64 = 3000;
/// More than a process misses before it reads the keys.
const MISSES: i64 = 6000;

fn open(directory: &Path) -> Cache {
    Cache::builder(directory).setting("hot_size", 64 << 10).open().unwrap()
}

fn entry(number: i64) -> String {
    format!("entry {number}")
}

/// A cache of many more entries than its tier holds, all of them drained.
fn filled(directory: &Path) -> Cache {
    let cache = open(directory);
    for number in 0..ENTRIES {
        cache.set(entry(number), number).unwrap();
    }
    cache.flush().unwrap();
    cache
}

/// Whether the process answers for a key that it has never been asked for.
fn is_ready(cache: &Cache, number: i64) -> bool {
    try_contains(cache, &format!("never {number}").as_str().into()) == Some(false)
}

/// Misses keys until the process knows what is not there.
fn learn(cache: &Cache) {
    let until = Instant::now() + PATIENCE;
    for round in 0.. {
        for number in 0..MISSES {
            assert_eq!(cache.get(format!("absent {number}")).unwrap(), None);
        }
        thread::sleep(Duration::from_millis(100));
        // The first use after a pause looks for what other programs write.
        assert!(!cache.contains("nothing").unwrap());
        if (0..50).filter(|number| is_ready(cache, 100 * round + number)).count() > 40 {
            return;
        }
        assert!(Instant::now() < until, "absent keys are never known");
    }
}

/// Lets the tier forget what is clean, by writing more than it holds.
fn overwrite(cache: &Cache) {
    for round in 0..2_u8 {
        for number in 0..1000 {
            cache.set(format!("other {number}"), &[round; 100]).unwrap();
        }
        cache.flush().unwrap();
    }
}

fn ready() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    learn(&cache);
    (directory, cache)
}

#[test]
fn absent_keys_are_known_once_many_were_missed() {
    let (_directory, cache) = ready();
    let known = (0..1000).filter(|number| {
        let key = format!("unheard {number}");
        try_get(&cache, &key.as_str().into(), |_| Some(())) == Ok(None)
    });
    assert!(known.count() > 950, "hardly any key asks the database");
    for number in 0..ENTRIES {
        assert_eq!(cache.get(entry(number)).unwrap(), Some(number.into()), "{number}");
    }
}

#[test]
fn few_misses_teach_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    for number in 0..100 {
        assert_eq!(cache.get(format!("absent {number}")).unwrap(), None);
    }
    thread::sleep(Duration::from_millis(200));
    assert!(!cache.contains("nothing").unwrap());
    assert!((0..50).all(|number| !is_ready(&cache, number)));
}

#[test]
fn keys_that_are_set_after_that_are_found() {
    let (_directory, cache) = ready();
    for number in 0..2000 {
        let key = format!("new {number}");
        assert_eq!(cache.get(key.as_str()).unwrap(), None);
        cache.set(key.as_str(), number).unwrap();
        assert_eq!(cache.get(key.as_str()).unwrap(), Some(number.into()));
    }
    overwrite(&cache);
    for number in 0..2000 {
        assert_eq!(cache.get(format!("new {number}")).unwrap(), Some(number.into()));
    }
    // Such a short log may have lost records meanwhile.
    learn(&cache);
}

#[test]
fn keys_of_a_transaction_are_found() {
    let (_directory, cache) = ready();
    let transaction = cache.transact().unwrap();
    for number in 0..500 {
        cache.set(format!("new {number}"), number).unwrap();
    }
    transaction.commit().unwrap();
    for number in 0..500 {
        assert_eq!(cache.get(format!("new {number}")).unwrap(), Some(number.into()));
    }
    learn(&cache);
}

#[test]
fn keys_of_a_bulk_write_are_found() {
    let (_directory, cache) = ready();
    let keys: Vec<String> = (0..20_000).map(|number| format!("new {number}")).collect();
    cache.set_many(keys.iter().map(|key| (key.as_str(), 1)), &PutOptions::new()).unwrap();
    for key in &keys {
        assert_eq!(cache.get(key.as_str()).unwrap(), Some(1.into()), "{key}");
    }
}

#[test]
fn keys_of_another_program_are_found_once_it_is_noticed() {
    let (directory, cache) = ready();
    let connection = rusqlite::Connection::open(directory.path().join("cache.db")).unwrap();
    let insert = "INSERT INTO Cache (key, raw, store_time, value) VALUES ('theirs', 1, 0, 7)";
    connection.execute(insert, []).unwrap();
    let until = Instant::now() + PATIENCE;
    while cache.get("theirs").unwrap() != Some(7.into()) {
        assert!(Instant::now() < until, "it is never found");
    }
    connection.execute(&insert.replace("theirs", "theirs, too"), []).unwrap();
    assert_eq!(cache.get("theirs, too").unwrap(), Some(7.into()), "from then on each lookup asks");
}

#[test]
fn equal_keys_of_other_spellings_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let cache = filled(directory.path());
    let pairs: [(Key<'static>, Key<'static>); 9] = [
        (1.into(), 1.0.into()),
        (2.0.into(), 2.into()),
        (0.into(), (-0.0).into()),
        (i64::MIN.into(), (-9_223_372_036_854_775_808.0).into()),
        ((1_i64 << 53).into(), 9_007_199_254_740_992.0.into()),
        (0.5.into(), 0.5.into()),
        (b"bytes".into(), b"bytes".into()),
        (f64::NAN.into(), f64::NAN.into()),
        (Key::plain(&("a", 1)), Key::plain(&("a", 1))),
    ];
    for (stored, _) in &pairs {
        cache.set(stored, "there").unwrap();
    }
    learn(&cache);
    overwrite(&cache);
    for (stored, asked) in &pairs {
        for key in [asked, stored] {
            assert_eq!(cache.get(key).unwrap(), Some("there".into()), "{key}");
        }
    }
}

#[test]
fn absent_keys_are_counted_as_misses() {
    let (_directory, cache) = ready();
    let before = cache.stats().unwrap().misses;
    for number in 0..100 {
        assert_eq!(cache.get(format!("unheard {number}")).unwrap(), None);
    }
    assert_eq!(cache.stats().unwrap().misses - before, 100);
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let (cache, role) = (open(Path::new(&directory)), std::env::var("DOLIUM_TEST_ROLE").unwrap());
    let until = Instant::now() + Duration::from_secs(2);
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        let key = format!("{role} {number}");
        match number % 50 {
            0 => {
                let transaction = cache.transact().unwrap();
                cache.set(key.as_str(), number).unwrap();
                transaction.commit().unwrap();
            }
            25 => cache.set_many([(key.as_str(), number)], &PutOptions::new()).map(drop).unwrap(),
            _ => cache.set(key.as_str(), number).map(drop).unwrap(),
        }
        // The reader looks for all that are below.
        cache.set(role.as_str(), number).unwrap();
    }
}

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_of_other_processes_are_found_at_once() {
    let (directory, cache) = ready();
    let roles = ["first", "second"];
    let mut writers = roles.map(|role| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--quiet", "--nocapture"]);
        command.env("DOLIUM_TEST_ROLE", role).env("DOLIUM_TEST_DIRECTORY", directory.path());
        Writer(command.spawn().unwrap())
    });
    let (mut seen, mut looked_up) = ([-1, -1], 0);
    let until = Instant::now() + PATIENCE;
    loop {
        let is_over = writers.iter_mut().all(|writer| writer.0.try_wait().unwrap().is_some());
        for (role, seen) in roles.iter().zip(&mut seen) {
            let Some(dolium::Value::Int(number)) = cache.get(*role).unwrap() else { continue };
            for number in (*seen + 1..=number).rev().take(20) {
                assert_eq!(cache.get(format!("{role} {number}")).unwrap(), Some(number.into()), "{role}");
            }
            *seen = number;
            for _ in 0..200 {
                looked_up += 1;
                assert_eq!(cache.get(format!("absent {looked_up}")).unwrap(), None);
            }
        }
        if is_over {
            break;
        }
        assert!(Instant::now() < until, "the writers hang");
    }
    for (role, seen) in roles.iter().zip(seen) {
        assert!(seen > 0, "{role} has written");
        for number in 0..=seen {
            assert_eq!(cache.get(format!("{role} {number}")).unwrap(), Some(number.into()));
        }
    }
}
