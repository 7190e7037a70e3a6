//! Owns the connections of one directory: a few, shared by all threads, the last used one first so that
//! a single-threaded program keeps one warm page cache.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sqlite::Connection;
use crate::system::error::Result;

/// Connections at most, however many threads: descriptors are O(1) in threads.
const CAPACITY: usize = 4;

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// Connections that are lent out.
    lent: usize,
    /// How often one was lent.
    uses: u64,
    /// Threads that wait for a connection. If there are none, waking would still cost a system call.
    waiting: usize,
    /// Grows when all connections must be closed: the pool does not take back those that are lent out then.
    pool_version: u64,
}

#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

impl Pool {
    /// Lends a connection, opening one with `open` if none is idle; waits if `CAPACITY` are lent out.
    /// The caller is inside the fork gate, as are all borrowers, so that the wait is short.
    pub fn take(&self, open: impl FnOnce(u64) -> Result<Option<Connection>>) -> Result<Option<Connection>> {
        let mut state = self.lock();
        state.uses += 1;
        loop {
            if let Some(connection) = state.idle.pop() {
                if connection.is_severed() {
                    continue;
                }
                state.lent += 1;
                return Ok(Some(connection));
            }
            if state.lent < CAPACITY {
                break;
            }
            state.waiting += 1;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.lent += 1;
        let pool_version = state.pool_version;
        drop(state);
        let opened = open(pool_version);
        if !matches!(opened, Ok(Some(_))) {
            self.forget();
        }
        opened
    }

    /// Takes a connection back.
    pub fn put(&self, connection: Connection) {
        let mut state = self.lock();
        state.lent -= 1;
        let outdated = if connection.pool_version == state.pool_version {
            state.idle.push(connection);
            None
        } else {
            Some(connection)
        };
        self.wake_one(state);
        drop(outdated);
    }

    /// A lent connection will not come back.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.lent -= 1;
        self.wake_one(state);
    }

    fn wake_one(&self, state: MutexGuard<'_, State>) {
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.returned.notify_one();
        }
    }

    /// Takes all idle connections out, to be closed; those lent out are closed when they come back.
    pub fn drain(&self) -> Vec<Connection> {
        let mut state = self.lock();
        state.pool_version += 1;
        std::mem::take(&mut state.idle)
    }

    /// How often a connection was lent, unless one is lent out now.
    pub fn uses_at_rest(&self) -> Option<u64> {
        let state = self.lock();
        (state.lent == 0).then_some(state.uses)
    }

    /// Gives up idle connections whose descriptors the program closed.
    pub fn drop_severed(&self) {
        self.lock().idle.retain(|connection| !connection.is_severed());
    }

    /// In a forked child: connections lent out belong to threads of the parent.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.lent = 0;
        state.waiting = 0;
        state.pool_version += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
