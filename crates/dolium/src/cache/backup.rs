//! Backups: a copy of a cache as it is at one moment, made while other threads and processes go on writing.
//!
//! The moment is a read transaction of SQLite's, which also keeps the value files of that moment from being removed
//! (`sqlite/snapshot`). A fork ends it, because no connection may be open then, and the copy of the database starts
//! over; value files that were copied stay copied.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::sharded::ShardedCache;
use crate::sqlite::check::{names_file, rows_with_files};
use crate::sqlite::connection::{create_copy, finish_copy};
use crate::sqlite::files::remove_store;
use crate::sqlite::snapshot::{Snapshot, make_independent};
use crate::store::{Handle, fork};
use crate::system::error::{self, Error, Result};
use crate::system::files::{self, Added, DATABASE, Staging};
use crate::system::fork_gate;
use crate::system::value_files::ValueFiles;
use crate::system::wait::{Deadline, Wait, may_continue, never_ask_hook};
use crate::value::scalar::Stored;

/// How often the caller hears how far a backup is.
const TICK: Duration = Duration::from_millis(50);

/// Copies that a fork, or another program that removes value files, may spoil. The next one holds up forks, and leaves
/// out the entries whose files are gone.
const TRIES: u32 = 4;

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// How many entries.
    pub entries: u64,
    /// How many of them in value files.
    pub files: u64,
    /// Entries that are damaged in the original, because their value files are missing or cut off: the backup has none
    /// of them.
    pub left_out: u64,
}

impl Cache {
    /// Copies the cache as it is now to a new directory, which is a cache of its own.
    ///
    /// Other threads and processes go on reading and writing. The copy has everything that was stored before this call,
    /// and appears under its name when it is complete. On the same file system its value files are hard links, so
    /// that it takes little space.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = dolium::Cache::open(dir.path().join("cache"))?;
    /// cache.set("answer", 42)?;
    /// assert_eq!(cache.backup(dir.path().join("copy"))?.entries, 1);
    /// # Ok::<(), dolium::Error>(())
    /// ```
    pub fn backup(&self, destination: impl AsRef<Path>) -> Result<Backup> {
        self.backup_with(destination, false, &mut |_, _| true)
    }

    /// The same. With `replace`, a cache that has the destination's name is replaced at once by the complete copy.
    ///
    /// `watch` is called about every 50 ms with the bytes that are copied and the bytes of the whole cache. If it
    /// returns `false`, the backup ends with [`Error::Interrupted`] and leaves nothing behind.
    pub fn backup_with(
        &self,
        destination: impl AsRef<Path>,
        replace: bool,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Backup> {
        let parts = vec![Part { cache: self.clone(), place: PathBuf::new(), volume: 0 }];
        back_up(self.directory(), parts, destination.as_ref(), replace, watch)
    }
}

impl ShardedCache {
    /// Copies all shards, and the caches below them, as [`Cache::backup`] does. Each is a copy of one moment; those of
    /// two shards may differ by the time that copying takes.
    pub fn backup(&self, destination: impl AsRef<Path>) -> Result<Backup> {
        self.backup_with(destination, false, &mut |_, _| true)
    }

    /// The same with the options of [`Cache::backup_with`].
    pub fn backup_with(
        &self,
        destination: impl AsRef<Path>,
        replace: bool,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Backup> {
        let part = |cache: Cache| {
            let place = cache.directory().strip_prefix(self.directory()).unwrap_or(cache.directory());
            Part { place: place.to_path_buf(), cache, volume: 0 }
        };
        let mut parts: Vec<_> = self.shards().iter().cloned().map(part).collect();
        for directory in self.nested() {
            let cache = Cache::builder(directory).read_only(self.shards()[0].is_read_only()).open()?;
            parts.push(part(cache.with_wait(self.shards()[0].wait())));
        }
        back_up(self.directory(), parts, destination.as_ref(), replace, watch)
    }
}

/// A directory with a database, and where it lies in the whole.
struct Part {
    cache: Cache,
    place: PathBuf,
    /// Its bytes before the copy.
    volume: u64,
}

fn back_up(
    source: &Path,
    mut parts: Vec<Part>,
    destination: &Path,
    replace: bool,
    watch: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Backup> {
    let destination = std::path::absolute(destination).map_err(Error::io(destination))?;
    files::refuse_destination(source, &destination, replace)?;
    for Part { cache, volume, .. } in &mut parts {
        if cache.in_transaction() {
            return Err(Error::Invalid(format!(
                "{}: a backup inside a transaction would miss what it has changed; make it after the transaction",
                cache.directory().display()
            )));
        }
        // Asking for the volume also drains the hot tier.
        *volume = cache.volume()?;
    }
    let total = parts.iter().map(|part| part.volume).sum();
    let staging = Staging::create(&destination)?;
    let job = Arc::new(Job { parts, total, done: AtomicU64::new(0), stopped: AtomicBool::new(false) });
    job.run(staging, watch)
}

/// A backup under way. A thread of its own copies, so that the caller's can be interrupted at any time: that one may
/// not wait for a host language while it has a connection open.
struct Job {
    parts: Vec<Part>,
    /// Bytes, as far as they are known beforehand.
    total: u64,
    done: AtomicU64,
    stopped: AtomicBool,
}

impl Job {
    fn run(self: Arc<Self>, staging: Staging, watch: &mut dyn FnMut(u64, u64) -> bool) -> Result<Backup> {
        let (tell, told) = channel();
        if !watch(0, self.total) {
            return Err(Error::Interrupted);
        }
        let directory = staging.path().to_path_buf();
        let generation = fork::generation();
        let worker = Arc::clone(&self);
        std::thread::Builder::new()
            .name("dolium-backup".into())
            .spawn(move || {
                never_ask_hook();
                // The caller is gone only in a forked child, where this thread is not.
                let _ = tell.send(worker.work(staging));
            })
            .map_err(Error::io(directory.clone()))?;
        let mut is_interrupted = false;
        loop {
            match told.recv_timeout(TICK) {
                // The host language has something to raise, even if the copy was complete by then.
                Ok(_) if is_interrupted => return Err(Error::Interrupted),
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    let source = std::io::Error::other("the thread that copies ended early");
                    return Err(Error::Io { path: directory, source });
                }
                Err(RecvTimeoutError::Timeout) if fork::generation() != generation => {
                    return Err(Error::Forked { directory });
                }
                Err(RecvTimeoutError::Timeout) => {
                    let done = self.done.load(Ordering::Relaxed);
                    is_interrupted = is_interrupted || !may_continue();
                    if is_interrupted || !watch(done.min(self.total), self.total) {
                        self.stopped.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn work(&self, staging: Staging) -> Result<Backup> {
        let mut sum = Backup::default();
        for part in &self.parts {
            let copied = Copy { job: self, part, staging: &staging }.make()?;
            sum.entries += copied.entries;
            sum.files += copied.files;
            sum.left_out += copied.left_out;
        }
        staging.sync()?;
        if self.is_stopped() {
            return Err(Error::Interrupted);
        }
        staging.publish()?;
        Ok(sum)
    }
}

/// The copy of one part.
struct Copy<'j> {
    job: &'j Job,
    part: &'j Part,
    staging: &'j Staging,
}

/// What came of a try.
enum Try {
    Done(Backup),
    /// A fork came, the database was busy, or another program removed a value file.
    Again,
}

impl Copy<'_> {
    fn make(&self) -> Result<Backup> {
        let directory = self.staging.path().join(&self.part.place);
        files::create_directory(&directory)?;
        let base = self.job.done.load(Ordering::Relaxed);
        let mut brought = HashSet::new();
        self.bring_ahead(&mut brought)?;
        let mut deadline = Deadline::new(self.part.cache.wait());
        let mut tries = 0;
        loop {
            if self.job.is_stopped() {
                return Err(Error::Interrupted);
            }
            match self.copy_once(&directory, &mut brought, tries >= TRIES) {
                Ok(Try::Done(copied)) => {
                    self.job.done.store(base.saturating_add(self.part.volume), Ordering::Relaxed);
                    return Ok(copied);
                }
                Ok(Try::Again) => tries += 1,
                Err(error) if error.as_sqlite().is_some_and(error::is_busy) => {
                    if !deadline.sleep() {
                        return Err(self.handle().timeout(&deadline));
                    }
                }
                Err(error) => return Err(error.located(&self.handle().database)),
            }
        }
    }

    fn handle(&self) -> &Arc<Handle> {
        &self.part.cache.handle
    }

    /// Whether to go on. Unless `at_once`, a fork that waits is a reason to stop.
    fn goes_on(&self, at_once: bool) -> bool {
        !self.job.is_stopped() && (at_once || !fork_gate::is_wanted())
    }

    /// Copies the value files that there are, so that the moment which is kept for the copy is short.
    fn bring_ahead(&self, brought: &mut HashSet<String>) -> Result<()> {
        let wait = Wait::AtMost(TICK);
        // A failure is met again by the copy itself, which tells.
        let Ok(rows) = self.handle().read_now(wait, |connection| rows_with_files(connection)) else {
            return Ok(());
        };
        for name in rows.into_iter().filter_map(|(head, _)| head.filename) {
            match self.bring(&name, true)? {
                Added::Done => {
                    brought.insert(name);
                }
                Added::Missing => {}
                Added::Stopped => break,
            }
        }
        Ok(())
    }

    fn bring(&self, name: &str, at_once: bool) -> Result<Added> {
        let values = &self.handle().values;
        // What a link leads to is no value.
        let found = values.path(name).filter(|path| values.inspect(path).is_some());
        let below = found.as_deref().and_then(|path| path.strip_prefix(&self.handle().directory).ok());
        let (Some(source), Some(below)) = (&found, below) else {
            return Ok(Added::Missing);
        };
        let mut go_on = |bytes| {
            self.job.done.fetch_add(bytes, Ordering::Relaxed);
            self.goes_on(at_once)
        };
        let added = self.staging.add(source, &self.part.place.join(below), &mut go_on)?;
        if added == Added::Missing {
            self.staging.remove_empty_parents(&self.part.place, below);
        }
        Ok(added)
    }

    /// Copies the database, then the value files that are not there yet. `last`: forks wait for it.
    fn copy_once(&self, directory: &Path, brought: &mut HashSet<String>, last: bool) -> Result<Try> {
        let handle = self.handle();
        let _inside = fork_gate::enter();
        handle.renew()?;
        let Some(source) = handle.open(0)? else {
            // Nothing was ever stored.
            return Ok(Try::Done(Backup::default()));
        };
        let database = directory.join(DATABASE);
        remove_store(&database);
        let mut copy = create_copy(&database)?;
        let snapshot = Snapshot::begin(&source)?;
        let base = self.job.done.load(Ordering::Relaxed);
        let go_on = |bytes| {
            self.job.done.store(base.saturating_add(bytes), Ordering::Relaxed);
            self.goes_on(last)
        };
        if !snapshot.copy_to(&mut copy, go_on)? {
            return Ok(Try::Again);
        }
        let copies = ValueFiles::of(directory);
        let mut unsound = Vec::new();
        let mut stays = HashSet::new();
        for (head, stored) in rows_with_files(&copy)? {
            let name = head.filename.unwrap_or_default();
            match self.bring(&name, last)? {
                Added::Done if Self::has_length(&copies, &name, head.size) => {
                    stays.insert(name);
                }
                Added::Done => unsound.push(head.rowid),
                // Either it was missing before, or another program removed it just now.
                Added::Missing if last || self.is_named(head.rowid, &stored)? => unsound.push(head.rowid),
                Added::Missing | Added::Stopped => return Ok(Try::Again),
            }
        }
        drop(snapshot);
        if !source.is_current(&handle.database) {
            return Ok(Try::Again);
        }
        let entries = make_independent(&copy, &unsound)?;
        finish_copy(copy, crate::store::lock::is_network(directory))?;
        for name in brought.drain().filter(|name| !stays.contains(name)) {
            copies.remove(&name);
        }
        let (files, left_out) = (stays.len() as u64, unsound.len() as u64);
        Ok(Try::Done(Backup { entries, files, left_out }))
    }

    /// Whether a copied value file has the length that its row says. Of a directory, which a `Disk` of a user's own may
    /// store, the length means nothing.
    fn has_length(copies: &ValueFiles, name: &str, size: i64) -> bool {
        let found = copies.path(name).and_then(|path| copies.inspect(&path));
        found.is_some_and(|found| i64::try_from(found.len()) == Ok(size) || found.is_dir())
    }

    /// Whether a row still names a value file.
    fn is_named(&self, rowid: i64, filename: &Stored) -> Result<bool> {
        self.handle().try_read(&mut |connection| Ok(names_file(connection, rowid, filename)?))
    }
}
