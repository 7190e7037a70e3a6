//! Every interleaving of the lease protocol: some processes, some keys, and a kill or a fork at every step.
//!
//! A model, not the code: one step of `src/lease` is one step here. A call looks its key up, takes the lease, looks once
//! more, computes (and calls for other keys meanwhile), stores, and releases. The model checks three promises. Some process
//! can always go on. A key is computed once, and once more for each death, circle, full table and waiter that
//! gave up. No lease is left
//! behind. Each rule is left out in turn, and the search must then find a promise that breaks.

#[path = "common/search.rs"]
mod search;

use search::Steps;

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// An owner looks the key up once more before it computes.
    LooksAgain,
    /// An owner stores before it releases.
    StoresFirst,
    /// A process finds and takes leases with the lock of the table held.
    TakesUnderLock,
    /// The next process takes the lock of the table over from a dead one.
    LockOutlivesOwner,
    /// A waiter asks whether the owner lives.
    WaitersProbe,
    /// A process that is given the slot of a dead one first frees the leases that name it.
    HeirFrees,
    /// A waiter tells a lease from the next one in the same place by its serial.
    SerialsCount,
    /// A process that would close a circle computes.
    CirclesEnd,
    /// All leases of a waiting process say for what it waits, not the last one alone.
    AllLeasesLink,
    /// A lease says so no longer once the waiting is over.
    LinksEnd,
    /// A child of a fork owns nothing.
    ForksDisown,
    /// A process that finds no room computes without a lease.
    FullTableComputes,
}

type Key = u8;

/// The calls that a process makes one after the other: each is a key, then what its computation calls for, and so on.
type Role = &'static [&'static [Key]];

const FREE: u8 = u8::MAX;

/// A place of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lease {
    owner: u8,
    serial: u8,
    key: Key,
    waits: Vec<Watch>,
}

/// A lease as a process has seen it: place and serial.
type Watch = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Look,
    Lock,
    Choose,
    Word(u8),
    Unlock,
    LookAgain,
    Compute,
    Nested,
    Store,
    Release,
    Wait(Watch),
}

/// A call under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    depth: u8,
    step: Step,
    lease: Option<Watch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: u8,
    slot: u8,
    /// Which of its role's calls is next.
    turn: u8,
    calls: Vec<Call>,
    alive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    table: Vec<Lease>,
    /// The holder of the table's lock.
    lock: Option<u8>,
    processes: Vec<Process>,
    stored: [bool; 3],
    computed: [u8; 3],
    /// What excuses a computation more: deaths and waits that were given up; circles; a full table.
    events: u8,
    circles: u8,
    overflows: u8,
    /// The table told of a circle, and there was none.
    erred: bool,
}

struct Crowd {
    roles: &'static [Role],
    places: usize,
    kills: u8,
    forks: bool,
    /// A process of this role is born when another dies, and is given its slot.
    heir: Option<u8>,
    /// A waiter may give up, and compute.
    impatient: bool,
}

impl State {
    fn new(crowd: &Crowd) -> Self {
        let processes = (0u8..).zip(crowd.roles).filter(|(role, _)| Some(*role) != crowd.heir);
        Self {
            table: vec![Lease { owner: FREE, serial: 0, key: 0, waits: Vec::new() }; crowd.places],
            lock: None,
            processes: processes.map(|(role, _)| Process::new(role, role)).collect(),
            stored: [false; 3],
            computed: [0; 3],
            events: 0,
            circles: 0,
            overflows: 0,
            erred: false,
        }
    }

    fn lives(&self, slot: u8) -> bool {
        self.processes.iter().any(|process| process.alive && process.slot == slot)
    }

    /// What links lead to, from a lease.
    fn reaches(&self, from: Watch, goals: &[Watch]) -> bool {
        let (mut seen, mut stack) = (Vec::new(), vec![from]);
        while let Some(watch) = stack.pop() {
            if goals.contains(&watch) {
                return true;
            }
            let lease = &self.table[usize::from(watch.0)];
            if lease.owner != FREE && lease.serial == watch.1 && !seen.contains(&watch) {
                seen.push(watch);
                stack.extend(&lease.waits);
            }
        }
        false
    }

    /// The same by what the processes do, whatever the table says.
    fn waits_for(&self, mut watch: Watch, goals: &[Watch]) -> bool {
        for _ in 0..=self.processes.len() {
            if goals.contains(&watch) {
                return true;
            }
            let owner = self.table[usize::from(watch.0)].owner;
            let process = self.processes.iter().find(|process| process.alive && process.slot == owner);
            match process.and_then(|process| process.calls.last()).map(|call| call.step) {
                Some(Step::Wait(next)) => watch = next,
                _ => return false,
            }
        }
        false
    }

    fn lease(&mut self, watch: Watch) -> &mut Lease {
        &mut self.table[usize::from(watch.0)]
    }

    /// The word names its owner, who alone may free it; a child that does not know that it is one would, too.
    fn release(&mut self, mine: Watch) {
        let lease = self.lease(mine);
        if lease.serial == mine.1 {
            lease.owner = FREE;
            lease.waits.clear();
        }
    }

    fn is_over(&self, watch: Watch, holds: impl Fn(Rule) -> bool) -> bool {
        let lease = &self.table[usize::from(watch.0)];
        lease.owner == FREE || (holds(Rule::SerialsCount) && lease.serial != watch.1)
    }
}

impl Process {
    fn new(role: u8, slot: u8) -> Self {
        Self { role, slot, turn: 0, calls: Vec::new(), alive: true }
    }

    fn is_done(&self, crowd: &Crowd) -> bool {
        !self.alive || usize::from(self.turn) == crowd.roles[usize::from(self.role)].len()
    }

    fn leases(&self) -> Vec<Watch> {
        self.calls.iter().filter_map(|call| call.lease).collect()
    }
}

/// What a process does next. `None`: it waits, or is done.
fn go(crowd: &Crowd, state: &State, who: usize, holds: &impl Fn(Rule) -> bool) -> Option<State> {
    let mut next = state.clone();
    let process = &state.processes[who];
    if process.is_done(crowd) {
        return None;
    }
    let keys = crowd.roles[usize::from(process.role)][usize::from(process.turn)];
    let slot = process.slot;
    let me = u8::try_from(who).expect("few");
    let Some(call) = process.calls.last() else {
        next.processes[who].calls.push(Call { depth: 0, step: Step::Look, lease: None });
        return Some(next);
    };
    let key = keys[usize::from(call.depth)];
    let at = usize::from(key);
    let mut lease = call.lease;
    let after = match call.step {
        Step::Look => Some(if state.stored[at] { return Some(returned(next, who)) } else { Step::Lock }),
        Step::Lock => {
            let is_free = state.lock.is_none_or(|holder| {
                holds(Rule::LockOutlivesOwner) && !state.processes[usize::from(holder)].alive
            });
            let has_room =
                |lease: &Lease| lease.owner == FREE || lease.key == key || !state.lives(lease.owner);
            if !holds(Rule::FullTableComputes) && !state.table.iter().any(has_room) {
                // It waits for room, which may be its own.
                return None;
            }
            if holds(Rule::TakesUnderLock) {
                if !is_free {
                    return None;
                }
                next.lock = Some(me);
            }
            Some(Step::Choose)
        }
        Step::Choose => Some(choose(&mut next, who, key, holds)),
        Step::Word(place) => {
            let found = &mut next.table[usize::from(place)];
            found.serial += 1;
            found.owner = slot;
            lease = Some((place, found.serial));
            Some(Step::Unlock)
        }
        Step::Unlock => {
            next.lock = None;
            Some(if holds(Rule::LooksAgain) { Step::LookAgain } else { Step::Compute })
        }
        Step::LookAgain => Some(if state.stored[at] { Step::Release } else { Step::Compute }),
        Step::Compute => {
            next.computed[at] += 1;
            Some(if keys.len() > usize::from(call.depth) + 1 {
                let nested = Call { depth: call.depth + 1, step: Step::Look, lease: None };
                next.processes[who].calls.last_mut().expect("called").step = Step::Nested;
                next.processes[who].calls.push(nested);
                return Some(next);
            } else if holds(Rule::StoresFirst) {
                Step::Store
            } else {
                Step::Release
            })
        }
        Step::Nested => Some(if holds(Rule::StoresFirst) { Step::Store } else { Step::Release }),
        Step::Store => {
            next.stored[at] = true;
            Some(Step::Release)
        }
        Step::Release => {
            lease.take().into_iter().for_each(|mine| next.release(mine));
            let late = !holds(Rule::StoresFirst) && !state.stored[at];
            if late { Some(Step::Store) } else { None }
        }
        Step::Wait(watch) => {
            let unlinked = |mut next: State| {
                for mine in process.leases().into_iter().filter(|_| holds(Rule::LinksEnd)) {
                    next.lease(mine).waits.retain(|link| *link != watch);
                }
                next
            };
            let is_dead = !state.lives(state.table[usize::from(watch.0)].owner);
            if !(state.is_over(watch, holds) || is_dead && holds(Rule::WaitersProbe)) {
                if !crowd.impatient || state.events > 0 {
                    return None;
                }
                next = unlinked(next);
                next.events += 1;
                next.processes[who].calls.last_mut().expect("called").step = Step::Compute;
                return Some(next);
            }
            next = unlinked(next);
            Some(Step::Look)
        }
    };
    let Some(step) = after else { return Some(returned(next, who)) };
    let call = next.processes[who].calls.last_mut().expect("called");
    (call.step, call.lease) = (step, lease);
    Some(next)
}

/// With the lock held: whose the key is.
fn choose(next: &mut State, who: usize, key: Key, holds: &impl Fn(Rule) -> bool) -> Step {
    let taken = |lease: &Lease| lease.owner != FREE && lease.key == key;
    let found = next.table.iter().position(taken);
    let owner = found.map(|place| next.table[place].owner);
    if let (Some(place), Some(owner)) = (found, owner)
        && next.lives(owner)
    {
        let place = u8::try_from(place).expect("few");
        let watch = (place, next.table[usize::from(place)].serial);
        next.lock = None;
        let mine = next.processes[who].leases();
        if holds(Rule::CirclesEnd) && next.reaches(watch, &mine) {
            next.circles += 1;
            next.erred = !next.waits_for(watch, &mine);
            return Step::Compute;
        }
        let all = if holds(Rule::AllLeasesLink) { &mine[..] } else { &mine[mine.len().saturating_sub(1)..] };
        for lease in all {
            next.lease(*lease).waits.push(watch);
        }
        return Step::Wait(watch);
    }
    // A dead owner's lease is as good as a free one; one with the key comes first.
    let free = found.or_else(|| next.table.iter().position(|lease| lease.owner == FREE));
    let Some(place) = free.or_else(|| next.table.iter().position(|lease| !next.lives(lease.owner))) else {
        next.lock = None;
        next.overflows += 1;
        return Step::Compute;
    };
    next.table[place].key = key;
    next.table[place].waits.clear();
    Step::Word(u8::try_from(place).expect("few"))
}

/// The last call has its value.
fn returned(mut next: State, who: usize) -> State {
    let process = &mut next.processes[who];
    process.calls.pop();
    if process.calls.is_empty() {
        process.turn += 1;
    }
    next
}

fn kill(crowd: &Crowd, state: &State, who: usize, holds: &impl Fn(Rule) -> bool) -> State {
    let mut next = state.clone();
    let process = &mut next.processes[who];
    (process.alive, process.calls) = (false, Vec::new());
    next.events += 1;
    if let Some(role) = crowd.heir {
        let slot = process.slot;
        if holds(Rule::HeirFrees) {
            next.table.iter_mut().filter(|lease| lease.owner == slot).for_each(|lease| lease.owner = FREE);
        }
        next.processes.push(Process::new(role, slot));
    }
    next
}

fn fork(state: &State, who: usize, holds: &impl Fn(Rule) -> bool) -> State {
    let mut next = state.clone();
    let mut child = next.processes[who].clone();
    child.slot = u8::try_from(next.processes.len()).expect("few") + 10;
    // It leaves the computation without storing anything, as by an exception.
    child.calls.last_mut().expect("called").step = Step::Release;
    if holds(Rule::ForksDisown) {
        child.calls.iter_mut().for_each(|call| call.lease = None);
    }
    next.processes.push(child);
    next
}

/// What a state breaks, if anything.
fn broken(crowd: &Crowd, state: &State, is_stuck: bool) -> Option<String> {
    let excuses = state.events + state.circles + state.overflows;
    if let Some(key) = state.computed.iter().position(|times| *times > 1 + excuses) {
        return Some(format!("key {key} was computed {} times", state.computed[key]));
    }
    if state.erred {
        return Some(String::from("a circle was seen where there is none"));
    }
    if !is_stuck {
        return None;
    }
    if !state.processes.iter().all(|process| process.is_done(crowd)) {
        return Some(String::from("all wait"));
    }
    let is_left = |lease: &Lease| lease.owner != FREE && state.lives(lease.owner);
    state.table.iter().any(is_left).then(|| String::from("a lease is left"))
}

/// How many states there are, or how one of them is reached that must not be.
fn search(crowd: &Crowd, left_out: Option<Rule>) -> Result<usize, String> {
    search::search(State::new(crowd), |state| steps(crowd, state, left_out))
}

/// What follows a state, or what is wrong with it.
fn steps(crowd: &Crowd, state: &State, left_out: Option<Rule>) -> Result<Steps<State>, String> {
    let holds = |rule: Rule| left_out != Some(rule);
    let mut all = Vec::new();
    for (who, process) in state.processes.iter().enumerate() {
        let name = format!("{who} {:?}", process.calls.last().map(|call| call.step));
        all.extend(go(crowd, state, who, &holds).map(|next| (next, name.clone())));
    }
    if let Some(what) = broken(crowd, state, all.is_empty()) {
        return Err(what);
    }
    for (who, process) in state.processes.iter().enumerate() {
        let runs = !process.is_done(crowd) && !process.calls.is_empty();
        if runs && state.events < crowd.kills {
            all.push((kill(crowd, state, who, &holds), format!("{who} dies")));
        }
        let computes = process.calls.last().is_some_and(|call| call.step == Step::Store);
        if crowd.forks && computes && state.processes.len() == crowd.roles.len() {
            all.push((fork(state, who, &holds), format!("{who} forks")));
        }
    }
    Ok(all)
}

const PLAIN: Crowd = Crowd { roles: &[], places: 2, kills: 0, forks: false, heir: None, impatient: false };

const CROWDS: [Crowd; 9] = [
    Crowd { roles: &[&[&[0]], &[&[0]], &[&[0]]], kills: 2, ..PLAIN },
    Crowd { roles: &[&[&[0]], &[&[0]], &[&[0]]], kills: 1, heir: Some(2), ..PLAIN },
    Crowd { roles: &[&[&[0, 1]], &[&[1]], &[&[0]]], kills: 1, ..PLAIN },
    Crowd { roles: &[&[&[0]], &[&[0]]], forks: true, ..PLAIN },
    // Circles of one, two and three.
    Crowd { roles: &[&[&[0, 0]], &[&[0]]], kills: 1, ..PLAIN },
    Crowd { roles: &[&[&[0, 1]], &[&[1, 0]]], kills: 1, ..PLAIN },
    Crowd { roles: &[&[&[0, 1]], &[&[1, 2]], &[&[2, 0]]], places: 3, ..PLAIN },
    Crowd { roles: &[&[&[0, 1, 2]], &[&[2, 0]]], places: 3, ..PLAIN },
    // A place that is used again, and too few of them.
    Crowd { roles: &[&[&[0], &[2, 1]], &[&[1, 0]]], ..PLAIN },
];

/// Nested calls in a table of one place.
const CROWDED: Crowd = Crowd { roles: &[&[&[0, 1]], &[&[1, 2]]], places: 1, kills: 1, ..PLAIN };

/// A wait that was given up must not count.
const IMPATIENT: Crowd = Crowd { roles: &[&[&[0, 1]], &[&[1, 0]]], impatient: true, ..PLAIN };

fn crowds() -> impl Iterator<Item = &'static Crowd> {
    CROWDS.iter().chain([&CROWDED, &IMPATIENT])
}

#[test]
fn no_interleaving_hangs_computes_twice_or_leaves_a_lease() {
    for crowd in crowds() {
        let states = search(crowd, None);
        println!("{:?}, {} killed: {states:?} states", crowd.roles, crowd.kills);
        assert!(states.is_ok(), "{:?}: {}", crowd.roles, states.unwrap_err());
    }
}

#[test]
fn every_rule_of_leases_is_missed_where_it_is_left_out() {
    for rule in [
        Rule::LooksAgain,
        Rule::StoresFirst,
        Rule::TakesUnderLock,
        Rule::LockOutlivesOwner,
        Rule::WaitersProbe,
        Rule::HeirFrees,
        Rule::SerialsCount,
        Rule::CirclesEnd,
        Rule::AllLeasesLink,
        Rule::LinksEnd,
        Rule::ForksDisown,
        Rule::FullTableComputes,
    ] {
        let found = crowds().find_map(|crowd| search(crowd, Some(rule)).err());
        println!("without {rule:?}: {found:?}");
        assert!(found.is_some(), "the search finds nothing without {rule:?}");
    }
}
