//! Owns the hash of keys and the checksum of records: fast, seeded, no defence against an adversary (who could write
//! the whole file anyway).

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

/// The checksum of words. Four lanes, since one would wait for its own multiplications; apart, so that they stay in
/// registers.
#[inline]
pub(crate) fn words(words: &[u64], seed: u64) -> u64 {
    let [mut a, mut b, mut c, mut d] = LANES.map(|lane| lane ^ seed);
    let (chunks, rest) = words.as_chunks();
    for [a0, a1, b0, b1, c0, c1, d0, d1] in chunks {
        a = mix::<0>(a, *a0, *a1);
        b = mix::<1>(b, *b0, *b1);
        c = mix::<2>(c, *c0, *c1);
        d = mix::<3>(d, *d0, *d1);
    }
    let mut odd = 0;
    let mut rest = rest;
    if let [a0, a1, others @ ..] = rest {
        a = mix::<0>(a, *a0, *a1);
        rest = others;
    }
    if let [b0, b1, others @ ..] = rest {
        b = mix::<1>(b, *b0, *b1);
        rest = others;
    }
    if let [c0, c1, others @ ..] = rest {
        c = mix::<2>(c, *c0, *c1);
        rest = others;
    }
    if let [word] = rest {
        odd = *word;
    }
    let sum = fold(a ^ c.rotate_left(17), b ^ d.rotate_left(41)) ^ a ^ b;
    fold(sum ^ odd, LANES[1] ^ words.len() as u64)
}

/// A checksum of two words more.
#[inline]
pub(crate) fn finish(sum: u64, first: u64, second: u64) -> u64 {
    mix::<3>(sum, first, second)
}

#[inline]
fn mix<const LANE: usize>(sum: u64, first: u64, second: u64) -> u64 {
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
fn tail(bytes: &[u8]) -> u64 {
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

    #[test]
    fn every_bit_counts() {
        for length in [1, 2, 7, 8, 9, 16, 40] {
            let data = vec![0x5555_aaaa_0f0f_1234_u64; length];
            let sum = words(&data, 1);
            assert_ne!(sum, words(&data, 2));
            assert_ne!(sum, words(&data[1..], 1));
            for bit in 0..64 * length {
                let mut bad = data.clone();
                bad[bit / 64] ^= 1 << (bit % 64);
                assert_ne!(sum, words(&bad, 1), "bit {bit} of {length} words");
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
                assert_ne!(words(&data, 7), words(&bad, 7), "{a} {b}");
            }
        }
    }

    #[test]
    fn hashes_of_like_keys_spread() {
        let mut buckets = [0u32; 256];
        for number in 0..25_600_u64 {
            buckets[(key(1, &number.to_le_bytes(), 3) & 255) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (50..170).contains(&count)), "{buckets:?}");
        assert_ne!(key(1, b"", 3), key(2, b"", 3));
        assert_ne!(key(1, b"a", 3), key(1, b"a\0", 3));
    }
}
