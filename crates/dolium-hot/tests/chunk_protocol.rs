//! Every interleaving of transactions in the tier on two keys, with a kill at every step.
//!
//! A model, not the code: what `src/log` and the engine do in one step of theirs is one step here. A transaction gives both
//! keys the same version. A process that has read one of them must find the other as new, or newer. What a transaction has
//! read must be the newest when it commits. Each rule is left out in turn, too, and must be missed.
//!
//! What is simplified: no laps of the log, no fills, and SQLite commits in one step (`protocol.rs` has these).

#[path = "common/search.rs"]
mod search;

use search::Steps;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// A transaction that becomes a chunk.
    Small,
    /// The same, which changes the first key twice.
    Twice,
    /// A transaction that begins like these, and becomes one of the database.
    Fallen,
    /// A transaction of the database from the beginning.
    Direct,
    /// Sets the first key.
    Setter,
    Drainer,
    /// Takes what is clean out of the index.
    Evictor,
    /// Reads both keys, one after the other.
    Reader,
    /// The same, the other way round.
    Backward,
    /// Reads both keys at one moment, or not at all.
    Snapshot,
}
use Role::{Backward, Direct, Drainer, Evictor, Fallen, Reader, Setter, Small, Snapshot, Twice};

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The state says that a chunk is being published before the index names the first of its records.
    ChunksArePublished,
    /// It says so before the head moves.
    PublishedBeforeHead,
    /// It says so until the index names all.
    SettledAfterSlots,
    /// Where the state names a chunk, a read looks there first.
    ReadsLookIntoChunk,
    /// Of the records that a chunk has of a key, the index names the last alone.
    LastIsNamed,
    /// So it does in recovery.
    RecoveryNamesLast,
    /// What is of one moment was read while no chunk was being published.
    MomentsAreSettled,
    /// A drain divides no chunk.
    DrainsTakeChunksWhole,
    /// Recovery divides no chunk.
    RecoveryTakesChunksWhole,
    /// Recovery publishes what it completes as its writer would have.
    RecoveryPublishes,
    /// The state names a chunk until recovery has named all of it.
    RecoverySettlesLast,
    /// A transaction holds the append lock from its first read on.
    AppendLockFromTheStart,
    /// It takes the writer lock first, which it needs if it becomes one of the database.
    WriterLockFirst,
}
const RULES: [Rule; 13] = [
    Rule::ChunksArePublished,
    Rule::PublishedBeforeHead,
    Rule::SettledAfterSlots,
    Rule::ReadsLookIntoChunk,
    Rule::LastIsNamed,
    Rule::RecoveryNamesLast,
    Rule::MomentsAreSettled,
    Rule::DrainsTakeChunksWhole,
    Rule::RecoveryTakesChunksWhole,
    Rule::RecoveryPublishes,
    Rule::RecoverySettlesLast,
    Rule::AppendLockFromTheStart,
    Rule::WriterLockFirst,
];

/// The owner of the append lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lock {
    Free,
    Of(usize),
    /// Its owner died: the next one, which is no process here, has done so many steps of its recovery.
    Dead(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    key: usize,
    version: u8,
    seq: u8,
    /// How many of its chunk follow.
    rest: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    /// Its next step; `END` when it is done or dead.
    step: u8,
    memory: Memory,
}
const END: u8 = u8::MAX;

type Memory = [u8; 4];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    stored: [u8; 2],
    stored_seq: u8,
    /// Behind the head lies what is not published.
    log: Vec<Record>,
    head: u8,
    slots: [Option<u8>; 2],
    /// Where the chunk begins that is being published.
    publishing: Option<u8>,
    last: u8,
    applied: u8,
    drained: u8,
    commits: u8,
    tier: Lock,
    database: Option<usize>,
    newest: u8,
    /// The versions of transactions, and those that no reader may see, as bits.
    pairs: u16,
    hidden: u16,
    /// Of each key the newest version that a process knows of.
    floors: [u8; 2],
    kills: u8,
    processes: Vec<Process>,
}

type Went<T> = Option<Result<T, String>>;

impl State {
    fn new(roles: &[Role]) -> Self {
        let processes = roles.iter().map(|&role| Process { role, step: 0, memory: [0; 4] }).collect();
        Self {
            stored: [1; 2],
            stored_seq: 0,
            log: Vec::new(),
            head: 0,
            slots: [None; 2],
            publishing: None,
            last: 0,
            applied: 0,
            drained: 0,
            commits: 0,
            tier: Lock::Free,
            database: None,
            newest: 1,
            pairs: 0,
            hidden: 0,
            floors: [1; 2],
            kills: 0,
            processes,
        }
    }

    fn end(&self) -> u8 {
        u8::try_from(self.log.len()).expect("short")
    }

    fn at(&self, offset: u8) -> Record {
        self.log[usize::from(offset)]
    }

    /// The newest record of a key in a part of the log.
    fn newest_in(&self, key: usize, from: u8, to: u8) -> Option<u8> {
        (from..to).rev().find(|offset| self.at(*offset).key == key)
    }

    /// What a key is, for a process that sees all at once.
    fn value(&self, key: usize) -> u8 {
        let chunk = self.publishing.and_then(|start| self.newest_in(key, start, self.head));
        chunk.or(self.slots[key]).map_or(self.stored[key], |offset| self.at(offset).version)
    }

    fn is_pair(&self, version: u8) -> bool {
        self.pairs & 1 << version != 0
    }

    /// A process knows of a version of a key.
    fn know(&mut self, key: usize, version: u8) {
        self.floors[key] = self.floors[key].max(version);
        if self.is_pair(version) {
            self.floors[1 - key] = self.floors[1 - key].max(version);
        }
    }

    fn take_tier(&mut self, who: usize) -> Option<()> {
        (self.tier == Lock::Free).then(|| self.tier = Lock::Of(who))?;
        if self.last == self.applied {
            self.drained = self.head;
        }
        Some(())
    }

    fn take_database(&mut self, who: usize) -> Option<()> {
        self.database.is_none().then(|| self.database = Some(who))
    }

    fn begin_pair(&mut self) -> u8 {
        self.newest += 1;
        self.pairs |= 1 << self.newest;
        self.newest
    }

    /// The database takes what lies below the head, at most so many records unless a chunk would be divided.
    fn apply(&mut self, most: usize, wholly: bool) -> u8 {
        let mut at = self.drained;
        let mut taken = 0;
        let mut is_open = false;
        while at < self.head && (taken < most || is_open && wholly) {
            let Record { key, version, seq, rest } = self.at(at);
            if seq > self.stored_seq {
                self.stored[key] = version;
                self.stored_seq = seq;
                taken += 1;
                is_open = rest > 0;
            }
            at += 1;
        }
        at
    }

    fn kill(&self, who: usize) -> Self {
        let mut next = self.clone();
        next.kills += 1;
        next.processes[who].step = END;
        if next.tier == Lock::Of(who) {
            next.tier = Lock::Dead(0);
        }
        if next.database == Some(who) {
            next.database = None;
        }
        next
    }

    /// One step of the recovery. A process that dies in it leaves the next one to begin it anew.
    fn recover(&mut self, step: u8, left_out: Option<Rule>) {
        let holds = |rule: Rule| left_out != Some(rule);
        let end = self.end();
        let is_whole = self.log.last().is_none_or(|record| record.rest == 0);
        let to = if is_whole || !holds(Rule::RecoveryTakesChunksWhole) { end } else { self.head };
        // The steps before the records, each of which is one.
        let first = 3;
        match step {
            0 if holds(Rule::RecoveryPublishes) => {
                self.publishing = self.publishing.or(Some(self.head));
            }
            0 => {}
            1 => {
                self.head = self.head.max(to);
                self.log.truncate(usize::from(self.head));
                if !holds(Rule::RecoverySettlesLast) {
                    self.publishing = None;
                }
            }
            2 => {
                let newest = self.log.iter().map(|record| record.seq).max().unwrap_or(0);
                self.last = self.last.max(newest).max(self.stored_seq);
            }
            step if step - first < self.head => {
                let count = step - first;
                let is_backward = holds(Rule::RecoveryNamesLast);
                let offset = if is_backward { self.head - 1 - count } else { count };
                let Record { key, seq, .. } = self.at(offset);
                let named = self.slots[key];
                let is_dirty = seq > self.applied.max(self.stored_seq);
                if named.map_or(is_dirty, |named| named < offset) {
                    self.slots[key] = Some(offset);
                }
            }
            _ => {
                self.publishing = None;
                self.commits += 1;
                self.tier = Lock::Free;
                return;
            }
        }
        self.tier = Lock::Dead(step + 1);
    }

    /// What happens if a process goes on. `None`: it waits. An `Err` is what must not be.
    fn go(&self, who: usize, left_out: Option<Rule>) -> Went<Self> {
        let mut next = self.clone();
        let Process { role, step, mut memory } = self.processes[who];
        let went = match role {
            Small | Twice => next.transact(who, step, &mut memory, left_out),
            Fallen => next.fall_back(who, step, &mut memory, left_out),
            Direct => next.commit(who, step, &mut memory).map(Ok),
            Setter => next.set(who, step, &mut memory).map(Ok),
            Drainer => next.drain(who, step, &mut memory, left_out).map(Ok),
            Evictor => next.evict(who, step).map(Ok),
            Reader | Backward => Some(next.read(role == Backward, step, &mut memory, left_out)),
            Snapshot => Some(next.look(step, &mut memory, left_out)),
        };
        Some(went?.map(|after| {
            next.processes[who] = Process { role, step: after, memory };
            next
        }))
    }

    /// The first three steps of a transaction: both locks, and then it reads.
    fn begin(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Option<()> {
        let late = left_out == Some(Rule::AppendLockFromTheStart);
        let turned = left_out == Some(Rule::WriterLockFirst);
        let is_read = step == if late { 0 } else { 2 };
        let is_database = step == u8::from(late) + u8::from(turned);
        if is_read {
            (memory[0], memory[1]) = (self.value(0), self.value(1));
        } else if is_database {
            self.take_database(who)?;
        } else {
            self.take_tier(who)?;
        }
        Some(())
    }

    /// What it has read still is the newest.
    fn check_basis(&self, memory: Memory) -> Result<(), String> {
        let is_old = |key: &usize| memory[*key] < self.floors[*key];
        let old = [0, 1].into_iter().find(is_old);
        old.map_or(Ok(()), |key| {
            Err(format!("{} was changed where {} was known", memory[key], self.floors[key]))
        })
    }

    fn transact(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Went<u8> {
        let is_twice = self.processes[who].role == Twice;
        let has_state = left_out != Some(Rule::ChunksArePublished);
        let early = left_out != Some(Rule::PublishedBeforeHead);
        let settles_late = left_out != Some(Rule::SettledAfterSlots);
        let publish = |state: &mut Self, start| state.publishing = Some(start).filter(|_| has_state);
        match step {
            0..3 => self.begin(who, step, memory, left_out)?,
            3 => {
                if let Err(error) = self.check_basis(*memory) {
                    return Some(Err(error));
                }
                *memory = [self.head, self.last, 0, 0];
                if is_twice {
                    self.newest += 1;
                    self.hidden |= 1 << self.newest;
                    self.log.push(Record { key: 0, version: self.newest, seq: self.last + 1, rest: 2 });
                    memory[1] += 1;
                }
            }
            4 => {
                memory[2] = self.begin_pair();
                self.log.push(Record { key: 1, version: memory[2], seq: memory[1] + 1, rest: 1 });
            }
            5 => self.log.push(Record { key: 0, version: memory[2], seq: memory[1] + 2, rest: 0 }),
            6 if early => publish(self, memory[0]),
            6 => self.head = self.end(),
            7 if early => self.head = self.end(),
            7 => publish(self, memory[0]),
            8 => self.last = self.at(self.head - 1).seq,
            9 if is_twice && left_out == Some(Rule::LastIsNamed) => self.slots[0] = Some(memory[0]),
            9 | 11 if settles_late || step == 9 => {}
            10 => self.slots[1] = self.newest_in(1, memory[0], self.head),
            12 => self.slots[0] = self.newest_in(0, memory[0], self.head),
            11 | 13 => self.publishing = None,
            14 => self.tier = Lock::Free,
            _ => {
                self.database = None;
                self.know(0, memory[2]);
                return Some(Ok(END));
            }
        }
        Some(Ok(step + 1))
    }

    fn fall_back(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Went<u8> {
        if step < 3 {
            self.begin(who, step, memory, left_out)?;
            return Some(Ok(step + 1));
        }
        if step == 3
            && let Err(error) = self.check_basis(*memory)
        {
            return Some(Err(error));
        }
        let after = self.commit(who, step - 1, memory)?;
        Some(Ok(after.saturating_add(1)))
    }

    fn commit(&mut self, who: usize, step: u8, memory: &mut Memory) -> Option<u8> {
        match step {
            0 => self.take_database(who)?,
            1 => self.take_tier(who)?,
            2 => {
                self.drained = self.apply(usize::MAX, true);
                self.applied = self.stored_seq;
            }
            3 => self.slots = [None; 2],
            4 => {
                memory[2] = self.begin_pair();
                (self.stored, self.stored_seq) = ([memory[2]; 2], self.last + 1);
            }
            5 => {
                self.last = self.stored_seq;
                self.commits += 1;
                self.applied = self.last;
            }
            6 => {
                self.tier = Lock::Free;
                self.know(0, memory[2]);
            }
            _ => {
                self.database = None;
                return Some(END);
            }
        }
        Some(step + 1)
    }

    fn set(&mut self, who: usize, step: u8, memory: &mut Memory) -> Option<u8> {
        match step {
            0 => self.take_tier(who)?,
            1 => {
                self.newest += 1;
                *memory = [self.head, self.newest, 0, 0];
                self.log.push(Record { key: 0, version: self.newest, seq: self.last + 1, rest: 0 });
            }
            2 => self.head += 1,
            3 => self.last += 1,
            4 => self.slots[0] = Some(memory[0]),
            _ => {
                self.tier = Lock::Free;
                self.know(0, memory[1]);
                return Some(END);
            }
        }
        Some(step + 1)
    }

    /// Twice, as few as it may.
    fn drain(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Option<u8> {
        match step {
            0 | 3 => self.take_database(who)?,
            1 | 4 => {
                memory[0] = self.apply(1, left_out != Some(Rule::DrainsTakeChunksWhole));
                memory[1] = self.stored_seq;
            }
            _ => {
                self.commits += 1;
                self.applied = self.applied.max(memory[1]);
                self.drained = self.drained.max(memory[0]);
                self.database = None;
                if step > 3 {
                    return Some(END);
                }
            }
        }
        Some(step + 1)
    }

    fn evict(&mut self, who: usize, step: u8) -> Option<u8> {
        match step {
            0 => self.take_tier(who)?,
            1 => self.slots = self.slots.map(|slot| slot.filter(|offset| *offset >= self.drained)),
            _ => {
                self.tier = Lock::Free;
                return Some(END);
            }
        }
        Some(step + 1)
    }

    /// Of a reader the floor, where the chunk begins, what the index named, and how many keys it has read.
    fn read(
        &mut self,
        is_backward: bool,
        step: u8,
        memory: &mut Memory,
        left_out: Option<Rule>,
    ) -> Result<u8, String> {
        const STATE: u8 = 1;
        const CHUNK: u8 = 2;
        const SLOT: u8 = 3;
        const RECORD: u8 = 4;
        const DATABASE: u8 = 5;
        let holds = |rule: Rule| left_out != Some(rule);
        let key = usize::from((memory[3] == 1) != is_backward);
        let found = |memory: &mut Memory, offset: Option<u8>, other: u8| {
            memory[2] = offset.unwrap_or(0);
            if offset.is_some() { RECORD } else { other }
        };
        let after = match step {
            0 => {
                memory[0] = self.floors[key];
                STATE
            }
            STATE => {
                memory[1] = self.publishing.unwrap_or(0);
                if self.publishing.is_some() { CHUNK } else { SLOT }
            }
            CHUNK => {
                let newest = self.newest_in(key, memory[1], self.head);
                found(memory, newest.filter(|_| holds(Rule::ReadsLookIntoChunk)), SLOT)
            }
            SLOT => found(memory, self.slots[key], DATABASE),
            _ => {
                let found = if step == DATABASE { self.stored[key] } else { self.at(memory[2]).version };
                if found < memory[0] || self.hidden & 1 << found != 0 {
                    return Err(format!("{found} was read of key {key} where {} was known", memory[0]));
                }
                self.know(key, found);
                let read = memory[3] + 1;
                *memory = [0, 0, 0, read];
                if read == 2 { END } else { 0 }
            }
        };
        Ok(after)
    }

    fn look(&mut self, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Result<u8, String> {
        match step {
            0 if self.tier != Lock::Free || self.publishing.is_some() => return Ok(END),
            0 => *memory = [self.last, self.commits, 0, 0],
            1 => memory[2] = self.value(0),
            2 => memory[3] = self.value(1),
            _ => {
                let is_settled = self.publishing.is_none() || left_out == Some(Rule::MomentsAreSettled);
                let [last, commits, first, second] = *memory;
                let is_still = is_settled && (self.last, self.commits) == (last, commits);
                let is_half = |one, other| self.is_pair(one) && other < one;
                if is_still && (is_half(first, second) || is_half(second, first)) {
                    return Err(format!("{first} and {second} were read at one moment"));
                }
                return Ok(END);
            }
        }
        Ok(step + 1)
    }

    /// What the next process that opens the cache finds when all are gone.
    fn reopened(&self) -> [u8; 2] {
        let mut next = self.clone();
        if next.log.last().is_none_or(|record| record.rest == 0) {
            next.head = next.end();
        }
        next.drained = 0;
        next.apply(usize::MAX, true);
        next.stored
    }
}

/// What follows a state, or what is wrong with it.
fn steps(state: &State, kills: u8, left_out: Option<Rule>) -> Result<Steps<State>, String> {
    let mut all = Vec::new();
    for (who, process) in state.processes.iter().enumerate().filter(|(_, process)| process.step != END) {
        let name = format!("{:?} {who} step {}", process.role, process.step);
        if let Some(next) = state.go(who, left_out) {
            all.push((next?, name.clone()));
        }
        if state.kills < kills && process.step > 0 {
            all.push((state.kill(who), format!("{name} killed")));
        }
    }
    if let Lock::Dead(step) = state.tier {
        let mut next = state.clone();
        next.recover(step, left_out);
        all.push((next, format!("recovery step {step}")));
        if step > 0 {
            all.push((State { tier: Lock::Dead(0), ..state.clone() }, String::from("recovery killed")));
        }
    }
    let are_done = state.processes.iter().all(|process| process.step == END);
    if all.is_empty() && !are_done {
        return Err(String::from("all wait"));
    }
    if are_done {
        let left = state.reopened();
        let is_half = |key: usize| state.is_pair(left[key]) && left[1 - key] < left[key];
        if (0..2).any(|key| left[key] < state.floors[key] || is_half(key)) {
            return Err(format!("{left:?} is left of {:?}", state.floors));
        }
    }
    Ok(all)
}

fn search(roles: &[Role], kills: u8, left_out: Option<Rule>) -> Result<usize, String> {
    search::search(State::new(roles), |state| steps(state, kills, left_out))
}

const CROWDS: [&[Role]; 15] = [
    &[Small, Reader],
    &[Small, Backward],
    &[Twice, Reader],
    &[Small, Snapshot],
    &[Small, Setter],
    &[Fallen, Direct],
    &[Small, Drainer, Reader],
    &[Small, Drainer, Backward],
    &[Small, Setter, Reader],
    &[Twice, Drainer, Reader],
    &[Small, Small, Backward],
    &[Small, Direct, Reader],
    &[Fallen, Small, Reader],
    &[Setter, Small, Evictor, Reader],
    &[Setter, Fallen, Drainer, Reader],
];

#[test]
fn no_reader_sees_a_part_of_a_transaction() {
    for roles in CROWDS {
        for kills in 0..=1 {
            let states = search(roles, kills, None);
            println!("{roles:?}, {kills} killed: {states:?} states");
            assert!(states.is_ok(), "{roles:?}, {kills} killed: {}", states.unwrap_err());
        }
    }
}

#[test]
fn every_rule_of_chunks_is_missed_where_it_is_left_out() {
    for rule in RULES {
        let found = CROWDS.iter().find_map(|roles| search(roles, 1, Some(rule)).err());
        println!("without {rule:?}: {found:?}");
        assert!(found.is_some(), "the search finds nothing without {rule:?}");
    }
}
