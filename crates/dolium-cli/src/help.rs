//! The long texts that `--help` prints behind the arguments of a command.

/// What the names mean, for `top --help` and behind `?` on the screen.
pub(crate) const COLUMNS: &str = "\
hits, misses   lookups that found an entry, and that found none
sets, deletes  entries stored and removed through the shared memory
fills          entries that a lookup brought from the database to the shared memory
evictions      entries removed to keep within the limit, expired ones first
direct         transactions that wrote to the database without the shared memory
drained        changes taken from the shared memory to the database
drain ms       how long a transaction that takes them takes, in milliseconds
dirty          what waits in the shared memory and is not in the database yet
processes      how many processes share the memory now

All processes count together, since the first of them opened the cache. On a terminal `q` leaves and
`?` shows this.";

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
