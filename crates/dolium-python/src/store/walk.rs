//! Owns walks over keys, values and both, across shards.

use dolium::{Cache, Order, Scalar};
use pyo3::prelude::*;

use super::iterator::{Entries, EntryIterator, KeyIterator};
use super::{Flag, Inner, Store};
use crate::value::scalar;

/// Which entries a walk is over.
#[derive(Default)]
struct Chosen<'a> {
    tag: Option<Scalar>,
    prefix: Option<&'a str>,
}

impl<'a> Chosen<'a> {
    fn of(tag: Option<&Bound<'_, PyAny>>, prefix: Option<&'a str>) -> PyResult<Self> {
        Ok(Self { tag: tag.map(scalar).transpose()?, prefix })
    }

    /// The order in which an index finds them.
    fn order(&self, reverse: bool) -> Order {
        match (self.prefix, reverse) {
            (None, false) => Order::Insertion,
            (None, true) => Order::InsertionReversed,
            (Some(_), false) => Order::Sorted,
            (Some(_), true) => Order::SortedReversed,
        }
    }
}

/// A walk over each shard, with its number, and how they are merged, see [`Inner::walk`].
type Walks<W> = (Vec<(usize, W)>, Option<bool>);

impl Inner {
    /// A walk over each shard, and whether the walks are merged: `Some(true)` for descending keys.
    fn walk<W: Send>(
        &self,
        py: Python<'_>,
        order: Order,
        walk: impl Fn(&Cache) -> dolium::Result<W> + Send + Sync,
    ) -> PyResult<Walks<W>> {
        let mut shards = Vec::with_capacity(self.shared.shards.len());
        for (index, shard) in self.shared.shards.iter().enumerate() {
            shards.push((index, shard.enter(py, true, &walk)?));
        }
        let merge = match order {
            Order::Sorted => Some(false),
            Order::SortedReversed => Some(true),
            Order::InsertionReversed => {
                shards.reverse();
                None
            }
            _ => None,
        };
        Ok((shards, merge))
    }

    fn keys(&self, py: Python<'_>, order: Order, chosen: &Chosen<'_>) -> PyResult<KeyIterator> {
        let walk = |cache: &Cache| cache.keys_where(order, chosen.tag.clone(), chosen.prefix);
        let (shards, merge) = self.walk(py, order, walk)?;
        Ok(KeyIterator::new(self, shards, merge))
    }

    fn entries(
        &self,
        py: Python<'_>,
        (chosen, reverse): (&Chosen<'_>, bool),
        with_keys: bool,
    ) -> PyResult<EntryIterator> {
        let order = chosen.order(reverse);
        let entries = if self.is_custom() {
            Entries::Custom(self.keys(py, order, chosen)?)
        } else {
            let walk = |cache: &Cache| cache.items_where(order, chosen.tag.clone(), chosen.prefix);
            let (shards, merge) = self.walk(py, order, walk)?;
            Entries::of(shards, merge)
        };
        Ok(EntryIterator::new(self, entries, with_keys))
    }
}

#[pymethods]
impl Store {
    /// Iterate over the keys as the database sorts them: numbers, texts, bytes, then all others.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set_many({2: "b", 1: "a"})
    /// 2
    /// >>> list(cache.iterkeys()), list(cache.iterkeys(reverse=True))
    /// ([1, 2], [2, 1])
    #[pyo3(signature = (reverse=Flag(false)), text_signature = "($self, reverse=False)")]
    fn iterkeys(&self, py: Python<'_>, reverse: Flag) -> PyResult<KeyIterator> {
        let order = if reverse.0 { Order::SortedReversed } else { Order::Sorted };
        self.inner()?.keys(py, order, &Chosen::default())
    }

    /// Iterate over the keys in the order of insertion, also over those of entries that have expired.
    ///
    /// `tag` leaves only entries with that tag, and `prefix` only texts that begin with it. Keys with a prefix come as the
    /// database sorts them, because an index finds them. Entries with a tag are found by the index that
    /// `create_tag_index` makes; without it the iteration looks at every entry.
    ///
    /// The iteration meets each entry that is there all the time exactly once, and may meet entries that come or go
    /// meanwhile. It holds nothing between two keys.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> _ = cache.set("user:1", "Ada", tag="people"), cache.set("page:1", "<p>")
    /// >>> list(cache.keys(tag="people")), list(cache.keys(prefix="page:")), list(cache.keys(reverse=True))
    /// (['user:1'], ['page:1'], ['page:1', 'user:1'])
    #[pyo3(signature = (*, tag=None, prefix=None, reverse=Flag(false)),
           text_signature = "($self, *, tag=None, prefix=None, reverse=False)")]
    fn keys(
        &self,
        py: Python<'_>,
        tag: Option<&Bound<'_, PyAny>>,
        prefix: Option<&str>,
        reverse: Flag,
    ) -> PyResult<KeyIterator> {
        let chosen = Chosen::of(tag, prefix)?;
        self.inner()?.keys(py, chosen.order(reverse.0), &chosen)
    }

    /// Iterate over pairs of key and value, without entries that have expired.
    ///
    /// Arguments and order are those of `keys`. The iteration does not count as reading the entries.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> _ = cache.set("user:1", "Ada", tag="people"), cache.set("page:1", "<p>")
    /// >>> list(cache.items()), list(cache.items(prefix="user:"))
    /// ([('user:1', 'Ada'), ('page:1', '<p>')], [('user:1', 'Ada')])
    #[pyo3(signature = (*, tag=None, prefix=None, reverse=Flag(false)),
           text_signature = "($self, *, tag=None, prefix=None, reverse=False)")]
    fn items(
        &self,
        py: Python<'_>,
        tag: Option<&Bound<'_, PyAny>>,
        prefix: Option<&str>,
        reverse: Flag,
    ) -> PyResult<EntryIterator> {
        self.inner()?.entries(py, (&Chosen::of(tag, prefix)?, reverse.0), true)
    }

    /// Iterate over the values, as `items` does over pairs.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.set_many({"a": 1, "b": 2})
    /// 2
    /// >>> list(cache.values()), list(cache.values(reverse=True))
    /// ([1, 2], [2, 1])
    #[pyo3(signature = (*, tag=None, prefix=None, reverse=Flag(false)),
           text_signature = "($self, *, tag=None, prefix=None, reverse=False)")]
    fn values(
        &self,
        py: Python<'_>,
        tag: Option<&Bound<'_, PyAny>>,
        prefix: Option<&str>,
        reverse: Flag,
    ) -> PyResult<EntryIterator> {
        self.inner()?.entries(py, (&Chosen::of(tag, prefix)?, reverse.0), false)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<KeyIterator> {
        self.inner()?.keys(py, Order::Insertion, &Chosen::default())
    }

    /// Iterate over the keys in the reverse order of insertion.
    fn __reversed__(&self, py: Python<'_>) -> PyResult<KeyIterator> {
        self.inner()?.keys(py, Order::InsertionReversed, &Chosen::default())
    }
}
