//! A program that ends without `close` leaves nothing in the hot tier; one that is killed leaves what the next replays.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use dolium::Cache;

/// Generous: a loaded machine must not fail a test, a hang must.
const LONG: Duration = Duration::from_secs(50);

fn child_of(role: &str, directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--quiet", "--nocapture"]);
    command.env("DOLIUM_TEST_ROLE", role).env("DOLIUM_TEST_DIRECTORY", directory).spawn().unwrap()
}

/// Runs a child to its end, which must come.
fn ended(role: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut child = child_of(role, directory.path());
    let until = Instant::now() + LONG;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "{role} hangs");
        thread::sleep(Duration::from_millis(5));
    }
    directory
}

fn stored(directory: &Path) -> usize {
    // Reading only: nothing is replayed.
    Cache::builder(directory).read_only(true).open().unwrap().len().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test plays the other programs itself")]
fn has_tier(directory: &Path) -> bool {
    let connection = rusqlite::Connection::open(directory.join("cache.db")).unwrap();
    let named = connection.query_row("SELECT count(*) FROM Dolium WHERE key = 'tier'", [], |row| row.get(0));
    named.unwrap_or(0) == 1
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]
fn child() {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let cache = CACHE.get_or_init(|| Cache::open(&directory).unwrap());
    for key in 0..100 {
        cache.set(key, key).unwrap();
    }
    match std::env::var("DOLIUM_TEST_ROLE").unwrap().as_str() {
        "returns" => {}
        "exits" => std::process::exit(0),
        "panics" => panic!("on purpose"),
        "dies" => std::process::abort(),
        "leaves a transaction" => {
            thread::spawn(|| {
                let transaction = cache.transact();
                cache.set("undone", 1).unwrap();
                std::mem::forget(transaction);
            });
            while cache.in_transaction() {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(100));
        }
        "exits in a transaction" => {
            let _transaction = cache.transact().unwrap();
            cache.set("undone", 1).unwrap();
            std::process::exit(0);
        }
        role => panic!("{role}?"),
    }
}

#[test]
fn a_program_that_ends_drains_as_close_does() {
    for role in ["returns", "exits", "panics"] {
        let directory = ended(role);
        assert_eq!(stored(directory.path()), 100, "{role}");
        assert!(!has_tier(directory.path()), "{role}");
    }
}

#[test]
fn a_program_that_dies_leaves_what_the_next_one_stores() {
    let directory = ended("dies");
    assert!(has_tier(directory.path()));
    let cache = Cache::open(directory.path()).unwrap();
    assert_eq!(cache.len().unwrap(), 100);
}

#[test]
fn a_program_that_ends_waits_for_no_transaction_of_its_own() {
    for role in ["leaves a transaction", "exits in a transaction"] {
        let directory = ended(role);
        assert_eq!(stored(directory.path()), 100, "{role}");
    }
}
