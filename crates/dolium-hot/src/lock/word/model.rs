//! Every interleaving of the lock word's rules, with a kill at every step.
//!
//! Owns an explicit-state search that runs the very functions of `word.rs`. A process is a deterministic program whose
//! only window on the world are operations; it is carried on by running it again from the start, feeding it the answers
//! it has had, until it asks for something new. Each such operation is atomic, and every order of them is tried.
//!
//! What is simplified: time (a sleeper may wake at any moment, or, in the strict search, only when woken) and memory
//! order (one word, whose every change is acquire and release).

use super::{OwnerLocks, Released, Word, announce, release, take_over, try_take};
use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SLOTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LockOp {
    /// Takes the byte of the own slot; blocks until it is free, for a process that comes after the first one's death.
    Start,
    Load,
    Replace(u32, u32),
    Claim(u32),
    Free(u32),
    Sleep(u32),
    Wake,
    Enter,
    Leave,
}

struct LockWorld<'a> {
    history: &'a [u32],
    at: Cell<usize>,
}

impl LockWorld<'_> {
    fn ask(&self, op: LockOp) -> u32 {
        let at = self.at.replace(self.at.get() + 1);
        match self.history.get(at) {
            Some(answer) => *answer,
            None => resume_unwind(Box::new(op)),
        }
    }
}

impl Word for LockWorld<'_> {
    fn load(&self) -> u32 {
        self.ask(LockOp::Load)
    }

    fn replace(&self, expected: u32, new: u32) -> Result<u32, u32> {
        let found = self.ask(LockOp::Replace(expected, new));
        if found == expected { Ok(found) } else { Err(found) }
    }
}

impl OwnerLocks for LockWorld<'_> {
    fn claim(&self, slot: u32) -> io::Result<bool> {
        Ok(self.ask(LockOp::Claim(slot)) == 1)
    }

    fn release(&self, slot: u32) -> io::Result<()> {
        self.ask(LockOp::Free(slot));
        Ok(())
    }
}

type TakeOver = fn(&LockWorld<'_>, u32) -> bool;

fn real_take_over(world: &LockWorld<'_>, me: u32) -> bool {
    take_over(world, world, me, SLOTS).expect("the model's locks do not fail")
}

#[derive(Clone, Copy)]
struct Plan {
    rounds: u32,
    /// How often each process may lock.
    turns: u32,
    kills: u32,
    strict: bool,
    /// Whether a release wakes all sleepers, as that of the append lock does, or one.
    wakes_all: bool,
    take_over: TakeOver,
}

/// What a process does, as `Shared` does it.
fn program(world: &LockWorld<'_>, me: u32, plan: Plan) {
    world.ask(LockOp::Start);
    let leave = || {
        if release(world, me) == Released::Wake {
            world.ask(LockOp::Wake);
        }
    };
    leave(); // the heir
    let mut turns = plan.turns;
    let mut slept = false;
    for _ in 0..plan.rounds {
        if try_take(world, me, slept) || (!plan.strict && (plan.take_over)(world, me)) {
            world.ask(LockOp::Enter);
            world.ask(LockOp::Leave);
            leave();
            turns -= 1;
            slept = false;
            if turns == 0 {
                return;
            }
        } else if let Some(seen) = announce(world) {
            slept = true;
            world.ask(LockOp::Sleep(seen));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Running,
    Asleep,
    Dead,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    slot: u32,
    history: Vec<u32>,
    next: Option<LockOp>,
    status: Status,
    inside: bool,
}

impl Process {
    fn new(slot: u32) -> Self {
        Self { slot, history: Vec::new(), next: Some(LockOp::Start), status: Status::Running, inside: false }
    }

    fn answer(&mut self, answer: u32, plan: Plan) {
        self.history.push(answer);
        let world = LockWorld { history: &self.history, at: Cell::new(0) };
        self.next = match catch_unwind(AssertUnwindSafe(|| program(&world, self.slot, plan))) {
            Ok(()) => None,
            Err(payload) => match payload.downcast::<LockOp>() {
                Ok(op) => Some(*op),
                Err(failure) => resume_unwind(failure),
            },
        };
        self.status = if self.next.is_some() { Status::Running } else { Status::Done };
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    word: u32,
    /// The process that has the byte of each slot.
    bytes: [Option<usize>; SLOTS as usize],
    processes: Vec<Process>,
    kills: u32,
}

impl State {
    /// Every state that one step of process `who` can lead to.
    fn step(&self, who: usize, plan: Plan) -> Vec<Self> {
        let mut after = self.clone();
        let process = &self.processes[who];
        let Some(op) = process.next.filter(|_| process.status == Status::Running) else {
            return Vec::new();
        };
        let answer = match op {
            LockOp::Start => match &mut after.bytes[process.slot as usize] {
                Some(_) => return Vec::new(),
                byte => {
                    *byte = Some(who);
                    1
                }
            },
            LockOp::Load => self.word,
            LockOp::Replace(expected, new) => {
                if self.word == expected {
                    after.word = new;
                }
                self.word
            }
            LockOp::Claim(slot) => {
                let byte = &mut after.bytes[slot as usize];
                let granted = byte.is_none_or(|holder| holder == who);
                if granted {
                    *byte = Some(who);
                }
                u32::from(granted)
            }
            LockOp::Free(slot) => {
                after.bytes[slot as usize] = None;
                0
            }
            LockOp::Sleep(seen) if plan.strict && self.word == seen => {
                after.processes[who].status = Status::Asleep;
                return vec![after];
            }
            LockOp::Sleep(_) => 0,
            LockOp::Enter => {
                let other = self.processes.iter().find(|other| other.inside);
                assert!(other.is_none(), "two inside: {self:#?}");
                after.processes[who].inside = true;
                0
            }
            LockOp::Leave => {
                after.processes[who].inside = false;
                0
            }
            LockOp::Wake => return self.wake(who, plan),
        };
        after.processes[who].answer(answer, plan);
        vec![after]
    }

    /// The kernel may wake any of the sleepers, but wakes one if there is one.
    fn wake(&self, who: usize, plan: Plan) -> Vec<Self> {
        let mut after = self.clone();
        after.processes[who].answer(0, plan);
        if plan.wakes_all {
            for sleeper in after.processes.iter_mut().filter(|sleeper| sleeper.status == Status::Asleep) {
                sleeper.answer(0, plan);
            }
            return vec![after];
        }
        let woken: Vec<Self> = (0..self.processes.len())
            .filter(|sleeper| self.processes[*sleeper].status == Status::Asleep)
            .map(|sleeper| {
                let mut after = after.clone();
                after.processes[sleeper].answer(0, plan);
                after
            })
            .collect();
        if woken.is_empty() { vec![after] } else { woken }
    }

    fn kill(&self, who: usize) -> Option<Self> {
        let process = &self.processes[who];
        if self.kills == 0 || process.next.is_none() || process.history.is_empty() {
            return None;
        }
        let mut after = self.clone();
        after.kills -= 1;
        after.processes[who].status = Status::Dead;
        after.processes[who].next = None;
        after.processes[who].inside = false;
        for byte in &mut after.bytes {
            byte.take_if(|holder| *holder == who);
        }
        Some(after)
    }

    /// No process can do anything any more: then a newcomer must be able to have the lock.
    fn check_end(&self) {
        assert!(
            self.processes.iter().all(|process| process.status != Status::Asleep),
            "a sleeper was forgotten: {self:#?}"
        );
        let named = self.word & !super::WAITERS;
        let dead = |slot: u32| {
            let holder = self.bytes[slot as usize];
            holder.is_none_or(|holder| self.processes[holder].status == Status::Dead)
        };
        assert!(named == 0 || dead(named - 1), "the lock is lost: {self:#?}");
    }
}

/// Searches everything; the number of states.
fn search(slots: &[u32], plan: Plan) -> usize {
    let start = State {
        word: 0,
        bytes: [None; SLOTS as usize],
        processes: slots.iter().map(|slot| Process::new(*slot)).collect(),
        kills: plan.kills,
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        let mut after: Vec<State> = (0..slots.len()).flat_map(|who| state.step(who, plan)).collect();
        if after.is_empty() {
            state.check_end();
        }
        after.extend((0..slots.len()).filter_map(|who| state.kill(who)));
        for state in after {
            if seen.insert(state.clone()) {
                open.push(state);
            }
        }
    }
    seen.len()
}

const KILLS: Plan =
    Plan { rounds: 2, turns: 1, kills: 1, strict: false, wakes_all: false, take_over: real_take_over };

#[test]
fn nobody_joins_a_living_owner_and_no_lock_is_lost_with_its_owner() {
    let two = search(&[0, 1], Plan { rounds: 3, turns: 2, kills: 2, ..KILLS });
    // The third has the slot of the first and can come only after its death: the heir.
    let heir = search(&[0, 1, 0], Plan { rounds: 2, kills: 2, ..KILLS });
    // Two that take over the same one.
    let rivals = search(&[0, 1, 2], Plan { rounds: 1, ..KILLS });
    println!("{two} states of two processes, {heir} with an heir, {rivals} with rivals");
    assert!(two > 1000 && heir > 1000 && rivals > 1000);
}

#[test]
fn no_sleeper_is_forgotten_while_nobody_is_killed() {
    let strict = Plan { rounds: 4, turns: 2, kills: 0, strict: true, ..KILLS };
    for wakes_all in [false, true] {
        let two = search(&[0, 1], Plan { wakes_all, ..strict });
        let three = search(&[0, 1, 2], Plan { rounds: 3, turns: 1, wakes_all, ..strict });
        println!("{two} states of two processes, {three} of three; all are woken: {wakes_all}");
        assert!(two > 1000 && three > 1000);
    }
}

/// Gives the byte back before the word is replaced: the slot may have a living owner again by then.
fn hasty_take_over(world: &LockWorld<'_>, me: u32) -> bool {
    let seen = world.load();
    let named = seen & !super::WAITERS;
    if named == 0 || named == me + 1 || !world.claim(named - 1).expect("no failure") {
        return false;
    }
    OwnerLocks::release(world, named - 1).expect("no failure");
    world.replace(seen, (me + 1) | super::WAITERS).is_ok()
}

#[test]
#[should_panic(expected = "two inside")]
fn the_search_finds_a_burial_that_gives_the_byte_back_too_early() {
    search(&[0, 1, 0], Plan { rounds: 2, take_over: hasty_take_over, ..KILLS });
}
