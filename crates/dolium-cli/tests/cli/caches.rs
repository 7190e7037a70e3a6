//! Commands on whole caches, directories, and what holds for every command.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use crate::world::{World, snapshot};
use serde_json::{Value as Json, json};

const LOOKING: [&[&str]; 9] = [
    &["info", "c"],
    &["info", "c", "text"],
    &["stats", "c"],
    &["list", "c", "--long"],
    &["get", "c", "text"],
    &["get", "c", "data", "--json"],
    &["path", "c", "long text"],
    &["check", "c"],
    &["export", "c"],
];

#[test]
fn looking_writes_nothing() {
    let world = World::new();
    let directory = world.diskcache("c");
    let before = snapshot(&directory);
    for args in LOOKING {
        world.run(args.iter().copied()).code(0);
    }
    assert_eq!(snapshot(&directory), before);
}

#[test]
fn looking_works_where_nobody_may_write() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let directory = world.diskcache("c");
    set_permissions(&directory, Permissions::from_mode(0o500)).expect("a mode");
    set_permissions(directory.join("cache.db"), Permissions::from_mode(0o400)).expect("a mode");
    for args in LOOKING {
        world.run(args.iter().copied()).code(0);
    }
    set_permissions(&directory, Permissions::from_mode(0o700)).expect("a mode");
}

#[test]
fn a_directory_that_is_missing_or_no_cache_is_an_error() {
    let world = World::new();
    std::fs::create_dir(world.path("other")).expect("a directory");
    std::fs::write(world.path("other/file"), "").expect("a file");
    std::fs::create_dir(world.path("empty")).expect("a directory");
    for args in LOOKING.map(|args| args[0]).into_iter().chain(["clear", "expire", "cull"]) {
        let rest: &[&str] = if ["get", "path"].contains(&args) { &["k"] } else { &[] };
        let missing = world.run([args, "missing"].into_iter().chain(rest.iter().copied())).code(2);
        assert!(missing.err.contains("no such directory"), "{args}: {}", missing.err);
        let other = world.run([args, "other"].into_iter().chain(rest.iter().copied())).code(2);
        assert!(other.err.contains("this is no cache"), "{args}: {}", other.err);
    }
    world.run(["set", "--create", "other", "k", "v"]).code(2);
    assert!(!world.path("missing").exists());
    // A program that has stored nothing yet leaves an empty directory.
    assert_eq!(world.run(["list", "empty"]).code(0).out, b"");
    assert_eq!(world.run(["info", "empty", "--json"]).code(0).json()["entries"], 0);
    world.run(["check", "empty"]).code(0);
}

#[test]
fn errors_of_usage_are_2() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v"]).code(0);
    for args in [
        &[][..],
        &["nonsense"],
        &["get"],
        &["get", "c"],
        &["get", "c", "k", "surplus"],
        &["get", "c", "k", "--int", "5"],
        &["get", "c", "--int", "x"],
        &["get", "c", "--bytes-hex", "0"],
        &["get", "c", "--literal", "("],
        &["get", "c", "--literal", "[]"],
        &["get", "c", "--int", "1", "--float", "2"],
        &["set", "--create", "c", "k"],
        &["list", "c", "--sort", "colour"],
        &["info"],
        &["--timeout", "x", "info", "c"],
    ] {
        let run = world.run(args.iter().copied()).code(2);
        assert_eq!(run.out, b"", "{args:?}");
        assert!(!run.err.is_empty(), "{args:?}");
    }
    world.run(["--help"]).code(0);
    assert!(world.run(["--version"]).code(0).text().starts_with("dolium "));
}

#[test]
fn the_environment_can_name_the_directory() {
    let world = World::new();
    let run = |args: &[&str]| -> crate::world::Run {
        world.command(args.iter().copied()).env("DOLIUM_DIR", "c").output().expect("a run").into()
    };
    run(&["set", "--create", "k", "v"]).code(0);
    run(&["set", "--create", "--int", "5", "five"]).code(0);
    assert_eq!(run(&["get", "k"]).code(0).text(), "v");
    assert_eq!(run(&["get", "--int", "5"]).code(0).text(), "five");
    assert_eq!(run(&["list"]).code(0).text(), "k\n--int=5\n");
    assert_eq!(run(&["info", "--json"]).code(0).json()["entries"], 2);
    // An argument more is a directory of its own.
    assert_eq!(run(&["get", "c", "k"]).code(0).text(), "v");
    run(&["get"]).code(2);
}

#[test]
fn a_pipe_that_nobody_reads_is_a_success() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("a cache");
    let items = (0..20_000).map(|number| (format!("some long key to fill the pipe {number}"), number));
    cache.set_many(items, &dolium::PutOptions::new()).expect("a set");
    cache.close().expect("a close");
    for args in [&["list", "c"][..], &["list", "c", "--json"], &["export", "c"]] {
        let mut child = world
            .command(args.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a run");
        let mut start = [0; 10];
        let mut out = child.stdout.take().expect("a pipe");
        out.read_exact(&mut start).expect("a start");
        drop(out);
        let run = crate::world::Run::from(child.wait_with_output().expect("an end")).code(0);
        assert_eq!(run.err, "", "{args:?}");
    }
}

fn sample(world: &World) {
    for (key, value, tag) in [("b", "22", "x"), ("a:1", "1", "y"), ("c", "333", "x"), ("a:2", "4444", "y")] {
        world.run(["set", "--create", "c", key, value, "--tag", tag]).code(0);
    }
    world.run(["set", "--create", "c", "--int", "7", "", "--int-tag", "3"]).code(0);
}

#[test]
fn list_filters_and_sorts() {
    let world = World::new();
    sample(&world);
    for (args, expected) in [
        (&[][..], "b a:1 c a:2 --int=7"),
        (&["--reverse"], "--int=7 a:2 c a:1 b"),
        (&["--sort", "key"], "--int=7 a:1 a:2 b c"),
        (&["--sort", "key", "-r"], "c b a:2 a:1 --int=7"),
        (&["--sort", "size", "-r", "-n", "2"], "a:2 c"),
        (&["--sort", "stored"], "b a:1 c a:2 --int=7"),
        (&["--tag", "x"], "b c"),
        (&["--int-tag", "3"], "--int=7"),
        (&["--prefix", "a:"], "a:1 a:2"),
        (&["--prefix", "a:", "-r"], "a:2 a:1"),
        (&["--prefix", "a:", "--tag", "x"], ""),
        (&["--limit", "1"], "b"),
        (&["--expired"], ""),
    ] {
        let run = world.run(["list", "c"].into_iter().chain(args.iter().copied())).code(0);
        assert_eq!(run.lines().join(" "), expected, "{args:?}");
    }
    let long = world.run(["list", "c", "--long", "--tag", "y"]).code(0);
    assert_eq!(long.lines().len(), 2);
    assert!(long.text().contains("never") && long.text().ends_with("a:2\n"), "{}", long.text());
    let json = world.run(["list", "c", "--json"]).code(0);
    let lines: Vec<Json> =
        json.lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[4]["key"], json!({ "int": 7 }));
    assert_eq!(lines[4]["argument"], "--int=7");
    assert_eq!(lines[0]["tag"], json!({ "text": "x" }));
}

#[test]
fn sweeps_say_how_much_they_removed() {
    let world = World::new();
    sample(&world);
    assert_eq!(world.run(["evict", "c", "x"]).code(0).text(), "2 entries removed\n");
    assert_eq!(world.run(["evict", "c", "--int-tag", "3", "--json"]).code(0).json(), json!({ "removed": 1 }));
    assert_eq!(world.run(["evict", "c", "x"]).code(1).text(), "0 entries removed\n");
    assert_eq!(world.run(["cull", "c"]).code(0).text(), "0 entries removed\n");
    assert_eq!(world.run(["clear", "c"]).code(0).text(), "2 entries removed\n");
    assert_eq!(world.run(["list", "c"]).code(0).out, b"");
    world.run(["check", "c"]).code(0);
}

#[test]
fn info_and_stats_tell_scripts_and_people() {
    let world = World::new();
    world.diskcache("c");
    let info = world.run(["info", "c", "--json"]).code(0).json();
    assert_eq!(info["entries"], 22);
    assert_eq!(info["expired"], 1);
    assert_eq!(info["size_limit"], 1 << 20);
    assert_eq!(info["eviction_policy"], "least-recently-used");
    assert_eq!(info["journal"], "wal");
    assert_eq!((&info["hits"], &info["misses"]), (&json!(2), &json!(1)));
    assert!(info["foreign_changes"].is_null() && info["shards"].is_null());
    let text = world.run(["info", "c"]).code(0);
    for line in
        ["kind          Cache", "entries       22, 1 of them expired", "hits          2 of 3 reads (66.7 %)"]
    {
        assert!(text.lines().contains(&line), "{}", text.text());
    }
    let entry = world.run(["info", "c", "long text", "--json"]).code(0).json();
    assert_eq!(entry["kind"], "text");
    assert_eq!(entry["size"], 609);
    assert!(Path::new(entry["path"].as_str().expect("a path")).is_absolute());
    let stats = world.run(["stats", "c", "--json"]).code(0).json();
    assert_eq!((&stats["hits"], &stats["misses"]), (&json!(2), &json!(1)));
    world.run(["stats", "c", "--reset", "--disable"]).code(0);
    let stats = world.run(["stats", "c", "--json"]).code(0).json();
    assert_eq!(stats, json!({ "statistics": false, "hits": 0, "misses": 0, "ratio": null }));
    world.run(["stats", "c", "--enable"]).code(0);
    assert_eq!(world.run(["stats", "c", "--json"]).code(0).json()["statistics"], true);
    // Now that dolium has written, others' changes are counted.
    assert_eq!(world.run(["info", "c", "--json"]).code(0).json()["foreign_changes"], 0);
}

#[test]
fn sharded_caches_are_one() {
    let world = World::new();
    let sharded = dolium::ShardedCache::open(world.path("c"), 4).expect("a cache");
    for number in 0..50 {
        let key = format!("key {number:02}");
        sharded.shard(&key).set(&key, number).expect("a set");
    }
    sharded.named("nested").open().expect("a cache").set("k", "v").expect("a set");
    sharded.close().expect("a close");
    drop(sharded);
    assert_eq!(world.run(["get", "c", "key 07"]).code(0).text(), "7\n");
    world.run(["set", "--create", "c", "--literal=('t', 1)", "v"]).code(0);
    assert_eq!(world.run(["get", "c", "--literal", "('t', 1)"]).code(0).text(), "v");
    let listed = world.run(["list", "c", "--sort", "key"]).code(0);
    assert_eq!(listed.lines().len(), 51);
    assert_eq!(listed.lines()[..2], ["'key 00'", "'key 01'"]);
    let info = world.run(["info", "c", "--json"]).code(0).json();
    assert_eq!((&info["entries"], &info["shards"]), (&json!(51), &json!(4)));
    assert_eq!(info["size_limit"], 1 << 30);
    assert!(info["nested"][0].as_str().expect("a path").ends_with("/c/cache/nested"));
    assert_eq!(world.run(["get", "c/cache/nested", "k"]).code(0).text(), "v");
    world.run(["delete", "c", "key 07"]).code(0);
    world.run(["check", "c"]).code(0);
    assert_eq!(world.run(["clear", "c"]).code(0).text(), "50 entries removed\n");
}

#[test]
fn a_damaged_store_is_told_and_only_fixed_on_demand() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v"]).code(0);
    let database = world.path("c/cache.db");
    std::fs::write(&database, b"this is no database at all").expect("a file");
    let before = snapshot(&world.path("c"));
    world.run(["check", "c"]).code(1);
    assert!(world.run(["get", "c", "k"]).code(2).err.contains("damaged"));
    world.run(["list", "c"]).code(2);
    assert_eq!(snapshot(&world.path("c")), before);
    let fixed = world.run(["check", "c", "--fix"]);
    assert!(fixed.err.contains("renamed to"), "{}", fixed.err);
    world.run(["set", "--create", "c", "k", "new"]).code(0);
    assert_eq!(world.run(["get", "c", "k"]).code(0).text(), "new");
}

#[test]
fn a_value_that_can_never_fit_is_refused() {
    let world = World::new();
    dolium::Cache::builder(world.path("c"))
        .size_limit(Some(50_000))
        .open()
        .and_then(|cache| cache.set("k", "v"))
        .expect("a cache");
    let run = world.run_with_input(["set", "--create", "c", "big", "-"], &vec![1; 100_000]).code(2);
    assert!(run.err.contains("larger than the whole cache"), "{}", run.err);
    assert_eq!(world.run(["list", "c"]).code(0).text(), "k\n");
}

#[test]
fn completions_are_printed_for_each_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.run(["completions", shell]).code(0);
        assert!(script.text().contains("evict"), "{shell}");
    }
}

/// Run with UPDATE=1 after a change that was meant.
#[test]
fn the_help_is_as_it_was_agreed() {
    let world = World::new();
    let mut text = world.run(["--help"]).code(0).text().to_owned();
    let commands = [
        "info",
        "stats",
        "top",
        "list",
        "tags",
        "get",
        "set",
        "delete",
        "pop",
        "touch",
        "expire",
        "evict",
        "cull",
        "clear",
        "check",
        "functions",
        "forget",
        "backup",
        "export",
        "import",
        "path",
        "completions",
    ];
    for command in commands {
        text.push_str(&["\n==== ", command, "\n", world.run([command, "--help"]).code(0).text()].concat());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/help.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).expect("a file");
    }
    assert_eq!(text, std::fs::read_to_string(path).expect("the help"));
}

#[test]
fn the_hot_tier_is_seen_while_others_use_it_and_said_to_be_missing_after() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("cache");
    for key in 0..10 {
        cache.set(key, 1).expect("set");
    }
    cache.get(3).expect("get");
    cache.get(-3).expect("get");
    let tier = &world.run(["info", "c", "--json"]).code(0).json()["hot_tier"];
    assert_eq!(tier["processes"], 1);
    assert_eq!((&tier["counted"]["sets"], &tier["counted"]["hits"]), (&json!(10), &json!(1)));
    assert_eq!(tier["counted"]["misses"], 1);
    let text = world.run(["info", "c"]).code(0);
    assert!(text.lines().iter().any(|line| line.starts_with("hot tier") && line.ends_with(", 1 process")));
    cache.close().expect("close");
    let tier = &world.run(["info", "c", "--json"]).code(0).json()["hot_tier"];
    assert_eq!(tier["none"], "no process uses the cache; the next that does makes one");
}

#[test]
fn top_tells_rates_line_by_line() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("cache");
    cache.set("a", 1).expect("set");
    let looks = std::thread::scope(|scope| {
        let looks = scope.spawn(|| world.run(["top", "c", "-i", "1", "-n", "2", "--json"]).code(0));
        while !looks.is_finished() {
            cache.get("a").expect("get");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        looks.join().expect("top")
    });
    let looks: Vec<serde_json::Value> =
        looks.lines().iter().map(|line| serde_json::from_str(line).expect("an object per line")).collect();
    assert_eq!(looks.len(), 2);
    for look in looks {
        assert_eq!((&look["entries"], &look["hot_tier"]["processes"]), (&json!(1), &json!(1)), "{look}");
        assert!(look["per_second"]["hits"].as_f64().expect("a rate") > 1.0, "{look}");
        assert_eq!(look["per_second"]["misses"], 0.0, "{look}");
    }
    let table = world.run(["top", "c", "-i", "1", "-n", "1"]).code(0);
    assert!(table.lines()[0].trim_start().starts_with("hits/s"), "{}", table.text());
    assert_eq!(table.lines().len(), 2, "no screen where nobody looks: {}", table.text());
}
