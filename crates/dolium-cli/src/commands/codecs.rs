//! What the codecs of a cache save, for `stats --codecs`.

use std::collections::BTreeMap;

use dolium::raw::{self, StoredDictionary, Usage, encoder, filter};
use serde_json::json;

use crate::human;
use crate::open::AnyCache;
use crate::outcome::{Outcome, Result, say};
use crate::output::Output;

/// Values that are stored alike: their group, their codec, and the number of their dictionary.
type Alike = (String, String, Option<u32>);

pub(super) fn act(store: AnyCache, is_json: bool) -> Result<Outcome> {
    let first = &store.shards()[0];
    let dictionaries = raw::dictionaries(first)?;
    let groups: BTreeMap<u32, String> = raw::groups(first)?
        .into_iter()
        .map(|name| (raw::group(first, &name).number(), shown(&name)))
        .collect();
    let mut sums: BTreeMap<Alike, Usage> = BTreeMap::new();
    for shard in store.shards() {
        for ((encoder, filters, number), usage) in raw::usage(shard)? {
            let known = number.and_then(|number| of_number(&dictionaries, number));
            let group = match (number, known) {
                (None, _) => "-".to_owned(),
                (Some(_), Some(stored)) => shown(&stored.group),
                (Some(number), None) => groups.get(&number).cloned().unwrap_or_else(|| "?".to_owned()),
            };
            let used = number.filter(|_| filters.contains(&filter::ZSTD_DICTIONARY));
            let sum = sums.entry((group, codec(encoder, &filters), used)).or_default();
            sum.entries += usage.entries;
            sum.before = sum.before.saturating_add(usage.before);
            sum.stored = sum.stored.saturating_add(usage.stored);
        }
    }
    let mut output = Output::new();
    for ((group, codec, used), usage) in &sums {
        let stored = used.and_then(|number| of_number(&dictionaries, number));
        let saved = saved(usage);
        if is_json {
            output.json(&json!({
                "group": group,
                "codec": codec,
                "entries": usage.entries,
                "before": usage.before,
                "stored": usage.stored,
                "saved": saved,
                "dictionary": used,
                "adopted": stored.map(|stored| stored.adopted),
                "dictionary_bytes": stored.and_then(|stored| stored.bytes.as_ref()).map(Vec::len),
            }))?;
        } else {
            let dictionary = match (used, stored) {
                (None, _) => String::new(),
                (Some(number), Some(StoredDictionary { adopted, bytes: Some(bytes), .. })) => {
                    let bytes = human::size(bytes.len() as u64);
                    format!("  dictionary {number:08x}, {bytes}, {}", human::relative(*adopted))
                }
                (Some(number), Some(_)) => format!("  dictionary {number:08x}, damaged"),
                (Some(number), None) => format!("  dictionary {number:08x}, gone"),
            };
            output.line(&format!(
                "{:>10}  {:>10}  {:>10}  {:>7}  {group}  {codec}{dictionary}",
                human::count(usage.entries),
                human::size(usage.before),
                human::size(usage.stored),
                format!("{:.1} %", 100.0 * saved),
            ))?;
        }
    }
    output.finish()?;
    store.close()?;
    if sums.is_empty() {
        say("no value was stored by a codec");
    }
    Ok(Outcome::Done)
}

fn of_number(dictionaries: &[StoredDictionary], number: u32) -> Option<&StoredDictionary> {
    dictionaries.iter().find(|stored| stored.number == i64::from(number))
}

/// The name of a group: that of a function, or of the cache.
fn shown(group: &str) -> String {
    if group.is_empty() { "the cache".to_owned() } else { group.to_owned() }
}

/// The encoder and the filters, as `json | shuffle 8 | zstd`.
fn codec(encoder: u8, filters: &[u8]) -> String {
    let filters = filters.iter().map(|filter| match *filter {
        filter::ZSTD => "zstd".to_owned(),
        filter::ZSTD_DICTIONARY => "zstd with a dictionary".to_owned(),
        filter::OWN => "own".to_owned(),
        filter if filter > filter::SHUFFLE => format!("shuffle {}", filter - filter::SHUFFLE),
        filter => format!("filter {filter}"),
    });
    std::iter::once(encoder::name(encoder).to_owned()).chain(filters).collect::<Vec<_>>().join(" | ")
}

/// The part of the bytes that is saved, below 0 if the heads of frames cost more.
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn saved(usage: &Usage) -> f64 {
    if usage.before == 0 { 0.0 } else { 1.0 - usage.stored as f64 / usage.before as f64 }
}
