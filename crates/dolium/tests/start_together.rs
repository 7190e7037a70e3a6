//! Processes that open a new cache at once find one layout, one limit and all that each has stored.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]
#![expect(clippy::disallowed_methods, reason = "a test plays the other processes itself")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use dolium::{Cache, Error, Number, PutOptions, Scalar, ShardedCache, Value, raw};

const LIMIT: u64 = 20_000_000;
const KEYS: i64 = 10;

fn rounds() -> u32 {
    if std::env::var_os("DOLIUM_TORTURE").is_some() { 200 } else { 6 }
}

/// A process that waits for the file `go` and does what its role says in the directory `new`.
fn start(role: &str, directory: &Path, number: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--quiet", "--nocapture"]).env("DOLIUM_TEST_ROLE", role);
    command
        .env("DOLIUM_TEST_DIRECTORY", directory)
        .env("DOLIUM_TEST_NUMBER", number.to_string())
        .spawn()
        .unwrap()
}

#[test]
fn child() {
    let Some(directory) = std::env::var_os("DOLIUM_TEST_DIRECTORY") else { return };
    let directory = Path::new(&directory);
    let number: i64 = std::env::var("DOLIUM_TEST_NUMBER").unwrap().parse().unwrap();
    let role = std::env::var("DOLIUM_TEST_ROLE").unwrap();
    fs::write(directory.join(format!("ready-{number}")), "").unwrap();
    while !directory.join("go").exists() {
        thread::sleep(Duration::from_micros(200));
    }
    let builder = Cache::builder(directory.join("new")).timeout(Duration::from_mins(1));
    if role == "cache" {
        let cache = builder.size_limit(Some(LIMIT)).open().unwrap();
        work(|_| &cache, number);
        assert_eq!(cache.setting("size_limit").unwrap(), Some(Scalar::from(20_000_000)));
        return cache.close().unwrap();
    }
    let shards = if role == "other shards" { 2 << (number % 3) } else { 4 };
    let builder = if role == "settings" { builder.size_limit(Some(LIMIT)) } else { builder };
    let sharded = ShardedCache::open_with(&builder, shards).unwrap();
    work(|key| sharded.shard(key), number);
    if role == "settings" {
        assert_eq!(sharded.setting("size_limit").unwrap(), Some(Scalar::from(20_000_000)));
    }
    sharded.close().unwrap();
}

fn work<'c>(shard: impl Fn(&str) -> &'c Cache, number: i64) {
    for key in 0..KEYS {
        let key = format!("n{key}");
        shard(&key).incr(key.as_str(), 1, Some(Number::Int(0)), &PutOptions::new()).unwrap();
    }
    let own = format!("w{number}");
    shard(&own).set(own.as_str(), number).unwrap();
}

#[test]
fn processes_that_start_together_see_one_cache() {
    for round in 0..rounds() {
        let role = ["settings", "plain", "other shards", "cache"][round as usize % 4];
        let directory = tempfile::tempdir().unwrap();
        let mut children: Vec<_> = (0..4).map(|number| start(role, directory.path(), number)).collect();
        let until = Instant::now() + Duration::from_mins(1);
        while fs::read_dir(directory.path()).unwrap().count() < children.len() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        fs::write(directory.path().join("go"), "").unwrap();
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "{role}");
        }
        let builder = Cache::builder(directory.path().join("new")).timeout(Duration::from_mins(1));
        let shards = if role == "cache" {
            vec![builder.open().unwrap()]
        } else {
            ShardedCache::open_with(&builder, 4).unwrap().shards().to_vec()
        };
        let find = |key: String| shards.iter().find_map(|shard| shard.get(key.as_str()).unwrap());
        for key in 0..KEYS {
            assert_eq!(find(format!("n{key}")), Some(Value::Int(4)), "{role}, {} shards", shards.len());
        }
        for number in 0..4 {
            assert_eq!(find(format!("w{number}")), Some(Value::Int(number)), "{role}");
        }
        assert!(role == "other shards" || role == "cache" || shards.len() == 4);
    }
}

/// The directories that were made last are the first ones: without `000` nothing is decided.
#[test]
fn a_creator_that_died_before_it_decided_leaves_what_the_next_completes() {
    for left in [vec!["007", "006"], vec!["003", "002", "001"]] {
        let directory = tempfile::tempdir().unwrap();
        for shard in left {
            fs::create_dir(directory.path().join(shard)).unwrap();
        }
        let cache = ShardedCache::open(directory.path(), 4).unwrap();
        assert_eq!(cache.shards().len(), 4);
        cache.shard("key").set("key", 1).unwrap();
        assert_eq!(ShardedCache::open(directory.path(), 2).unwrap().shards().len(), 4);
    }
}

/// It had stored what was passed in the first shard, and in no other.
#[test]
fn a_shard_that_is_made_later_gets_the_settings_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let builder = Cache::builder(directory.path()).size_limit(Some(LIMIT)).setting("cull_limit", 3);
    ShardedCache::open_with(&builder, 4).unwrap().close().unwrap();
    for shard in ["001", "002", "003"] {
        fs::remove_file(directory.path().join(shard).join("cache.db")).unwrap();
    }
    let cache = ShardedCache::open(directory.path(), 4).unwrap();
    for key in 0..20 {
        cache.shard(key).set(key, key).unwrap();
    }
    cache.close().unwrap();
    for shard in 0..4 {
        // By itself, it tells what its own store says.
        let shard = Cache::open(directory.path().join(format!("{shard:03}"))).unwrap();
        let rows = raw::sql(
            &shard,
            "SELECT value FROM Settings WHERE key IN ('cull_limit', 'size_limit') ORDER BY key",
            &[],
        );
        let values: Vec<_> = rows.unwrap().rows.into_iter().flatten().collect();
        assert_eq!(values, [Scalar::Int(3), Scalar::Real(5e6)]);
    }
}

#[test]
fn a_cache_and_shards_do_not_hide_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let shards = ShardedCache::open(directory.path(), 4).unwrap();
    shards.shard("a").set("a", 1).unwrap();
    assert!(matches!(Cache::open(directory.path()), Err(Error::Layout { .. })));
    let directory = tempfile::tempdir().unwrap();
    Cache::open(directory.path()).unwrap().set("a", 1).unwrap();
    assert!(matches!(ShardedCache::open(directory.path(), 4), Err(Error::Layout { .. })));
}
