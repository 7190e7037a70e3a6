//! Owns importing from a directory of diskcache or dolium. It is opened read-only and never changed; what
//! cannot be read is reported, and the rest is copied.

use std::collections::HashSet;

use dolium::{Cache, Entry, Error, Key, Order, Stream, raw};

use crate::open::AnyCache;
use crate::outcome::{Failure, Result};
use crate::progress::Progress;

use super::BATCH;
use super::record::Record;
use super::report::Report;
use super::target::{Target, Value};

/// Copies all entries.
pub(super) fn copy(source: &AnyCache, target: &Target, report: &mut Report) -> Result<()> {
    let total = source.sum(Cache::len)?;
    let mut progress = Progress::new(total, "importing");
    for shard in source.shards() {
        copy_shard(shard, target, report, &mut progress)?;
    }
    Ok(())
}

fn copy_shard(shard: &Cache, target: &Target, report: &mut Report, progress: &mut Progress) -> Result<()> {
    let stored = shard.len()?;
    let mut seen = 0;
    let mut damage = None;
    let mut last: HashSet<Vec<u8>> = HashSet::new();
    for order in [Order::Insertion, Order::InsertionReversed] {
        let mut batch = Vec::with_capacity(BATCH);
        for found in shard.keys(order)? {
            match found {
                Ok(key) => {
                    // Coming from the other end, the copying ends at the damage, not at the beginning.
                    if order == Order::InsertionReversed && last.contains(identity(&key).as_slice()) {
                        break;
                    }
                    last.insert(identity(&key));
                    seen += 1;
                    batch.push(key);
                    if batch.len() == BATCH {
                        copy_batch(shard, &batch, target, report, progress)?;
                        batch.clear();
                    }
                }
                Err(error) => {
                    damage = Some(error);
                    break;
                }
            }
        }
        copy_batch(shard, &batch, target, report, progress)?;
        if damage.is_none() {
            break;
        }
    }
    if let Some(error) = damage {
        report
            .refuse(None, format!("{} entries that the damage hides: {error}", stored.saturating_sub(seen)));
    } else if stored > seen {
        // Their keys are of no kind that any cache writes.
        report.refuse(None, format!("{} entries whose keys cannot be read", stored - seen));
    }
    Ok(())
}

fn identity(key: &Key<'_>) -> Vec<u8> {
    let (kind, bytes) = key.signed_form();
    [&[kind], bytes.as_ref()].concat()
}

/// Copies some entries, those of each shard in one transaction.
fn copy_batch(
    source: &Cache,
    keys: &[Key<'static>],
    target: &Target,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<()> {
    target.in_batch(
        keys,
        |key| key,
        |key| {
            progress.step();
            copy_entry(source, key, target, report)
        },
    )
}

fn copy_entry(source: &Cache, key: &Key<'static>, target: &Target, report: &mut Report) -> Result<()> {
    match read(source, key, target, report) {
        Err(Failure::Engine(error)) if is_of_source(source, &error) => {
            report.refuse(Some(key.clone()), error.to_string());
            Ok(())
        }
        other => other,
    }
}

fn read(source: &Cache, key: &Key<'static>, target: &Target, report: &mut Report) -> Result<()> {
    let Some(info) = raw::stored_info(source, key)? else {
        return Ok(());
    };
    let Some(row) = raw::row(source, key)? else {
        report.expired += 1;
        return Ok(());
    };
    let mut record = Record::new(source, key.clone(), info)?;
    record.mode = row.columns.mode;
    if row.columns.filename.is_none() {
        return target.put(record, Value::Row(row.columns.value), report);
    }
    if let Some(Entry { value: Stream::File { mut file, .. }, .. }) = source.open_value(key)? {
        return target.put(record, Value::File(&mut file), report);
    }
    report.refuse(Some(key.clone()), "its value file is missing or has another length");
    Ok(())
}

/// Whether an error is the source's, not the target's.
fn is_of_source(source: &Cache, error: &Error) -> bool {
    match error {
        Error::Damaged { path, .. }
        | Error::Sqlite { path, .. }
        | Error::Denied { path, .. }
        | Error::NotADirectory { path, .. }
        | Error::Io { path, .. } => path.starts_with(source.directory()),
        Error::Type(_) => true,
        _ => false,
    }
}
