//! The guards of a transaction that outlives one call. `store/transaction.rs` begins and ends what they guard.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Cache;
use crate::store::Handle;
use crate::system::context::Context;
use crate::system::error::Result;

impl Cache {
    /// Starts a transaction of the calling thread. Until it ends, no other thread or process writes, and
    /// others read the state before it. May be nested: only the outermost commit counts.
    pub fn transact(&self) -> Result<Transaction<'_>> {
        Transaction::begin(self)
    }

    /// Whether the calling context is inside a transaction on this directory.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.handle.transaction.is_own()
    }
}

/// Starts a transaction of a context of the calling thread, or with `None` of the thread itself, that any thread may
/// end: for a host language, whose blocks may be left elsewhere than they were entered.
pub fn transact_owned(cache: &Cache, context: Option<Arc<Context>>) -> Result<OwnedTransaction> {
    OwnedTransaction::begin(cache, context)
}

/// The number of the transaction of the calling context, if it is inside one on the directory of `cache`.
#[must_use]
pub fn transaction_id(cache: &Cache) -> Option<u64> {
    cache.handle.transaction_id()
}

/// Whether another context of the calling thread is inside a transaction on this directory. A write would fail with
/// [`Error::Neighbor`](crate::Error::Neighbor).
#[must_use]
pub fn is_held_by_neighbor(cache: &Cache) -> bool {
    cache.handle.transaction.is_of_neighbor()
}

/// A transaction: all of it happens, or nothing. Dropped without [`commit`](Self::commit), it is undone.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::open(dir.path())?;
/// let transaction = cache.transact()?;
/// cache.set("a", 1)?;
/// cache.set("b", 2)?;
/// transaction.commit()?;
/// assert_eq!(cache.len()?, 2);
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use = "a transaction that is dropped is undone"]
pub struct Transaction<'c> {
    owned: OwnedTransaction,
    /// A transaction belongs to its thread, and to a cache that is there.
    not_send: PhantomData<(*const (), &'c Cache)>,
}

impl<'c> Transaction<'c> {
    pub(crate) fn begin(cache: &'c Cache) -> Result<Self> {
        Ok(Self { owned: transact_owned(cache, None)?, not_send: PhantomData })
    }

    /// Makes the changes visible to all readers, if this is the outermost transaction of the thread.
    pub fn commit(self) -> Result<()> {
        self.owned.commit().map(drop)
    }
}

/// A level of a transaction, which any thread may end; see [`transact_owned`]. Dropped, it is undone.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let cache = dolium::Cache::open(dir.path())?;
/// let transaction = dolium::host::transact_owned(&cache, None)?;
/// cache.set("a", 1)?;
/// std::thread::scope(|scope| scope.spawn(|| transaction.commit()).join().unwrap())?;
/// assert_eq!(cache.len()?, 1);
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use = "a transaction that is dropped is undone"]
pub struct OwnedTransaction {
    handle: Arc<Handle>,
    id: u64,
    open: bool,
}

impl OwnedTransaction {
    pub(crate) fn begin(cache: &Cache, context: Option<Arc<Context>>) -> Result<Self> {
        let handle = Arc::clone(&cache.handle);
        let context = context.unwrap_or_else(Context::of_thread);
        let id = handle.begin_transaction(cache.wait, &context)?;
        Ok(Self { handle, id, open: true })
    }

    /// The number of the transaction, which all of its levels share and no other has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Makes the changes visible to all readers, if this is the outermost level. Returns whether it is.
    ///
    /// Fails with [`Error::Orphaned`](crate::Error::Orphaned) if the owner of the transaction has ended, and all was undone.
    pub fn commit(mut self) -> Result<bool> {
        self.open = false;
        self.handle.commit_transaction(self.id)
    }

    /// Undoes all, if this is the outermost level. Returns whether nothing is left of the transaction.
    #[expect(clippy::must_use_candidate, reason = "for those only who tidy up after it")]
    pub fn rollback(mut self) -> bool {
        self.open = false;
        self.handle.rollback_transaction(self.id)
    }
}

impl Drop for OwnedTransaction {
    fn drop(&mut self) {
        if self.open {
            self.handle.rollback_transaction(self.id);
        }
    }
}
