//! Canonical pickles equal Python's, and signatures hold only for what they were made for.
//!
//! `tests/test_pickle_bytes.py` compares with a running Python; the vectors here came from
//! `pickletools.optimize(pickle.dumps(x, protocol=p))`, the same in Python 3.10 to 3.13.

#![expect(clippy::unwrap_used, reason = "tests")]

mod pickles {
    use dolium::pickle::{Plain, Protocol, TimeOfDay, Writer, encode};
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Writer)) -> Vec<u8> {
        let mut four = Writer::new(Protocol::V4);
        write(&mut four);
        let mut four = four.finish();
        let mut five = Writer::new(Protocol::V5);
        write(&mut five);
        let five = five.finish();
        assert_eq!(four[1], 4);
        four[1] = 5;
        assert_eq!(four, five, "the protocols differ in their number only");
        five
    }

    /// Adds the header of a pickle whose opcodes fit into one frame.
    fn one_frame(opcodes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, 5];
        if opcodes.len() >= 4 {
            bytes.push(0x95);
            bytes.extend((opcodes.len() as u64).to_le_bytes());
        }
        bytes.extend(opcodes);
        bytes
    }

    #[test]
    fn short_pickles_have_no_frame() {
        assert_eq!(written(Writer::none), b"\x80\x05N.");
        assert_eq!(written(|w| w.bool(true)), b"\x80\x05\x88.");
        assert_eq!(written(|w| w.bool(false)), b"\x80\x05\x89.");
        assert_eq!(written(|w| w.int(255)), b"\x80\x05K\xff.");
        assert_eq!(encode(&()), b"\x80\x05).");
        assert_eq!(written(|w| w.text("")), b"\x80\x05\x8c\0.");
        assert_eq!(encode(b""), b"\x80\x05C\0.");
    }

    #[test]
    fn integers_take_the_shortest_opcode() {
        let vectors: [(i64, &[u8]); 12] = [
            (0, b"K\0."),
            (256, b"M\0\x01."),
            (65_535, b"M\xff\xff."),
            (65_536, b"J\0\0\x01\0."),
            (-1, b"J\xff\xff\xff\xff."),
            (-128, b"J\x80\xff\xff\xff."),
            (i64::from(i32::MAX), b"J\xff\xff\xff\x7f."),
            (i64::from(i32::MIN), b"J\0\0\0\x80."),
            (1 << 31, b"\x8a\x05\0\0\0\x80\0."),
            (-(1 << 31) - 1, b"\x8a\x05\xff\xff\xff\x7f\xff."),
            (i64::MIN, b"\x8a\x08\0\0\0\0\0\0\0\x80."),
            (i64::MAX, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."),
        ];
        for (value, opcodes) in vectors {
            assert_eq!(encode(&value), one_frame(opcodes), "{value}");
        }
        assert_eq!(
            encode(&(1_u64 << 63)),
            one_frame(b"\x8a\x09\0\0\0\0\0\0\0\x80\0.")
        );
        assert_eq!(written(|w| w.big_int(&[])), encode(&0));
    }

    #[test]
    fn long_integers_change_opcode_at_256_bytes() {
        let long = |len: usize| {
            let mut value = vec![0; len];
            value[len - 1] = 0x40;
            written(|w| w.big_int(&value))
        };
        assert_eq!(long(255)[11..13], [0x8a, 255]);
        assert_eq!(long(256)[11..16], [0x8b, 0, 1, 0, 0]);
    }

    #[test]
    fn containers() {
        assert_eq!(encode(&(1,)), one_frame(b"K\x01\x85."));
        assert_eq!(encode(&(1, 2)), one_frame(b"K\x01K\x02\x86."));
        assert_eq!(encode(&(1, 2, 3)), one_frame(b"K\x01K\x02K\x03\x87."));
        assert_eq!(encode(&(1, 2, 3, 4)), one_frame(b"(K\x01K\x02K\x03K\x04t."));
        // ((), (1, (2,)), ((3, 4, 5, 6),))
        assert_eq!(
            encode(&((), (1, (2,)), ((3, 4, 5, 6),))),
            one_frame(b")K\x01K\x02\x85\x86(K\x03K\x04K\x05K\x06t\x85\x87.")
        );
        assert_eq!(
            encode(&("mod.f", 1_i64, "abc", None::<bool>, Some(1.5), b"\xff")),
            one_frame(b"(\x8c\x05mod.fK\x01\x8c\x03abcNG?\xf8\0\0\0\0\0\0C\x01\xfft.")
        );
    }

    #[test]
    fn the_same_value_twice_is_written_twice() {
        let text = String::from("ab");
        assert_eq!(
            encode(&(&text, &text)),
            one_frame(b"\x8c\x02ab\x8c\x02ab\x86.")
        );
    }

    #[test]
    fn text_keeps_lone_surrogates() {
        assert_eq!(
            written(|w| w.text_bytes(b"\xed\xa0\x80")),
            one_frame(b"\x8c\x03\xed\xa0\x80.")
        );
    }

    #[test]
    fn classes_of_the_standard_library() {
        assert_eq!(
            written(|w| w.uuid(5)),
            one_frame(b"\x8c\x04uuid\x8c\x04UUID\x93)\x81}\x8c\x03intK\x05sb.")
        );
        assert_eq!(
            written(|w| w.uuid((1 << 127) + 3)),
            one_frame(
                b"\x8c\x04uuid\x8c\x04UUID\x93)\x81}\x8c\x03int\
                  \x8a\x11\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\0sb."
            )
        );
        assert_eq!(
            written(|w| w.date(2020, 1, 2)),
            one_frame(b"\x8c\x08datetime\x8c\x04date\x93C\x04\x07\xe4\x01\x02\x85R.")
        );
        let time = TimeOfDay {
            hour: 1,
            minute: 2,
            second: 3,
            microsecond: 4,
            fold: false,
        };
        assert_eq!(
            written(|w| w.time(time)),
            one_frame(b"\x8c\x08datetime\x8c\x04time\x93C\x06\x01\x02\x03\0\0\x04\x85R.")
        );
        assert_eq!(
            written(|w| w.time(TimeOfDay {
                microsecond: 0,
                fold: true,
                ..time
            })),
            one_frame(b"\x8c\x08datetime\x8c\x04time\x93C\x06\x81\x02\x03\0\0\0\x85R.")
        );
        assert_eq!(
            written(|w| w.datetime(
                2020,
                1,
                2,
                TimeOfDay {
                    microsecond: 999_999,
                    ..time
                }
            )),
            one_frame(
                b"\x8c\x08datetime\x8c\x08datetime\x93\
                  C\n\x07\xe4\x01\x02\x01\x02\x03\x0f\x42\x3f\x85R."
            )
        );
        assert_eq!(
            written(|w| w.datetime(
                2020,
                1,
                2,
                TimeOfDay {
                    fold: true,
                    ..TimeOfDay::default()
                }
            )),
            one_frame(b"\x8c\x08datetime\x8c\x08datetime\x93C\n\x07\xe4\x81\x02\0\0\0\0\0\0\x85R.")
        );
        assert_eq!(
            written(|w| w.timedelta(-1, 2, 3)),
            one_frame(b"\x8c\x08datetime\x8c\ttimedelta\x93J\xff\xff\xff\xffK\x02K\x03\x87R.")
        );
        assert_eq!(
            written(|w| w.complex(0.0, 1.0)),
            one_frame(
                b"\x8c\x08builtins\x8c\x07complex\x93G\0\0\0\0\0\0\0\0G?\xf0\0\0\0\0\0\0\x86R."
            )
        );
        assert_eq!(
            written(|w| {
                w.global("__main__", "O.In");
                w.begin_tuple(1);
                w.int(5);
                w.end_tuple(1);
                w.reduce();
            }),
            one_frame(b"\x8c\x08__main__\x8c\x04O.In\x93K\x05\x85R.")
        );
    }

    fn set(elements: &[&dyn Fn(&mut Writer)]) -> Vec<u8> {
        written(|w| {
            let mut set = w.begin_frozenset();
            for element in elements {
                w.element(&mut set);
                element(w);
            }
            w.end_frozenset(set);
        })
    }

    #[test]
    fn frozensets_are_sorted_by_encoding() {
        assert_eq!(set(&[]), b"\x80\x05(\x91.");
        assert_eq!(set(&[&|w| w.int(1)]), one_frame(b"(K\x01\x91."));
        let a: &dyn Fn(&mut Writer) = &|w| w.int(300);
        let b: &dyn Fn(&mut Writer) = &|w| w.text("x");
        let c: &dyn Fn(&mut Writer) = &|w| {
            let mut inner = w.begin_frozenset();
            for value in [2, 1] {
                w.element(&mut inner);
                w.int(value);
            }
            w.end_frozenset(inner);
        };
        let sorted = one_frame(b"((K\x01K\x02\x91M\x2c\x01\x8c\x01x\x91.");
        for order in [
            [a, b, c],
            [a, c, b],
            [b, a, c],
            [b, c, a],
            [c, a, b],
            [c, b, a],
        ] {
            assert_eq!(set(&order), sorted);
        }
    }

    /// Frames as Python's `_Framer` makes them, from the list of opcodes.
    fn framed(opcodes: &[Vec<u8>]) -> Vec<u8> {
        fn commit(out: &mut Vec<u8>, frame: &mut Vec<u8>) {
            if frame.len() >= 4 {
                out.push(0x95);
                out.extend((frame.len() as u64).to_le_bytes());
            }
            out.append(frame);
        }
        let mut out = vec![0x80, 5];
        let mut frame = Vec::new();
        for opcode in opcodes {
            let frameless = opcode.len() > 65_536;
            if frameless || frame.len() >= 65_536 {
                commit(&mut out, &mut frame);
            }
            if frameless { &mut out } else { &mut frame }.extend(opcode);
        }
        commit(&mut out, &mut frame);
        out
    }

    fn bytes_opcode(len: usize) -> Vec<u8> {
        let mut opcode = match u8::try_from(len) {
            Ok(len) => vec![b'C', len],
            Err(_) => [&b"B"[..], &u32::try_from(len).unwrap().to_le_bytes()].concat(),
        };
        opcode.resize(opcode.len() + len, b'.');
        opcode
    }

    proptest! {
        #[test]
        fn frames_are_cut_where_python_cuts(
            lens in prop::collection::vec(
                prop_oneof![0..300_usize, 32_700..32_800_usize, 65_520..65_540_usize, Just(200_000)],
                4..12,
            ),
            number in any::<i64>(),
        ) {
            let count = lens.len() + 1;
            let mut writer = Writer::default();
            writer.begin_tuple(count);
            lens.iter().for_each(|&len| writer.bytes(&vec![b'.'; len]));
            writer.int(number);
            writer.end_tuple(count);

            let mut opcodes = vec![b"(".to_vec()];
            opcodes.extend(lens.iter().map(|&len| bytes_opcode(len)));
            let number = encode(&number);
            let start = if number.len() < 6 { 2 } else { 11 };
            opcodes.push(number[start..number.len() - 1].to_vec());
            opcodes.extend([b"t".to_vec(), b".".to_vec()]);
            prop_assert_eq!(writer.finish(), framed(&opcodes));
        }

        #[test]
        fn big_integers_do_not_depend_on_sign_bytes(value: i128, extra in 0..40_usize) {
            let mut bytes = value.to_le_bytes().to_vec();
            bytes.resize(16 + extra, if value < 0 { 0xff } else { 0 });
            prop_assert_eq!(written(|w| w.big_int(&bytes)), encode(&value));
            if let Ok(small) = i64::try_from(value >> 64) {
                prop_assert_eq!(encode(&i128::from(small)), encode(&small));
            }
        }

        #[test]
        fn used_buffers_leave_no_trace(old: Vec<u8>, text: String, number: i64) {
            let mut writer = Writer::with_buffer(Protocol::V5, old);
            (&text, number).write(&mut writer);
            prop_assert_eq!(writer.finish(), encode(&(&text, number)));
        }

        #[test]
        fn different_values_differ(
            a: (i64, String, Option<bool>, Vec<u8>),
            b: (i64, String, Option<bool>, Vec<u8>),
        ) {
            prop_assert_eq!(encode(&a) == encode(&b), a == b);
        }
    }
}

mod signatures {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use dolium::sign::{KEY_VARIABLE, Signer, Signing, TRAILER_LEN, Trailer, Verdict, split};
    use proptest::prelude::*;

    fn configured(text: &str) -> Signer {
        Signing::find(Some(OsStr::new(text)), None)
            .unwrap()
            .signer()
            .unwrap()
            .clone()
    }

    fn kept(state: &Path) -> Signer {
        match Signing::find(None, Some(state)).unwrap() {
            Signing::With(signer) => signer,
            Signing::Without { reason } => panic!("{reason}"),
        }
    }

    fn refused(state: &Path) -> String {
        match Signing::find(None, Some(state)).unwrap() {
            Signing::With(signer) => panic!("{signer:?}"),
            Signing::Without { reason } => reason.to_string(),
        }
    }

    fn stored(signer: &Signer, payload: &[u8], key: &[u8]) -> Vec<u8> {
        [payload, &signer.sign(payload, 3, key, 4)].concat()
    }

    #[test]
    fn the_format_does_not_drift() {
        let signer = configured("a key of many characters");
        let trailer = signer.sign(b"\x80\x05N.", 3, b"key", 4);
        let hex: String = trailer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "f7646df5069f173d833bb4e12e06a408b647d3af63716841");
    }

    #[test]
    fn a_signature_holds_for_one_entry_only() {
        let signer = configured("a key of many characters");
        let signed = stored(&signer, b"payload", b"key");
        assert_eq!(signer.verify(&signed, 3, b"key", 4), Verdict::Ours);
        assert_eq!(signer.verify(&signed, 3, b"kez", 4), Verdict::Forged);
        assert_eq!(signer.verify(&signed, 3, b"ke", 4), Verdict::Forged);
        assert_eq!(signer.verify(&signed, 2, b"key", 4), Verdict::Forged);
        assert_eq!(signer.verify(&signed, 3, b"key", 16), Verdict::Forged);
        assert_eq!(signer.verify(b"payload", 3, b"key", 4), Verdict::Foreign);
        assert_eq!(signer.verify(b"", 3, b"key", 4), Verdict::Foreign);
        let other = configured("another key of many characters");
        assert_eq!(other.verify(&signed, 3, b"key", 4), Verdict::Foreign);
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
        let signed = stored(&old, b"payload", b"key");
        assert_eq!(new.verify(&signed, 3, b"key", 4), Verdict::Ours);
        assert_eq!(new.verify(&signed, 3, b"kez", 4), Verdict::Forged);
        let signed = stored(&new, b"payload", b"key");
        assert_eq!(old.verify(&signed, 3, b"key", 4), Verdict::Foreign);
    }

    #[test]
    fn configured_keys_are_long_enough() {
        for text in [
            "",
            "short",
            "long enough to be a key,",
            "long enough to be a key,short",
            "ééééééééééééééé",
        ] {
            let error = Signing::find(Some(OsStr::new(text)), None)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(KEY_VARIABLE) && error.contains("16"),
                "{error}"
            );
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
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let signed = stored(&signers[0], b"payload", b"key");
        for signer in &signers {
            assert_eq!(signer.verify(&signed, 3, b"key", 4), Verdict::Ours);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let directory = state.join("dolium");
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("signing.key")), 0o600);
        let names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["signing.key"], "no temporary file stays");
        assert_eq!(signers[0].file(), Some(&*directory.join("signing.key")));
    }

    #[test]
    fn two_directories_have_two_keys() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let signed = stored(&kept(a.path()), b"payload", b"key");
        assert_eq!(
            kept(b.path()).verify(&signed, 3, b"key", 4),
            Verdict::Foreign
        );
    }

    #[test]
    fn key_files_that_others_can_read_or_replace_are_refused() {
        let state = tempfile::tempdir().unwrap();
        kept(state.path());
        let directory = state.path().join("dolium");
        let file = directory.join("signing.key");
        let chmod =
            |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();

        chmod(&file, 0o640);
        let reason = refused(state.path());
        assert!(
            reason.contains("signing.key") && reason.contains("chmod 600"),
            "{reason}"
        );
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
            assert!(
                refused(state.path()).contains("12345"),
                "root leaves no key in a user's home"
            );
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
        let signed = stored(&old, b"payload", b"key");
        let file = state.path().join("dolium/signing.key");
        let text = format!(
            "{} # new\n{}",
            "1f".repeat(32),
            fs::read_to_string(&file).unwrap()
        );
        fs::write(&file, text).unwrap();
        let new = kept(state.path());
        assert_eq!(new.verify(&signed, 3, b"key", 4), Verdict::Ours);
        assert_eq!(
            old.verify(&stored(&new, b"payload", b"key"), 3, b"key", 4),
            Verdict::Foreign
        );
    }

    #[test]
    fn where_no_key_can_be_kept_there_is_a_reason() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("dolium"), b"not a directory").unwrap();
        assert!(refused(state.path()).contains(KEY_VARIABLE));
        assert!(refused(Path::new("/proc/no/such")).contains("/proc/no/such"));
        let Signing::Without { reason } = Signing::find(None, None).unwrap() else {
            panic!()
        };
        assert!(reason.contains("HOME"));
    }

    #[test]
    fn processes_agree_on_the_key() {
        const CHILD: &str = "DOLIUM_TEST_STATE";
        if let Some(state) = std::env::var_os(CHILD) {
            let trailer = kept(Path::new(&state)).sign(b"payload", 3, b"key", 4);
            let hex: String = trailer.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("trailer={hex};");
            return;
        }
        let state = tempfile::tempdir().unwrap();
        let children: Vec<_> = (0..8)
            .map(|_| {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "signatures::processes_agree_on_the_key",
                        "--nocapture",
                    ])
                    .env(CHILD, state.path())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let trailers: Vec<String> = children
            .into_iter()
            .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
            .map(|out| {
                out.split("trailer=")
                    .nth(1)
                    .unwrap()
                    .split(';')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(trailers.len(), 8);
        assert!(
            trailers.iter().all(|trailer| *trailer == trailers[0]),
            "{trailers:?}"
        );
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
            // Without the magic or with another key's id it is nobody's claim to be ours.
            let in_claim = (trailer..trailer + 8).contains(&at);
            let expected = if in_claim { Verdict::Foreign } else { Verdict::Forged };
            prop_assert_eq!(signer.verify(&changed, 3, b"key", 4), expected);
        }
    }
}
