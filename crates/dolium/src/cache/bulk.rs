//! Operations on many keys. What the hot tier takes together becomes one chunk of its log, and all else one transaction,
//! during which others go on writing.

use dolium_hot::{Counter, Kind, PendingRecord, Tier};

use crate::sqlite::Write;
use crate::sqlite::read;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::wait::Deadline;
use crate::value::key::Key;
use crate::value::put_options::PutOptions;
use crate::value::{Payload, Value};

use super::Cache;
use super::bulk_item::{Change, Content, Item, Known, Last, Outcome, Stamp};
use super::hot::{Seen, confirm, fit, fits};
use super::nonblocking::{SMALL, new_row, plain};
use super::prepare::Prepared;
use super::record::stage;

/// How often a change of many keys is tried in the tier while other writers are faster.
const TRIES: u32 = 3;

/// How a call takes the append lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not at all if another thread has it, if the database must be asked, or if the log is full.
    Never,
    /// As long as the cache may wait.
    Usual,
}

impl Cache {
    /// The values of many keys, in their order, all of one moment. Each is as `get` would give it.
    pub fn get_many(&self, keys: &[Key<'_>]) -> Result<Vec<Option<Value>>> {
        let now = self.clock.now();
        let rows = if let Some(rows) = self.look_up_many(keys, now)? {
            rows
        } else {
            let rows = self.handle.read(self.wait, |connection| read::find_many(connection, keys, now))?;
            self.count_alone(keys.len(), rows.iter().flatten().count());
            rows
        };
        let found = keys.iter().zip(rows.into_iter().chain(std::iter::repeat_with(|| None)));
        found.map(|(key, row)| self.value_of_row(key, row, now)).collect()
    }

    /// Stores many values, all or none of them. Returns how many were stored: all but those refused for
    /// being larger than the whole cache may be.
    pub fn set_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
    ) -> Result<usize> {
        self.store_many(items, options, Change::All).map(|stored| stored.len())
    }

    /// Stores those of many values whose keys have none, all or none of them. Returns the positions of
    /// those that were stored.
    pub fn add_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
    ) -> Result<Vec<usize>> {
        self.store_many(items, options, Change::Absent)
    }

    fn store_many<'k, 'v>(
        &self,
        items: impl IntoIterator<Item = (impl Into<Key<'k>>, impl Into<Payload<'v>>)>,
        options: &PutOptions,
        change: Change,
    ) -> Result<Vec<usize>> {
        self.know_settings()?;
        let items = items.into_iter();
        let mut prepared: Vec<Item<'_, '_>> = Vec::with_capacity(items.size_hint().0);
        // Positions of those that are refused, which hardly ever are any.
        let mut refused: Vec<usize> = Vec::new();
        for (position, (key, payload)) in items.enumerate() {
            let (key, payload) = (key.into(), payload.into());
            match self.content(&key, payload)? {
                Some(content) => prepared.push(Item { key, content }),
                None => refused.push(position),
            }
        }
        let outcomes = self.change_many(&mut prepared, options, change)?;
        let mut stored: Vec<usize> = Vec::with_capacity(outcomes.len());
        let mut refused = refused.into_iter().peekable();
        let mut position = 0;
        for outcome in outcomes {
            while refused.next_if_eq(&position).is_some() {
                position += 1;
            }
            if outcome.counts {
                stored.push(position);
            }
            position += 1;
        }
        Ok(stored)
    }

    /// A value as an item keeps it; `None` if it is refused.
    fn content<'v>(&self, key: &Key<'_>, payload: Payload<'v>) -> Result<Option<Content<'v>>> {
        let shorter_than = self.handle.settings.plain_size();
        if let Some(plain) = plain(&payload, shorter_than) {
            return Ok(Some(Content::Plain(plain)));
        }
        let mut value = Prepared::new(&self.handle, payload)?;
        // A signature is the last of a file: as long as it is missing, the file is open.
        value.finish(key)?;
        Ok(if self.refuses(value.size()) { None } else { Some(Content::Prepared(Box::new(value))) })
    }

    /// Changes keys, all of them or none. Returns what has become of each.
    pub(super) fn change_many(
        &self,
        items: &mut [Item<'_, '_>],
        options: &PutOptions,
        change: Change,
    ) -> Result<Vec<Outcome>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let stamp = Stamp::of(options, self.clock.now());
        let done = self.with_tier_to_change(|tier| {
            if change != Change::All {
                self.handle.detect_foreign_writes_once()?;
            }
            self.change_many_hot(tier, items, &stamp, change, Patience::Usual)
        })?;
        match done {
            Some(outcomes) => Ok(outcomes),
            None => self.change_many_directly(items, &stamp, change),
        }
    }

    /// Changes keys that the tier knows, if that needs no waiting.
    pub(super) fn try_change_many(
        &self,
        items: &mut [Item<'_, '_>],
        options: &PutOptions,
        change: Change,
    ) -> Option<Vec<Outcome>> {
        if self.in_transaction() {
            return None;
        }
        let stamp = Stamp::of(options, self.clock.now());
        let attempt = |tier: &Tier| self.change_many_hot(tier, items, &stamp, change, Patience::Never).ok();
        self.handle.tier.with_tier_to_answer(attempt)??
    }

    /// As one chunk of the log. Returns `None` if that is not possible.
    fn change_many_hot(
        &self,
        tier: &Tier,
        items: &mut [Item<'_, '_>],
        stamp: &Stamp<'_>,
        change: Change,
        patience: Patience,
    ) -> Result<Option<Vec<Outcome>>> {
        if !fits(tier, items.len(), 0) {
            return Ok(None);
        }
        let mut deadline = Deadline::new(self.wait);
        for _ in 0..TRIES {
            let (seen, outcomes) = if change == Change::All {
                (Vec::new(), vec![change.outcome(None, stamp.now); items.len()])
            } else {
                let Some(decided) = self.decide_many(tier, items, stamp, change, patience)? else {
                    return Ok(None);
                };
                decided
            };
            let mut records = match stage_many(tier, items, &outcomes, stamp)? {
                Ok(records) => records,
                Err(TooMuch { bytes, longest }) => {
                    if patience == Patience::Usual {
                        self.handle.grow_for_writes(tier, bytes, longest);
                    }
                    return Ok(None);
                }
            };
            if records.is_empty() {
                return Ok(Some(outcomes));
            }
            tier.prepare(&mut records);
            // What asked nothing of the rows need not look again when there is space.
            let mut is_full = true;
            while is_full {
                let writing = match patience {
                    Patience::Never => tier.try_lock(),
                    Patience::Usual => self.write_tier(tier, &deadline)?,
                };
                let Some(mut writing) = writing else { return Ok(None) };
                let mut known = items.iter().zip(&seen);
                if !known.all(|(item, seen)| confirm(tier, &writing, &item.key, seen)) {
                    break;
                }
                is_full = writing.append_all(&mut records).is_err();
                drop(writing);
                if !is_full {
                    self.after_many(tier, items, &outcomes, change)?;
                    return Ok(Some(outcomes));
                }
                if patience == Patience::Never || !self.make_way(tier, &records, &mut deadline)? {
                    return Ok(None);
                }
                is_full = change == Change::All;
            }
        }
        Ok(None)
    }

    /// What becomes of each key, and what was seen of it. Of a key that comes twice, the second sees what the first leaves.
    /// Returns `None` where keys cannot be told apart by their hashes.
    fn decide_many(
        &self,
        tier: &Tier,
        items: &[Item<'_, '_>],
        stamp: &Stamp<'_>,
        change: Change,
        patience: Patience,
    ) -> Result<Option<(Vec<Seen>, Vec<Outcome>)>> {
        let (mut seen, mut known, mut cold) =
            (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()), Vec::new());
        let commits = tier.commits();
        for (at, item) in items.iter().enumerate() {
            let found =
                item.key.with_hot(|hot| tier.get(hot, |view, _| (Known::of_view(&view), view.offset())));
            let (row, how) = match found {
                Some((row, offset)) => (row, Seen::Record(offset)),
                None if patience == Patience::Never => return Ok(None),
                None => {
                    cold.push(at);
                    (None, Seen::Commits(commits))
                }
            };
            seen.push(how);
            known.push(row);
        }
        if !cold.is_empty() {
            let keys = cold.iter().map(|at| &items[*at].key);
            let rows = self.handle.read_now(self.wait, |connection| {
                read::find_many(connection, keys.clone(), Timestamp::NEG_INFINITY)
            })?;
            for (at, row) in cold.iter().zip(rows) {
                known[*at] = row.as_ref().map(Known::of_row);
            }
        }
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(items.len());
        let mut last = Last::of(items.len());
        for (at, item) in items.iter().enumerate() {
            if let Some(before) = last.note(item.key.with_hot(|hot| tier.hash(hot)), at) {
                let one = &items[before];
                let is_same = one.key.with_hot(|one| {
                    item.key.with_hot(|other| one.kind == other.kind && one.bytes == other.bytes)
                });
                if !is_same {
                    return Ok(None);
                }
                known[at] = if outcomes[before].is_changed { one.known(stamp) } else { known[before] };
            }
            outcomes.push(change.outcome(known[at], stamp.now));
        }
        Ok(Some((seen, outcomes)))
    }

    fn after_many(
        &self,
        tier: &Tier,
        items: &[Item<'_, '_>],
        outcomes: &[Outcome],
        change: Change,
    ) -> Result<()> {
        let changed = || items.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_changed);
        let counter = if change == Change::Present { Counter::Deletes } else { Counter::Sets };
        tier.count(counter, changed().count() as u64);
        for file in changed().filter_map(|(item, _)| item.file()) {
            self.handle.keep_file(&file, self.wait)?;
        }
        self.handle.after_append(tier);
        Ok(())
    }

    /// As one transaction of the database.
    fn change_many_directly(
        &self,
        items: &mut [Item<'_, '_>],
        stamp: &Stamp<'_>,
        change: Change,
    ) -> Result<Vec<Outcome>> {
        self.handle.write_beside(self.wait, items.len(), |write| {
            write.changes(items.iter().map(|item| item.key.borrowed()));
            let outcomes = items.iter_mut().map(|item| change_row(write, item, stamp, change));
            let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
            if change != Change::Present && outcomes.iter().any(|outcome| outcome.is_changed) {
                self.remove_expired(write, stamp.now)?;
            }
            Ok(outcomes)
        })
    }
}

/// Stores many small values as [`try_set`](super::nonblocking::try_set) stores one, all or none of them.
///
/// Returns `false` if nothing has happened: then call [`Cache::set_many`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Key, Payload, PutOptions, host};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("question", "?")?;
/// let keys = [Key::from("answer"), Key::from("question")];
/// let items = keys.iter().map(|key| (key, Payload::Int(42)));
/// assert!(host::try_set_many(&cache, items, &PutOptions::new()));
/// assert_eq!(cache.get("question")?, Some(42.into()));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn try_set_many<'a, 'k: 'a, 'v>(
    cache: &Cache,
    items: impl ExactSizeIterator<Item = (&'a Key<'k>, Payload<'v>)>,
    options: &PutOptions,
) -> bool {
    if cache.in_transaction() {
        return false;
    }
    let shorter_than = cache.handle.settings.plain_size().min(SMALL);
    let now = cache.clock.now();
    let set = |tier: &Tier| {
        let mut records = Vec::with_capacity(items.len());
        for (key, payload) in items {
            let Some(value) = plain(&payload, shorter_than) else { return false };
            let record = stage(Kind::Set, key, &new_row(value, options, now));
            if record.bytes() > tier.longest() {
                return false;
            }
            records.push(record);
        }
        if !fit(tier, &records) {
            return false;
        }
        tier.prepare(&mut records);
        let is_stored = tier.try_append_all(&mut records);
        if is_stored {
            tier.count(Counter::Sets, records.len() as u64);
            cache.handle.after_append(tier);
        }
        is_stored
    };
    cache.handle.tier.lock.with_tier(set) == Some(true)
}

/// Stores those of many small values whose keys have none, if the hot tier knows all of these and that needs no waiting.
/// Returns how many, or `None` if nothing has happened: then call [`Cache::add_many`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Key, Payload, PutOptions, host};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("question", "?")?;
/// assert!(cache.contains("question")?);
/// let keys = [Key::from("question")];
/// let items = keys.iter().map(|key| (key, Payload::Int(42)));
/// assert_eq!(host::try_add_many(&cache, items, &PutOptions::new()), Some(0));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn try_add_many<'a, 'k: 'a, 'v>(
    cache: &Cache,
    items: impl Iterator<Item = (&'a Key<'k>, Payload<'v>)>,
    options: &PutOptions,
) -> Option<usize> {
    let shorter_than = cache.handle.settings.plain_size();
    let items = items.map(|(key, payload)| {
        Some(Item { key: key.borrowed(), content: Content::Plain(plain(&payload, shorter_than)?) })
    });
    let mut items = items.collect::<Option<Vec<_>>>()?;
    let outcomes = cache.try_change_many(&mut items, options, Change::Absent)?;
    Some(count(&outcomes))
}

pub(super) fn count(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.counts).count()
}

/// Records that the log does not take together: how many bytes they are, at least, and how long the longest of them is.
struct TooMuch {
    bytes: u64,
    longest: u64,
}

/// The records of what changes, unless they are more than the log takes together.
fn stage_many(
    tier: &Tier,
    items: &mut [Item<'_, '_>],
    outcomes: &[Outcome],
    stamp: &Stamp<'_>,
) -> Result<std::result::Result<Vec<PendingRecord>, TooMuch>> {
    let count = items.len();
    let mut records = Vec::with_capacity(count);
    let (mut bytes, mut longest) = (0, 0);
    for (item, _) in items.iter_mut().zip(outcomes).filter(|(_, outcome)| outcome.is_changed) {
        let record = item.record(stamp)?;
        bytes += record.bytes();
        longest = longest.max(record.bytes());
        if longest > tier.longest() || !fits(tier, records.len() + 1, bytes) {
            // What the others take is taken to be as much each.
            let bytes = bytes / (records.len() as u64 + 1) * count as u64;
            return Ok(Err(TooMuch { bytes, longest }));
        }
        records.push(record);
    }
    Ok(Ok(records))
}

/// Changes a key in a transaction of the database.
fn change_row(
    write: &mut Write<'_>,
    item: &mut Item<'_, '_>,
    stamp: &Stamp<'_>,
    change: Change,
) -> Result<Outcome> {
    if change == Change::Present {
        let head = write.head(&item.key)?;
        let known = head.as_ref().map(|head| Known { expire_time: head.expire_time, is_raised: false });
        head.map_or(Ok(()), |head| write.remove(&head))?;
        return Ok(change.outcome(known, stamp.now));
    }
    let record = item.record(stamp)?;
    let outcome = if change == Change::Absent && write.insert_record(&item.key, &record.view())? {
        change.outcome(None, stamp.now)
    } else {
        let row = if change == Change::All { None } else { write.row(&item.key, Timestamp::NEG_INFINITY)? };
        let outcome = change.outcome(row.as_ref().map(Known::of_row), stamp.now);
        if outcome.is_changed {
            write.apply_record(&item.key, &record.view())?;
        }
        outcome
    };
    if outcome.is_changed {
        write.adopt(item.file());
    }
    Ok(outcome)
}
