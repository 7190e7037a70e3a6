//! Every interleaving of a process that knows which keys the database has with those that add one, with kills.
//!
//! A model, not the code: `store/absences` of the engine learns the keys and follows the log as the reader here does. There is
//! one key. A lookup that answers "absent" is wrong if the key was there from its beginning to its end. Each rule is left out
//! in turn, too, and must be missed.
//!
//! What is simplified: the reader knows whether the key is among those it has learned, where the code has a filter that may
//! say so of other keys, too; a process that takes the append lock after a death recovers in the same step.

use std::collections::{HashSet, VecDeque};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Learns the keys of the database, and looks the key up twice.
    Reader,
    /// Sets the key in the tier.
    Writer,
    /// Commits the records that wait, twice.
    Drainer,
    /// Adds the key in a transaction of the database.
    Direct,
    /// Adds the key as another program does.
    Foreign,
    /// Removes the row and its record, if that is clean: a commit that only removes.
    Culler,
}
use Role::{Culler, Direct, Drainer, Foreign, Reader, Writer};

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The log is followed from where the database may lack a record, not from its end.
    StartsAtDrained,
    /// That place is looked up before the keys are read.
    PlaceBeforeKeys,
    /// The log is followed to its end before each answer.
    Follows,
    /// A log that has lost records is not followed.
    MindsLoss,
    /// A commit that the log does not name is counted.
    CountsDirect,
    /// It is counted before it happens.
    CountsBefore,
    /// It is announced before it is counted.
    AnnouncesFirst,
    /// The count is looked up before the keys are read.
    CountBeforeKeys,
    /// No keys are read while such a commit is announced.
    MindsAnnounced,
    /// A no-op stands for a commit of a dead process that may come to life.
    MindsNoops,
    /// What another program has changed is counted once it is noticed.
    CountsForeign,
}
const RULES: [Rule; 11] = [
    Rule::StartsAtDrained,
    Rule::PlaceBeforeKeys,
    Rule::Follows,
    Rule::MindsLoss,
    Rule::CountsDirect,
    Rule::CountsBefore,
    Rule::AnnouncesFirst,
    Rule::CountBeforeKeys,
    Rule::MindsAnnounced,
    Rule::MindsNoops,
    Rule::CountsForeign,
];

const END: u8 = u8::MAX;
const LOOKUPS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    Set,
    Noop,
}

/// What the reader has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    has_key: bool,
    offset: usize,
    additions: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    step: u8,
    left: u8,
    /// What it goes on with: the end of a drain, or a count.
    seen: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct State {
    /// Whether the database has the key.
    stored: bool,
    /// A commit of a dead process that the database may still find.
    orphan: bool,
    log: Vec<Record>,
    /// What lies below may be overwritten, and has been.
    tail: usize,
    drained: usize,
    /// What the index names.
    slot: Option<usize>,
    is_announced: bool,
    additions: u8,
    /// A change of another program that is not noticed yet.
    is_disturbed: bool,
    /// The owners of the append lock and of the writer lock.
    append: Option<usize>,
    writer: Option<usize>,
    is_dead: bool,
    kills: u8,
    known: Option<Known>,
    /// Whether the key has been absent at some moment since the lookup began.
    was_absent: bool,
    processes: Vec<Process>,
}

impl State {
    fn new(roles: &[Role]) -> Self {
        let process = |&role: &Role| {
            let left = if matches!(role, Reader | Drainer) { LOOKUPS } else { 1 };
            Process { role, step: 0, left, seen: 0 }
        };
        Self {
            stored: false,
            orphan: false,
            log: Vec::new(),
            tail: 0,
            drained: 0,
            slot: None,
            is_announced: false,
            additions: 0,
            is_disturbed: false,
            append: None,
            writer: None,
            is_dead: false,
            kills: 0,
            known: None,
            was_absent: true,
            processes: roles.iter().map(process).collect(),
        }
    }

    /// Whether a lookup that asks the tier and then the database finds the key. What another program has written counts
    /// once it is noticed.
    fn is_there(&self) -> bool {
        self.slot.is_some() || self.stored && !self.is_disturbed
    }

    fn commit(&mut self, stored: bool) {
        self.stored = stored;
        // It would take the place of what a dead process has written.
        self.orphan = false;
    }

    /// Commits all records that wait.
    fn drain(&mut self) {
        if self.log.len() > self.drained {
            let stores = self.log[self.drained..].contains(&Record::Set);
            self.commit(self.stored || stores);
        }
        self.drained = self.log.len();
    }

    /// Takes the append lock, and repairs what a dead owner has left.
    fn lock(&mut self, who: usize) {
        self.append = Some(who);
        if std::mem::take(&mut self.is_dead) {
            if self.slot.is_none() && self.log[self.drained..].contains(&Record::Set) {
                self.slot = self.log.iter().rposition(|record| *record == Record::Set);
            }
            if std::mem::take(&mut self.is_announced) {
                self.log.push(Record::Noop);
            }
        }
    }

    fn kill(&self, who: usize) -> Self {
        let mut next = self.clone();
        next.kills += 1;
        let Process { role, step, .. } = self.processes[who];
        next.processes[who].step = END;
        if next.append == Some(who) {
            next.append = None;
            next.is_dead = true;
        }
        if next.writer == Some(who) {
            next.writer = None;
        }
        // In the middle of its commit.
        next.orphan |= role == Direct && step == 4 && !self.stored;
        next
    }

    /// What happens without any process.
    fn events(&self) -> Vec<Self> {
        let mut events = Vec::new();
        if self.orphan {
            let mut next = self.clone();
            next.commit(true);
            events.push(next);
        }
        // A writer of other keys comes round, and gives the slots of what is clean to them.
        if self.tail < self.drained {
            let mut next = self.clone();
            next.tail = self.drained;
            next.slot = next.slot.filter(|&slot| slot >= next.drained);
            events.push(next);
        }
        events
    }

    /// One step of a process; `None`: it has to wait.
    fn step(&self, who: usize, left_out: Option<Rule>) -> Result<Option<Self>, &'static str> {
        let mut next = self.clone();
        let holds = |rule| left_out != Some(rule);
        let Process { role, step, left, seen } = self.processes[who];
        let mut to = step + 1;
        match (role, step) {
            (Reader, _) => return self.read(who, left_out).map(Some),
            (Writer, 0) => {
                if self.append.is_some() {
                    return Ok(None);
                }
                next.lock(who);
            }
            (Writer, 1) => next.log.push(Record::Set),
            (Writer, 2) => {
                next.slot = Some(self.log.len() - 1);
                next.append = None;
                to = END;
            }
            (Drainer | Direct, 0) => {
                if self.writer.is_some() || self.is_dead && self.append.is_some() {
                    return Ok(None);
                }
                if self.is_dead {
                    next.lock(who);
                    next.append = None;
                }
                next.writer = Some(who);
            }
            (Drainer, 1) => {
                next.drain();
                next.drained = self.drained;
                next.processes[who].seen = self.log.len();
            }
            (Drainer, 2) => {
                next.drained = self.drained.max(seen);
                next.writer = None;
                next.processes[who].left = left - 1;
                to = if left > 1 { 0 } else { END };
            }
            (Direct, 1) => {
                if self.append.is_some() {
                    return Ok(None);
                }
                next.lock(who);
                next.drain();
            }
            (Direct, 2 | 3) => {
                if (step == 2) == holds(Rule::AnnouncesFirst) {
                    next.is_announced = true;
                } else if holds(Rule::CountsDirect) && holds(Rule::CountsBefore) {
                    next.additions += 1;
                }
                next.slot = None;
            }
            (Direct, 4) => next.commit(true),
            (Direct, 5) => {
                if holds(Rule::CountsDirect) && !holds(Rule::CountsBefore) {
                    next.additions += 1;
                }
                next.is_announced = false;
                (next.append, next.writer) = (None, None);
                to = END;
            }
            (Foreign, 0) => {
                if !self.stored {
                    next.commit(true);
                    next.is_disturbed = true;
                }
            }
            // It is noticed: what is clean is forgotten.
            (Foreign, 1) => {
                next.is_disturbed = false;
                next.slot = self.slot.filter(|&slot| slot >= self.drained);
                if holds(Rule::CountsForeign) {
                    next.additions += 1;
                }
                to = END;
            }
            (Culler, 0) => {
                if self.writer.is_some() || self.append.is_some() || self.is_dead {
                    return Ok(None);
                }
                if self.slot.is_none_or(|slot| slot < self.drained) && self.drained == self.log.len() {
                    next.slot = None;
                    next.commit(false);
                }
                to = END;
            }
            _ => unreachable!("{role:?} {step}"),
        }
        next.processes[who].step = to;
        Ok(Some(next))
    }

    /// One step of the reader.
    fn read(&self, who: usize, left_out: Option<Rule>) -> Result<Self, &'static str> {
        let mut next = self.clone();
        let holds = |rule| left_out != Some(rule);
        let Process { step, left, .. } = self.processes[who];
        let place = |state: &Self| if holds(Rule::StartsAtDrained) { state.drained } else { state.log.len() };
        let mut to = step + 1;
        match step {
            // Learns: where the log stands, and what is counted.
            0 => next.known = Some(Known { has_key: false, offset: place(self), additions: self.additions }),
            1 => {
                if self.is_announced && holds(Rule::MindsAnnounced) {
                    to = 0;
                }
            }
            2 => next.known.as_mut().expect("begun").has_key = self.stored,
            3 => {
                let known = next.known.as_mut().expect("begun");
                if !holds(Rule::PlaceBeforeKeys) {
                    known.offset = place(self);
                }
                if !holds(Rule::CountBeforeKeys) {
                    known.additions = self.additions;
                }
            }
            // Looks up.
            4 => next.was_absent = !self.is_there(),
            5 => {
                next.processes[who].left = left - 1;
                to = if left > 1 { 4 } else { END };
                // Else it asks the database. A process that has found what it knows to be doubtful learns again.
                if let Some(absent) = next.answer(left_out)
                    && absent
                    && !self.was_absent
                {
                    return Err("a key that is there was taken for absent");
                }
            }
            _ => unreachable!("{step}"),
        }
        next.processes[who].step = to;
        Ok(next)
    }

    /// Whether the reader takes the key for absent; `None`: it must ask the database.
    fn answer(&mut self, left_out: Option<Rule>) -> Option<bool> {
        let holds = |rule| left_out != Some(rule);
        let mut known = self.known?;
        if known.additions != self.additions {
            self.known = None;
            return None;
        }
        if holds(Rule::Follows) {
            if known.offset < self.tail {
                if holds(Rule::MindsLoss) {
                    self.known = None;
                    return None;
                }
                known.offset = self.tail;
            }
            for record in &self.log[known.offset..] {
                match record {
                    Record::Set => known.has_key = true,
                    Record::Noop if holds(Rule::MindsNoops) => {
                        self.known = None;
                        return None;
                    }
                    Record::Noop => {}
                }
            }
            known.offset = self.log.len();
            self.known = Some(known);
        }
        Some(!known.has_key)
    }
}

/// Searches every order. Returns what went wrong first.
fn search(roles: &[Role], left_out: Option<Rule>) -> Result<usize, &'static str> {
    let first = State::new(roles);
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        let mut nexts = state.events();
        for (who, role) in roles.iter().enumerate() {
            if state.processes[who].step == END {
                continue;
            }
            nexts.extend(state.step(who, left_out)?);
            // A reader that dies leaves nothing behind.
            let is_mortal = state.kills < 2 && !matches!(role, Reader | Foreign);
            nexts.extend(is_mortal.then(|| state.kill(who)));
        }
        for mut next in nexts {
            next.was_absent |= !next.is_there();
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

/// What is searched.
const CASES: [&[Role]; 6] = [
    &[Reader, Writer, Drainer],
    &[Reader, Writer, Writer, Drainer],
    &[Reader, Direct, Drainer],
    &[Reader, Direct, Writer, Drainer],
    &[Reader, Direct, Culler, Drainer],
    &[Reader, Foreign, Writer, Drainer],
];

#[test]
fn no_key_that_is_there_is_taken_for_absent() {
    for roles in CASES {
        let states = search(roles, None).unwrap_or_else(|what| panic!("{roles:?}: {what}"));
        assert!(states > 100, "{roles:?}: {states} states");
    }
}

#[test]
fn each_rule_is_missed() {
    for rule in RULES {
        let found: Vec<_> = CASES.iter().filter_map(|roles| search(roles, Some(rule)).err()).collect();
        assert!(!found.is_empty(), "nothing goes wrong without {rule:?}");
    }
}

#[test]
fn what_is_learned_answers() {
    let mut state = State::new(&[Reader]);
    for _ in 0..4 {
        state = state.read(0, None).expect("nothing is wrong");
    }
    assert_eq!(state.answer(None), Some(true));
    state.log.push(Record::Set);
    assert_eq!(state.answer(None), Some(false));
}
