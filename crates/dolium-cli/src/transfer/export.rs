//! Owns `export`: the entries of a cache as lines of a file. A file is written under another name and
//! renamed when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dolium::{Cache, Entry, Key, Order, Stream, raw};
use serde_json::{Map, Value as Json, json};

use crate::args::{Export, arrange};
use crate::encoding::to_base64;
use crate::open::{Access, AnyCache};
use crate::outcome::{Failure, Outcome, Result, say};
use crate::output::Output;
use crate::progress::Progress;
use crate::{human, json, key};

use super::VERSION;
use super::record::{Record, ValueLocation};

/// Bytes of a value file per line: a multiple of 3, so that base64 pads only the last.
const CHUNK: usize = 3 << 14;

pub(crate) fn export(args: Export, timeout: Duration) -> Result<Outcome> {
    // A single argument is the directory: standard output is what is left out more often.
    let file = args.file.clone().filter(|file| file != "-");
    let (directory, _) = arrange([args.dir], &[])?;
    let store = AnyCache::open(&directory, Access::Look, timeout)?;
    let sum = match file {
        None => {
            let mut output = Output::new();
            let sum = write(&store, &mut output, Failure::Stream)?;
            output.finish()?;
            sum
        }
        Some(path) if !args.force && Path::new(&path).exists() => {
            return Err(Failure::Other(format!(
                "{}: the file exists; name another one, or replace it with --force",
                path.display()
            )));
        }
        Some(path) => to_file(&store, Path::new(&path))?,
    };
    for nested in store.nested() {
        say(&format!("{}: a nested cache is not part of the export", nested.display()));
    }
    store.close()?;
    let skipped = if sum.unreadable > 0 { format!(", {} unreadable", sum.unreadable) } else { String::new() };
    say(&format!("{} exported{skipped}", human::entries(sum.exported)));
    Ok(Outcome::from(sum.unreadable == 0))
}

#[derive(Default)]
struct Sum {
    exported: usize,
    unreadable: usize,
}

fn to_file(store: &AnyCache, path: &Path) -> Result<Sum> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let file = private(&part).map_err(Failure::file(&part))?;
    let written = (|| {
        let failure = |error| Failure::File(part.clone(), error);
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        let sum = write(store, &mut writer, failure)?;
        let file = writer.into_inner().map_err(|error| failure(error.into_error()))?;
        file.sync_all().map_err(failure)?;
        fs::rename(&part, path).map_err(Failure::file(path))?;
        Ok(sum)
    })();
    if written.is_err() {
        // What remains of it is of no use, and the error says more than a failure to remove it.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Creates a file that only the user may read, as the cache itself.
fn private(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn write(store: &AnyCache, writer: &mut impl Write, failure: impl Fn(io::Error) -> Failure) -> Result<Sum> {
    let entries = store.sum(Cache::len)?;
    line(writer, &head(store, entries)?).map_err(&failure)?;
    let mut progress = Progress::new(entries, "exporting");
    let mut sum = Sum::default();
    for shard in store.shards() {
        for found in shard.keys(Order::Insertion)? {
            progress.step();
            let key = found?;
            match prepared(shard, &key) {
                Ok(Some(entry)) => {
                    entry.write(writer).map_err(&failure)?;
                    sum.exported += 1;
                }
                // It has expired, or was removed meanwhile.
                Ok(None) => {}
                Err(error) => {
                    sum.unreadable += 1;
                    say(&format!("{}: {error}", key::shown(&key, key::Names::Plain)));
                }
            }
        }
    }
    let mut end = json!({ "end": sum.exported });
    let dictionaries = super::dictionaries::to_json(store)?;
    if !dictionaries.is_empty() {
        end["dictionaries"] = dictionaries.into();
    }
    line(writer, &end).map_err(&failure)?;
    Ok(sum)
}

fn head(store: &AnyCache, entries: usize) -> Result<Json> {
    let mut settings = Map::new();
    for (name, value) in store.shards()[0].settings()? {
        settings.insert(name, json::setting(&value));
    }
    settings.insert("size_limit".into(), store.size_limit()?.map_or_else(|| json!("inf"), Json::from));
    Ok(json!({
        "dolium-export": VERSION,
        "entries": entries,
        "shards": store.shard_count(),
        "settings": settings,
    }))
}

fn line(writer: &mut impl Write, document: &Json) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, document)?;
    writer.write_all(b"\n")
}

/// An entry that is known to be readable, so that a damaged one leaves no half of itself behind.
struct Prepared {
    record: Record,
    location: ValueLocation,
    file: Option<File>,
}

fn prepared(shard: &Cache, key: &Key<'static>) -> Result<Option<Prepared>> {
    let (Some(info), Some(row)) = (shard.info(key)?, raw::row(shard, key)?) else {
        return Ok(None);
    };
    let mut record = Record::new(shard, key.clone(), info)?;
    record.mode = row.columns.mode;
    if row.columns.filename.is_none() {
        return Ok(Some(Prepared { record, location: ValueLocation::Row(row.columns.value), file: None }));
    }
    match shard.open_value(key)? {
        Some(Entry { value: Stream::File { file, path }, .. }) => {
            let length = file.metadata().map_err(Failure::file(&path))?.len();
            Ok(Some(Prepared { record, location: ValueLocation::File(length), file: Some(file) }))
        }
        _ => Err(Failure::Other("its value file is missing or has another length".into())),
    }
}

impl Prepared {
    fn write(self, writer: &mut impl Write) -> io::Result<()> {
        line(writer, &self.record.to_json(&self.location))?;
        let (ValueLocation::File(mut left), Some(mut file)) = (self.location, self.file) else {
            return Ok(());
        };
        let mut chunk = Vec::with_capacity(CHUNK);
        while left > 0 {
            chunk.clear();
            let wanted = left.min(CHUNK as u64);
            if Read::by_ref(&mut file).take(wanted).read_to_end(&mut chunk)? as u64 != wanted {
                // Value files never shrink while they are named; the rest would be misread.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line(writer, &json!({ "data": to_base64(&chunk) }))?;
            left -= wanted;
        }
        Ok(())
    }
}
