//! Operations on many keys. What the hot tier takes together becomes one chunk of its log, and all else one transaction,
//! during which others go on writing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use dolium_hot::{Cell, Counter, Kind, PendingRecord, Tier, View};

use crate::sqlite::Write;
use crate::sqlite::read;
use crate::sqlite::tier::CULLS;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::value_files::NewFile;
use crate::system::wait::Deadline;
use crate::value::frame::Frame;
use crate::value::key::Key;
use crate::value::put_options::{PutOptions, is_alive};
use crate::value::{Payload, Row, Value, mode};

use super::Cache;
use super::frame::is_raised;
use super::hot::{Seen, confirm, fits};
use super::nonblocking::{new_row, plain};
use super::prepare::Prepared;
use super::record::{pending_record, stage};

/// How often a change of many keys is tried in the tier while other writers are faster.
const TRIES: u32 = 3;

/// Keys up to which each is compared with all before it: that is quicker than a table.
const FEW: usize = 16;

/// A hash that already is one.
#[derive(Default)]
struct Known64(u64);

impl Hasher for Known64 {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Where each key of a call came last, by the hashes of the tier.
enum Last {
    Few([u64; FEW], usize),
    Many(HashMap<u64, usize, BuildHasherDefault<Known64>>),
}

impl Last {
    fn of(keys: usize) -> Self {
        if keys <= FEW {
            Self::Few([0; FEW], 0)
        } else {
            Self::Many(HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default()))
        }
    }

    /// Notes the next key, at a position. Returns where it was before.
    fn note(&mut self, hash: u64, at: usize) -> Option<usize> {
        match self {
            Self::Few(hashes, count) => {
                let before = hashes[..*count].iter().rposition(|known| *known == hash);
                hashes[*count] = hash;
                *count += 1;
                before
            }
            Self::Many(hashes) => hashes.insert(hash, at),
        }
    }
}

/// How a call takes the append lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not at all if another thread has it, if the database must be asked, or if the log is full.
    Never,
    /// As long as the cache may wait.
    Usual,
}

/// What an item does to its key.
enum Content<'v> {
    /// Stores a column that is copied only once, into its record.
    Plain(Cell<'v>),
    /// Stores what was pickled, framed, signed or written to a file.
    Prepared(Prepared),
    /// Removes the key.
    Nothing,
}

/// One key of a bulk call.
struct Item<'k, 'v> {
    key: Key<'k>,
    content: Content<'v>,
}

/// Which keys a call changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// All of them.
    All,
    /// Those without an entry.
    Absent,
    /// Those with a row. One that has expired goes, too, and does not count.
    Present,
}

/// What the records of a call have in common.
struct Stamp<'o> {
    expire_time: Option<Timestamp>,
    store_time: Timestamp,
    options: &'o PutOptions,
    now: Timestamp,
}

/// What a call must know of the row of a key.
#[derive(Clone, Copy)]
struct Known {
    expire_time: Option<Timestamp>,
    /// The row keeps an exception, which is no value.
    is_raised: bool,
}

/// What becomes of a key.
#[derive(Clone, Copy, Default)]
struct Outcome {
    is_changed: bool,
    counts: bool,
}

impl Known {
    fn of_view(view: &View<'_>) -> Option<Self> {
        let is_raised = || match view.value() {
            Some(Cell::Blob(stored)) if !view.has_file() => Frame::is_raised(stored),
            _ => false,
        };
        view.kind().has_row().then(|| Self {
            expire_time: view.expire_time(),
            is_raised: view.mode() == mode::FRAME && is_raised(),
        })
    }

    fn of_row(row: &Row) -> Self {
        let columns = &row.columns;
        Self {
            expire_time: row.expire_time,
            is_raised: columns.mode == mode::FRAME && is_raised(&columns.value),
        }
    }
}

impl Change {
    fn outcome(self, known: Option<Known>, now: Timestamp) -> Outcome {
        let lives = |known: &Known| is_alive(known.expire_time, now);
        match self {
            Self::All => Outcome { is_changed: true, counts: true },
            Self::Absent => {
                let is_absent = !known.is_some_and(|known| lives(&known) && !known.is_raised);
                Outcome { is_changed: is_absent, counts: is_absent }
            }
            Self::Present => {
                Outcome { is_changed: known.is_some(), counts: known.as_ref().is_some_and(lives) }
            }
        }
    }
}

impl<'o> Stamp<'o> {
    fn of(options: &'o PutOptions, now: Timestamp) -> Self {
        Self { expire_time: options.expire.at(now), store_time: options.time(now), options, now }
    }
}

impl Item<'_, '_> {
    fn record(&mut self, stamp: &Stamp<'_>) -> Result<PendingRecord> {
        let Stamp { expire_time, store_time, options, now } = stamp;
        Ok(match &mut self.content {
            Content::Plain(value) => {
                let row = new_row(*value, options, *now);
                stage(Kind::Set, &self.key, &row)
            }
            Content::Prepared(value) => {
                let columns = value.finish(&self.key)?;
                pending_record(Kind::Set, &self.key, columns, *expire_time, &options.tag, *store_time, CULLS)
            }
            Content::Nothing => self.key.with_hot(PendingRecord::delete),
        })
    }

    /// The row of the key once the item is stored.
    fn known(&self, stamp: &Stamp<'_>) -> Option<Known> {
        let is_raised = match &self.content {
            Content::Nothing => return None,
            Content::Prepared(Prepared::Ready { columns, .. }) if columns.mode == mode::FRAME => {
                is_raised(&columns.value)
            }
            Content::Plain(_) | Content::Prepared(_) => false,
        };
        Some(Known { expire_time: stamp.expire_time, is_raised })
    }

    fn file(&self) -> Option<Arc<NewFile>> {
        if let Content::Prepared(value) = &self.content { value.file() } else { None }
    }
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
        Ok(if self.refuses(value.size()) { None } else { Some(Content::Prepared(value)) })
    }

    /// Removes many entries, all or none of them. Returns how many there were.
    pub fn delete_many(&self, keys: &[Key<'_>]) -> Result<usize> {
        let outcomes = self.change_many(&mut removals(keys), &PutOptions::default(), Change::Present)?;
        Ok(count(&outcomes))
    }

    /// Changes keys, all of them or none. Returns what has become of each.
    fn change_many(
        &self,
        items: &mut [Item<'_, '_>],
        options: &PutOptions,
        change: Change,
    ) -> Result<Vec<Outcome>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let stamp = Stamp::of(options, self.clock.now());
        if let Some(tier) = self.tier_to_change()? {
            if change != Change::All {
                self.handle.detect_foreign_writes_once()?;
            }
            if let Some(outcomes) = self.change_many_hot(&tier, items, &stamp, change, Patience::Usual)? {
                return Ok(outcomes);
            }
        }
        self.change_many_directly(items, &stamp, change)
    }

    /// Changes keys that the tier knows, if that needs no waiting.
    fn try_change_many(
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
            let Some(mut records) = stage_many(tier, items, &outcomes, stamp)? else { return Ok(None) };
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

/// Removes many entries, if the hot tier knows all of these keys and that needs no waiting. Returns how many there were, or
/// `None` if nothing has happened: then call [`Cache::delete_many`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, Key, host};
///
/// let cache = Cache::open(dir.path())?;
/// cache.set("question", "?")?;
/// assert!(cache.contains("question")?);
/// assert_eq!(host::try_delete_many(&cache, &[Key::from("question")]), Some(1));
/// assert_eq!(host::try_delete_many(&cache, &[Key::from("answer")]), None, "only the database can tell");
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn try_delete_many(cache: &Cache, keys: &[Key<'_>]) -> Option<usize> {
    let outcomes = cache.try_change_many(&mut removals(keys), &PutOptions::default(), Change::Present)?;
    Some(count(&outcomes))
}

fn removals<'k>(keys: &'k [Key<'_>]) -> Vec<Item<'k, 'static>> {
    keys.iter().map(|key| Item { key: key.borrowed(), content: Content::Nothing }).collect()
}

fn count(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.counts).count()
}

/// The records of what changes, or `None` if they are more than the log takes together.
fn stage_many(
    tier: &Tier,
    items: &mut [Item<'_, '_>],
    outcomes: &[Outcome],
    stamp: &Stamp<'_>,
) -> Result<Option<Vec<PendingRecord>>> {
    let mut records = Vec::with_capacity(items.len());
    let mut bytes = 0;
    for (item, _) in items.iter_mut().zip(outcomes).filter(|(_, outcome)| outcome.is_changed) {
        let record = item.record(stamp)?;
        bytes += record.bytes();
        if record.bytes() > tier.longest() || !fits(tier, records.len() + 1, bytes) {
            return Ok(None);
        }
        records.push(record);
    }
    Ok(Some(records))
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
