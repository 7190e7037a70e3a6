//! Looking up values that were stored as frames, with what is kept beside them.

use dolium_hot::{Cell, View};

use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::value::frame::{Frame, encoder};
use crate::value::key::Key;
use crate::value::scalar::Scalar;
use crate::value::sign::Verdict;
use crate::value::{Columns, Entry, Value, mode};

use super::Cache;
use super::nonblocking::Unanswered;
use super::prepare::signer;
use super::read::Fetched;

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

    fn framed_of(&self, key: &Key<'_>, stored: &[u8]) -> Result<Option<Framed>> {
        let Some(frame) = Frame::parse(stored) else { return Ok(None) };
        let Some(value) = self.value_in_frame(key, &frame, stored)? else { return Ok(None) };
        let Frame { raised, fresh_until, seconds, .. } = frame;
        Ok(Some(Framed { value, raised, fresh_until, seconds, size: stored.len() as u64 }))
    }

    /// The value of a frame. One that this version cannot read is of a mode that it does not know.
    pub(super) fn value_of_frame(&self, key: &Key<'_>, stored: Vec<u8>) -> Result<Value> {
        let value = match Frame::parse(&stored) {
            Some(frame) => self.value_in_frame(key, &frame, &stored)?,
            None => None,
        };
        Ok(value.unwrap_or(Value::Unknown { mode: mode::FRAME, bytes: stored }))
    }

    fn value_in_frame(&self, key: &Key<'_>, frame: &Frame<'_>, stored: &[u8]) -> Result<Option<Value>> {
        if !frame.filters.is_empty() || frame.dictionary.is_some() {
            return Ok(None);
        }
        Ok(match frame.encoder {
            encoder::NONE => Some(Value::Null),
            encoder::INT => frame.int().map(Value::Int),
            encoder::FLOAT => frame.float().map(Value::Float),
            encoder::TEXT => frame.text().map(Value::from),
            encoder::BYTES => Some(Value::Bytes(frame.body.to_vec())),
            encoder::PACKED => Some(Value::Packed(frame.body.to_vec())),
            encoder::PICKLE => {
                let signed = self.is_signed(key, stored)?;
                Some(Value::Pickle { bytes: frame.body.to_vec(), signed })
            }
            _ => None,
        })
    }

    /// A frame of this version that holds no pickle of others.
    fn readable<'v>(&self, key: &Key<'_>, stored: &'v [u8]) -> Result<Option<Frame<'v>>> {
        let frame =
            Frame::parse(stored).filter(|frame| frame.filters.is_empty() && frame.dictionary.is_none());
        match frame {
            Some(frame) if frame.is_signed() && !self.is_signed(key, stored)? => Ok(None),
            frame => Ok(frame),
        }
    }

    /// Whether this user's key signed all bytes of a frame, for this key of the cache.
    fn is_signed(&self, key: &Key<'_>, stored: &[u8]) -> Result<bool> {
        let (kind, form) = key.signed_form();
        Ok(signer(&self.handle)?.verify(stored, kind, &form, mode::FRAME) == Verdict::Ours)
    }

    /// The stored bytes of a frame's row.
    fn fetch_bytes(&self, columns: &Columns) -> Result<Fetched<Vec<u8>>> {
        let Some(filename) = &columns.filename else {
            return Ok(match &columns.value {
                Scalar::Blob(bytes) => Fetched::There(bytes.clone()),
                _ => Fetched::Damaged,
            });
        };
        self.read_file(filename, columns.size)
    }
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
        Ok(match cache.fetch_bytes(&row.columns)? {
            Fetched::There(stored) => {
                cache.framed_of(&key, &stored)?.map_or(Fetched::Damaged, Fetched::There)
            }
            Fetched::Damaged => Fetched::Damaged,
            Fetched::Gone => Fetched::Gone,
        })
    })?;
    Ok(found.map(|(row, framed)| Entry::of(row, framed)))
}

/// Returns the value of a row that is a frame, for callers that decode all others themselves. Returns `None` if its
/// value file is not there, or if it is an exception.
pub fn framed_value(cache: &Cache, key: &Key<'_>, columns: &Columns) -> Result<Option<Value>> {
    match cache.fetch_bytes(columns)? {
        Fetched::There(stored) if !Frame::is_raised(&stored) => cache.value_of_frame(key, stored).map(Some),
        _ => Ok(None),
    }
}
