//! Owns the syntax of the command line. Refuses to open or decide anything: see `open`, `key` and `commands`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::human;
use crate::outcome::{Failure, Result};

/// Names the directory if the command line does not.
pub(crate) const DIRECTORY: &str = "DOLIUM_DIR";

const NOTES: &str = "\
DIR is the directory of a Cache or a FanoutCache; it may be left out where DOLIUM_DIR names it.
A key is text unless an option says otherwise; `list` prints keys as they are to be typed.
Only commands that change something write: looking never alters a cache.

Exit codes: 0 done or found, 1 not found or problems found, 2 error.";

#[derive(Debug, Parser)]
#[command(name = "dolium", version, about = "Look into persistent caches, change them, move them", after_help = NOTES)]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How long to wait for other writers
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = human::parse_wait)]
    pub timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a cache holds and how it is set up, or what is known of one entry
    Info(Info),
    /// Show hits and misses
    Stats(Stats),
    /// Show what goes on in a cache, live
    Top(Top),
    /// List the keys
    List(List),
    /// List the tags, and how many entries have each
    Tags(Tags),
    /// List the functions whose results are kept: entries, bytes, and seconds of computing that they hold
    Functions(Functions),
    /// Remove the results of a function
    Forget(Forget),
    /// Print a value
    Get(Get),
    /// Store a value
    Set(Set),
    /// Remove an entry
    Delete(OneKey),
    /// Print a value and remove it
    Pop(Get),
    /// Change when an entry expires
    Touch(Touch),
    /// Remove the entries that have expired
    Expire(Sweep),
    /// Remove the entries with a tag
    Evict(Evict),
    /// Remove expired entries, then others by policy until the cache is within its limit
    Cull(Sweep),
    /// Remove all entries
    Clear(Clear),
    /// Look for damage: what remains of it makes the exit code 1
    Check(Check),
    /// Copy a cache to a new directory, as it is now, while programs use it
    Backup(Backup),
    /// Write the entries to a file
    Export(Export),
    /// Copy entries from a file that `export` wrote, or from a diskcache or dolium directory
    Import(Import),
    /// Print the path of an entry's value file
    Path(OneKey),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// A cache.
#[derive(Args, Debug)]
pub(crate) struct CacheArg {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
}

/// A key that is not plain text.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct TypedKey {
    /// The key is this text, even if it looks like an option
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, help_heading = "Keys")]
    pub text: Option<String>,
    /// The key is an integer
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Keys")]
    pub int: Option<i64>,
    /// The key is a float
    #[arg(long, value_name = "X", allow_hyphen_values = true, help_heading = "Keys")]
    pub float: Option<f64>,
    /// The key is these bytes
    #[arg(long, value_name = "HEX", help_heading = "Keys")]
    pub bytes_hex: Option<String>,
    /// The key is a Python literal, like "('module.function', 1)"
    #[arg(long, value_name = "PYTHON", allow_hyphen_values = true, help_heading = "Keys")]
    pub literal: Option<String>,
    /// The key is stored as this pickle
    #[arg(long, value_name = "HEX", help_heading = "Keys")]
    pub pickle_hex: Option<String>,
}

/// A tag.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct Tag {
    /// The tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// The tag, an integer
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub int_tag: Option<i64>,
}

/// A cache and a key.
#[derive(Args, Debug)]
pub(crate) struct OneKey {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The key
    #[arg(value_name = "KEY")]
    pub key: Option<OsString>,
    #[command(flatten)]
    pub typed: TypedKey,
}

#[derive(Args, Debug)]
pub(crate) struct Info {
    #[command(flatten)]
    pub at: OneKey,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Stats {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Set hits and misses to 0 afterwards
    #[arg(long)]
    pub reset: bool,
    /// Keep the numbers while no program uses the cache
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
    /// Let the numbers go with the last program that uses the cache
    #[arg(long)]
    pub disable: bool,
    /// Show instead what codecs save, for each function, codec and dictionary; values without a codec are left out
    #[arg(long, conflicts_with_all = ["reset", "enable", "disable"])]
    pub codecs: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = crate::help::COLUMNS)]
pub(crate) struct Top {
    #[command(flatten)]
    pub cache: CacheArg,
    /// How often to look
    #[arg(long, short, value_name = "DURATION", default_value = "1s", value_parser = human::parse_wait)]
    pub interval: Duration,
    /// Stop after so many looks
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<usize>,
    /// Print one JSON object per look
    #[arg(long)]
    pub json: bool,
}

/// In which order keys are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// As they were inserted
    Inserted,
    /// Numbers, text, bytes, others
    Key,
    /// Oldest write first
    Stored,
    /// What expires first
    Expires,
    /// Longest unread first
    Accessed,
    /// Smallest first
    Size,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct List {
    #[command(flatten)]
    pub cache: CacheArg,
    #[command(flatten)]
    pub tag: Tag,
    /// Only text keys that start like this
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// The order; by default as they were inserted, and by key with a prefix, which an index finds
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// The other way round
    #[arg(long, short)]
    pub reverse: bool,
    /// Stop after so many
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
    /// With size, times, tag and kind of value
    #[arg(long, short)]
    pub long: bool,
    /// Only entries that have expired and are not removed yet
    #[arg(long)]
    pub expired: bool,
    /// End each key with a zero byte and quote nothing, for `xargs -0 -n1 dolium delete DIR`
    #[arg(long, short = '0', conflicts_with_all = ["long", "json"])]
    pub null: bool,
    /// Print one JSON object per line
    #[arg(long, conflicts_with = "long")]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Tags {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Functions {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Forget {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The name of the function, as `functions` prints it
    #[arg(value_name = "NAME")]
    pub name: Option<OsString>,
    /// Leave the results of the version that was stored last
    #[arg(long)]
    pub old: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    pub at: OneKey,
    /// Print a pickle or MessagePack as its bytes instead of describing it
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What a value on the command line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Text in UTF-8; what an argument is unless told otherwise
    Text,
    /// Bytes; what files and standard input are unless told otherwise
    Bytes,
    /// An integer
    Int,
    /// A float
    Float,
    /// A Python literal: lists, tuples, sets and dicts too
    Literal,
}

#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The key
    #[arg(value_name = "KEY")]
    pub key: Option<OsString>,
    /// The value; `-` reads standard input
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub value: Option<OsString>,
    #[command(flatten)]
    pub typed: TypedKey,
    /// Store the content of a file
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What the value is
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// When the entry expires: 90, 5m, 1h30m, 2d
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    pub expire: Option<f64>,
    #[command(flatten)]
    pub tag: Tag,
    /// Store nothing if the key has a value; the exit code is 1 then
    #[arg(long)]
    pub add: bool,
    /// Make a cache if there is none
    #[arg(long)]
    pub create: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Touch {
    #[command(flatten)]
    pub at: OneKey,
    /// When the entry expires; never, if this is left out
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    pub expire: Option<f64>,
}

#[derive(Args, Debug)]
pub(crate) struct Sweep {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Remove nothing, say how many entries there are
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Evict {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The tag
    #[arg(value_name = "TAG")]
    pub tag: Option<OsString>,
    /// The tag, an integer
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub int_tag: Option<i64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    pub cache: CacheArg,
    /// Put right what is found; a damaged store is set aside and started afresh
    #[arg(long)]
    pub fix: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_long_help = crate::help::FORMAT)]
pub(crate) struct Export {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The file; `-` is standard output
    #[arg(value_name = "FILE")]
    pub file: Option<OsString>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// The directory of the cache
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// The directory of the copy; it appears when the copy is complete
    #[arg(value_name = "DEST")]
    pub destination: Option<OsString>,
    /// Replace the cache that DEST holds
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The directory of the cache; a new one takes over the settings of the source
    #[arg(value_name = "DIR")]
    pub dir: Option<OsString>,
    /// A file, a directory, or `-` for standard input; it is only read
    #[arg(value_name = "SOURCE")]
    pub source: Option<OsString>,
    /// Sign pickles that are not ours, so that readers run them: only for sources that you trust
    #[arg(long)]
    pub trust: bool,
    /// Leave entries alone whose keys are there already
    #[arg(long)]
    pub keep: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Sorts arguments into the directory and `wanted` others. With one less than that, the directory is
/// the environment's.
pub(crate) fn arrange(
    given: impl IntoIterator<Item = Option<OsString>>,
    wanted: &[&str],
) -> Result<(PathBuf, Vec<OsString>)> {
    let mut given: Vec<OsString> = given.into_iter().flatten().collect();
    if given.len() > wanted.len() + 1 {
        let surplus = given.swap_remove(wanted.len() + 1);
        return Err(Failure::usage(format!("`{}` is one argument too many", surplus.display())));
    }
    if given.len() == wanted.len() + 1 {
        return Ok((given.remove(0).into(), given));
    }
    match std::env::var_os(DIRECTORY).filter(|directory| !directory.is_empty()) {
        Some(directory) if given.len() == wanted.len() => Ok((directory.into(), given)),
        Some(_) => Err(Failure::usage(format!("{} is missing", wanted[given.len()]))),
        None if given.is_empty() => {
            Err(Failure::usage(format!("DIR is missing, and {DIRECTORY} names no directory")))
        }
        None => Err(Failure::usage(format!("{} is missing", wanted[given.len() - 1]))),
    }
}

impl CacheArg {
    pub fn resolve(self) -> Result<PathBuf> {
        Ok(arrange([self.dir], &[])?.0)
    }
}

impl Tag {
    /// The tag that was given. Null: none.
    pub fn scalar(self) -> dolium::Scalar {
        self.tag.map_or_else(|| self.int_tag.into(), Into::into)
    }
}
