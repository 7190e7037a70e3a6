//! Annotations: named bytes beside the entries, which no policy evicts and diskcache does not see.

use crate::sqlite::annotations;
use crate::system::error::Result;

use super::Cache;

/// The annotation of a name, or `None` if there is none.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, raw};
///
/// let cache = Cache::open(dir.path())?;
/// raw::annotate(&cache, "f()", b"version 2")?;
/// assert_eq!(raw::annotation(&cache, "f()")?, Some(b"version 2".to_vec()));
/// assert!(cache.is_empty()?);
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn annotation(cache: &Cache, name: &str) -> Result<Option<Vec<u8>>> {
    cache.handle.read_now(cache.wait, |connection| annotations::annotation(connection, name))
}

/// Replaces the annotation of a name.
pub fn annotate(cache: &Cache, name: &str, bytes: &[u8]) -> Result<()> {
    cache.handle.write(cache.wait, |write| annotations::annotate(write.connection(), name, bytes))
}
