//! Gives back what caches take that rest, in a process that has many open.

use std::sync::Arc;
use std::time::Duration;

use dolium_hot::Tier;

use crate::store::Handle;
use crate::store::connections::count_open;
use crate::system::fork_gate;
use crate::system::wait::Wait;

/// How many directories may have connections without any of them being closed.
const KEPT: usize = 16;

/// After how long without a use a connection has rested.
const REST: Duration = Duration::from_secs(1);

/// The same if there are many times more directories than are kept. By then the tier of one that rests is drained.
const SHORT_REST: Duration = Duration::from_millis(250);

/// How long leaving a tier may wait for other processes.
const LEAVING: Wait = Wait::AtMost(Duration::from_millis(50));

/// Whether the process has connections to so many directories that those which rest must give theirs back.
pub(super) fn is_crowded() -> bool {
    count_open() > KEPT
}

/// After how long without a use a connection has rested, with as many as there are.
pub(super) fn rest() -> Duration {
    if count_open() > 4 * KEPT { SHORT_REST } else { REST }
}

/// Looks at all caches of the process, and has those give back what they take that have rested since the last look.
pub(super) fn disperse() {
    let handles = {
        let _inside = fork_gate::enter();
        Handle::all()
    };
    for handle in handles {
        let has_rested = handle.connections.have_rested() && !handle.transaction.is_taken();
        if has_rested && is_crowded() {
            handle.give_back();
        }
        super::housekeeper::say_goodbye(&handle);
    }
}

impl Handle {
    /// Closes the connections, and lets go of the memory of the tier; the next use has both again. A tier that has grown
    /// is left, so that its file shrinks to what is in it.
    fn give_back(self: &Arc<Self>) {
        if self.tier.get().is_some_and(|tier| self.has_grown(&tier)) {
            let _ = self.leave(LEAVING);
        }
        let _inside = fork_gate::enter();
        if self.renew().is_ok() {
            self.connections.rest(&self.database);
            self.tier.get().iter().for_each(Tier::release_pages);
        }
    }
}
