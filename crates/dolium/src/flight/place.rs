//! Where flights are shared: a number for the board, and for a cache the leases of its directory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dolium_hot::{Access, Claim, Leases};

use super::{Asked, Joined};
use crate::system::files;
use crate::system::fork_gate;

/// What a cache has of it. Leases come with the first computation that is shared, so that opening a cache costs nothing.
pub(crate) struct Place {
    id: u64,
    leases: Mutex<Option<Leases>>,
    /// Computations for which there was no lease.
    overflows: AtomicU64,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Place {
    pub fn new() -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            leases: Mutex::default(),
            overflows: AtomicU64::new(0),
        }
    }

    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    fn known(&self) -> Option<Leases> {
        let _pass = fork_gate::enter();
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.clone().filter(|leases| !leases.is_stale())
    }

    fn keep(&self, leases: Option<&Leases>) {
        let former = {
            let _pass = fork_gate::enter();
            std::mem::replace(
                &mut *self.leases.lock().unwrap_or_else(PoisonError::into_inner),
                leases.cloned(),
            )
        };
        drop(former);
    }

    fn attach(&self, directory: &Path) -> Option<Leases> {
        let rights = Access::like(&directory.join(files::DATABASE)).or_else(|_| Access::within(directory));
        let leases = Leases::attach(directory, rights.unwrap_or_default()).ok()?;
        self.keep(Some(&leases));
        Some(leases)
    }

    /// Lets go of the leases. Flights that go on keep theirs.
    pub fn close(&self) {
        self.keep(None);
    }
}

/// The callers among whom a key is computed once.
pub struct Space<'a>(Kind<'a>);

enum Kind<'a> {
    Process(u64),
    Cache(&'a Place, PathBuf),
}

impl<'a> Space<'a> {
    /// One of this process alone. Each is another.
    #[must_use]
    pub fn new_id() -> u64 {
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// The space of a number of [`new_id`](Self::new_id).
    #[must_use]
    pub fn of_process(id: u64) -> Self {
        Self(Kind::Process(id))
    }

    /// Joins the flight of a key, given by bytes that say which it is, or begins one.
    pub fn join(&self, key: &[u8], asked: Asked<'_>) -> Joined {
        super::join(self, mark(0, key), asked)
    }

    /// All processes that use the cache in a directory.
    pub(crate) fn of_cache(place: &'a Place, directory: PathBuf) -> Self {
        Self(Kind::Cache(place, directory))
    }

    /// The callers in this process that use a cache.
    pub(crate) fn of_place(place: &Place) -> Self {
        Self(Kind::Process(place.id))
    }

    pub(super) fn id(&self) -> u64 {
        match &self.0 {
            Kind::Process(id) => *id,
            Kind::Cache(place, _) => place.id,
        }
    }

    /// Asks for the lease of a key. `None` where processes share none.
    pub(super) fn claim(&self, mark: u128) -> Option<(Leases, Claim)> {
        let Kind::Cache(place, directory) = &self.0 else { return None };
        // The file may have been replaced since it was mapped.
        for _ in 0..2 {
            let leases = place.known().or_else(|| place.attach(directory))?;
            match leases.claim(mark) {
                Claim::Lost => place.close(),
                Claim::Full => {
                    place.overflows.fetch_add(1, Ordering::Relaxed);
                    return Some((leases, Claim::Full));
                }
                claim => return Some((leases, claim)),
            }
        }
        None
    }
}

/// A key as a hash of its kind and bytes.
pub(crate) fn mark(kind: u8, key: &[u8]) -> u128 {
    let hash = blake3::Hasher::new().update(&[kind]).update(key).finalize();
    u128::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 16]))
}
