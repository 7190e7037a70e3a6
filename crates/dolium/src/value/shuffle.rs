//! Bytes of elements, put together by their place in the element, as compressors like them: the exponents of all floats,
//! then their first mantissa bytes, and so on.

/// Elements that are moved while they are in the processor's cache.
const BLOCK: usize = 1024;

/// The bytes of elements of so many bytes each, by their place. What is left over stays behind them.
pub(super) fn shuffle(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (at, block, count) in blocks(bytes.len(), size) {
        for place in 0..size {
            let from = bytes[at * size..][place..].iter().step_by(size);
            out[place * count + at..][..block].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }
    keep_rest(bytes, &mut out, size);
    out
}

/// What was shuffled, as it was before.
pub(super) fn unshuffle(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (at, block, count) in blocks(bytes.len(), size) {
        for place in 0..size {
            let to = out[at * size..][place..].iter_mut().step_by(size);
            to.zip(&bytes[place * count + at..][..block]).for_each(|(to, from)| *to = *from);
        }
    }
    keep_rest(bytes, &mut out, size);
    out
}

/// The first element of each block, how many it has, and how many there are in all.
fn blocks(length: usize, size: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let count = length / size;
    (0..count).step_by(BLOCK).map(move |at| (at, BLOCK.min(count - at), count))
}

fn keep_rest(bytes: &[u8], out: &mut [u8], size: usize) {
    let whole = bytes.len() / size * size;
    out[whole..].copy_from_slice(&bytes[whole..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_put_together_by_their_place() {
        assert_eq!(shuffle(b"a1b2c3d", 2), b"abc123d");
        assert_eq!(unshuffle(b"abc123d", 2), b"a1b2c3d");
    }

    #[test]
    fn every_length_comes_back() {
        for size in [1, 2, 3, 4, 8, 16, 127] {
            for length in (0..40).chain([BLOCK * size - 1, BLOCK * size, BLOCK * size + size + 1, 9000]) {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect();
                assert_eq!(unshuffle(&shuffle(&bytes, size), size), bytes, "{length} of {size}");
            }
        }
    }
}
