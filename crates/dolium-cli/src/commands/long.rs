//! Work on each shard that may take long: it is shown on a terminal, and Ctrl-C ends it in order.

use dolium::{Cache, Error};

use crate::interrupt;
use crate::open::AnyCache;
use crate::outcome::Failure;
use crate::progress::Phases;

/// Why the work on the shards has ended early.
pub(super) struct Ended {
    error: Box<Error>,
    phase: String,
    shards: String,
}

impl Ended {
    /// The failure of the command. `say` tells how far interrupted work came, by its phase and the shard.
    pub fn into_failure(self, say: impl FnOnce(&str, &str) -> String) -> Failure {
        match *self.error {
            Error::Interrupted => Failure::Interrupted(say(&self.phase, &self.shards)),
            error => Failure::Engine(error),
        }
    }
}

/// Works on one shard after the other.
pub(super) fn each_shard(
    store: &AnyCache,
    mut work: impl FnMut(&Cache, &mut dyn FnMut(&'static str) -> bool) -> dolium::Result<()>,
) -> Result<(), Ended> {
    let mut phases = Phases::new();
    let count = store.shards().len();
    for (index, shard) in store.shards().iter().enumerate() {
        let shards = if count > 1 { format!(" in shard {} of {count}", index + 1) } else { String::new() };
        let mut watch = |phase: &'static str| {
            phases.reach(format!("{phase}{shards}"));
            !interrupt::is_wanted()
        };
        let mut last = "beginning";
        let done = work(shard, &mut |phase| {
            last = phase;
            watch(phase)
        });
        done.map_err(|error| Ended { error: Box::new(error), phase: last.to_owned(), shards })?;
    }
    Ok(())
}
