//! What wrapped functions ask of a store: their results, which are frames.

use std::sync::atomic::{AtomicU64, Ordering};

use dolium::host::FrameRef;
use dolium::raw::{Frame, Framed, encoder, int_body};
use dolium::{Cache, Clock, Entry, Payload, Value, host, raw};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

use super::{Flag, Inner, Seconds, Shard, Store, put};
use crate::encoded::MANY;
use crate::encoded::{Made, Peers};
use crate::value::Outgoing;
use crate::{clock, error, packed};

/// How often the results of a function were found, and how many seconds that saved, in this process.
#[pyclass(frozen, module = "dolium._dolium")]
#[derive(Default)]
pub(crate) struct Tally {
    hits: AtomicU64,
    saved: AtomicU64,
}

impl Tally {
    fn hit(&self, seconds: f32) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        // Two threads at once may lose one of their seconds, which is what a hit can afford.
        let saved = f64::from_bits(self.saved.load(Ordering::Relaxed)) + f64::from(seconds);
        self.saved.store(saved.to_bits(), Ordering::Relaxed);
    }
}

#[pymethods]
impl Tally {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// How often a result was found.
    #[getter]
    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How many seconds the results that were found had taken.
    #[getter]
    fn saved(&self) -> f64 {
        f64::from_bits(self.saved.load(Ordering::Relaxed))
    }

    /// Counts a result that was found elsewhere.
    #[pyo3(signature = (seconds, /))]
    #[expect(clippy::cast_possible_truncation, reason = "a frame has no more")]
    fn add(&self, seconds: f64) {
        self.hit(seconds as f32);
    }
}

/// A value as it was found in the hot tier.
enum Shown<'py> {
    Object(Bound<'py, PyAny>),
    Pickle(Bound<'py, PyBytes>),
    Packed(Vec<u8>),
    Encoded(Stored),
}

/// A small frame that the engine cannot show as it lies there.
struct Stored {
    encoder: u8,
    filters: Vec<u8>,
    length: u64,
    dictionary: Option<u32>,
    is_aligned: bool,
    body: Vec<u8>,
}

impl Stored {
    fn of(frame: &Frame<'_>) -> Self {
        let Frame { encoder, filters, length, dictionary, is_aligned, body, .. } = *frame;
        Self { encoder, filters: filters.to_vec(), length, dictionary, is_aligned, body: body.to_vec() }
    }

    /// The value. A pickle in it is this user's.
    fn value(&self, cache: &Cache) -> Option<Value> {
        let frame = Frame::new(self.encoder, &self.body)
            .filtered(&self.filters, self.length)
            .dictionary(self.dictionary)
            .aligned(self.is_aligned);
        host::try_value_of(cache, &frame)
    }
}

impl<'py> Shown<'py> {
    #[inline]
    fn of(py: Python<'py>, frame: &Frame<'_>) -> Option<Self> {
        if !frame.filters.is_empty() || frame.encoder > encoder::PACKED {
            return (frame.body.len() < MANY).then(|| Self::Encoded(Stored::of(frame)));
        }
        Some(Self::Object(match frame.encoder {
            encoder::INT => PyInt::new(py, frame.int()?).into_any(),
            encoder::FLOAT => PyFloat::new(py, frame.float()?).into_any(),
            encoder::TEXT => PyString::new(py, frame.text()?).into_any(),
            encoder::BYTES => PyBytes::new(py, frame.body).into_any(),
            encoder::NONE => py.None().into_bound(py),
            encoder::PICKLE => return Some(Self::Pickle(PyBytes::new(py, frame.body))),
            encoder::PACKED => return Some(Self::Packed(frame.body.to_vec())),
            _ => return None,
        }))
    }
}

/// A result on its way into a frame: a value as [`Outgoing`], or what a frame has a form of its own for.
enum Body<'py> {
    None,
    Bool(bool),
    Value(Outgoing<'py>),
    Made(Made<'py>),
}

impl<'py> Body<'py> {
    fn of(
        value: &Bound<'py, PyAny>,
        codec: Option<(&Bound<'py, PyAny>, Peers<'_>)>,
        protocol: impl FnOnce() -> PyResult<i64>,
    ) -> PyResult<Self> {
        if let Some((codec, peers)) = codec
            && let Some(made) = Made::of(codec, value, peers)?
        {
            return Ok(Self::Made(made));
        }
        if value.is_none() {
            return Ok(Self::None);
        }
        match value.cast_exact::<PyBool>() {
            Ok(value) => Ok(Self::Bool(value.is_true())),
            Err(_) => Outgoing::of(value, protocol).map(Self::Value),
        }
    }

    /// Calls `f` with a frame of the value.
    fn framed<T>(&self, f: impl FnOnce(Frame<'_>) -> PyResult<T>) -> PyResult<T> {
        match self {
            Self::None => f(Frame::new(encoder::NONE, b"")),
            // MessagePack's true and false.
            Self::Bool(value) => f(Frame::new(encoder::PACKED, if *value { b"\xc3" } else { b"\xc2" })),
            Self::Value(Outgoing::Int(value)) => {
                let (bytes, length) = int_body(*value);
                f(Frame::new(encoder::INT, &bytes[..length]))
            }
            Self::Value(Outgoing::Float(value)) => f(Frame::new(encoder::FLOAT, &value.to_le_bytes())),
            Self::Value(Outgoing::LongText(value)) => f(Frame::new(encoder::TEXT, value.as_bytes())),
            Self::Value(Outgoing::Parts(parts)) => f(Frame::new(encoder::PICKLE, parts.whole()?.as_bytes())),
            Self::Value(Outgoing::Text(value)) => f(Frame::new(encoder::TEXT, value.to_str()?.as_bytes())),
            Self::Value(Outgoing::Bytes(value)) => f(Frame::new(encoder::BYTES, value.as_bytes())),
            Self::Made(made) | Self::Value(Outgoing::Made(made)) => f(made.frame()?),
            Self::Value(Outgoing::Pickle(value)) => f(Frame::new(encoder::PICKLE, value.as_bytes())),
        }
    }
}

/// What is known of a result: value, whether it is an exception, when it was stored, until when it is fresh, when it
/// expires, the seconds that it took, and its bytes.
type Known<'py> = (Bound<'py, PyAny>, bool, f64, Option<f64>, Option<f64>, f64, u64);

impl Inner {
    /// The fresh result of a key that the hot tier has.
    #[inline]
    fn result_in_memory<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        tally: &Tally,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let is_told = clock::was_told() && clock::follow(py);
        let mut shown = None;
        let _ = host::try_get_frame(shard.cache(true), key, |found: FrameRef<'_>| {
            let Frame { raised, fresh_until, seconds, .. } = found.frame;
            let is_timeless = fresh_until.is_none() && found.expire_time().is_none();
            let is_sure = is_timeless || is_told || !clock::follow(py);
            let is_fresh = fresh_until.is_none_or(|until| Clock::System.now() < until);
            if raised || !is_sure || !is_fresh {
                return None;
            }
            shown = Shown::of(py, &found.frame).map(|value| (value, seconds.unwrap_or(0.0)));
            shown.is_some().then_some(())
        });
        let Some((value, seconds)) = shown else { return Ok(None) };
        let value = match value {
            Shown::Object(object) => object,
            Shown::Pickle(bytes) => self.loads(true).get(py)?.call1((bytes,))?,
            Shown::Packed(bytes) => packed::load(py, &bytes)?,
            Shown::Encoded(stored) => {
                let Some(value) = stored.value(shard.cache(true)) else { return Ok(None) };
                match self.unless_refused(py, self.load(py, value))? {
                    Some(value) => value,
                    None => return Ok(None),
                }
            }
        };
        tally.hit(seconds);
        Ok(Some(value))
    }

    /// The fresh result of a key. One that is stale, or an exception, is none.
    #[inline]
    pub fn result<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        tally: &Tally,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.result_in_memory(py, (shard, key), tally)? {
            None => self.result_beside_memory(py, (shard, key), tally),
            found => Ok(found),
        }
    }

    #[inline(never)]
    fn result_beside_memory<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
        tally: &Tally,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        clock::follow(py);
        Ok(match self.known(py, (shard, key))? {
            Some((value, false, _, fresh_until, _, seconds, _))
                if fresh_until.is_none_or(|until| Clock::System.now() < until) =>
            {
                tally.add(seconds);
                Some(value)
            }
            _ => None,
        })
    }

    /// All that is known of the result of a key, fresh or not.
    fn known<'py>(
        &self,
        py: Python<'py>,
        (shard, key): (&Shard, &dolium::Key<'_>),
    ) -> PyResult<Option<Known<'py>>> {
        let Some(entry) = shard.enter(py, self.lenient, |cache| raw::framed(cache, key))? else {
            return Ok(None);
        };
        let Entry {
            value: Framed { value, raised, fresh_until, seconds, size, .. },
            store_time,
            expire_time,
            ..
        } = entry;
        if matches!(value, Value::Unknown { .. }) {
            return Ok(None);
        }
        let value = self.unless_refused(py, self.load(py, value))?;
        let seconds = f64::from(seconds.unwrap_or(0.0));
        Ok(value.map(|value| (value, raised, store_time, fresh_until, expire_time, seconds, size)))
    }
}

#[pymethods]
impl Store {
    /// The annotation of a name, or None.
    #[pyo3(signature = (name, /))]
    fn _annotation<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let inner = self.inner()?;
        let note = inner.shared.shards[0].enter(py, inner.lenient, |cache| raw::annotation(cache, name))?;
        Ok(note.map(|note| PyBytes::new(py, &note)))
    }

    /// Replace the annotation of a name.
    #[pyo3(signature = (name, note, /))]
    fn _annotate(&self, py: Python<'_>, name: &str, note: &[u8]) -> PyResult<()> {
        let inner = self.inner()?;
        inner.shared.shards[0].change(py, inner.lenient, |cache| raw::annotate(cache, name, note))
    }

    /// All that is known of the result under a key, fresh or not; None if there is none.
    #[pyo3(signature = (key, /))]
    fn _known_result<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Known<'py>>> {
        let inner = self.inner()?;
        let (shard, stored) = inner.key(key)?;
        inner.known(key.py(), (shard, &stored))
    }

    /// Keep a result unless one was stored after `since`. Return whether it is kept, and what a hit will return.
    ///
    /// Small results of one `group` share a dictionary.
    #[pyo3(signature = (key, value, /, *, expire, fresh_until, seconds, tag, raised, since, codec=None, group=""))]
    #[expect(clippy::too_many_arguments, reason = "all that a frame says")]
    fn _keep_result<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        expire: Option<Seconds>,
        fresh_until: Option<f64>,
        seconds: f32,
        tag: Option<&Bound<'py, PyAny>>,
        raised: Flag,
        since: Option<f64>,
        codec: Option<&Bound<'py, PyAny>>,
        group: &str,
    ) -> PyResult<(bool, Bound<'py, PyAny>)> {
        let (inner, py) = (self.inner()?, key.py());
        let put = put(expire, tag)?;
        let codec = inner.codec(py, codec)?;
        let codec = codec.as_ref().filter(|_| !raised.0).map(|codec| (codec, inner.peers(group)));
        let body = Body::of(value, codec, || inner.protocol(py))
            .map_err(|error| error::unstorable(Some(key), py, error))?;
        // First, so that nothing is stored that cannot be read.
        let again = match &body {
            Body::Made(made) => made.again(py)?,
            // What was only memory comes back as bytes.
            Body::Value(Outgoing::Bytes(bytes)) => bytes.clone().into_any(),
            Body::Value(Outgoing::Pickle(pickle)) => inner.loads(true).get(py)?.call1((pickle,))?,
            Body::Value(Outgoing::Parts(parts)) => {
                let pickle = parts.whole()?;
                inner.unpickled(py, pickle.as_bytes(), true, || Ok(pickle.clone().into_any()))?
            }
            _ => value.clone(),
        };
        let (shard, stored) = inner.key(key)?;
        let tell = |frame: &mut Frame<'_>| {
            (frame.raised, frame.fresh_until, frame.seconds) = (raised.0, fresh_until, Some(seconds));
        };
        let keep = |cache: &Cache, payload: Payload<'_>| match since {
            Some(since) => host::add_since(cache, &stored, payload, &put, since),
            None => cache.set_with(&stored, payload, &put),
        };
        let lent = if let Body::Made(made) = &body { shard.lent(made)? } else { None };
        let is_kept = if let Some((mut frame, memory)) = lent {
            tell(&mut frame);
            let (length, mut reader) = (memory.length(), memory.reader(py));
            shard.change(py, inner.lenient, |cache| {
                keep(cache, Payload::Framed { frame, length, body: &mut reader })
            })?
        } else {
            body.framed(|mut frame| {
                tell(&mut frame);
                shard.change(py, inner.lenient, |cache| keep(cache, Payload::Frame(frame)))
            })?
        };
        Ok((is_kept, again))
    }
}
