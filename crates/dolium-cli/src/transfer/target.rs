//! The cache that is imported into: it stores one entry after the other and judges pickles on the way. Only errors that
//! would meet every entry end the import.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use dolium::raw::pickle::Protocol;
use dolium::raw::{Body, Frame, Object, encoder, mode, sign};
use dolium::{Cache, Error, Key, Scalar, ShardedCache, raw};

use crate::open::{Access, AnyCache, CacheKind, cache_kind};
use crate::outcome::{Failure, Result};
use crate::plain;

use super::record::Record;
use super::report::Report;

/// Settings that a new cache takes over. Those of the connection are left to its defaults.
const TAKEN_OVER: [&str; 7] = [
    "size_limit",
    "eviction_policy",
    "cull_limit",
    "statistics",
    "tag_index",
    "disk_min_file_size",
    "disk_pickle_protocol",
];

/// How entries are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Sign foreign pickles.
    pub trust: bool,
    /// Leave entries alone that are there.
    pub keep: bool,
}

pub(super) struct Target {
    pub store: AnyCache,
    options: Options,
    signer: sign::Signer,
    protocol: Option<Protocol>,
}

/// A value on its way.
pub(super) enum Value<'a> {
    Row(Scalar),
    File(&'a mut dyn Read),
}

impl Target {
    /// Opens the cache; a new one gets the kind and settings of the source.
    pub fn open(
        directory: &Path,
        timeout: Duration,
        options: Options,
        shards: Option<usize>,
        settings: Vec<(String, Scalar)>,
    ) -> Result<Self> {
        let is_new = cache_kind(directory) == CacheKind::Missing || is_empty(directory);
        let store = if is_new {
            let mut builder = Cache::builder(directory).timeout(timeout);
            for (name, value) in settings {
                if TAKEN_OVER.contains(&name.as_str()) {
                    builder = builder.setting(&name, value);
                }
            }
            match shards {
                Some(shards) => AnyCache::Sharded(ShardedCache::open_with(&builder, shards)?),
                None => AnyCache::Plain(builder.open()?),
            }
        } else {
            AnyCache::open(directory, Access::Make, timeout)?
        };
        let signing = sign::Signer::load().map_err(|error| Failure::Other(error.to_string()))?;
        if let (true, sign::Signing::Alone { reason, .. }) = (options.trust, &signing) {
            return Err(Failure::Other(format!("--trust needs a signing key that others share: {reason}")));
        }
        let protocol = store.protocol()?;
        Ok(Self { store, options, signer: signing.signer().clone(), protocol })
    }

    /// Does something for some keys, those of each shard in one transaction. Only one shard is locked at a
    /// time: who locks several takes them in their order, which the keys do not come in.
    pub fn in_batch<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> &Key<'static>,
        mut store: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let shards = self.store.shards();
        let mut parts: Vec<Vec<T>> = shards.iter().map(|_| Vec::new()).collect();
        for item in items {
            let shard = self.shard(key(&item));
            if let Some(location) = shards.iter().position(|other| std::ptr::eq(other, shard)) {
                parts[location].push(item);
            }
        }
        for (shard, part) in shards.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            let transaction = shard.transact()?;
            let done = part.into_iter().try_for_each(&mut store);
            // What was stored before an error is as good as the rest would have been.
            transaction.commit()?;
            done?;
        }
        Ok(())
    }

    /// The shard that will keep the entry of a key.
    fn shard(&self, key: &Key<'static>) -> &Cache {
        self.store.shard(self.canonical(key).as_ref().unwrap_or(key))
    }

    /// Stores an entry, or reports why not.
    pub fn put(&self, mut record: Record, value: Value<'_>, report: &mut Report) -> Result<()> {
        if record.expire_time.is_some_and(|time| time <= crate::human::now()) {
            report.expired += 1;
            return Ok(());
        }
        let canonical = self.canonical(&record.key);
        let is_rewritten = canonical.is_some();
        if let Some(canonical) = canonical {
            record.key = canonical;
        } else if let (Key::Pickle(stored), Some(proof)) = (&record.key, record.proof.take()) {
            record.key = Key::Object(Object::carried(stored.to_vec(), proof).into());
        }
        let mut judgement = Judgement::default();
        let key = record.key.clone();
        match self.store_judged(&record, value, &mut judgement) {
            Ok(true) => {
                report.imported += 1;
                report.rewritten += usize::from(is_rewritten);
                report.vouched += usize::from(judgement.vouched);
                if !judgement.foreign.is_empty() {
                    report.distrust(key, judgement.foreign);
                }
            }
            Ok(false) if self.options.keep && self.store.shard(&key).contains(&key)? => report.kept += 1,
            Ok(false) => report.refuse(Some(key), "larger than the whole cache may be"),
            Err(Failure::Engine(error)) if concerns_one(&error) => {
                report.refuse(Some(key), error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn store_judged(&self, record: &Record, value: Value<'_>, judgement: &mut Judgement) -> Result<bool> {
        let shard = self.store.shard(&record.key);
        let replace = !self.options.keep;
        let restore = |body| Ok(raw::restore(shard, &record.key, record.raw_entry(body), replace)?);
        if ![mode::PICKLE, mode::FRAME].contains(&record.mode) {
            return match value {
                Value::Row(value) => restore(Body::Column(value)),
                Value::File(reader) => restore(Body::File(reader)),
            };
        }
        let (stored, is_row) = match value {
            Value::Row(Scalar::Blob(stored)) => (stored, true),
            Value::Row(other) => return restore(Body::Column(other)),
            Value::File(reader) => {
                let mut stored = Vec::new();
                reader.read_to_end(&mut stored).map_err(Failure::Stream)?;
                (stored, false)
            }
        };
        self.judge(record, &stored, judgement);
        if judgement.vouched {
            let unsigned = match record.mode {
                // There, the trailer has a place of its own.
                mode::FRAME => &stored[..stored.len() - sign::TRAILER_LEN],
                _ => sign::split(&stored).0,
            };
            return restore(Body::TrustedPickle(unsigned));
        }
        if is_row { restore(Body::Column(Scalar::Blob(stored))) } else { restore(Body::File(&mut &*stored)) }
    }

    /// Says whether a reader will take the pickle, and whether it is to be signed. In a frame, all bytes are signed.
    fn judge(&self, record: &Record, stored: &[u8], judgement: &mut Judgement) {
        let pickle = match record.mode {
            mode::FRAME => match Frame::parse(stored) {
                Some(frame) if frame.is_signed() => match raw::undo(frame.filters, frame.body.to_vec(), None)
                {
                    Some((0, pickle)) if frame.encoder == encoder::PICKLE => pickle,
                    // What this program cannot read.
                    _ => Vec::new(),
                },
                // No reader runs it.
                _ => return,
            },
            _ => stored.to_vec(),
        };
        if is_ours(&self.signer, record, stored) {
            return;
        }
        if self.options.trust {
            judgement.vouched = true;
            return;
        }
        judgement.foreign = match plain::describe(&pickle) {
            Some(description) => description.foreign,
            None => vec!["what this program cannot read".to_owned()],
        };
    }

    /// The key as dolium writes it, if it is another: diskcache has several pickles for one key.
    fn canonical(&self, key: &Key<'_>) -> Option<Key<'static>> {
        let Key::Pickle(pickle) = key else {
            return None;
        };
        let data = plain::describe(pickle)?.data;
        let canonical = plain::to_key(&data, self.protocol?).ok()?;
        (canonical.pickle().is_some() && canonical != *key).then_some(canonical)
    }
}

/// What is known of a pickle.
#[derive(Default)]
struct Judgement {
    foreign: Vec<String>,
    vouched: bool,
}

fn is_ours(signer: &sign::Signer, record: &Record, stored: &[u8]) -> bool {
    let (kind, form) = record.key.signed_form();
    signer.verify(stored, kind, &form, record.mode) == sign::Verdict::Ours
}

/// Whether an error is one entry's own. All others would meet the next entry too.
fn concerns_one(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::Type(_))
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
