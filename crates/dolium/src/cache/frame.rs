//! Looking up values that were stored as frames, with what is kept beside them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use dolium_hot::{Cell, View};
use rustix::process::geteuid;

use crate::store::lock::is_network;
use crate::system::clock::Timestamp;
use crate::system::error::{Error, Result};
use crate::value::encoded::{BodyFile, Encoded, Source, Unread, read_at};
use crate::value::frame::{Frame, Head, encoder};
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::sign::{TRAILER_LEN, Trailer, Verdict};
use crate::value::{Columns, Entry, Value, mode};

use super::Cache;
use super::dictionary::loaded_dictionary;
use super::nonblocking::Unanswered;
use super::prepare::signer;
use super::read::{Fetched, missing_or};

/// Bytes from which on a reader takes a value from its file by itself.
const LARGE: u64 = 64 << 10;

/// What of a frame is told with its value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Framed {
    /// The value.
    pub value: Value,
    /// Whether the value is an exception, which a reader raises.
    pub raised: bool,
    /// Until when the value is fresh, or `None` if that is as long as the entry lives.
    pub fresh_until: Option<Timestamp>,
    /// How many seconds the value took to compute.
    pub seconds: Option<f32>,
    /// Bytes of the frame.
    pub size: u64,
}

/// Whether the value of a frame's row is an exception. One in a file is not looked at.
pub(super) fn is_raised(value: &Scalar) -> bool {
    matches!(value, Scalar::Blob(stored) if Frame::is_raised(stored))
}

/// A frame in shared memory, as long as the function runs that is shown it.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    /// The frame. A pickle in it is this user's: it was signed for this key of the cache.
    pub frame: Frame<'a>,
    view: View<'a>,
}

impl FrameRef<'_> {
    /// When the entry expires.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.view.expire_time()
    }
}

impl Cache {
    fn frame_in<'v>(&self, key: &Key<'_>, view: &View<'v>) -> Option<Frame<'v>> {
        let is_here = view.kind().has_row() && view.mode() == mode::FRAME && !view.has_file();
        let Some(Cell::Blob(stored)) = view.value().filter(|_| is_here) else { return None };
        self.readable(key, stored).ok().flatten()
    }

    /// The value of a frame. One that this version cannot read is of a mode that it does not know.
    fn framed_of(&self, key: &Key<'_>, stored: &[u8]) -> Result<Framed> {
        let size = stored.len() as u64;
        if let Some(frame) = Frame::parse(stored)
            && let Some(value) = self.value_in_frame(key, &frame, stored)?
        {
            let Frame { raised, fresh_until, seconds, .. } = frame;
            return Ok(Framed { value, raised, fresh_until, seconds, size });
        }
        let value = Value::Unknown { mode: mode::FRAME, bytes: stored.to_vec() };
        Ok(Framed { value, raised: Frame::is_raised(stored), fresh_until: None, seconds: None, size })
    }

    fn value_in_frame(&self, key: &Key<'_>, frame: &Frame<'_>, stored: &[u8]) -> Result<Option<Value>> {
        // Before anything is undone.
        let signed = frame.is_signed() && self.is_signed(key, stored)?;
        value_of(self, frame, signed)
    }

    /// A frame of this version that holds no pickle of others.
    fn readable<'v>(&self, key: &Key<'_>, stored: &'v [u8]) -> Result<Option<Frame<'v>>> {
        match Frame::parse(stored) {
            Some(frame) if frame.is_signed() && !self.is_signed(key, stored)? => Ok(None),
            frame => Ok(frame),
        }
    }

    /// Whether this user's key signed a frame, for this key of the cache.
    fn is_signed(&self, key: &Key<'_>, stored: &[u8]) -> Result<bool> {
        let (kind, form) = key.signed_form();
        let is_ours = |stored: &[u8]| -> Result<bool> {
            Ok(signer(&self.handle)?.verify(stored, kind, &form, mode::FRAME) == Verdict::Ours)
        };
        let Some((unsigned, trailer)) = stored.split_last_chunk::<TRAILER_LEN>() else { return Ok(false) };
        let covered = Frame::signed_bytes(unsigned);
        if covered.len() == unsigned.len() { is_ours(stored) } else { is_ours(&[covered, trailer].concat()) }
    }

    /// The frame of a row.
    pub(super) fn framed_row(&self, key: &Key<'_>, columns: &Columns) -> Result<Fetched<Framed>> {
        match (&columns.filename, &columns.value) {
            (Some(filename), _) => self.framed_file(key, filename, columns.size),
            (None, Scalar::Blob(stored)) => self.framed_of(key, stored).map(Fetched::There),
            _ => Ok(Fetched::Damaged),
        }
    }

    fn framed_file(&self, key: &Key<'_>, filename: &str, size: i64) -> Result<Fetched<Framed>> {
        let Some(path) = self.handle.values.path(filename) else { return Ok(Fetched::Damaged) };
        match self.handle.values.open_at(&path) {
            Ok(file) => {
                let large = self.large_frame(key, file, size).map_err(Error::io(&path))?;
                if let Some(framed) = large {
                    return Ok(Fetched::There(framed));
                }
            }
            Err(error) => return missing_or(error, path),
        }
        Ok(match self.read_file(filename, size)? {
            Fetched::There(stored) => Fetched::There(self.framed_of(key, &stored)?),
            Fetched::Damaged => Fetched::Damaged,
            Fetched::Gone => Fetched::Gone,
        })
    }

    /// A frame that a reader maps, or reads to where it needs the bytes. `None` if it is another, or damaged.
    fn large_frame(&self, key: &Key<'_>, file: File, size: i64) -> io::Result<Option<Framed>> {
        let found = file.metadata()?;
        let mut beginning = [0; Frame::HEAD];
        let count = file.read_at(&mut beginning, 0)?;
        let Some(head) = Frame::peek(&beginning[..count]) else { return Ok(None) };
        let frame = head.frame;
        let is_large = head.body >= LARGE
            && frame.filters.is_empty()
            && (frame.encoder == encoder::ARRAY
                || frame.encoder == encoder::BUFFERS
                || frame.encoder == encoder::ARROW && frame.is_aligned);
        let is_sound = i64::try_from(found.len()) == Ok(size) && head.stored == found.len();
        if !(is_large && is_sound) {
            return Ok(None);
        }
        let mut signed_part = Vec::new();
        let mut signed = false;
        let mut unread = None;
        if frame.is_signed() && !frame.is_aligned {
            unread = self.unread(key, &file, &head)?;
            if unread.is_none() {
                return Ok(None);
            }
        } else if frame.is_signed() {
            let length = u64::from_le_bytes(read_at(&file, head.at, 8)?.try_into().unwrap_or_default());
            let at = usize::try_from(head.at).map_err(io::Error::other)?;
            let Some(covered) = usize::try_from(length)
                .ok()
                .filter(|length| (8..=head.body).contains(&(*length as u64)))
                .and_then(|length| length.checked_add(at))
            else {
                return Ok(None);
            };
            let mut stored = read_at(&file, 0, covered)?;
            signed_part = stored[at..].to_vec();
            stored.extend(read_at(&file, head.stored - TRAILER_LEN as u64, TRAILER_LEN)?);
            let (kind, form) = key.signed_form();
            let known = signer(&self.handle).map_err(io::Error::other)?;
            signed = known.verify(&stored, kind, &form, mode::FRAME) == Verdict::Ours;
        }
        let may_be_mapped = frame.is_aligned
            && found.uid() == geteuid().as_raw()
            && found.mode() & 0o022 == 0
            && !is_network(self.directory());
        let (file, at, length) = (Arc::new(file), head.at, head.body);
        let body = BodyFile { file, at, length, signed_part, may_be_mapped, unread };
        let Frame { encoder, raised, fresh_until, seconds, is_aligned, .. } = frame;
        let value = Value::Encoded(Encoded {
            encoder,
            filters: Vec::new(),
            signed,
            is_aligned,
            source: Source::File(body),
        });
        Ok(Some(Framed { value, raised, fresh_until, seconds, size: found.len() }))
    }

    /// The signature over all of a frame, whose body a reader reads and verifies at once. `None` if it is not this user's.
    fn unread(&self, key: &Key<'_>, file: &File, head: &Head<'_>) -> io::Result<Option<Arc<Unread>>> {
        let end = head.at + head.body;
        if end + TRAILER_LEN as u64 != head.stored {
            return Ok(None);
        }
        let signer = signer(&self.handle).map_err(io::Error::other)?;
        let trailer = read_at(file, end, TRAILER_LEN)?;
        let found = trailer.first_chunk().and_then(Trailer::parse);
        let Some((trailer, mut mac)) = found.and_then(|found| Some((found, signer.begin_check(&found)?)))
        else {
            return Ok(None);
        };
        mac.update(&read_at(file, 0, usize::try_from(head.at).map_err(io::Error::other)?)?);
        let (kind, form) = key.signed_form();
        Ok(Some(Arc::new(Unread { mac, trailer, key: (kind, form.to_vec()) })))
    }
}

/// The value of a frame. `signed`: this user's key signed the pickle in it. `None` if this version cannot read it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::raw::{self, Frame, encoder};
///
/// let cache = dolium::Cache::open(dir.path())?;
/// assert_eq!(raw::value_of(&cache, &Frame::new(encoder::TEXT, b"42"), false)?, Some("42".into()));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn value_of(cache: &Cache, frame: &Frame<'_>, signed: bool) -> Result<Option<Value>> {
    let Some((left, bytes)) = unfiltered(cache, frame)? else { return Ok(None) };
    let whole = Frame::new(frame.encoder, &bytes);
    Ok(match frame.encoder {
        encoder::NONE if left == 0 => Some(Value::Null),
        encoder::INT if left == 0 => whole.int().map(Value::Int),
        encoder::FLOAT if left == 0 => whole.float().map(Value::Float),
        encoder::TEXT if left == 0 => String::from_utf8(bytes).ok().map(Value::Text),
        encoder::BYTES if left == 0 => Some(Value::Bytes(bytes)),
        encoder::PACKED if left == 0 => Some(Value::Packed(bytes)),
        encoder::PICKLE if left == 0 => Some(Value::Pickle { bytes, signed }),
        encoder => Some(Value::Encoded(Encoded {
            encoder,
            filters: frame.filters[..left].to_vec(),
            signed,
            is_aligned: frame.is_aligned,
            source: Source::Memory(bytes),
        })),
    })
}

/// The value of a signed frame as [`value_of`] finds it. Neither waits nor asks the kernel: returns `None` also if
/// this process has not loaded the dictionary.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::host;
/// use dolium::raw::{Frame, encoder};
///
/// let cache = dolium::Cache::open(dir.path())?;
/// assert_eq!(host::try_value_of(&cache, &Frame::new(encoder::TEXT, b"42")), Some("42".into()));
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn try_value_of(cache: &Cache, frame: &Frame<'_>) -> Option<Value> {
    let is_here = match frame.needed_dictionary() {
        Some(number) => loaded_dictionary(cache, number).is_some(),
        None => true,
    };
    if is_here { value_of(cache, frame, true).ok()? } else { None }
}

/// The body of a frame before the filters that this crate knows, and how many filters are left. `None` if it is damaged,
/// asks for too much, or needs a dictionary that is gone.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::raw::{self, Frame, Zstd, encoder};
///
/// let cache = dolium::Cache::open(dir.path())?;
/// let body = b"spam and eggs, ".repeat(20);
/// let (filters, packed) = Zstd::new(3).apply(&body).expect("it pays");
/// let frame = Frame::new(encoder::BYTES, &packed).filtered(&filters, body.len() as u64);
/// assert_eq!(raw::unfiltered(&cache, &frame)?, Some((0, body)));
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn unfiltered(cache: &Cache, frame: &Frame<'_>) -> Result<Option<(usize, Vec<u8>)>> {
    cache.undo(frame)
}

/// Shows `f` the frame of a key, as [`try_get`](super::host::try_get) shows entries. Returns `Err` if
/// [`framed`](super::raw::framed) must be asked, which is also where the value is no frame, or a pickle of others.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::raw::{Frame, encoder};
/// use dolium::{Cache, PutOptions, host};
///
/// let cache = Cache::builder(dir.path()).setting("hot_size", -1).open()?;
/// cache.set_with("answer", Frame::new(encoder::TEXT, b"42"), &PutOptions::new())?;
/// assert!(cache.contains("answer")?);
/// let shown = host::try_get_frame(&cache, &"answer".into(), |found| found.frame.text().map(str::to_owned));
/// assert_eq!(shown, Ok(Some("42".to_owned())));
/// # Ok::<(), dolium::Error>(())
/// ```
#[inline]
pub fn try_get_frame<T>(
    cache: &Cache,
    key: &Key<'_>,
    f: impl FnOnce(FrameRef<'_>) -> Option<T>,
) -> Result<Option<T>, Unanswered> {
    cache.try_view(key, |view| f(FrameRef { frame: cache.frame_in(key, &view)?, view }))
}

/// The value of a key, if it was stored as a frame, and what is kept beside it. A frame that this version cannot read
/// is none.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::raw::{self, Frame, encoder};
/// use dolium::{Cache, PutOptions, Value};
///
/// let cache = Cache::open(dir.path())?;
/// let frame = Frame::new(encoder::TEXT, b"42").seconds(Some(1.5));
/// cache.set_with("answer", frame, &PutOptions::new())?;
/// cache.set("number", 42)?;
/// let framed = raw::framed(&cache, "answer")?.expect("it was just stored").value;
/// assert_eq!((framed.value, framed.seconds), (Value::Text("42".into()), Some(1.5)));
/// assert_eq!(raw::framed(&cache, "number")?, None);
/// # Ok::<(), dolium::Error>(())
/// ```
pub fn framed<'k>(cache: &Cache, key: impl Into<Key<'k>>) -> Result<Option<Entry<Framed>>> {
    let key = key.into();
    let found = cache.find(&key, None, |row| {
        if row.columns.mode != mode::FRAME {
            return Ok(Fetched::Damaged);
        }
        Ok(match cache.framed_row(&key, &row.columns)? {
            Fetched::There(Framed { value: Value::Unknown { .. }, .. }) => Fetched::Damaged,
            found => found,
        })
    })?;
    Ok(found.map(|(row, framed)| Entry::of(row, framed)))
}

/// Returns the value of a row that is a frame, for callers that decode all others themselves. Returns `None` if its
/// value file is not there, or if it is an exception.
pub fn framed_value(cache: &Cache, key: &Key<'_>, columns: &Columns) -> Result<Option<Value>> {
    let framed = cache.framed_row(key, columns)?.there();
    Ok(framed.filter(|framed| !framed.raised).map(|framed| framed.value))
}
