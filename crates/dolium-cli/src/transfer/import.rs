//! Owns `import`: which kind of source it is, and reading the lines of an export.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dolium::Scalar;
use serde_json::Value as Json;

use crate::args::{Import, arrange};
use crate::encoding::from_base64;
use crate::json;
use crate::open::{Access, AnyCache};
use crate::outcome::{Failure, Outcome, Result};
use crate::progress::Progress;

use super::record::{Record, ValueLocation};
use super::report::Report;
use super::target::{Options, Target, Value};
use super::{BATCH, VERSION};

pub(crate) fn import(args: Import, timeout: Duration) -> Result<Outcome> {
    let (directory, rest) = arrange([args.dir, args.source], &["SOURCE"])?;
    let source = rest.into_iter().next().unwrap_or_default();
    let options = Options { trust: args.trust, keep: args.keep };
    let mut report = Report::default();
    let path = Path::new(&source);
    let done = if path.is_dir() {
        from_directory(path, &directory, timeout, options, &mut report)
    } else {
        from_file(&source, &directory, timeout, options, &mut report)
    };
    match done {
        Ok(()) => report.print(args.json),
        Err(error) => {
            if report.imported > 0 {
                report.print(args.json)?;
            }
            Err(error)
        }
    }
}

fn from_directory(
    source: &Path,
    directory: &Path,
    timeout: Duration,
    options: Options,
    report: &mut Report,
) -> Result<()> {
    let same = |path: &Path| path.canonicalize().ok();
    if same(source).is_some_and(|source| same(directory).is_some_and(|target| target == source)) {
        return Err(Failure::usage("a cache cannot be imported into itself"));
    }
    let store = AnyCache::open(source, Access::Look, timeout)?;
    let mut settings = store.shards()[0].settings()?;
    let limit = store.size_limit()?;
    settings.retain(|(name, _)| name != "size_limit");
    #[expect(clippy::cast_precision_loss, reason = "a limit")]
    settings.push(("size_limit".into(), Scalar::Real(limit.map_or(f64::INFINITY, |limit| limit as f64))));
    let target = Target::open(directory, timeout, options, store.shard_count(), settings)?;
    let copied = super::directory::copy(&store, &target, report);
    // Also for the values that came before an error.
    super::dictionaries::copy(&store, &target, report)?;
    copied?;
    let nested = store.nested();
    target.store.close()?;
    store.close()?;
    for path in nested {
        // The store knows its directory by an absolute path.
        let source = std::path::absolute(source).unwrap_or_else(|_| source.to_path_buf());
        let below: PathBuf = path.strip_prefix(&source).unwrap_or(&path).to_path_buf();
        from_directory(&path, &directory.join(below), timeout, options, report)?;
    }
    Ok(())
}

fn from_file(
    source: &OsStr,
    directory: &Path,
    timeout: Duration,
    options: Options,
    report: &mut Report,
) -> Result<()> {
    let path = PathBuf::from(source);
    let reader: Box<dyn Read> = if source == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&path).map_err(Failure::file(&path))?)
    };
    let mut lines = Lines { path, reader: BufReader::with_capacity(1 << 16, reader), number: 0 };
    let head = lines.next()?.ok_or_else(|| lines.wrong("it is empty"))?;
    match head.get("dolium-export").and_then(Json::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(lines.wrong(&format!("version {other} of the format is not known here"))),
        None => return Err(lines.wrong("this is no export of dolium")),
    }
    let settings = head.get("settings").and_then(Json::as_object).into_iter().flatten();
    let settings = settings.map(|(name, value)| (name.clone(), json::to_setting(value))).collect();
    let number = |name| head.get(name).and_then(Json::as_u64).and_then(|number| usize::try_from(number).ok());
    let shards = number("shards").filter(|shards| (1..=1000).contains(shards));
    let target = Target::open(directory, timeout, options, shards, settings)?;
    let copied = copy(&mut lines, &target, report, number("entries").unwrap_or(0));
    target.store.close()?;
    copied
}

/// Copies entries up to the end line. Those whose values are in their lines wait for each other, so that no
/// lock is held while more is read: the other end of a pipe may be slow.
fn copy(lines: &mut Lines, target: &Target, report: &mut Report, entries: usize) -> Result<()> {
    let mut progress = Progress::new(entries, "importing");
    let mut waiting = Vec::with_capacity(BATCH);
    let read = read(lines, target, report, &mut waiting, &mut progress);
    store(&mut waiting, target, report)?;
    read
}

fn read(
    lines: &mut Lines,
    target: &Target,
    report: &mut Report,
    waiting: &mut Vec<(Record, Scalar)>,
    progress: &mut Progress,
) -> Result<()> {
    let mut count = 0;
    while let Some(line) = lines.next()? {
        if let Some(end) = line.get("end").and_then(Json::as_u64) {
            super::dictionaries::put_all(&line, target, report)?;
            return if end == count { Ok(()) } else { Err(lines.wrong("entries are missing")) };
        }
        count += 1;
        progress.step();
        match Record::from_json(&line) {
            None => {
                report.refuse(None, format!("line {} is no entry", lines.number));
                skip_data(lines, &line)?;
            }
            Some((record, ValueLocation::Row(value))) => {
                waiting.push((record, value));
                if waiting.len() == BATCH {
                    store(waiting, target, report)?;
                }
            }
            Some((record, ValueLocation::File(length))) => {
                // In their order: a key may come twice.
                store(waiting, target, report)?;
                store_file(record, length, lines, target, report)?;
            }
        }
    }
    Err(lines.wrong("it was cut off: the end is missing"))
}

fn store(waiting: &mut Vec<(Record, Scalar)>, target: &Target, report: &mut Report) -> Result<()> {
    let batch = std::mem::take(waiting);
    target.in_batch(
        batch,
        |(record, _)| &record.key,
        |(record, value)| target.put(record, Value::Row(value), report),
    )
}

fn store_file(
    record: Record,
    length: u64,
    lines: &mut Lines,
    target: &Target,
    report: &mut Report,
) -> Result<()> {
    let mut data = ExportedFile { lines, left: length, chunk: Vec::new(), at: 0, failure: None };
    let stored = target.put(record, Value::File(&mut data), report);
    // What was not stored is still to be passed over.
    let passed = io::copy(&mut data, &mut io::sink());
    match data.failure {
        Some(failure) => Err(failure),
        None => stored.and(passed.map(drop).map_err(Failure::Stream)),
    }
}

/// Passes over the value of a line that is no entry.
fn skip_data(lines: &mut Lines, line: &Json) -> Result<()> {
    let Some(left) = line.pointer("/value/file").and_then(Json::as_u64) else {
        return Ok(());
    };
    let mut data = ExportedFile { lines, left, chunk: Vec::new(), at: 0, failure: None };
    let passed = io::copy(&mut data, &mut io::sink());
    match data.failure {
        Some(failure) => Err(failure),
        None => passed.map(drop).map_err(Failure::Stream),
    }
}

/// The lines of an export.
struct Lines {
    path: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    number: usize,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Json>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).map_err(Failure::file(&self.path))?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        serde_json::from_slice(&line).map(Some).map_err(|error| self.wrong(&error.to_string()))
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::Other(format!("{}, line {}: {what}", self.path.display(), self.number))
    }
}

/// The bytes of a value file, out of the lines that follow its entry.
struct ExportedFile<'a> {
    lines: &'a mut Lines,
    left: u64,
    chunk: Vec<u8>,
    at: usize,
    /// Why reading ended early: the engine would only tell that it did.
    failure: Option<Failure>,
}

impl ExportedFile<'_> {
    fn fill(&mut self) -> Result<()> {
        let line = self.lines.next()?;
        let bytes = line.as_ref().and_then(|line| line.get("data")?.as_str()).and_then(from_base64);
        match bytes {
            Some(bytes) if !bytes.is_empty() && bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                self.chunk = bytes;
                self.at = 0;
                Ok(())
            }
            _ => Err(self.lines.wrong("data of a value file expected")),
        }
    }
}

impl Read for ExportedFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            if self.left == 0 {
                return Ok(0);
            }
            if self.failure.is_some() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Err(failure) = self.fill() {
                self.failure = Some(failure);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
