//! Owns what a `Deque` does by position and length, in the hot tier.
//!
//! This needs a cache that is one queue without holes ([`Span`]). A cache of another kind is left to the callers' slow way, and
//! so is what takes more than one record.

use dolium_hot::{Counter, Kind, LogFull, PendingRecord, Tier};

use crate::sqlite::queue::{Side, Whole, whole};
use crate::sqlite::tier::CULLS;
use crate::store::span::Span;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::wait::Deadline;
use crate::value::key::{Key, QUEUE_LAST};
use crate::value::scalar::Scalar;
use crate::value::{Columns, Entry, Payload};

use super::Cache;
use super::hot_queue::{FOLLOWED, FOLLOWED_LOCKED, item_key};
use super::prepare::Prepared;
use super::queue::MIDDLE;
use super::record::pending_record;

/// How often the database is asked anew for one operation.
const LEARNED: u32 = 3;

/// How often an operation is tried while others are faster.
const TRIES: u32 = 1000;

/// The same for one that only looks. Another process may have the append lock for long.
const LOOKS: u32 = 64;

/// What is known of a position in a deque.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth answer")]
pub enum Position<T> {
    /// It has an item.
    Item(T),
    /// The deque is shorter.
    Outside,
    /// That cannot be said without a walk.
    Unknown,
}

/// How many items a cache has that is one queue without holes. `None`: that cannot be said here.
pub fn deque_len(cache: &Cache) -> Result<Option<u64>> {
    let found = cache.at_moment(|span| Ok(Some(span.length())))?;
    Ok(found.and_then(|length| u64::try_from(length).ok()))
}

/// The number of the first item of a cache that is one queue without holes, asked of the database. `None`: it is not, or has no
/// items.
pub fn first_number(cache: &Cache) -> Result<Option<i64>> {
    let Some(whole) = cache.handle.read(cache.wait, |connection| Ok(whole(connection)?))? else {
        return Ok(None);
    };
    cache.ask_for_note(&whole);
    Ok((whole.front <= whole.back).then_some(whole.front))
}

/// The item at a position of a cache that is one queue without holes. Negative positions count from the end.
pub fn item_at(cache: &Cache, position: i64) -> Result<Position<Entry>> {
    let found = cache.at_moment(|span| {
        let Some(number) = span.number(position) else { return Ok(Some(Position::Outside)) };
        let key = item_key(None, number);
        let found = cache.find(&key, None, |row| cache.fetch(&key, row))?;
        Ok(found.map(|(row, value)| Position::Item(Entry::of(row, value))))
    })?;
    Ok(found.unwrap_or(Position::Unknown))
}

/// Replaces the item at a position, as a `set` of its key.
pub fn replace_at<'v>(cache: &Cache, position: i64, value: impl Into<Payload<'v>>) -> Result<Position<()>> {
    cache.know_settings()?;
    if !cache.expects(|_| true)? {
        return Ok(Position::Unknown);
    }
    let prepared = Prepared::new(&cache.handle, value.into())?;
    if cache.refuses(prepared.size()) {
        return Ok(Position::Unknown);
    }
    let now = cache.clock.now();
    let replaced = cache.change_span(|span| {
        let Some(number) = span.number(position) else { return Ok(Some(Vec::new())) };
        let key = item_key(None, number);
        Ok(prepared.columns_for(&key).map(|columns| vec![set(&key, &columns, now)]))
    })?;
    match replaced {
        None => Ok(Position::Unknown),
        Some(false) => Ok(Position::Outside),
        Some(true) => {
            cache.keep(&prepared)?;
            Ok(Position::Item(()))
        }
    }
}

/// Adds an item at one end of a deque of at most so many. If there are as many, the item at the other end goes. `false`: nothing
/// has happened, because more must go, or because that cannot be said here.
pub fn push_within<'v>(cache: &Cache, value: impl Into<Payload<'v>>, side: Side, most: u64) -> Result<bool> {
    let fits = |span: &Span| u64::try_from(span.length()).is_ok_and(|length| length <= most && most > 0);
    cache.know_settings()?;
    if !cache.expects(fits)? {
        return Ok(false);
    }
    let prepared = Prepared::new(&cache.handle, value.into())?;
    let now = cache.clock.now();
    let pushed = cache.change_span(|span| {
        let number = beyond(span, side);
        if !fits(span) || number <= 0 || number >= QUEUE_LAST {
            return Ok(None);
        }
        let key = item_key(None, number);
        let Some(columns) = prepared.columns_for(&key) else { return Ok(None) };
        let mut records = vec![set(&key, &columns, now)];
        if u64::try_from(span.length()) == Ok(most) {
            records.push(item_key(None, last(span, side)).with_hot(PendingRecord::delete));
        }
        Ok(Some(records))
    })?;
    if pushed.is_some() {
        cache.keep(&prepared)?;
    }
    Ok(pushed.is_some())
}

fn set(key: &Key<'_>, columns: &Columns, now: Timestamp) -> PendingRecord {
    pending_record(Kind::Set, key, columns, None, &Scalar::Null, now, CULLS)
}

/// The number of the next item at an end.
fn beyond(span: &Span, side: Side) -> i64 {
    let (front, back) = span.range();
    match side {
        _ if span.length() == 0 => MIDDLE,
        Side::Back => back + 1,
        Side::Front => front - 1,
    }
}

/// The number of the item at the other end.
fn last(span: &Span, side: Side) -> i64 {
    let (front, back) = span.range();
    match side {
        Side::Back => front,
        Side::Front => back,
    }
}

impl Cache {
    /// What `look` finds in a cache that is one queue without holes, all at one moment. `None`: it is not, or `look` says so,
    /// or other processes are too fast.
    fn at_moment<T>(&self, look: impl Fn(&Span) -> Result<Option<T>>) -> Result<Option<T>> {
        let tier = if self.in_transaction() { None } else { self.handle.tier_to_read(self.wait)? };
        let Some(tier) = tier.filter(|tier| !tier.has_foreign()) else { return Ok(None) };
        for _ in 0..LOOKS {
            let Some(moment) = tier.moment() else {
                std::thread::yield_now();
                continue;
            };
            let Some(span) = self.span(&tier)? else { return Ok(None) };
            if (span.seq(), span.commits()) == (moment.last(), moment.commits()) {
                let found = look(&span)?;
                if tier.is_still(moment) {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Whether a change has a chance, which is asked before its value is made and perhaps written to a file.
    fn expects(&self, has_chance: impl Fn(&Span) -> bool) -> Result<bool> {
        let Some(tier) = self.tier_of_queues()? else { return Ok(false) };
        Ok(self.span(&tier)?.is_some_and(|span| has_chance(&span)))
    }

    /// Appends the records that `decide` says of a cache that is one queue without holes, if that is still so. Returns whether
    /// there are any. `None`: a transaction is needed, and nothing has happened.
    fn change_span(
        &self,
        decide: impl Fn(&Span) -> Result<Option<Vec<PendingRecord>>>,
    ) -> Result<Option<bool>> {
        let Some(tier) = self.tier_of_queues()? else { return Ok(None) };
        let mut deadline = Deadline::new(self.wait);
        for _ in 0..TRIES {
            let Some(mut span) = self.span(&tier)? else { return Ok(None) };
            let Some(mut records) = decide(&span)? else { return Ok(None) };
            if records.iter().any(|record| record.bytes() > tier.longest()) {
                return Ok(None);
            }
            tier.prepare(&mut records);
            let Some(mut writing) = self.write_tier(&tier, &deadline)? else { return Ok(None) };
            let before = span.range();
            let is_current = span.follow(&tier, FOLLOWED_LOCKED) && span.seq() == tier.last();
            if !is_current || span.range() != before {
                continue;
            }
            let appended = match &mut records[..] {
                [] => return Ok(Some(false)),
                [record] => writing.append(record),
                records => writing.append_all(records),
            };
            drop(writing);
            match appended {
                Ok(()) => {
                    tier.count(Counter::Sets, 1);
                    tier.count(Counter::Deletes, records.len() as u64 - 1);
                    self.handle.after_append(&tier);
                    return Ok(Some(true));
                }
                Err(LogFull) if self.make_way(&tier, &records, &mut deadline)? => {}
                Err(LogFull) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The queue that is all of this cache, followed to the end of the log.
    fn span(&self, tier: &Tier) -> Result<Option<Span>> {
        for _ in 0..LEARNED {
            let Some(mut span) = self
                .handle
                .tier
                .queues
                .span()
                .map_or_else(|| self.learn_span(tier), |span| Ok(Some(span)))?
            else {
                return Ok(None);
            };
            let is_known = span.follow(tier, FOLLOWED);
            self.handle.tier.queues.put_span(is_known.then_some(span));
            if is_known {
                return Ok(Some(span));
            }
        }
        Ok(None)
    }

    fn learn_span(&self, tier: &Tier) -> Result<Option<Span>> {
        if tier.dirty_bytes() > FOLLOWED / 2 {
            self.handle.settle_order(self.wait)?;
        }
        // Both before the read: a commit that comes between makes what is learned useless, and never wrong.
        let (commits, offset) = (tier.commits(), tier.drained_to());
        let Some(whole) = self.handle.read_now(self.wait, |connection| Ok(whole(connection)?))? else {
            return Ok(None);
        };
        self.ask_for_note(&whole);
        Ok(Span::new(&whole, offset, commits))
    }

    /// Has the next drain note what took a look at each key.
    fn ask_for_note(&self, whole: &Whole) {
        if !whole.is_noted {
            self.handle.tier.queues.ask_for_note();
        }
    }

    /// Keeps the value file of a record that was appended.
    fn keep(&self, prepared: &Prepared) -> Result<()> {
        prepared.file().map_or(Ok(()), |file| self.handle.keep_file(&file, self.wait))
    }
}
