//! Owns answering from the hot tier without copying, allocating or waiting, for callers that have a better place for
//! a value than the heap.

use std::borrow::Borrow;

use dolium_hot::{Cell, Counter, Kind, Moment, Tier, View};

use crate::sqlite::tier::{CULLS, cell, scalar};
use crate::store::absences::FOLLOWED_AT_ONCE;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::value::key::Key;
use crate::value::number::{Number, number};
use crate::value::put_options::PutOptions;
use crate::value::scalar::Scalar;
use crate::value::sign::{TRAILER_LEN, Verdict};
use crate::value::{Payload, Value, mode};

use super::Cache;
use super::change::{Change, Decided};
use super::prepare::signer;
use super::record::{row_of, stage};

/// Bytes from which on a value takes the general way: copying it should not hold up the caller's other threads.
pub(super) const SMALL: usize = 1 << 10;

/// The same for one value: to leave the interpreter costs as much as to copy this.
const COPIED: usize = 64 << 10;

/// How often a change is tried while others are faster: that takes less than to wait.
const ATTEMPTS: usize = 3;

/// A value in shared memory, see [`Value`](crate::Value).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A pickle, without our signature if that was verified.
    Pickle {
        /// The pickle.
        bytes: &'a [u8],
        /// Whether this user's key signed it, for this key of the cache.
        signed: bool,
    },
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Int(value) => Self::Int(value),
            ValueRef::Float(value) => Self::Float(value),
            ValueRef::Text(value) => Self::Text(value.to_owned()),
            ValueRef::Bytes(value) => Self::Bytes(value.to_vec()),
            ValueRef::Pickle { bytes, signed } => Self::Pickle { bytes: bytes.to_vec(), signed },
        }
    }
}

/// Why [`try_get`] has no answer. [`entry_after`](super::read::entry_after) goes on from there, so that nothing is asked twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says where the lookup goes on"]
pub struct Unanswered {
    /// The epoch of the tier that does not know the key: only SQLite can, as long as no other tier has come after it.
    pub(super) unknown_to: Option<u64>,
}

impl Unanswered {
    const DECLINED: Self = Self { unknown_to: None };
}

/// An entry in shared memory, as long as the function runs that is shown it.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    /// The value.
    pub value: ValueRef<'a>,
    view: View<'a>,
}

impl EntryRef<'_> {
    /// When it expires.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.view.expire_time()
    }

    /// When it was written.
    #[must_use]
    pub fn store_time(&self) -> Timestamp {
        self.view.store_time()
    }

    /// Its tag.
    #[must_use]
    pub fn tag(&self) -> Scalar {
        self.view.tag().map_or(Scalar::Null, |tag| scalar(&tag))
    }
}

impl Cache {
    /// Shows `see` the live record of a key; see [`try_get`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the two callers are what is hot")]
    pub(super) fn try_view<T>(
        &self,
        key: &Key<'_>,
        see: impl FnOnce(View<'_>) -> Option<T>,
    ) -> Result<Option<T>, Unanswered> {
        if self.in_transaction() {
            return Err(Unanswered::DECLINED);
        }
        // The key first: of what kind it is, the compiler knows then.
        let answer = key.with_hot(|hot| {
            self.handle.tier.with_tier_to_answer(|tier| {
                let answer = tier.get(hot, |view, access| {
                    if !view.kind().has_row() {
                        return Some(None);
                    }
                    if !self.is_alive(&view) {
                        // The general way may know better what time it is.
                        return None;
                    }
                    let seen = see(view)?;
                    self.note(access);
                    Some(Some(seen))
                });
                let Some(answer) = answer else { return self.try_absent(tier, hot) };
                let found = answer.ok_or(Unanswered::DECLINED)?;
                self.count_lookups(tier, 1, usize::from(found.is_some()));
                self.count_read(tier, found.is_some());
                Ok(found)
            })
        });
        answer.unwrap_or(Err(Unanswered::DECLINED))
    }

    /// Answers for a key that the tier does not know, if it is surely not in the database.
    // Apart, so that a hit does not pay for it.
    #[cold]
    #[inline(never)]
    fn try_absent<T>(&self, tier: &Tier, key: dolium_hot::Key<'_>) -> Result<Option<T>, Unanswered> {
        if !self.handle.reads.absences.tell(tier, key, FOLLOWED_AT_ONCE) {
            return Err(Unanswered { unknown_to: Some(tier.epoch()) });
        }
        self.count_lookups(tier, 1, 0);
        self.count_read(tier, false);
        Ok(None)
    }

    /// Changes an entry that the tier knows: `see` takes what it needs from the record, and `decide` says what becomes
    /// of that. Returns `None` if either fails, so that the caller takes the general way.
    fn try_change<S, T>(
        &self,
        key: &Key<'_>,
        see: impl Fn(&View<'_>) -> Option<S>,
        mut decide: impl FnMut(S) -> Result<Change<T>>,
    ) -> Option<T> {
        if self.in_transaction() {
            return None;
        }
        let look = |view: View<'_>| self.is_alive(&view).then(|| Some((see(&view)?, view.offset())));
        let change = |tier: &Tier| {
            for _ in 0..ATTEMPTS {
                let (seen, offset) = key.with_hot(|hot| tier.get(hot, |view, _| look(view)))???;
                let Decided { mut record, counter, answer, .. } = match decide(seen).ok()?.decided(key) {
                    Ok(decided) => decided,
                    Err(answer) => return Some(answer),
                };
                tier.prepare(std::slice::from_mut(&mut record));
                if record.bytes() <= tier.longest() && tier.try_append_over(&mut record, offset) {
                    tier.count(counter, 1);
                    self.handle.after_append(tier);
                    return Some(answer);
                }
            }
            None
        };
        self.handle.tier.with_tier_to_answer(change)?
    }

    fn append(&self, tier: &Tier, key: &Key<'_>, value: Cell<'_>, options: &PutOptions) -> bool {
        let mut record = stage(Kind::Set, key, &new_row(value, options, self.clock.now()));
        tier.prepare(std::slice::from_mut(&mut record));
        let is_stored = record.bytes() <= tier.longest() && tier.try_append(&mut record);
        if is_stored {
            tier.count(Counter::Sets, 1);
            self.handle.after_append(tier);
        }
        is_stored
    }

    /// Returns `None` if the value is elsewhere, or of a kind that is better left to the general way.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "else what it is, is decided twice")]
    fn value_in<'v>(&self, key: &Key<'_>, view: &View<'v>) -> Option<ValueRef<'v>> {
        if view.has_file() {
            return None;
        }
        match (view.mode(), view.value()?) {
            (mode::RAW, Cell::Int(value)) => Some(ValueRef::Int(value)),
            (mode::RAW, Cell::Real(value)) => Some(ValueRef::Float(value)),
            (mode::RAW, Cell::Text(bytes)) => std::str::from_utf8(bytes).ok().map(ValueRef::Text),
            (mode::RAW, Cell::Blob(bytes)) => Some(ValueRef::Bytes(bytes)),
            (mode::PICKLE, Cell::Blob(bytes)) => self.vouched(key, bytes),
            _ => None,
        }
    }

    /// Returns `None` if the key cannot be read: the general way then says why.
    fn vouched<'v>(&self, key: &Key<'_>, bytes: &'v [u8]) -> Option<ValueRef<'v>> {
        let signer = signer(&self.handle).ok()?;
        let (kind, form) = key.signed_form();
        let is_ours = signer.verify(bytes, kind, &form, mode::PICKLE) == Verdict::Ours;
        let bytes = if is_ours { &bytes[..bytes.len() - TRAILER_LEN] } else { bytes };
        Some(ValueRef::Pickle { bytes, signed: is_ours })
    }
}

/// Shows `f` the entry of a key that the hot tier knows, and counts that as a read. Returns `Ok(None)` if there is no
/// such entry. It neither waits nor enters the kernel: a caller that holds a lock of its own, such as that of an
/// interpreter, may hold it meanwhile.
///
/// Returns `Err` if [`entry_after`](super::read::entry_after) must be asked: without a tier, at the first read after a pause,
/// if the tier does not know the key, if the entry has expired, and if `f` declines with `None`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::Cache;
/// use dolium::host::{self, ValueRef};
///
/// let cache = Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// cache.set("answer", 42)?;
/// assert!(cache.contains("answer")?);
/// let shown = host::try_get(&cache, &"answer".into(), |entry| Some(entry.value == ValueRef::Int(42)));
/// assert_eq!(shown, Ok(Some(true)));
/// # Ok::<(), dolium::Error>(())
/// ```
// What is passed back is small: moving what was written piece by piece costs more than all the rest.
#[inline]
pub fn try_get<T>(
    cache: &Cache,
    key: &Key<'_>,
    f: impl FnOnce(EntryRef<'_>) -> Option<T>,
) -> Result<Option<T>, Unanswered> {
    cache.try_view(key, |view| f(EntryRef { value: cache.value_in(key, &view)?, view }))
}

/// Which of many keys the hot tier has answered, and when: see [`try_get_many`].
#[derive(Debug)]
#[must_use = "`get_rest` looks up the rest of the keys"]
pub struct Glimpse {
    moment: Moment,
    epoch: u64,
    /// How many keys were answered, and how many of these have an entry.
    known: usize,
    hits: usize,
    /// The positions of the keys without an answer.
    pub rest: Vec<usize>,
}

impl Glimpse {
    fn count(&self, cache: &Cache, tier: &Tier) {
        cache.count_lookups(tier, self.known, self.hits);
        cache.count_reads(tier, self.known, self.hits);
    }
}

/// Shows `f` the entries that the hot tier knows of many keys, with their positions, as [`try_get`] does for each. All
/// answers are of one moment; a key that is neither shown nor in [`Glimpse::rest`] has no entry. The rest is for
/// [`get_rest`], and only together with its answers do these ones count.
///
/// Returns `None` if nothing that was shown counts: then call [`Cache::get_many`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, host};
///
/// let cache = Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// cache.set("answer", 42)?;
/// assert!(cache.contains("answer")?);
/// let mut shown = Vec::new();
/// let keys = ["answer".into(), "question".into()];
/// let glimpse = host::try_get_many(&cache, &keys, |at, entry| {
///     shown.push((at, entry.value.into()));
///     true
/// });
/// assert_eq!(shown, [(0, dolium::Value::Int(42))]);
/// let glimpse = glimpse.expect("no other process writes");
/// assert_eq!(glimpse.rest, [1], "only the database can tell");
/// assert_eq!(host::get_rest(&cache, &glimpse, &keys[1..])?, Some(vec![None]));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn try_get_many<'k>(
    cache: &Cache,
    keys: impl IntoIterator<Item = impl Borrow<Key<'k>>>,
    mut f: impl FnMut(usize, EntryRef<'_>) -> bool,
) -> Option<Glimpse> {
    if cache.in_transaction() {
        return None;
    }
    let look = |tier: &Tier| {
        let moment = tier.moment()?;
        let (mut rest, mut hits, mut asked) = (Vec::new(), 0, 0);
        for (position, key) in keys.into_iter().enumerate() {
            let key = key.borrow();
            asked += 1;
            // As in `try_view`: what has expired is left to the general way.
            let known = key.with_hot(|hot| {
                let known = tier.get(hot, |view, access| {
                    if !view.kind().has_row() {
                        return Some(false);
                    }
                    let value = alive_value(cache, key, &view)?;
                    let is_shown = f(position, EntryRef { value, view });
                    is_shown.then(|| cache.note(access))?;
                    Some(true)
                });
                let is_absent = || cache.handle.reads.absences.tell(tier, hot, FOLLOWED_AT_ONCE);
                known.unwrap_or_else(|| is_absent().then_some(false))
            });
            match known {
                Some(is_found) => hits += usize::from(is_found),
                None => rest.push(position),
            }
        }
        let glimpse = Glimpse { moment, epoch: tier.epoch(), known: asked - rest.len(), hits, rest };
        if glimpse.rest.is_empty() {
            tier.is_still(moment).then(|| glimpse.count(cache, tier))?;
        }
        Some(glimpse)
    };
    cache.handle.tier.with_tier_to_answer(look)?
}

fn alive_value<'v>(cache: &Cache, key: &Key<'_>, view: &View<'v>) -> Option<ValueRef<'v>> {
    if cache.is_alive(view) { cache.value_in(key, view) } else { None }
}

/// The values of the keys that [`try_get_many`] has left, in their order, of the moment of its answers. It may wait, and
/// read the disk. Returns `None` if others have changed something meanwhile.
pub fn get_rest(cache: &Cache, glimpse: &Glimpse, rest: &[Key<'_>]) -> Result<Option<Vec<Option<Value>>>> {
    let now = cache.clock.now();
    let tier = cache.handle.tier.get().filter(|tier| tier.epoch() == glimpse.epoch);
    let Some(tier) = tier else { return Ok(None) };
    let Some(rows) = cache.look_up_at(&tier, glimpse.moment, rest, now)? else { return Ok(None) };
    glimpse.count(cache, &tier);
    let values = rest.iter().zip(rows).map(|(key, row)| cache.value_of_row(key, row, now));
    values.collect::<Result<_>>().map(Some)
}

/// Whether a key is there, if the hot tier knows; as [`try_get`], but it does not count as a read.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// cache.set("answer", 42)?;
/// assert!(cache.contains("answer")?);
/// assert_eq!(dolium::host::try_contains(&cache, &"answer".into()), Some(true));
/// assert_eq!(dolium::host::try_contains(&cache, &"question".into()), None);
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn try_contains(cache: &Cache, key: &Key<'_>) -> Option<bool> {
    if cache.in_transaction() {
        return None;
    }
    let look = |tier: &Tier| {
        key.with_hot(|hot| {
            let is_absent = || cache.handle.reads.absences.tell(tier, hot, FOLLOWED_AT_ONCE);
            let known = tier.get(hot, |view, _| cache.is_alive(&view));
            known.or_else(|| is_absent().then_some(false))
        })
    };
    cache.handle.tier.with_tier_to_answer(look)?
}

/// Stores a number, or text or bytes that need no file, in the hot tier, if that needs no waiting. It enters the kernel only to
/// wake the thread that drains.
///
/// Returns `false` if nothing has happened: then call [`Cache::set_with`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, PutOptions, host};
///
/// let cache = Cache::open(dir.path())?;
/// assert!(!host::try_set(&cache, &"answer".into(), 42, &PutOptions::new()), "the first use attaches");
/// cache.set("question", "?")?;
/// assert!(host::try_set(&cache, &"answer".into(), 42, &PutOptions::new()));
/// assert_eq!(cache.get("answer")?, Some(42.into()));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn try_set<'v>(
    cache: &Cache,
    key: &Key<'_>,
    value: impl Into<Payload<'v>>,
    options: &PutOptions,
) -> bool {
    let value = match value.into() {
        Payload::Int(value) => Cell::Int(value),
        Payload::Float(value) if !value.is_nan() => Cell::Real(value),
        Payload::Text(value) => Cell::Text(value.as_bytes()),
        Payload::Bytes(value) => Cell::Blob(value),
        _ => return false,
    };
    let is_simple = value.len() < cache.handle.settings.plain_size().min(COPIED) && !cache.in_transaction();
    is_simple
        && cache.handle.tier.lock.with_tier(|tier| cache.append(tier, key, value, options)) == Some(true)
}

/// A value that becomes a column as it is, if it is shorter than that.
#[inline]
pub(super) fn plain<'v>(payload: &Payload<'v>, shorter_than: usize) -> Option<Cell<'v>> {
    let value = match *payload {
        Payload::Int(value) => Cell::Int(value),
        Payload::Float(value) if !value.is_nan() => Cell::Real(value),
        Payload::Text(value) => Cell::Text(value.as_bytes()),
        Payload::Bytes(value) => Cell::Blob(value),
        _ => return None,
    };
    (value.len() < shorter_than).then_some(value)
}

/// The row of such a value.
#[inline]
pub(super) fn new_row<'r>(value: Cell<'r>, options: &'r PutOptions, now: Timestamp) -> dolium_hot::Row<'r> {
    dolium_hot::Row {
        store_time: options.time(now),
        expire_time: options.expire.at(now),
        tag: cell(&options.tag),
        size: 0,
        mode: mode::RAW,
        filename: None,
        value,
        note: CULLS,
    }
}

/// Adds to a number that the hot tier knows, if that needs no waiting, and returns the sum.
///
/// Returns `None` if nothing has happened: then call [`Cache::incr`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// assert_eq!(dolium::host::try_incr(&cache, &"visits".into(), 1), None, "there is no such key");
/// cache.set("visits", 41)?;
/// assert!(cache.contains("visits")?);
/// assert_eq!(dolium::host::try_incr(&cache, &"visits".into(), 1), Some(42.into()));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn try_incr(cache: &Cache, key: &Key<'_>, delta: impl Into<Number>) -> Option<Number> {
    let delta = delta.into();
    let add = |row| {
        let sum = number(&row)?.plus(delta)?;
        // Not a number: it would be a pickle, and the key may have to come from its file before it can be signed.
        let columns = sum.columns().ok_or(Error::NotANumber)?;
        Ok(Change::value(row, columns, cache.clock.now(), sum))
    };
    cache.try_change(key, row_of, add)
}

/// Removes an entry that the hot tier knows, if that needs no waiting.
///
/// Returns `false` if nothing has happened: then call [`Cache::delete`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// cache.set("answer", 42)?;
/// assert!(cache.contains("answer")?);
/// assert!(dolium::host::try_delete(&cache, &"answer".into()));
/// assert!(!dolium::host::try_delete(&cache, &"answer".into()), "it is gone");
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn try_delete(cache: &Cache, key: &Key<'_>) -> bool {
    cache.try_change(key, |_| Some(()), |()| Ok(Change::Delete(()))).is_some()
}
