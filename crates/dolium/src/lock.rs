//! Owns this process's part in the writer lock of a directory: attaching to it at the first write, and
//! anew when the files behind it are gone. The lock itself is `dolium-hot`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dolium_hot::{Access, AttachError, FileSystem, Health, LockError};

use crate::error::{Error, Result};
use crate::files;
use crate::gate;
use crate::wait::{Deadline, may_continue};

pub(crate) use dolium_hot::Guard;

/// Whether the directory lies on a file system that is not fit for memory shared by processes.
pub(crate) fn is_network(directory: &Path) -> bool {
    // One that could not be made yet will lie where its parent does.
    let there = directory.ancestors().find(|path| files::exists(path)).unwrap_or(directory);
    !matches!(dolium_hot::filesystem(there), Ok((FileSystem::Local, _)))
}

pub(crate) struct WriterLock {
    directory: PathBuf,
    attached: Mutex<Option<dolium_hot::WriterLock>>,
}

impl WriterLock {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), attached: Mutex::new(None) }
    }

    /// Waits for the lock until the deadline. Not inside the gate.
    pub fn acquire(&self, database: &Path, deadline: &mut Deadline) -> Result<Guard> {
        let mut tries = 0;
        loop {
            let lock = self.attach(database)?;
            match lock.acquire(deadline.left(), &mut may_continue) {
                Ok(guard) => return Ok(guard),
                Err(LockError::Timeout) => {
                    return Err(Error::Timeout {
                        directory: self.directory.clone(),
                        waited: deadline.waited(),
                        done: 0,
                    });
                }
                Err(LockError::Interrupted) => return Err(Error::Interrupted),
                // Its files were taken away, or a fork happened while waiting.
                Err(error) => {
                    self.detach();
                    tries += 1;
                    if tries > 3 {
                        return Err(Error::Lock {
                            directory: self.directory.clone(),
                            detail: error.to_string(),
                        });
                    }
                }
            }
        }
    }

    fn attach(&self, database: &Path) -> Result<dolium_hot::WriterLock> {
        {
            let _pass = gate::enter();
            if let Some(lock) = self.lock().as_ref() {
                return Ok(lock.clone());
            }
        }
        // Attaching may wait for other processes, so it happens outside the gate.
        let access = Access::like(database).unwrap_or_default();
        let attached = match dolium_hot::WriterLock::attach(&self.directory, access) {
            Err(AttachError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::create_directory(&self.directory)?;
                dolium_hot::WriterLock::attach(&self.directory, access)
            }
            other => other,
        };
        let attached = attached.map_err(|error| self.explain(error))?;
        let _pass = gate::enter();
        Ok(self.lock().get_or_insert(attached).clone())
    }

    fn explain(&self, error: AttachError) -> Error {
        match error {
            AttachError::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Error::ReadOnly { directory: self.directory.clone() },
                _ => Error::io(path)(source),
            },
            other => Error::Lock { directory: self.directory.clone(), detail: other.to_string() },
        }
    }

    /// Lets go of the lock's files; the next write attaches again.
    pub fn detach(&self) {
        let _pass = gate::enter();
        let attached = self.lock().take();
        drop(attached);
    }

    /// In a forked child: what is attached is the parent's.
    pub fn reset(&self) {
        self.detach();
    }

    /// Notices files that were removed or closed behind our back.
    pub fn look_after(&self) {
        let _pass = gate::enter();
        let mut attached = self.lock();
        if attached.as_ref().is_some_and(|lock| !matches!(lock.check(), Health::Sound)) {
            *attached = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<dolium_hot::WriterLock>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
