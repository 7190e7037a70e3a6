//! Storing and reading values of any type that serde can carry, as `MessagePack`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::system::error::{Error, Result};
use crate::value::filters::Zstd;
use crate::value::frame::{Frame, encoder};
use crate::value::key::Key;
use crate::value::put_options::PutOptions;
use crate::value::{Payload, Value};

use super::Cache;

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
    /// assert_eq!(cache.get_as::<User>("user:1")?, Some(user));
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

    /// The same, compressed with Zstandard, from level -50 (fast) to 22 (small); 3 is usual. The value is stored as it is
    /// where that does not save a sixteenth. [`get_as`](Self::get_as) reads it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = dolium::Cache::open(dir.path())?;
    /// let words = vec!["spam"; 1000];
    /// cache.set_as_zstd("words", &words, 3, &dolium::PutOptions::new())?;
    /// assert!(cache.info("words")?.expect("it was just stored").size < 100);
    /// assert_eq!(cache.get_as::<Vec<String>>("words")?.expect("it was just stored"), words);
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn set_as_zstd<'k, T: Serialize + ?Sized>(
        &self,
        key: impl Into<Key<'k>>,
        value: &T,
        level: i32,
        options: &PutOptions,
    ) -> Result<bool> {
        let bytes = rmp_serde::to_vec_named(value).map_err(|error| Error::Type(error.to_string()))?;
        match Zstd::new(level).apply(&bytes) {
            None => self.set_with(key, Payload::Packed(&bytes), options),
            Some((filters, packed)) => {
                let frame = Frame::new(encoder::PACKED, &packed).filtered(&filters, bytes.len() as u64);
                self.set_with(key, frame, options)
            }
        }
    }

    /// The value of a key as any type that serde can deserialize, whether [`set_as`](Self::set_as), [`set`](Self::set) or
    /// Python stored it. [`Value::decode`](crate::Value::decode) says what converts.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = dolium::Cache::open(dir.path())?;
    /// cache.set("name", "Ada")?;
    /// cache.set("visits", 41)?;
    /// assert_eq!(cache.get_as::<String>("name")?.as_deref(), Some("Ada"));
    /// assert_eq!(cache.get_as::<u32>("visits")?.unwrap_or_default() + 1, 42);
    /// assert_eq!(cache.get_as::<String>("absent")?, None);
    /// assert!(cache.get_as::<u32>("name").is_err(), "text is no number");
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn get_as<'k, T: DeserializeOwned>(&self, key: impl Into<Key<'k>>) -> Result<Option<T>> {
        self.get(key)?.map(Value::decode).transpose()
    }
}
