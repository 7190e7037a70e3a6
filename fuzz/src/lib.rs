//! What each fuzz target does with bytes that another user may have written: nothing may panic, hang or outgrow them.
//!
//! `crates/dolium-cli/tests/fuzz.rs` includes this file and runs it on stable Rust.

use std::sync::LazyLock;

use dolium::Key;
use dolium::raw::pickle::op::Op;
use dolium::raw::{Dictionary, Frame, undo};

/// What a description or a key may have beside what its pickle has.
const SLACK: usize = 32 << 20;

/// Pickles: the reader, the description of the command line, and the stored form of a key.
pub fn pickle(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(op) = Op::read(rest) {
        assert!(op.rest().len() < rest.len(), "an opcode has no bytes");
        rest = op.rest();
    }
    if let Some(shown) = dolium_cli::fuzz::describe(bytes) {
        assert!(shown.len() <= 16 * (bytes.len() + SLACK), "a description outgrows its pickle");
    }
    let key = Key::from_pickle(bytes.to_vec());
    if let Key::Object(object) = &key {
        // Whether there is a longer form or not, the stored one is bounded.
        assert!(object.stored().len() <= bytes.len() + SLACK, "a key outgrows its pickle");
        assert!(object.former().iter().all(|form| form.pickle().is_some()), "a form is a pickle");
    }
    let again = Key::from_pickle(bytes.to_vec());
    assert_eq!(key.pickle(), again.pickle(), "a key has one stored form");
}

static SOUND: LazyLock<Option<Dictionary>> =
    LazyLock::new(|| Dictionary::new(b"spam and eggs, bacon and sausage, ".repeat(64)));

/// Frames: the reader, and the filters that the engine undoes.
pub fn frame(bytes: &[u8]) {
    let head = Frame::peek(bytes);
    assert!(Frame::signed_bytes(bytes).len() <= bytes.len(), "a signature covers what is there");
    let Some(frame) = Frame::parse(bytes) else { return };
    assert!(head.is_some_and(|head| head.stored == bytes.len() as u64), "a head says how long its frame is");
    assert!(frame.body.len() <= bytes.len(), "a body outgrows its frame");
    let _ = (frame.int(), frame.float(), frame.text(), frame.signed_part());
    // Without a dictionary, with a sound one, and with one that another user may have written.
    let hostile = Dictionary::new(frame.body.to_vec());
    for dictionary in [None, SOUND.as_ref(), hostile.as_ref()] {
        if let Some((left, body)) = undo(frame.filters, frame.body, dictionary.map(Dictionary::decoder)) {
            assert!(left <= frame.filters.len(), "a filter is undone once");
            assert!(body.len() <= (256 << 20).max(bytes.len() << 13), "a value outgrows its limit");
        }
    }
}

/// `MessagePack`: the description of the command line.
pub fn msgpack(bytes: &[u8]) {
    if let Some(shown) = dolium_cli::fuzz::unpack(bytes) {
        assert!(shown.len() <= 64 * bytes.len() + 64, "a description outgrows its bytes");
    }
}

/// The log of the hot tier, and the records in it; returns how many there are.
#[cfg(target_os = "linux")]
pub fn tier_records(bytes: &[u8]) -> usize {
    dolium_hot::fuzz_records(bytes)
}
