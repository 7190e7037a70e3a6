//! The command `tags`: which tags there are, and how many entries have each.

use std::cmp::Ordering;
use std::time::Duration;

use dolium::{Scalar, raw};
use serde_json::json;

use crate::args::Tags;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result};
use crate::output::Output;
use crate::{human, json, key};

use super::info::tag_text;

/// Entries that have not expired, by their tags.
const COUNT: &str = "SELECT tag, count(*) FROM Cache
    WHERE tag IS NOT NULL AND (expire_time IS NULL OR expire_time > ?1) GROUP BY tag";

pub(super) fn act(args: Tags, timeout: Duration) -> Result<Outcome> {
    let store = AnyCache::open(&args.cache.resolve()?, Access::Look, timeout)?;
    let mut output = Output::new();
    for (tag, entries) in counted(&store)? {
        if args.json {
            output.json(&json!({ "tag": json::scalar(&tag), "entries": entries }))?;
        } else {
            output.line(&format!("{:>10}  {}", human::count(entries), argument(&tag)))?;
        }
    }
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

fn counted(store: &AnyCache) -> Result<Vec<(Scalar, i64)>> {
    let mut counts: Vec<(Scalar, i64)> = Vec::new();
    for shard in store.shards() {
        for row in raw::sql(shard, COUNT, &[human::now().into()])?.rows {
            let [tag, entries] = <[Scalar; 2]>::try_from(row).unwrap_or_default();
            let entries = entries.as_int().unwrap_or(0);
            match counts.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, count)) => *count += entries,
                None => counts.push((tag, entries)),
            }
        }
    }
    counts.sort_by(|(a, _), (b, _)| compare(a, b));
    Ok(counts)
}

/// As the database sorts: numbers, text, bytes.
fn compare(a: &Scalar, b: &Scalar) -> Ordering {
    match (a, b) {
        (Scalar::Text(a), Scalar::Text(b)) => a.cmp(b),
        (Scalar::Blob(a), Scalar::Blob(b)) => a.cmp(b),
        (Scalar::Text(_), Scalar::Blob(_)) => Ordering::Less,
        (Scalar::Blob(_), Scalar::Text(_)) => Ordering::Greater,
        _ => match (a.as_real(), b.as_real()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        },
    }
}

/// The tag as it is to be typed behind `evict DIR`. Only Python can store others than text and integers.
fn argument(tag: &Scalar) -> String {
    match tag {
        Scalar::Int(number) => format!("--int-tag={number}"),
        Scalar::Text(text) => key::quoted(text),
        other => tag_text(other).unwrap_or_default(),
    }
}
