//! The bytes of a fingerprint: tags, lengths and digests, as `docs/design.md` specifies them.

use blake3::Hasher;

/// What every digest begins with. Another encoding needs another number.
const VERSION: u8 = 1;

/// An encoding of more bytes counts as its digest in what contains it.
const INLINE: usize = 64;

/// Memory of more bytes than a whole hash has counts as that.
pub(crate) const HASH: usize = blake3::OUT_LEN;

/// Bytes of a fingerprint.
pub(crate) const LENGTH: usize = 20;

/// Other tags: one byte before each encoding.
pub(crate) mod tag {
    pub const NONE: u8 = b'n';
    pub const FALSE: u8 = b'f';
    pub const TRUE: u8 = b't';
    pub const ELLIPSIS: u8 = b'e';
    pub const INT: u8 = b'i';
    pub const FLOAT: u8 = b'd';
    pub const COMPLEX: u8 = b'c';
    pub const TEXT: u8 = b's';
    pub const BYTES: u8 = b'b';
    pub const BYTEARRAY: u8 = b'B';
    pub const TUPLE: u8 = b'(';
    pub const LIST: u8 = b'[';
    pub const SET: u8 = b'{';
    pub const FROZENSET: u8 = b'<';
    pub const DICT: u8 = b':';
    pub const RANGE: u8 = b'r';
    pub const SLICE: u8 = b'l';
    pub const OBJECT: u8 = b'@';
    pub const RAW: u8 = b'R';
    pub const DIGEST: u8 = b'#';
}

/// A fingerprint.
pub(crate) type Fingerprint = [u8; LENGTH];

/// A hasher that has the version, for an encoding that comes in pieces.
pub(crate) fn hasher() -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&[VERSION]);
    hasher
}

/// The digest of what the hasher was given.
pub(crate) fn finish(hasher: &Hasher) -> Fingerprint {
    shorten(&hasher.finalize())
}

/// The digest of an encoding.
pub(crate) fn digest(encoding: &[u8]) -> Fingerprint {
    // All at once costs half of what a hasher costs, which hashes chunk by chunk.
    if encoding.len() < CHUNK {
        let mut whole = [0; CHUNK];
        whole[0] = VERSION;
        whole[1..=encoding.len()].copy_from_slice(encoding);
        return shorten(&blake3::hash(&whole[..=encoding.len()]));
    }
    if encoding.len() < MIDDLE {
        return shorten(&blake3::hash(&[&[VERSION], encoding].concat()));
    }
    finish(hasher().update(encoding))
}

/// Bytes that BLAKE3 hashes one after the other.
const CHUNK: usize = 1024;
/// Bytes that are copied to be hashed at once.
const MIDDLE: usize = 1 << 16;

fn shorten(hash: &blake3::Hash) -> Fingerprint {
    let mut digest = [0; LENGTH];
    digest.copy_from_slice(&hash.as_bytes()[..LENGTH]);
    digest
}

/// Puts the digest of a long encoding that begins at `start` in its place.
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    if out.len() - start > INLINE {
        let digest = digest(&out[start..]);
        replace(out, start, digest);
    }
}

/// Puts a digest in the place of what begins at `start`.
pub(crate) fn replace(out: &mut Vec<u8>, start: usize, digest: Fingerprint) {
    out.truncate(start);
    out.push(tag::DIGEST);
    out.extend_from_slice(&digest);
}

/// The fingerprint of a value whose form this is.
pub(crate) fn of_form(form: &[u8]) -> Fingerprint {
    match form {
        [tag::DIGEST, digest @ ..] => Fingerprint::try_from(digest).unwrap_or_else(|_| self::digest(form)),
        encoding => digest(encoding),
    }
}

/// A tag, and a length or count as an unsigned LEB128.
pub(crate) fn header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    let mut rest = length as u64;
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// An integer: two's complement in as few little-endian bytes as hold it, none for 0.
pub(crate) fn int(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_le_bytes();
    let bits = if value == 0 { 0 } else { 65 - (value ^ (value >> 63)).leading_zeros() as usize };
    let length = bits.div_ceil(8);
    header(out, tag::INT, length);
    out.extend_from_slice(&bytes[..length]);
}

/// The bits of a float. Every NaN is one.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Sorts the parts of an encoding, whose ends `marks` has behind the beginning of the first.
pub(crate) fn sort(out: &mut Vec<u8>, marks: &[usize]) {
    let [body, ends @ ..] = marks else { return };
    let mut parts: Vec<&[u8]> =
        std::iter::once(body).chain(ends).zip(ends).map(|(from, to)| &out[*from..*to]).collect();
    if parts.is_sorted() {
        return;
    }
    parts.sort_unstable();
    let sorted = parts.concat();
    out.truncate(*body);
    out.extend_from_slice(&sorted);
}
