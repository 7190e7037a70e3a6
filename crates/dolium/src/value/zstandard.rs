//! Zstandard on the bytes of one value, with limits that hold before anything is allocated.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, find_frame_compressed_size};

/// Values shorter than this are not compressed.
pub(crate) const SHORTEST: usize = 64;

/// What of a value is tried before all of it is compressed.
const TRIAL: usize = 64 << 10;

/// The most that a stored value may grow to: the greater of this and so many times its length.
const FREE: u64 = 256 << 20;
const GROWTH: u64 = 1024;

/// The largest window of a frame.
const WINDOW: u64 = 1 << 27;

thread_local! {
    // Making one takes longer than compressing a small value.
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// How to compress.
pub(crate) enum Way<'a> {
    Level(i32),
    Dictionary(&'a CDict<'static>),
}

/// One frame of these bytes, or `None` if it does not save a sixteenth of them.
pub(crate) fn compress(bytes: &[u8], way: &Way<'_>) -> Option<Vec<u8>> {
    let packed = compressed(bytes, way)?;
    let pays = packed.len() <= bytes.len() - bytes.len() / 16;
    (pays && is_allowed(packed.len(), bytes.len() as u64)).then_some(packed)
}

/// Whether it makes sense to compress bytes that begin like this.
pub(crate) fn is_worth_trying(bytes: &[u8]) -> bool {
    bytes.len() >= SHORTEST
        && (bytes.len() <= TRIAL
            || compressed(&bytes[..TRIAL], &Way::Level(1)).is_some_and(|packed| packed.len() < TRIAL))
}

/// The beginning of bytes by which [`is_worth_trying`] judges.
pub(crate) fn trial(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(TRIAL + 1)]
}

fn compressed(bytes: &[u8], way: &Way<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(compress_bound(bytes.len()));
    let done = COMPRESSOR.with_borrow_mut(|context| match way {
        Way::Level(level) => context.compress(&mut out, bytes, *level),
        Way::Dictionary(dictionary) => context.compress_using_cdict(&mut out, bytes, dictionary),
    });
    done.ok()?;
    Some(out)
}

/// The content of a frame of any origin, or `None` if it is damaged, more than one frame, or asks for more than the limits.
pub(crate) fn decompress(frame: &[u8], dictionary: Option<&DDict<'static>>) -> Option<Vec<u8>> {
    let content = content_length(frame)?;
    if !is_allowed(frame.len(), content) || find_frame_compressed_size(frame) != Ok(frame.len()) {
        return None;
    }
    let length = usize::try_from(content).ok()?;
    let mut out = Vec::new();
    out.try_reserve_exact(length).ok()?;
    let done = DECOMPRESSOR.with_borrow_mut(|context| match dictionary {
        None => context.decompress(&mut out, frame),
        Some(dictionary) => context.decompress_using_ddict(&mut out, frame, dictionary),
    });
    (done == Ok(length) && out.len() == length).then_some(out)
}

fn is_allowed(stored: usize, content: u64) -> bool {
    content <= FREE.max((stored as u64).saturating_mul(GROWTH))
}

/// What the header of a frame announces, or `None` if it announces nothing, or too large a window.
fn content_length(frame: &[u8]) -> Option<u64> {
    let rest = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (&descriptor, rest) = rest.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    let (window, rest) = if is_single {
        (None, rest)
    } else {
        let (&byte, rest) = rest.split_first()?;
        let base = 1_u64 << (10 + (byte >> 3));
        (Some(base + base / 8 * u64::from(byte & 7)), rest)
    };
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let content = match descriptor >> 6 {
        0 if is_single => u64::from(*rest.first()?),
        0 => return None,
        1 => u64::from(u16::from_le_bytes(*rest.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*rest.first_chunk()?)),
        _ => u64::from_le_bytes(*rest.first_chunk()?),
    };
    (window.unwrap_or(content) <= WINDOW).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_pay_come_back() {
        for length in [64, 255, 256, 300, 70_000, 3 << 20] {
            let bytes: Vec<u8> = b"all work and no play ".iter().copied().cycle().take(length).collect();
            for level in [-1, 1, 3, 9] {
                let packed = compress(&bytes, &Way::Level(level)).expect("it pays");
                assert_eq!(content_length(&packed), Some(length as u64));
                assert_eq!(decompress(&packed, None).as_deref(), Some(&bytes[..]));
            }
        }
    }

    #[test]
    fn noise_is_left_as_it_is() {
        let mut noise = vec![0; 200_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(!is_worth_trying(&noise));
        assert_eq!(compress(&noise[..1000], &Way::Level(3)), None);
        assert!(!is_worth_trying(&[0; SHORTEST - 1]));
    }

    #[test]
    fn thirteen_bytes_that_ask_for_a_terabyte_are_refused() {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x58];
        frame.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        assert_eq!(decompress(&frame, None), None);
    }

    #[test]
    fn a_large_window_is_refused() {
        let mut frame = compress(&[7; 4000], &Way::Level(3)).expect("it pays");
        assert_eq!(frame[4] & 0x20, 0x20, "a single segment, whose window is its content");
        frame.splice(4..7, [0xc0, 18 << 3, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(content_length(&frame), None, "2 to the power of 28");
    }

    #[test]
    fn neither_a_second_frame_nor_a_cut_one_is_read() {
        let frame = compress(&[7; 4000], &Way::Level(3)).expect("it pays");
        assert_eq!(decompress(&[&frame[..], &frame[..]].concat(), None), None);
        for length in 0..frame.len() {
            assert_eq!(decompress(&frame[..length], None), None, "{length}");
        }
    }

    #[test]
    fn a_bomb_is_neither_written_nor_read() {
        let zeros = vec![0; 300 << 20];
        assert_eq!(compress(&zeros, &Way::Level(1)), None, "a reader would refuse it");
        let bomb = compressed(&zeros, &Way::Level(1)).expect("bytes");
        assert!(bomb.len() < 100_000);
        assert_eq!(decompress(&bomb, None), None);
    }
}
