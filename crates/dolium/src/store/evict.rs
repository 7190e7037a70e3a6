//! Keeps a cache within its size limit: a commit that finds too much in use evicts down to a low-water mark, in steps,
//! before its process gives the writer lock back. What takes longer than a turn is left to the housekeeper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dolium_hot::{Counter, Tier, Writing};

use crate::sqlite::Write;
use crate::sqlite::evict::{Excess, Spared, used_bytes};
use crate::store::housekeeper;
use crate::store::maintain::store_reads;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::value_files::NewFile;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warning;
use crate::value::eviction_policy::{Policy, ReadNotes};
use crate::value::settings::Settings;

use super::Handle;

/// Rows that one transaction evicts at most: the append lock, which it holds, keeps other writers waiting.
pub(crate) const STEP: u32 = 400;

/// An eviction empties this part of the limit, so that the next commits find space; of a small cache up to `FREED_SMALL`
/// bytes, but no more than that part.
const FREED: u64 = 256;
const FREED_SMALL: u64 = 128 << 10;
const FREED_SMALL_PART: u64 = 64;

/// How long a commit evicts, while it keeps all writers waiting, and a drain, while it keeps those waiting that find the log
/// full. The first may have written anything; the second only so much that it can make up for it.
const TURN: Duration = Duration::from_millis(8);
const DRAIN_TURN: Duration = Duration::from_millis(100);

/// How long one step waits for the append lock, which other writers hold for a moment each.
const STEP_WAIT: Duration = Duration::from_secs(1);

/// Where several directories have one limit, each looks at the others after this part of the bytes that are left, as if so
/// many filled them at once...
const WRITERS: u64 = 16;

/// ...and after this part of the limit, so that even more of them cannot exceed it by far.
const PARTS: u64 = 256;

/// Bytes to write before a cache without a limit is looked at again: another process may have given it one.
const UNLIMITED: u64 = 64 << 20;

/// What one drain may add where less than this part of the limit is left: so many keys, half of that part, and no less than
/// so many bytes.
const TIGHT: u64 = 64;
const KEYS: usize = 1024;
const LEAST: u64 = 64 << 10;

/// The append lock of the tier, as far as a commit has it.
pub(super) enum Append<'a> {
    /// There is no tier.
    None,
    /// The commit holds it still.
    Held(&'a mut Writing),
    /// Each step takes it.
    Free(&'a Tier),
}

/// What one step has done.
enum Step {
    /// No more is in use than may be.
    Enough,
    /// So many entries have gone.
    Removed(usize),
    /// There was no entry that may go.
    Nothing,
    /// The entries that may go are being written at this moment.
    Busy,
}

impl Handle {
    /// Evicts, after a commit, what exceeds the limit. The caller holds the writer lock. A failure is left to the next
    /// commit: the change itself is committed, and may not be reported as failed.
    pub(super) fn keep_limit(self: &Arc<Self>, append: Append<'_>) {
        if self.volume.is_past_mark() {
            self.look_at_limit(append);
        }
    }

    /// Evicts, as the housekeeper, what a commit has left to do. Returns whether something is left still.
    pub(crate) fn evict_rest(self: &Arc<Self>, wait: Wait) -> bool {
        if !self.volume.is_excessive() {
            return false;
        }
        let held = match self.acquire(&mut Deadline::new(wait)) {
            Ok(held) => held,
            Err(Error::Timeout { .. }) => return true,
            // Else the housekeeper would come for ever. The next commit finds it.
            Err(_) => {
                self.volume.set_excessive(false);
                return false;
            }
        };
        self.volume.set_excessive(false);
        if self.measure().is_ok() {
            self.volume.measure_again();
            self.keep_limit(held.tier().map_or(Append::None, Append::Free));
        }
        self.volume.is_excessive()
    }

    fn look_at_limit(self: &Arc<Self>, append: Append<'_>) {
        let others: Vec<_> = self.siblings().into_iter().filter(|other| !Arc::ptr_eq(other, self)).collect();
        let share = self.settings.current().size_limit.unwrap_or(0);
        if !others.is_empty() && self.volume.used() <= share / TIGHT {
            // What all shards add together without a look is within the accuracy.
            self.volume.set_mark(share / TIGHT);
            return;
        }
        match self.shards.first() {
            Some(first) => drop(first.unless_closed(|| self.refresh_limit())),
            None => self.refresh_limit(),
        }
        let settings = self.settings.current();
        let evicts = settings.policy != Policy::None && settings.cull_limit > 0;
        let Some(limit) = self.total_limit(&settings).filter(|_| evicts) else {
            self.volume.set_mark(self.volume.used().saturating_add(UNLIMITED));
            return;
        };
        // In a rollback journal another's database may be busy, too. What this process knows of it counts then.
        for other in &others {
            let _ = other.unless_closed(|| other.measure());
        }
        let mut volumes: Vec<u64> = others.iter().map(|other| other.volume.used()).collect();
        volumes.push(self.volume.used());
        let used: u64 = volumes.iter().sum();
        self.volume.set_tight(used > limit - limit / TIGHT);
        if used > limit && !self.make_space(low_water_mark(limit), (&others, &volumes), append, &settings) {
            return;
        }
        let left = limit.saturating_sub(used);
        let alone = others.is_empty().then(|| (left / 2).min(limit / TIGHT));
        let budget = alone.unwrap_or_else(|| (left / WRITERS).min(limit / PARTS) / volumes.len() as u64);
        self.volume.set_mark(self.volume.used().saturating_add(budget));
    }

    /// Evicts here, and in the other shards what is still too much. `volumes`: those of the others, and the own one last. Returns
    /// `false` if something is left for the housekeeper or the next commit.
    fn make_space(
        self: &Arc<Self>,
        low: u64,
        (others, volumes): (&[Arc<Self>], &[u64]),
        mut append: Append<'_>,
        settings: &Settings,
    ) -> bool {
        let mine = level(volumes, low);
        if !self.has_evicted_to(mine, &mut append, settings, false) {
            for other in others.iter().filter(|other| other.volume.used() > mine) {
                other.unless_closed(|| other.leave_to_housekeeper());
            }
            return false;
        }
        // The entry that was just written stays here, so the others may have to give more. Theirs go last.
        let _ = self.measure();
        let have_given = [false, true].into_iter().all(|may_empty| {
            let volumes: Vec<u64> = others.iter().map(|other| other.volume.used()).collect();
            let theirs = level(&volumes, low.saturating_sub(self.volume.used()));
            others
                .iter()
                .filter(|other| other.volume.used() > theirs)
                .filter_map(|other| {
                    other.unless_closed(|| other.has_given(theirs, &append, settings, may_empty))
                })
                .fold(true, |all, one| all & one)
        });
        // What a drain finds too much, the next one does. Else even the newest entry goes, or the limit would not hold.
        have_given
            || matches!(append, Append::Free(_))
            || self.has_evicted_to(mine, &mut append, settings, true)
    }

    /// Evicts here until no more than a level is in use. Returns `false` if something is left for the housekeeper or the next
    /// commit.
    fn has_evicted_to(
        self: &Arc<Self>,
        level: u64,
        append: &mut Append<'_>,
        settings: &Settings,
        may_empty: bool,
    ) -> bool {
        if self.volume.used() <= level {
            return true;
        }
        let evicted = self.evict_to(level, append, settings, may_empty);
        // Another failure is a full disk, say: the next commit tries again.
        if matches!(evicted, Ok(false) | Err(Error::Timeout { .. })) {
            self.leave_to_housekeeper();
        }
        matches!(evicted, Ok(true))
    }

    fn leave_to_housekeeper(self: &Arc<Self>) {
        self.volume.set_excessive(true);
        housekeeper::wake(self);
    }

    /// Evicts for another shard, whose writer lock this thread holds, and perhaps its append lock. So this waits for no lock
    /// that another process may hold while it waits for those. Returns `false` if something is left for the housekeeper.
    fn has_given(
        self: &Arc<Self>,
        level: u64,
        theirs: &Append<'_>,
        settings: &Settings,
        may_empty: bool,
    ) -> bool {
        // A tier is not made for this.
        let may_enter = self.tier.get().is_some() || matches!(theirs, Append::None);
        let held = may_enter.then(|| self.acquire(&mut Deadline::new(Wait::AtMost(Duration::ZERO))));
        let append = held.as_ref().and_then(|held| match (theirs, held.as_ref().ok()?.tier()) {
            (_, None) => Some(Append::None),
            (Append::Free(_), Some(tier)) => Some(Append::Free(tier)),
            // There is no time to wait for the append lock here.
            (Append::None | Append::Held(_), Some(_)) => None,
        });
        let has_given = append.is_some_and(|mut append| {
            matches!(self.evict_to(level, &mut append, settings, may_empty), Ok(true))
        });
        let _ = self.measure();
        if !has_given {
            self.leave_to_housekeeper();
        }
        has_given
    }

    /// Evicts until this directory holds so many bytes at most. `may_empty`: the newest entry may go, too. Returns `false` if
    /// that takes longer than a turn.
    fn evict_to(
        self: &Arc<Self>,
        level: u64,
        append: &mut Append<'_>,
        settings: &Settings,
        may_empty: bool,
    ) -> Result<bool> {
        let mut since = Instant::now();
        let mut spared = Spared::Recent;
        let mut notes_reads = settings.policy.plan().reads != ReadNotes::Nothing;
        let turn = if matches!(append, Append::Free(_)) { DRAIN_TURN } else { TURN };
        while since.elapsed() < turn {
            let (is_held, step) = match append {
                Append::None => (true, self.evict_step(level, None, settings, spared, notes_reads)?),
                Append::Held(writing) => {
                    (true, self.evict_step(level, Some(writing), settings, spared, notes_reads)?)
                }
                Append::Free(tier) => {
                    // The hook may write, which would wait for the writer lock that this thread holds.
                    let mut writing =
                        self.lock_tier(tier, &Deadline::new(Wait::AtMost(STEP_WAIT)), &mut || true)?;
                    (false, self.evict_step(level, Some(&mut writing), settings, spared, notes_reads)?)
                }
            };
            if std::mem::take(&mut notes_reads) {
                // The notes may have taken all of the turn.
                since = Instant::now();
            }
            match step {
                Step::Enough => return Ok(true),
                Step::Removed(removed) => self.count_evicted(removed, settings),
                Step::Nothing => match spared.fewer(may_empty) {
                    Some(fewer) => spared = fewer,
                    None => return Ok(true),
                },
                // Their turn comes once they are drained.
                Step::Busy if is_held => return Ok(true),
                Step::Busy => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Evicts some entries in a transaction of its own, which takes no sequence number: the tier forgets them before, and
    /// those that it knows better than the database stay.
    fn evict_step(
        self: &Arc<Self>,
        level: u64,
        mut writing: Option<&mut Writing>,
        settings: &Settings,
        spared: Spared,
        notes_reads: bool,
    ) -> Result<Step> {
        let _inside = fork_gate::enter();
        if writing.as_ref().is_some_and(|writing| !writing.is_live()) {
            return Err(Error::Replaced { path: self.database.clone() });
        }
        let transaction = self.begin()?;
        if let Some(writing) = &mut writing {
            self.verify_epoch(transaction.connection(), writing)?;
        }
        let mut write = transaction.write();
        if notes_reads {
            self.store_notes(&mut write)?;
        }
        let mut seen = 0;
        let forget = |key: &crate::value::key::Key<'static>| {
            seen += 1;
            writing.as_mut().is_none_or(|writing| key.with_hot(|hot| writing.evict(hot)))
        };
        let excess = Excess { level, now: self.volume.now(), spared };
        let removed = write.remove_excess(settings.policy, &excess, STEP, forget)?;
        let step = match removed {
            None => Step::Enough,
            Some(0) if seen > 0 => Step::Busy,
            Some(0) => Step::Nothing,
            Some(removed) => Step::Removed(removed),
        };
        let finished = write.finish()?;
        let commit = || transaction.commit(finished, &mut Deadline::new(Wait::AtMost(STEP_WAIT)));
        match writing {
            Some(writing) => writing.commit_beside(commit)?,
            None => commit()?,
        }
        Ok(step)
    }

    /// Stores what was noted of reads, by which a policy chooses.
    fn store_notes(self: &Arc<Self>, write: &mut Write<'_>) -> Result<()> {
        let (reads, notes) = (self.reads.pending.take(), self.take_notes());
        let stored = store_reads(write, &reads, &notes);
        if stored.is_err() {
            self.reads.pending.restore(reads);
        }
        stored
    }

    /// Counts entries that were evicted, and warns, once, where no program has asked for that limit.
    pub(crate) fn count_evicted(self: &Arc<Self>, entries: usize, settings: &Settings) {
        self.volume.count_evicted(entries as u64);
        self.tier.count(Counter::Evictions, entries as u64);
        let limit = self.total_limit(settings).filter(|limit| self.is_default_limit(*limit));
        if let Some(size_limit) = limit {
            let first = self.shards.first().unwrap_or(self);
            first.warnings.add(Warning::Evicting { directory: first.directory.clone(), size_limit });
        }
    }

    /// Keeps a value file that the tier names from now on. Large ones are drained before many wait: what they take counts, and
    /// is evicted, only then. Fails if the interrupt hook says so, and for no other reason, because the value is stored.
    pub(crate) fn keep_file(self: &Arc<Self>, file: &NewFile, wait: Wait) -> Result<()> {
        file.keep();
        let limit = self.total_limit(&self.settings.current()).unwrap_or(u64::MAX);
        if self.volume.add_filed(file.size()) > limit / TIGHT
            && let Err(Error::Interrupted) = self.settle_order(wait)
        {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Measures the bytes in use as the last commit has left them.
    fn measure(self: &Arc<Self>) -> Result<()> {
        let used = self.try_read(&mut |connection| Ok(used_bytes(connection)?))?;
        self.volume.set_used(used);
        Ok(())
    }

    /// The limit of the whole cache.
    pub(crate) fn total_limit(&self, settings: &Settings) -> Option<u64> {
        settings.size_limit.map(|limit| limit.saturating_mul(self.shards.count().max(1)))
    }

    /// All shards that have one limit, this one included; none for a cache without shards.
    pub(crate) fn siblings(&self) -> Vec<Arc<Self>> {
        self.shards.siblings()
    }

    /// How much one drain takes along: where little is left, no more than the evictions after it can make up for.
    pub(super) fn within_limit(&self, most: dolium_hot::Limit) -> dolium_hot::Limit {
        let limit = self.total_limit(&self.settings.current()).unwrap_or(u64::MAX);
        let keys = if self.volume.is_tight() { most.keys.min(KEYS) } else { most.keys };
        dolium_hot::Limit { keys, bytes: most.bytes.min((limit / (2 * TIGHT)).max(LEAST)) }
    }
}

/// Returns the bytes in use down to which an eviction goes.
fn low_water_mark(limit: u64) -> u64 {
    limit - (limit / FREED).max(FREED_SMALL.min(limit / FREED_SMALL_PART))
}

/// Returns the level to which the fullest of these must be emptied, so that all together hold no more than `limit`.
pub(crate) fn level(volumes: &[u64], limit: u64) -> u64 {
    let mut sorted = volumes.to_vec();
    sorted.sort_unstable();
    let mut left = limit;
    for (place, volume) in sorted.iter().enumerate() {
        let part = left / (sorted.len() - place) as u64;
        if *volume > part {
            return part;
        }
        left -= volume;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_shards_give_until_all_are_within_the_limit() {
        assert_eq!(level(&[10, 20, 30], 60), u64::MAX);
        assert_eq!(level(&[10, 20, 30], 50), 20);
        assert_eq!(level(&[10, 20, 30], 40), 15);
        assert_eq!(level(&[1250; 4], 1000), 250);
        assert_eq!(level(&[100, 5000, 5000], 1000), 450);
        assert_eq!(level(&[], 7), u64::MAX);
    }
}
