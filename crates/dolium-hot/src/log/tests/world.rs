//! A tier in front of a database of the tests' own, with what a user of both does to them, and what must be true.

use super::mortal::{Mortal, step};
use crate::layout::geometry::Geometry;
use crate::layout::header::field;
use crate::log::drain::{Batch, Limit};
use crate::log::hash;
use crate::log::memory::Memory;
use crate::log::record::{Cell, Key, Kind, PendingRecord, Row, View};
use crate::log::scratch::Scratch;
use std::sync::LazyLock;

/// Rows in the order of insertion: key and value.
pub(crate) type Rows = Vec<(u8, u32)>;

/// What a user does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Set(u8, u32),
    Delete(u8),
    /// Prepares the record with which `Late` then sets the key, however much happens in between.
    Early(u8),
    Late(u8),
    /// Sets a key if the tier knows it, only if that still is the newest record, as adding to a number does.
    Over(u8, u32),
    /// All or none.
    Chunk(Vec<(u8, u32)>),
    /// The same where the tier knows the key, over what is newest there.
    ChunkOver(Vec<(u8, u32)>),
    /// Reads a key, and fills the tier with what the database had.
    Read(u8),
    Drain(usize),
    /// Changes the database in a transaction of another kind. True: forgets everything instead of the keys.
    Direct(Vec<(u8, Option<u32>)>, bool),
    Evict(u8),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    pub rows: Rows,
    pub applied: u64,
    /// A transaction whose process died between the last frame of the log and the header of its index. No reader sees
    /// it, and the next commit writes over it. But it is there if the log is recovered before.
    pub orphan: Option<Box<(Rows, u64)>>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub words: Vec<Mortal>,
    pub geometry: Geometry,
    pub epoch: u64,
    pub database: Database,
    /// What every user must see.
    pub truth: Rows,
    /// What `truth` becomes once the operation under way is done.
    pub next: Rows,
    pub holds_t: bool,
    /// Of `Op::Early`.
    early: Vec<(u8, PendingRecord)>,
}

/// What `Op::Late` stores.
pub(crate) const LATE: u32 = 4_000_000;

pub(crate) fn key_bytes(key: u8) -> [u8; 5] {
    [b'k', b'e', b'y', b'-', key]
}

pub(crate) fn key_of(bytes: &[u8]) -> u8 {
    bytes[4]
}

/// Values of different lengths, all of whose bytes depend on the number.
pub(crate) fn value_bytes(value: u32) -> Vec<u8> {
    value.to_le_bytes().repeat(1 + (value % 23) as usize)
}

pub(crate) fn pending_record(kind: Kind, key: u8, value: u32) -> PendingRecord {
    let bytes = value_bytes(value);
    let row = Row {
        store_time: 1.0,
        expire_time: None,
        tag: Cell::Null,
        size: 0,
        mode: 1,
        filename: None,
        value: Cell::Blob(&bytes),
        note: 0,
    };
    PendingRecord::row(kind, Key { kind: 3, spelling: 3, bytes: &key_bytes(key) }, &row)
}

pub(crate) fn delete(key: u8) -> PendingRecord {
    PendingRecord::delete(Key { kind: 3, spelling: 3, bytes: &key_bytes(key) })
}

/// What a record says about its key, checked byte for byte.
pub(crate) fn value_of(view: &View<'_>) -> Option<u32> {
    let row = view.row()?;
    let Cell::Blob(bytes) = row.value else { panic!("not a value of ours: {row:?}") };
    let value = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(bytes, value_bytes(value));
    Some(value)
}

pub(crate) fn put(rows: &mut Rows, key: u8, value: Option<u32>) {
    match (rows.iter().position(|row| row.0 == key), value) {
        (Some(at), Some(value)) => rows[at].1 = value,
        (None, Some(value)) => rows.push((key, value)),
        (Some(at), None) => drop(rows.remove(at)),
        (None, None) => {}
    }
}

pub(crate) fn get(rows: &Rows, key: u8) -> Option<u32> {
    rows.iter().find(|row| row.0 == key).map(|row| row.1)
}

pub(crate) fn fresh<A: From<u64>>(geometry: Geometry) -> Vec<A> {
    let mut words: Vec<u64> = vec![0; usize::try_from(geometry.file_len() / 8).expect("small")];
    for at in [field::HEAD, field::TAIL, field::DRAINED] {
        words[at] = geometry.units;
    }
    words[field::STATE] = field::LIVE;
    words.into_iter().map(A::from).collect()
}

/// A epoch in which two of the first keys are the same to all that the index sees of them.
fn epoch() -> u64 {
    static EPOCH: LazyLock<u64> = LazyLock::new(|| {
        let seen = |key, epoch| hash::key(3, &key_bytes(key), epoch) & 0xffff_0000_0000_0007;
        let alike = |epoch: &u64| (1..8).any(|b| (0..b).any(|a| seen(a, *epoch) == seen(b, *epoch)));
        (0x5eed..u64::MAX).find(alike).expect("one in 20,000")
    });
    *EPOCH
}

impl World {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            words: fresh(geometry),
            geometry,
            epoch: epoch(),
            database: Database::default(),
            truth: Rows::new(),
            next: Rows::new(),
            holds_t: false,
            early: Vec::new(),
        }
    }

    pub(crate) fn memory(&self) -> Memory<'_, Mortal> {
        Memory::new(&self.words, self.geometry, self.epoch)
    }

    /// Returns what a reader that looks a key up is told.
    pub(crate) fn look(&self, key: u8) -> Option<u32> {
        let memory = self.memory();
        let bytes = key_bytes(key);
        let mut scratch = Scratch::new();
        let found = memory
            .find_beside(Key { kind: 3, spelling: 0, bytes: &bytes }, memory.hash(3, &bytes), &mut scratch)
            .map(|_| value_of(&View::verified(scratch.words())));
        found.unwrap_or_else(|| get(&self.database.rows, key))
    }

    /// Where the newest record of a key lies.
    pub(crate) fn known(&self, key: u8) -> Option<u64> {
        let (memory, bytes) = (self.memory(), key_bytes(key));
        let hash = memory.hash(3, &bytes);
        let key = Key { kind: 3, spelling: 0, bytes: &bytes };
        memory.find(key, hash, &mut Scratch::new()).map(|(place, _)| place.offset)
    }

    pub(crate) fn sees(&self) -> Vec<Option<u32>> {
        (0..=u8::MAX).map(|key| self.look(key)).collect()
    }

    pub(crate) fn check_sees(&self, rows: &Rows, when: &str) {
        for key in 0..=u8::MAX {
            assert_eq!(self.look(key), get(rows, key), "key {key} {when}");
        }
    }

    /// What the index says of a key of which nothing is dirty is what the database says.
    pub(crate) fn check_clean(&self, when: &str) {
        let mut settled = self.clone();
        settled.drain(usize::MAX);
        for key in 0..=u8::MAX {
            assert_eq!(settled.look(key), get(&settled.database.rows, key), "clean key {key} {when}");
        }
    }

    /// Does one thing as the engine does it; kills may fall anywhere in it.
    pub(crate) fn run(&mut self, op: &Op) {
        self.next = self.truth.clone();
        match op {
            Op::Set(key, value) => {
                put(&mut self.next, *key, Some(*value));
                self.append(&mut [pending_record(Kind::Set, *key, *value)]);
            }
            Op::Delete(key) => {
                put(&mut self.next, *key, None);
                self.append(&mut [delete(*key)]);
            }
            Op::Early(key) => {
                let mut record = pending_record(Kind::Set, *key, LATE);
                self.memory().prepare(&mut record);
                self.early.push((*key, record));
            }
            Op::Late(key) => {
                put(&mut self.next, *key, Some(LATE));
                let early = self.early.iter().rposition(|(early, _)| early == key);
                let record = early.map(|at| self.early.remove(at).1);
                self.append_prepared(&mut [record.unwrap_or_else(|| pending_record(Kind::Set, *key, LATE))]);
            }
            Op::Over(key, value) => self.append_over(*key, *value),
            Op::Chunk(entries) => {
                let mut records: Vec<PendingRecord> = Vec::new();
                for (key, value) in entries {
                    put(&mut self.next, *key, Some(*value));
                    records.push(pending_record(Kind::Set, *key, *value));
                }
                self.append(&mut records);
            }
            Op::ChunkOver(entries) => self.append_all_over(entries),
            Op::Read(key) => self.read(*key),
            Op::Drain(records) => self.drain(*records),
            Op::Direct(changes, all) => self.direct(changes, *all),
            Op::Evict(key) => self.evict(*key),
        }
        step();
        self.truth = self.next.clone();
    }

    fn append(&mut self, records: &mut [PendingRecord]) {
        for record in &mut *records {
            self.memory().prepare(record);
        }
        self.append_prepared(records);
    }

    fn append_prepared(&mut self, records: &mut [PendingRecord]) {
        let mut scratch = Scratch::new();
        for _ in 0..1000 {
            self.holds_t = true;
            let appended = match &mut *records {
                [record] => self.memory().append(record),
                records => self.memory().append_all(records, &mut scratch),
            };
            self.holds_t = false;
            if appended.is_ok() {
                return;
            }
            self.drain(3);
        }
        panic!("never any room");
    }

    fn append_over(&mut self, key: u8, value: u32) {
        let mut record = pending_record(Kind::Set, key, value);
        self.memory().prepare(&mut record);
        while let Some(offset) = self.known(key) {
            put(&mut self.next, key, Some(value));
            self.holds_t = true;
            let elsewhere = self.memory().append_over(&mut record, offset - 1);
            let appended = self.memory().append_over(&mut record, offset);
            self.holds_t = false;
            assert_eq!(elsewhere, Ok(false), "nothing lies there");
            match appended {
                Ok(true) => return,
                Ok(false) => panic!("no other process has changed it"),
                Err(_) => self.drain(3),
            }
        }
        self.next = self.truth.clone();
    }

    /// Those entries whose keys the tier knows, each key once.
    pub(crate) fn of_known(&self, entries: &[(u8, u32)]) -> Vec<(u8, u32)> {
        let mut found: Vec<(u8, u32)> = Vec::new();
        for (key, value) in entries {
            if self.known(*key).is_some() && found.iter().all(|(known, _)| known != key) {
                found.push((*key, *value));
            }
        }
        found
    }

    fn append_all_over(&mut self, entries: &[(u8, u32)]) {
        let entries = self.of_known(entries);
        let Some(((last, _), others)) = entries.split_last() else { return };
        let mut records: Vec<_> =
            entries.iter().map(|(key, value)| pending_record(Kind::Set, *key, *value)).collect();
        for (key, value) in &entries {
            put(&mut self.next, *key, Some(*value));
        }
        for _ in 0..1000 {
            let offset = |key: &u8| self.known(*key).expect("a drain forgets no key");
            let newest: Vec<u64> = others.iter().map(|(key, _)| offset(key)).chain([offset(last)]).collect();
            let mut elsewhere = newest.clone();
            *elsewhere.last_mut().expect("one at least") -= 1;
            self.holds_t = true;
            let moved = self.memory().append_all_over(&mut records, &elsewhere);
            let appended = self.memory().append_all_over(&mut records, &newest);
            self.holds_t = false;
            assert_eq!(moved, Ok(false), "nothing lies there");
            match appended {
                Ok(true) => return,
                Ok(false) => panic!("no other process has changed them"),
                Err(_) => self.drain(3),
            }
        }
        panic!("never any room");
    }

    fn read(&mut self, key: u8) {
        let commits = self.memory().commits();
        let found = get(&self.database.rows, key);
        let bytes = key_bytes(key);
        let mut scratch = Scratch::new();
        self.holds_t = true;
        {
            let memory = self.memory();
            let key_now = Key { kind: 3, spelling: 0, bytes: &bytes };
            let is_unknown = memory.find(key_now, memory.hash(3, &bytes), &mut scratch).is_none();
            if is_unknown && memory.commits() == commits {
                let mut record = found.map_or_else(
                    || PendingRecord::absent(key_now),
                    |value| pending_record(Kind::Fill, key, value),
                );
                let _ = memory.append(&mut record);
            }
        }
        self.holds_t = false;
    }

    pub(crate) fn drain(&mut self, records: usize) {
        let batch = self.memory().pending(self.database.applied, limit(records), &mut Scratch::new());
        self.commit(|rows| apply(rows, &batch), batch.seq());
        self.memory().drained(batch.end(), batch.seq());
    }

    /// A commit is atomic. The kill may come before, after, or so that only SQLite's recovery knows.
    fn commit(&mut self, change: impl FnOnce(&mut Rows), applied: u64) {
        let mut rows = self.database.rows.clone();
        change(&mut rows);
        step();
        self.database.orphan = Some(Box::new((rows, applied)));
        step();
        self.recover_log();
    }

    /// Does what the first process that opens the database makes of an orphan.
    pub(crate) fn recover_log(&mut self) {
        if let Some(orphan) = self.database.orphan.take() {
            (self.database.rows, self.database.applied) = *orphan;
        }
    }

    fn quiesce(&mut self) {
        self.holds_t = true;
        while self.memory().is_dirty() {
            self.drain(usize::MAX);
        }
    }

    fn direct(&mut self, changes: &[(u8, Option<u32>)], all: bool) {
        self.quiesce();
        let seq = self.memory().announce();
        {
            let memory = self.memory();
            let mut scratch = Scratch::new();
            if all {
                memory.settle();
                memory.drop_clean(&mut scratch);
            }
            for (key, _) in changes.iter().filter(|_| !all) {
                assert!(memory.drop_key(3, &key_bytes(*key), &mut scratch));
            }
        }
        for (key, value) in changes {
            put(&mut self.next, *key, *value);
        }
        let next = self.next.clone();
        self.commit(|rows| *rows = next, seq);
        self.memory().committed();
        self.holds_t = false;
    }

    /// Without draining first, to meet dirty records. Takes no number.
    fn evict(&mut self, key: u8) {
        self.holds_t = true;
        let bytes = key_bytes(key);
        if self.memory().drop_key(3, &bytes, &mut Scratch::new()) {
            put(&mut self.next, key, None);
            let applied = self.database.applied;
            self.memory().announce();
            self.commit(|rows| put(rows, key, None), applied);
            self.memory().committed_beside();
            self.memory().renounce();
        }
        self.holds_t = false;
    }

    /// The next owner of the append lock. It commits over what nothing shows of a commit.
    pub(crate) fn recover(&mut self) {
        if self.memory().is_announced() {
            self.database.orphan = None;
        }
        let memory = self.memory();
        assert!(memory.recover(self.database.applied, &mut Scratch::new()), "beyond repair");
        self.holds_t = false;
    }

    /// Returns what the first process that opens the database finds after all have died.
    pub(crate) fn reopened(&self) -> Rows {
        let mut world = self.clone();
        world.recover_log();
        let mut rows = world.database.rows.clone();
        for words in world.memory().scan(world.database.applied) {
            let view = View::verified(&words);
            put(&mut rows, key_of(view.key().bytes), value_of(&view));
        }
        rows
    }
}

pub(crate) fn limit(keys: usize) -> Limit {
    Limit { keys, bytes: u64::MAX }
}

/// What the engine does with a batch.
pub(crate) fn apply(rows: &mut Rows, batch: &Batch) {
    for change in batch.changes() {
        let key = key_of(change.newest.key().bytes);
        if change.replaces {
            put(rows, key, None);
        }
        put(rows, key, value_of(&change.newest));
    }
}
