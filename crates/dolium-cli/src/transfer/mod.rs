//! Owns moving entries: `export` to a file and `import` from one, or from a directory. Entries keep their
//! times, tags, reads and stored bytes; signatures of pickles travel with them and are never made here, unless
//! the user vouches for the source.

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

/// The format, as `export --help` explains it.
pub(crate) const FORMAT: &str = r#"Format, version 1: JSON, one object per line.

  {"dolium-export": 1, "entries": N, "shards": N or null, "settings": {NAME: VALUE}}
  {"key": DATA, "value": DATA, "mode": M, "store_time": T, "access_time": T, "access_count": N,
   "expire_time": T, "tag": DATA}
  {"data": BASE64}
  {"end": N}

DATA is {"text": …}, {"int": …}, {"float": …}, {"bytes": BASE64}, or for keys {"pickle": BASE64}.
An infinite float is text. Times are seconds since 1970; expire_time and tag are left out where there
are none. The value is as it is stored, M (diskcache's mode) says what it stands for: 1 itself, 2 bytes,
3 text, 4 a pickle with its signature behind it, 16 MessagePack. The value of an entry in a value file is
{"file": LENGTH}, and data lines follow until they have that many bytes. The end line counts the
entries, so that a file that was cut off is noticed. Entries that have expired are not exported."#;
