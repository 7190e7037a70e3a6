//! The database as the hot tier's backing store, for the first process that attaches.

use std::sync::Arc;

use dolium_hot::Records;

use crate::sqlite::rejection::{ApplyMode, Rejected, is_rejection};
use crate::sqlite::tier::{Applied, applied};
use crate::system::error::{Error, Result};
use crate::system::wait::{Deadline, Wait};

use super::Handle;

type Told<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The database, for the first process that attaches. The open lock keeps all others out, so that the writer lock is
/// not needed.
pub(crate) struct SqliteBacking<'h> {
    handle: &'h Arc<Handle>,
    error: Option<Error>,
    /// Whether the database names a tier.
    is_named: bool,
}

impl<'h> SqliteBacking<'h> {
    pub fn new(handle: &'h Arc<Handle>) -> Self {
        Self { handle, error: None, is_named: false }
    }

    /// Why attaching failed, if it was here.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Makes rows of what an earlier tier has left, and says which tier comes after it.
    fn begin_tier(
        &self,
        epoch: Option<u64>,
        records: &Records<'_>,
        deadline: &mut Deadline,
        mode: ApplyMode,
    ) -> Result<Rejected> {
        self.handle.alone(deadline, |deadline| {
            let transaction = self.handle.begin()?;
            let mut write = transaction.write();
            let rejected = write.apply_each(records.iter(), mode)?;
            match epoch {
                Some(epoch) => write.set_applied(epoch, 0)?,
                None => write.end_tier()?,
            }
            let finished = write.finish()?;
            transaction.commit(finished, deadline)?;
            Ok(rejected)
        })
    }

    fn tell<T>(&mut self, result: Result<T>) -> Told<T> {
        result.map_err(|error| {
            let told = error.to_string();
            self.error = Some(error);
            told.into()
        })
    }
}

impl dolium_hot::BackingStore for SqliteBacking<'_> {
    fn applied(&mut self) -> Told<Option<(u64, u64)>> {
        let mut deadline = Deadline::new(Wait::AtMost(super::handle::ATTACHING));
        let found = self
            .handle
            .alone(&mut deadline, |_| self.handle.try_read(&mut |connection| Ok(applied(connection)?)));
        let found = self.tell(found)?;
        self.is_named = found.is_some();
        // The changes that others have written since are newer than the dirty records.
        if let Some(Applied { is_disturbed: true, .. }) = found {
            self.handle
                .warnings
                .add(crate::system::warning::Warning::Disturbed { directory: self.handle.directory.clone() });
        }
        Ok(found.filter(|found| !found.is_disturbed).map(|found| (found.epoch, found.seq)))
    }

    fn begin(&mut self, epoch: Option<u64>, records: Records<'_>) -> Told<()> {
        if epoch.is_none() && records.is_empty() && !self.is_named {
            return Ok(());
        }
        let mut deadline = Deadline::new(Wait::AtMost(super::handle::ATTACHING));
        let mut begun = self.begin_tier(epoch, &records, &mut deadline, ApplyMode::Batch);
        if begun.as_ref().is_err_and(is_rejection) {
            begun = self.begin_tier(epoch, &records, &mut deadline, ApplyMode::PerChunk);
        }
        self.is_named = epoch.is_some();
        let begun = begun.map(|rejected| self.handle.report_rejected(rejected));
        self.tell(begun)
    }

    fn most(&mut self) -> u64 {
        self.handle.most_hot_size()
    }

    fn resume(&mut self, epoch: u64, seq: u64) -> Told<bool> {
        let mut deadline = Deadline::new(Wait::AtMost(super::handle::ATTACHING));
        let resumed = self.handle.alone(&mut deadline, |deadline| {
            let transaction = self.handle.begin_for_rest()?;
            let mut write = transaction.write();
            if !write.end_rest(epoch, seq)? {
                return Ok(false);
            }
            write.set_applied(epoch, seq)?;
            let finished = write.finish()?;
            transaction.commit(finished, deadline)?;
            Ok(true)
        });
        self.is_named |= matches!(resumed, Ok(true));
        self.tell(resumed)
    }

    fn copied(&mut self, found: usize, is_whole: bool) {
        self.handle.report_copied(Some(found), is_whole);
    }
}
