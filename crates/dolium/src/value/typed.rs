//! Values as the types of a program, through serde.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::system::error::{Error, Result};

use super::Value;
use super::frame::encoder;

impl Value {
    /// Converts the value to any type that serde can deserialize: `MessagePack`, as `Cache::set_as` stores it, and numbers,
    /// text and bytes if the type fits.
    ///
    /// Fails with [`Error::Type`] if the type does not fit, and for a pickle, which only Python can read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = dolium::Cache::open(dir.path())?;
    /// cache.push(42, None, dolium::Side::Back, &dolium::PutOptions::new())?;
    /// if let Some((_, entry)) = cache.pull(None, dolium::Side::Front)? {
    ///     assert_eq!(entry.value.decode::<u8>()?, 42);
    /// }
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn decode<T: DeserializeOwned>(self) -> Result<T> {
        let packed = match self {
            Self::Packed(bytes) => Ok(bytes),
            Self::Null => rmp_serde::to_vec(&()),
            Self::Int(value) => rmp_serde::to_vec(&value),
            Self::Float(value) => rmp_serde::to_vec(&value),
            Self::Text(value) => rmp_serde::to_vec(&value),
            Self::Bytes(value) => rmp_serde::to_vec(&Bytes(&value)),
            Self::Pickle { .. } => {
                return Err(Error::Type(
                    "the value is a Python pickle; read it with Python, or as raw bytes".into(),
                ));
            }
            Self::Encoded(encoded) => {
                return Err(Error::Type(format!(
                    "the value was encoded as {}, which only Python decodes; read it there, or as raw bytes",
                    encoder::name(encoded.encoder)
                )));
            }
            Self::Unknown { mode, .. } => {
                return Err(Error::Type(format!(
                    "the value has mode {mode}, which this version of dolium does not know; upgrade it"
                )));
            }
        };
        packed
            .map_err(|error| Error::Type(error.to_string()))
            .and_then(|bytes| rmp_serde::from_slice(&bytes).map_err(|error| Error::Type(error.to_string())))
    }
}

/// Bytes as serde's bytes instead of a sequence of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
