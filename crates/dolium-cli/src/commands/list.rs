//! Owns `list`. Orders that the store keeps are streamed; the others are collected and sorted here.

use std::cmp::Ordering;
use std::io::Write;
use std::time::Duration;

use dolium::{Cache, Info, Key, Order, Scalar, raw};

use crate::args::{List, Sort};
use crate::key::Names;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result};
use crate::output::Output;
use crate::{human, key};

use super::info::{entry_json, mode_name, tag_text};

pub(super) fn act(mut args: List, timeout: Duration) -> Result<Outcome> {
    let directory = std::mem::replace(&mut args.cache, crate::args::CacheArg { dir: None }).resolve()?;
    let store = AnyCache::open(&directory, Access::Look, timeout)?;
    let names = Names::of(&store)?;
    let mut output = Output::new();
    let mut left = args.limit.unwrap_or(usize::MAX);
    let tag = Some(args.tag.tag.clone().map_or_else(|| Scalar::from(args.tag.int_tag), Scalar::from));
    let tag = tag.filter(|tag| !tag.is_null());
    if is_streamed(&args, &store) {
        for shard in store.shards() {
            for found in entries(shard, order(&args), tag.clone(), &args) {
                if left == 0 {
                    break;
                }
                let (key, info) = found?;
                print(&args, &key, names, &info, &mut output)?;
                left -= 1;
            }
        }
    } else {
        let mut all = Vec::new();
        for shard in store.shards() {
            for found in entries(shard, Order::Insertion, tag.clone(), &args) {
                all.push(found?);
            }
        }
        all.sort_by(|a, b| compare(sort(&args), a, b));
        if args.reverse {
            all.reverse();
        }
        for (key, info) in all.iter().take(left) {
            print(&args, key, names, info, &mut output)?;
        }
    }
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

/// Whether the store has the order, one shard after the other.
fn is_streamed(args: &List, store: &AnyCache) -> bool {
    match sort(args) {
        Sort::Inserted => !args.reverse || store.shards().len() == 1,
        Sort::Key => store.shards().len() == 1,
        _ => false,
    }
}

fn sort(args: &List) -> Sort {
    args.sort.unwrap_or(if args.prefix.is_some() { Sort::Key } else { Sort::Inserted })
}

fn order(args: &List) -> Order {
    match (sort(args), args.reverse) {
        (Sort::Key, false) => Order::Sorted,
        (Sort::Key, true) => Order::SortedReversed,
        (_, true) => Order::InsertionReversed,
        (_, false) => Order::Insertion,
    }
}

/// The entries that are asked for. One that is removed while they are listed is left out.
fn entries<'a>(
    shard: &'a Cache,
    order: Order,
    tag: Option<Scalar>,
    args: &'a List,
) -> impl Iterator<Item = dolium::Result<(Key<'static>, Info)>> + 'a {
    let keys = shard.keys_where(order, tag, args.prefix.as_deref());
    let (keys, failure) = match keys {
        Ok(keys) => (Some(keys), None),
        Err(error) => (None, Some(Err(error))),
    };
    let found = keys.into_iter().flatten().filter_map(move |key| match key {
        Err(error) => Some(Err(error)),
        Ok(key) => match raw::stored_info(shard, &key) {
            Err(error) => Some(Err(error)),
            Ok(info) => info.filter(|info| is_expired(info) == args.expired).map(|info| Ok((key, info))),
        },
    });
    failure.into_iter().chain(found)
}

fn is_expired(info: &Info) -> bool {
    info.expire_time.is_some_and(|time| time <= human::now())
}

fn compare(sort: Sort, (key, info): &(Key<'_>, Info), (other, with): &(Key<'_>, Info)) -> Ordering {
    match sort {
        // Shards have no common order of insertion; times are the nearest to one.
        Sort::Inserted | Sort::Stored => info.store_time.total_cmp(&with.store_time),
        Sort::Key => compare_keys(key, other),
        Sort::Expires => {
            let time = |info: &Info| info.expire_time.unwrap_or(f64::INFINITY);
            time(info).total_cmp(&time(with))
        }
        Sort::Accessed => info.access_time.total_cmp(&with.access_time),
        Sort::Size => info.size.cmp(&with.size),
    }
}

/// As the database sorts: numbers, text, bytes.
fn compare_keys(a: &Key<'_>, b: &Key<'_>) -> Ordering {
    #[expect(clippy::cast_precision_loss, reason = "equal ones keep their order")]
    let number = |key: &Key<'_>| match key {
        Key::Int(value) => Some(*value as f64),
        Key::Float(value) => Some(*value),
        _ => None,
    };
    let rank = |key: &Key<'_>| match key {
        Key::Int(_) | Key::Float(_) => 0,
        Key::Text(_) => 1,
        _ => 2,
    };
    let order = match (a, b) {
        (Key::Int(a), Key::Int(b)) => a.cmp(b),
        (Key::Text(a), Key::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Key::Bytes(a) | Key::Pickle(a), Key::Bytes(b) | Key::Pickle(b)) => a.cmp(b),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => Ordering::Equal,
        },
    };
    rank(a).cmp(&rank(b)).then(order)
}

fn print(args: &List, key: &Key<'_>, names: Names, info: &Info, output: &mut Output) -> Result<()> {
    if args.json {
        return output.json(&entry_json(key, names, info));
    }
    let argument = key::argument(key, names);
    if args.null {
        output.write_all(argument.as_bytes())?;
        output.write_all(b"\0")?;
        return Ok(());
    }
    if !args.long {
        return output.line(&key::quoted(&argument));
    }
    let expires = info.expire_time.map_or_else(|| "never".to_owned(), human::relative);
    // A key that can only be named by its bytes is described beside them.
    let described = match key {
        Key::Pickle(_) if argument.starts_with("--pickle-hex") => format!("  # {}", key::shown(key, names)),
        _ => String::new(),
    };
    output.line(&format!(
        "{:>10}  {:<9} {:<7} {:<9} {:<12} {}{described}",
        human::size(info.size),
        human::relative(info.store_time),
        mode_name(info.mode),
        expires,
        tag_text(&info.tag).as_deref().unwrap_or("-"),
        key::quoted(&argument),
    ))
}
