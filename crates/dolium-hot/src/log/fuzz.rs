//! The log out of any bytes, for fuzzing: what walks, finds, recovers and drains it must end, and believe no length.

use std::sync::atomic::AtomicU64;

use super::drain::Limit;
use super::memory::Memory;
use super::record::{self, HEAD, View, first};
use super::scratch::Scratch;
use crate::layout::geometry::{Geometry, UNIT};
use crate::layout::header::field;

/// Fields of the header that the bytes decide.
const FIELDS: [usize; 8] = [
    field::HEAD,
    field::TAIL,
    field::DRAINED,
    field::LAST,
    field::APPLIED,
    field::DIRECT,
    field::UNRECOVERED,
    field::COMMITS,
];

/// Does to a log of these bytes whatever is done to one. What could be a record gets the checksum and the offset that
/// make it one: else hardly any would get so far. Returns how many records there were.
#[must_use]
pub fn records(bytes: &[u8]) -> usize {
    let mut input = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let form = input.next().unwrap_or(0);
    let geometry = Geometry { buckets: 1 << (form & 3), units: 64 + (form >> 8 & 0x1ff) };
    let (epoch, applied) = (form | 1, form >> 32);
    let mut words = vec![0; Geometry::INDEX];
    words[field::STATE] = field::LIVE;
    for at in FIELDS {
        // Most values are near those that a log has.
        let value = input.next().unwrap_or(0);
        words[at] = if value >> 63 == 1 { value } else { value & 0xffff };
    }
    words.extend(input.by_ref().take(geometry.slots()));
    words.resize(geometry.log(), 0);
    let log = geometry.log();
    words.extend(input.take(Memory::<AtomicU64>::word_of(geometry.units)));
    words.resize(log + Memory::<AtomicU64>::word_of(geometry.units), 0);
    seal(&mut words[log..], geometry, epoch);
    let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
    use_all(&Memory::new(&words, geometry, epoch), applied)
}

/// Makes records of what has the length of one.
fn seal(log: &mut [u64], geometry: Geometry, epoch: u64) {
    let mut unit = 0;
    while unit < geometry.units {
        let start = Memory::<AtomicU64>::word_of(unit);
        let (units, _) = first(log[start]);
        if units * (UNIT as u64) < HEAD as u64 || units > geometry.longest() || unit + units > geometry.units
        {
            unit += 1;
            continue;
        }
        let words = &mut log[start..start + Memory::<AtomicU64>::word_of(units)];
        words[2] = geometry.units * (1 + (words[2] >> 63)) + unit;
        words[1] = record::checksum(words, record::body_sum(words, epoch));
        unit += units;
    }
}

fn use_all(memory: &Memory<'_>, applied: u64) -> usize {
    let mut scratch = Scratch::new();
    let found = memory.scan(applied);
    for words in &found {
        let view = View::verified(words);
        read(&view);
        let key = view.key();
        if memory.find_beside(key, memory.hash(key.kind, key.bytes), &mut scratch).is_some() {
            read(&View::verified(scratch.words()));
        }
    }
    // As `Tier::lock` does.
    if memory.bounds().is_some() && memory.recover(applied, &mut scratch) && memory.bounds().is_some() {
        let _ = memory.append(&mut record::PendingRecord::delete(record::Key {
            kind: 0,
            spelling: 0,
            bytes: b"",
        }));
        memory.drop_clean(&mut scratch);
    }
    let mut applied = applied;
    let limit = Limit { keys: 16, bytes: 1 << 16 };
    for _ in 0..=memory.geometry.units {
        let batch = memory.pending(applied, limit, &mut scratch);
        for change in batch.changes() {
            read(&change.newest);
        }
        applied = applied.max(batch.seq());
        memory.drained(batch.end(), batch.seq());
        if !memory.is_dirty() || !memory.is_live() {
            return found.len();
        }
    }
    panic!("a log is not drained after as many steps as it has units");
}

/// Reads all that a record says.
fn read(view: &View<'_>) {
    let _ = (view.kind(), view.seq(), view.rest(), view.offset(), view.key());
    let _ = (view.extra(), view.value(), view.tag(), view.has_file(), view.store_time());
    if let Some(row) = view.row() {
        assert_eq!((row.note, row.mode), (view.note(), view.mode()), "a row is what its record says");
    }
}
