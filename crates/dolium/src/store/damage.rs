//! Owns what becomes of a store that is damaged, removed or replaced under us.

use std::sync::Arc;

use dolium_hot::{Batch, Tier};

use crate::sqlite::files::{remove_store, rename_store};
use crate::sqlite::rejection::{ApplyMode, Rejected, is_rejection};
use crate::sqlite::{Access, Connection, check, schema};
use crate::store::connections::CHECK_INTERVAL;
use crate::store::drain::EVERYTHING;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warning;

use super::Handle;

impl Handle {
    /// Now and then, looks whether the database was replaced, so that readers notice too.
    pub(super) fn check_replaced(&self) {
        if !self.connections.is_check_due() {
            return;
        }
        if self.connections.has_moved_at_rest(&self.database) {
            self.note_replaced();
        }
        if let Ok(Some(connection)) = self.connections.pool.take(|_| Ok(None)) {
            if connection.has_moved() || self.connections.log_has_moved(&connection, &self.database) {
                self.connections.pool.forget();
                self.reopen(connection);
            } else {
                self.connections.pool.put(connection);
            }
        }
    }

    /// Gives up the connections after another program removed or replaced the database: they use a file that has lost
    /// its name.
    pub(super) fn reopen(&self, connection: Connection) {
        connection.close_quickly();
        self.note_replaced();
    }

    fn note_replaced(&self) {
        self.warnings.add(Warning::Replaced { path: self.database.clone() });
        self.connections.close(true);
        if let Some(tier) = self.tier.lock.tier_inside() {
            tier.forget_clean();
        }
        self.settings.forget();
        self.volume.measure_again();
    }

    /// Repairs what an error speaks of, so that the operation can be tried again; else returns the error.
    pub(super) fn repair(self: &Arc<Self>, wait: Wait, tries: &mut u32, error: Error) -> Result<()> {
        if !error.is_repairable() {
            return Err(error);
        }
        match (self.acquire(&mut Deadline::new(wait)), error) {
            (Ok(held), error) => self.repair_locked(held.tier(), tries, error),
            (Err(refusal), Error::Damaged { path, detail }) if refusal.is_about_writing() => {
                Err(Error::Damaged { path, detail: format!("{detail}, and this process cannot write to it") })
            }
            (Err(refusal), error) if refusal.is_about_writing() => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// Repairs in the same way for a caller that holds the writer lock, and the tier that came with it.
    pub(super) fn repair_locked(
        self: &Arc<Self>,
        tier: Option<&Tier>,
        tries: &mut u32,
        error: Error,
    ) -> Result<()> {
        *tries += 1;
        if matches!(error, Error::Damaged { .. }) {
            // A connection that has met damage may have kept pages of it.
            let _inside = fork_gate::enter();
            self.connections.close(true);
        }
        if !self.tier.lock.is_exclusive() {
            // Another process may be about to do the same.
            return Err(error);
        }
        match error {
            Error::Damaged { .. } if *tries <= 2 => self.quarantine_locked(tier, *tries > 1),
            error if error.as_sqlite().is_some_and(error::is_schema_error) && *tries <= 2 => {
                match self.has_our_schema() {
                    false => self.quarantine_locked(tier, true),
                    // It may have been quarantined meanwhile.
                    true if *tries == 1 => Ok(()),
                    true => Err(error),
                }
            }
            error if error.is_repairable() && *tries <= 2 => {
                self.drop_lost_log();
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Whether a fresh connection finds the columns that diskcache and we rely on. A store that cannot be looked at
    /// now may have them.
    fn has_our_schema(&self) -> bool {
        let _inside = fork_gate::enter();
        let opened =
            Connection::open(&self.database, Access::Write, self.network, &self.settings.current(), 0);
        let checked = opened.and_then(|connection| {
            let Some(connection) = connection else { return Ok(()) };
            let checked = schema::verify(&connection);
            connection.close_quickly();
            Ok(checked?)
        });
        !checked.is_err_and(|error| error.as_sqlite().is_some_and(error::is_schema_error))
    }

    /// Removes SQLite's index of the log if it names frames that the log does not have, because another program removed
    /// the log. The processes that use the index share it until the last of them lets go of it, unless it is removed,
    /// too.
    fn drop_lost_log(&self) {
        let _inside = fork_gate::enter();
        if self.transaction.is_taken() {
            return;
        }
        self.connections.close(true);
        if self.has_lost_log() {
            crate::sqlite::files::remove_log(&self.database);
            self.warnings.add(Warning::Replaced { path: self.database.clone() });
        }
        self.settings.forget();
        self.volume.measure_again();
    }

    fn has_lost_log(&self) -> bool {
        let opened =
            Connection::open(&self.database, Access::Write, self.network, &self.settings.current(), 0);
        let read = opened.and_then(|connection| {
            let Some(connection) = connection else { return Ok(()) };
            let read = schema::load_settings(&connection);
            connection.close_quickly();
            Ok(read.map(drop)?)
        });
        read.is_err_and(|error| error.as_sqlite().is_some_and(error::is_short))
    }

    /// Quarantines a damaged store under another name, unless a fresh look finds it sound: then another
    /// process has done so already. `surely`: damage was met again after such a look, which does not compare
    /// indexes with rows. The caller holds the writer lock, and has the tier that came with it.
    pub(crate) fn quarantine_locked(self: &Arc<Self>, tier: Option<&Tier>, surely: bool) -> Result<()> {
        // Long: without the append lock, records are acknowledged that are not moved over.
        let mut deadline = Deadline::new(Wait::AtMost(super::handle::ATTACHING));
        let stopped = tier.and_then(|tier| self.stop_tier(tier, &deadline));
        let _inside = fork_gate::enter();
        if self.transaction.is_taken() {
            return Err(Error::Damaged {
                path: self.database.clone(),
                detail: "found inside a transaction".into(),
            });
        }
        self.connections.close(true);
        if !surely && self.is_sound() {
            return Ok(());
        }
        let quarantined = self.connections.replace(|| rename_store(&self.database))?;
        self.volume.measure_again();
        // Last, and with the append lock still held: from here on no thread needs to wait for this writer lock, and
        // nothing is stored in this tier.
        if let Some(tier) = tier {
            self.move_over(tier, &mut deadline)?;
        }
        drop(stopped);
        self.warnings.add(Warning::SetAside { path: self.database.clone(), aside: quarantined });
        Ok(())
    }

    /// Removes the store; the next write makes a new one. Other processes notice as they notice a store that
    /// was quarantined. The caller holds the writer lock, and has the tier that came with it.
    pub(crate) fn discard_locked(self: &Arc<Self>, tier: Option<&Tier>) -> Result<()> {
        let stopped =
            tier.and_then(|tier| self.stop_tier(tier, &Deadline::new(Wait::AtMost(CHECK_INTERVAL))));
        let _inside = fork_gate::enter();
        remove_store(&self.connections.replace(|| rename_store(&self.database))?);
        self.volume.measure_again();
        // What it knows is of a database that is not there any more.
        tier.inspect(|tier| tier.retire());
        drop(stopped);
        Ok(())
    }

    /// Ends a tier that the database does not know, because another program renamed the database, or took it or its log
    /// away. Dirty records were acknowledged, and go to the database that is there, unless the files of the tier are gone as
    /// well. Then the directory was removed with all that it had, and another store has been made in it since. The caller
    /// holds the writer lock and the append lock, so that no record is added, and is inside the fork gate.
    pub(super) fn end_unknown(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        if self.tier.lock.is_gone() {
            tier.retire();
            return Ok(());
        }
        self.move_over(tier, deadline)
    }

    /// Ends a tier whose database was set aside, and moves what is dirty to the next one.
    fn move_over(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        let batch = tier.pending(0, EVERYTHING);
        if tier.is_live() && !batch.is_empty() {
            let mut rejected = self.apply_batch(&batch, deadline, ApplyMode::Batch);
            if rejected.as_ref().is_err_and(is_rejection) {
                rejected = self.apply_batch(&batch, deadline, ApplyMode::PerChunk);
            }
            self.report_rejected(rejected?);
        }
        tier.retire();
        Ok(())
    }

    fn apply_batch(
        self: &Arc<Self>,
        batch: &Batch,
        deadline: &mut Deadline,
        mode: ApplyMode,
    ) -> Result<Rejected> {
        let transaction = self.begin()?;
        let mut write = transaction.write();
        let rejected = write.apply(batch, mode)?;
        let finished = write.finish()?;
        transaction.commit(finished, deadline)?;
        Ok(rejected)
    }

    pub(super) fn report_copied(&self, stored: Option<usize>, is_whole: bool) {
        self.warnings.add(Warning::Copied { directory: self.directory.clone(), stored, is_whole });
    }

    pub(super) fn report_rejected(&self, rejected: Rejected) {
        if let Some(reason) = rejected.reason {
            self.warnings.add(Warning::Refused { directory: self.directory.clone(), reason });
        }
    }

    fn is_sound(&self) -> bool {
        let settings = self.settings.current();
        let opened = Connection::open(&self.database, Access::Write, self.network, &settings, 0);
        let checked = opened.and_then(|connection| match connection {
            None => Ok(true),
            Some(connection) => {
                let is_sound = check::is_sound(&connection)?;
                let read = schema::load_settings(&connection);
                let is_foreign = connection.is_readonly(c"main")? && !files::is_protected(&self.database);
                connection.close_quickly();
                Ok(!is_foreign && is_sound && read.err().as_ref().is_none_or(error::is_empty_store))
            }
        });
        match checked {
            Ok(sound) => sound,
            Err(error) => error.as_sqlite().is_some_and(error::is_busy),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Cache;

    #[test]
    fn a_store_keeps_its_name_while_a_thread_opens_it() -> Result<()> {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::builder(directory.path()).setting("hot_size", 0).open()?;
        cache.set("before", 1)?;
        let handle = Handle::of(directory.path(), false);
        let store = files::identity(&handle.database);
        std::thread::scope(|scope| {
            let opening = handle.connections.begin_opening();
            let quarantine = scope.spawn(|| {
                let held = handle.acquire(&mut Deadline::new(Wait::Forever))?;
                handle.quarantine_locked(held.tier(), true)
            });
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(files::identity(&handle.database), store, "it was renamed");
            let settings = handle.settings.current();
            let open = |version| Connection::open(&handle.database, Access::Write, false, &settings, version);
            let connection = handle.connections.pool.take(open)?.expect("a store");
            handle.connections.give_back(connection, &handle.database, None);
            drop(opening);
            quarantine.join().expect("no panic")
        })?;
        let stays = handle.connections.pool.take(|_| Ok(None))?;
        assert!(stays.is_none(), "a connection of the old store is lent again");
        Ok(())
    }
}
