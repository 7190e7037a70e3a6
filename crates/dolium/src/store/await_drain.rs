//! Waiting for the drains of others, in a process that may only read.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::system::error::Result;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};
use crate::system::warning::Warning;

use super::Handle;

/// How long a process that may only read waits for others to drain. Their housekeepers do so at the second tick.
const OTHERS: Duration = Duration::from_secs(1);

impl Handle {
    /// Waits, in a process that may only read, until the members of the tier have drained. If all of them are dead, or
    /// one is stuck, the dirty records are left out, and no later read waits for them again.
    pub(super) fn await_drain(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let Some((observer, _)) = self.observer(wait)? else { return Ok(()) };
        let head = observer.head();
        let place = Some((observer.epoch(), head));
        let is_alone = || dolium_hot::count_attached(&self.directory).is_ok_and(|count| count == 0);
        let longest = match wait {
            Wait::AtMost(timeout) => timeout.min(OTHERS),
            Wait::Forever => OTHERS,
        };
        let mut deadline = Deadline::new(Wait::AtMost(longest));
        while observer.waits_before(head) && self.with_awaited(|awaited| *awaited != place) {
            if is_alone() || !deadline.pause()? {
                self.with_awaited(|awaited| *awaited = place);
                // The last process may have drained before it left.
                if observer.waits_before(head) && observer.is_copy() {
                    self.report_copied(None, true);
                } else if observer.waits_before(head) {
                    self.warnings.add(Warning::Waiting { directory: self.directory.clone() });
                }
            }
        }
        Ok(())
    }

    fn with_awaited<T>(&self, f: impl FnOnce(&mut Option<(u64, u64)>) -> T) -> T {
        // As with every mutex: a forked child would find it locked for ever.
        let _inside = fork_gate::enter();
        f(&mut self.tier.awaited.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
