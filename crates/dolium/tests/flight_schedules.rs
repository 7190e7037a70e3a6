//! Random schedules of the flights of one process: tasks join, wait, compute, fail, are cancelled and give up in any order.
//!
//! One thread takes the steps of all tasks, in an order that a seed gives, so a schedule that fails can be run again.
//! `dolium-hot/tests/lease_schedules.rs` does the same for the leases between processes.
//!
//! A schedule must end. It computes a key once, and once more for each event that excuses it: a failure, a circle, a
//! task that was cancelled, and a wait that was given up. No flight is left behind.
#![expect(clippy::disallowed_methods, reason = "the environment says how long to go on")]

#[path = "../../dolium-hot/tests/common/random.rs"]
mod random;

use std::sync::Arc;

use dolium::host::{After, Asked, Ended, Flight, Joined, Space, Waiter};
use random::Random;

const KEYS: u8 = 3;

fn any_key(random: &mut Random) -> u8 {
    u8::try_from(random.below(KEYS.into())).expect("few")
}

enum Step {
    Look(Option<After>),
    LookAgain,
    Compute,
    Nested,
    End,
    Wait(Waiter),
}

/// A call for a key under way.
struct Call {
    key: u8,
    step: Step,
    flight: Option<Flight>,
}

/// A task makes one call. Its computation calls for the next key of the plan, and so on.
struct Task {
    plan: Vec<u8>,
    calls: Vec<Call>,
    is_done: bool,
}

struct World {
    random: Random,
    space: u64,
    stored: [bool; KEYS as usize],
    computed: [u32; KEYS as usize],
    unkept: [bool; KEYS as usize],
    excuses: u32,
    /// A task was told that it must not wait for this key.
    alone: Option<u8>,
}

impl Task {
    fn new(random: &mut Random) -> Self {
        let plan: Vec<u8> = (0..=random.below(3)).map(|_| any_key(random)).collect();
        let first = Call { key: plan[0], step: Step::Look(None), flight: None };
        Self { plan, calls: vec![first], is_done: false }
    }

    /// One step. `false` if the task waits.
    fn go(&mut self, world: &mut World) -> bool {
        let aboard: Vec<u64> =
            self.calls.iter().filter_map(|call| call.flight.as_ref().map(Flight::id)).collect();
        let depth = self.calls.len();
        let call = self.calls.last_mut().expect("not done");
        let at = usize::from(call.key);
        let next = match &mut call.step {
            Step::Look(_) if world.stored[at] => return self.returns(),
            Step::Look(after) => {
                let asked = Asked::new().aboard(&aboard).after(after.as_ref());
                match Space::of_process(world.space).join(&[call.key], asked) {
                    Joined::Owner(flight) => {
                        call.flight = Some(flight);
                        Step::LookAgain
                    }
                    Joined::Waiter(waiter) => Step::Wait(waiter),
                    Joined::Alone => {
                        world.alone = Some(call.key);
                        world.excuses += 1;
                        Step::Compute
                    }
                }
            }
            Step::LookAgain if world.stored[at] => return self.ends(Ended::Kept),
            Step::LookAgain => Step::Compute,
            Step::Compute => {
                world.computed[at] += 1;
                let nested = self.plan.get(depth).copied();
                call.step = if nested.is_some() { Step::Nested } else { Step::End };
                self.calls.extend(nested.map(|key| Call { key, step: Step::Look(None), flight: None }));
                return true;
            }
            Step::Nested => Step::End,
            Step::End => {
                let ended = match world.random.below(20) {
                    0 | 1 => {
                        world.excuses += 1;
                        Ended::Failed(Arc::new("failed"))
                    }
                    2 => {
                        world.excuses += 1;
                        Ended::Left
                    }
                    3 => {
                        world.unkept[at] = true;
                        Ended::Unkept
                    }
                    _ => {
                        world.stored[at] = true;
                        Ended::Kept
                    }
                };
                return self.ends(ended);
            }
            Step::Wait(waiter) => match waiter.ended() {
                Some(Ended::Kept | Ended::Left) => Step::Look(Some(waiter.after())),
                // What the owner raised is what this caller raises.
                Some(Ended::Failed(_)) => return self.returns(),
                Some(Ended::Unkept) => Step::Compute,
                None if world.random.once_in(50) => {
                    world.excuses += 1;
                    Step::Compute
                }
                None => return false,
                Some(other) => panic!("no schedule knows {other:?}"),
            },
        };
        self.calls.last_mut().expect("a call").step = next;
        true
    }

    fn ends(&mut self, ended: Ended) -> bool {
        if let Some(flight) = self.calls.last_mut().and_then(|call| call.flight.take()) {
            flight.end(ended);
        }
        self.returns()
    }

    fn returns(&mut self) -> bool {
        self.calls.pop();
        self.is_done = self.calls.is_empty();
        true
    }

    /// Its waiting ends first, then its flights, the innermost first.
    fn cancel(&mut self) {
        while let Some(Call { step, flight, .. }) = self.calls.pop() {
            drop(step);
            drop(flight);
        }
        self.is_done = true;
    }
}

/// Which keys each task computes, and for which it waits, by what the tasks do, whatever the board says.
struct Ways(Vec<(Vec<u8>, Option<u8>)>);

impl Ways {
    fn of(tasks: &[Task]) -> Self {
        let way = |task: &Task| {
            let computes = task.calls.iter().filter(|call| call.flight.is_some()).map(|call| call.key);
            let last = task.calls.last().filter(|call| matches!(call.step, Step::Wait(_)));
            (computes.collect(), last.map(|call| call.key))
        };
        Self(tasks.iter().map(way).collect())
    }

    /// Whether waiting for a key leads back to a task.
    fn lead_back(&self, who: usize, mut key: u8) -> bool {
        for _ in &self.0 {
            match self.0.iter().position(|(computes, _)| computes.contains(&key)) {
                Some(owner) if owner == who => return true,
                Some(owner) => match self.0[owner].1 {
                    Some(next) => key = next,
                    None => return false,
                },
                None => return false,
            }
        }
        false
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let count = 2 + random.below(4);
    let mut tasks: Vec<Task> = (0..count).map(|_| Task::new(&mut random)).collect();
    let mut world = World {
        random,
        space: Space::new_id(),
        stored: [false; 3],
        computed: [0; 3],
        unkept: [false; 3],
        excuses: 0,
        alone: None,
    };
    let mut waiting = 0_u32;
    let goes = |tasks: &[Task], waiting: u32| -> Vec<usize> {
        (0..tasks.len()).filter(|who| !tasks[*who].is_done && waiting & 1 << who == 0).collect()
    };
    while !tasks.iter().all(|task| task.is_done) {
        let able = goes(&tasks, waiting);
        assert!(!able.is_empty(), "seed {seed}: all wait");
        let who = able[usize::try_from(world.random.below(able.len() as u64)).expect("few")];
        if world.random.once_in(60) {
            tasks[who].cancel();
            world.excuses += 1;
            waiting = 0;
            continue;
        }
        if tasks[who].go(&mut world) {
            waiting = 0;
        } else {
            waiting |= 1 << who;
        }
        if let Some(key) = world.alone.take() {
            assert!(
                Ways::of(&tasks).lead_back(who, key),
                "seed {seed}: a circle was seen where there is none"
            );
        }
    }
    for key in 0..KEYS {
        let at = usize::from(key);
        let (computed, excuses) = (world.computed[at], world.excuses);
        assert!(
            computed <= 1 + excuses || world.unkept[at],
            "seed {seed}: key {key} was computed {computed} times, with {excuses} excuses"
        );
        match Space::of_process(world.space).join(&[key], Asked::default()) {
            Joined::Owner(flight) => drop(flight),
            other => panic!("seed {seed}: a flight of key {key} is left: {other:?}"),
        }
    }
}

#[test]
fn random_schedules_of_tasks_end_and_compute_once() {
    let rounds = if std::env::var_os("DOLIUM_TORTURE").is_some() { 1_000_000 } else { 100_000 };
    (0..rounds).for_each(run);
}
