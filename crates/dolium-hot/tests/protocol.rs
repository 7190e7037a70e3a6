//! Every interleaving of the protocol on one key, with a kill at every step.
//!
//! A model, not the code: what `src/tier` and the engine do in one step of theirs is one step here, so that the order
//! of steps is what is searched. Versions of the key grow with each change. A read must return at least the newest
//! version that was acknowledged, or that any process had read, before it began. And a process must always be able to
//! go on. Each rule is left out in turn, too, and must be missed.
//!
//! A version may as well be that there is no row, as after an eviction. So a fill that repeats that a key is absent is a
//! fill like any other here: it has no sequence number, no drain takes it, and it is confirmed and forgotten as they are.
//!
//! What is simplified: one key (the other searches have several), no laps of the log, no chunks, no value but the version.

#[path = "common/search.rs"]
mod search;

use search::Steps;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Sets the key.
    Writer,
    /// Changes it to what follows from what it is.
    Adder,
    /// Reads it, and offers what it found in the database to the tier.
    Reader,
    /// Drains.
    Drainer,
    /// Changes the key in a transaction of the database.
    Direct,
    /// Takes the key out of the index, if what it names is clean, to make space.
    Evictor,
    /// Evicts the key: removes its row, which is a version of its own, in a commit without a sequence number.
    Culler,
    /// Changes the key to what follows from what it is in the database, in a long transaction beside others: the append lock
    /// comes only before the commit, which has no sequence number.
    Bulk,
}
use Role::{Adder, Bulk, Culler, Direct, Drainer, Evictor, Reader, Writer};

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A fill comes only if the index does not know the key, and no commit came since before the read.
    FillsAreConfirmed,
    /// A drain takes no fill, whatever it repeats.
    FillsAreNotDrained,
    /// A change that depends on what is there comes only if that still holds once the append lock is taken.
    ChangesAreConfirmed,
    /// Only what is drained leaves the index.
    DirtyStays,
    /// A direct commit drains first.
    DirectDrains,
    /// The index forgets a key before a direct commit changes it.
    DirectForgets,
    /// An eviction spares a key of which something is dirty.
    CullSparesDirty,
    /// The index forgets a key before its row is evicted.
    CullForgets,
    /// An eviction counts as a commit, before the append lock is free.
    CullCounts,
    /// A long transaction is undone if something of its key is dirty once it has the append lock.
    BulkSparesDirty,
    /// The index forgets a key before a long transaction changes its row.
    BulkForgets,
    /// A long transaction counts as a commit, before the append lock is free.
    BulkCounts,
    /// Recovery names what is dirty.
    RecoveryNames,
    /// A commit past the log is announced before SQLite has any of it.
    CommitsAreAnnounced,
    /// Recovery commits something of its own where a commit was announced, over frames of that commit that nothing shows.
    RecoveryOverwrites,
    /// Recovery names nothing that the database has, unless in place of something older.
    RecoveryLeavesClean,
}

/// The owner of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lock {
    Free,
    Of(usize),
    /// Its owner died: the next owner recovers first.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    version: u8,
    /// 0 for a fill.
    seq: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    /// Its next step; `END` when it is done or dead.
    step: u8,
    memory: Memory,
}
const END: u8 = u8::MAX;

/// Of a reader the floor, the commits it saw, and the version it found; of others a version, an offset and a sequence
/// number.
type Memory = [u8; 3];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The database: version of the key, sequence number that it has applied.
    stored: u8,
    stored_seq: u8,
    /// The same in frames of SQLite's log, a commit frame the last of them, which the index of the log does not show yet.
    /// If their writer is dead, no process sees them. The next writer begins where the index ends, and so writes over them.
    /// But if the index is made anew before, they are in it: that is what the first process does that opens the database
    /// when no process has it open, as after all have closed their connections for a fork.
    orphan: Option<(u8, u8)>,
    log: Vec<Record>,
    /// What the index names.
    slot: Option<u8>,
    /// The header.
    last: u8,
    applied: u8,
    drained: u8,
    commits: u8,
    announced: u8,
    tier: Lock,
    database: Option<usize>,
    /// The newest version, and the newest that a process knows of.
    newest: u8,
    floor: u8,
    kills: u8,
    processes: Vec<Process>,
}

impl State {
    fn new(roles: &[Role]) -> Self {
        let processes = roles.iter().map(|&role| Process { role, step: 0, memory: [0; 3] }).collect();
        Self {
            stored: 1,
            stored_seq: 0,
            orphan: None,
            log: Vec::new(),
            slot: None,
            last: 0,
            applied: 0,
            drained: 0,
            commits: 0,
            announced: 0,
            tier: Lock::Free,
            database: None,
            newest: 1,
            floor: 1,
            kills: 0,
            processes,
        }
    }

    fn head(&self) -> u8 {
        u8::try_from(self.log.len()).expect("short")
    }

    /// The version that draining would leave in the database, and the sequence number: that of a record may not be the
    /// last yet.
    fn pending(&self, left_out: Option<Rule>) -> (u8, u8) {
        let is_taken = |record: &Record| record.seq == 0 && left_out == Some(Rule::FillsAreNotDrained);
        let is_dirty = |record: &&Record| record.seq > self.stored_seq || is_taken(record);
        let newest = self.log.iter().map(|record| record.seq).max().unwrap_or(0);
        (
            self.log.iter().rfind(is_dirty).map_or(self.stored, |record| record.version),
            newest.max(self.last).max(self.stored_seq),
        )
    }

    /// If nothing is dirty everything is clean, fills too.
    fn settle(&mut self) {
        if self.last == self.applied {
            self.drained = self.drained.max(self.head());
        }
    }

    /// Returns what the next process that opens the cache finds when all are gone.
    fn reopened(&self, left_out: Option<Rule>) -> u8 {
        self.pending(left_out).0
    }

    /// The next owner of an append lock whose owner died. One step: dying in it leaves the same to do.
    fn recover(&mut self, left_out: Option<Rule>) {
        let is_abandoned = self.announced > 0;
        self.last =
            self.last.max(self.log.iter().map(|record| record.seq).max().unwrap_or(0)).max(self.stored_seq);
        let applied = self.applied.max(self.stored_seq);
        for (offset, record) in self.log.clone().into_iter().enumerate() {
            let offset = u8::try_from(offset).expect("short");
            let is_newer = self.slot.is_none_or(|named| named < offset);
            let is_dirty = record.seq > applied;
            let takes_place = self.slot.is_some() || left_out == Some(Rule::RecoveryLeavesClean);
            if record.seq > 0 && is_newer && (is_dirty || takes_place) {
                self.slot = Some(offset);
            }
        }
        if left_out == Some(Rule::RecoveryNames) {
            self.slot = None;
        }
        if is_abandoned && left_out != Some(Rule::RecoveryOverwrites) {
            self.orphan = None;
        }
        self.announced = 0;
        self.commits += 1;
        self.tier = Lock::Free;
    }

    /// Whether a process is in a transaction that writes to the database.
    fn is_writing(&self) -> bool {
        self.database.is_some_and(|who| {
            let Process { role, step, .. } = self.processes[who];
            match role {
                Drainer => (2..4).contains(&step),
                Direct => step == 3 || step == 10,
                Culler => step == 4,
                Bulk => (2..7).contains(&step),
                Writer | Adder | Reader | Evictor => false,
            }
        })
    }

    fn kill(&self, who: usize) -> Self {
        let mut next = self.clone();
        next.kills += 1;
        next.processes[who].step = END;
        if next.tier == Lock::Of(who) {
            next.tier = Lock::Dead;
        }
        if next.database == Some(who) {
            next.database = None;
        }
        next
    }

    /// What happens if a process goes on. `None`: it waits. A reader that returns less than it must is an `Err`.
    fn go(&self, who: usize, left_out: Option<Rule>) -> Option<Result<Self, String>> {
        let mut next = self.clone();
        let Process { role, step, mut memory } = self.processes[who];
        let holds = |rule: Rule| left_out != Some(rule);
        let after = match role {
            Writer => next.write(who, step, &mut memory)?,
            Adder => match next.add(who, step, &mut memory, holds(Rule::ChangesAreConfirmed))? {
                Ok(after) => after,
                Err(error) => return Some(Err(error)),
            },
            Evictor => next.evict(who, step, holds(Rule::DirtyStays))?,
            Drainer => next.drain(who, step, &mut memory, left_out)?,
            Direct => next.change(who, step, &mut memory, left_out)?,
            Culler => next.cull(who, step, &mut memory, holds)?,
            Bulk => match next.change_beside(who, step, &mut memory, holds)? {
                Ok(after) => after,
                Err(error) => return Some(Err(error)),
            },
            Reader => match next.read(who, step, &mut memory, holds(Rule::FillsAreConfirmed))? {
                Ok(after) => after,
                Err(error) => return Some(Err(error)),
            },
        };
        next.processes[who] = Process { role, step: after, memory };
        Some(Ok(next))
    }

    fn take_tier(&mut self, who: usize) -> Option<()> {
        (self.tier == Lock::Free).then(|| self.tier = Lock::Of(who))?;
        self.settle();
        Some(())
    }

    fn take_database(&mut self, who: usize) -> Option<()> {
        self.database.is_none().then(|| self.database = Some(who))
    }

    /// SQLite's frames are in its log. A process that commits writes over those that a dead one left there.
    fn write_frames(&mut self, version: u8, seq: u8) {
        self.orphan = Some((version, seq));
    }

    /// The header of the log's index says so: that is the commit. Also what becomes of frames if the log is recovered.
    fn commit(&mut self) {
        (self.stored, self.stored_seq) = self.orphan.take().unwrap_or((self.stored, self.stored_seq));
    }

    fn write(&mut self, who: usize, step: u8, memory: &mut Memory) -> Option<u8> {
        match step {
            0 => self.take_tier(who)?,
            1 => {
                self.newest += 1;
                *memory = [self.newest, self.head(), 0];
                self.log.push(Record { version: self.newest, seq: self.last + 1 });
            }
            2 => self.last += 1,
            3 => self.slot = Some(memory[1]),
            _ => {
                self.tier = Lock::Free;
                self.floor = self.floor.max(memory[0]);
                return Some(END);
            }
        }
        Some(step + 1)
    }

    fn add(
        &mut self,
        who: usize,
        step: u8,
        memory: &mut Memory,
        confirms: bool,
    ) -> Option<Result<u8, String>> {
        match step {
            0 => {
                // What the index named, counted from 1.
                *memory = [0, self.slot.map_or(0, |offset| offset + 1), 0];
                if let Some(offset) = self.slot {
                    memory[0] = self.log[usize::from(offset)].version;
                    return Some(Ok(3));
                }
            }
            1 => memory[2] = self.commits,
            2 => memory[0] = self.stored,
            3 => self.take_tier(who)?,
            4 => {
                let [base, named, commits] = *memory;
                let is_as_seen = self.slot.map_or(0, |offset| offset + 1) == named
                    && (named > 0 || self.commits == commits);
                if confirms && !is_as_seen {
                    self.tier = Lock::Free;
                    return Some(Ok(0));
                }
                if base < self.floor {
                    return Some(Err(format!("{base} was changed where {} was known", self.floor)));
                }
                *memory = [0; 3];
            }
            _ => return self.write(who, step - 4, memory).map(|after| Ok(after.saturating_add(4))),
        }
        Some(Ok(step + 1))
    }

    fn read(
        &mut self,
        who: usize,
        step: u8,
        memory: &mut Memory,
        confirms: bool,
    ) -> Option<Result<u8, String>> {
        match step {
            0 => {
                memory[0] = self.floor;
                if let Some(offset) = self.slot {
                    memory[2] = self.log[usize::from(offset)].version;
                    return Some(Ok(6));
                }
            }
            1 => memory[1] = self.commits,
            2 => memory[2] = self.stored,
            3 => self.take_tier(who)?,
            4 => {
                if !confirms || (self.slot.is_none() && self.commits == memory[1]) {
                    self.slot = Some(self.head());
                    self.log.push(Record { version: memory[2], seq: 0 });
                }
            }
            5 => self.tier = Lock::Free,
            _ => {
                let [floor, _, found] = *memory;
                self.floor = floor.max(found).max(self.floor);
                let is_old = found < floor;
                return Some(if is_old {
                    Err(format!("{found} was read where {floor} was known"))
                } else {
                    Ok(END)
                });
            }
        }
        Some(Ok(step + 1))
    }

    fn drain(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Option<u8> {
        match step {
            0 => self.take_database(who)?,
            1 => {
                let (version, seq) = self.pending(left_out);
                *memory = [version, self.head(), seq];
            }
            // What was added meanwhile is not in it.
            2 => self.write_frames(memory[0], memory[2]),
            3 => self.commit(),
            4 => self.commits += 1,
            5 => self.applied = self.applied.max(memory[2]),
            6 => self.drained = self.drained.max(memory[1]),
            _ => {
                self.database = None;
                return Some(END);
            }
        }
        Some(step + 1)
    }

    fn evict(&mut self, who: usize, step: u8, dirty_stays: bool) -> Option<u8> {
        match step {
            0 => self.take_tier(who)?,
            1 => {
                let drained = self.drained;
                self.slot = self.slot.filter(|offset| dirty_stays && *offset >= drained);
            }
            _ => {
                self.tier = Lock::Free;
                return Some(END);
            }
        }
        Some(step + 1)
    }

    #[expect(clippy::match_same_arms, reason = "each step is a line")]
    fn change(&mut self, who: usize, step: u8, memory: &mut Memory, left_out: Option<Rule>) -> Option<u8> {
        let holds = |rule: Rule| left_out != Some(rule);
        match step {
            0 => self.take_database(who)?,
            1 => self.take_tier(who)?,
            2..=6 if !holds(Rule::DirectDrains) => {}
            2 => {
                let (version, seq) = self.pending(left_out);
                self.write_frames(version, seq);
            }
            3 => self.commit(),
            4 => self.commits += 1,
            5 => self.applied = self.applied.max(self.stored_seq),
            6 => self.drained = self.drained.max(self.head()),
            7 => self.announced = if holds(Rule::CommitsAreAnnounced) { self.last + 1 } else { 0 },
            8 => self.slot = self.slot.filter(|_| !holds(Rule::DirectForgets)),
            9 => {
                self.newest += 1;
                memory[0] = self.newest;
                self.write_frames(self.newest, self.last + 1);
            }
            10 => self.commit(),
            11 => self.last = self.stored_seq,
            12 => self.commits += 1,
            13 => self.applied = self.applied.max(self.last),
            14 => self.drained = self.drained.max(self.head()),
            15 => self.announced = 0,
            16 => {
                self.tier = Lock::Free;
                self.floor = self.floor.max(memory[0]);
            }
            _ => {
                self.database = None;
                return Some(END);
            }
        }
        Some(step + 1)
    }

    fn cull(
        &mut self,
        who: usize,
        step: u8,
        memory: &mut Memory,
        holds: impl Fn(Rule) -> bool,
    ) -> Option<u8> {
        match step {
            0 => self.take_database(who)?,
            1 => self.take_tier(who)?,
            2 => {
                if self.is_dirty() && holds(Rule::CullSparesDirty) {
                    return Some(7);
                }
                self.slot = self.slot.filter(|_| !holds(Rule::CullForgets));
                self.announced = if holds(Rule::CommitsAreAnnounced) { self.last + 1 } else { 0 };
            }
            3 => {
                self.newest += 1;
                memory[0] = self.newest;
                self.write_frames(self.newest, self.stored_seq);
            }
            4 => self.commit(),
            5 => self.commits += u8::from(holds(Rule::CullCounts)),
            6 => self.announced = 0,
            7 => {
                self.tier = Lock::Free;
                self.floor = self.floor.max(memory[0]);
            }
            _ => {
                self.database = None;
                return Some(END);
            }
        }
        Some(step + 1)
    }
}

impl State {
    /// Whether the index names a dirty record.
    fn is_dirty(&self) -> bool {
        self.slot.is_some_and(|offset| offset >= self.drained && self.log[usize::from(offset)].seq > 0)
    }

    /// A long transaction. What it gives up is done by another, with the append lock all along: `Direct`.
    fn change_beside(
        &mut self,
        who: usize,
        step: u8,
        memory: &mut Memory,
        holds: impl Fn(Rule) -> bool,
    ) -> Option<Result<u8, String>> {
        match step {
            0 => self.take_database(who)?,
            // It reads the row, and changes it in SQLite's memory. Other processes see nothing of that.
            1 => memory[0] = self.stored,
            // It keeps SQLite's write lock meanwhile, which a recovery needs. So it recovers nothing, and gives up.
            2 if self.tier == Lock::Dead => return Some(Ok(11)),
            2 => self.take_tier(who)?,
            3 => {
                if self.is_dirty() && holds(Rule::BulkSparesDirty) {
                    return Some(Ok(10));
                }
                if memory[0] < self.floor {
                    return Some(Err(format!("{} was changed where {} was known", memory[0], self.floor)));
                }
                self.slot = self.slot.filter(|_| !holds(Rule::BulkForgets));
            }
            4 => self.announced = if holds(Rule::CommitsAreAnnounced) { self.last + 1 } else { 0 },
            5 => {
                self.newest += 1;
                *memory = [self.newest, 0, 0];
                self.write_frames(self.newest, self.stored_seq);
            }
            6 => self.commit(),
            7 => self.commits += u8::from(holds(Rule::BulkCounts)),
            8 => self.announced = 0,
            9 => self.floor = self.floor.max(memory[0]),
            10 => self.tier = Lock::Free,
            _ => {
                self.database = None;
                return Some(Ok(END));
            }
        }
        Some(Ok(step + 1))
    }
}

/// How many states there are, or how one of them is reached that must not be.
fn search(roles: &[Role], kills: u8, left_out: Option<Rule>) -> Result<usize, String> {
    search::search(State::new(roles), |state| steps(state, kills, left_out))
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
    if state.orphan.is_some() && !state.is_writing() {
        let mut next = state.clone();
        next.commit();
        all.push((next, String::from("SQLite recovers its log")));
    }
    if state.tier == Lock::Dead && (state.announced == 0 || !state.is_writing()) {
        let mut next = state.clone();
        next.recover(left_out);
        all.push((next, String::from("recovery")));
    }
    let are_done = state.processes.iter().all(|process| process.step == END);
    if all.is_empty() && !are_done {
        return Err(String::from("all wait"));
    }
    if are_done && state.reopened(left_out) < state.floor {
        return Err(format!("{} is left of {}", state.reopened(left_out), state.floor));
    }
    Ok(all)
}

/// Small ones first: where one of them misses a rule, no other is searched.
const CROWDS: [&[Role]; 19] = [
    &[Adder, Direct, Reader],
    &[Adder, Culler, Reader],
    &[Adder, Bulk, Reader],
    &[Writer, Drainer, Direct, Reader],
    &[Writer, Drainer, Evictor, Reader, Reader],
    &[Writer, Direct, Evictor, Reader],
    &[Writer, Writer, Drainer, Reader],
    &[Direct, Direct, Evictor, Reader],
    &[Adder, Direct, Drainer, Evictor],
    &[Adder, Adder, Drainer, Reader],
    &[Writer, Drainer, Culler, Reader],
    &[Culler, Direct, Reader, Reader],
    &[Adder, Culler, Drainer, Evictor],
    &[Writer, Culler, Reader, Reader],
    &[Reader, Direct, Drainer, Reader],
    &[Writer, Drainer, Bulk, Reader],
    &[Bulk, Direct, Evictor, Reader],
    &[Adder, Bulk, Drainer, Evictor],
    &[Writer, Bulk, Reader, Reader],
];

#[test]
fn no_interleaving_reads_what_is_older_than_what_was_acknowledged_or_read() {
    for roles in CROWDS {
        for kills in 0..=1 {
            let states = search(roles, kills, None);
            println!("{roles:?}, {kills} killed: {states:?} states");
            assert!(states.is_ok(), "{roles:?}, {kills} killed: {}", states.unwrap_err());
        }
    }
}

#[test]
fn a_commit_that_nothing_shows_comes_to_life_unless_it_is_overwritten() {
    for role in [Direct, Culler, Bulk] {
        let roles = [Adder, role, Reader];
        assert!(search(&roles, 1, None).is_ok(), "{role:?}");
        for rule in [Rule::CommitsAreAnnounced, Rule::RecoveryOverwrites] {
            let found = search(&roles, 1, Some(rule)).expect_err("an addition to what is not there any more");
            println!("{role:?} without {rule:?}: {found}");
            assert!(found.contains("SQLite recovers its log"), "{found}");
        }
    }
}

#[test]
fn every_rule_is_missed_where_it_is_left_out() {
    for rule in [
        Rule::FillsAreConfirmed,
        Rule::FillsAreNotDrained,
        Rule::ChangesAreConfirmed,
        Rule::DirtyStays,
        Rule::DirectDrains,
        Rule::DirectForgets,
        Rule::CullSparesDirty,
        Rule::CullForgets,
        Rule::CullCounts,
        Rule::BulkSparesDirty,
        Rule::BulkForgets,
        Rule::BulkCounts,
        Rule::RecoveryNames,
        Rule::CommitsAreAnnounced,
        Rule::RecoveryOverwrites,
        Rule::RecoveryLeavesClean,
    ] {
        let found = CROWDS.iter().find_map(|roles| search(roles, 1, Some(rule)).err());
        println!("without {rule:?}: {found:?}");
        assert!(found.is_some(), "the search finds nothing without {rule:?}");
    }
}
