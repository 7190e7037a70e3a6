//! Owns mapping the pages of the log that will be written next: a page that is touched for the first time costs its
//! writer 3 µs, and a lap of the log has thousands.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Tier;
use crate::log::memory::Bounds;
use crate::log::memory::Memory;

/// What a process has mapped in advance.
#[derive(Debug, Default)]
pub(crate) struct Prefault {
    /// Where the head was, at first when the file was mapped.
    seen: AtomicU64,
    /// Units that are mapped, all together. A lap of them, and nothing is left to do.
    mapped: AtomicU64,
    /// Up to where.
    until: AtomicU64,
}

impl Prefault {
    /// For a log that ends there when it is mapped.
    pub fn of(head: u64) -> Self {
        Self { seen: AtomicU64::new(head), ..Self::default() }
    }
}

impl Tier {
    /// Has the kernel map what the log will reach next: twice what it has moved since the last call, and at most a
    /// quarter of it. So a log that is hardly used takes hardly any memory. Meant for a thread that no other thread
    /// waits for. Does nothing before Linux 5.14.
    pub fn prefault(&self) {
        let Some(Bounds { head, .. }) = self.memory().bounds() else { return };
        let (prefault, units) = (self.member.prefault(), self.geometry.units);
        let moved = head.saturating_sub(prefault.seen.swap(head, Relaxed));
        let from = prefault.until.load(Relaxed).max(head);
        let until = head + (2 * moved).min(units / 4);
        if moved == 0 || from >= until || prefault.mapped.load(Relaxed) >= units {
            return;
        }
        prefault.until.store(until, Relaxed);
        prefault.mapped.fetch_add(until - from, Relaxed);
        let place = self.geometry.within(from);
        let behind = (place + until - from).saturating_sub(units);
        self.map_units(place, place + until - from - behind);
        self.map_units(0, behind);
    }

    fn map_units(&self, from: u64, to: u64) {
        let word = |unit| self.geometry.log() + Memory::<AtomicU64>::word_of(unit);
        self.member.populate(word(from)..word(to));
    }
}
