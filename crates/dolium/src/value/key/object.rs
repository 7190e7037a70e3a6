//! Keys whose stored form does not say all: long keys, stored by their digest, and keys of classes, which are signed.
//!
//! What a row's column `key` cannot hold lies beside it, in the table `DoliumKeys`, as the key's *proof*: the whole
//! pickle of a long key, with references where its parts are shared (nothing for a key that is stored as it is), then
//! the signature of that pickle for the stored form. The column stays what it would be without: equal keys are equal
//! bytes, whichever user signs.

use crate::value::pickle::graph::{self, Sets, Why};
use crate::value::pickle::{self, LONGEST};
use crate::value::sign::{self, Signer, Verdict};

use super::Key;

/// The number that stands for the mode in the signature of a key: no value has it.
const MODE: i64 = -2;
/// The end of the stored form of a long key, behind its `STOP`.
const MAGIC: [u8; 4] = [0xf7, b'd', b'k', 0xf5];
/// What other programs see of a long key: this text and its digest.
const NAME: &str = "a key that dolium keeps elsewhere, blake3:";
/// Earlier versions stored every part of a key. Longer keys of theirs are not looked for.
const FORMERLY: usize = 1 << 20;

/// A key with what its stored form does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    stored: Vec<u8>,
    /// The key as a pickle in which shared parts are references, where that says more than `stored`.
    graph: Option<Vec<u8>>,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq)]
enum Proof {
    /// The stored form is plain data, and all there is.
    Needless,
    /// This program made the key: it is signed when it is stored.
    Ours,
    /// It comes from another store.
    Carried(Vec<u8>),
}

impl Object {
    /// The type byte of pickled keys in signatures.
    pub(super) const SIGNED_AS: u8 = 5;

    pub(super) fn of(pickle: Vec<u8>) -> Key<'static> {
        let look = graph::inspect(&pickle);
        let proof = if look.names { Proof::Ours } else { Proof::Needless };
        let (stored, graph, proof) = match graph::expand(&pickle, LONGEST, Sets::Sorted) {
            Ok(stored) => (stored, look.varies.then_some(pickle), proof),
            Err(Why::Odd) if pickle.len() <= LONGEST => (whole(pickle), None, proof),
            Err(_) => {
                let whole = whole(pickle);
                (stored(&digest(&whole)), Some(whole), Proof::Ours)
            }
        };
        if graph.is_none() && proof == Proof::Needless {
            return Key::Pickle(stored.into());
        }
        Key::Object(Self { stored, graph, proof }.into())
    }

    /// A key that names a class, in its canonical form.
    #[must_use]
    pub fn of_class(canonical: Vec<u8>) -> Self {
        Self { stored: canonical, graph: None, proof: Proof::Ours }
    }

    /// A key as another store has it, with the proof that lies beside it there.
    #[must_use]
    pub fn carried(stored: Vec<u8>, proof: Vec<u8>) -> Self {
        Self { stored, graph: None, proof: Proof::Carried(proof) }
    }

    /// The form under which the key is stored.
    #[must_use]
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// Whether there may be [`former`](Self::former) ones.
    #[must_use]
    pub fn may_differ(&self) -> bool {
        self.graph.is_some()
    }

    /// Forms under which earlier versions and diskcache store the key, where they may be others: with references to shared
    /// parts, and with sets in the order of their hashes.
    #[must_use]
    pub fn former(&self) -> Vec<Key<'static>> {
        let Some(graph) = &self.graph else { return Vec::new() };
        let theirs = graph::optimized(graph).unwrap_or_else(|| graph.clone());
        let mut forms = vec![theirs];
        if let Ok(expanded) = graph::expand(graph, FORMERLY, Sets::AsTheyCome)
            && forms[0] != expanded
        {
            forms.push(expanded);
        }
        forms.retain(|form| *form != self.stored);
        forms.into_iter().map(|form| Key::Pickle(form.into())).collect()
    }

    /// The whole pickle, if the stored form is not.
    fn whole(&self) -> &[u8] {
        match &self.graph {
            Some(graph) if is_long(&self.stored) => graph,
            _ => &[],
        }
    }

    pub(super) fn proof(&self) -> Option<Vec<u8>> {
        match &self.proof {
            Proof::Needless => None,
            Proof::Carried(proof) => Some(proof.clone()),
            Proof::Ours => {
                let mut proof = self.whole().to_vec();
                // A configured key that cannot be used is an error of the value that is stored.
                if let Ok(signing) = Signer::load() {
                    let signer = signing.signer();
                    proof.extend(signer.sign(self.whole(), Self::SIGNED_AS, &self.stored, MODE));
                }
                (!proof.is_empty()).then_some(proof)
            }
        }
    }
}

/// Whether a stored form is the digest of a long key.
pub(crate) fn is_long(stored: &[u8]) -> bool {
    stored.ends_with(&MAGIC)
}

/// The pickle of a stored key, with the proof that lies beside it, and whether a holder of our signing key made it. `None`:
/// the key is long, and its whole pickle is not there, or is another's.
pub(crate) fn recall(stored: &[u8], proof: &[u8], signer: Option<&Signer>) -> Option<(Vec<u8>, bool)> {
    let verdict = signer.map(|signer| signer.verify(proof, Object::SIGNED_AS, stored, MODE));
    let is_ours = verdict == Some(Verdict::Ours);
    if !is_long(stored) {
        return Some((stored.to_vec(), is_ours));
    }
    let (whole, _) = sign::split(proof);
    // Signed or not: what comes back is the key that the digest stands for.
    (self::stored(&digest(whole)) == stored).then(|| (whole.to_vec(), is_ours))
}

/// Returns the shortest form of a pickle that says the same to every reader.
fn whole(pickle: Vec<u8>) -> Vec<u8> {
    graph::optimized(&pickle).unwrap_or(pickle)
}

fn digest(whole: &[u8]) -> blake3::Hash {
    graph::digest(whole).unwrap_or_else(|| blake3::hash(whole))
}

/// A pickle that any reader reads, as text, with the mark behind it that no other pickle has.
fn stored(digest: &blake3::Hash) -> Vec<u8> {
    let mut stored = pickle::encode(&format!("{NAME}{}", digest.to_hex()));
    stored.extend(MAGIC);
    stored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::pickle::Writer;

    /// The pickle of a tuple of two tuples of … two texts, each the same object.
    fn doubled(levels: usize, is_shared: bool) -> Vec<u8> {
        let mut pickle = b"\x80\x05\x8c\x04leaf\x94".to_vec();
        for level in 0..levels {
            if is_shared {
                pickle.extend([b'j']);
                pickle.extend(u32::try_from(level).unwrap().to_le_bytes());
            } else {
                let part = pickle[2..].to_vec();
                pickle.extend(part);
            }
            pickle.extend([0x86, 0x94]);
        }
        pickle.push(b'.');
        pickle
    }

    #[test]
    fn sharing_changes_no_key() {
        for levels in [0, 1, 5, 12, 13, 14, 16] {
            let (shared, written) =
                (Key::from_pickle(doubled(levels, true)), Key::from_pickle(doubled(levels, false)));
            assert_eq!(shared, written, "{levels}");
            assert_eq!(is_long(shared.pickle().unwrap()), levels > 13, "{levels}");
        }
    }

    #[test]
    fn a_key_costs_its_size_as_a_graph() {
        let key = Key::from_pickle(doubled(10_000, true));
        assert_ne!(key, Key::from_pickle(doubled(10_001, true)));
        assert!(matches!(&key, Key::Object(object) if object.stored.len() + object.whole().len() < 100_000));
    }

    #[test]
    fn short_keys_are_what_the_writer_makes() {
        let mut writer = Writer::default();
        writer.begin_tuple(2);
        for _ in 0..2 {
            writer.begin_tuple(2);
            writer.text("leaf");
            writer.text("leaf");
            writer.end_tuple(2);
        }
        writer.end_tuple(2);
        let written = writer.finish();
        assert_eq!(Key::from_pickle(doubled(2, true)), Key::Pickle(written.clone().into()));
        assert_eq!(Key::from_pickle(written.clone()), Key::Pickle(written.into()));
    }

    #[test]
    fn a_long_key_comes_back_whole_or_not_at_all() {
        let Key::Object(object) = Key::from_pickle(doubled(14, true)) else { panic!("it is long") };
        let whole = object.whole().to_vec();
        assert_eq!(recall(object.stored(), &whole, None), Some((whole.clone(), false)));
        assert_eq!(recall(object.stored(), &doubled(15, true), None), None);
        assert_eq!(recall(object.stored(), b"", None), None);
        assert_eq!(Key::from_pickle(whole), Key::Pickle(object.stored().into()));
    }

    #[test]
    fn the_order_of_a_set_changes_no_key() {
        let set = |items: &[u8]| {
            let mut pickle = vec![0x80, 5, 0x8f, 0x94, b'('];
            for item in items {
                pickle.extend([0x8c, 1, *item, 0x94]);
            }
            // And a part of it, once more.
            let first = u8::try_from(items.iter().position(|item| *item == b'b').unwrap() + 1).unwrap();
            pickle.extend([0x90, b'h', first, 0x86, b'.']);
            Key::from_pickle(pickle)
        };
        assert_eq!(set(b"abc"), set(b"cba"));
        assert_ne!(set(b"abc"), set(b"abd"));
    }

    #[test]
    fn a_key_that_contains_itself_stands_for_itself() {
        let own = b"\x80\x05]\x94h\x00a.".to_vec();
        assert_eq!(
            Key::from_pickle(own.clone()),
            Key::Pickle(b"\x80\x05\x95\x06\x00\x00\x00\x00\x00\x00\x00]\x94h\x00a.".into())
        );
    }

    /// Whatever bytes there are: no panic, no endless walk.
    #[test]
    fn damaged_pickles_are_keys_too() {
        let sound = doubled(14, true);
        for at in 0..sound.len() {
            for byte in [0x00, 0x90, 0x91, b'(', b'h', b'0', b'e', b's', 0xff] {
                let mut damaged = sound.clone();
                damaged[at] = byte;
                let _ = Key::from_pickle(damaged);
            }
            let _ = Key::from_pickle(sound[..at].to_vec());
        }
    }
}
