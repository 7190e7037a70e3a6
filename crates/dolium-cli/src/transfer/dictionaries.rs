//! Owns the dictionaries that the values of a cache need, on their way with them. They keep their numbers.

use dolium::raw::{self, StoredDictionary};
use serde_json::{Map, Value as Json, json};

use crate::encoding::{from_base64, to_base64};
use crate::open::AnyCache;
use crate::outcome::Result;

use super::report::Report;
use super::target::Target;

/// Copies the dictionaries of a cache.
pub(super) fn copy(source: &AnyCache, target: &Target, report: &mut Report) -> Result<()> {
    raw::dictionaries(&source.shards()[0])?.iter().try_for_each(|stored| put(stored, target, report))
}

/// The dictionaries of a cache, for the last line of an export: those which came while it was written are among them.
pub(super) fn to_json(source: &AnyCache) -> Result<Vec<Json>> {
    let found = raw::dictionaries(&source.shards()[0])?;
    // Of a damaged one nothing is left to carry.
    let whole = found.into_iter().filter_map(|stored| stored.bytes.clone().map(|bytes| (stored, bytes)));
    Ok(whole
        .map(|(stored, bytes)| {
            json!({ "group": stored.group, "adopted": stored.adopted, "bytes": to_base64(&bytes) })
        })
        .collect())
}

/// Stores the dictionaries that the last line of an export has.
pub(super) fn put_all(line: &Json, target: &Target, report: &mut Report) -> Result<()> {
    let listed = line.get("dictionaries").and_then(Json::as_array);
    for entry in listed.into_iter().flatten() {
        match entry.as_object().and_then(from_json) {
            Some(stored) => put(&stored, target, report)?,
            None => report.refuse(None, "a dictionary that cannot be read; its values will be misses"),
        }
    }
    Ok(())
}

fn from_json(entry: &Map<String, Json>) -> Option<StoredDictionary> {
    let bytes = from_base64(entry.get("bytes")?.as_str()?)?;
    Some(StoredDictionary::new(entry.get("group")?.as_str()?, entry.get("adopted")?.as_f64()?, bytes))
}

fn put(stored: &StoredDictionary, target: &Target, report: &mut Report) -> Result<()> {
    if !raw::restore_dictionary(&target.store.shards()[0], stored)? {
        let why =
            if stored.bytes.is_none() { "it is damaged" } else { "the cache has as many as it may have" };
        report.refuse(None, format!("dictionary {}: {why}; its values will be misses", stored.number));
    }
    Ok(())
}
