//! Annotations: named bytes beside the entries, which no policy evicts and diskcache does not see.

use crate::sqlite::annotations;
use crate::system::error::Result;

use super::Cache;

impl Cache {
    /// The annotation of a name, or `None` if there is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = dolium::Cache::open(dir.path())?;
    /// cache.annotate("f()", b"version 2")?;
    /// assert_eq!(cache.annotation("f()")?, Some(b"version 2".to_vec()));
    /// assert!(cache.is_empty()?);
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn annotation(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.handle.read_now(self.wait, |connection| annotations::annotation(connection, name))
    }

    /// Replaces the annotation of a name.
    pub fn annotate(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.handle.write(self.wait, |write| annotations::annotate(write.connection(), name, bytes))
    }
}
