//! Owns `expire`, `evict`, `cull` and `clear`: removing many entries.

use std::time::Duration;

use dolium::{Cache, Scalar};
use serde_json::json;

use crate::args::{Clear, Evict, Sweep, arrange};
use crate::open::{Access, AnyCache};
use crate::outcome::{Failure, Outcome, Result, say};
use crate::output::Output;
use crate::progress::while_working;
use crate::{human, interrupt};

use super::each_shard;

pub(super) fn expire(args: Sweep, timeout: Duration) -> Result<Outcome> {
    sweep(args, timeout, "removing expired entries", |cache| cache.expire(None))
}

pub(super) fn cull(args: Sweep, timeout: Duration) -> Result<Outcome> {
    sweep(args, timeout, "removing entries", Cache::cull)
}

pub(super) fn clear(args: Clear, timeout: Duration) -> Result<Outcome> {
    if !args.dry_run {
        interrupt::ask_first();
        let store = AnyCache::open(&args.cache.resolve()?, Access::Change, timeout)?;
        let removed = remove_all(&store)?;
        tell(store, args.json, removed)?;
        return Ok(Outcome::Done);
    }
    let store = AnyCache::open(&args.cache.resolve()?, Access::Look, timeout)?;
    let entries = store.sum(Cache::len)?;
    store.close()?;
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "would_remove": entries }))?;
    } else {
        output.line(&format!("{} would be removed", human::entries(entries)))?;
    }
    output.finish()?;
    Ok(Outcome::Done)
}

pub(super) fn evict(args: Evict, timeout: Duration) -> Result<Outcome> {
    let wanted: &[&str] = if args.int_tag.is_some() { &[] } else { &["TAG"] };
    let (directory, mut rest) = arrange([args.dir, args.tag], wanted)?;
    let tag = match (args.int_tag, rest.pop()) {
        (Some(number), _) => Scalar::from(number),
        (None, tag) => {
            let tag = tag.unwrap_or_default().into_string();
            Scalar::from(tag.map_err(|_| Failure::usage("the tag is not UTF-8"))?)
        }
    };
    let store = AnyCache::open(&directory, Access::Change, timeout)?;
    let removed = finish(store, args.json, "removing entries", |cache| cache.evict(&tag))?;
    if removed == 0 {
        say("no entry has this tag; `dolium tags` lists those that there are");
    }
    Ok(Outcome::from(removed > 0))
}

fn sweep(
    args: Sweep,
    timeout: Duration,
    message: &'static str,
    remove: impl Fn(&Cache) -> dolium::Result<usize>,
) -> Result<Outcome> {
    let store = AnyCache::open(&args.cache.resolve()?, Access::Change, timeout)?;
    finish(store, args.json, message, remove)?;
    Ok(Outcome::Done)
}

fn finish(
    store: AnyCache,
    as_json: bool,
    message: &'static str,
    remove: impl Fn(&Cache) -> dolium::Result<usize>,
) -> Result<usize> {
    let removed = while_working(message, || store.sum(remove))?;
    tell(store, as_json, removed)
}

/// Removes the entries of one shard after the other, each shard's as a whole.
fn remove_all(store: &AnyCache) -> Result<usize> {
    let mut removed = 0;
    each_shard(store, |shard, watch| {
        removed += shard.clear_with(watch)?;
        Ok(())
    })
    .map_err(|ended| {
        ended.into_failure(|phase, shards| {
            let entries = human::entries(removed);
            format!("interrupted while {phase}{shards}; {entries} removed, all others are there")
        })
    })?;
    Ok(removed)
}

fn tell(store: AnyCache, as_json: bool, removed: usize) -> Result<usize> {
    store.close()?;
    let mut output = Output::new();
    if as_json {
        output.json(&json!({ "removed": removed }))?;
    } else {
        output.line(&format!("{} removed", human::entries(removed)))?;
    }
    output.finish()?;
    Ok(removed)
}
