//! Every interleaving of leaving a tier at rest, taking it into use again, growing and shrinking, with a kill at every step.
//!
//! A model, not the code: what `src/tier/attach.rs` and the engine do in one step of theirs is one step here. There is one
//! key, and each change gives it another version. A process that reads gets what is not drained yet, else what the database
//! has at that moment. Each rule is left out in turn, too, and must be missed.
//!
//! The key's life while several processes have the tier is the matter of `protocol.rs`.

use std::collections::{HashSet, VecDeque};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Attaches, reads, sets, reads, and leaves.
    Session,
    /// Attaches, sets, lets the tier grow, reads, and leaves.
    Grower,
    /// The same, but gives the blocks of the log back when it has ended the tier, which so becomes smaller.
    Shrinker,
    /// Changes the row in a process that shares no memory, and so does not touch the file.
    Tierless,
    /// Changes the row as another program, which fires the trigger that counts.
    Foreign,
    /// Puts back a copy of the database that was made before.
    Restorer,
}
use Role::{Foreign, Grower, Restorer, Session, Shrinker, Tierless};

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A resting tier is used only if the database vouches for it.
    WakingAsks,
    /// The database is asked, and says that the tier is in use, in one transaction.
    WakingIsOneStep,
    /// What the database vouches for is the tier at one sequence number.
    SequenceCounts,
    /// It vouches as long as no other program has changed a row.
    ForeignCounts,
    /// A process that changes rows past the tier takes the voucher back.
    TierlessTakesBack,
    /// A process that leaves while changes of others are unknown to the tier gives no voucher.
    LeavingLooks,
    /// All is drained before a tier rests.
    LeavingDrains,
    /// Only what the database still has is taken along.
    CarryingAsks,
    /// All is drained before the blocks of a log are given back.
    ShrinkingDrains,
    /// The blocks that a resting tier has given back are reserved before a process writes to them.
    WakingReserves,
}
const RULES: [Rule; 10] = [
    Rule::WakingAsks,
    Rule::WakingIsOneStep,
    Rule::SequenceCounts,
    Rule::ForeignCounts,
    Rule::TierlessTakesBack,
    Rule::LeavingLooks,
    Rule::LeavingDrains,
    Rule::CarryingAsks,
    Rule::ShrinkingDrains,
    Rule::WakingReserves,
];

/// What the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Database {
    version: u8,
    /// Changes of other programs.
    foreign: u8,
    /// The tier in use: its epoch, the sequence number that is applied, and `foreign` when the tier knew it last.
    tier: Option<(u8, u8, u8)>,
    /// The voucher for a resting one: the same.
    rest: Option<(u8, u8, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Condition {
    Live,
    Resting,
    Outgrown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct File {
    epoch: u8,
    condition: Condition,
    last: u8,
    /// What the index has: a version, and whether it waits to be drained.
    slot: Option<(u8, bool)>,
    /// Whether all of its blocks are there.
    is_reserved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    step: u8,
    /// Whether it has found a voucher that held, for a waking that is not one step.
    found: bool,
}
const END: u8 = u8::MAX;

// Steps of those that attach.
const LOOK: u8 = 1;
const WAKE: u8 = 2;
const TO_LIVE: u8 = 3;
const HAND_OVER: u8 = 4;
const MAKE: u8 = 5;
const RESERVE: u8 = 6;
/// Gives the blocks of an outgrown tier back.
const GIVE_BACK: u8 = 7;
const USE: u8 = 10;
const LEAVE: u8 = 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    database: Database,
    /// A copy of it.
    copy: Option<Database>,
    file: Option<File>,
    /// The process that has the open lock, and the one that is attached.
    opening: Option<usize>,
    attached: Option<usize>,
    /// The sequence number and the slot that the file which is being made begins with.
    begun: Option<File>,
    epochs: u8,
    versions: u8,
    /// The version of the last set that was acknowledged, as long as no other has come after it.
    acknowledged: u8,
    kills: u8,
    processes: Vec<Process>,
}

/// A read or a recovery went wrong.
#[derive(Debug)]
struct Wrong(&'static str);

impl State {
    fn new(roles: &[Role]) -> Self {
        Self {
            database: Database { version: 1, foreign: 0, tier: None, rest: None },
            copy: None,
            file: None,
            opening: None,
            attached: None,
            begun: None,
            epochs: 0,
            versions: 1,
            acknowledged: 0,
            kills: 0,
            processes: roles.iter().map(|&role| Process { role, step: 0, found: false }).collect(),
        }
    }

    /// A change that does not go through the tier.
    fn change(&mut self) {
        self.versions += 1;
        self.database.version = self.versions;
        self.acknowledged = 0;
    }

    fn kill(&self, who: usize) -> Self {
        let mut next = self.clone();
        next.kills += 1;
        next.processes[who].step = END;
        if next.opening == Some(who) {
            (next.opening, next.begun) = (None, None);
        }
        if next.attached == Some(who) {
            next.attached = None;
        }
        next
    }

    fn is_dirty(&self) -> bool {
        matches!(self.file, Some(File { slot: Some((_, true)), .. }))
    }

    /// The same, of a process to which a full disk refuses what it is about to reserve.
    fn refuse(&self, who: usize) -> Option<Self> {
        let mut next = self.clone();
        let step = &mut next.processes[who].step;
        (*step == RESERVE).then(|| *step = HAND_OVER)?;
        Some(next)
    }

    /// One step of a process; `None`: it has to wait.
    fn step(&self, who: usize, left_out: Option<Rule>) -> Result<Option<Self>, Wrong> {
        let mut next = self.clone();
        let is_left_out = |rule| left_out == Some(rule);
        let Process { role, step, .. } = self.processes[who];
        let go = |next: &mut Self, step| next.processes[who].step = step;
        match (role, step) {
            (Foreign, 0) => {
                // What waits in the tier would be newer: the order of two such changes is nobody's promise.
                if self.is_dirty() {
                    return Ok(None);
                }
                next.change();
                next.database.foreign += 1;
                go(&mut next, END);
            }
            (Tierless, 0) => {
                // It is refused while the database names a tier.
                if self.opening.is_some() || self.attached.is_some() || self.database.tier.is_some() {
                    return Ok(None);
                }
                next.change();
                if !is_left_out(Rule::TierlessTakesBack) {
                    next.database.rest = None;
                }
                go(&mut next, END);
            }
            (Restorer, 0) => {
                if self.attached.is_some() || self.opening.is_some() {
                    return Ok(None);
                }
                next.copy = Some(self.database);
                go(&mut next, 1);
            }
            (Restorer, 1) => {
                if self.attached.is_some() || self.opening.is_some() || self.is_dirty() {
                    return Ok(None);
                }
                next.database = self.copy.expect("made before");
                next.acknowledged = 0;
                go(&mut next, END);
            }
            (Session | Grower | Shrinker, 0) => {
                if self.opening.is_some() || self.attached.is_some() {
                    return Ok(None);
                }
                next.opening = Some(who);
                go(&mut next, LOOK);
            }
            (Session | Grower | Shrinker, _) => return self.member(who, left_out).map(Some),
            _ => unreachable!("{role:?} {step}"),
        }
        Ok(Some(next))
    }

    /// One step of a process that has the open lock or the tier.
    #[expect(clippy::too_many_lines, reason = "one step after the other")]
    fn member(&self, who: usize, left_out: Option<Rule>) -> Result<Self, Wrong> {
        let mut next = self.clone();
        let is_left_out = |rule| left_out == Some(rule);
        let Process { role, step, found } = self.processes[who];
        let is_outgrown = matches!(self.file, Some(File { condition: Condition::Outgrown, .. }));
        let mut to = step + 1;
        match step {
            LOOK => {
                let rests = matches!(self.file, Some(File { condition: Condition::Resting, .. }));
                to = match rests {
                    true if is_left_out(Rule::WakingReserves) => WAKE,
                    true => RESERVE,
                    false => HAND_OVER,
                };
            }
            RESERVE => {
                next.file.as_mut().expect("rests").is_reserved = true;
                to = WAKE;
            }
            GIVE_BACK => {
                next.file.as_mut().expect("outgrown").slot = None;
                to = HAND_OVER;
            }
            WAKE => {
                let file = self.file.expect("rests");
                let expected = Some((file.epoch, file.last, self.database.foreign));
                let holds = match self.database.rest {
                    _ if is_left_out(Rule::WakingAsks) => true,
                    Some((epoch, _, foreign)) if is_left_out(Rule::SequenceCounts) => {
                        (epoch, foreign) == (file.epoch, self.database.foreign)
                    }
                    Some((epoch, seq, _)) if is_left_out(Rule::ForeignCounts) => {
                        (epoch, seq) == (file.epoch, file.last)
                    }
                    rest => rest == expected,
                };
                if is_left_out(Rule::WakingIsOneStep) && holds && !found {
                    next.processes[who].found = true;
                    return Ok(next);
                }
                if holds || found {
                    next.database.rest = None;
                    next.database.tier = Some((file.epoch, file.last, self.database.foreign));
                } else {
                    to = HAND_OVER;
                }
            }
            TO_LIVE => {
                next.file.as_mut().expect("rests").condition = Condition::Live;
                (next.opening, next.attached) = (None, Some(who));
                to = USE;
            }
            HAND_OVER => {
                next.epochs += 1;
                let mut begun = File {
                    epoch: next.epochs,
                    condition: Condition::Live,
                    last: 0,
                    slot: None,
                    is_reserved: true,
                };
                if let (Some(file), Some((epoch, seq, foreign))) = (self.file, self.database.tier)
                    && file.epoch == epoch
                {
                    let is_known = foreign == self.database.foreign;
                    if !is_known {
                        // What waited is older than what another program wrote: it is left out, with a warning.
                        next.acknowledged = 0;
                    }
                    // The records that follow what is applied become rows, unless others have changed rows since.
                    if let Some((version, true)) = file.slot
                        && is_known
                        && file.last > seq
                    {
                        next.database.version = version;
                    }
                    let may_carry = is_known && file.last == seq || is_left_out(Rule::CarryingAsks);
                    if is_outgrown && may_carry {
                        begun.slot = file.slot.map(|(version, _)| (version, false));
                    }
                }
                if next.acknowledged > next.database.version {
                    return Err(Wrong("an acknowledged change is lost"));
                }
                next.database.rest = None;
                next.database.tier = Some((begun.epoch, 0, self.database.foreign));
                next.begun = Some(begun);
            }
            MAKE => {
                next.file = next.begun.take();
                (next.opening, next.attached) = (None, Some(who));
                to = if is_outgrown { USE + 5 } else { USE };
            }
            // Reads.
            10 | 12 | 15 => {
                next.read(is_outgrown)?;
                to = if role == Session && step == 12 { LEAVE } else { step + 1 };
                if step == 15 {
                    to = LEAVE;
                }
            }
            // Sets.
            11 => {
                next.versions += 1;
                let version = next.versions;
                let file = next.file.as_mut().expect("attached");
                if !file.is_reserved {
                    return Err(Wrong("a word is written that has no block"));
                }
                file.last += 1;
                file.slot = Some((version, true));
                next.acknowledged = version;
            }
            13 if role == Shrinker && is_left_out(Rule::ShrinkingDrains) => {}
            13 => next.drain(),
            14 => {
                next.file.as_mut().expect("attached").condition = Condition::Outgrown;
                (next.attached, next.opening) = (None, Some(who));
                to = if role == Shrinker { GIVE_BACK } else { HAND_OVER };
            }
            LEAVE => {
                if !is_left_out(Rule::LeavingDrains) {
                    next.drain();
                }
                (next.attached, next.opening) = (None, Some(who));
            }
            21 => {
                let file = self.file.expect("attached");
                let known = self.database.tier.map(|(.., foreign)| foreign);
                let is_known = known == Some(self.database.foreign) || is_left_out(Rule::LeavingLooks);
                next.database.tier = None;
                if is_known {
                    next.database.rest = Some((file.epoch, file.last, self.database.foreign));
                } else {
                    next.file = None;
                }
            }
            22 => {
                if let Some(file) = &mut next.file {
                    (file.condition, file.is_reserved) = (Condition::Resting, false);
                }
                next.opening = None;
                to = END;
            }
            _ => unreachable!("{step}"),
        }
        next.processes[who].step = to;
        Ok(next)
    }

    /// A read of the process that is attached, after it has looked whether others have changed rows.
    fn read(&mut self, is_outgrown: bool) -> Result<(), Wrong> {
        assert!(!is_outgrown, "such a tier is not read");
        let file = self.file.as_mut().expect("attached");
        let Some((epoch, seq, foreign)) = self.database.tier.filter(|(epoch, ..)| *epoch == file.epoch)
        else {
            return Err(Wrong("a tier is read that the database does not name"));
        };
        if foreign != self.database.foreign {
            if let Some((_, false)) = file.slot {
                file.slot = None;
            }
            self.database.tier = Some((epoch, seq, self.database.foreign));
        }
        match file.slot {
            Some((version, false)) if version != self.database.version => {
                return Err(Wrong("a read returns what the database does not have"));
            }
            Some(_) => {}
            None => file.slot = Some((self.database.version, false)),
        }
        Ok(())
    }

    fn drain(&mut self) {
        let file = self.file.as_mut().expect("attached");
        if let Some((version, true)) = file.slot {
            self.database.version = version;
            file.slot = Some((version, false));
            let foreign = self.database.tier.map_or(0, |(.., foreign)| foreign);
            self.database.tier = Some((file.epoch, file.last, foreign));
        }
    }
}

/// Searches every order. Returns what went wrong first.
fn search(roles: &[Role], left_out: Option<Rule>) -> Result<usize, &'static str> {
    let first = State::new(roles);
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        for who in 0..roles.len() {
            if state.processes[who].step == END {
                continue;
            }
            let stepped = state.step(who, left_out).map_err(|Wrong(what)| what)?;
            let killed = (state.kills < 2).then(|| state.kill(who));
            for next in stepped.into_iter().chain(killed).chain(state.refuse(who)) {
                if seen.insert(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
    }
    Ok(seen.len())
}

/// What is searched.
const CASES: [&[Role]; 9] = [
    &[Session, Session, Session],
    &[Session, Session, Foreign],
    &[Session, Session, Tierless],
    &[Session, Session, Session, Restorer],
    &[Grower, Session],
    &[Grower, Session, Foreign],
    &[Grower, Grower, Tierless],
    &[Shrinker, Session],
    &[Shrinker, Session, Foreign],
];

#[test]
fn no_order_of_steps_and_no_kill_gives_a_wrong_value() {
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
