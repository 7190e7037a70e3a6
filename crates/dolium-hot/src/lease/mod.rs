//! Leases: which process computes which key, so that other processes wait for its result. A lease dies with its owner.
//!
//! A lease is advice. It guards no data, so everything that goes wrong with it costs a second computation at most: a
//! full table, a removed file, a process that another version of dolium runs. Nothing here waits for an owner but
//! [`Leases::sleep`], and that has a limit.
//!
//! `cache.lease` holds a table in shared memory (`table.rs`) where the directory is fit for it, and else nothing but byte
//! locks (`bytes.rs`). Either way a lock on a byte of that very file, which the kernel releases when its process dies, says
//! that the owner lives.

mod bytes;
mod file;
mod table;

use crate::lock::lockfile::Paths;
use crate::system::access::Access;
use crate::system::error::AttachError;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use table::Table;

/// A process's part in the leases of a directory. Clones are the same.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Table(Table),
    Bytes(Bytes),
}

/// A lease as it was seen: it is over as soon as its place says anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    place: u64,
    serial: u16,
}

/// For which leases of other processes owners wait.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Leases of the caller's, each with those for which its owner waits.
    pub waits: Vec<(Watch, Vec<Watch>)>,
    /// Those for which a wait is about to begin.
    pub goals: Vec<Watch>,
}

/// How a computation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Without a result: its owner died or was interrupted, or the table does not tell.
    Left,
    /// The result is stored.
    Kept,
    /// There is a result, but it is not stored: each process has to compute its own.
    Unkept,
    /// It failed.
    Failed,
}

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller computes. It has to [`release`](Leases::release) the lease.
    Ours(Watch),
    /// A living process computes.
    Theirs(Watch),
    /// All places are taken: the caller computes without a lease.
    Full,
    /// Leases cannot be had at the moment, or these files were replaced.
    Lost,
}

impl Leases {
    /// Joins the leases of `directory`, which must exist, and makes `cache.lease` there if need be.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let directory = Paths::of(directory)?.directory;
        let kind = match Table::attach(&directory, access) {
            Ok(table) => Kind::Table(table),
            // Without memory the file is still good for locks.
            Err(_) => Kind::Bytes(Bytes::attach(&directory, access)?),
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Whether the leases know which process waits for which, and how a computation ended. Where they do not, waiting
    /// needs a limit.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(*self.0, Kind::Table(_))
    }

    /// Asks for the lease of a key, given as a hash of it. The caller must not have it already.
    #[must_use]
    pub fn claim(&self, mark: u128) -> Claim {
        match &*self.0 {
            Kind::Table(table) => table.claim(mark),
            Kind::Bytes(bytes) => bytes.claim(mark),
        }
    }

    /// Ends a lease that [`claim`](Self::claim) gave to the caller. Never waits. Does nothing in a forked child.
    pub fn release(&self, lease: Watch, outcome: Outcome) {
        match &*self.0 {
            Kind::Table(table) => table.release(lease, outcome),
            Kind::Bytes(bytes) => bytes.release(lease),
        }
    }

    /// How the computation ended; `None` while it goes on. From now on its end rings the bell.
    #[must_use]
    pub fn outcome(&self, watch: Watch) -> Option<Outcome> {
        match &*self.0 {
            Kind::Table(table) => table.outcome(watch),
            Kind::Bytes(bytes) => bytes.outcome(watch),
        }
    }

    /// Ends the lease if its owner is dead.
    pub fn probe(&self, watch: Watch) {
        if let Kind::Table(table) = &*self.0 {
            table.probe(watch);
        }
    }

    /// What to pass to [`sleep`](Self::sleep): to be read before [`outcome`](Self::outcome).
    #[must_use]
    pub fn bell(&self) -> u32 {
        match &*self.0 {
            Kind::Table(table) => table.bell(),
            Kind::Bytes(_) => 0,
        }
    }

    /// Rings the bell: all sleepers look around.
    pub fn ring(&self) {
        if let Kind::Table(table) = &*self.0 {
            table.ring();
        }
    }

    /// Sleeps until the bell has rung since `seen`, or as long as `at_most`; a moment where there is no bell.
    pub fn sleep(&self, seen: u32, at_most: Duration) {
        match &*self.0 {
            Kind::Table(table) => table.sleep(seen, at_most),
            Kind::Bytes(_) => std::thread::sleep(at_most.min(bytes::PAUSE)),
        }
    }

    /// Says for which leases of other processes the owner of each lease waits, in place of what was said before. `links`
    /// tells that, with the goals of waits that are about to begin, while the table is locked. `false` if one of these
    /// would close a circle, or there is no room to say so; what was said stays.
    #[must_use]
    pub fn link(&self, links: impl FnOnce() -> Links) -> bool {
        match &*self.0 {
            Kind::Table(table) => table.link(links),
            Kind::Bytes(_) => true,
        }
    }

    /// How often the table was full, in all processes since it was made.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        match &*self.0 {
            Kind::Table(table) => table.overflows(),
            Kind::Bytes(_) => 0,
        }
    }

    /// Whether both are clones of one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it was attached by an ancestor of this process.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match &*self.0 {
            Kind::Table(table) => table.is_stale(),
            Kind::Bytes(bytes) => bytes.is_stale(),
        }
    }
}
