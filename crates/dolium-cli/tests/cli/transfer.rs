//! Moving entries: export, import of exports, import of directories that diskcache or dolium made.

use crate::world::{World, snapshot};
use dolium::raw::{self, Frame, encoder};
use serde_json::{Value as Json, json};

/// All entries as JSON, in their order, without what depends on the directory.
fn entries(world: &World, cache: &str) -> Vec<Json> {
    let listed = world.run(["list", cache, "--json"]).code(0);
    let parsed = listed.lines().into_iter().map(|line| {
        let mut entry: Json = serde_json::from_str(line).expect("JSON");
        let argument = entry["argument"].as_str().expect("an argument").to_owned();
        entry["path"] = entry["path"].is_string().into();
        entry["value"] = world.run(["get", cache, &argument, "--json"]).code(0).json();
        entry
    });
    parsed.collect()
}

#[test]
fn a_directory_of_diskcache_is_imported_whole() {
    let world = World::new();
    let source = world.diskcache("source");
    let before = snapshot(&source);
    let report = world.run(["import", "target", "source", "--json"]).code(0).json();
    assert_eq!(snapshot(&source), before, "the source is never changed");
    assert_eq!(report["imported"], 21);
    assert_eq!(report["expired"], 1);
    assert_eq!(report["rewritten"], 1);
    assert_eq!(report["refused"], json!([]));
    let untrusted = report["untrusted"].as_array().expect("a list");
    assert_eq!(untrusted.len(), 1);
    assert_eq!(untrusted[0]["uses"], json!(["subprocess.Popen"]));
    assert_eq!(untrusted[0]["entry"]["argument"], "foreign");
    // Everything is there as it was, but for the key that has a canonical form now.
    let canonical = "--literal=('same', 'same')";
    assert_eq!(world.run(["get", "target", canonical]).code(0).text(), "a key whose pickle refers to itself");
    let (old, new) = (entries(&world, "source"), entries(&world, "target"));
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        if new["argument"] != canonical {
            assert_eq!(old, new);
        }
    }
    let info = world.run(["info", "target", "--json"]).code(0).json();
    assert_eq!(
        (&info["size_limit"], &info["eviction_policy"]),
        (&json!(1 << 20), &json!("least-recently-used"))
    );
    world.run(["check", "target"]).code(0);
}

#[test]
fn people_are_told_what_an_import_refused() {
    let world = World::new();
    world.diskcache("source");
    let run = world.run(["import", "target", "source"]).code(0);
    assert!(run.err.contains("unsigned: foreign: uses subprocess.Popen"), "{}", run.err);
    assert!(
        run.text().starts_with("21 entries imported\n1 left out, since they have expired"),
        "{}",
        run.text()
    );
    let again = world.run(["import", "target", "source", "--keep"]).code(0);
    assert!(again.text().contains("21 left alone, since their keys have values"), "{}", again.text());
}

#[test]
fn only_trust_signs_foreign_pickles() {
    let world = World::new();
    world.diskcache("source");
    let signed =
        |cache: &str, key: &str| world.run(["get", cache, key, "--json"]).code(0).json()["signed"].clone();
    world.run(["import", "wary", "source"]).code(0);
    world.run(["import", "trusting", "source", "--trust"]).code(0);
    for key in ["foreign", "data", "big data"] {
        assert_eq!(signed("wary", key), false, "{key}");
        assert_eq!(signed("trusting", key), true, "{key}");
    }
    let shown = |cache: &str| world.run(["get", cache, "big data"]).code(0).out;
    assert_eq!(shown("wary"), shown("trusting"));
    world.run(["check", "trusting"]).code(0);
}

#[test]
fn only_trust_signs_foreign_pickles_in_frames() {
    let world = World::new();
    // This process has another signing key than the program in that world.
    let source = dolium::Cache::open(world.path("source")).expect("a cache");
    let small = b"\x80\x04csubprocess\nPopen\n.".to_vec();
    let bytes =
        [&b"\x80\x04csubprocess\nPopen\nB"[..], &100_000_u32.to_le_bytes(), &vec![7; 100_000], b"\x86."];
    let large = bytes.concat();
    for (key, pickle) in [("small", &small), ("large", &large)] {
        let frame = Frame::new(encoder::PICKLE, pickle).seconds(Some(1.5));
        source.set_with(key, frame, &dolium::PutOptions::new()).expect("a set");
    }
    source.set_with("text", Frame::new(encoder::TEXT, b"plain"), &dolium::PutOptions::new()).expect("a set");
    source.close().expect("a close");
    drop(source);
    world.run(["export", "source", "file"]).code(0);
    let get = |cache: &str, key: &str| world.run(["get", cache, key, "--json"]).code(0).json();
    for (from, wary, trusting) in [("source", "wary", "trusting"), ("file", "wary2", "trusting2")] {
        let report = world.run(["import", wary, from, "--json"]).code(0).json();
        let untrusted = report["untrusted"].as_array().expect("a list");
        assert_eq!(untrusted.len(), 2, "{report}");
        assert!(untrusted.iter().all(|entry| entry["uses"] == json!(["subprocess.Popen"])), "{report}");
        let report = world.run(["import", trusting, from, "--trust", "--json"]).code(0).json();
        assert_eq!((&report["imported"], &report["untrusted"]), (&json!(3), &json!([])));
        for key in ["small", "large"] {
            let (before, after) = (get(wary, key), get(trusting, key));
            assert_eq!((&before["signed"], &after["signed"]), (&json!(false), &json!(true)), "{key}");
            assert_eq!(before["uses"], after["uses"]);
            assert_ne!(after["repr"], Json::Null);
        }
        assert_eq!(world.run(["get", trusting, "text"]).code(0).text(), "plain");
        let again = world.run(["import", &format!("{trusting} again"), trusting, "--json"]).code(0).json();
        assert_eq!((&again["imported"], &again["untrusted"]), (&json!(3), &json!([])), "they are ours now");
        world.run(["check", trusting]).code(0);
    }
    let trusting = dolium::Cache::open(world.path("trusting")).expect("a cache");
    let frame = raw::framed(&trusting, "small").expect("read");
    assert_eq!(frame.expect("a frame").value.seconds, Some(1.5));
}

#[test]
fn damage_in_a_source_is_contained() {
    let world = World::new();
    let source = world.diskcache("source");
    let path = world.run(["path", "source", "long text"]).code(0);
    std::fs::remove_file(path.text().trim_end()).expect("the file");
    let path = world.run(["path", "source", "big data"]).code(0);
    std::fs::write(path.text().trim_end(), "cut").expect("the file");
    let before = snapshot(&source);
    let run = world.run(["import", "target", "source"]).code(1);
    assert!(run.err.contains("refused: long text: its value file is missing"), "{}", run.err);
    assert!(run.err.contains("refused: big data: its value file is missing"), "{}", run.err);
    assert!(run.text().contains("19 entries imported") && run.text().contains("2 refused"), "{}", run.text());
    assert_eq!(snapshot(&source), before);
    assert_eq!(world.run(["get", "target", "number"]).code(0).text(), "42\n");
}

#[test]
fn pages_that_are_damaged_hide_only_their_own_entries() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("source")).expect("a cache");
    let items = (0..5000).map(|number| (number, "some value that takes a little room"));
    cache.set_many(items, &dolium::PutOptions::new()).expect("a set");
    cache.close().expect("a close");
    drop(cache);
    let database = world.path("source/cache.db");
    let mut bytes = std::fs::read(&database).expect("the database");
    // Entries lie in the order of insertion, so that this is one or two of the leaves between.
    let needle = b"some value that takes a little room";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| window == needle)
        .map(|(at, _)| at)
        .collect();
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let page = places[places.len() / 2] / size * size;
    bytes[page..page + size].fill(0xAA);
    std::fs::write(&database, &bytes).expect("the database");
    let run = world.run(["import", "target", "source", "--json"]).code(1);
    let report = run.json();
    let imported = report["imported"].as_u64().expect("a number");
    assert!((4000..5000).contains(&imported), "{imported}");
    assert!(report["refused"].to_string().contains("damage"), "{report}");
    for key in ["--int=0", "--int=4999"] {
        world.run(["get", "target", key]).code(0);
    }
    assert!(std::fs::read(&database).expect("the database") == bytes, "the source is never changed");
}

#[test]
fn an_export_comes_back_as_it_was() {
    let world = World::new();
    world.diskcache("source");
    let big: Vec<u8> = (0..=255).cycle().take(500_000).collect();
    world.run_with_input(["set", "--create", "source", "big", "-"], &big).code(0);
    world.run(["set", "--create", "source", "signed", "[1]", "--as", "literal"]).code(0);
    world.run(["set", "--create", "source", "--float=-inf", "1e-308", "--as", "float"]).code(0);
    let run = world.run(["export", "source", "file"]).code(0);
    assert_eq!((run.out.as_slice(), run.err.as_str()), (&b""[..], "dolium: 24 entries exported\n"));
    let report = world.run(["import", "target", "file", "--json"]).code(0).json();
    assert_eq!(report["imported"], 24);
    let (mut old, mut new) = (entries(&world, "source"), entries(&world, "target"));
    let is_same = |entry: &Json| entry["repr"] == "('same', 'same')";
    old.retain(|entry| !is_same(entry));
    new.retain(|entry| !is_same(entry));
    assert_eq!(old.len(), 23);
    assert_eq!(old, new);
    assert_eq!(world.run(["get", "target", "signed", "--json"]).code(0).json()["signed"], true);
    world.run(["check", "target"]).code(0);
    let (one, other) =
        (world.run(["export", "source"]).code(0), std::fs::read(world.path("file")).expect("a file"));
    assert_eq!(one.out, other, "standard output has the same bytes");
    let piped = world.run_with_input(["import", "piped", "-", "--json"], &one.out).code(0).json();
    assert_eq!(piped["imported"], 24);
}

#[test]
fn an_export_that_was_cut_off_or_is_none_is_an_error() {
    let world = World::new();
    world.diskcache("source");
    let export = world.run(["export", "source"]).code(0).out;
    let lines: Vec<&[u8]> = export.split_inclusive(|byte| *byte == b'\n').collect();
    let import = |bytes: &[u8]| world.run_with_input(["import", "target", "-"], bytes);
    let cut = import(&lines[..5].concat()).code(2);
    assert!(cut.err.contains("cut off") && cut.text().contains("4 entries imported"), "{cut:?}");
    import(&export[..export.len() - 20]).code(2);
    let without_one = [&lines[..3], &lines[4..]].concat().concat();
    assert!(import(&without_one).code(2).err.contains("entries are missing"));
    let data = lines.iter().position(|line| line.starts_with(b"{\"data\"")).expect("data");
    let without_data = [&lines[..data], &lines[data + 1..]].concat().concat();
    assert!(import(&without_data).code(2).err.contains("data of a value file expected"));
    assert!(import(b"").code(2).err.contains("empty"));
    assert!(import(b"{}\n").code(2).err.contains("no export of dolium"));
    assert!(import(b"{\"dolium-export\": 2}\n").code(2).err.contains("version 2"));
    assert!(import(b"\x89PNG").code(2).err.contains("line 1"));
    let strange = [lines[0], b"{\"key\": 5}\n", lines[2], b"{\"end\": 2}\n"].concat();
    assert!(import(&strange).code(1).err.contains("line 2 is no entry"));
    world.run(["check", "target"]).code(0);
}

#[test]
fn a_failed_export_leaves_the_old_file() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v"]).code(0);
    world.run(["export", "c", "no/such/directory"]).code(2);
    std::fs::write(world.path("file"), "old").expect("a file");
    world.run(["export", "missing", "file"]).code(2);
    assert_eq!(std::fs::read(world.path("file")).expect("a file"), b"old");
    world.run(["export", "c", "file", "--force"]).code(0);
    assert!(std::fs::read(world.path("file")).expect("a file").starts_with(b"{\""));
    let names = std::fs::read_dir(world.home.path()).expect("a directory");
    assert!(names.flatten().all(|entry| entry.path().extension().is_none()), "nothing is left of it");
}

#[test]
fn sharded_caches_move_with_what_is_nested_in_them() {
    let world = World::new();
    let sharded = dolium::ShardedCache::open(world.path("source"), 3).expect("a cache");
    for number in 0..200 {
        sharded.shard(number).set(number, number).expect("a set");
    }
    sharded.named("a/b").open().expect("a cache").set("k", "v").expect("a set");
    sharded.close().expect("a close");
    drop(sharded);
    world.run(["import", "target", "source"]).code(0);
    let info = world.run(["info", "target", "--json"]).code(0).json();
    assert_eq!((&info["entries"], &info["shards"]), (&json!(200), &json!(3)));
    assert_eq!(info["size_limit"], 1 << 30);
    assert_eq!(world.run(["get", "target/cache/a/b", "k"]).code(0).text(), "v");
    // Into a plain cache that is there already, and back through a file.
    world.run(["set", "--create", "plain", "old", "v"]).code(0);
    world.run(["export", "target", "file"]).code(0);
    world.run(["import", "plain", "file"]).code(0);
    assert_eq!(world.run(["info", "plain", "--json"]).code(0).json()["entries"], 201);
    assert!(world.run(["import", "plain", "plain"]).code(2).err.contains("into itself"));
    world.run(["import", "plain", "missing"]).code(2);
    world.run(["import", "plain", "state"]).code(2);
}

/// A value that names a dictionary is worth nothing without it.
#[test]
fn dictionaries_travel_with_the_values() {
    let world = World::new();
    for source in ["plain", "sharded"] {
        let stored =
            raw::StoredDictionary::new("app.page()", 1000.0, b"what pages have in common ".repeat(4));
        let first = if source == "plain" {
            dolium::Cache::open(world.path(source)).expect("a cache")
        } else {
            dolium::ShardedCache::open(world.path(source), 3).expect("a cache").shards()[0].clone()
        };
        assert!(raw::restore_dictionary(&first, &stored).expect("stored"));
        first.set("key", "value").expect("stored");
        first.close().expect("closed");
        let dictionaries = |name: &str| {
            let path = if source == "plain" { world.path(name) } else { world.path(name).join("000") };
            raw::dictionaries(&dolium::Cache::open(path).expect("a cache")).expect("read")
        };
        let [file, by_file, by_directory] =
            ["dump", "file", "directory"].map(|name| format!("{source}-{name}"));
        world.run(["export", source, &file]).code(0);
        world.run(["import", &by_file, &file]).code(0);
        world.run(["import", &by_directory, source]).code(0);
        assert_eq!(dictionaries(&by_file), std::slice::from_ref(&stored));
        assert_eq!(dictionaries(&by_directory), std::slice::from_ref(&stored));
        // What is there already is not refused.
        world.run(["import", &by_directory, source]).code(0);
    }
}
