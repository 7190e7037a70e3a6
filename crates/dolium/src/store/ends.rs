//! Owns what this process knows of the ends of queues, and how the log of the tier moves them.
//!
//! A process reads the ends of a queue from the database once. From then on it follows the log: each record of the queue
//! moves them. Nothing here is shared, so a kill leaves nothing behind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use dolium_hot::{Tier, View};

use crate::sqlite::queue::{Side, Window};
use crate::system::fork_gate;
use crate::value::key::{Key, QueuePlace};

use super::followed::Followed;
use super::span::Span;

/// Queues of a directory that a process knows at a time.
const KNOWN: usize = 256;

/// The ends of a queue at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    followed: Followed,
    /// What the tier had counted of changes that may add rows and that the log does not name. `None` if one was announced: the
    /// database may have been read before it.
    additions: Option<u64>,
    /// All items have numbers from `front` to `back`, but some of these may be missing. There are no items if `front`
    /// is above.
    front: i64,
    back: i64,
    /// Between these two numbers there may be keys that are no numbers of the queue: that part was not read.
    unread: Option<(i64, i64)>,
    /// How many keys at an end were read at once.
    depth: u16,
}

/// What is known of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No item lies beyond this number.
    At(i64),
    /// The queue has no items.
    Empty,
    /// That must be read.
    Unread,
}

impl Ends {
    /// What the database had. `offset`: up to there, the database has all changes. `additions`: what the tier had counted, if
    /// nothing was announced. Both are of a moment before the read.
    pub fn new(window: &Window, offset: u64, additions: Option<u64>) -> Self {
        let Window { epoch, seq, front, back, unread, depth } = *window;
        Self { followed: Followed::new(epoch, seq, offset), additions, front, back, unread, depth }
    }

    /// The number of the last change that these ends know.
    pub fn seq(&self) -> u64 {
        self.followed.seq()
    }

    /// The numbers outside of which there are no items.
    pub fn range(&self) -> (i64, i64) {
        (self.front, self.back)
    }

    /// How many keys at an end were read at once.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// Follows the log to its end. Returns `false` if these ends are of no use any more: there was a direct commit, the
    /// log has lost records, or has more than `most` bytes of them.
    pub fn follow(&mut self, tier: &Tier, prefix: Option<&str>, most: u64) -> bool {
        // A bulk write beside the log has no sequence number.
        if self.additions != Some(tier.additions()) {
            return false;
        }
        let mut followed = self.followed;
        let is_known = followed.follow(tier, most, |view| self.apply(view, prefix));
        self.followed = followed;
        is_known
    }

    /// Applies a record. Returns `false` if its key has no place between numbers.
    fn apply(&mut self, view: &View<'_>, prefix: Option<&str>) -> bool {
        match Key::queue_place(view.key(), prefix) {
            None => {}
            Some(QueuePlace::Between) => return !view.kind().has_row(),
            Some(QueuePlace::Number(number)) if view.kind().has_row() => self.add(number),
            Some(QueuePlace::Number(number)) => self.remove(number),
        }
        true
    }

    fn add(&mut self, number: i64) {
        if self.front > self.back {
            (self.front, self.back, self.unread) = (number, number, None);
        }
        self.front = self.front.min(number);
        self.back = self.back.max(number);
    }

    fn remove(&mut self, number: i64) {
        if number == self.front {
            self.front += 1;
        } else if number == self.back {
            self.back -= 1;
        }
    }

    /// What is known of one end.
    pub fn end(&self, side: Side) -> End {
        let number = if side == Side::Front { self.front } else { self.back };
        match self.unread {
            Some((from, to)) if from < number && number < to => End::Unread,
            _ if self.front > self.back => End::Empty,
            _ => End::At(number),
        }
    }

    /// Passes over the number at one end, which has no item.
    pub fn pass(&mut self, side: Side) {
        let number = if side == Side::Front { self.front } else { self.back };
        self.remove(number);
    }
}

/// The queues that this process knows. What is here was true at its place in the log, so any thread may use it.
#[derive(Debug, Default)]
pub(crate) struct KnownQueues {
    known: Mutex<Known>,
    /// All keys were seen to be integers, and the database does not say so.
    is_unnoted: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// The queue without a prefix.
    plain: Option<Ends>,
    named: HashMap<Box<str>, Ends>,
    /// That queue, if it is all of the cache and has no holes.
    span: Option<Span>,
}

impl KnownQueues {
    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        let _inside = fork_gate::enter();
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The ends of a queue, if they are known.
    pub fn get(&self, prefix: Option<&str>) -> Option<Ends> {
        self.with(|known| prefix.map_or(known.plain, |prefix| known.named.get(prefix).copied()))
    }

    /// Remembers the ends of a queue.
    pub fn put(&self, prefix: Option<&str>, ends: Ends) {
        self.with(|known| {
            let Some(prefix) = prefix else {
                known.plain = Some(ends);
                return;
            };
            if let Some(before) = known.named.get_mut(prefix) {
                *before = ends;
                return;
            }
            if known.named.len() >= KNOWN {
                known.named.clear();
            }
            known.named.insert(prefix.into(), ends);
        });
    }

    /// Forgets the ends of a queue.
    pub fn forget(&self, prefix: Option<&str>) {
        self.with(|known| match prefix {
            None => known.plain = None,
            Some(prefix) => {
                known.named.remove(prefix);
            }
        });
    }

    /// The queue that is all of the cache, if it is known.
    pub fn span(&self) -> Option<Span> {
        self.with(|known| known.span)
    }

    /// Remembers that queue, or forgets it.
    pub fn put_span(&self, span: Option<Span>) {
        self.with(|known| known.span = span);
    }

    /// All keys were seen to be integers: the next drain notes it.
    pub fn ask_for_note(&self) {
        self.is_unnoted.store(true, Relaxed);
    }

    /// Whether a drain has to note that.
    pub fn takes_note(&self) -> bool {
        self.is_unnoted.load(Relaxed) && self.is_unnoted.swap(false, Relaxed)
    }
}
