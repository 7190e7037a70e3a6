//! Owns values of any type that serde can carry, stored as `MessagePack`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::system::error::{Error, Result};
use crate::value::key::Key;
use crate::value::{Payload, Value};

use super::Cache;
use crate::value::put_options::PutOptions;

impl Cache {
    /// Stores any value that serde can serialize.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct User { name: String, age: u8 }
    ///
    /// let cache = dolium::Cache::open(dir.path())?;
    /// let user = User { name: "Ada".into(), age: 36 };
    /// cache.set_as("user:1", &user, &dolium::PutOptions::new())?;
    /// assert_eq!(cache.get_as("user:1")?, Some(user));
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn set_as<'k, T: Serialize + ?Sized>(
        &self,
        key: impl Into<Key<'k>>,
        value: &T,
        options: &PutOptions,
    ) -> Result<bool> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| Error::Type(error.to_string()))?;
        self.set_with(key, Payload::Packed(&bytes), options)
    }

    /// The value of a key as any type that serde can deserialize. Values that were stored otherwise
    /// (numbers, text, bytes) convert if the type fits; pickles do not.
    pub fn get_as<'k, T: DeserializeOwned>(&self, key: impl Into<Key<'k>>) -> Result<Option<T>> {
        self.get(key)?.map(decode).transpose()
    }
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T> {
    let packed = match value {
        Value::Packed(bytes) => Ok(bytes),
        Value::Null => rmp_serde::to_vec(&()),
        Value::Int(value) => rmp_serde::to_vec(&value),
        Value::Float(value) => rmp_serde::to_vec(&value),
        Value::Text(value) => rmp_serde::to_vec(&value),
        Value::Bytes(value) => rmp_serde::to_vec(&Bytes(&value)),
        Value::Pickle { .. } => {
            return Err(Error::Type(
                "the value is a Python pickle; read it with Python, or as raw bytes".into(),
            ));
        }
        Value::Unknown { mode, .. } => {
            return Err(Error::Type(format!(
                "the value has mode {mode}, which this version of dolium does not know; upgrade it"
            )));
        }
    };
    packed
        .map_err(|error| Error::Type(error.to_string()))
        .and_then(|bytes| rmp_serde::from_slice(&bytes).map_err(|error| Error::Type(error.to_string())))
}

/// Bytes as serde's bytes instead of a sequence of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
