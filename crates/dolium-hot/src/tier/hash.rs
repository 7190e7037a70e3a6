//! Owns the hash of keys and the checksum of records: fast, seeded, no defence against an adversary (who could write
//! the whole file anyway).

const LANES: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0xaef1_7502_b5a5_1d31, 0x8cb9_2ba7_2f3d_8dd7];

/// The product of both, high half over low half: every bit of either reaches every bit of the result.
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

/// The checksum of words. Four lanes, since one would wait for its own multiplications.
pub(crate) fn words(words: &[u64], seed: u64) -> u64 {
    let mut lanes = LANES.map(|lane| lane ^ seed);
    let mut chunks = words.chunks_exact(8);
    for chunk in &mut chunks {
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane = fold(*lane ^ chunk[2 * at], chunk[2 * at + 1] ^ LANES[at]) ^ lane.rotate_left(29);
        }
    }
    let mut sum =
        fold(lanes[0] ^ lanes[2].rotate_left(17), lanes[1] ^ lanes[3].rotate_left(41)) ^ lanes[0] ^ lanes[1];
    for &word in chunks.remainder() {
        sum = fold(sum ^ word, LANES[1]) ^ sum.rotate_left(23);
    }
    fold(sum ^ words.len() as u64, LANES[2])
}

/// The hash of a key.
pub(crate) fn key(kind: u8, bytes: &[u8], seed: u64) -> u64 {
    let mut sum = seed ^ LANES[0];
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        sum = fold(sum ^ u64::from_le_bytes(chunk.try_into().unwrap_or_default()), LANES[1]);
    }
    let rest = chunks.remainder();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    sum = fold(sum ^ u64::from_le_bytes(tail), LANES[2]);
    fold(sum ^ (bytes.len() as u64) << 8 ^ u64::from(kind), LANES[3])
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
