//! Owns `get`, `pop` and `path`: one entry's value on standard output. Pickles are described, never run.

use std::io::{self, Write};
use std::time::Duration;

use dolium::raw::{Encoded, mode};
use dolium::{Cache, Entry, Key, Stream, Value, raw};
use serde_json::{Value as Json, json};

use crate::args::{Get, OneKey};
use crate::key::Names;
use crate::open::Access;
use crate::outcome::{Failure, Outcome, Result, say};
use crate::output::Output;
use crate::{json, json_disk, key, plain};

use super::not_found;

pub(super) fn get(args: Get, timeout: Duration) -> Result<Outcome> {
    let (store, key, names) = args.at.open(Access::Look, timeout)?;
    let shard = store.shard(&key);
    let mut output = Output::new();
    if !args.json && names == Names::Plain && copied(shard, &key, &mut output)? {
        output.finish()?;
        store.close()?;
        return Ok(Outcome::Done);
    }
    let Some(entry) = shard.entry(&key)? else {
        if shard.contains(&key)? {
            say(&format!(
                "{}: its value file is missing or has another length; `dolium check` tells more",
                key::shown(&key, names)
            ));
            return Ok(Outcome::NotFound);
        }
        return Ok(not_found(&key, names));
    };
    print(&key, &entry, names, args.json, args.raw, &mut output)?;
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

pub(super) fn pop(args: Get, timeout: Duration) -> Result<Outcome> {
    let (store, key, names) = args.at.open(Access::Change, timeout)?;
    let Some(entry) = store.shard(&key).pop(&key)? else {
        return Ok(not_found(&key, names));
    };
    let mut output = Output::new();
    print(&key, &entry, names, args.json, args.raw, &mut output)?;
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

pub(super) fn path(args: OneKey, timeout: Duration) -> Result<Outcome> {
    let (store, key, names) = args.open(Access::Look, timeout)?;
    let Some(info) = store.shard(&key).info(&key)? else {
        return Ok(not_found(&key, names));
    };
    let Some(path) = info.path else {
        say(&format!(
            "{}: the value lies in the database, not in a file of its own",
            key::shown(&key, names)
        ));
        return Ok(Outcome::NotFound);
    };
    let path = std::path::absolute(&path).map_err(Failure::file(&path))?;
    let mut output = Output::new();
    output.write_all(path.as_os_str().as_encoded_bytes())?;
    output.write_all(b"\n")?;
    output.finish()?;
    store.close()?;
    Ok(Outcome::Done)
}

/// Copies a value that is a file of bytes or text, however large. `false`: it is something else.
fn copied(shard: &Cache, key: &Key<'_>, output: &mut Output) -> Result<bool> {
    let Some(row) = raw::row(shard, key)? else {
        return Ok(false);
    };
    if row.columns.filename.is_none() || ![mode::BINARY, mode::TEXT].contains(&row.columns.mode) {
        return Ok(false);
    }
    match shard.open_value(key)? {
        Some(Entry { value: Stream::File { mut file, .. }, .. }) => {
            io::copy(&mut file, output)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn print(
    key: &Key<'_>,
    entry: &Entry,
    names: Names,
    as_json: bool,
    raw: bool,
    output: &mut Output,
) -> Result<()> {
    let decoded = match &entry.value {
        Value::Bytes(bytes) if names == Names::Json && !raw => json_disk::decode(bytes),
        _ => None,
    };
    if as_json {
        let mut document = match &decoded {
            Some(value) => json!({ "type": "json", "value": value }),
            None => json::value(&entry.value),
        };
        if let Json::Object(fields) = &mut document {
            fields.insert("key".into(), json::key(key));
            fields.insert("tag".into(), json::scalar(&entry.tag));
            fields.insert("store_time".into(), entry.store_time.into());
            fields.insert("expire_time".into(), entry.expire_time.into());
            if let Value::Packed(bytes) = &entry.value {
                fields.insert("repr".into(), unpacked(bytes).into());
            }
        }
        return output.json(&document);
    }
    if let Some(value) = &decoded {
        return print_text(&json_disk::text_of(value), output);
    }
    match &entry.value {
        Value::Null => output.line("None"),
        Value::Int(value) => output.line(&value.to_string()),
        Value::Float(value) => output.line(&format!("{value:?}")),
        Value::Text(text) => print_text(text, output),
        Value::Pickle { bytes, signed } if !raw => describe(bytes, *signed, output),
        Value::Packed(bytes) if !raw => output.line(&unpacked(bytes)),
        Value::Bytes(bytes)
        | Value::Pickle { bytes, .. }
        | Value::Packed(bytes)
        | Value::Unknown { bytes, .. } => Ok(output.write_all(bytes)?),
        Value::Encoded(encoded) => Ok(output.write_all(&bytes_of(encoded)?)?),
        other => Err(Failure::Other(format!("{other:?} cannot be shown"))),
    }
}

/// What an encoder made. Of JSON, the document.
fn bytes_of(encoded: &Encoded) -> Result<Vec<u8>> {
    let bytes = encoded.bytes().map_err(Failure::Stream)?;
    Ok(json::document(encoded, &bytes).unwrap_or(&bytes).to_vec())
}

fn print_text(text: &str, output: &mut Output) -> Result<()> {
    output.write_all(text.as_bytes())?;
    // To a file or a pipe goes exactly what is stored.
    if output.is_terminal && !text.ends_with('\n') {
        output.write_all(b"\n")?;
    }
    Ok(())
}

fn describe(pickle: &[u8], signed: bool, output: &mut Output) -> Result<()> {
    let Some(description) = plain::describe(pickle) else {
        return Err(Failure::Other(format!(
            "a pickle of {} bytes that cannot be described; --raw prints the bytes",
            pickle.len()
        )));
    };
    if !description.foreign.is_empty() {
        let whose = if signed { "signed with this user's key" } else { "not signed with this user's key" };
        say(&format!("a pickle that uses {}, {whose}; it was not run", description.foreign.join(", ")));
    }
    output.line(&description.data.to_string())
}

/// `MessagePack` in Python's notation, as far as it is well-formed.
fn unpacked(bytes: &[u8]) -> String {
    plain::unpack(bytes)
        .map_or_else(|| plain::Data::Bytes(bytes.to_vec()).to_string(), |data| data.to_string())
}
