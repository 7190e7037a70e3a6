//! Owns moving entries: `export` to a file and `import` from one, or from a directory. Entries keep their
//! times, tags, reads and stored bytes; signatures of pickles travel with them and are never made here, unless
//! the user vouches for the source.

mod dictionaries;
mod directory;
mod export;
mod import;
mod record;
mod report;
mod target;

pub(crate) use export::export;
pub(crate) use import::import;

/// The number in the first line of an export. A reader refuses any other.
const VERSION: u64 = 1;

/// Entries that one transaction stores: other writers wait for no longer than that.
const BATCH: usize = 64;
