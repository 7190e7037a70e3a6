//! A signature holds for one entry only, and the key is made once and kept private.

#![expect(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "a test prepares files and variables itself")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dolium::raw::sign::{KEY_VARIABLE, Signer, Signing, TRAILER_LEN, Trailer, Verdict, split};
use proptest::prelude::*;

fn configured(text: &str) -> Signer {
    Signing::find(Some(OsStr::new(text)), None).unwrap().signer().clone()
}

fn kept(state: &Path) -> Signer {
    match Signing::find(None, Some(state)).unwrap() {
        Signing::With(signer) => signer,
        Signing::Alone { reason, .. } => panic!("{reason}"),
    }
}

fn refused(state: &Path) -> String {
    match Signing::find(None, Some(state)).unwrap() {
        Signing::With(signer) => panic!("{signer:?}"),
        Signing::Alone { reason, .. } => reason.to_string(),
    }
}

fn stored(signer: &Signer, payload: &[u8], key: &[u8]) -> Vec<u8> {
    [payload, &signer.sign(payload, 3, key, 4)].concat()
}

#[test]
fn the_format_does_not_drift() {
    let signer = configured("a key of many characters");
    let trailer = signer.sign(b"\x80\x05N.", 3, b"key", 4);
    let hex = format!("{trailer:02x?}");
    assert_eq!(
        hex,
        "[f7, 64, 6d, f5, 06, 9f, 17, 3d, 83, 3b, b4, e1, 2e, 06, a4, 08, b6, 47, d3, af, 63, 71, 68, 41]"
    );
}

#[test]
fn a_signature_holds_for_one_entry_only() {
    let signer = configured("a key of many characters");
    let entry = stored(&signer, b"payload", b"key");
    assert_eq!(signer.verify(&entry, 3, b"key", 4), Verdict::Ours);
    assert_eq!(signer.verify(&entry, 3, b"kez", 4), Verdict::Forged);
    assert_eq!(signer.verify(&entry, 3, b"ke", 4), Verdict::Forged);
    assert_eq!(signer.verify(&entry, 2, b"key", 4), Verdict::Forged);
    assert_eq!(signer.verify(&entry, 3, b"key", 16), Verdict::Forged);
    assert_eq!(signer.verify(b"payload", 3, b"key", 4), Verdict::Foreign);
    assert_eq!(signer.verify(b"", 3, b"key", 4), Verdict::Foreign);
    let other = configured("another key of many characters");
    assert_eq!(other.verify(&entry, 3, b"key", 4), Verdict::Foreign);
}

#[test]
fn bytes_cannot_move_between_payload_and_key() {
    let signer = configured("a key of many characters");
    let trailer = signer.sign(b"ab", 3, b"cd", 4);
    let moved = [&b"abc"[..], &trailer].concat();
    assert_eq!(signer.verify(&moved, 3, b"d", 4), Verdict::Forged);
    let moved = [&b"abcd\x03\x04\0\0\0\0\0\0\0"[..], &trailer].concat();
    assert_eq!(signer.verify(&moved, 3, b"", 4), Verdict::Forged);
}

#[test]
fn keys_rotate() {
    let old = configured("the former key of the team");
    let new = configured("the present key of the team , the former key of the team");
    let entry = stored(&old, b"payload", b"key");
    assert_eq!(new.verify(&entry, 3, b"key", 4), Verdict::Ours);
    assert_eq!(new.verify(&entry, 3, b"kez", 4), Verdict::Forged);
    let entry = stored(&new, b"payload", b"key");
    assert_eq!(old.verify(&entry, 3, b"key", 4), Verdict::Foreign);
}

#[test]
fn configured_keys_are_long_enough() {
    for text in ["", "short", "long enough to be a key,", "long enough to be a key,short", "ééééééééééééééé"]
    {
        let error = Signing::find(Some(OsStr::new(text)), None).unwrap_err().to_string();
        assert!(error.contains(KEY_VARIABLE) && error.contains("16"), "{error}");
    }
    configured("éééééééééééééééé");
}

#[test]
fn secrets_are_not_shown() {
    let secret = "a key of many characters";
    let signer = configured(secret);
    let shown = format!("{signer:?} {:?}", signer.begin());
    assert!(!shown.contains(secret) && shown.len() < 200, "{shown}");
}

#[test]
fn a_key_is_made_once_and_only_for_its_user() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("new/state");
    let signers: Vec<Signer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| kept(&state))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let entry = stored(&signers[0], b"payload", b"key");
    for signer in &signers {
        assert_eq!(signer.verify(&entry, 3, b"key", 4), Verdict::Ours);
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = state.join("dolium");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("signing.key")), 0o600);
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["signing.key"], "no temporary file stays");
    assert_eq!(signers[0].file(), Some(&*directory.join("signing.key")));
}

#[test]
fn two_directories_have_two_keys() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let entry = stored(&kept(a.path()), b"payload", b"key");
    assert_eq!(kept(b.path()).verify(&entry, 3, b"key", 4), Verdict::Foreign);
}

#[test]
fn key_files_that_others_can_read_or_replace_are_refused() {
    let state = tempfile::tempdir().unwrap();
    kept(state.path());
    let directory = state.path().join("dolium");
    let file = directory.join("signing.key");
    let chmod = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();

    chmod(&file, 0o640);
    let reason = refused(state.path());
    assert!(reason.contains("signing.key") && reason.contains("chmod 600"), "{reason}");
    chmod(&file, 0o600);
    chmod(&directory, 0o770);
    assert!(refused(state.path()).contains("chmod 700"));
    chmod(&directory, 0o755);
    kept(state.path());
}

#[test]
fn a_key_file_of_another_user_is_refused() {
    let state = tempfile::tempdir().unwrap();
    kept(state.path());
    let file = state.path().join("dolium/signing.key");
    // Only root can give a file away; elsewhere there is nothing to test.
    if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
        assert!(refused(state.path()).contains("12345"));
        std::os::unix::fs::chown(state.path(), Some(12_345), None).unwrap();
        fs::remove_dir_all(state.path().join("dolium")).unwrap();
        assert!(refused(state.path()).contains("12345"), "root leaves no key in a user's home");
        assert!(!state.path().join("dolium").exists());
    }
}

#[test]
fn damaged_key_files_are_refused_and_kept() {
    let state = tempfile::tempdir().unwrap();
    kept(state.path());
    let file = state.path().join("dolium/signing.key");
    let good = fs::read_to_string(&file).unwrap();
    for damaged in ["", "# nothing\n", "zz", &good[..good.len() - 2]] {
        fs::write(&file, damaged).unwrap();
        assert!(refused(state.path()).contains("damaged"));
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
    }
}

#[test]
fn a_key_file_may_hold_former_keys() {
    let state = tempfile::tempdir().unwrap();
    let old = kept(state.path());
    let entry = stored(&old, b"payload", b"key");
    let file = state.path().join("dolium/signing.key");
    let text = format!("{} # new\n{}", "1f".repeat(32), fs::read_to_string(&file).unwrap());
    fs::write(&file, text).unwrap();
    let new = kept(state.path());
    assert_eq!(new.verify(&entry, 3, b"key", 4), Verdict::Ours);
    assert_eq!(old.verify(&stored(&new, b"payload", b"key"), 3, b"key", 4), Verdict::Foreign);
}

#[test]
fn where_no_key_can_be_kept_there_is_a_reason() {
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("dolium"), b"not a directory").unwrap();
    assert!(refused(state.path()).contains(KEY_VARIABLE));
    assert!(refused(Path::new("/proc/no/such")).contains("/proc/no/such"));
    let Signing::Alone { reason, .. } = Signing::find(None, None).unwrap() else { panic!() };
    assert!(reason.contains("HOME"));
}

#[test]
fn a_process_without_a_place_for_a_key_trusts_itself() {
    let alone = || Signing::find(None, None).unwrap().signer().clone();
    let entry = stored(&alone(), b"payload", b"key");
    assert_eq!(alone().verify(&entry, 3, b"key", 4), Verdict::Ours);
    let state = tempfile::tempdir().unwrap();
    assert_eq!(kept(state.path()).verify(&entry, 3, b"key", 4), Verdict::Foreign);
    fs::set_permissions(state.path().join("dolium/signing.key"), PermissionsExt::from_mode(0o660)).unwrap();
    let Signing::Alone { signer, reason } = Signing::find(None, Some(state.path())).unwrap() else {
        panic!()
    };
    assert_eq!(signer.verify(&entry, 3, b"key", 4), Verdict::Ours);
    assert!(reason.contains("660") && reason.contains(KEY_VARIABLE), "{reason}");
}

#[test]
fn processes_agree_on_the_key() {
    const CHILD: &str = "DOLIUM_TEST_STATE";
    if let Some(state) = std::env::var_os(CHILD) {
        let trailer = kept(Path::new(&state)).sign(b"payload", 3, b"key", 4);
        let hex = format!("{trailer:02x?}");
        println!("trailer={hex};");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "processes_agree_on_the_key", "--nocapture"])
                .env(CHILD, state.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let trailers: Vec<String> = children
        .into_iter()
        .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
        .map(|out| out.split("trailer=").nth(1).unwrap().split(';').next().unwrap().to_owned())
        .collect();
    assert_eq!(trailers.len(), 8);
    assert!(trailers.iter().all(|trailer| *trailer == trailers[0]), "{trailers:?}");
}

proptest! {
    #[test]
    fn pieces_sign_like_the_whole(
        payload: Vec<u8>, key: Vec<u8>, mode: i64, key_type: u8, cut: prop::sample::Index,
    ) {
        let signer = configured("a key of many characters");
        let (a, b) = payload.split_at(cut.index(payload.len() + 1));
        let mut mac = signer.begin();
        mac.update(a);
        mac.update(b);
        let trailer = mac.finish(key_type, &key, mode);
        prop_assert_eq!(trailer, signer.sign(&payload, key_type, &key, mode));

        let parsed = Trailer::parse(&trailer).unwrap();
        let mut check = signer.begin_check(&parsed).unwrap();
        check.update(&payload);
        prop_assert!(check.matches(&parsed, key_type, &key, mode));

        let stored = [&payload[..], &trailer].concat();
        prop_assert_eq!(split(&stored), (&payload[..], Some(parsed)));
        prop_assert_eq!(signer.verify(&stored, key_type, &key, mode), Verdict::Ours);
    }

    #[test]
    fn a_changed_bit_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
        let signer = configured("a key of many characters");
        let mut changed = stored(&signer, &payload, b"key");
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        let trailer = changed.len() - TRAILER_LEN;
        // Without the magic, or with another key's id, the bytes do not claim to be ours.
        let in_claim = (trailer..trailer + 8).contains(&at);
        let expected = if in_claim { Verdict::Foreign } else { Verdict::Forged };
        prop_assert_eq!(signer.verify(&changed, 3, b"key", 4), expected);
    }
}
