//! Owns queues and the ends of the order of insertion: `push`, `pull`, `peek`, `peekitem`.

use dolium::{Entry, Error, Key, Side, host};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::custom::End;
use super::read::{beside, nothing};
use super::write::is_plain;
use super::{Argument, Flag, Found, Inner, Seconds, Store, put};
use crate::reader::PyReader;
use crate::value::Outgoing;
use crate::{error, plain};

pub(super) fn side(name: &str) -> PyResult<Side> {
    match name {
        "front" => Ok(Side::Front),
        "back" => Ok(Side::Back),
        other => Err(PyKeyError::new_err(format!("side must be 'front' or 'back', not '{other}'"))),
    }
}

/// A key and what was found under it.
pub(crate) type QueueItem<'py> = (Bound<'py, PyAny>, Found<'py>);

fn answer<'py>(
    py: Python<'py>,
    item: QueueItem<'py>,
    expire_time: Flag,
    tag: Flag,
) -> PyResult<Bound<'py, PyAny>> {
    let (key, found) = item;
    let pair = (key, found.value).into_pyobject(py)?.into_any();
    beside(py, pair, found.expire_time, &found.tag, expire_time, tag)
}

/// `default` of `pull` and `peek`: a pair of None.
fn empty<'py>(
    py: Python<'py>,
    default: Argument<'py>,
    expire_time: Flag,
    tag: Flag,
) -> PyResult<Bound<'py, PyAny>> {
    let default = match default.given() {
        Some(default) => default,
        None => PyTuple::new(py, [py.None(), py.None()])?.into_any(),
    };
    nothing(py, Some(default), expire_time, tag)
}

impl Inner {
    fn item<'py>(
        &self,
        py: Python<'py>,
        found: Option<(Key<'_>, Entry)>,
    ) -> PyResult<Option<QueueItem<'py>>> {
        let Some((key, entry)) = found else {
            return Ok(None);
        };
        let Entry { value, expire_time, tag, store_time, .. } = entry;
        let value = self.load(py, value)?;
        let key = plain::key(py, self.only()?.cache(false), &key, self.shared.trust)?;
        Ok(Some((key, Found { value, expire_time, tag, store_time })))
    }

    /// Takes an item off a queue.
    fn pull<'py>(
        &self,
        py: Python<'py>,
        prefix: Option<&str>,
        side: Side,
        retry: bool,
    ) -> PyResult<Option<QueueItem<'py>>> {
        let shard = self.only()?;
        if let Some(custom) = &shard.custom {
            return custom.end(self, shard, py, End::Queue { prefix, side, remove: true }, retry);
        }
        let sure = self.is_sure();
        shard.wait_turn(py, retry)?;
        match shard.run(py, retry, |cache| host::pull_if(cache, prefix, side, sure))? {
            Ok(found) => self.item(py, found),
            // Only Python can say whether the value may be loaded, and then it is still there if not.
            Err(Error::Refused) => shard.transact(py, retry, || {
                let found = shard.step(py, |cache| cache.peek(prefix, side))?;
                let key = found.as_ref().map(|(key, _)| key.borrowed().into_owned());
                let item = self.item(py, found)?;
                if let Some(key) = key {
                    shard.step(py, |cache| cache.delete(&key))?;
                }
                Ok(item)
            }),
            Err(error) => Err(error::raise(py, error)),
        }
    }

    /// Looks at one end of a queue, or of the order of insertion.
    fn look<'py>(&self, py: Python<'py>, end: End<'_>, retry: bool) -> PyResult<Option<QueueItem<'py>>> {
        let shard = self.only()?;
        if let Some(custom) = &shard.custom {
            return custom.end(self, shard, py, end, retry);
        }
        let found = shard.enter(py, retry, |cache| match end {
            End::Queue { prefix, side, .. } => cache.peek(prefix, side),
            End::Order { last } => cache.peek_item(last),
        })?;
        self.item(py, found)
    }
}

#[pymethods]
impl Store {
    /// Add `value` at one side of a queue; return its key.
    ///
    /// Keys are integers around 500,000,000,000,000, or with a `prefix` texts `"prefix-500000000000000"`.
    /// `side` is "back" or "front". The other arguments are those of `set`.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache.push("first"), cache.push("second")
    /// (500000000000000, 500000000000001)
    /// >>> cache.push("x", prefix="jobs")
    /// 'jobs-500000000000000'
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (value, prefix=None, side="back", expire=None, read=Flag(false), tag=None, retry=Flag(false)),
           text_signature = "($self, value, prefix=None, side='back', expire=None, read=False, tag=None, retry=False)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn push<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        prefix: Option<&str>,
        side: &str,
        expire: Option<Seconds>,
        read: Flag,
        tag: Option<&Bound<'py, PyAny>>,
        retry: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let inner = self.inner()?;
        let shard = inner.only()?;
        let side = self::side(side)?;
        let options = put(expire, tag)?;
        let key = if let Some(custom) = &shard.custom {
            custom.push(inner, shard, value, prefix, side, &options, read.0, retry.0)?
        } else if read.0 && !is_plain(value) {
            let mut reader = PyReader::new(value);
            shard.change(py, retry.0, |cache| {
                cache.push(dolium::Payload::Reader(&mut reader), prefix, side, &options)
            })?
        } else {
            let codec = inner.codec(py, None)?;
            let outgoing = Outgoing::by(codec.as_ref().map(|codec| (codec, inner.peers(""))), value, || {
                inner.protocol(py)
            })
            .map_err(|error| error::unstorable(None, py, error))?;
            let loan = outgoing.lend()?;
            shard.change(py, retry.0, |cache| cache.push(loan.payload(), prefix, side, &options))?
        };
        plain::key(py, shard.cache(false), &key, inner.shared.trust)
    }

    /// Remove the item at one side of a queue; return its key and value, or `default` if there is none.
    ///
    /// `side` is "front" or "back". Expired items are removed and passed over. `expire_time=True` and
    /// `tag=True` return a tuple of the pair and these facts.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> _ = cache.push("first"), cache.push("second")
    /// >>> cache.pull(), cache.pull(side="back")[1], cache.pull()
    /// ((500000000000000, 'first'), 'second', (None, None))
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (prefix=None, default=Argument::Missing, side="front", expire_time=Flag(false), tag=Flag(false), retry=Flag(false)),
           text_signature = "($self, prefix=None, default=(None, None), side='front', expire_time=False, tag=False, retry=False)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn pull<'py>(
        &self,
        py: Python<'py>,
        prefix: Option<&str>,
        default: Argument<'py>,
        side: &str,
        expire_time: Flag,
        tag: Flag,
        retry: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let item = inner.pull(py, prefix, self::side(side)?, retry.0);
        match inner.unless_refused(py, item)?.flatten() {
            Some(item) => answer(py, item, expire_time, tag),
            None => empty(py, default, expire_time, tag),
        }
    }

    /// Return key and value of the item at one side of a queue, or `default` if there is none.
    ///
    /// Arguments are those of `pull`; the item stays.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> _ = cache.push("first"), cache.push("second")
    /// >>> cache.peek(), cache.peek(side="back")[1]
    /// ((500000000000000, 'first'), 'second')
    ///
    /// Raises:
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (prefix=None, default=Argument::Missing, side="front", expire_time=Flag(false), tag=Flag(false), retry=Flag(false)),
           text_signature = "($self, prefix=None, default=(None, None), side='front', expire_time=False, tag=False, retry=False)")]
    #[expect(clippy::too_many_arguments, reason = "diskcache's signature")]
    fn peek<'py>(
        &self,
        py: Python<'py>,
        prefix: Option<&str>,
        default: Argument<'py>,
        side: &str,
        expire_time: Flag,
        tag: Flag,
        retry: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inner = self.inner()?;
        let end = End::Queue { prefix, side: self::side(side)?, remove: false };
        let item = inner.look(py, end, retry.0);
        match inner.unless_refused(py, item)?.flatten() {
            Some(item) => answer(py, item, expire_time, tag),
            None => empty(py, default, expire_time, tag),
        }
    }

    /// Return key and value of the entry that was inserted last, or with `last=False` first.
    ///
    /// Expired entries there are removed and skipped.
    ///
    /// >>> import dolium
    /// >>> cache = dolium.Cache()
    /// >>> cache["a"] = 1; cache["b"] = 2
    /// >>> cache.peekitem(), cache.peekitem(last=False)
    /// (('b', 2), ('a', 1))
    ///
    /// Raises:
    ///     KeyError: The cache is empty.
    ///     UntrustedValueError: The key or the value is a pickle that `trust` does not allow.
    ///     Timeout: Other writers kept the cache locked for longer than `timeout`.
    #[pyo3(signature = (last=Flag(true), expire_time=Flag(false), tag=Flag(false), retry=Flag(false)),
           text_signature = "($self, last=True, expire_time=False, tag=False, retry=False)")]
    fn peekitem<'py>(
        &self,
        py: Python<'py>,
        last: Flag,
        expire_time: Flag,
        tag: Flag,
        retry: Flag,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.inner()?.look(py, End::Order { last: last.0 }, retry.0)? {
            Some(item) => answer(py, item, expire_time, tag),
            None => Err(PyKeyError::new_err("dictionary is empty")),
        }
    }
}
