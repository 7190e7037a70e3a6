//! Owns operations on one key in the hot tier: reading it before SQLite, changing it instead of SQLite. What does not
//! fit there is left to the callers' direct way, and what happens inside a transaction to `hot_transaction`.

use dolium_hot::{AccessWord, Counter, LogFull, Moment, PendingRecord, Tier, View, Writing};

use crate::sqlite::read::{self, Found};
use crate::sqlite::unopened::Unopened;
use crate::store::absences::FOLLOWED;
use crate::store::housekeeper;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::system::wait::Deadline;
use crate::value::Row;
use crate::value::eviction_policy::ReadNotes;
use crate::value::key::Key;
use crate::value::put_options::is_alive;

use super::Cache;
use super::change::{Change, Decided};
use super::place::Place;
use super::record::row_of;

/// Bytes of keys of which the tier says that they are absent.
const LONGEST: usize = 64 << 10;

/// How many tiers a change tries: the one that has grown, and another that came meanwhile.
const TIERS: usize = 3;

/// The part of the log that the records of one call may take together.
const PART: u64 = 2;

/// What was known of a key when an operation looked: it may only go on if that still holds.
pub(super) enum Seen {
    /// The newest record lay there.
    Record(u64),
    /// There was none, and the database had been changed so often.
    Commits(u64),
}

impl Cache {
    /// The row of a key unless it has expired, from the tier or from SQLite. `unknown_to`: the tier of this epoch was
    /// asked during this lookup, and does not know the key. What another process puts there meanwhile is newer than this
    /// lookup. The tier that comes after an outgrown one must be asked.
    pub(super) fn look_up(&self, key: &Key<'_>, unknown_to: Option<u64>) -> Result<Option<Row>> {
        let is_inside = self.in_transaction();
        if is_inside && let Some(row) = self.row_inside(key) {
            let row = row.there().filter(|row| self.lives(row));
            self.count_alone(1, usize::from(row.is_some()));
            return Ok(row);
        }
        if let Some(found) = self.find_unopened(key) {
            let row = found.there().filter(|row| self.lives(row));
            self.count_alone(1, usize::from(row.is_some()));
            return Ok(row);
        }
        let place = self.place_of_tier(is_inside)?;
        let Place::Tier(tier) = place else {
            let alive = |view: &View<'_>| self.is_alive(view).then(|| row_of(view)).flatten();
            let observed = if matches!(place, Place::Beside) { self.observe(key, alive)? } else { None };
            let cold = || Ok::<_, Error>(self.find_stored(key)?.there().filter(|row| self.lives(row)));
            let row = observed.map_or_else(cold, Ok)?;
            self.count_alone(1, usize::from(row.is_some()));
            return Ok(row);
        };
        let ask = || {
            key.with_hot(|hot| {
                tier.get(hot, |view, access| {
                    let row = self.is_alive(&view).then(|| row_of(&view)).flatten()?;
                    self.note(access);
                    Some(row)
                })
            })
        };
        let is_unknown = unknown_to == Some(tier.epoch());
        if let Some(answer) = if is_unknown { None } else { ask() } {
            self.count_in_tier(&tier, 1, usize::from(answer.is_some()));
            return Ok(answer);
        }
        if self.is_absent(&tier, key, FOLLOWED) {
            self.count_in_tier(&tier, 1, 0);
            return Ok(None);
        }
        let commits = tier.commits();
        let stored = self.find_stored(key)?;
        if stored.is_absent() {
            self.offer_absence(&tier, key, commits);
        }
        let row = stored.there().filter(|row| self.lives(row));
        self.count_in_tier(&tier, 1, usize::from(row.is_some()));
        if let Some(row) = &row {
            self.offer(&tier, key, row, commits);
        }
        Ok(row)
    }

    /// Returns the rows of many keys, all of one moment, from the tier and, for what is not there, from SQLite. Returns
    /// `None` without a tier, and where writers are too fast for that.
    pub(super) fn look_up_many(&self, keys: &[Key<'_>], now: Timestamp) -> Result<Option<Vec<Option<Row>>>> {
        let tier = if self.in_transaction() { None } else { self.handle.tier_to_read(self.wait)? };
        let Some(tier) = tier else { return Ok(None) };
        let Some(moment) = tier.moment() else { return Ok(None) };
        self.look_up_at(&tier, moment, keys, now)
    }

    /// The same in a tier, and of a moment that the caller knows.
    pub(super) fn look_up_at(
        &self,
        tier: &Tier,
        moment: Moment,
        keys: &[Key<'_>],
        now: Timestamp,
    ) -> Result<Option<Vec<Option<Row>>>> {
        let mut cold = Vec::new();
        let known = keys.iter().enumerate().map(|(offset, key)| {
            let found = key.with_hot(|hot| {
                tier.get(hot, |view, access| {
                    let row = self.is_alive(&view).then(|| row_of(&view)).flatten()?;
                    self.note(access);
                    Some(row)
                })
            });
            found.unwrap_or_else(|| {
                if !self.is_absent(tier, key, FOLLOWED) {
                    cold.push((offset, key));
                }
                None
            })
        });
        let mut rows: Vec<_> = known.collect();
        if !cold.is_empty() {
            let missing = cold.iter().map(|(_, key)| *key);
            let found = self.handle.read_now(self.wait, |connection| {
                read::find_many(connection, missing.clone(), Timestamp::NEG_INFINITY)
            })?;
            for ((offset, key), row) in cold.into_iter().zip(found) {
                match &row {
                    Some(row) if self.lives(row) => self.offer(tier, key, row, moment.commits()),
                    Some(_) => {}
                    None => self.offer_absence(tier, key, moment.commits()),
                }
                rows[offset] = row.filter(|row| is_alive(row.expire_time, now));
            }
        }
        let is_of_one_moment = tier.is_still(moment);
        if is_of_one_moment {
            self.count_in_tier(tier, rows.len(), rows.iter().flatten().count());
        }
        Ok(is_of_one_moment.then_some(rows))
    }

    /// Counts lookups in the tier, and says there which of them the database counts as well.
    pub(super) fn count_in_tier(&self, tier: &Tier, lookups: usize, hits: usize) {
        self.count_lookups(tier, lookups, hits);
        // From when this process had no tier.
        let (found, absent) = self.handle.reads.lookups.take();
        tier.count(Counter::Hits, found);
        tier.count(Counter::Misses, absent);
        if self.counts && self.handle.settings.counts_hits() {
            add(tier, [Counter::SettledHits, Counter::SettledMisses], lookups, hits);
        }
    }

    /// Counts lookups in the tier: unlike `statistics` that is always on, for an addition.
    #[inline]
    pub(super) fn count_lookups(&self, tier: &Tier, lookups: usize, hits: usize) {
        if self.counts {
            add(tier, [Counter::Hits, Counter::Misses], lookups, hits);
        }
    }

    /// Counts lookups for which there was no tier, unless the database counts them.
    pub(super) fn count_alone(&self, lookups: usize, hits: usize) {
        if self.counts && !self.handle.settings.counts_hits() {
            self.handle.reads.lookups.count(lookups, hits);
        }
    }

    /// Whether a key is there and has not expired.
    pub(super) fn is_there(&self, key: &Key<'_>) -> Result<bool> {
        let is_inside = self.in_transaction();
        if is_inside && let Some(row) = self.row_inside(key) {
            return Ok(row.there().is_some_and(|row| self.lives(&row)));
        }
        let place = self.place_of_tier(is_inside)?;
        let known = match &place {
            Place::Tier(tier) => key.with_hot(|hot| tier.get(hot, |view, _| self.is_alive(&view))),
            Place::Beside => self.observe(key, |view| self.is_alive(view))?,
            Place::Nowhere => None,
        };
        let tier = if let Place::Tier(tier) = place { Some(tier) } else { None };
        if let Some(known) = known {
            return Ok(known);
        }
        if tier.as_ref().is_some_and(|tier| self.is_absent(tier, key, FOLLOWED)) {
            return Ok(false);
        }
        let commits = tier.as_ref().map_or(0, Tier::commits);
        let stored = self.handle.read_now(self.wait, |connection| Ok(read::expiry(connection, key)?))?;
        if let (Some(tier), true) = (&tier, stored.is_absent()) {
            self.offer_absence(tier, key, commits);
        }
        let lives =
            |expire_time: Option<_>| expire_time.is_none_or(|time| is_alive(Some(time), self.clock.now()));
        Ok(stored.there().is_some_and(lives))
    }

    /// The row of a key in SQLite, expired or not.
    pub(super) fn find_stored(&self, key: &Key<'_>) -> Result<Found<Row>> {
        self.handle.read_now(self.wait, |connection| {
            Ok(Found::of(read::find(connection, key, Timestamp::NEG_INFINITY)?))
        })
    }

    /// What the file of a database says that no process has open, for the first reads of a process: it may not live for
    /// long. Nothing is in front of such a database if it names no tier.
    fn find_unopened(&self, key: &Key<'_>) -> Option<Found<Row>> {
        if self.in_transaction() || !self.handle.reads_first() {
            return None;
        }
        self.handle.peek_settings()?;
        let find =
            |unopened: &Unopened| if unopened.noted("tier")?.is_absent() { unopened.find(key) } else { None };
        self.handle.peek(find).inspect(|_| self.handle.count_first_read())
    }

    /// Whether a key that the tier does not know is surely not in the database.
    pub(super) fn is_absent(&self, tier: &Tier, key: &Key<'_>, most: u64) -> bool {
        key.with_hot(|hot| self.handle.reads.absences.tell(tier, hot, most))
    }

    /// Whether a row has not expired. The clock is read only if it can.
    pub(super) fn lives(&self, row: &Row) -> bool {
        row.expire_time.is_none_or(|time| is_alive(Some(time), self.clock.now()))
    }

    /// Tells the tier that SQLite has no row of a key, if this process missed the key before: a scan of keys that are not
    /// there must not push out what is hot.
    fn offer_absence(&self, tier: &Tier, key: &Key<'_>, commits: u64) {
        self.handle.reads.absences.note(&self.handle);
        key.with_hot(|hot| {
            if hot.bytes.len() <= LONGEST && self.handle.reads.misses.repeats(tier.hash(hot)) {
                tier.try_fill(&mut PendingRecord::absent(hot), commits);
            }
        });
    }

    /// Offers the tier a row that was read, as a fill. Does nothing if the row may have changed since, or if a writer has
    /// the append lock.
    fn offer(&self, tier: &Tier, key: &Key<'_>, row: &Row, commits: u64) {
        let Some(mut fill) = crate::sqlite::tier::fill(key, row) else { return };
        tier.try_fill(&mut fill, commits);
        let returns = key.with_hot(|hot| self.handle.reads.growth.returns(tier.epoch(), tier.hash(hot)));
        if returns > 0 {
            tier.count(Counter::Returns, returns);
        }
    }

    /// Whether a record is a row that has not expired. The clock is read only if it can.
    #[inline]
    pub(super) fn is_alive(&self, view: &View<'_>) -> bool {
        view.kind().has_row() && view.expire_time().is_none_or(|time| is_alive(Some(time), self.clock.now()))
    }

    /// Notes a read for the policies that ask.
    #[inline]
    pub(super) fn note(&self, access: AccessWord<'_>) {
        let reads = self.handle.settings.noted_reads();
        if self.counts && reads != ReadNotes::Nothing {
            let before = access.get();
            access.set(reads.note(before, &self.clock));
            if before == 0 && self.handle.reads.pending.expect_notes() {
                housekeeper::wake(&self.handle);
            }
        }
    }

    /// Changes a key in the tier as `decide` says about its row. Asks `decide` again if another writer was faster.
    /// Returns `None` if a direct write is needed.
    pub(super) fn change_hot<T>(
        &self,
        key: &Key<'_>,
        mut decide: impl FnMut(Option<Row>) -> Result<Change<T>>,
    ) -> Result<Option<T>> {
        let mut deadline = Deadline::new(self.wait);
        self.with_tier_to_change(|tier| self.change_in(tier, key, &mut decide, &mut deadline))
    }

    fn change_in<T>(
        &self,
        tier: &Tier,
        key: &Key<'_>,
        decide: &mut impl FnMut(Option<Row>) -> Result<Change<T>>,
        deadline: &mut Deadline,
    ) -> Result<Option<T>> {
        self.handle.detect_foreign_writes_once()?;
        loop {
            let (row, seen) = self.see(tier, key)?;
            let Decided { mut record, counter, file, answer } = match decide(row)?.decided(key) {
                Ok(decided) => decided,
                Err(answer) => return Ok(Some(answer)),
            };
            if record.bytes() > tier.longest() {
                self.handle.grow_for_writes(tier, 0, record.bytes());
                return Ok(None);
            }
            tier.prepare(std::slice::from_mut(&mut record));
            let Some(mut writing) = self.write_tier(tier, deadline)? else { return Ok(None) };
            let appended = append_as_seen(tier, &mut writing, key, &seen, &mut record);
            drop(writing);
            match appended {
                Ok(true) => {
                    if let Some(file) = &file {
                        self.handle.keep_file(file, self.wait)?;
                    }
                    tier.count(counter, 1);
                    self.handle.after_append(tier);
                    return Ok(Some(answer));
                }
                Ok(false) => {}
                Err(LogFull) if self.make_way(tier, std::slice::from_ref(&record), deadline)? => {}
                Err(LogFull) => return Ok(None),
            }
        }
    }

    /// Stores rows whatever was there before. Returns `None` if a direct write is needed.
    pub(super) fn set_hot(&self, records: &mut [PendingRecord]) -> Result<Option<()>> {
        let mut deadline = Deadline::new(self.wait);
        self.with_tier_to_change(|tier| self.set_in(tier, records, &mut deadline))
    }

    fn set_in(
        &self,
        tier: &Tier,
        records: &mut [PendingRecord],
        deadline: &mut Deadline,
    ) -> Result<Option<()>> {
        if !self.fit_or_grow(tier, records) {
            return Ok(None);
        }
        tier.prepare(records);
        loop {
            let Some(mut writing) = self.write_tier(tier, deadline)? else { return Ok(None) };
            let appended = match &mut *records {
                [record] => writing.append(record),
                records => writing.append_all(records),
            };
            drop(writing);
            match appended {
                Ok(()) => {
                    tier.count(Counter::Sets, records.len() as u64);
                    self.handle.after_append(tier);
                    return Ok(Some(()));
                }
                Err(LogFull) if self.make_way(tier, records, deadline)? => {}
                Err(LogFull) => return Ok(None),
            }
        }
    }

    /// The append lock; `None` if the tier is not in use any more.
    pub(super) fn write_tier(&self, tier: &Tier, deadline: &Deadline) -> Result<Option<Writing>> {
        match self.handle.write_tier(tier, deadline) {
            Err(Error::Replaced { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes space after records found the log full. Returns `false` if nothing is dirty, so that draining cannot
    /// help, and if the tier has ended in favour of a larger one.
    pub(super) fn make_way(
        &self,
        tier: &Tier,
        records: &[PendingRecord],
        deadline: &mut Deadline,
    ) -> Result<bool> {
        if !tier.is_dirty() {
            return Ok(false);
        }
        tier.count(Counter::Forced, 1);
        let bytes = records.iter().map(PendingRecord::bytes).sum();
        if self.handle.grow_for_writes(tier, bytes, 0) {
            return Ok(false);
        }
        self.handle.drain_for(records.len(), bytes, tier, deadline)?;
        Ok(true)
    }

    /// Shows `f` the tier for a change. Where that has come to its end meanwhile, as one does that grows, the next one is
    /// shown as well. Returns `None` if a direct write is needed.
    pub(super) fn with_tier_to_change<T>(
        &self,
        mut f: impl FnMut(&Tier) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        for _ in 0..TIERS {
            let Some(tier) = self.tier_to_change()? else { return Ok(None) };
            let done = f(&tier)?;
            if done.is_some() || tier.is_live() {
                return Ok(done);
            }
        }
        Ok(None)
    }

    /// Whether no record is too long for the log, and all together leave others their space. If they do not, the tier may
    /// have grown.
    fn fit_or_grow(&self, tier: &Tier, records: &[PendingRecord]) -> bool {
        let bytes: u64 = records.iter().map(PendingRecord::bytes).sum();
        let longest = records.iter().map(PendingRecord::bytes).max().unwrap_or(0);
        let fit = longest <= tier.longest() && fits(tier, records.len(), bytes);
        if !fit {
            self.handle.grow_for_writes(tier, bytes, longest);
        }
        fit
    }

    /// The tier for a change; `None` inside a transaction and where there is none.
    pub(super) fn tier_to_change(&self) -> Result<Option<Tier>> {
        if self.in_transaction() { Ok(None) } else { self.handle.tier_to_write(self.wait) }
    }

    /// The row of a key, expired or not, and how it was found.
    pub(super) fn see(&self, tier: &Tier, key: &Key<'_>) -> Result<(Option<Row>, Seen)> {
        let hot = key.with_hot(|hot| tier.get(hot, |view, _| (row_of(&view), Seen::Record(view.offset()))));
        if let Some(found) = hot {
            return Ok(found);
        }
        let commits = tier.commits();
        let row = self
            .handle
            .read_now(self.wait, |connection| Ok(read::find(connection, key, Timestamp::NEG_INFINITY)?))?;
        Ok((row, Seen::Commits(commits)))
    }
}

/// Adds lookups, of which so many found something, to two counters.
#[inline]
fn add(tier: &Tier, [found, absent]: [Counter; 2], lookups: usize, hits: usize) {
    let misses = lookups - hits;
    if hits > 0 {
        tier.count(found, hits as u64);
    }
    if misses > 0 {
        tier.count(absent, misses as u64);
    }
}

/// Whether the log takes so many records, of so many bytes, as one chunk, and leaves others their space.
pub(super) fn fits(tier: &Tier, records: usize, bytes: u64) -> bool {
    records <= Tier::MOST && bytes <= tier.capacity() / PART
}

/// Whether no record is too long for the log, and all together leave others their space.
pub(super) fn fit(tier: &Tier, records: &[PendingRecord]) -> bool {
    let bytes: u64 = records.iter().map(PendingRecord::bytes).sum();
    fits(tier, records.len(), bytes) && records.iter().all(|record| record.bytes() <= tier.longest())
}

/// Whether what was seen of a key still holds, now that the append lock is ours.
pub(super) fn confirm(tier: &Tier, writing: &Writing, key: &Key<'_>, seen: &Seen) -> bool {
    key.with_hot(|hot| match seen {
        Seen::Record(offset) => writing.is_newest(hot, *offset),
        Seen::Commits(commits) => *commits == tier.commits() && writing.get(hot, |_| ()).is_none(),
    })
}

/// Appends a record if what was seen of its key still holds. Returns `false` if it does not.
pub(super) fn append_as_seen(
    tier: &Tier,
    writing: &mut Writing,
    key: &Key<'_>,
    seen: &Seen,
    record: &mut PendingRecord,
) -> std::result::Result<bool, LogFull> {
    match seen {
        Seen::Record(offset) => writing.append_over(record, *offset),
        Seen::Commits(_) if confirm(tier, writing, key, seen) => writing.append(record).map(|()| true),
        Seen::Commits(_) => Ok(false),
    }
}
