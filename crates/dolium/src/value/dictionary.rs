//! Dictionaries of Zstandard: what small values of one group have in common, so that each of them need not say it again.
//!
//! Does not know where a dictionary is kept, nor which value uses it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use zstd::zstd_safe::{self, CCtx, CDict, DDict};

/// The length of a dictionary.
const LENGTH: usize = 64 << 10;

/// The length above which bytes are no dictionary.
pub(crate) const LONGEST: usize = 1 << 20;

/// One sample of so many judges. The others train.
const JUDGES: usize = 4;

/// The level at which a dictionary is judged.
const LEVEL: i32 = 3;

/// A dictionary is adopted if it saves this part of the bytes.
const WORTH: usize = 20;

/// A dictionary that is ready to compress and to decompress values.
///
/// Its number is the beginning of the BLAKE3 of its bytes. A value that names it can therefore mean no other dictionary,
/// in no other cache and at no other time.
#[non_exhaustive]
pub struct Dictionary {
    number: u32,
    bytes: Vec<u8>,
    /// By level. No mutex, which a fork might find locked.
    encoders: ArcSwap<Vec<(i32, Arc<CDict<'static>>)>>,
    decoder: DDict<'static>,
}

impl Dictionary {
    /// Makes a dictionary of any bytes. Returns `None` if Zstandard takes them for a damaged dictionary, or if they are
    /// too long.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > LONGEST {
            return None;
        }
        let decoder = DDict::try_create(&bytes)?;
        Some(Self { number: number(&bytes), bytes, encoders: ArcSwap::default(), decoder })
    }

    /// The number by which values name the dictionary.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The dictionary as decompression needs it.
    #[must_use]
    pub fn decoder(&self) -> &DDict<'static> {
        &self.decoder
    }

    /// The dictionary as compression needs it. Returns `None` if there is no memory for it.
    #[must_use]
    pub fn encoder(&self, level: i32) -> Option<Arc<CDict<'static>>> {
        let known = |list: &[(i32, Arc<CDict<'static>>)]| {
            list.iter().find(|(other, _)| *other == level).map(|(_, encoder)| Arc::clone(encoder))
        };
        if let Some(encoder) = known(&self.encoders.load()) {
            return Some(encoder);
        }
        let encoder = Arc::new(CDict::try_create(&self.bytes, level)?);
        self.encoders.rcu(|list| {
            let mut list = Vec::clone(list);
            if known(&list).is_none() {
                list.push((level, Arc::clone(&encoder)));
            }
            list
        });
        Some(encoder)
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The number of a dictionary, or of a group, whose name stands for it until it has a dictionary.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    let hash = blake3::hash(bytes);
    let [a, b, c, d, ..] = hash.as_bytes();
    u32::from_le_bytes([*a, *b, *c, *d])
}

/// Trains a dictionary on three quarters of the samples. Returns it if it makes the other quarter at least 5 % smaller
/// than `former` does, or than no dictionary does.
pub(crate) fn train(samples: &[Vec<u8>], former: Option<&Dictionary>) -> Option<Dictionary> {
    let (mut continuous, mut lengths, mut judges) = (Vec::new(), Vec::new(), Vec::new());
    for (place, sample) in samples.iter().enumerate() {
        if place % JUDGES == JUDGES - 1 {
            judges.push(sample.as_slice());
        } else {
            continuous.extend_from_slice(sample);
            lengths.push(sample.len());
        }
    }
    if judges.is_empty() {
        return None;
    }
    // Fails on samples that are too few or have nothing in common, which is no more than a verdict.
    let trained = Dictionary::new(zstd::dict::from_continuous(&continuous, &lengths, LENGTH).ok()?)?;
    let (before, after) = (compressed(&judges, former)?, compressed(&judges, Some(&trained))?);
    (after <= before - before / WORTH).then_some(trained)
}

/// The bytes that values take, each compressed by itself unless that makes it longer.
fn compressed(values: &[&[u8]], dictionary: Option<&Dictionary>) -> Option<usize> {
    let encoder = match dictionary {
        Some(dictionary) => Some(dictionary.encoder(LEVEL)?),
        None => None,
    };
    let mut context = CCtx::try_create()?;
    let mut sum = 0;
    for value in values {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(value.len()));
        let written = match &encoder {
            Some(encoder) => context.compress_using_cdict(&mut out, value, encoder),
            None => context.compress(&mut out, value, LEVEL),
        };
        sum += written.map_or(value.len(), |written| written.min(value.len()));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of one shape, with 12 digits each that no other has.
    fn records(count: u64, shape: &str) -> Vec<Vec<u8>> {
        let digits = |at: u64| blake3::hash(&at.to_le_bytes()).to_hex()[..12].to_owned();
        (0..count).map(|at| shape.replace('#', &digits(at)).into_bytes()).collect()
    }

    const ORDER: &str =
        r##"{"id": "#", "status": "shipped", "currency": "EUR", "lines": [{"article": "#", "count": 2}]}"##;

    #[test]
    fn a_dictionary_of_records_is_adopted_and_brings_values_back() {
        let samples = records(600, ORDER);
        let dictionary = train(&samples, None).expect("it pays");
        let encoder = dictionary.encoder(3).expect("memory");
        let mut packed = Vec::with_capacity(1000);
        let value = &records(601, ORDER)[600];
        CCtx::create().compress_using_cdict(&mut packed, value, &encoder).expect("compressed");
        assert!(packed.len() * 2 < value.len(), "{} of {}", packed.len(), value.len());
        let mut again = Vec::with_capacity(value.len());
        zstd_safe::DCtx::create()
            .decompress_using_ddict(&mut again, &packed, dictionary.decoder())
            .expect("decompressed");
        assert_eq!(&again, value);
    }

    #[test]
    fn a_dictionary_that_does_not_pay_is_not_adopted() {
        let noise = |at: u64| blake3::hash(&at.to_le_bytes()).as_bytes().to_vec();
        let noise: Vec<_> = (0..600).map(noise).collect();
        assert!(train(&noise, None).is_none(), "noise");
        let samples = records(600, ORDER);
        let former = train(&samples, None).expect("it pays");
        assert!(train(&records(900, ORDER), Some(&former)).is_none(), "the former one is as good");
        let others =
            records(600, r##"<order no="#"><state>underway to the customer</state><art ref="#"/></order>"##);
        assert!(train(&others, Some(&former)).is_some(), "the former one is for other values");
    }

    #[test]
    fn samples_that_cannot_train_are_refused_in_silence() {
        for samples in [vec![], vec![vec![]; 9], vec![b"x".to_vec(); 600], records(4, ORDER)] {
            assert!(train(&samples, None).is_none());
        }
    }

    #[test]
    fn no_bytes_make_a_dictionary_crash() {
        let sound = train(&records(600, ORDER), None).expect("it pays").bytes;
        assert!(Dictionary::new(vec![]).is_none());
        assert!(Dictionary::new(vec![0; LONGEST + 1]).is_none());
        for at in 0..sound.len().min(200) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x55;
            for bytes in [bytes, sound[..at].to_vec()] {
                let Some(dictionary) = Dictionary::new(bytes) else { continue };
                let mut out = Vec::with_capacity(1 << 10);
                if let Some(encoder) = dictionary.encoder(3) {
                    let _ =
                        CCtx::create().compress_using_cdict(&mut out, b"some bytes, some bytes", &encoder);
                }
                let mut again = Vec::with_capacity(1 << 10);
                let _ =
                    zstd_safe::DCtx::create().decompress_using_ddict(&mut again, &out, dictionary.decoder());
            }
        }
    }
}
