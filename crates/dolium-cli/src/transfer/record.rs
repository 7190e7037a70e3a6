//! Owns an entry on its way from one store to another, and its line in an export.

use dolium::raw::{Body, RawEntry};
use dolium::{Cache, Info, Key, Scalar, raw};
use serde_json::{Map, Value as Json, json};

use crate::encoding::{from_base64, to_base64};
use crate::json;

/// An entry without its value.
#[derive(Debug)]
pub(super) struct Record {
    pub key: Key<'static>,
    pub mode: i64,
    pub store_time: f64,
    pub expire_time: Option<f64>,
    pub access_time: f64,
    pub access_count: i64,
    pub tag: Scalar,
    /// What lies beside the key: see [`dolium::raw::Object`].
    pub proof: Option<Vec<u8>>,
}

/// Where the value of a record is.
#[derive(Debug)]
pub(super) enum ValueLocation {
    /// In the row.
    Row(Scalar),
    /// In a file of so many bytes.
    File(u64),
}

impl Record {
    pub fn new(cache: &Cache, key: Key<'static>, info: Info) -> dolium::Result<Self> {
        let proof = if key.pickle().is_some() { raw::proof(cache, &key)? } else { None };
        Ok(Self {
            key,
            mode: info.mode,
            store_time: info.store_time,
            expire_time: info.expire_time,
            access_time: info.access_time,
            access_count: info.access_count,
            tag: info.tag,
            proof,
        })
    }

    pub fn raw_entry<'a>(&self, body: Body<'a>) -> RawEntry<'a> {
        let mut raw = RawEntry::new(self.mode, body, self.store_time);
        raw.expire_time = self.expire_time;
        raw.access_time = self.access_time;
        raw.access_count = self.access_count;
        raw.tag = self.tag.clone();
        raw
    }

    pub fn to_json(&self, location: &ValueLocation) -> Json {
        let value = match location {
            ValueLocation::Row(value) => json::scalar(value),
            ValueLocation::File(length) => json!({ "file": length }),
        };
        let mut line = Map::new();
        line.insert("key".into(), json::key(&self.key));
        if let Some(proof) = &self.proof {
            line.insert("proof".into(), to_base64(proof).into());
        }
        line.insert("value".into(), value);
        line.insert("mode".into(), self.mode.into());
        line.insert("store_time".into(), self.store_time.into());
        line.insert("access_time".into(), self.access_time.into());
        line.insert("access_count".into(), self.access_count.into());
        // An entry that expires in all eternity does not expire.
        if let Some(time) = self.expire_time.filter(|time| time.is_finite()) {
            line.insert("expire_time".into(), time.into());
        }
        if !self.tag.is_null() {
            line.insert("tag".into(), json::scalar(&self.tag));
        }
        Json::Object(line)
    }

    /// `None`: this is no entry.
    pub fn from_json(line: &Json) -> Option<(Self, ValueLocation)> {
        let value = line.get("value")?;
        let location = match value.get("file") {
            Some(length) => ValueLocation::File(length.as_u64()?),
            None => ValueLocation::Row(json::to_scalar(value)?),
        };
        let store_time = line.get("store_time")?.as_f64()?;
        let record = Self {
            key: json::to_key(line.get("key")?)?,
            mode: line.get("mode")?.as_i64()?,
            store_time,
            expire_time: line.get("expire_time").and_then(Json::as_f64),
            access_time: line.get("access_time").and_then(Json::as_f64).unwrap_or(store_time),
            access_count: line.get("access_count").and_then(Json::as_i64).unwrap_or(0),
            tag: line.get("tag").map_or(Some(Scalar::Null), json::to_scalar)?,
            proof: line.get("proof").and_then(Json::as_str).and_then(from_base64),
        };
        Some((record, location))
    }
}
