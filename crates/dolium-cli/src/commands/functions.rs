//! The commands `functions` and `forget`: whose results a cache keeps, and removing those of one function.

use std::collections::BTreeMap;
use std::time::Duration;

use dolium::{Cache, Key, Order, raw};
use serde_json::json;

use crate::args::{Forget, Functions, arrange};
use crate::human;
use crate::open::{Access, AnyCache};
use crate::outcome::{Failure, Outcome, Result, say};
use crate::output::Output;
use crate::plain::{self, Data};

/// The results of one version of a function.
#[derive(Default)]
struct Held {
    entries: usize,
    bytes: u64,
    seconds: f64,
    newest: f64,
}

pub(super) fn functions(args: Functions, timeout: Duration) -> Result<Outcome> {
    let store = AnyCache::open(&args.cache.resolve()?, Access::Look, timeout)?;
    let mut held: BTreeMap<(String, String), Held> = BTreeMap::new();
    each(&store, |shard, key, name, version| {
        let (Some(entry), Some(info)) = (raw::framed(shard, key)?, shard.info(key)?) else { return Ok(()) };
        let sum = held.entry((name, version)).or_default();
        sum.entries += 1;
        sum.bytes += info.size;
        sum.seconds += f64::from(entry.value.seconds.unwrap_or(0.0));
        sum.newest = sum.newest.max(entry.store_time);
        Ok(())
    })?;
    store.close()?;
    let mut output = Output::new();
    for ((name, version), held) in &held {
        if args.json {
            output.json(&json!({
                "function": name,
                "version": version,
                "entries": held.entries,
                "bytes": held.bytes,
                "seconds": held.seconds,
                "newest": held.newest,
            }))?;
        } else {
            output.line(&format!(
                "{:>10}  {:>10}  {:>12}  {name}  {}",
                human::count(i64::try_from(held.entries).unwrap_or(i64::MAX)),
                human::size(held.bytes),
                format!("{:.1} s", held.seconds),
                shortened(version),
            ))?;
        }
    }
    output.finish()?;
    Ok(Outcome::Done)
}

pub(super) fn forget(args: Forget, timeout: Duration) -> Result<Outcome> {
    let (directory, mut rest) = arrange([args.dir, args.name], &["NAME"])?;
    let name = rest.pop().unwrap_or_default().into_string();
    let name = name.map_err(|_| Failure::usage("the name of the function is not UTF-8"))?;
    let name = if name.ends_with("()") { name } else { format!("{name}()") };
    let store = AnyCache::open(&directory, Access::Change, timeout)?;
    let mut found = Vec::new();
    let mut newest = (f64::NEG_INFINITY, String::new());
    each(&store, |shard, key, of, version| {
        if of == name {
            let time = shard.info(key)?.map_or(0.0, |info| info.store_time);
            if time > newest.0 {
                newest = (time, version.clone());
            }
            found.push((key.clone(), version));
        }
        Ok(())
    })?;
    let mut removed = 0;
    for (key, version) in &found {
        if !(args.old && *version == newest.1) {
            removed += usize::from(store.shard(key).delete(key)?);
        }
    }
    store.close()?;
    let mut output = Output::new();
    if args.json {
        output.json(&json!({ "removed": removed }))?;
    } else {
        output.line(&format!("{} removed", human::entries(removed)))?;
    }
    output.finish()?;
    if found.is_empty() {
        say("no result is kept under this name; `dolium functions` lists those that there are");
    }
    Ok(Outcome::from(!found.is_empty()))
}

/// Calls `f` with each key that a wrapped function made, the name of that function and its version.
fn each(
    store: &AnyCache,
    mut f: impl FnMut(&Cache, &Key<'static>, String, String) -> Result<()>,
) -> Result<()> {
    for shard in store.shards() {
        for key in shard.keys(Order::Insertion)? {
            let key = key?;
            if let Some((name, version)) = function_of(&key) {
                f(shard, &key, name, version)?;
            }
        }
    }
    Ok(())
}

/// The name and the version of the function that made a key.
fn function_of(key: &Key<'_>) -> Option<(String, String)> {
    let Data::Tuple(parts) = plain::describe(key.pickle()?)?.data else { return None };
    let mut parts = parts.into_iter();
    match (parts.next()?, parts.next()?) {
        (Data::Text(name), Data::Text(version)) => Some((name, version)),
        _ => None,
    }
}

/// A digest as people tell it from others; any other version as it is.
fn shortened(version: &str) -> &str {
    let is_digest = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { &version[..10] } else { version }
}
