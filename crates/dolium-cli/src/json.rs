//! Owns keys, tags, values and the hot tier as JSON, in answers and in exports alike. A key, tag or value is an
//! object whose one name is the type, like `{"text": "a"}`, `{"int": 5}`, `{"float": 1.5}`, `{"bytes": "base64"}`, `{"pickle": "base64"}`.

use dolium::raw::{Encoded, encoder};
use dolium::{Counter, HotTierStatus, Key, Scalar, Value};
use serde_json::{Value as Json, json};

use crate::encoding::{from_base64, to_base64};
use crate::plain;

/// JSON has no infinities: they are text.
fn float(value: f64) -> Json {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn from_float(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str().and_then(|text| text.parse().ok()))
}

pub(crate) fn key(key: &Key<'_>) -> Json {
    match key {
        Key::Int(value) => json!({ "int": value }),
        Key::Float(value) => json!({ "float": float(*value) }),
        Key::Text(value) => json!({ "text": value }),
        Key::Bytes(value) => json!({ "bytes": to_base64(value) }),
        _ => {
            json!({ "pickle": to_base64(key.pickle().unwrap_or_default()) })
        }
    }
}

pub(crate) fn scalar(value: &Scalar) -> Json {
    match value {
        Scalar::Null => Json::Null,
        Scalar::Int(value) => json!({ "int": value }),
        Scalar::Real(value) => json!({ "float": float(*value) }),
        Scalar::Text(value) => json!({ "text": value }),
        Scalar::Blob(value) => json!({ "bytes": to_base64(value) }),
    }
}

/// A hot tier, or why there is none.
pub(crate) fn hot_tier(tier: &HotTierStatus) -> Json {
    match &tier.stats {
        Ok(stats) => {
            let counts =
                Counter::ALL.map(|counter| (counter.name().to_owned(), json!(stats.counted(counter))));
            json!({
                "processes": tier.processes,
                "capacity": stats.capacity,
                "reason": tier.size_reason(),
                "keys": stats.keys,
                "dirty_bytes": stats.dirty_bytes,
                "counted": serde_json::Map::from_iter(counts),
            })
        }
        Err(why) => json!({ "processes": tier.processes, "none": why.to_string() }),
    }
}

/// A setting, which is never bytes: just its value.
pub(crate) fn setting(value: &Scalar) -> Json {
    match value {
        Scalar::Null => Json::Null,
        Scalar::Int(value) => json!(value),
        Scalar::Real(value) => float(*value),
        Scalar::Text(value) => json!(value),
        Scalar::Blob(value) => json!(to_base64(value)),
    }
}

/// The document in a value that was encoded as JSON, after the name of its type.
pub(crate) fn document<'b>(encoded: &Encoded, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let (&length, rest) =
        bytes.split_first().filter(|_| encoded.encoder == encoder::JSON && encoded.filters.is_empty())?;
    // The name of a type is followed by eight bytes that say what it looked like.
    rest.get(if length == 0 { 0 } else { usize::from(length) + 8 }..)
}

/// A value with its type, and what it says if it is a pickle.
pub(crate) fn value(value: &Value) -> Json {
    match value {
        Value::Int(value) => json!({ "type": "int", "value": value }),
        Value::Float(value) => json!({ "type": "float", "value": float(*value) }),
        Value::Text(value) => json!({ "type": "text", "value": value }),
        Value::Bytes(bytes) => json!({ "type": "bytes", "base64": to_base64(bytes) }),
        Value::Pickle { bytes, signed } => {
            let description = plain::describe(bytes);
            json!({
                "type": "pickle",
                "base64": to_base64(bytes),
                "signed": signed,
                "repr": description.as_ref().map(|description| description.data.to_string()),
                "foreign": description.map(|description| description.foreign),
            })
        }
        Value::Packed(bytes) => json!({ "type": "msgpack", "base64": to_base64(bytes) }),
        Value::Encoded(encoded) => {
            let bytes = encoded.bytes().unwrap_or_default();
            match document(encoded, &bytes).and_then(|text| serde_json::from_slice::<Json>(text).ok()) {
                Some(value) => json!({ "type": "json", "value": value }),
                None => json!({ "type": encoder::name(encoded.encoder), "base64": to_base64(&bytes) }),
            }
        }
        Value::Unknown { mode, bytes } => {
            json!({ "type": "unknown", "mode": mode, "base64": to_base64(bytes) })
        }
        _ => json!({ "type": "null", "value": null }),
    }
}

pub(crate) fn to_key(json: &Json) -> Option<Key<'static>> {
    if let Some(pickle) = json.get("pickle") {
        return Some(Key::Pickle(from_base64(pickle.as_str()?)?.into()));
    }
    match to_scalar(json)? {
        Scalar::Null => None,
        Scalar::Int(value) => Some(Key::from(value)),
        Scalar::Real(value) => Some(Key::from(value)),
        Scalar::Text(value) => Some(Key::from(value)),
        Scalar::Blob(value) => Some(Key::from(value)),
    }
}

pub(crate) fn to_scalar(json: &Json) -> Option<Scalar> {
    if json.is_null() {
        return Some(Scalar::Null);
    }
    let (kind, value) = json.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "int" => Scalar::Int(value.as_i64()?),
        "float" => Scalar::Real(from_float(value)?),
        "text" => Scalar::Text(value.as_str()?.to_owned()),
        "bytes" => Scalar::Blob(from_base64(value.as_str()?)?),
        _ => return None,
    })
}

pub(crate) fn to_setting(json: &Json) -> Scalar {
    match json {
        Json::String(text) => match text.parse::<f64>() {
            Ok(value) if value.is_infinite() => Scalar::Real(value),
            _ => Scalar::Text(text.clone()),
        },
        Json::Bool(value) => Scalar::from(*value),
        other => other.as_i64().map_or_else(|| other.as_f64().into(), Scalar::Int),
    }
}
