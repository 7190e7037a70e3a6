//! Caches that a `JSONDisk` fills: keys and values are JSON, compressed with zlib and stored as bytes.
//!
//! Nothing in a directory names its `Disk`. The setting of the level of compression tells, where a program passed one;
//! else the first keys do.

use dolium::{Cache, Key, Order};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde_json::Value as Json;

use crate::open::AnyCache;
use crate::outcome::Result;
use crate::plain::Data;

/// The setting that only a `JSONDisk` has.
const LEVEL: &str = "disk_compress_level";

/// How many keys tell where there is no such setting.
const KEYS: usize = 8;

/// The longest JSON that is read: a few bytes can stand for any length.
const LONGEST: usize = 256 << 20;

/// Whether a `JSONDisk` fills the cache.
pub(crate) fn fills(store: &AnyCache) -> Result<bool> {
    if store.setting(LEVEL)?.is_some() {
        return Ok(true);
    }
    let mut seen = false;
    for shard in store.shards() {
        for key in shard.keys(Order::Insertion)?.take(KEYS) {
            if decode_key(&key?).is_none() {
                return Ok(false);
            }
            seen = true;
        }
    }
    Ok(seen)
}

/// The JSON that bytes stand for. Returns `None` if they are anything else.
pub(crate) fn decode(bytes: &[u8]) -> Option<Json> {
    serde_json::from_slice(&decompress_to_vec_zlib_with_limit(bytes, LONGEST).ok()?).ok()
}

/// The JSON that a key stands for.
pub(crate) fn decode_key(key: &Key<'_>) -> Option<Json> {
    if let Key::Bytes(bytes) = key { decode(bytes) } else { None }
}

/// The stored key that stands for this JSON. Other programs compress the same JSON to other bytes, so that the keys are
/// compared one by one.
pub(crate) fn find(store: &AnyCache, wanted: &Json) -> Result<Option<Key<'static>>> {
    let of_shard = |shard: &Cache| -> Result<Option<Key<'static>>> {
        for key in shard.keys(Order::Insertion)? {
            let key = key?;
            if decode_key(&key).as_ref() == Some(wanted) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    };
    for shard in store.shards() {
        if let Some(found) = of_shard(shard)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The JSON that Python's `json` makes of a value. Returns `None` if there is none.
pub(crate) fn of_data(data: &Data) -> Option<Json> {
    Some(match data {
        Data::None => Json::Null,
        Data::Bool(value) => Json::from(*value),
        Data::Int(value) => Json::from(*value),
        Data::Float(value) => serde_json::Number::from_f64(*value)?.into(),
        Data::Text(value) => Json::from(value.as_str()),
        Data::List(items) | Data::Tuple(items) => items.iter().map(of_data).collect::<Option<_>>()?,
        Data::Dict(items) => {
            let item = |(key, value): &(Data, Data)| match key {
                Data::Text(key) => Some((key.clone(), of_data(value)?)),
                _ => None,
            };
            Json::Object(items.iter().map(item).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The value that Python's `json` makes of JSON.
pub(crate) fn to_data(json: &Json) -> Data {
    match json {
        Json::Null => Data::None,
        Json::Bool(value) => Data::Bool(*value),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Data::Float(number.as_f64().unwrap_or(f64::NAN)), Data::Int)
        }
        Json::String(text) => Data::Text(text.clone()),
        Json::Array(items) => Data::List(items.iter().map(to_data).collect()),
        Json::Object(items) => {
            Data::Dict(items.iter().map(|(key, value)| (Data::Text(key.clone()), to_data(value))).collect())
        }
    }
}

/// The value as the command line prints it: text as it is, everything else as JSON.
pub(crate) fn text_of(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}
