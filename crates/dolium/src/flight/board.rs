//! The board: all flights of this process, who waits for them, and for what they wait.
//!
//! One mutex, inside the gate, held for the time of a few look-ups. Nothing is dropped, woken or called while it is held,
//! because that may run a host language's code.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

use dolium_hot::{Leases, Links, Watch};

use super::{Asked, Ended, Ending};
use crate::system::context;
use crate::system::fork_gate;

/// Names a flight; never 0, never used again.
pub(super) type Id = u64;

type Deserted = Arc<dyn Fn() + Send + Sync>;

/// How a waiting caller is told.
pub(super) enum Wake {
    Thread(Thread),
    Call(Box<dyn FnOnce() + Send>),
}

/// What a caller found.
pub(super) enum Found {
    /// It has begun a flight. With the flights inside which the caller is.
    Begun(Id, Vec<Id>),
    /// It waits.
    Waits(Id, Arc<Ending>, Vec<Id>),
    /// It must not wait.
    Circle,
}

struct Entry {
    key: (u64, u128),
    /// The thread that has begun it; 0 if it is another process's.
    thread: u32,
    leases: Option<Leases>,
    /// Our lease.
    lease: Option<Watch>,
    /// The lease of the process that computes.
    remote: Option<Watch>,
    /// For what its owner waits, as often as it does.
    waits: Vec<Id>,
    /// Whether the table says so.
    is_linked: bool,
    callers: usize,
    wakes: Vec<(u64, Wake)>,
    ending: Arc<Ending>,
    deserted: Option<Deserted>,
}

/// The flights of a process.
#[derive(Default)]
pub(super) struct Board {
    generation: u64,
    last: u64,
    by_key: HashMap<(u64, u128), Id>,
    entries: HashMap<Id, Entry>,
    /// The tables that a thread looks after.
    watched: Vec<Leases>,
    threads: Vec<JoinHandle<()>>,
}

static BOARD: Mutex<Option<Board>> = Mutex::new(None);

/// Shows `f` the board. What is on it of a parent process is forgotten, undropped: it is the parent's.
pub(super) fn with<T>(f: impl FnOnce(&mut Board) -> T) -> T {
    let _pass = fork_gate::enter();
    let mut slot = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = dolium_hot::generation();
    if slot.as_ref().is_none_or(|board| board.generation != generation) {
        let last = slot.as_ref().map_or(0, |board| board.last);
        std::mem::forget(slot.replace(Board { generation, last, ..Board::default() }));
    }
    f(slot.get_or_insert_default())
}

/// Ends a flight, and tells the callers that wait.
pub(super) fn end(id: Id, ended: Ended) {
    let Some(entry) = with(|board| {
        let entry = board.remove(id)?;
        // Before a waiter can find that the board does not know it.
        let _ = entry.ending.outcome.set(ended);
        Some(entry)
    }) else {
        return;
    };
    let mut threads = VecDeque::new();
    for (_, wake) in entry.wakes {
        match wake {
            Wake::Thread(thread) => threads.push_back(thread),
            Wake::Call(call) => call(),
        }
    }
    entry.ending.line_up(threads);
}

/// Notes that a caller waits no longer.
pub(super) fn leave(id: Id, from: &[Id]) {
    let (gone, deserted, is_linked) = with(|board| {
        let is_linked = board.unlink(id, from);
        let Some(entry) = board.entries.get_mut(&id) else { return (None, None, is_linked) };
        entry.callers = entry.callers.saturating_sub(1);
        if entry.callers > 0 {
            return (None, None, is_linked);
        }
        let deserted = entry.deserted.clone();
        // No caller is left that needs the result of the other process.
        let gone = if entry.remote.is_some() { board.remove(id) } else { None };
        (gone, deserted, is_linked)
    });
    drop(gone);
    if let Some(deserted) = deserted {
        deserted();
    }
    if is_linked {
        for leases in with(|board| board.tables_of(from)) {
            let _ = leases.link(|| with(|board| board.links(&leases, None)));
        }
    }
}

/// A thread need not be woken any more.
pub(super) fn forget(id: Id, token: u64) {
    let gone = with(|board| {
        let entry = board.entries.get_mut(&id)?;
        let at = entry.wakes.iter().position(|(known, _)| *known == token)?;
        Some(entry.wakes.swap_remove(at))
    });
    drop(gone);
}

/// Says in the tables for what the callers that wait for `id` wait. Returns `false` if that closes a circle.
pub(super) fn link(id: Id) -> bool {
    let tables = with(|board| board.tables_behind(id));
    tables.iter().all(|leases| {
        // Without a lease there is nothing to say.
        let says = with(|board| !board.links(leases, Some(id)).waits.is_empty());
        !says || leases.link(|| with(|board| board.links(leases, Some(id))))
    })
}

impl Board {
    pub fn join(&mut self, space: u64, mark: u128, asked: Asked<'_>) -> Found {
        let key = (space, mark);
        let from = self.stopped_by(asked);
        let before = asked.after.map(|after| after.0.newest());
        if let (Some(newest), Some(after)) = (&before, asked.after)
            && !Arc::ptr_eq(newest, &after.0)
            && newest.outcome.get().is_some()
        {
            return Found::Waits(newest.id, Arc::clone(newest), Vec::new());
        }
        if let Some(&id) = self.by_key.get(&key) {
            self.follow(before, id);
            if self.reaches(id, &from) {
                return Found::Circle;
            }
            return match self.embark(id, from) {
                Some((ending, from)) => Found::Waits(id, ending, from),
                None => Found::Circle,
            };
        }
        self.last += 1;
        let id = self.last;
        self.by_key.insert(key, id);
        let entry = Entry {
            key,
            thread: context::thread(),
            leases: None,
            lease: None,
            remote: None,
            waits: Vec::new(),
            is_linked: false,
            callers: 0,
            wakes: Vec::new(),
            ending: Ending::new(id),
            deserted: None,
        };
        self.entries.insert(id, entry);
        self.follow(before, id);
        Found::Begun(id, from)
    }

    /// Those who waited for a flight that is over share this one.
    fn follow(&self, before: Option<Arc<Ending>>, id: Id) {
        if let (Some(before), Some(entry)) = (before, self.entries.get(&id))
            && before.id != id
        {
            let _ = before.successor.set(Arc::clone(&entry.ending));
        }
    }

    /// Adds one more caller that waits for a flight.
    pub fn board(&mut self, id: Id, asked: Asked<'_>) -> Option<(Arc<Ending>, Vec<Id>)> {
        let mut from = self.stopped_by(asked);
        from.retain(|flight| *flight != id);
        self.embark(id, from)
    }

    fn embark(&mut self, id: Id, from: Vec<Id>) -> Option<(Arc<Ending>, Vec<Id>)> {
        let entry = self.entries.get_mut(&id)?;
        entry.callers += 1;
        let ending = Arc::clone(&entry.ending);
        for flight in &from {
            if let Some(entry) = self.entries.get_mut(flight) {
                entry.waits.push(id);
            }
        }
        Some((ending, from))
    }

    /// The flights that do not go on while the caller waits.
    fn stopped_by(&self, asked: Asked<'_>) -> Vec<Id> {
        let mut from: Vec<Id> =
            asked.aboard.iter().copied().filter(|id| self.entries.contains_key(id)).collect();
        if asked.blocks {
            let thread = context::thread();
            from.extend(self.entries.iter().filter(|(_, entry)| entry.thread == thread).map(|(id, _)| *id));
        }
        from.sort_unstable();
        from.dedup();
        from
    }

    /// Whether a flight waits for one of others, or is one.
    fn reaches(&self, id: Id, goals: &[Id]) -> bool {
        self.behind(id).iter().any(|id| goals.contains(id))
    }

    /// A flight and all for which it waits.
    fn behind(&self, id: Id) -> HashSet<Id> {
        let (mut seen, mut stack) = (HashSet::new(), vec![id]);
        while let Some(id) = stack.pop() {
            if seen.insert(id)
                && let Some(entry) = self.entries.get(&id)
            {
                stack.extend(&entry.waits);
            }
        }
        seen
    }

    pub fn set_lease(&mut self, id: Id, leases: &Leases, lease: Watch) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.leases = Some(leases.clone());
            entry.lease = Some(lease);
        }
    }

    /// Another process computes it, and the caller waits.
    pub fn set_remote(&mut self, id: Id, leases: &Leases, watch: Watch, from: &[Id]) -> Arc<Ending> {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.leases = Some(leases.clone());
            entry.remote = Some(watch);
            entry.thread = 0;
        }
        self.embark(id, from.to_vec()).unwrap_or_default().0
    }

    pub fn set_deserted(&mut self, id: Id, deserted: Deserted) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.deserted = Some(deserted);
        }
    }

    pub fn wake(&mut self, id: Id, wake: Wake) -> u64 {
        self.last += 1;
        let token = self.last;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.wakes.push((token, wake));
        }
        token
    }

    pub fn knows(&self, id: Id) -> bool {
        self.entries.contains_key(&id)
    }

    pub fn is_awaited_by_flights(&self, id: Id) -> bool {
        self.entries.values().any(|entry| entry.waits.contains(&id))
    }

    fn remove(&mut self, id: Id) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if self.by_key.get(&entry.key) == Some(&id) {
            self.by_key.remove(&entry.key);
        }
        Some(entry)
    }

    /// Whether a table says of one of these that it waits.
    fn unlink(&mut self, id: Id, from: &[Id]) -> bool {
        let mut is_linked = false;
        for flight in from {
            if let Some(entry) = self.entries.get_mut(flight) {
                if let Some(at) = entry.waits.iter().position(|known| *known == id) {
                    entry.waits.swap_remove(at);
                }
                is_linked |= entry.is_linked;
            }
        }
        is_linked
    }

    /// The tables in which other processes compute what a flight waits for, or is.
    fn tables_behind(&self, id: Id) -> Vec<Leases> {
        let behind = self.behind(id);
        let remote = |id: &Id| self.entries.get(id).filter(|entry| entry.remote.is_some());
        distinct(behind.iter().filter_map(remote).filter_map(|entry| entry.leases.clone()))
    }

    fn tables_of(&self, ids: &[Id]) -> Vec<Leases> {
        let entries = ids.iter().filter_map(|id| self.entries.get(id));
        distinct(entries.filter(|entry| entry.is_linked).filter_map(|entry| entry.leases.clone()))
    }

    /// Whether a table that tells circles is missing where these flights wait for a flight.
    pub fn is_blind(&self, id: Id, from: &[Id]) -> bool {
        self.behind(id).iter().filter_map(|id| self.entries.get(id)).any(|entry| {
            let Some(leases) = entry.leases.as_ref().filter(|_| entry.remote.is_some()) else { return false };
            let is_told = |id: &Id| {
                let mine = self.entries.get(id).filter(|entry| entry.lease.is_some());
                mine.and_then(|entry| entry.leases.as_ref()).is_none_or(|table| table.is_same(leases))
            };
            !leases.is_table() || !from.iter().all(is_told)
        })
    }

    /// The links of a table: for each lease of ours that waits, the leases of others.
    fn links(&mut self, leases: &Leases, about: Option<Id>) -> Links {
        let remotes = |board: &Self, id: Id| -> Vec<Watch> {
            let here = |entry: &&Entry| entry.leases.as_ref().is_some_and(|known| known.is_same(leases));
            let behind = board.behind(id).into_iter().filter_map(|id| board.entries.get(&id));
            behind.filter(here).filter_map(|entry| entry.remote).collect()
        };
        let mut links = Links::default();
        let ours: Vec<(Id, Watch)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_linked || !entry.waits.is_empty())
            .filter(|(_, entry)| entry.leases.as_ref().is_some_and(|known| known.is_same(leases)))
            .filter_map(|(id, entry)| Some((*id, entry.lease?)))
            .collect();
        for (id, lease) in ours {
            let waits = remotes(self, id);
            let entry = self.entries.get_mut(&id);
            if entry.as_ref().is_some_and(|entry| entry.is_linked || !waits.is_empty()) {
                if let Some(entry) = entry {
                    entry.is_linked = !waits.is_empty();
                }
                links.waits.push((lease, waits));
            }
        }
        links.goals = about.map(|id| remotes(self, id)).unwrap_or_default();
        links
    }

    /// What other processes compute, by a table.
    pub fn remotes(&self, leases: &Leases) -> Vec<(Id, Watch)> {
        let here = |entry: &Entry| entry.leases.as_ref().is_some_and(|known| known.is_same(leases));
        let entries = self.entries.iter().filter(|(_, entry)| here(entry));
        entries.filter_map(|(id, entry)| Some((*id, entry.remote?))).collect()
    }

    /// Keeps the handle of a thread that looks after a table; returns those of threads that have ended.
    pub fn keep_thread(&mut self, thread: JoinHandle<()>) -> Vec<JoinHandle<()>> {
        let (ended, going) = std::mem::take(&mut self.threads).into_iter().partition(JoinHandle::is_finished);
        self.threads = going;
        self.threads.push(thread);
        ended
    }

    /// The threads that look after tables, and the tables.
    pub fn take_threads(&mut self) -> (Vec<JoinHandle<()>>, Vec<Leases>) {
        (std::mem::take(&mut self.threads), self.watched.clone())
    }

    /// The tables in which other processes compute what is awaited here.
    pub fn tables_awaited(&self) -> Vec<Leases> {
        let remote = self.entries.values().filter(|entry| entry.remote.is_some());
        distinct(remote.filter_map(|entry| entry.leases.clone()))
    }

    /// Whether the caller has to start a thread for a table.
    pub fn must_watch(&mut self, leases: &Leases) -> bool {
        let is_new = !self.watched.iter().any(|known| known.is_same(leases));
        if is_new {
            self.watched.push(leases.clone());
        }
        is_new
    }

    /// The thread of a table ends.
    pub fn unwatch(&mut self, leases: &Leases) -> Option<Leases> {
        let at = self.watched.iter().position(|known| known.is_same(leases))?;
        Some(self.watched.swap_remove(at))
    }
}

fn distinct(all: impl Iterator<Item = Leases>) -> Vec<Leases> {
    let mut distinct: Vec<Leases> = Vec::new();
    for leases in all {
        if !distinct.iter().any(|known| known.is_same(&leases)) {
            distinct.push(leases);
        }
    }
    distinct
}
