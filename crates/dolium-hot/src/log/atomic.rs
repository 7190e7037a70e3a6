//! The one kind of word that the tier is made of.
//!
//! Owns the seam between the tier's algorithms and the machine's atomics, so that tests run exactly these algorithms on
//! words that a model checker watches, or that stop the world at any store.

use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicU64, fence};

/// A 64-bit word that others change meanwhile.
pub(crate) trait Atomic {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fetch_max(&self, value: u64, order: Ordering) -> u64;
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    /// Whether it was `expected`, and is `value` now.
    fn replace(&self, expected: u64, value: u64, order: Ordering) -> bool;
    fn fence(order: Ordering);
}

impl Atomic for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_max(value, order)
    }

    #[inline]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_add(value, order)
    }

    #[inline]
    fn replace(&self, expected: u64, value: u64, order: Ordering) -> bool {
        self.compare_exchange(expected, value, order, Relaxed).is_ok()
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}
