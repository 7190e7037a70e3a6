//! The fuzz targets on stable Rust: each over its seeds, over changed seeds and over any bytes, so that none rots.
//!
//! `PROPTEST_CASES` says how often. `cargo fuzz` does the same with more cunning: see `fuzz/README.md`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

type Seeds = LazyLock<Vec<Vec<u8>>>;

static PICKLES: Seeds = LazyLock::new(|| seeds("pickle"));
static MESSAGES: Seeds = LazyLock::new(|| seeds("msgpack"));
static FRAMES: Seeds = LazyLock::new(|| seeds("frame"));
static LOGS: Seeds = LazyLock::new(|| seeds("tier_records"));

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "{target} has its seeds");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A seed of which some bytes were changed, left out or taken from another.
fn changed(seeds: &'static Seeds) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), any::<u8>(), 0..4_u8, any::<Index>(), 1..24_usize);
    (any::<Index>(), proptest::collection::vec(edit, 1..8)).prop_map(|(seed, edits)| {
        let mut bytes = seed.get(seeds.as_slice()).clone();
        for (at, byte, kind, other, count) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + count).min(bytes.len());
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, byte),
                _ => {
                    let other = other.get(seeds.as_slice());
                    let from = usize::from(byte) % (other.len() + 1);
                    let part = &other[from..(from + count).min(other.len())];
                    bytes.splice(at..at, part.iter().copied());
                }
            }
        }
        bytes
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

#[test]
fn targets_survive_their_seeds() {
    PICKLES.iter().for_each(|bytes| targets::pickle(bytes));
    MESSAGES.iter().for_each(|bytes| targets::msgpack(bytes));
    FRAMES.iter().for_each(|bytes| targets::frame(bytes));
    for bytes in LOGS.iter() {
        assert!(targets::tier_records(bytes) > 2, "a seed is a log with records");
    }
}

proptest! {
    #[test]
    fn pickle_target_survives_changed_seeds(bytes in changed(&PICKLES)) {
        targets::pickle(&bytes);
    }

    #[test]
    fn pickle_target_survives_any_bytes(bytes in any_bytes()) {
        targets::pickle(&bytes);
    }

    #[test]
    fn msgpack_target_survives_changed_seeds(bytes in changed(&MESSAGES)) {
        targets::msgpack(&bytes);
    }

    #[test]
    fn msgpack_target_survives_any_bytes(bytes in any_bytes()) {
        targets::msgpack(&bytes);
    }

    #[test]
    fn frame_target_survives_changed_seeds(bytes in changed(&FRAMES)) {
        targets::frame(&bytes);
    }

    #[test]
    fn frame_target_survives_any_bytes(bytes in any_bytes()) {
        targets::frame(&bytes);
    }

    #[test]
    fn log_target_survives_changed_seeds(bytes in changed(&LOGS)) {
        targets::tier_records(&bytes);
    }

    #[test]
    fn log_target_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        targets::tier_records(&bytes);
    }
}
