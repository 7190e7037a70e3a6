//! Words that kill: the thread that has used up its stores dies before the next one.

use crate::log::atomic::Atomic;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{self, SeqCst};

thread_local! {
    /// Stores left, or `None` without an end.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

#[derive(Debug, Default)]
pub(crate) struct Mortal(AtomicU64);

pub(crate) struct Killed;

/// Kills the process if its steps are used up. Called before each store of shared memory, and wherever else a kill may
/// fall.
pub(crate) fn step() {
    LEFT.with(|left| match left.get() {
        Some(0) => resume_unwind(Box::new(Killed)),
        Some(more) => left.set(Some(more - 1)),
        None => {}
    });
}

/// Runs `f` until it is done, which is `Some`, or it has made `stores` stores.
pub(crate) fn live<T>(stores: u64, f: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(Some(stores));
    let result = catch_unwind(AssertUnwindSafe(f));
    LEFT.set(None);
    match result {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

impl Clone for Mortal {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(SeqCst)))
    }
}

impl From<u64> for Mortal {
    fn from(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
}

impl Atomic for Mortal {
    fn load(&self, _: Ordering) -> u64 {
        self.0.load(SeqCst)
    }

    fn store(&self, value: u64, _: Ordering) {
        step();
        self.0.store(value, SeqCst);
    }

    fn fetch_max(&self, value: u64, _: Ordering) -> u64 {
        step();
        self.0.fetch_max(value, SeqCst)
    }

    fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
        step();
        self.0.fetch_add(value, SeqCst)
    }

    fn replace(&self, expected: u64, value: u64, _: Ordering) -> bool {
        step();
        self.0.compare_exchange(expected, value, SeqCst, SeqCst).is_ok()
    }

    fn fence(_: Ordering) {}
}
