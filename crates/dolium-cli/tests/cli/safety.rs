//! Typing errors make and overwrite nothing, and backups.

use std::fs;

use crate::world::World;
use serde_json::{Value as Json, json};

fn entries(world: &World, cache: &str) -> Json {
    world.run(["info", cache, "--json"]).code(0).json()["entries"].clone()
}

#[test]
fn set_makes_a_cache_only_with_create() {
    let world = World::new();
    let run = world.run(["set", "shpo", "key", "value"]).code(2);
    assert!(run.err.contains("--create"), "{}", run.err);
    assert!(!world.path("shpo").exists());
    world.run(["set", "shop", "key", "value", "--create"]).code(0);
    world.run(["set", "shop", "key", "another"]).code(0);
    assert_eq!(world.run(["get", "shop", "key"]).code(0).text(), "another");
}

#[test]
fn export_replaces_a_file_only_with_force() {
    let world = World::new();
    world.run(["set", "c", "key", "value", "--create"]).code(0);
    fs::write(world.path("letter"), "dear").expect("a file");
    let run = world.run(["export", "c", "letter"]).code(2);
    assert!(run.err.contains("--force"), "{}", run.err);
    assert_eq!(fs::read_to_string(world.path("letter")).expect("a file"), "dear");
    world.run(["export", "c", "letter", "--force"]).code(0);
    assert!(fs::read_to_string(world.path("letter")).expect("a file").contains("dolium-export"));
}

#[test]
fn a_dry_run_of_clear_removes_nothing() {
    let world = World::new();
    for key in ["a", "b"] {
        world.run(["set", "c", key, "1", "--create"]).code(0);
    }
    assert_eq!(world.run(["clear", "c", "--dry-run"]).code(0).text(), "2 entries would be removed\n");
    assert_eq!(world.run(["clear", "c", "--dry-run", "--json"]).code(0).json(), json!({ "would_remove": 2 }));
    assert_eq!(entries(&world, "c"), 2);
    world.run(["clear", "c"]).code(0);
    assert_eq!(entries(&world, "c"), 0);
}

#[test]
fn evict_of_a_tag_that_no_entry_has_is_1() {
    let world = World::new();
    world.run(["set", "c", "a", "1", "--tag", "news", "--create"]).code(0);
    let run = world.run(["evict", "c", "nwes"]).code(1);
    assert!(run.err.contains("dolium tags"), "{}", run.err);
    assert_eq!(world.run(["evict", "c", "nwes", "--json"]).code(1).json(), json!({ "removed": 0 }));
    world.run(["evict", "c", "news"]).code(0);
}

#[test]
fn tags_are_listed_with_their_counts_as_evict_takes_them() {
    let world = World::new();
    for (key, tag) in [("a", "news"), ("b", "news"), ("c", "two words"), ("d", "")] {
        world.run(["set", "c", key, "1", "--tag", tag, "--create"]).code(0);
    }
    world.run(["set", "c", "e", "1", "--int-tag", "7"]).code(0);
    world.run(["set", "c", "f", "1", "--tag", "old", "--expire", "1ms"]).code(0);
    world.run(["set", "c", "g", "1"]).code(0);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let lines = world.run(["tags", "c"]).code(0);
    let lines: Vec<_> = lines.lines().iter().map(|line| line.trim_start().to_owned()).collect();
    assert_eq!(lines, ["1  --int-tag=7", "1  ''", "2  news", "1  'two words'"]);
    let objects = world.run(["tags", "c", "--json"]).code(0);
    let first: Json = serde_json::from_str(objects.lines()[0]).expect("an object");
    assert_eq!(first, json!({ "tag": { "int": 7 }, "entries": 1 }));
    let cache = dolium::ShardedCache::open(world.path("sharded"), 3).expect("a cache");
    for key in 0..9 {
        cache.shard(key).set_with(key, 1, &dolium::PutOptions::new().tag("all")).expect("a set");
    }
    cache.close().expect("a close");
    assert_eq!(world.run(["tags", "sharded"]).code(0).text().trim(), "9  all");
}

#[test]
fn help_is_a_command() {
    let world = World::new();
    assert_eq!(world.run(["help"]).code(0).text(), world.run(["--help"]).code(0).text());
    assert_eq!(world.run(["help", "set"]).code(0).text(), world.run(["set", "--help"]).code(0).text());
}

#[test]
fn top_tells_limit_and_policy_and_explains_its_columns() {
    let world = World::new();
    world.run(["set", "c", "a", "1", "--create"]).code(0);
    let look = world.run(["top", "c", "-i", "10ms", "-n", "1", "--json"]).code(0).json();
    assert_eq!(
        (&look["size_limit"], &look["eviction_policy"]),
        (&json!(1 << 30), &json!("least-recently-stored"))
    );
    let help = world.run(["top", "--help"]).code(0);
    for column in ["hits, misses", "fills", "direct", "drained", "dirty"] {
        assert!(help.text().lines().any(|line| line.starts_with(column)), "{column}");
    }
}

#[test]
fn a_backup_is_a_cache_and_replaces_one_only_with_force() {
    let world = World::new();
    for (key, value) in [("small", "1".to_owned()), ("large", "x".repeat(100_000))] {
        world.run(["set", "c", key, &value, "--create"]).code(0);
    }
    assert_eq!(world.run(["backup", "c", "copy"]).code(0).text(), "2 entries in copy\n");
    world.run(["check", "copy"]).code(0);
    assert_eq!(world.run(["get", "copy", "large"]).code(0).out.len(), 100_000);
    world.run(["set", "c", "more", "1"]).code(0);
    let run = world.run(["backup", "c", "copy"]).code(2);
    assert!(run.err.contains("copy"), "{}", run.err);
    assert_eq!(entries(&world, "copy"), 2);
    let made = world.run(["backup", "c", "copy", "--force", "--json"]).code(0).json();
    assert_eq!(made, json!({ "entries": 3, "value_files": 1, "left_out": 0 }));
    assert_eq!(entries(&world, "copy"), 3);
    world.run(["backup", "missing", "copy"]).code(2);
    world.run(["backup", "c"]).code(2);
}

#[test]
fn a_backup_without_some_entries_is_1() {
    let world = World::new();
    world.run(["set", "c", "large", &"x".repeat(100_000), "--create"]).code(0);
    fs::remove_file(world.run(["path", "c", "large"]).code(0).text().trim_end()).expect("a value file");
    let run = world.run(["backup", "c", "copy"]).code(1);
    assert!(run.err.contains("1 entry"), "{}", run.err);
    assert_eq!(entries(&world, "copy"), 0);
}

/// A directory as a `JSONDisk` fills it: the bytes of Python's `zlib.compress(json.dumps(…).encode(), 1)`.
fn json_disk(world: &World) {
    let compressed = |json: &str| miniz_oxide::deflate::compress_to_vec_zlib(json.as_bytes(), 1);
    let cache = dolium::Cache::builder(world.path("j")).open().expect("a cache");
    for (key, value) in [
        (r#""user:1""#, r#"{"name": "Ada", "age": 36}"#),
        ("7", r#""text""#),
        (r#"["f", 1, null]"#, "[1, 2.5]"),
    ] {
        cache.set(compressed(key), &compressed(value)).expect("a set");
    }
    cache.close().expect("a close");
}

#[test]
fn a_cache_of_a_json_disk_is_read() {
    let world = World::new();
    json_disk(&world);
    assert_eq!(world.run(["info", "j", "--json"]).code(0).json()["disk"], "JSONDisk");
    assert_eq!(
        world.run(["list", "j"]).code(0).lines(),
        ["user:1", "--int=7", "\"--literal=['f', 1, None]\""]
    );
    assert_eq!(world.run(["get", "j", "user:1"]).code(0).text(), r#"{"age":36,"name":"Ada"}"#);
    assert_eq!(world.run(["get", "j", "--int=7"]).code(0).text(), "text");
    assert_eq!(world.run(["get", "j", "--literal=('f', 1, None)"]).code(0).text(), "[1,2.5]");
    let value = world.run(["get", "j", "user:1", "--json"]).code(0).json();
    assert_eq!((&value["type"], &value["value"]["age"]), (&json!("json"), &json!(36)));
    world.run(["get", "j", "user:2"]).code(1);
    let run = world.run(["set", "j", "user:2", "1"]).code(2);
    assert!(run.err.contains("JSONDisk"), "{}", run.err);
    world.run(["delete", "j", "user:1"]).code(0);
    assert_eq!(entries(&world, "j"), 2);
}

#[test]
fn bytes_that_look_compressed_do_not_make_a_json_disk() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("a cache");
    let bytes = miniz_oxide::deflate::compress_to_vec_zlib(b"\"user:1\"", 1);
    cache.set(bytes.clone(), 1).expect("a set");
    cache.set("text", &bytes).expect("a set");
    cache.close().expect("a close");
    assert_eq!(world.run(["info", "c", "--json"]).code(0).json()["disk"], "Disk");
    assert_eq!(world.run(["get", "c", "text"]).code(0).out, bytes);
}
