//! Owns what becomes of a store that is damaged, removed or replaced under us.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{self, Error, Result};
use crate::gate;
use crate::sqlite::{Access, Connection, schema};
use crate::wait::{Deadline, Patience};
use crate::warning::Warning;

use super::Handle;

/// How often a handle looks whether somebody replaced the database under it.
const LOOK: Duration = Duration::from_millis(100);

impl Handle {
    /// Now and then, looks whether the database was replaced, so that readers notice too.
    pub(super) fn look(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        *looked = Some(Instant::now());
        drop(looked);
        if let Ok(Some(connection)) = self.pool.take(|_| Ok(None)) {
            if connection.has_moved() {
                self.pool.forget();
                self.reopen(connection);
            } else {
                self.pool.put(connection);
            }
        }
    }

    /// The database was removed or replaced by somebody: its connections speak to a file without a name.
    pub(super) fn reopen(&self, connection: Connection) {
        self.warnings.add(Warning::Replaced { path: self.database.clone() });
        connection.close_quickly();
        self.close_connections(true);
        self.loaded.store(false, Ordering::Release);
        self.room.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_aside_if_damaged(
        self: &Arc<Self>,
        patience: Patience,
        surely: bool,
        detail: &str,
    ) -> Result<()> {
        let guard = self.acquire(&mut Deadline::new(patience)).map_err(|error| match error {
            Error::ReadOnly { .. } => Error::Damaged {
                path: self.database.clone(),
                detail: format!("{detail}; and it is read-only here"),
            },
            other => other,
        })?;
        let result = self.set_aside_locked(surely);
        drop(guard);
        result
    }

    /// Sets a damaged store aside under another name, unless a fresh look finds it sound: then another
    /// process has done so already. `surely`: damage was met again after such a look, which does not compare
    /// indexes with rows. The caller holds the writer lock.
    pub(crate) fn set_aside_locked(self: &Arc<Self>, surely: bool) -> Result<()> {
        let _pass = gate::enter();
        if self.owner.load(Ordering::Relaxed) != 0 {
            return Err(Error::Damaged {
                path: self.database.clone(),
                detail: "found inside a transaction".into(),
            });
        }
        self.close_connections(true);
        if !surely && self.is_sound() {
            return Ok(());
        }
        let aside = crate::aside::rename_store(&self.database)?;
        self.room.store(0, Ordering::Relaxed);
        self.warnings.add(Warning::SetAside { path: self.database.clone(), aside });
        Ok(())
    }

    /// Removes the store; the next write makes a new one. Other processes notice as they notice a store that
    /// was set aside. The caller holds the writer lock.
    pub(crate) fn discard_locked(&self) -> Result<()> {
        let _pass = gate::enter();
        self.close_connections(true);
        crate::aside::remove_store(&crate::aside::rename_store(&self.database)?);
        self.room.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn is_sound(&self) -> bool {
        let settings = self.settings();
        let opened = Connection::open(&self.database, Access::Write, self.network, &settings, 0);
        let checked = opened.and_then(|connection| match connection {
            None => Ok(true),
            Some(connection) => {
                let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
                let read = schema::load_settings(&connection);
                connection.close_quickly();
                Ok(verdict == "ok" && read.err().as_ref().is_none_or(error::is_empty_store))
            }
        });
        match checked {
            Ok(sound) => sound,
            Err(error) => error.as_sqlite().is_some_and(error::is_busy),
        }
    }
}
