//! One key of a bulk call: what it stores or removes, and what becomes of it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use dolium_hot::{Cell, Kind, PendingRecord, View};

use crate::sqlite::tier::CULLS;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::value_files::NewFile;
use crate::value::frame::Frame;
use crate::value::key::Key;
use crate::value::put_options::{PutOptions, is_alive};
use crate::value::{Row, mode};

use super::frame::is_raised;
use super::nonblocking::new_row;
use super::prepare::Prepared;
use super::record::{pending_record, stage};

/// Keys up to which each is compared with all before it: that is quicker than a table.
const FEW: usize = 16;

/// A hash that already is one.
#[derive(Default)]
pub(super) struct Known64(u64);

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
pub(super) enum Last {
    Few([u64; FEW], usize),
    Many(HashMap<u64, usize, BuildHasherDefault<Known64>>),
}

impl Last {
    pub(super) fn of(keys: usize) -> Self {
        if keys <= FEW {
            Self::Few([0; FEW], 0)
        } else {
            Self::Many(HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default()))
        }
    }

    /// Notes the next key, at a position. Returns where it was before.
    pub(super) fn note(&mut self, hash: u64, at: usize) -> Option<usize> {
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

/// What an item does to its key.
pub(super) enum Content<'v> {
    /// Stores a column that is copied only once, into its record.
    Plain(Cell<'v>),
    /// Stores what was pickled, framed, signed or written to a file.
    Prepared(Box<Prepared>),
    /// Removes the key.
    Nothing,
}

/// One key of a bulk call.
pub(super) struct Item<'k, 'v> {
    pub(super) key: Key<'k>,
    pub(super) content: Content<'v>,
}

/// Which keys a call changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// All of them.
    All,
    /// Those without an entry.
    Absent,
    /// Those with a row. One that has expired goes, too, and does not count.
    Present,
}

/// What the records of a call have in common.
pub(super) struct Stamp<'o> {
    pub(super) expire_time: Option<Timestamp>,
    pub(super) store_time: Timestamp,
    pub(super) options: &'o PutOptions,
    pub(super) now: Timestamp,
}

/// What a call must know of the row of a key.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) expire_time: Option<Timestamp>,
    /// The row keeps an exception, which is no value.
    pub(super) is_raised: bool,
}

/// What becomes of a key.
#[derive(Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) is_changed: bool,
    pub(super) counts: bool,
}

impl Known {
    pub(super) fn of_view(view: &View<'_>) -> Option<Self> {
        let is_raised = || match view.value() {
            Some(Cell::Blob(stored)) if !view.has_file() => Frame::is_raised(stored),
            _ => false,
        };
        view.kind().has_row().then(|| Self {
            expire_time: view.expire_time(),
            is_raised: view.mode() == mode::FRAME && is_raised(),
        })
    }

    pub(super) fn of_row(row: &Row) -> Self {
        let columns = &row.columns;
        Self {
            expire_time: row.expire_time,
            is_raised: columns.mode == mode::FRAME && is_raised(&columns.value),
        }
    }
}

impl Change {
    pub(super) fn outcome(self, known: Option<Known>, now: Timestamp) -> Outcome {
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
    pub(super) fn of(options: &'o PutOptions, now: Timestamp) -> Self {
        Self { expire_time: options.expire.at(now), store_time: options.time(now), options, now }
    }
}

impl Item<'_, '_> {
    pub(super) fn record(&mut self, stamp: &Stamp<'_>) -> Result<PendingRecord> {
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
    pub(super) fn known(&self, stamp: &Stamp<'_>) -> Option<Known> {
        let is_raised = match &self.content {
            Content::Nothing => return None,
            Content::Prepared(value) => match &**value {
                Prepared::Ready { columns, .. } => columns.mode == mode::FRAME && is_raised(&columns.value),
                Prepared::Signed { .. } => false,
            },
            Content::Plain(_) => false,
        };
        Some(Known { expire_time: stamp.expire_time, is_raised })
    }

    pub(super) fn file(&self) -> Option<Arc<NewFile>> {
        if let Content::Prepared(value) = &self.content { value.file() } else { None }
    }
}
