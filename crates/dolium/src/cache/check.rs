//! Owns `check`: whether database, counters and value files agree, and making them agree.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use crate::cache::Cache;
use crate::cache::dictionary::fix_dictionaries;
use crate::cache::long::{self, Work};
use crate::sqlite::check::{self, Sum, rows_with_files};
use crate::sqlite::{Head, Write, schema, trash};
use crate::store::layout;
use crate::system::error::{Error, Result};
use crate::system::files::{self, Found};
use crate::system::wait::Deadline;
use crate::value::scalar::Stored;

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
    /// A file that the store does not name and that no process is writing. Fixed by removing it.
    Unknown(PathBuf),
    /// A directory without files. Fixed by removing it.
    EmptyDirectory(PathBuf),
    /// A dictionary is damaged, so that its values are misses. Fixed by removing it.
    Dictionary(i64),
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
            Self::Dictionary(number) => write!(f, "damaged dictionary: {number}; its values are misses"),
            Self::Counter { name, stored, found } => {
                write!(f, "Settings.{name} is {stored}, should be {found}")
            }
        }
    }
}

/// Seconds for which a file that no row names may belong to a write that is under way.
const UNDER_WAY: f64 = 3600.0;

/// Seconds for which a value file's directory may be empty, because a file is about to come or has just gone.
const EMPTYING: f64 = 60.0;

impl Cache {
    /// Looks for inconsistencies and, with `fix`, removes them. Writers wait meanwhile; a cache with many
    /// value files takes a while. With `fix`, a store that SQLite finds damaged is quarantined. A cache that was
    /// opened read-only is checked without a lock, and nothing is changed.
    pub fn check(&self, fix: bool) -> Result<Vec<Problem>> {
        self.check_with(fix, &mut |_| true)
    }

    /// The same. `watch` is called about every 50 ms with what is being done. If it returns `false`, the call ends with
    /// [`Error::Interrupted`]. The cache is sound then. With `fix`, some unknown files may be gone, and nothing else is
    /// changed.
    pub fn check_with(&self, fix: bool, watch: &mut dyn FnMut(&'static str) -> bool) -> Result<Vec<Problem>> {
        long::run(self, watch, move |cache, work| cache.check_now(fix, work))
    }

    fn check_now(&self, fix: bool, work: &Work) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        work.enter("checking the database")?;
        self.check_integrity(fix, work, &mut problems)?;
        work.enter("comparing the entries with the value files")?;
        if self.is_read_only() {
            return match self.inspect(work, &mut problems) {
                // That much is told already, and no more can be seen.
                Err(Error::Damaged { .. }) if !problems.is_empty() => Ok(problems),
                inspected => inspected.map(|()| problems),
            };
        }
        self.write_pending_quietly();
        // Before the writers wait, since it may take long.
        let dictionaries = self.inspect_dictionaries(&mut problems)?;
        let found = problems.len();
        self.handle.write(self.wait, |write| {
            // After a failed attempt it begins again.
            problems.truncate(found);
            work.again();
            let connection = write.connection();
            work.on(connection, || {
                if fix {
                    fix_dictionaries(write, &dictionaries)?;
                }
                let names = self.check_rows(write, fix, work, &mut problems)?;
                self.check_files(&names, fix, work, &mut problems)?;
                work.enter("counting the entries")?;
                check_counters(write, fix, &mut problems)
            })?;
            work.complete()
        })?;
        if fix {
            while self.handle.empty_trash(self.wait)? {}
        }
        Ok(problems)
    }

    fn check_integrity(&self, fix: bool, work: &Work, problems: &mut Vec<Problem>) -> Result<()> {
        let before = problems.len();
        let verdict = self
            .handle
            .read(self.wait, |connection| work.on(connection, || Ok(check::integrity(connection)?)));
        match verdict {
            Ok(lines) => problems.extend(lines.into_iter().map(Problem::Integrity)),
            Err(Error::Damaged { detail, .. }) => problems.push(Problem::Integrity(detail)),
            Err(error) => return Err(error),
        }
        if !fix || self.is_read_only() {
            return Ok(());
        }
        if problems.len() > before {
            let held = self.handle.acquire(&mut Deadline::new(self.wait))?;
            return self.handle.quarantine_locked(held.tier(), true);
        }
        Ok(())
    }

    /// Compares each row that names a file with the file. Returns the names.
    fn check_rows(
        &self,
        write: &mut Write<'_>,
        fix: bool,
        work: &Work,
        problems: &mut Vec<Problem>,
    ) -> Result<HashSet<PathBuf>> {
        let mut names = HashSet::new();
        for (head, filename) in rows_with_files(write.connection())? {
            work.go_on()?;
            match self.compare(&head, &filename, &mut names) {
                Some(problem @ Problem::Missing(_)) => {
                    problems.push(problem);
                    if fix {
                        write.remove(&head)?;
                    }
                }
                Some(problem) => {
                    if let (true, Problem::WrongSize { found, .. }) = (fix, &problem) {
                        write.set_size(&head, i64::try_from(*found).unwrap_or(i64::MAX))?;
                    }
                    problems.push(problem);
                }
                None => {}
            }
        }
        self.add_trash(&mut names, trash::names(write.connection())?);
        Ok(names)
    }

    /// The check of those who may not write. It takes no lock, so what seems wrong is looked at again:
    /// another process may have changed it meanwhile.
    fn inspect(&self, work: &Work, problems: &mut Vec<Problem>) -> Result<()> {
        self.inspect_dictionaries(problems)?;
        let mut names = HashSet::new();
        for (head, filename) in self.handle.read(self.wait, |connection| rows_with_files(connection))? {
            let Some(problem) = self.compare(&head, &filename, &mut names) else {
                continue;
            };
            let names_it = |connection: &_| Ok(check::names_file(connection, head.rowid, &filename)?);
            if self.handle.read(self.wait, |connection| names_it(connection))? {
                problems.push(problem);
            }
        }
        let trash = self.handle.read(self.wait, |connection| Ok(trash::names(connection)?))?;
        self.add_trash(&mut names, trash);
        self.check_files(&names, false, work, problems)?;
        work.enter("counting the entries")?;
        for sum in Sum::ALL {
            let (stored, found) = self.handle.read(self.wait, |connection| {
                work.on(connection, || Ok(check::compare_at_once(connection, sum)?))
            })?;
            if stored != found {
                problems.push(Problem::Counter { name: sum.name(), stored, found });
            }
        }
        Ok(())
    }

    /// Compares a row's value file with the row; a file that is there is added to the names.
    fn compare(&self, head: &Head, filename: &Stored, names: &mut HashSet<PathBuf>) -> Option<Problem> {
        let resolved = head.filename.as_deref().and_then(|name| self.handle.values.path(name));
        let Some(path) = resolved else {
            // It names nothing that could be a value file.
            return Some(Problem::Missing(
                self.handle.directory.join(filename.as_text().unwrap_or_default()),
            ));
        };
        let Some(there) = self.handle.values.inspect(&path) else {
            return Some(Problem::Missing(path));
        };
        let found = there.len();
        names.insert(path.clone());
        // A user's `Disk` may keep a directory, whose length means nothing.
        let differs = i64::try_from(found) != Ok(head.size) && !there.is_dir();
        differs.then_some(Problem::WrongSize { path, stored: head.size, found })
    }

    fn add_trash(&self, names: &mut HashSet<PathBuf>, trash: Vec<String>) {
        names.extend(trash.into_iter().filter_map(|name| self.handle.values.path(&name)));
    }

    /// Compares the files with the rows. The files of the store itself, and those that a process may be writing at this
    /// moment, are no orphans.
    fn check_files(
        &self,
        names: &HashSet<PathBuf>,
        fix: bool,
        work: &Work,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        for found in files::walk(&self.handle.directory)? {
            work.go_on()?;
            let known = found.path.ancestors().any(|path| names.contains(path));
            let is_others = || self.is_of_another_cache(&found);
            if known || files::is_store(&found.path) || self.is_under_way(&found) || is_others() {
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

    /// Whether it lies below the directory of another cache, which is below this one.
    fn is_of_another_cache(&self, found: &Found) -> bool {
        let above = found.path.ancestors().skip(1).take_while(|path| *path != self.handle.directory);
        above.into_iter().any(layout::is_plain)
    }

    fn is_under_way(&self, found: &Found) -> bool {
        let Ok(relative) = found.path.strip_prefix(&self.handle.directory) else { return false };
        let depth = relative.components().count();
        if found.is_directory {
            let is_hex =
                |part: &OsStr| part.len() == 2 && part.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
            return depth <= 2 && relative.iter().all(is_hex) && (0.0..EMPTYING).contains(&found.age);
        }
        let is_value = depth == 3 && relative.extension().is_some_and(|end| end == "val" || end == "tmp");
        is_value && (0.0..UNDER_WAY).contains(&found.age)
    }
}

fn check_counters(write: &mut Write<'_>, fix: bool, problems: &mut Vec<Problem>) -> Result<()> {
    let connection = write.connection();
    for sum in Sum::ALL {
        let name = sum.name();
        let (stored, found) = check::compare(connection, sum)?;
        // What this very transaction has removed is not counted yet.
        let stored = stored + write.delta(name);
        if stored != found {
            problems.push(Problem::Counter { name, stored, found });
            if fix {
                schema::store_setting(connection, name, &(found - write.delta(name)).into())?;
            }
        }
    }
    Ok(())
}
