//! A reader against a writer, in every order that the memory model allows.
//!
//! Writers do not depend on readers, so their stores are recorded once, in program order. A load may then return any store
//! to its word that is not older than what the reader has seen of that word, or must know of: an acquire load knows all
//! that came before the release store that it returns, and an acquire fence all that came before the release fence in
//! front of what was returned until then. Every choice of every load is tried, with the very code of the tier.

use super::world::{delete, fresh, key_bytes, limit, pending_record, value_of};
use crate::layout::geometry::Geometry;
use crate::layout::header::field;
use crate::log::atomic::Atomic;
use crate::log::memory::Memory;
use crate::log::record::{Key, Kind, View};
use crate::log::scratch::Scratch;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Nine records of five to seven units.
const RING: Geometry = Geometry { buckets: 1, units: 56 };
/// The database, as one more word: a commit is a release store, a transaction that begins an acquire load.
const DATABASE: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Store {
    time: usize,
    value: u64,
    /// A load that acquires this knows of every store before that time.
    view: usize,
}

#[derive(Default)]
struct Machine {
    stores: HashMap<usize, Vec<Store>>,
    now: usize,
    /// The last release fence.
    fence: usize,
    reader: Option<Reader>,
    /// What the reader's loads returned, and out of how many.
    choices: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Reader {
    known: usize,
    /// Known after the next acquire fence.
    offered: usize,
    seen: HashMap<usize, usize>,
    step: usize,
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
    /// Whether fences do something: for the proof that this search would find out.
    static FENCES: Cell<bool> = const { Cell::new(true) };
    static NUMBERS: Cell<usize> = const { Cell::new(0) };
}

/// A word, by number.
struct WeakWord(usize);

impl From<u64> for WeakWord {
    fn from(value: u64) -> Self {
        let word = Self(NUMBERS.replace(NUMBERS.get() + 1));
        store(word.0, value, Release);
        word
    }
}

fn store(at: usize, value: u64, order: Ordering) {
    MACHINE.with_borrow_mut(|machine| {
        assert!(machine.reader.is_none(), "readers do not write");
        machine.now += 1;
        let time = machine.now;
        let view = if order == Relaxed { machine.fence } else { time };
        machine.stores.entry(at).or_default().push(Store { time, value, view });
    });
}

fn load(at: usize, order: Ordering) -> u64 {
    MACHINE.with_borrow_mut(|machine| {
        let stores = &machine.stores[&at];
        let Some(reader) = &mut machine.reader else {
            return stores.last().expect("written first").value;
        };
        let least = reader.seen.get(&at).copied().unwrap_or(0);
        let oldest = stores.iter().rposition(|store| store.time <= reader.known.max(least)).unwrap_or(0);
        let possible = &stores[oldest..];
        if reader.step == machine.choices.len() {
            machine.choices.push((0, possible.len()));
        }
        let found = possible[machine.choices[reader.step].0];
        reader.step += 1;
        reader.seen.insert(at, found.time);
        reader.offered = reader.offered.max(found.view);
        if order != Relaxed {
            reader.known = reader.known.max(found.view);
        }
        found.value
    })
}

impl Atomic for WeakWord {
    fn load(&self, order: Ordering) -> u64 {
        load(self.0, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        store(self.0, value, order);
    }

    fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        let before = load(self.0, order);
        store(self.0, before.max(value), order);
        before
    }

    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        let before = load(self.0, order);
        store(self.0, before + value, order);
        before
    }

    fn replace(&self, expected: u64, value: u64, order: Ordering) -> bool {
        let is_it = load(self.0, order) == expected;
        if is_it {
            store(self.0, value, order);
        }
        is_it
    }

    fn fence(order: Ordering) {
        if !FENCES.get() {
            return;
        }
        MACHINE.with_borrow_mut(|machine| match &mut machine.reader {
            Some(reader) => reader.known = reader.known.max(reader.offered),
            None if matches!(order, Release | AcqRel | SeqCst) => machine.fence = machine.now,
            None => {}
        });
    }
}

struct WeakTier {
    words: Vec<WeakWord>,
}

impl WeakTier {
    fn new() -> Self {
        MACHINE.take();
        NUMBERS.set(0);
        store(DATABASE, 0, Release);
        Self { words: fresh(RING) }
    }

    fn memory(&self) -> Memory<'_, WeakWord> {
        Memory::new(&self.words, RING, 1)
    }

    fn set(&self, key: u8, value: u32) {
        self.memory().append(&mut pending_record(Kind::Set, key, value)).expect("room");
    }

    /// The database is about key 1 only.
    fn drain(&self) {
        let memory = self.memory();
        let batch =
            memory.pending(memory.field(field::APPLIED).load(Acquire), limit(100), &mut Scratch::new());
        for change in batch.changes() {
            if change.newest.key().bytes == key_bytes(1) {
                store(DATABASE, value_of(&change.newest).map_or(0, u64::from), Release);
            }
        }
        memory.drained(batch.end(), batch.seq());
    }

    /// What a reader of key 1 is told; 0: there is none.
    fn look(&self) -> u64 {
        self.look_at(1)
    }

    /// As `Tier::get`.
    fn look_at(&self, key: u8) -> u64 {
        let (memory, bytes) = (self.memory(), key_bytes(key));
        let mut scratch = Scratch::new();
        let (name, hash) = (Key { kind: 3, spelling: 0, bytes: &bytes }, memory.hash(3, &bytes));
        let is_found = if memory.is_settled() {
            memory.find(name, hash, &mut scratch).is_some()
        } else {
            memory.find_beside(name, hash, &mut scratch).is_some()
        };
        if is_found {
            value_of(&View::verified(scratch.words())).map_or(0, u64::from)
        } else {
            load(DATABASE, Acquire)
        }
    }

    /// Runs a reader in every way that is possible since `before`, when it knew all; how many there are.
    fn explore(&self, before: usize, mut reader: impl FnMut(&Self)) -> usize {
        let mut ways = 0;
        loop {
            ways += 1;
            MACHINE.with_borrow_mut(|machine| {
                machine.reader = Some(Reader { known: before, ..Reader::default() });
            });
            reader(self);
            let goes_on = MACHINE.with_borrow_mut(|machine| {
                machine.reader = None;
                while machine.choices.last().is_some_and(|(taken, of)| taken + 1 >= *of) {
                    machine.choices.pop();
                }
                machine.choices.last_mut().map(|last| last.0 += 1).is_some()
            });
            if !goes_on {
                return ways;
            }
        }
    }
}

fn now() -> usize {
    MACHINE.with_borrow(|machine| machine.now)
}

/// Key 1 has `history[0]`, then `write` gives it the others in turn: two readings see two of them, in order.
fn check(prepare: fn(&WeakTier), write: fn(&WeakTier), history: &[u64]) -> usize {
    let tier = WeakTier::new();
    prepare(&tier);
    let before = now();
    write(&tier);
    let place = |value| history.iter().position(|known| *known == value);
    let mut met = vec![false; history.len()];
    let ways = tier.explore(before, |tier| {
        let (first, second) = (tier.look(), tier.look());
        let (Some(first), Some(second)) = (place(first), place(second)) else {
            panic!("{first} then {second}: that was never stored");
        };
        assert!(first <= second, "{} then {}", history[first], history[second]);
        (met[first], met[second]) = (true, true);
    });
    assert!(met.iter().all(|met| *met), "{met:?} of {history:?}: the search is too narrow");
    ways
}

#[test]
fn a_reader_never_goes_back_while_a_value_is_replaced() {
    let ways = check(|tier| tier.set(1, 23), |tier| tier.set(1, 46), &[23, 46]);
    println!("{ways} ways");
}

#[test]
fn a_reader_never_goes_back_while_its_record_is_drained_and_lapped() {
    let lapped = check(
        |tier| {
            tier.set(1, 23);
            (2..9).for_each(|key| tier.set(key, 23));
        },
        |tier| {
            tier.drain();
            (2..5).for_each(|key| tier.set(key, 46));
        },
        &[23],
    );
    let again = check(
        |tier| {
            tier.set(1, 23);
            (2..9).for_each(|key| tier.set(key, 23));
        },
        |tier| {
            tier.drain();
            (2..4).for_each(|key| tier.set(key, 46));
            tier.set(1, 69);
        },
        &[23, 69],
    );
    println!("{lapped} and {again} ways");
}

#[test]
fn a_deleted_key_stays_away_when_its_deletion_is_drained_and_forgotten() {
    let ways = check(
        |tier| tier.set(1, 23),
        |tier| {
            tier.memory().append(&mut delete(1)).expect("room");
            tier.drain();
            assert!(tier.memory().drop_key(3, &key_bytes(1), &mut Scratch::new()));
        },
        &[23, 0],
    );
    println!("{ways} ways");
}

#[test]
fn a_direct_commit_is_seen_once_and_for_all() {
    let prepare = |tier: &WeakTier| {
        tier.set(1, 23);
        tier.drain();
    };
    let by_key = check(
        prepare,
        |tier| {
            let memory = tier.memory();
            memory.announce();
            assert!(memory.drop_key(3, &key_bytes(1), &mut Scratch::new()));
            store(DATABASE, 46, Release);
            memory.committed();
            tier.set(1, 69);
        },
        &[23, 46, 69],
    );
    let all = check(
        prepare,
        |tier| {
            let memory = tier.memory();
            memory.announce();
            memory.settle();
            memory.drop_clean(&mut Scratch::new());
            store(DATABASE, 46, Release);
            memory.committed();
        },
        &[23, 46],
    );
    println!("{by_key} and {all} ways");
}

#[test]
fn a_reader_that_sees_one_record_of_a_chunk_sees_the_others() {
    for keys in [[1, 2], [2, 1]] {
        let tier = WeakTier::new();
        tier.set(1, 23);
        tier.set(2, 23);
        let before = now();
        let mut records = [1, 2].map(|key| pending_record(Kind::Set, key, 46));
        tier.memory().append_all(&mut records, &mut Scratch::new()).expect("room");
        let mut met = std::collections::BTreeSet::new();
        let ways = tier.explore(before, |tier| {
            let seen = keys.map(|key| tier.look_at(key));
            assert_ne!(seen, [46, 23], "of {keys:?}");
            met.insert(seen);
        });
        println!("{ways} ways, {met:?}");
        assert_eq!(met.len(), 3, "the search is too narrow");
    }
}

/// Copies the first record while it is lapped: how often what the tail vouched for was not whole.
fn torn() -> (usize, usize) {
    let tier = WeakTier::new();
    (1..9).for_each(|key| tier.set(key, 23));
    tier.drain();
    let before = now();
    (1..3).for_each(|key| tier.set(key, 46));
    let mut torn = 0;
    let ways = tier.explore(before, |tier| {
        let mut scratch = Scratch::new();
        if let Some(body) = tier.memory().snatch(RING.units, &mut scratch) {
            torn += usize::from(View::read(scratch.words(), body, RING.units).is_none());
        }
    });
    (torn, ways)
}

#[test]
fn what_the_tail_vouches_for_is_whole_even_without_its_checksum() {
    let (found, ways) = torn();
    println!("{ways} ways");
    assert_eq!(found, 0);
    FENCES.set(false);
    let (found, _) = torn();
    FENCES.set(true);
    assert!(found > 0, "without the fences this search would find torn records");
}
