//! Commands on single entries: what they print, and how they end.

use crate::world::World;
use serde_json::json;

#[test]
fn text_goes_in_and_comes_out_byte_for_byte() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "Grüße\r\n"]).code(0);
    let got = world.run(["get", "c", "k"]).code(0);
    assert_eq!(got.out, "Grüße\r\n".as_bytes());
    assert_eq!(got.err, "");
}

#[test]
fn a_missing_key_is_1_and_says_so_on_stderr() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v"]).code(0);
    for command in ["get", "pop", "delete", "touch", "path", "info"] {
        let run = world.run([command, "c", "nope"]).code(1);
        assert_eq!(run.out, b"", "{command}");
        assert_eq!(run.err, "dolium: nope: not found\n", "{command}");
    }
}

#[test]
fn values_have_the_type_that_is_asked_for() {
    let world = World::new();
    for (kind, value, shown) in [
        ("int", "-5", "-5\n"),
        ("float", "2", "2.0\n"),
        ("bytes", "raw", "raw"),
        ("literal", "{'a': [1, (2.5, None)]}", "{'a': [1, (2.5, None)]}\n"),
        ("literal", "'text'", "text"),
    ] {
        world.run(["set", "--create", "c", "k", value, "--as", kind]).code(0);
        assert_eq!(world.run(["get", "c", "k"]).code(0).text(), shown);
    }
    world.run(["set", "--create", "c", "k", "x", "--as", "int"]).code(2);
    world.run(["set", "--create", "c", "k", "[1", "--as", "literal"]).code(2);
    assert_eq!(world.run(["get", "c", "k"]).code(0).text(), "text", "a failed set changes nothing");
}

#[test]
fn get_as_json_says_what_the_value_is() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v", "--tag", "t", "--expire", "1h"]).code(0);
    let got = world.run(["get", "c", "k", "--json"]).code(0).json();
    assert_eq!(got["type"], "text");
    assert_eq!(got["value"], "v");
    assert_eq!(got["tag"], json!({ "text": "t" }));
    assert_eq!(got["key"], json!({ "text": "k" }));
    let left = got["expire_time"].as_f64().expect("a time") - got["store_time"].as_f64().expect("a time");
    assert!((left - 3600.0).abs() < 0.001);
    world.run_with_input(["set", "--create", "c", "b", "-"], b"\0\xff").code(0);
    let got = world.run(["get", "c", "b", "--json"]).code(0).json();
    assert_eq!((&got["type"], &got["base64"]), (&json!("bytes"), &json!("AP8=")));
    world.run(["set", "--create", "c", "p", "(1,)", "--as", "literal"]).code(0);
    let got = world.run(["get", "c", "p", "--json"]).code(0).json();
    assert_eq!(
        (&got["type"], &got["repr"], &got["signed"]),
        (&json!("pickle"), &json!("(1,)"), &json!(true))
    );
}

#[test]
fn standard_input_and_files_are_bytes_small_and_large() {
    let world = World::new();
    for length in [0, 5, (1 << 15) - 1, 1 << 15, 300_000] {
        let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
        world.run_with_input(["set", "--create", "c", "stdin", "-"], &bytes).code(0);
        assert_eq!(world.run(["get", "c", "stdin"]).code(0).out, bytes, "{length}");
        std::fs::write(world.path("file"), &bytes).expect("a file");
        world.run(["set", "--create", "c", "file", "--file", "file"]).code(0);
        assert_eq!(world.run(["get", "c", "file"]).code(0).out, bytes, "{length}");
    }
    let path = world.run(["path", "c", "file"]).code(0);
    let kept = std::fs::read(path.text().trim_end()).expect("the value file");
    assert_eq!(kept.len(), 300_000);
    world.run(["set", "--create", "c", "small", "v"]).code(0);
    assert!(world.run(["path", "c", "small"]).code(1).err.contains("in the database"));
    world.run(["set", "--create", "c", "k", "--file", "no such file"]).code(2);
    world.run(["check", "c"]).code(0);
}

#[test]
fn every_kind_of_key_can_be_named_and_is_listed_as_it_is_named() {
    let world = World::new();
    let keys = [
        "plain",
        "two words",
        "it's",
        "--text=-x",
        "--text=",
        r"--literal='a\nb'",
        "--int=-5",
        "--float=1.5",
        "--float=inf",
        "--bytes-hex=00ff",
        "--literal=('mod.f', 1, None)",
        "--literal=(b'\\x00', True, (), frozenset({1, 2}), 0x8000000000000000)",
        "--literal=None",
        "--literal=nan",
        "--pickle-hex=80055d2e",
    ];
    for key in keys {
        world.run(["set", "--create", "c", key, "value"]).code(0);
        assert_eq!(world.run(["get", "c", key]).code(0).text(), "value", "{key}");
    }
    let listed = world.run(["list", "c", "-0"]).code(0);
    let listed: Vec<_> = listed.text().split_terminator('\0').collect();
    assert_eq!(listed, keys);
    // The other form is what a shell takes apart to the same.
    for line in world.run(["list", "c"]).code(0).lines() {
        let script = format!("exec \"$DOLIUM\" get c {line}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]).current_dir(world.home.path());
        shell.env("DOLIUM", env!("CARGO_BIN_EXE_dolium")).env("XDG_STATE_HOME", world.path("state"));
        assert_eq!(shell.output().expect("a shell").stdout, b"value", "{line}");
    }
    for key in keys {
        world.run(["delete", "c", key]).code(0);
    }
    assert_eq!(world.run(["list", "c"]).code(0).out, b"");
}

#[test]
fn equal_keys_are_one() {
    let world = World::new();
    world.run(["set", "--create", "c", "--int=1", "v"]).code(0);
    assert_eq!(world.run(["get", "c", "--float=1"]).code(0).text(), "v");
    assert_eq!(world.run(["get", "c", "--literal=1"]).code(0).text(), "v");
    world.run(["get", "c", "1"]).code(1);
    world.run(["get", "c", "--literal=True"]).code(1);
}

#[test]
fn pop_prints_and_removes() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v"]).code(0);
    assert_eq!(world.run(["pop", "c", "k"]).code(0).text(), "v");
    world.run(["pop", "c", "k"]).code(1);
}

#[test]
fn touch_and_expire_change_when_entries_end() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "v", "--expire", "1w"]).code(0);
    world.run(["touch", "c", "k"]).code(0);
    assert!(world.run(["info", "c", "k", "--json"]).code(0).json()["expire_time"].is_null());
    world.run(["touch", "c", "k", "--expire", "0"]).code(0);
    world.run(["get", "c", "k"]).code(1);
    assert_eq!(world.run(["list", "c"]).code(0).out, b"");
    assert_eq!(world.run(["list", "c", "--expired"]).code(0).text(), "k\n");
    assert_eq!(world.run(["expire", "c", "--json"]).code(0).json(), json!({ "removed": 1 }));
    assert_eq!(world.run(["expire", "c"]).code(0).text(), "0 entries removed\n");
    world.run(["touch", "c", "k", "--expire", "5 m"]).code(2);
}

#[test]
fn add_leaves_what_is_there() {
    let world = World::new();
    world.run(["set", "--create", "c", "k", "first", "--add"]).code(0);
    assert!(
        world
            .run(["set", "--create", "c", "k", "second", "--add"])
            .code(1)
            .err
            .contains("has a value already")
    );
    assert_eq!(world.run(["get", "c", "k"]).code(0).text(), "first");
}

#[test]
fn a_pickle_is_described_and_never_run() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("a cache");
    let marker = world.path("marker");
    let hostile = format!("cos\nsystem\n(S'touch {}'\ntR.", marker.display());
    cache.set("k", dolium::Payload::Pickle(hostile.as_bytes())).expect("a set");
    cache.close().expect("a close");
    let got = world.run(["get", "c", "k"]).code(0);
    assert_eq!(got.text(), format!("os.system('touch {}')\n", marker.display()));
    assert!(got.err.contains("uses os.system") && got.err.contains("it was not run"), "{}", got.err);
    assert!(!marker.exists());
    assert_eq!(world.run(["get", "c", "k", "--json"]).code(0).json()["foreign"], json!(["os.system"]));
}

#[test]
fn what_serde_stored_is_shown() {
    let world = World::new();
    let cache = dolium::Cache::open(world.path("c")).expect("a cache");
    cache.set_as("k", &json!({ "a": [1, null] }), &dolium::PutOptions::new()).expect("a set");
    cache.close().expect("a close");
    assert_eq!(world.run(["get", "c", "k"]).code(0).text(), "{'a': [1, None]}\n");
    assert_eq!(world.run(["get", "c", "k", "--raw"]).code(0).out, b"\x81\xa1a\x92\x01\xc0");
}

#[test]
fn a_value_without_its_file_is_reported() {
    let world = World::new();
    world.run_with_input(["set", "--create", "c", "k", "-"], &vec![7; 100_000]).code(0);
    let path = world.run(["path", "c", "k"]).code(0);
    std::fs::remove_file(path.text().trim_end()).expect("the file");
    assert!(world.run(["get", "c", "k"]).code(1).err.contains("value file is missing"));
    world.run(["get", "c", "k", "--json"]).code(1);
    let problems = world.run(["check", "c", "--json"]).code(1).json();
    assert_eq!(problems["problems"][0]["kind"], "missing");
    let count = problems["problems"].as_array().map(Vec::len);
    assert_eq!(problems["remaining"], json!(count), "nothing was fixed");
    let fixed = world.run(["check", "c", "--fix"]).code(0);
    assert!(fixed.err.contains("all put right"), "{}", fixed.err);
    assert!(world.run(["check", "c"]).code(0).err.contains("no problems"));
    assert!(world.run(["get", "c", "k"]).code(1).err.contains("not found"));
}
