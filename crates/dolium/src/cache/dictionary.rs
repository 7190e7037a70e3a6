//! Dictionaries of a cache, as a codec and the upkeep of a cache use them.

use std::sync::Arc;

use crate::sqlite::Write;
use crate::sqlite::dictionaries::{self, Added, Stored};
use crate::store::dictionaries::RETIRING;
use crate::store::{Handle, training};
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::dictionary::{Dictionary, number};
use crate::value::filters::{Zstd, undo};
use crate::value::frame::{Frame, Head};
use crate::value::zstandard::SHORTEST;

use super::{Cache, Problem};

/// Values that have much in common, and share a dictionary once enough of them have come.
///
/// A small value names the number of its dictionary in its frame. As long as there is none it names the number of the
/// group, so that the keeper finds it among all entries.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, raw};
///
/// let cache = Cache::open(dir.path())?;
/// let group = raw::group(&cache, "app.page()");
/// assert!(group.takes(1000) && group.current().is_none());
/// assert_eq!(group.number(), raw::group(&cache, "app.page()").number());
/// # Ok::<(), dolium::Error>(())
/// ```
#[derive(Clone)]
pub struct Group {
    handle: Arc<Handle>,
    group: Arc<crate::store::dictionaries::Group>,
}

impl Group {
    /// What its values name as long as there is no dictionary.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.group.number
    }

    /// Whether a value of this length is small, so that it belongs to the group.
    #[must_use]
    pub fn takes(&self, length: usize) -> bool {
        (SHORTEST as u64..=training::SMALL).contains(&(length as u64))
    }

    /// Returns the dictionary for new values. One that another process has adopted is noticed within a second.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Dictionary>> {
        self.group.current(&self.handle)
    }

    /// Counts a small value that is about to be stored. The keeper trains when enough have come.
    pub fn count(&self) {
        self.group.count(&self.handle);
    }

    /// Compresses a value that is about to be stored, with the dictionary of the group if the value is small and there is
    /// one. Returns the filters and what they make, or `None` if the value is stored as it is, and the number for the frame's
    /// field.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use dolium::raw::{self, Zstd, filter};
    ///
    /// let cache = dolium::Cache::open(dir.path())?;
    /// let group = raw::group(&cache, "app.page()");
    /// let (packed, number) = group.compress(Zstd::new(3), &b"spam and eggs, ".repeat(20));
    /// assert_eq!(packed.map(|(filters, _)| filters), Some(vec![filter::ZSTD]));
    /// assert_eq!(number, Some(group.number()), "there is no dictionary yet");
    /// # Ok::<(), dolium::Error>(())
    /// ```
    #[must_use]
    pub fn compress(&self, zstd: Zstd<'_>, body: &[u8]) -> (Option<Compressed>, Option<u32>) {
        if !self.takes(body.len()) {
            return (zstd.apply(body), None);
        }
        self.count();
        let current =
            self.current().and_then(|current| Some((current.encoder(zstd.level)?, current.number())));
        match current {
            Some((encoder, number)) => {
                let packed = zstd.dictionary(Some(&*encoder)).apply(body);
                let number = if packed.is_some() { number } else { self.number() };
                (packed, Some(number))
            }
            None => (zstd.apply(body), Some(self.number())),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.group.name).finish_non_exhaustive()
    }
}

/// The filters, and what they make.
pub type Compressed = (Vec<u8>, Vec<u8>);

/// The group of a name: that of a function, or the empty one for all values of the cache.
#[must_use]
pub fn group(cache: &Cache, name: &str) -> Group {
    let group = cache.handle.first_shard().upkeep.dictionaries.group(name);
    Group { handle: Arc::clone(&cache.handle), group }
}

/// The dictionary of a number. Returns `None` if it is gone or damaged, which makes its values misses.
pub fn dictionary(cache: &Cache, number: u32) -> Result<Option<Arc<Dictionary>>> {
    cache.handle.dictionary(number, cache.wait)
}

/// The dictionary of a number, if this process has used it already. Neither waits nor asks the kernel.
#[must_use]
pub fn loaded_dictionary(cache: &Cache, number: u32) -> Option<Arc<Dictionary>> {
    cache.handle.first_shard().upkeep.dictionaries.loaded(number)
}

/// A dictionary as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredDictionary {
    /// What values name.
    pub number: i64,
    /// The group that it was trained for.
    pub group: String,
    /// When it was adopted.
    pub adopted: Timestamp,
    /// Its bytes, or `None` if they are damaged.
    pub bytes: Option<Vec<u8>>,
}

impl StoredDictionary {
    /// A dictionary of a group, whose number follows from its bytes.
    #[must_use]
    pub fn new(group: impl Into<String>, adopted: Timestamp, bytes: Vec<u8>) -> Self {
        Self { number: number(&bytes).into(), group: group.into(), adopted, bytes: Some(bytes) }
    }
}

/// All dictionaries of a cache, by the time of their adoption. Those of a shard are its cache's.
pub fn dictionaries(cache: &Cache) -> Result<Vec<StoredDictionary>> {
    let first = cache.handle.first_shard();
    let stored = first.read_now(cache.wait, |connection| dictionaries::all(connection))?;
    let seen =
        |Stored { number, group, adopted, bytes, .. }| StoredDictionary { number, group, adopted, bytes };
    Ok(stored.into_iter().map(seen).collect())
}

/// The names of the groups that this cache knows: those with a dictionary, and those whose values it has counted.
pub fn groups(cache: &Cache) -> Result<Vec<String>> {
    let first = cache.handle.first_shard();
    let mut names = first.read_now(cache.wait, |connection| dictionaries::counted_groups(connection))?;
    names.extend(dictionaries(cache)?.into_iter().map(|stored| stored.group));
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Stores a dictionary as it was in another cache. Returns whether values that name it can be read now: not if it is
/// damaged, or the cache has as many as it may have.
pub fn restore_dictionary(cache: &Cache, stored: &StoredDictionary) -> Result<bool> {
    let Some(dictionary) = stored.bytes.clone().and_then(Dictionary::new) else { return Ok(false) };
    if i64::from(dictionary.number()) != stored.number {
        return Ok(false);
    }
    let added = cache.handle.first_shard().write(cache.wait, |write| {
        write.changes([]);
        dictionaries::add(write.connection(), &stored.group, stored.adopted, dictionary.bytes())
    })?;
    Ok(matches!(added, Added::Done | Added::Already))
}

/// What the values of one dictionary, or of one encoder and its filters, take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How many entries.
    pub entries: u64,
    /// Their bytes as they are stored.
    pub stored: u64,
    /// The bytes of their values before any filter.
    pub before: u64,
}

/// How values are stored: the number of the encoder, the numbers of the filters, and the number in the field of the
/// dictionary.
pub type Storing = (u8, Vec<u8>, Option<u32>);

/// Rows that one look goes through.
const AT_ONCE: u32 = 1024;

/// Counts the frames of one store by how their values are stored. Reads the head of each, a thousand rows at a time.
pub fn usage(cache: &Cache) -> Result<Vec<(Storing, Usage)>> {
    let mut sums: Vec<(Storing, Usage)> = Vec::new();
    let mut below = i64::MAX;
    loop {
        let (found, next) = cache.handle.read_on(cache.wait, |connection| {
            let mut found = Vec::new();
            let next = dictionaries::frames_below(connection, below, AT_ONCE, |_, head, file| {
                found.push((head.map(<[u8]>::to_vec), file));
            })?;
            Ok((found, next))
        })?;
        for (head, file) in found {
            let head = match file {
                Some(file) => cache.handle.values.head(&file, Frame::HEAD),
                None => head,
            };
            let Some(Head { frame, stored, .. }) = head.as_deref().and_then(Frame::peek) else { continue };
            let storing = (frame.encoder, frame.filters.to_vec(), frame.dictionary);
            let place = sums.iter().position(|(other, _)| *other == storing).unwrap_or_else(|| {
                sums.push((storing, Usage::default()));
                sums.len() - 1
            });
            let usage = &mut sums[place].1;
            usage.entries += 1;
            usage.stored = usage.stored.saturating_add(stored);
            usage.before = usage.before.saturating_add(frame.length);
        }
        match next {
            Some(next) => below = next,
            None => return Ok(sums),
        }
    }
}

impl Cache {
    /// Undoes the filters of a frame, with the dictionary that it names. Returns how many filters are left, which this
    /// crate does not know, and the bytes. Returns `None` if they are damaged, or the dictionary is gone.
    pub(super) fn undo(&self, frame: &Frame<'_>) -> Result<Option<(usize, Vec<u8>)>> {
        let used = match frame.needed_dictionary() {
            Some(number) => self.handle.dictionary(number, self.wait)?,
            None => None,
        };
        let undone = undo(frame.filters, frame.body, used.as_deref().map(Dictionary::decoder));
        Ok(undone.filter(|(left, bytes)| *left > 0 || bytes.len() as u64 == frame.length))
    }

    /// What of the dictionaries is damaged, and which of them no value uses, in any shard. Only the store of the
    /// dictionaries has any.
    pub(super) fn inspect_dictionaries(&self, problems: &mut Vec<Problem>) -> Result<Vec<Inspected>> {
        if !Arc::ptr_eq(&self.handle, self.handle.first_shard()) {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let stored = self.handle.read_now(self.wait, |connection| dictionaries::all(connection))?;
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let mut used = Vec::new();
        let siblings = self.handle.siblings();
        let shards = if siblings.is_empty() { vec![Arc::clone(&self.handle)] } else { siblings };
        for handle in shards {
            let shard = Self { handle, ..self.clone() };
            used.extend(usage(&shard)?.into_iter().filter_map(|((_, _, number), _)| number));
        }
        let mut inspected = Vec::new();
        for (place, dictionary) in stored.iter().enumerate() {
            if dictionary.bytes.is_none() {
                problems.push(Problem::Dictionary(dictionary.number));
                inspected.push(Inspected { dictionary: dictionary.clone(), remains: Remains::Damaged });
                continue;
            }
            let is_used = used.iter().any(|number| i64::from(*number) == dictionary.number);
            // Since another has taken its place, or a check has found it unused.
            let successor = stored[place + 1..].iter().find(|other| other.group == dictionary.group);
            let retired = dictionary.unused.or(successor.map(|successor| successor.adopted));
            let remains = match retired {
                _ if is_used => Remains::Used,
                Some(since) if now - since >= RETIRING => Remains::Unused,
                _ => Remains::Retired(dictionary.unused.unwrap_or(now)),
            };
            inspected.push(Inspected { dictionary: dictionary.clone(), remains });
        }
        Ok(inspected)
    }
}

/// A dictionary as a check has found it.
pub(super) struct Inspected {
    dictionary: Stored,
    remains: Remains,
}

#[derive(Clone, Copy, PartialEq)]
enum Remains {
    Damaged,
    Used,
    /// No value uses it, but a process may be about to store one.
    Retired(Timestamp),
    /// No value uses it, nor will one.
    Unused,
}

/// Removes what is damaged or unused. What was found unused for the first time is no longer for new values.
pub(super) fn fix_dictionaries(write: &Write<'_>, inspected: &[Inspected]) -> Result<()> {
    let connection = write.connection();
    for Inspected { dictionary, remains } in inspected {
        match remains {
            Remains::Damaged | Remains::Unused => dictionaries::remove(connection, dictionary)?,
            Remains::Used if dictionary.unused.is_some() => {
                dictionaries::set_unused(connection, dictionary.number, None)?;
            }
            Remains::Retired(since) if dictionary.unused != Some(*since) => {
                dictionaries::set_unused(connection, dictionary.number, Some(*since))?;
            }
            Remains::Used | Remains::Retired(_) => {}
        }
    }
    Ok(())
}
