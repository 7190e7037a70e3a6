//! Owns queues in the hot tier. A `push` is one record, and so is a `pull`: it comes only if the ends of the queue still are
//! what they were, now that the append lock is taken. What does not fit there is left to the callers' direct way.

use std::borrow::Cow;

use dolium_hot::{Counter, Kind, LogFull, PendingRecord, Tier, View, Writing};

use crate::sqlite::Connection;
use crate::sqlite::queue::{Side, window};
use crate::sqlite::tier::CULLS;
use crate::store::ends::{End, Ends};
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::wait::Deadline;
use crate::value::Row;
use crate::value::key::{Key, QUEUE_LAST};
use crate::value::put_options::{PutOptions, is_alive};

use super::Cache;
use super::hot::{Seen, append_as_seen, confirm};
use super::prepare::Prepared;
use super::queue::MIDDLE;
use super::record::pending_record;

/// Bytes of log that are followed to learn the ends of a queue. Reading them anew takes less than to follow more.
pub(super) const FOLLOWED: u64 = 512 << 10;

/// The same with the append lock, for which others wait.
pub(super) const FOLLOWED_LOCKED: u64 = 8 << 10;

/// Numbers without items that are passed over at an end, before the ends are read anew.
const PASSED: u32 = 32;

/// How often the ends of a queue are read anew for one operation. Direct commits of others make that necessary.
const LEARNED: u32 = 3;

/// How many keys at an end are read at once, to see that they are numbers: a few at first, and more where these do not
/// last.
const SHALLOW: u16 = 16;
const DEEPER: u16 = 4;
const DEEP: u16 = 2048;

/// The numbers that an item may have.
const ALL: (i64, i64) = (1, QUEUE_LAST - 1);

/// What to read of a queue of which nothing is known: the numbers, how many at once, and the change from which on the
/// database knows more than the caller.
const ANEW: ((i64, i64), u16, u64) = (ALL, SHALLOW, u64::MAX);

/// How often an operation is tried while others are faster.
const TRIES: u32 = 1000;

/// The key of an item.
pub(super) fn item_key(prefix: Option<&str>, number: i64) -> Key<'static> {
    match prefix {
        None => Key::Int(number),
        Some(prefix) => Key::Text(Cow::Owned(format!("{prefix}-{number:015}"))),
    }
}

/// What is at an end of a queue.
type AtEnd<T> = (Ends, Option<(Key<'static>, T)>);

/// What a lookup says of the row of a key.
enum Looked<T> {
    There(T),
    /// There is none, as long as this holds.
    Absent(Seen),
}

/// A row that was taken off a queue, and what was fetched of it.
pub(super) type Taken<T> = (Key<'static>, Row, T);

/// What the tier says of an end of a queue.
pub(super) enum Answer<T> {
    Item(Taken<T>),
    /// The queue has no items.
    Empty,
    /// The database must be asked.
    Unknown,
}

impl Cache {
    /// Adds an item at an end of a queue. Returns `None` if a direct write is needed.
    pub(super) fn push_hot(
        &self,
        prepared: &Prepared,
        prefix: Option<&str>,
        side: Side,
        options: &PutOptions,
        now: Timestamp,
    ) -> Result<Option<Key<'static>>> {
        let Some(tier) = self.tier_of_queues()? else { return Ok(None) };
        let mut deadline = Deadline::new(self.wait);
        for _ in 0..TRIES {
            let at_end =
                self.at_end(&tier, prefix, side, &deadline, |key| self.is_row_alive(&tier, key, now))?;
            // The next drain removes an item that has expired, and a number depends on whether it did.
            let Some((mut ends, None | Some((_, true)))) = at_end else { return Ok(None) };
            let end = ends.end(side);
            let number = match end {
                End::At(number) if side == Side::Back => number + 1,
                End::At(number) => number - 1,
                End::Empty => MIDDLE,
                End::Unread => return Ok(None),
            };
            if number <= 0 || number >= QUEUE_LAST {
                return Ok(None);
            }
            let key = item_key(prefix, number);
            let Some(columns) = prepared.columns_for(&key) else { return Ok(None) };
            let (expire_time, store_time) = (options.expire.at(now), options.time(now));
            let mut record =
                pending_record(Kind::Set, &key, &columns, expire_time, &options.tag, store_time, CULLS);
            if record.bytes() > tier.longest() {
                return Ok(None);
            }
            tier.prepare(std::slice::from_mut(&mut record));
            let Some(mut writing) = self.write_tier(&tier, &deadline)? else { return Ok(None) };
            if !self.is_current(&tier, &writing, &mut ends, prefix) || ends.end(side) != end {
                continue;
            }
            let appended = writing.append(&mut record);
            drop(writing);
            match appended {
                Ok(()) => {
                    if let Some(file) = prepared.file() {
                        self.handle.keep_file(&file, self.wait)?;
                    }
                    tier.count(Counter::Sets, 1);
                    self.handle.after_append(&tier);
                    return Ok(Some(key));
                }
                Err(LogFull) if self.make_way(&tier, std::slice::from_ref(&record), &mut deadline)? => {}
                Err(LogFull) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Takes an item off an end of a queue, and what `fetch` makes of its row. Expired and damaged items, of which `fetch`
    /// makes nothing, are removed and passed over. `Unknown`: a direct write is needed.
    pub(super) fn pull_hot<T>(
        &self,
        prefix: Option<&str>,
        side: Side,
        now: Timestamp,
        fetch: &mut impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
    ) -> Result<Answer<T>> {
        let Some(tier) = self.tier_of_queues()? else { return Ok(Answer::Unknown) };
        let mut deadline = Deadline::new(self.wait);
        for _ in 0..TRIES {
            let Some((mut ends, found)) =
                self.at_end(&tier, prefix, side, &deadline, |key| self.row_to_change(&tier, key))?
            else {
                return Ok(Answer::Unknown);
            };
            let end = ends.end(side);
            let mut item = match found {
                Some((key, (row, seen))) => {
                    let value = if is_alive(row.expire_time, now) { fetch(&key, &row)? } else { None };
                    let mut record = key.with_hot(PendingRecord::delete);
                    tier.prepare(std::slice::from_mut(&mut record));
                    Some((key, row, seen, value, record))
                }
                None => None,
            };
            let Some(mut writing) = self.write_tier(&tier, &deadline)? else { return Ok(Answer::Unknown) };
            if !self.is_current(&tier, &writing, &mut ends, prefix) || ends.end(side) != end {
                continue;
            }
            let Some((key, _, seen, _, record)) = &mut item else { return Ok(Answer::Empty) };
            let appended = append_as_seen(&tier, &mut writing, key, seen, record);
            drop(writing);
            match appended {
                Ok(true) => {
                    tier.count(Counter::Deletes, 1);
                    self.handle.after_append(&tier);
                    if let Some((key, row, _, Some(value), _)) = item {
                        return Ok(Answer::Item((key, row, value)));
                    }
                }
                Ok(false) => {}
                Err(LogFull) if self.make_way(&tier, std::slice::from_ref(record), &mut deadline)? => {}
                Err(LogFull) => return Ok(Answer::Unknown),
            }
        }
        Ok(Answer::Unknown)
    }

    /// Looks at an end of a queue. Takes no lock but to pass over numbers without an item. `Unknown`: the database must be asked, also because the item
    /// there has expired or is damaged.
    pub(super) fn peek_hot<T>(
        &self,
        prefix: Option<&str>,
        side: Side,
        now: Timestamp,
        fetch: &mut impl FnMut(&Key<'_>, &Row) -> Result<Option<T>>,
    ) -> Result<Answer<T>> {
        let tier = if self.in_transaction() { None } else { self.handle.tier_to_read(self.wait)? };
        let Some(tier) = tier.filter(|tier| !tier.has_foreign()) else { return Ok(Answer::Unknown) };
        let deadline = Deadline::new(self.wait);
        for _ in 0..LEARNED {
            let Some(moment) = tier.moment() else { return Ok(Answer::Unknown) };
            let Some((ends, found)) =
                self.at_end(&tier, prefix, side, &deadline, |key| self.row_to_change(&tier, key))?
            else {
                return Ok(Answer::Unknown);
            };
            let answer = match found {
                None => Answer::Empty,
                Some((key, (row, _))) => {
                    let value = if is_alive(row.expire_time, now) { fetch(&key, &row)? } else { None };
                    let Some(value) = value else { return Ok(Answer::Unknown) };
                    Answer::Item((key, row, value))
                }
            };
            if ends.seq() == moment.last() && tier.is_still(moment) {
                return Ok(answer);
            }
        }
        Ok(Answer::Unknown)
    }

    /// The tier, if queues may be changed there: another program does not see items that wait in it.
    pub(super) fn tier_of_queues(&self) -> Result<Option<Tier>> {
        let Some(tier) = self.tier_to_change()? else { return Ok(None) };
        self.handle.detect_foreign_writes_once()?;
        Ok(Some(tier).filter(|tier| !tier.has_foreign()))
    }

    /// The ends of a queue as the log has them now, and what `look` finds at one end, if there is an item. Numbers without a
    /// row are passed over. Returns `None` if the ends cannot be known.
    fn at_end<T>(
        &self,
        tier: &Tier,
        prefix: Option<&str>,
        side: Side,
        deadline: &Deadline,
        look: impl Fn(&Key<'_>) -> Result<Looked<T>>,
    ) -> Result<Option<AtEnd<T>>> {
        let (mut range, mut depth, mut since) = ANEW;
        'learn: for _ in 0..=LEARNED {
            let learn = || self.learn(tier, prefix, side, range, depth);
            let Some(mut ends) =
                self.handle.tier.queues.get(prefix).map_or_else(learn, |ends| Ok(Some(ends)))?
            else {
                return Ok(None);
            };
            if ends.seq() > since || !ends.follow(tier, prefix, FOLLOWED) {
                self.handle.tier.queues.forget(prefix);
                (range, depth, since) = ANEW;
                continue;
            }
            for _ in 0..PASSED {
                match ends.end(side) {
                    End::At(number) => {
                        let key = item_key(prefix, number);
                        let seen = match look(&key)? {
                            Looked::There(found) => {
                                self.handle.tier.queues.put(prefix, ends);
                                return Ok(Some((ends, Some((key, found)))));
                            }
                            Looked::Absent(seen) => seen,
                        };
                        if !self.pass(tier, &mut ends, (prefix, side), (&key, &seen), deadline)? {
                            self.handle.tier.queues.forget(prefix);
                            (range, depth, since) = ANEW;
                            continue 'learn;
                        }
                    }
                    End::Empty => {
                        self.handle.tier.queues.put(prefix, ends);
                        return Ok(Some((ends, None)));
                    }
                    End::Unread => break,
                }
            }
            self.handle.tier.queues.forget(prefix);
            // There was nothing outside of what is known, so that only this part is read again, and more of it. A database
            // that is newer than that may have items outside.
            (range, since) = (ends.range(), ends.seq());
            depth = ends.depth().saturating_mul(DEEPER).min(DEEP);
        }
        Ok(None)
    }

    /// Passes over the number at an end, if it still is there and its key still has no row. Returns `false` if the ends are of
    /// no use any more.
    ///
    /// *Trap*: a record moves the ends as soon as the log has it, and is found only when the index names it, which is a moment
    /// later. A lookup between the two finds nothing. So what it has seen must hold with the append lock.
    fn pass(
        &self,
        tier: &Tier,
        ends: &mut Ends,
        (prefix, side): (Option<&str>, Side),
        (key, seen): (&Key<'_>, &Seen),
        deadline: &Deadline,
    ) -> Result<bool> {
        let end = ends.end(side);
        if !ends.follow(tier, prefix, FOLLOWED) {
            return Ok(false);
        }
        // Most often another process was faster.
        if ends.end(side) != end {
            return Ok(true);
        }
        let Some(writing) = self.write_tier(tier, deadline)? else { return Ok(false) };
        if !self.is_current(tier, &writing, ends, prefix) {
            return Ok(false);
        }
        if ends.end(side) == end && confirm(tier, &writing, key, seen) {
            ends.pass(side);
        }
        Ok(true)
    }

    /// Reads the ends of a queue from the database. The caller follows the log from there. Returns `None` if they cannot be
    /// known.
    fn learn(
        &self,
        tier: &Tier,
        prefix: Option<&str>,
        side: Side,
        range: (i64, i64),
        depth: u16,
    ) -> Result<Option<Ends>> {
        if tier.dirty_bytes() > FOLLOWED / 2 {
            self.handle.settle_order(self.wait)?;
        }
        // Before the read, and in this order: the database has at least all that lies below, and all that was counted and is
        // not announced any more.
        let (offset, additions) = (tier.drained_to(), tier.additions());
        let additions = (!tier.is_announced()).then_some(additions);
        let window = |connection: &Connection| Ok(window(connection, prefix, side, range, depth)?);
        let window = self.handle.read_now(self.wait, window)?;
        Ok(window.map(|window| Ends::new(&window, offset, additions)))
    }

    /// Whether these ends are those of this moment. The caller has the append lock, so they stay so.
    fn is_current(&self, tier: &Tier, _writing: &Writing, ends: &mut Ends, prefix: Option<&str>) -> bool {
        if !ends.follow(tier, prefix, FOLLOWED_LOCKED) {
            return false;
        }
        // A direct commit is not in the log, but has a number.
        let is_current = ends.seq() == tier.last();
        if !is_current {
            self.handle.tier.queues.forget(prefix);
        }
        is_current
    }

    /// Whether the row of a key, if it has one, is alive.
    fn is_row_alive(&self, tier: &Tier, key: &Key<'_>, now: Timestamp) -> Result<Looked<bool>> {
        let look = |view: View<'_>| {
            if view.kind().has_row() {
                Looked::There(is_alive(view.expire_time(), now))
            } else {
                Looked::Absent(Seen::Record(view.offset()))
            }
        };
        if let Some(known) = key.with_hot(|hot| tier.get(hot, |view, _| look(view))) {
            return Ok(known);
        }
        Ok(match self.row_to_change(tier, key)? {
            Looked::There((row, _)) => Looked::There(is_alive(row.expire_time, now)),
            Looked::Absent(seen) => Looked::Absent(seen),
        })
    }

    /// The row of a key, expired or not, and what must still hold for it to change.
    fn row_to_change(&self, tier: &Tier, key: &Key<'_>) -> Result<Looked<(Row, Seen)>> {
        Ok(match self.see(tier, key)? {
            (Some(row), seen) => Looked::There((row, seen)),
            (None, seen) => Looked::Absent(seen),
        })
    }
}
