//! Owns `info`: a cache as a whole, or one entry.

use std::time::Duration;

use dolium::raw::mode;
use dolium::{Cache, HotTierStatus, Key, Scalar, raw};
use serde_json::{Map, Value as Json, json};

use crate::args::Info;
use crate::key::Names;
use crate::open::{Access, AnyCache};
use crate::outcome::{Outcome, Result};
use crate::output::Output;
use crate::{human, json, key, plain};

use super::not_found;

pub(super) fn act(args: Info, timeout: Duration) -> Result<Outcome> {
    if let Some(directory) = args.at.directory_only()? {
        let store = AnyCache::open(&directory, Access::Look, timeout)?;
        let facts = Facts::of(&store)?;
        let mut output = Output::new();
        if args.json {
            output.json(&facts.json(&store))?;
        } else {
            facts.print(&store, &mut output)?;
        }
        output.finish()?;
        store.close()?;
        return Ok(Outcome::Done);
    }
    let (store, key, names) = args.at.open(Access::Look, timeout)?;
    let Some(info) = store.shard(&key).info(&key)? else {
        return Ok(not_found(&key, names));
    };
    let mut output = Output::new();
    if args.json {
        output.json(&entry_json(&key, names, &info))?;
    } else {
        print_entry(&key, names, &info, &mut output)?;
    }
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

/// What is told of a cache.
struct Facts {
    entries: usize,
    expired: i64,
    volume: u64,
    files: i64,
    hits: i64,
    misses: i64,
    limit: Option<u64>,
    journal: String,
    /// Value files that wait to be removed.
    trash: i64,
    /// Changes that programs other than dolium made. `None`: dolium never wrote here.
    foreign: Option<i64>,
    tier: HotTierStatus,
    settings: Vec<(String, Scalar)>,
    names: Names,
}

impl Facts {
    fn of(store: &AnyCache) -> Result<Self> {
        let stats = store.sum(Cache::stats)?;
        let expired = "SELECT count(*) FROM Cache WHERE expire_time <= ?1";
        let is_ours = "SELECT count(*) FROM sqlite_master WHERE name = 'DoliumTrash'";
        let shards = store.shards();
        let ours: Vec<&Cache> =
            shards.iter().filter(|shard| number(shard, is_ours, &[]) == Some(1)).collect();
        let total = |sql| ours.iter().filter_map(|shard| number(shard, sql, &[])).sum();
        let foreign = total("SELECT value FROM Dolium WHERE key = 'foreign'");
        Ok(Self {
            entries: store.sum(Cache::len)?,
            expired: shards.iter().filter_map(|shard| number(shard, expired, &[human::now().into()])).sum(),
            volume: store.sum(Cache::volume)?,
            files: shards
                .iter()
                .filter_map(|shard| number(shard, "SELECT value FROM Settings WHERE key = 'size'", &[]))
                .sum(),
            hits: stats.hits,
            misses: stats.misses,
            limit: store.size_limit()?,
            journal: raw::journal_mode(&shards[0])?.unwrap_or_else(|| "none yet".to_owned()),
            trash: total("SELECT count(*) FROM DoliumTrash"),
            foreign: (!ours.is_empty()).then_some(foreign),
            tier: store.hot_tier()?,
            settings: shards[0].settings()?,
            names: Names::of(store)?,
        })
    }

    fn setting(&self, name: &str) -> Option<&Scalar> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn json(&self, store: &AnyCache) -> Json {
        let settings: Map<String, Json> =
            self.settings.iter().map(|(name, value)| (name.clone(), json::setting(value))).collect();
        let nested: Vec<_> = store.nested().iter().map(|path| path.display().to_string()).collect();
        json!({
            "directory": store.directory().display().to_string(),
            "shards": store.shard_count(),
            "disk": if self.names == Names::Json { "JSONDisk" } else { "Disk" },
            "entries": self.entries,
            "expired": self.expired,
            "volume": self.volume,
            "value_files": self.files,
            "size_limit": self.limit,
            "eviction_policy": self.setting("eviction_policy").map(json::setting),
            "statistics": self.setting("statistics").and_then(Scalar::as_int) == Some(1),
            "hits": self.hits,
            "misses": self.misses,
            "journal": self.journal,
            "pending_trash": self.trash,
            "foreign_changes": self.foreign,
            "hot_tier": json::hot_tier(&self.tier),
            "nested": nested,
            "settings": settings,
        })
    }

    fn print(&self, store: &AnyCache, output: &mut Output) -> Result<()> {
        output.field("directory", &store.directory().display().to_string())?;
        let kind = store
            .shard_count()
            .map_or_else(|| "Cache".to_owned(), |shards| format!("FanoutCache of {shards} shards"));
        output.field("kind", &kind)?;
        if self.names == Names::Json {
            output.field("disk", "JSONDisk: keys and values are compressed JSON")?;
        }
        let expired = if self.expired > 0 {
            format!(", {} of them expired", human::count(self.expired))
        } else {
            String::new()
        };
        output.field("entries", &format!("{}{expired}", human::count(self.entries)))?;
        let files = human::size(u64::try_from(self.files).unwrap_or(0));
        output.field("volume", &format!("{} ({files} in value files)", human::size(self.volume)))?;
        output.field("limit", &limit_text(self.limit, self.volume))?;
        if let Some(policy) = self.setting("eviction_policy").and_then(Scalar::as_text) {
            output.field("policy", policy)?;
        }
        if self.setting("statistics").and_then(Scalar::as_int) == Some(1) {
            output.field("hits", &super::stats::ratio(self.hits, self.misses))?;
        }
        output.field("journal", &self.journal)?;
        output.field("hot tier", &tier_text(&self.tier))?;
        if self.trash > 0 {
            output.field("trash", &format!("{} value files wait to be removed", self.trash))?;
        }
        match self.foreign {
            None => output.field("made by", "diskcache; dolium has not written here yet")?,
            Some(0) => {}
            Some(changes) => {
                output.field("others", &format!("{changes} changes by programs other than dolium"))?;
            }
        }
        for nested in store.nested() {
            output.field("nested", &nested.display().to_string())?;
        }
        output.field("settings", "")?;
        for (name, value) in &self.settings {
            output.line(&format!("  {name:<24}{}", plain_setting(value)))?;
        }
        Ok(())
    }
}

/// The limit, and how much of it is used.
pub(super) fn limit_text(limit: Option<u64>, volume: u64) -> String {
    let Some(limit) = limit else {
        return "none".to_owned();
    };
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let used = 100.0 * volume as f64 / limit.max(1) as f64;
    format!("{} ({used:.0} % used)", human::size(limit))
}

fn plain_setting(value: &Scalar) -> String {
    match json::setting(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// One number out of a store. `None`: there is no store yet, or no such number.
fn number(cache: &Cache, statement: &str, arguments: &[Scalar]) -> Option<i64> {
    raw::sql(cache, statement, arguments).ok()?.rows.first()?.first()?.as_int()
}

/// What a mode means to a reader.
pub(super) fn mode_name(mode: i64) -> &'static str {
    match mode {
        mode::NONE => "none",
        mode::RAW => "plain",
        mode::BINARY => "bytes",
        mode::TEXT => "text",
        mode::PICKLE => "pickle",
        mode::PACKED => "msgpack",
        mode::FRAME => "frame",
        _ => "unknown",
    }
}

/// A tag as people read it.
pub(super) fn tag_text(tag: &Scalar) -> Option<String> {
    match tag {
        Scalar::Null => None,
        Scalar::Int(number) => Some(number.to_string()),
        Scalar::Real(number) => Some(format!("{number:?}")),
        Scalar::Text(text) if text.chars().any(char::is_control) => Some(plain::quoted(text)),
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Blob(bytes) => Some(plain::Data::Bytes(bytes.clone()).to_string()),
    }
}

/// An entry as JSON, without its value.
pub(super) fn entry_json(key: &Key<'_>, names: Names, info: &dolium::Info) -> Json {
    json!({
        "key": json::key(key),
        "argument": key::argument(key, names),
        "repr": key::shown(key, names),
        "size": info.size,
        "mode": info.mode,
        "kind": mode_name(info.mode),
        "tag": json::scalar(&info.tag),
        "store_time": info.store_time,
        "expire_time": info.expire_time.filter(|time| time.is_finite()),
        "access_time": info.access_time,
        "access_count": info.access_count,
        "path": info.path.as_ref().map(|path| path.display().to_string()),
    })
}

fn print_entry(key: &Key<'_>, names: Names, info: &dolium::Info, output: &mut Output) -> Result<()> {
    output.field("key", &key::shown(key, names))?;
    output.field("argument", &key::quoted(&key::argument(key, names)))?;
    output.field("kind", mode_name(info.mode))?;
    output.field("size", &human::size(info.size))?;
    if let Some(tag) = tag_text(&info.tag) {
        output.field("tag", &tag)?;
    }
    output.field("stored", &human::time(info.store_time))?;
    output.field("expires", &info.expire_time.map_or_else(|| "never".to_owned(), human::time))?;
    output.field("read", &format!("{} times, last {}", info.access_count, human::time(info.access_time)))?;
    if let Some(path) = &info.path {
        output.field("file", &path.display().to_string())?;
    }
    Ok(())
}

/// `16.0 MiB (more was written than it took), 12 keys, 345.0 KiB not in the database yet, 4 processes`.
fn tier_text(tier: &HotTierStatus) -> String {
    match &tier.stats {
        Ok(stats) => format!(
            "{} ({}), {} keys, {} not in the database yet, {}",
            human::size(stats.capacity),
            tier.size_reason(),
            human::count(stats.keys),
            human::size(stats.dirty_bytes),
            human::processes(tier.processes),
        ),
        Err(why) => format!("none: {why}"),
    }
}
