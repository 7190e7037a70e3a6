//! Owns the quarantine of a damaged store: all its files get names that nothing else uses.

use std::path::{Path, PathBuf};

use crate::system::clock::Clock;
use crate::system::error::Result;
use crate::system::files;

/// The files beside the database that belong to it, in the order in which they are renamed: a log must
/// not be found beside a fresh database.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Renames a database and its companions. Returns the database's new name.
pub(crate) fn rename_store(database: &Path) -> Result<PathBuf> {
    let quarantined = unused_name(database);
    for companion in COMPANIONS {
        files::rename(&with_suffix(database, companion), &with_suffix(&quarantined, companion))?;
    }
    files::rename(database, &quarantined)?;
    Ok(quarantined)
}

/// Removes a database that no process uses: one that `rename_store` gave another name, or an empty one.
pub(crate) fn remove_store(database: &Path) {
    remove_log(database);
    files::remove_file(database);
}

/// Removes what lies beside a database that is gone, or that has lost it: it must not meet another.
pub(crate) fn remove_log(database: &Path) {
    for companion in COMPANIONS {
        files::remove_file(&with_suffix(database, companion));
    }
}

fn unused_name(database: &Path) -> PathBuf {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds name the file")]
    let seconds = Clock::System.now() as i64;
    (seconds..seconds + 1_000_000)
        .map(|time| with_suffix(database, &format!(".corrupt-{time}")))
        .find(|path| !files::exists(path))
        .expect("some second has no damaged store yet")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
