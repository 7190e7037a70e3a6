//! Owns `set`, `delete` and `touch`: changes of one entry.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use dolium::{Cache, Expiry, Key, Payload, PutOptions};

use crate::args::{Kind, OneKey, Set, Touch, arrange};
use crate::key::Names;
use crate::open::{Access, AnyCache};
use crate::outcome::{Failure, Outcome, Result, say};
use crate::plain::{self, Data};

use super::not_found;

pub(super) fn set(args: Set, timeout: Duration) -> Result<Outcome> {
    let mut wanted = Vec::new();
    if !args.typed.is_given() {
        wanted.push("KEY");
    }
    if args.file.is_none() {
        wanted.push("VALUE");
    }
    let (directory, rest) = arrange([args.dir, args.key, args.value], &wanted)?;
    let mut rest = rest.into_iter();
    let argument = if args.typed.is_given() { None } else { rest.next() };
    let source = match (&args.file, rest.next()) {
        (Some(path), _) => Source::Stream(Box::new(File::open(path).map_err(Failure::file(path))?)),
        (None, Some(value)) if value == "-" => Source::Stream(Box::new(io::stdin())),
        (None, value) => Source::Argument(value.unwrap_or_default()),
    };
    let value = source.read(args.kind)?;
    let access = if args.create { Access::Make } else { Access::Change };
    let store = AnyCache::open(&directory, access, timeout).map_err(|failure| match failure {
        Failure::NoDirectory(path) => Failure::Other(format!(
            "{}: there is no such directory; `dolium set --create` makes a new cache there",
            path.display()
        )),
        other => other,
    })?;
    let names = Names::of(&store)?;
    if names == Names::Json {
        return Err(Failure::Other(format!(
            "{}: a JSONDisk keeps its entries as compressed JSON here, which only Python writes; set the entry there",
            directory.display()
        )));
    }
    let key = args.typed.resolve(argument, &store, names)?;
    let options = PutOptions::new().expire(expiry(args.expire)).tag(args.tag.scalar());
    let shard = store.shard(&key);
    let stored =
        if args.add { value.add(shard, &key, &options)? } else { value.set(shard, &key, &options)? };
    let is_there = args.add && !stored && shard.contains(&key)?;
    let limit = store.size_limit()?;
    store.close()?;
    match (stored, is_there) {
        (true, _) => Ok(Outcome::Done),
        (false, true) => {
            say(&format!("{}: has a value already", crate::key::shown(&key, names)));
            Ok(Outcome::NotFound)
        }
        (false, false) => Err(Failure::Other(format!(
            "the value is larger than the whole cache may be{}",
            limit.map_or_else(String::new, |limit| format!(", {}", crate::human::size(limit)))
        ))),
    }
}

pub(super) fn delete(args: OneKey, timeout: Duration) -> Result<Outcome> {
    let (store, key, names) = args.open(Access::Change, timeout)?;
    let found = store.shard(&key).delete(&key)?;
    store.close()?;
    Ok(if found { Outcome::Done } else { not_found(&key, names) })
}

pub(super) fn touch(args: Touch, timeout: Duration) -> Result<Outcome> {
    let expire = expiry(args.expire);
    let (store, key, names) = args.at.open(Access::Change, timeout)?;
    let found = store.shard(&key).touch(&key, expire)?;
    store.close()?;
    Ok(if found { Outcome::Done } else { not_found(&key, names) })
}

fn expiry(after: Option<f64>) -> Expiry {
    after.map_or(Expiry::Never, Expiry::After)
}

/// Where a value comes from.
enum Source {
    Argument(OsString),
    Stream(Box<dyn Read>),
}

/// A value on its way into a cache.
enum New {
    Data(Data),
    Pickle(Vec<u8>),
    /// The beginning, which was read already, and the rest.
    Stream(Box<dyn Read>),
}

/// Up to this length a stream is read before it is stored: the engine keeps every stream in a file.
const SMALL: u64 = 1 << 15;

impl Source {
    fn read(self, kind: Option<Kind>) -> Result<New> {
        let (kind, mut bytes) = match self {
            Self::Argument(value) => (kind.unwrap_or(Kind::Text), value.into_encoded_bytes()),
            Self::Stream(stream) if kind.is_none_or(|kind| kind == Kind::Bytes) => return begun(stream),
            Self::Stream(mut stream) => {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes)?;
                (kind.unwrap_or(Kind::Bytes), bytes)
            }
        };
        if kind == Kind::Bytes {
            return Ok(New::Data(Data::Bytes(std::mem::take(&mut bytes))));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage("the value is not UTF-8: store it with --as bytes"))?;
        let wrong = |what: &str| Failure::usage(format!("`{}` is no {what}", text.trim()));
        let data = match kind {
            Kind::Int => Data::Int(text.trim().parse().map_err(|_| wrong("64-bit integer"))?),
            Kind::Float => Data::Float(text.trim().parse().map_err(|_| wrong("float"))?),
            Kind::Literal => plain::parse(&text).map_err(Failure::Usage)?,
            Kind::Text | Kind::Bytes => Data::Text(text),
        };
        match data {
            data @ (Data::Int(_) | Data::Float(_) | Data::Text(_) | Data::Bytes(_)) => Ok(New::Data(data)),
            data => plain::to_pickle(&data).map(New::Pickle).map_err(Failure::Usage),
        }
    }
}

fn begun(mut stream: Box<dyn Read>) -> Result<New> {
    let mut start = Vec::new();
    stream.by_ref().take(SMALL).read_to_end(&mut start)?;
    if (start.len() as u64) < SMALL {
        return Ok(New::Data(Data::Bytes(start)));
    }
    Ok(New::Stream(Box::new(io::Cursor::new(start).chain(stream))))
}

impl New {
    fn payload(&mut self) -> Payload<'_> {
        match self {
            Self::Data(Data::Int(value)) => Payload::Int(*value),
            Self::Data(Data::Float(value)) => Payload::Float(*value),
            Self::Data(Data::Text(value)) => Payload::Text(value),
            Self::Data(Data::Bytes(value)) => Payload::Bytes(value),
            Self::Data(_) => unreachable!("other data was pickled"),
            Self::Pickle(bytes) => Payload::Pickle(bytes),
            Self::Stream(stream) => Payload::Reader(stream),
        }
    }

    fn set(mut self, shard: &Cache, key: &Key<'_>, options: &PutOptions) -> dolium::Result<bool> {
        shard.set_with(key, self.payload(), options)
    }

    fn add(mut self, shard: &Cache, key: &Key<'_>, options: &PutOptions) -> dolium::Result<bool> {
        shard.add(key, self.payload(), options)
    }
}
