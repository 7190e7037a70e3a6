//! Random schedules of the leases themselves: several processes take, wait, compute, fail, give up and die in any order.
//!
//! Each process of a schedule is an attachment of its own, so its byte lock and its death are those of a real process. One
//! thread takes the steps of all of them, in an order that a seed gives. `lease_protocol.rs` searches every order of a
//! model; this test asks the code, with more processes and keys than a search can cover.
//!
//! A schedule must end. It computes a key once, and once more for each event that excuses it. A process that would close a
//! circle is told so, and no other process. No lease is left behind.

#[path = "common/random.rs"]
mod random;

use dolium_hot::{Access, Claim, Leases, Links, Outcome, Watch};
use random::Random;
use std::path::Path;

const KEYS: u64 = 3;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Look,
    Claim,
    LookAgain,
    Compute,
    Nested,
    Store,
    Release(Outcome),
    Wait(Watch),
}

/// A call for a key under way.
struct Call {
    key: u64,
    step: Step,
    lease: Option<Watch>,
}

struct Process {
    leases: Leases,
    /// Calls to come: each is a key, then what its computation calls for, and so on.
    plans: Vec<Vec<u64>>,
    calls: Vec<Call>,
}

/// What all processes do to the keys of a schedule.
struct World<'a> {
    random: &'a mut Random,
    base: u128,
    stored: [bool; 3],
    computed: [u32; 3],
    /// Deaths, failures, waits given up and circles: each excuses one more computation of any key.
    excuses: u32,
    /// A result of the key is not kept, so that all who waited compute.
    unkept: [bool; 3],
    /// Whether the table told of a circle where a process was about to wait for a lease.
    told: Option<(Watch, bool)>,
    /// What the dead held, and for what they waited.
    dead: Vec<(Vec<Watch>, Option<Watch>)>,
}

impl Process {
    fn attach(directory: &Path) -> Self {
        let leases = Leases::attach(directory, Access::private()).expect("attached");
        assert!(leases.is_table());
        Self { leases, plans: Vec::new(), calls: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.calls.is_empty() && self.plans.is_empty()
    }

    fn held(&self) -> Vec<Watch> {
        self.calls.iter().filter_map(|call| call.lease).collect()
    }

    /// Says for what the owner of all these leases waits. `false` where that would close a circle.
    fn link(&self, waits: &[Watch]) -> bool {
        let mine = self.held();
        self.leases.link(|| Links {
            waits: mine.iter().map(|lease| (*lease, waits.to_vec())).collect(),
            // Without a lease of its own, a process is part of no circle.
            goals: if mine.is_empty() { Vec::new() } else { waits.to_vec() },
        })
    }

    /// One step. `false` if the process waits.
    fn go(&mut self, world: &mut World<'_>) -> bool {
        let Some(call) = self.calls.last_mut() else {
            let plan = self.plans.last().expect("not done");
            self.calls.push(Call { key: plan[0], step: Step::Look, lease: None });
            return true;
        };
        let (key, at) = (call.key, usize::try_from(call.key).expect("few"));
        let next = match call.step {
            Step::Look if world.stored[at] => return self.returns(),
            Step::Look => Step::Claim,
            Step::Claim => return self.claim(world, key),
            Step::LookAgain if world.stored[at] => Step::Release(Outcome::Kept),
            Step::LookAgain => Step::Compute,
            Step::Compute => {
                world.computed[at] += 1;
                let depth = self.calls.len();
                let nested = self.plans.last().expect("a plan").get(depth).copied();
                let next = if nested.is_some() { Step::Nested } else { Step::Store };
                self.calls.last_mut().expect("a call").step = next;
                self.calls.extend(nested.map(|key| Call { key, step: Step::Look, lease: None }));
                return true;
            }
            Step::Nested => Step::Store,
            Step::Store => match world.random.below(20) {
                0 | 1 => {
                    world.excuses += 1;
                    Step::Release(if world.random.once_in(2) { Outcome::Failed } else { Outcome::Left })
                }
                2 => {
                    world.unkept[at] = true;
                    Step::Release(Outcome::Unkept)
                }
                _ => {
                    world.stored[at] = true;
                    Step::Release(Outcome::Kept)
                }
            },
            Step::Release(outcome) => {
                if let Some(lease) = call.lease.take() {
                    self.leases.release(lease, outcome);
                }
                return self.returns();
            }
            Step::Wait(watch) => {
                self.leases.probe(watch);
                let next = match self.leases.outcome(watch) {
                    Some(Outcome::Unkept) => Step::Compute,
                    Some(_) => Step::Look,
                    None if world.random.once_in(50) => {
                        world.excuses += 1;
                        Step::Compute
                    }
                    None => return false,
                };
                assert!(self.link(&[]), "what no longer waits closes no circle");
                next
            }
        };
        self.calls.last_mut().expect("a call").step = next;
        true
    }

    fn claim(&mut self, world: &mut World<'_>, key: u64) -> bool {
        let is_ours = self.calls.iter().any(|call| call.key == key && call.lease.is_some());
        let (step, lease) = if is_ours {
            // The board of a process knows that without asking the table.
            world.excuses += 1;
            (Step::Compute, None)
        } else {
            match self.leases.claim(world.base + u128::from(key)) {
                Claim::Ours(lease) => (Step::LookAgain, Some(lease)),
                Claim::Theirs(watch) if self.link(&[watch]) => {
                    world.told = Some((watch, false));
                    (Step::Wait(watch), None)
                }
                Claim::Theirs(watch) => {
                    world.told = Some((watch, true));
                    assert!(self.link(&[]), "what does not wait closes no circle");
                    world.excuses += 1;
                    (Step::Compute, None)
                }
                other => panic!("{other:?}"),
            }
        };
        let call = self.calls.last_mut().expect("a call");
        (call.step, call.lease) = (step, lease);
        true
    }

    /// The last call has its value, or its exception, which the calls around it survive.
    fn returns(&mut self) -> bool {
        self.calls.pop();
        if self.calls.is_empty() {
            self.plans.pop();
        }
        true
    }
}

fn steps(processes: &[Process]) -> Vec<Option<Step>> {
    processes.iter().map(|process| process.calls.last().map(|call| call.step)).collect()
}

/// What each process holds, and for what it waits, by what the processes do, whatever the table says.
struct Waits(Vec<(Vec<Watch>, Option<Watch>)>);

impl Waits {
    fn of(processes: &[Process]) -> Self {
        let wait = |step| if let Some(Step::Wait(watch)) = step { Some(watch) } else { None };
        Self(processes.iter().map(Process::held).zip(steps(processes).into_iter().map(wait)).collect())
    }

    /// Whether waiting for a lease leads back to a process.
    fn lead_back(&self, who: usize, mut watch: Watch) -> bool {
        for _ in 0..=self.0.len() {
            match self.0.iter().position(|(held, _)| held.contains(&watch)) {
                Some(owner) if owner == who => return true,
                Some(owner) => match self.0[owner].1 {
                    Some(next) => watch = next,
                    None => return false,
                },
                None => return false,
            }
        }
        false
    }
}

fn run(directory: &Path, processes: &mut [Process], seed: u64) {
    let mut random = Random(seed);
    for process in &mut *processes {
        let calls = 1 + random.below(2);
        process.plans =
            (0..calls).map(|_| (0..=random.below(3)).map(|_| random.below(KEYS)).collect()).collect();
    }
    let mut deaths = random.below(3);
    let mut world = World {
        base: u128::from(seed + 1) << 8,
        random: &mut random,
        stored: [false; 3],
        computed: [0; 3],
        excuses: 0,
        unkept: [false; 3],
        told: None,
        dead: Vec::new(),
    };
    let mut waiting = 0_u32;
    while !processes.iter().all(Process::is_done) {
        let able: Vec<usize> = (0..processes.len())
            .filter(|who| !processes[*who].is_done() && waiting & 1 << who == 0)
            .collect();
        assert!(!able.is_empty(), "seed {seed}: all wait: {:?}", steps(processes));
        let who = able[usize::try_from(world.random.below(able.len() as u64)).expect("few")];
        if deaths > 0 && !processes[who].calls.is_empty() && world.random.once_in(12) {
            // Its lock goes with its descriptor. Another process takes its place, and may take its slot.
            let plans = std::mem::take(&mut processes[who].plans);
            world.dead.extend(Waits::of(&processes[who..=who]).0);
            processes[who].calls.clear();
            processes[who] = Process { plans, ..Process::attach(directory) };
            (deaths, waiting) = (deaths - 1, 0);
            world.excuses += 1;
            continue;
        }
        if processes[who].go(&mut world) {
            waiting = 0;
        } else {
            waiting |= 1 << who;
        }
        if let Some((watch, is_told)) = world.told.take() {
            let mut waits = Waits::of(processes);
            if is_told {
                // The links of a dead owner count until another process finds it dead.
                waits.0.append(&mut world.dead.clone());
            }
            let is_circle = waits.lead_back(who, watch);
            assert_eq!(is_told, is_circle, "seed {seed}: what the table tells of a circle is not so");
        }
    }
    for key in 0..KEYS {
        let at = usize::try_from(key).expect("few");
        let (computed, excuses) = (world.computed[at], world.excuses);
        assert!(
            computed <= 1 + excuses || world.unkept[at],
            "seed {seed}: key {key} was computed {computed} times, with {excuses} excuses"
        );
        match processes[0].leases.claim(world.base + u128::from(key)) {
            Claim::Ours(lease) => processes[0].leases.release(lease, Outcome::Left),
            other => panic!("seed {seed}: the lease of key {key} is left: {other:?}"),
        }
    }
}

/// Runs the schedules of some seeds, with crowds of two to four processes by turns.
fn schedules(seeds: std::ops::Range<u64>) {
    let directory = tempfile::tempdir().expect("directory");
    let mut crowd: Vec<Process> = (0..4).map(|_| Process::attach(directory.path())).collect();
    for seed in seeds {
        let size = 2 + usize::try_from(seed % 3).expect("few");
        run(directory.path(), &mut crowd[..size], seed);
    }
}

#[test]
fn random_schedules_end_and_compute_once() {
    let rounds: u64 = if std::env::var_os("DOLIUM_TORTURE").is_some() { 1_000_000 } else { 100_000 };
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64).min(8);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || schedules(worker * rounds / workers..(worker + 1) * rounds / workers));
        }
    });
}
