//! Owns the way of a value from the caller to the columns of a row: inline or in a file, signed or not.
//! Everything slow happens here, before the writer lock is asked for.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::Handle;
use crate::system::error::{Error, Result};
use crate::system::value_files::NewFile;
use crate::system::warning::Warning;
use crate::value::frame::{Frame, encoder};
use crate::value::key::Key;
use crate::value::pickle;
use crate::value::scalar::Scalar;
use crate::value::sign::{self, Mac, Signer, Signing};
use crate::value::{Columns, Payload, UNFILED, mode};

use super::Cache;
use crate::value::number::Number;

use super::restore::Body;

/// A value on its way into a row. A file that no transaction adopts is removed again.
pub(crate) enum Prepared {
    /// Columns as they will be stored, whatever the key.
    Ready { columns: Columns, file: Option<Arc<NewFile>> },
    /// A pickle, or a frame of one, whose signature waits for the key.
    Signed { mode: i64, body: Vec<u8>, size: i64, file: Option<NewFile>, mac: Box<Mac> },
}

/// Where values of a length lie.
#[derive(Clone, Copy)]
struct Bounds<'h> {
    /// Bytes from which on a value lies in a file, once it is stored.
    filed: usize,
    /// Where a value that is not very long may wait for its file: its hot tier says how long.
    waiting: Option<&'h Handle>,
}

impl Bounds<'_> {
    /// All values lie in their rows.
    const NONE: Self = Self { filed: usize::MAX, waiting: None };

    /// Whether a value of so many bytes gets its file at once. The tier is asked only about long ones.
    fn is_filed(self, bytes: usize) -> bool {
        bytes >= self.filed && self.waiting.is_none_or(|handle| bytes >= handle.longest_waiting())
    }

    /// The `size` of columns that hold so many bytes.
    fn size(self, bytes: usize) -> i64 {
        if bytes < self.filed { 0 } else { UNFILED }
    }
}

impl Prepared {
    /// Turns a value into columns, writing the file if it needs one.
    pub fn new(handle: &Arc<Handle>, payload: Payload<'_>) -> Result<Self> {
        let filed = handle.settings.current().min_file_size;
        Self::within(handle, payload, Bounds { filed, waiting: None })
    }

    /// The same, but leaves the file of a value that is not very long to the drain, if the hot tier takes it. The columns of
    /// such a value say [`UNFILED`].
    pub fn waiting(handle: &Arc<Handle>, payload: Payload<'_>) -> Result<Self> {
        let filed = handle.settings.current().min_file_size;
        Self::within(handle, payload, Bounds { filed, waiting: Some(handle) })
    }

    fn within(handle: &Arc<Handle>, payload: Payload<'_>, bounds: Bounds<'_>) -> Result<Self> {
        let inline = |value: Scalar| {
            let size = bounds.size(value.len());
            Ok(Self::Ready { columns: Columns { size, ..Columns::inline(mode::RAW, value) }, file: None })
        };
        match payload {
            Payload::Int(value) => Ok(Self::ready(mode::RAW, Scalar::Int(value))),
            Payload::Float(value) if value.is_nan() => {
                Self::signed(handle, mode::PICKLE, Cow::Owned(pickle::encode(&value)), bounds)
            }
            Payload::Float(value) => Ok(Self::ready(mode::RAW, Scalar::Real(value))),
            Payload::Text(value) if !bounds.is_filed(value.len()) => inline(Scalar::from(value)),
            Payload::Text(value) => Self::filed(handle, mode::TEXT, value.as_bytes()),
            Payload::Bytes(value) if !bounds.is_filed(value.len()) => inline(Scalar::from(value)),
            Payload::Bytes(value) => Self::filed(handle, mode::BINARY, value),
            Payload::Packed(value) => Self::framed(handle, &Frame::new(encoder::PACKED, value), bounds),
            Payload::Frame(frame) => Self::framed(handle, &frame, bounds),
            Payload::Framed { frame, length, body } => Self::copied_frame(handle, &frame, length, body),
            Payload::Pickle(value) => Self::signed(handle, mode::PICKLE, Cow::Borrowed(value), bounds),
            Payload::PickleReader(reader) => Self::copied_pickle(handle, reader),
            Payload::Columns(columns) => Ok(Self::Ready { columns, file: None }),
            Payload::Reader(reader) => Self::copied(handle, mode::BINARY, reader),
        }
    }

    /// A number, never in a file.
    pub fn number(handle: &Arc<Handle>, number: Number) -> Result<Self> {
        match number.columns() {
            Some(columns) => Ok(Self::Ready { columns, file: None }),
            None => Self::signed(handle, mode::PICKLE, Cow::Owned(pickle::encode(&f64::NAN)), Bounds::NONE),
        }
    }

    /// A value as another store had it.
    pub fn stored(handle: &Arc<Handle>, mode: i64, body: Body<'_>) -> Result<Self> {
        match body {
            Body::Column(value) => Ok(Self::ready(mode, value)),
            Body::File(reader) => Self::copied(handle, mode, reader),
            Body::TrustedPickle(unsigned) => {
                let filed = handle.settings.current().min_file_size;
                Self::signed(handle, mode, Cow::Borrowed(unsigned), Bounds { filed, waiting: None })
            }
        }
    }

    fn ready(mode: i64, value: Scalar) -> Self {
        Self::Ready { columns: Columns::inline(mode, value), file: None }
    }

    fn filed(handle: &Arc<Handle>, mode: i64, bytes: &[u8]) -> Result<Self> {
        Ok(Self::sealed(mode, file_with(handle, bytes)?))
    }

    fn copied(handle: &Arc<Handle>, mode: i64, reader: &mut dyn Read) -> Result<Self> {
        let mut file = file_with(handle, &[])?;
        file.copy_from(reader, || handle.free_disk_space())?;
        Ok(Self::sealed(mode, file))
    }

    fn sealed(mode: i64, mut file: NewFile) -> Self {
        file.seal();
        Self::Ready { columns: file_columns(mode, &file), file: Some(Arc::new(file)) }
    }

    /// A frame whose body is read once.
    fn copied_frame(
        handle: &Arc<Handle>,
        frame: &Frame<'_>,
        length: usize,
        body: &mut dyn Read,
    ) -> Result<Self> {
        if frame.is_signed() && frame.is_aligned {
            return Err(Error::Invalid("a frame that is mapped and signed is passed with its body".into()));
        }
        let head = frame.head_of(length);
        let mut file = file_with(handle, &head)?;
        let mut mac = None;
        if frame.is_signed() {
            let mac = mac.insert(Box::new(signer(handle)?.begin()));
            mac.update(&head);
            file.copy_from(&mut Copied { body, mac }, || handle.free_disk_space())?;
        } else {
            file.copy_from(body, || handle.free_disk_space())?;
        }
        if file.size() != (head.len() + length) as u64 {
            return Err(Error::Invalid(format!(
                "the body of a frame has not the {length} bytes that it should"
            )));
        }
        Ok(match mac {
            Some(mac) => Self::Signed { mode: mode::FRAME, body: Vec::new(), size: 0, file: Some(file), mac },
            None => Self::sealed(mode::FRAME, file),
        })
    }

    /// A pickle that is read once.
    fn copied_pickle(handle: &Arc<Handle>, body: &mut dyn Read) -> Result<Self> {
        let mut file = file_with(handle, &[])?;
        let mut mac = Box::new(signer(handle)?.begin());
        file.copy_from(&mut Copied { body, mac: &mut mac }, || handle.free_disk_space())?;
        Ok(Self::Signed { mode: mode::PICKLE, body: Vec::new(), size: 0, file: Some(file), mac })
    }

    fn framed(handle: &Arc<Handle>, frame: &Frame<'_>, bounds: Bounds<'_>) -> Result<Self> {
        let head = frame.head();
        let length = head.len() + frame.body.len();
        // A reader maps the file of an aligned one.
        let is_filed = if frame.is_aligned { length >= bounds.filed } else { bounds.is_filed(length) };
        if !is_filed {
            let bytes = [&head, frame.body].concat();
            return if frame.is_signed() {
                Self::signed_inline(handle, mode::FRAME, bytes, bounds)
            } else {
                let columns = Columns::inline(mode::FRAME, Scalar::Blob(bytes));
                Ok(Self::Ready { columns: Columns { size: bounds.size(length), ..columns }, file: None })
            };
        }
        let mut file = file_with(handle, &head)?;
        file.copy_from(&mut &*frame.body, || handle.free_disk_space())?;
        if !frame.is_signed() {
            return Ok(Self::sealed(mode::FRAME, file));
        }
        let mut mac = Box::new(signer(handle)?.begin());
        mac.update(&head);
        mac.update(&frame.body[..frame.signed_part().unwrap_or(frame.body.len())]);
        Ok(Self::Signed { mode: mode::FRAME, body: Vec::new(), size: 0, file: Some(file), mac })
    }

    fn signed(handle: &Arc<Handle>, mode: i64, bytes: Cow<'_, [u8]>, bounds: Bounds<'_>) -> Result<Self> {
        if !bounds.is_filed(bytes.len()) {
            return Self::signed_inline(handle, mode, bytes.into_owned(), bounds);
        }
        let mac = Self::mac(handle, mode, &bytes)?;
        let (size, file) = (bounds.size(bytes.len()), Some(file_with(handle, &bytes)?));
        Ok(Self::Signed { mode, body: Vec::new(), size, file, mac })
    }

    fn signed_inline(handle: &Arc<Handle>, mode: i64, body: Vec<u8>, bounds: Bounds<'_>) -> Result<Self> {
        let mac = Self::mac(handle, mode, &body)?;
        Ok(Self::Signed { mode, size: bounds.size(body.len()), body, file: None, mac })
    }

    fn mac(handle: &Arc<Handle>, mode: i64, bytes: &[u8]) -> Result<Box<Mac>> {
        let mut mac = Box::new(signer(handle)?.begin());
        mac.update(if mode == mode::FRAME { Frame::signed_bytes(bytes) } else { bytes });
        Ok(mac)
    }

    /// Bytes that the value will take.
    pub fn size(&self) -> u64 {
        match self {
            Self::Ready { columns, .. } => {
                u64::try_from(columns.size).unwrap_or(0).max(columns.value.len() as u64)
            }
            Self::Signed { body, file, .. } => {
                file.as_ref().map_or(body.len() as u64, NewFile::size) + sign::TRAILER_LEN as u64
            }
        }
    }

    /// Signs for a key, if need be. May be called again, for the same key.
    pub fn finish(&mut self, key: &Key<'_>) -> Result<&Columns> {
        if let Self::Signed { mode, body, size, file, mac } = self {
            let (mode, (kind, bytes)) = (*mode, key.signed_form());
            let trailer = mac.clone().finish(kind, &bytes, mode);
            let columns = match file {
                None => {
                    body.extend_from_slice(&trailer);
                    let value = Scalar::Blob(std::mem::take(body));
                    Columns { size: *size, ..Columns::inline(mode, value) }
                }
                Some(file) => {
                    file.write(&trailer)?;
                    file.seal();
                    file_columns(mode, file)
                }
            };
            *self = Self::Ready { columns, file: file.take().map(Arc::new) };
        }
        match self {
            Self::Ready { columns, .. } => Ok(columns),
            Self::Signed { .. } => Err(Error::Invalid(
                "a value was stored without its signature; report this as a bug of dolium".into(),
            )),
        }
    }

    /// The columns for a key that may turn out to be another one, so that nothing here changes. Returns `None` for a value
    /// file that needs a signature.
    pub fn columns_for(&self, key: &Key<'_>) -> Option<Columns> {
        match self {
            Self::Ready { columns, .. } => Some(columns.clone()),
            Self::Signed { mode, body, size, file: None, mac } => {
                let (kind, bytes) = key.signed_form();
                let trailer = mac.clone().finish(kind, &bytes, *mode);
                let value = Scalar::Blob([body.as_slice(), &trailer].concat());
                Some(Columns { size: *size, ..Columns::inline(*mode, value) })
            }
            Self::Signed { file: Some(_), .. } => None,
        }
    }

    /// The file, for the transaction that names it in a row. Kept here as well: a transaction that fails
    /// on a damaged store is tried again on a fresh one.
    pub fn file(&self) -> Option<Arc<NewFile>> {
        if let Self::Ready { file, .. } = self { file.clone() } else { None }
    }
}

/// Whether a value of so many bytes gets a value file before it gets a row.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use dolium::{Cache, host};
///
/// let cache = Cache::open(dir.path())?;
/// assert!(host::is_filed(&cache, 1 << 20) && !host::is_filed(&cache, 100));
/// # Ok::<(), dolium::Error>(())
/// ```
#[must_use]
pub fn is_filed(cache: &Cache, bytes: usize) -> bool {
    let handle = &cache.handle;
    cache.know_settings().is_ok()
        && Bounds { filed: handle.settings.current().min_file_size, waiting: Some(handle) }.is_filed(bytes)
}

/// What is signed on its way into a file, and the sum of what was read of it.
struct Copied<'a> {
    body: &'a mut dyn Read,
    mac: &'a mut Mac,
}

impl Read for Copied<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.mac.update(&buffer[..count]);
        Ok(count)
    }
}

/// A value file of these bytes. What was overwritten before may still take the space that it needs.
fn file_with(handle: &Arc<Handle>, bytes: &[u8]) -> Result<NewFile> {
    let create = || {
        // Looked at once: mostly the directory is there.
        let rights = if let Some(rights) = handle.values.rights() {
            rights
        } else {
            handle.make_directory()?;
            handle.values.rights().unwrap_or_default()
        };
        let mut file = NewFile::create(&handle.values, rights)?;
        file.write(bytes)?;
        Ok(file)
    };
    match create() {
        Err(Error::Full { .. }) if handle.free_disk_space() => create(),
        done => done,
    }
}

fn file_columns(mode: i64, file: &NewFile) -> Columns {
    Columns {
        size: i64::try_from(file.size()).unwrap_or(i64::MAX),
        mode,
        filename: Some(file.name().to_owned()),
        value: Scalar::Null,
    }
}

/// The signing key. Where the user's cannot be kept, says so once.
pub(crate) fn signer(handle: &Handle) -> Result<Signer> {
    match Signer::load().map_err(|error| Error::Invalid(error.to_string()))? {
        Signing::With(signer) => Ok(signer),
        Signing::Alone { signer, reason } => {
            static TOLD: AtomicBool = AtomicBool::new(false);
            if !TOLD.swap(true, Ordering::Relaxed) {
                handle.warnings.add(Warning::NoSigningKey { reason: reason.to_string() });
            }
            Ok(signer)
        }
    }
}

/// A pickle with our signature for a key behind it, for callers that make rows themselves.
pub fn sign_pickle<'k>(cache: &Cache, key: impl Into<Key<'k>>, mut pickle: Vec<u8>) -> Result<Vec<u8>> {
    let key = key.into();
    let (kind, form) = key.signed_form();
    let trailer = signer(&cache.handle)?.sign(&pickle, kind, &form, mode::PICKLE);
    pickle.extend_from_slice(&trailer);
    Ok(pickle)
}
