//! Owns the memory that a thread keeps from one record to the next, since a thread that writes or reads does so again
//! and again.

use std::cell::Cell;

/// The most words that are kept: those of a record with a value of 64 KiB.
const KEPT: usize = 9 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// What the thread has kept, empty.
pub(crate) fn take() -> Vec<u64> {
    // A thread that is ending has none.
    let mut words = BUFFER.try_with(Cell::take).unwrap_or_default();
    words.clear();
    words
}

/// Keeps it, unless it is nothing, or much.
pub(crate) fn keep(words: Vec<u64>) {
    if (1..=KEPT).contains(&words.capacity()) {
        let _ = BUFFER.try_with(|buffer| buffer.set(words));
    }
}
