//! Signatures: which stored pickles are our own.
//!
//! A value that is stored as a pickle ends with a trailer of 24 bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | magic |
//! | 4 | id of the signing key |
//! | 16 | tag: the first half of keyed BLAKE3 |
//!
//! The tag covers the payload, then a footer that says where the payload ends:
//! `stored key ‖ key type (1) ‖ mode (8) ‖ length of stored key (8) ‖ length of payload (8)`, integers
//! least significant byte first. Read from its end, such a message has one meaning only, so no two
//! triples of (stored key, mode, payload) share one. The payload comes first because the key of a
//! queue's entry is known only after its value, and a value file is hashed while it is written.
//!
//! A pickle ends at its `STOP` opcode, so readers that know nothing of trailers do not see them.
//! The magic has two bytes that occur in no UTF-8 text and are no pickle opcodes.
//!
//! This module owns the signing key: finding, creating and refusing it. It does not decide what
//! happens to a value that is not ours, and never looks into a cache directory.
//!
//! # The key
//!
//! * `DOLIUM_SIGNING_KEY`: any text of at least 16 characters, for containers that share a volume.
//!   Several, separated by commas, rotate the key: the first one signs, all of them verify.
//! * Otherwise `signing.key` in `$XDG_STATE_HOME/dolium` or `~/.local/state/dolium`, created with
//!   mode 0600 at the first use. One key of 64 hexadecimal digits a line; again the first one
//!   signs. `#` starts a comment.
//!
//! A configured key that is unusable is an error. A key file that cannot be kept or must not be
//! trusted (others may read it, or it belongs to another user) is not: the process signs with a key
//! of its own, and [`Signing::Alone`] carries the sentence to warn with.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

mod key_file;

/// The length of a trailer in bytes.
pub const TRAILER_LEN: usize = MAGIC.len() + ID_LEN + TAG_LEN;
/// The environment variable that holds the signing key, or several separated by commas.
pub const KEY_VARIABLE: &str = "DOLIUM_SIGNING_KEY";
/// The least number of characters of a configured key.
pub const KEY_MIN_CHARS: usize = 16;

const MAGIC: [u8; 4] = [0xf7, b'd', b'm', 0xf5];
const ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// Changing these makes every signature written so far foreign.
const CONFIGURED: &str = "dolium 2026-11 signing key from DOLIUM_SIGNING_KEY";
const KEY_ID: &str = "dolium 2026-11 id of a signing key";

/// The configured signing key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A key has too few characters to be secret.
    #[error(
        "{KEY_VARIABLE} holds a key of {chars} characters; each key needs at least {KEY_MIN_CHARS} \
         (commas separate keys). Set it to a long random text, or unset it to use the key in the \
         user's state directory"
    )]
    TooShort {
        /// The number of characters found.
        chars: usize,
    },
    /// The variable is not text.
    #[error("{KEY_VARIABLE} is not valid UTF-8. Set it to a long random text, or unset it")]
    NotText,
    /// The system gives no random numbers, of which a key is made.
    #[error(
        "the system gives no random numbers to make a signing key; set {KEY_VARIABLE} to a long random text"
    )]
    NoRandom,
}

/// What verification says about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a decision about trust must handle each")]
pub enum Verdict {
    /// Written by a holder of our key, for this very key and mode.
    Ours,
    /// Without a trailer, or signed with a key that we do not have.
    Foreign,
    /// Claims to be signed with our key and is not: changed, damaged, or moved from another entry.
    Forged,
}

/// The end of a signed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    id: [u8; ID_LEN],
    tag: [u8; TAG_LEN],
}

impl Trailer {
    /// Reads a trailer; `None` when the bytes are none.
    #[must_use]
    pub fn parse(bytes: &[u8; TRAILER_LEN]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (id, tag) = rest.split_first_chunk()?;
        (*magic == MAGIC).then_some(Self { id: *id, tag: *tag.first_chunk()? })
    }

    fn to_bytes(self) -> [u8; TRAILER_LEN] {
        let mut bytes = [0; TRAILER_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.id);
        bytes[8..].copy_from_slice(&self.tag);
        bytes
    }
}

/// Cuts the trailer off a stored value, if there is one.
#[must_use]
pub fn split(stored: &[u8]) -> (&[u8], Option<Trailer>) {
    match stored.split_last_chunk() {
        Some((payload, end)) => match Trailer::parse(end) {
            Some(trailer) => (payload, Some(trailer)),
            None => (stored, None),
        },
        None => (stored, None),
    }
}

/// A signature being computed. Cloning it signs one payload for several entries.
#[derive(Clone)]
pub struct Mac {
    hasher: blake3::Hasher,
    len: u64,
    id: [u8; ID_LEN],
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mac").field("id", &self.id).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Mac {
    /// Adds a piece of the payload.
    pub fn update(&mut self, payload: &[u8]) {
        self.hasher.update(payload);
        self.len += payload.len() as u64;
    }

    /// The trailer of the payload as the value of an entry. `key_type` keeps stored keys of
    /// different SQL types apart whose bytes are equal.
    #[must_use]
    pub fn finish(self, key_type: u8, key: &[u8], mode: i64) -> [u8; TRAILER_LEN] {
        let id = self.id;
        Trailer { id, tag: self.tag(key_type, key, mode) }.to_bytes()
    }

    /// Whether `trailer` is the one of the payload as the value of that entry. Takes the same time
    /// for every wrong tag.
    #[must_use]
    pub fn matches(self, trailer: &Trailer, key_type: u8, key: &[u8], mode: i64) -> bool {
        let same_id = self.id == trailer.id;
        // `blake3::Hash` compares in constant time.
        same_id & (widened(self.tag(key_type, key, mode)) == widened(trailer.tag))
    }

    fn tag(mut self, key_type: u8, key: &[u8], mode: i64) -> [u8; TAG_LEN] {
        let mut end = [0; 25];
        end[0] = key_type;
        end[1..9].copy_from_slice(&mode.to_le_bytes());
        end[9..17].copy_from_slice(&(key.len() as u64).to_le_bytes());
        end[17..].copy_from_slice(&self.len.to_le_bytes());
        self.hasher.update(key).update(&end);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&self.hasher.finalize().as_bytes()[..TAG_LEN]);
        tag
    }
}

fn widened(tag: [u8; TAG_LEN]) -> blake3::Hash {
    let mut hash = [0; blake3::OUT_LEN];
    hash[..TAG_LEN].copy_from_slice(&tag);
    hash.into()
}

#[derive(Clone)]
struct SigningKey {
    id: [u8; ID_LEN],
    secret: [u8; blake3::KEY_LEN],
}

impl SigningKey {
    fn new(secret: [u8; blake3::KEY_LEN]) -> Self {
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&blake3::derive_key(KEY_ID, &secret)[..ID_LEN]);
        Self { id, secret }
    }

    fn begin(&self) -> Mac {
        Mac { hasher: blake3::Hasher::new_keyed(&self.secret), len: 0, id: self.id }
    }
}

/// Signs values and recognises its own. Cheap to clone; valid in a forked child.
#[derive(Clone)]
pub struct Signer {
    /// Never empty; no two with the same id. The first one signs.
    keys: Arc<[SigningKey]>,
    file: Option<Arc<Path>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| key.id).collect();
        f.debug_struct("Signer").field("ids", &ids).field("file", &self.file).finish()
    }
}

/// With which key this process signs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a process has the key of the user, or its own")]
pub enum Signing {
    /// The user's: other processes have it, too.
    With(Signer),
    /// One of its own, since there is no place for the user's: it lives as long as the process and the children that it
    /// forks. What others stored does not count as ours, nor what this process stored in an earlier run.
    Alone {
        /// The signer.
        signer: Signer,
        /// Why, and what to do: a sentence for one warning.
        reason: Arc<str>,
    },
}

impl Signing {
    /// The signer.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        match self {
            Self::With(signer) | Self::Alone { signer, .. } => signer,
        }
    }

    /// Looks for the key, in this order: the value of [`KEY_VARIABLE`], the key file in `state`
    /// (made if missing).
    pub fn find(configured: Option<&OsStr>, state: Option<&Path>) -> Result<Self, SignError> {
        if let Some(text) = configured {
            return Ok(Self::With(Signer::new(configured_keys(text)?, None)));
        }
        let Some(state) = state else {
            return Self::alone("neither XDG_STATE_HOME nor HOME names a directory");
        };
        match key_file::KeyFile::new(state).open() {
            Ok(signer) => Ok(Self::With(signer)),
            Err(reason) => Self::alone(&reason),
        }
    }

    fn alone(why: &str) -> Result<Self, SignError> {
        let reason = format!(
            "dolium has no signing key to share: {why}. This process signs with a key of its own, so that other \
             processes, and this program when it is started again, refuse what it stores but for plain data; to share a \
             key, set {KEY_VARIABLE} to the same secret text of at least {KEY_MIN_CHARS} characters for all of them"
        );
        let signer = Signer::new(vec![SigningKey::new(own_secret()?)], None);
        Ok(Self::Alone { signer, reason: reason.into() })
    }
}

/// A secret of this process and of the children that it forks from now on. It is drawn when the first cache is opened,
/// so that workers that are forked after that agree, whichever of them signs first.
///
/// Each word is decided once. There is no lock, because a child that is forked in the middle would find it locked.
pub(crate) fn own_secret() -> Result<[u8; blake3::KEY_LEN], SignError> {
    static WORDS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
    let mut secret = [0; blake3::KEY_LEN];
    for (word, bytes) in WORDS.iter().zip(secret.chunks_exact_mut(8)) {
        let mut value = word.load(Ordering::Acquire);
        if value == 0 {
            let drawn = getrandom::u64().map_err(|_| SignError::NoRandom)? | 1;
            let stored = word.compare_exchange(0, drawn, Ordering::AcqRel, Ordering::Acquire);
            value = stored.map_or_else(|theirs| theirs, |_| drawn);
        }
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    Ok(secret)
}

/// Fails if the key that is configured cannot be used, and makes what forked children are to share.
pub(crate) fn prepare() -> Result<(), SignError> {
    own_secret()?;
    configured().map_or(Ok(()), |text| configured_keys(&text).map(drop))
}

#[expect(clippy::disallowed_methods, reason = "the owner of the variable")]
fn configured() -> Option<std::ffi::OsString> {
    std::env::var_os(KEY_VARIABLE)
}

impl Signer {
    /// The signer of this process. The key is looked for once; a configuration that is in error is
    /// looked at again by the next call.
    pub fn load() -> Result<Signing, SignError> {
        static LOADED: OnceLock<Signing> = OnceLock::new();
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        if let Some(signing) = LOADED.get() {
            return Ok(signing.clone());
        }
        let signing = Signing::find(configured().as_deref(), key_file::state_directory().as_deref())?;
        // Not `get_or_init`: a child forked by another thread in the middle of it would wait for
        // ever. Here such a child looks for the key at each call, which is slow and right.
        if !CLAIMED.swap(true, Ordering::Relaxed) {
            let _ = LOADED.set(signing.clone());
        }
        Ok(signing)
    }

    fn new(keys: Vec<SigningKey>, file: Option<&Path>) -> Self {
        let mut distinct: Vec<SigningKey> = Vec::with_capacity(keys.len());
        for key in keys {
            if distinct.iter().all(|known| known.id != key.id) {
                distinct.push(key);
            }
        }
        debug_assert!(!distinct.is_empty(), "a signer has a key");
        Self { keys: distinct.into(), file: file.map(Arc::from) }
    }

    /// The file that holds the key, if it came from one. It must not lie in a cache directory.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Starts the signature of a new value.
    #[must_use]
    pub fn begin(&self) -> Mac {
        self.keys[0].begin()
    }

    /// Starts checking a value that is read in pieces: feed it the payload, then ask
    /// [`Mac::matches`]. `None` when the key is not ours, which makes the value foreign.
    #[must_use]
    pub fn begin_check(&self, trailer: &Trailer) -> Option<Mac> {
        self.keys.iter().find(|key| key.id == trailer.id).map(SigningKey::begin)
    }

    /// The trailer of `payload` as the value of an entry.
    #[must_use]
    pub fn sign(&self, payload: &[u8], key_type: u8, key: &[u8], mode: i64) -> [u8; TRAILER_LEN] {
        let mut mac = self.begin();
        mac.update(payload);
        mac.finish(key_type, key, mode)
    }

    /// Judges a stored value, trailer included. [`split`] gives its payload.
    #[must_use]
    pub fn verify(&self, stored: &[u8], key_type: u8, key: &[u8], mode: i64) -> Verdict {
        let (payload, Some(trailer)) = split(stored) else {
            return Verdict::Foreign;
        };
        let Some(mut mac) = self.begin_check(&trailer) else {
            return Verdict::Foreign;
        };
        mac.update(payload);
        if mac.matches(&trailer, key_type, key, mode) { Verdict::Ours } else { Verdict::Forged }
    }
}

fn configured_keys(text: &OsStr) -> Result<Vec<SigningKey>, SignError> {
    let text = text.to_str().ok_or(SignError::NotText)?;
    text.split(',')
        .map(|key| {
            let key = key.trim();
            let chars = key.chars().count();
            if chars < KEY_MIN_CHARS {
                return Err(SignError::TooShort { chars });
            }
            Ok(SigningKey::new(blake3::derive_key(CONFIGURED, key.as_bytes())))
        })
        .collect()
}
