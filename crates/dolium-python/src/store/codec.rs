//! How a cache decodes what a codec has encoded, and which codec a value gets.

use std::os::fd::IntoRawFd;

use dolium::raw::{BodyFile, Encoded, Source, encoder};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::Inner;
use crate::encoded::{DECODE, Peers, body, scan, unreadable};
use crate::lazy::Lazy;
use crate::{error, memory};

impl Inner {
    /// The object that an encoder has encoded.
    pub fn decoded<'py>(&self, py: Python<'py>, encoded: Encoded) -> PyResult<Bound<'py, PyAny>> {
        let Encoded { encoder, filters, mut signed, is_aligned, source, .. } = encoded;
        let source = match source {
            Source::Memory(bytes) => {
                if encoder == encoder::JSON
                    && filters.is_empty()
                    && let Some(found) = scan(py, &bytes)
                {
                    return found;
                }
                body(py, encoder, &bytes)?
            }
            Source::File(file) if file.is_unread() => {
                let length = usize::try_from(file.length)?;
                let (bytes, read) = memory::filled(py, length, |place| file.read(|piece| place.take(piece)))?;
                signed = read.map_err(|error| unreadable(py, &error.to_string()))?;
                bytes.into_any()
            }
            Source::File(BodyFile { file, at, length, signed_part, may_be_mapped, .. }) => {
                let file = file.try_clone().map_err(|error| unreadable(py, &error.to_string()))?;
                let begin = PyBytes::new(py, &signed_part);
                (file.into_raw_fd(), at, length, begin, may_be_mapped).into_pyobject(py)?.into_any()
            }
            _ => return Err(unreadable(py, "it lies where this version does not look")),
        };
        self.decode(py, encoder, &filters, source, signed, is_aligned)
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        encoder: u8,
        filters: &[u8],
        source: Bound<'py, PyAny>,
        signed: bool,
        is_aligned: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = (encoder, PyBytes::new(py, filters), source, self.is_trusted(signed), is_aligned);
        DECODE.get(py)?.call1(arguments)
    }

    /// The codec of a value: the one that is passed, or that of the cache. None that is passed stands for no codec.
    #[inline]
    pub fn codec<'a, 'py>(
        &'a self,
        py: Python<'py>,
        passed: Option<&'a Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (passed, &self.shared.codec) {
            (None, None) => Ok(None),
            (None, Some(codec)) => Ok(Some(codec.bind(py).clone())),
            (Some(passed), _) if passed.is_none() => Ok(None),
            (Some(passed), _) => self.codec_passed(passed).map(Some),
        }
    }

    /// The values of a function, or those of the cache if the name is empty, which share a dictionary.
    #[inline]
    pub fn peers<'a>(&'a self, group: &'a str) -> Peers<'a> {
        Peers { cache: self.shared.shards[0].cache(false), group }
    }

    #[cold]
    fn codec_passed<'py>(&self, passed: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static AS_CODEC: Lazy = Lazy::new("dolium.codecs", "as_codec");
        let py = passed.py();
        if self.shared.shards[0].custom.is_some() {
            let message = "codec: a subclass of Disk converts the values of this cache; pass one of the two";
            return Err(error::INVALID.error(py, (message,)));
        }
        AS_CODEC.get(py)?.call1((passed,))
    }
}
