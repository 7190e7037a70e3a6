//! Owns the hash of keys and the checksum of records: fast, seeded, no defence against an adversary (who could write
//! the whole file anyway).

use crate::layout::geometry::UNIT;

const LANES: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0xaef1_7502_b5a5_1d31, 0x8cb9_2ba7_2f3d_8dd7];

/// The product of both, high half over low half: every bit of either reaches every bit of the result.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

/// The checksum of units, which come four at a time, and the rest of them. Four lanes, since one would wait for its own
/// multiplications; apart, so that they stay in registers. It does not tell how many there are: the seed has to.
#[inline]
pub(crate) fn units<F: FnMut(usize) -> [u64; UNIT]>(
    fours: impl Iterator<Item = F>,
    mut rest: impl Iterator<Item = [u64; UNIT]>,
    seed: u64,
) -> u64 {
    let [mut a, mut b, mut c, mut d] = LANES.map(|lane| lane ^ seed);
    for mut unit in fours {
        a = mix::<0>(a, unit(0));
        b = mix::<1>(b, unit(1));
        c = mix::<2>(c, unit(2));
        d = mix::<3>(d, unit(3));
    }
    if let Some(unit) = rest.next() {
        a = mix::<0>(a, unit);
        if let Some(unit) = rest.next() {
            b = mix::<1>(b, unit);
            c = rest.next().map_or(c, |unit| mix::<2>(c, unit));
        }
    }
    fold(a ^ c.rotate_left(17), b ^ d.rotate_left(41)) ^ a ^ b
}

/// A checksum of one unit more.
#[inline]
pub(crate) fn finish(sum: u64, unit: [u64; UNIT]) -> u64 {
    mix::<3>(sum, unit)
}

#[inline]
fn mix<const LANE: usize>(sum: u64, [first, second]: [u64; UNIT]) -> u64 {
    fold(sum ^ first, second ^ LANES[LANE]) ^ sum.rotate_left(29)
}

/// The hash of a key.
#[inline]
pub(crate) fn key(kind: u8, bytes: &[u8], seed: u64) -> u64 {
    let mut sum = seed ^ LANES[0];
    let (chunks, rest) = bytes.as_chunks();
    for chunk in chunks {
        sum = fold(sum ^ u64::from_le_bytes(*chunk), LANES[1]);
    }
    sum = fold(sum ^ tail(rest), LANES[2]);
    fold(sum ^ (bytes.len() as u64) << 8 ^ u64::from(kind), LANES[3])
}

/// Less than eight bytes as a word. Two loads that may overlap: copying them to a word would make the load of that word
/// wait for the stores.
#[inline]
pub(crate) fn tail(bytes: &[u8]) -> u64 {
    match *bytes {
        [] => 0,
        [a] => a.into(),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b, c, d, ..] => {
            let end = bytes.len() - 4;
            let last = u32::from_le_bytes([bytes[end], bytes[end + 1], bytes[end + 2], bytes[end + 3]]);
            u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(last) << (8 * end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(words: &[u64], seed: u64) -> u64 {
        let (units, _) = words.as_chunks();
        let (fours, rest) = units.as_chunks::<4>();
        super::units(fours.iter().map(|four| |at: usize| four[at]), rest.iter().copied(), seed)
    }

    #[test]
    fn every_bit_counts() {
        for length in [2, 4, 6, 8, 10, 14, 16, 40] {
            let data = vec![0x5555_aaaa_0f0f_1234_u64; length];
            assert_ne!(sum(&data, 1), sum(&data, 2));
            for bit in 0..64 * length {
                let mut bad = data.clone();
                bad[bit / 64] ^= 1 << (bit % 64);
                assert_ne!(sum(&data, 1), sum(&bad, 1), "bit {bit} of {length} words");
            }
        }
    }

    #[test]
    fn a_tail_is_its_bytes() {
        let bytes = [1, 2, 3, 4, 5, 6, 7];
        for length in 0..8 {
            let mut word = [0; 8];
            word[..length].copy_from_slice(&bytes[..length]);
            assert_eq!(tail(&bytes[..length]), u64::from_le_bytes(word));
        }
    }

    #[test]
    fn swapped_words_are_noticed() {
        let data: Vec<u64> = (1..=32).collect();
        for a in 0..32 {
            for b in 0..a {
                let mut bad = data.clone();
                bad.swap(a, b);
                assert_ne!(sum(&data, 7), sum(&bad, 7), "{a} {b}");
            }
        }
    }

    #[test]
    fn hashes_of_like_keys_spread() {
        let mut buckets = [0u32; 256];
        for seq in 0..25_600_u64 {
            buckets[(key(1, &seq.to_le_bytes(), 3) & 255) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (50..170).contains(&count)), "{buckets:?}");
        assert_ne!(key(1, b"", 3), key(2, b"", 3));
        assert_ne!(key(1, b"a", 3), key(1, b"a\0", 3));
    }
}
