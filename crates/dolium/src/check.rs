//! Owns `check`: whether database, counters and value files agree, and making them agree.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::files::{self, Found};
use crate::sqlite::statements::counter;
use crate::sqlite::{Head, Write, schema};
use crate::wait::Deadline;

/// Something that `check` found wrong. With `fix` it was put right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// What SQLite's integrity check says.
    Integrity(String),
    /// A value file has another length than its row says.
    WrongSize {
        /// The file.
        path: PathBuf,
        /// The length in the row.
        stored: i64,
        /// The length of the file.
        found: u64,
    },
    /// A value file is missing. Fixed by removing the entry.
    Missing(PathBuf),
    /// A file that nothing names and nobody is writing. Fixed by removing it.
    Unknown(PathBuf),
    /// A directory without files. Fixed by removing it.
    EmptyDirectory(PathBuf),
    /// A counter in `Settings` is wrong.
    Counter {
        /// `count` or `size`.
        name: &'static str,
        /// What it says.
        stored: i64,
        /// What is true.
        found: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integrity(message) => f.write_str(message),
            Self::WrongSize { path, stored, found } => {
                write!(f, "wrong file size: {}, {found} != {stored}", path.display())
            }
            Self::Missing(path) => write!(f, "file not found: {}", path.display()),
            Self::Unknown(path) => write!(f, "unknown file: {}", path.display()),
            Self::EmptyDirectory(path) => write!(f, "empty directory: {}", path.display()),
            Self::Counter { name, stored, found } => {
                write!(f, "Settings.{name} is {stored}, should be {found}")
            }
        }
    }
}

/// Seconds for which a file that no row names may belong to a write that is under way.
const UNDER_WAY: f64 = 3600.0;

impl Cache {
    /// Looks for inconsistencies and, with `fix`, removes them. Writers wait meanwhile; a cache with many
    /// value files takes a while. With `fix`, a store that SQLite finds damaged is set aside.
    pub fn check(&self, fix: bool) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        self.check_integrity(fix, &mut problems)?;
        if self.is_read_only() {
            return Ok(problems);
        }
        self.write_pending_quietly();
        self.handle.write(self.patience, |write| {
            let names = self.check_rows(write, fix, &mut problems)?;
            self.check_files(&names, fix, &mut problems)?;
            check_counters(write, fix, &mut problems)
        })?;
        if fix {
            self.handle.empty_trash(self.patience)?;
        }
        Ok(problems)
    }

    fn check_integrity(&self, fix: bool, problems: &mut Vec<Problem>) -> Result<()> {
        let before = problems.len();
        let verdict: Result<Vec<String>> = self.handle.read(self.patience, |connection| {
            let mut check = connection.prepare("PRAGMA integrity_check")?;
            let lines = check.query_map([], |row| row.get(0))?;
            Ok(lines.collect::<rusqlite::Result<_>>()?)
        });
        match verdict {
            Ok(lines) => {
                problems.extend(lines.into_iter().filter(|line| line != "ok").map(Problem::Integrity));
            }
            Err(Error::Damaged { detail, .. }) => problems.push(Problem::Integrity(detail)),
            Err(error) => return Err(error),
        }
        if !fix || self.is_read_only() {
            return Ok(());
        }
        if problems.len() > before {
            let _guard = self.handle.acquire(&mut Deadline::new(self.patience))?;
            return self.handle.set_aside_locked();
        }
        Ok(())
    }

    /// Compares each row that names a file with the file. Returns the names.
    fn check_rows(
        &self,
        write: &mut Write<'_>,
        fix: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<HashSet<PathBuf>> {
        let directory = &self.handle.directory;
        let mut names = HashSet::new();
        let rows: Vec<(Head, String)> = {
            let mut select = write
                .connection()
                .prepare("SELECT rowid, expire_time, size, filename FROM Cache WHERE filename IS NOT NULL")?;
            let rows = select.query_map([], |row| {
                let filename: String = row.get(3)?;
                let head = Head {
                    rowid: row.get(0)?,
                    expire_time: row.get(1)?,
                    size: row.get(2)?,
                    filename: Some(filename.clone()),
                };
                Ok((head, filename))
            })?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (head, filename) in rows {
            let path = directory.join(&filename);
            if !files::exists(&path) {
                problems.push(Problem::Missing(path));
                if fix {
                    write.remove(&head)?;
                }
                continue;
            }
            let found = files::length(&path);
            // A user's `Disk` may keep a directory, whose length means nothing.
            if i64::try_from(found) != Ok(head.size) && !path.is_dir() {
                problems.push(Problem::WrongSize { path: path.clone(), stored: head.size, found });
                if fix {
                    write.set_size(&head, i64::try_from(found).unwrap_or(i64::MAX))?;
                }
            }
            names.insert(path);
        }
        let mut trash = write.connection().prepare("SELECT filename FROM DoliumTrash")?;
        let trashed = trash.query_map([], |row| row.get::<_, String>(0))?;
        for name in trashed {
            names.insert(directory.join(name?));
        }
        Ok(names)
    }

    /// Compares the files with the rows. What the store itself consists of, and what somebody may be
    /// writing at this moment, is no orphan.
    fn check_files(&self, names: &HashSet<PathBuf>, fix: bool, problems: &mut Vec<Problem>) -> Result<()> {
        for found in files::walk(&self.handle.directory)? {
            let known = found.path.ancestors().any(|path| names.contains(path));
            if known || is_store(&found) || self.is_under_way(&found) {
                continue;
            }
            problems.push(if found.is_directory {
                Problem::EmptyDirectory(found.path.clone())
            } else {
                Problem::Unknown(found.path.clone())
            });
            if fix {
                files::remove_found(&found)?;
            }
        }
        Ok(())
    }

    fn is_under_way(&self, found: &Found) -> bool {
        let relative = found.path.strip_prefix(&self.handle.directory).ok();
        let is_value = relative.is_some_and(|path| {
            path.components().count() == 3 && path.extension().is_some_and(|end| end == "val" || end == "tmp")
        });
        is_value && (0.0..UNDER_WAY).contains(&found.age)
    }
}

fn is_store(found: &Found) -> bool {
    let name = found.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // As in diskcache, any path that contains the database's name; this covers sub-caches and stores set aside.
    name.contains(crate::handle::DATABASE) || name == "cache.hot" || name == "cache.lock"
}

fn check_counters(write: &mut Write<'_>, fix: bool, problems: &mut Vec<Problem>) -> Result<()> {
    let connection = write.connection();
    for (name, truth) in
        [("count", "SELECT count(*) FROM Cache"), ("size", "SELECT coalesce(sum(size), 0) FROM Cache")]
    {
        // What this very transaction has removed is not counted yet.
        let stored = counter(connection, name)? + write.delta(name);
        let found: i64 = connection.query_row(truth, [], |row| row.get(0))?;
        if stored != found {
            problems.push(Problem::Counter { name, stored, found });
            if fix {
                schema::store_setting(connection, name, &(found - write.delta(name)).into())?;
            }
        }
    }
    Ok(())
}
