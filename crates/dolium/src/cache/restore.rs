//! Putting an entry back as it lay in another store: its times, reads and stored bytes stay what they were. It judges no
//! pickles: one keeps the signature it has, unless the caller vouches for it.

use std::io::Read;

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::key::Key;
use crate::value::put_options::is_alive;
use crate::value::scalar::Scalar;

use super::Cache;
use super::prepare::Prepared;

/// An entry as it lay in another store.
#[derive(Debug)]
#[non_exhaustive]
pub struct RawEntry<'a> {
    /// When it was written.
    pub store_time: Timestamp,
    /// When it expires.
    pub expire_time: Option<Timestamp>,
    /// When it was read last.
    pub access_time: Timestamp,
    /// How often it was read.
    pub access_count: i64,
    /// Its tag.
    pub tag: Scalar,
    /// How its value is stored, see [`mode`](crate::value::mode).
    pub mode: i64,
    /// Its value as it is stored.
    pub body: Body<'a>,
}

impl<'a> RawEntry<'a> {
    /// An entry that was written at `store_time`, which no program has read since, without expiry and tag.
    #[must_use]
    pub fn new(mode: i64, body: Body<'a>, store_time: Timestamp) -> Self {
        Self {
            store_time,
            expire_time: None,
            access_time: store_time,
            access_count: 0,
            tag: Scalar::Null,
            mode,
            body,
        }
    }
}

/// The stored bytes of a value.
#[non_exhaustive]
pub enum Body<'a> {
    /// What lies in the row.
    Column(Scalar),
    /// What lies in a value file, read to the end.
    File(&'a mut dyn Read),
    /// A pickle, or a frame of one, without its signature. The caller vouches for it, and it is signed here.
    TrustedPickle(&'a [u8]),
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Column(_) => "Column",
            Self::File(_) => "File",
            Self::TrustedPickle(_) => "TrustedPickle",
        })
    }
}

/// Stores an entry as it was elsewhere. With `replace`, instead of one that the key has; else the one
/// that is there stays, unless it has expired. Returns whether the entry was stored: not if it is larger
/// than the whole cache may be.
pub fn restore<'k>(cache: &Cache, key: impl Into<Key<'k>>, raw: RawEntry<'_>, replace: bool) -> Result<bool> {
    let key = key.into();
    let RawEntry { store_time, expire_time, access_time, access_count, tag, mode, body } = raw;
    cache.know_settings()?;
    let mut prepared = Prepared::stored(&cache.handle, mode, body)?;
    if cache.refuses(prepared.size()) {
        return Ok(false);
    }
    let now = cache.clock.now();
    cache.handle.write(cache.wait, |write| {
        write.changes([key.borrowed()]);
        let head = write.head(&key)?;
        if !replace && head.as_ref().is_some_and(|head| is_alive(head.expire_time, now)) {
            return Ok(false);
        }
        let columns = prepared.finish(&key)?;
        write.put(&key, columns, expire_time, &tag, store_time)?;
        if let Some(head) = write.head(&key)? {
            write.record_reads(head.rowid, access_time, access_count)?;
        }
        write.adopt(prepared.file());
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Value, mode};

    fn raw(mode: i64, body: Body<'_>) -> RawEntry<'_> {
        let raw = RawEntry::new(mode, body, 1000.0);
        RawEntry { access_time: 2000.0, access_count: 7, tag: Scalar::from("t"), ..raw }
    }

    #[test]
    fn times_reads_and_tag_come_back() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::open(dir.path())?;
        assert!(restore(&cache, "k", raw(mode::RAW, Body::Column(1.into())), true)?);
        let info = cache.info("k")?.expect("it was just stored");
        assert_eq!((info.store_time, info.access_time, info.access_count), (1000.0, 2000.0, 7));
        assert_eq!(info.tag, Scalar::from("t"));
        assert!(!restore(&cache, "k", raw(mode::RAW, Body::Column(2.into())), false)?);
        assert_eq!(cache.get("k")?, Some(Value::Int(1)));
        Ok(())
    }

    /// The first operation of a process may be a write.
    #[test]
    fn stored_settings_hold_for_the_first_write() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Cache::builder(dir.path())
            .size_limit(Some(50_000))
            .setting("disk_min_file_size", 10)
            .open()?
            .set("a", 1)?;
        let large = vec![0; 100_000];
        assert!(!Cache::open(dir.path())?.set("k", &large)?);
        assert!(!restore(&Cache::open(dir.path())?, "k", raw(mode::RAW, Body::Column(large.into())), true)?);
        assert!(Cache::open(dir.path())?.set("k", "a little longer")?);
        assert!(Cache::open(dir.path())?.info("k")?.is_some_and(|info| info.path.is_some()));
        Ok(())
    }

    #[test]
    fn files_keep_their_mode() -> Result<()> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::open(dir.path())?;
        restore(&cache, "k", raw(mode::TEXT, Body::File(&mut "ä".as_bytes())), true)?;
        assert_eq!(cache.get("k")?, Some(Value::Text("ä".into())));
        assert!(cache.info("k")?.is_some_and(|info| info.path.is_some()));
        assert_eq!(cache.check(false)?, []);
        Ok(())
    }
}
