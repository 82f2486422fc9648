use super::*;
use proptest::prelude::*;
use vault::{Policy, Vault};

fn keys() -> MediaKeys {
    MediaKeys::new(&Vault::open(Policy::AllowWeaker).unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn packet(seq: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 0];
    out.extend(seq.to_be_bytes());
    out.extend([0, 0, 1, 2]);
    out.extend(ssrc.to_be_bytes());
    out.extend(payload);
    out
}

/// A packet protected: the bytes on the wire.
fn protected(protector: &mut Protector, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + GROWTH, 0);
    let len = protector.protect(&mut buffer, packet.len()).unwrap();
    buffer.truncate(len);
    buffer
}

#[test]
fn session_keys_are_those_of_rfc_3711_b_3() {
    let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    // The first key stream block of a session with the cipher key and salt of the appendix, and a tag with its authentication key.
    let derived = Session::new(Suite::Cm128Sha1_80, Kind::Media, &master).unwrap();
    let auth = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4").try_into().unwrap();
    let salt = hex("30CBBC08863D8C85D49DB34A9AE1").try_into().unwrap();
    let given =
        Session::of(Suite::Cm128Sha1_80, Kind::Media, &hex("C61E7A93744F39EE10734AFE3FF7A087"), &auth, salt)
            .unwrap();
    let run = |session: &Session| {
        let (mut body, mut tag) = ([0; 300], [0; 10]);
        session.seal(7, 9, &[0x80; 12], &mut body, &[0; 4], &mut tag);
        (body, tag)
    };
    assert_eq!(run(&derived), run(&given));
}

#[test]
fn the_key_stream_is_that_of_rfc_3711_b_2() {
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let session = Session::of(Suite::Cm128Sha1_80, Kind::Media, &key, &[0; 20], salt).unwrap();
    let (mut body, mut tag) = (vec![0; 16 * 0xff03], [0; 10]);
    session.seal(0, 0, &[], &mut body, &[0; 4], &mut tag);
    assert_eq!(body[..32], hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB"));
    assert_eq!(
        body[16 * 0xfeff..][..32],
        hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE")
    );
}

#[test]
fn gcm_control_packets_are_those_of_rfc_7714_17_1() {
    let head = hex("81c8000d 4d617273");
    let text = hex(
        "4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let mut salt = [0; 14];
    salt[..12].copy_from_slice(&hex("51756964 2070726f 2071756f"));
    let key = hex("000102030405060708090a0b0c0d0e0f");
    let session = Session::of(Suite::Gcm128, Kind::Control, &key, &[0; 20], salt).unwrap();
    let (mut body, mut tag) = (text.clone(), [0; 16]);
    let word = 0x8000_05d4u32.to_be_bytes();
    session.seal(0x4d61_7273, 0x5d4, &head, &mut body, &word, &mut tag);
    let sealed =
        "63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b
        c84aa458 96cf4d2f c5abf872 45d9eade";
    assert_eq!([body.clone(), tag.to_vec()].concat(), hex(sealed));
    assert!(session.open(0x4d61_7273, 0x5d4, &head, &mut body, &word, &tag) && body == text);
}

#[test]
fn gcm_packets_are_those_of_rfc_7714_16() {
    let head = hex("8040f17b 8041f8d3 5501a0b2");
    let text = hex("47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let mut salt = [0; 14];
    salt[..12].copy_from_slice(&hex("51756964 2070726f 2071756f"));
    for (suite, key, sealed) in [
        (
            Suite::Gcm128,
            "000102030405060708090a0b0c0d0e0f",
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833
             899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            Suite::Gcm256,
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b
             7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ] {
        let session = Session::of(suite, Kind::Media, &hex(key), &[0; 20], salt).unwrap();
        let (mut body, mut tag) = (text.clone(), [0; 16]);
        session.seal(0x5501_a0b2, 0xf17b, &head, &mut body, &[0; 4], &mut tag);
        assert_eq!([body.clone(), tag.to_vec()].concat(), hex(sealed), "{suite:?}");
        assert!(session.open(0x5501_a0b2, 0xf17b, &head, &mut body, &[0; 4], &tag) && body == text);
    }
}

#[test]
fn what_is_protected_is_opened_once_in_any_order_and_across_the_rollover() {
    let keys = keys();
    for suite in Suite::ALL {
        let master = keys.random(suite.master()).unwrap();
        let (mut ours, mut theirs) =
            (Protector::new(&keys, &master, suite).unwrap(), Opener::new(&keys, &master, suite).unwrap());
        let wire: Vec<_> = (0..200u16)
            .map(|n| protected(&mut ours, &packet(n.wrapping_add(65_450), 7, &[n as u8; 160])))
            .collect();
        assert_ne!(wire[0][12..40], [0; 28]);
        for pair in (0..200).step_by(2) {
            for n in [pair + 1, pair] {
                let mut bytes = wire[n].clone();
                let len = theirs.open(&mut bytes).unwrap_or_else(|e| panic!("{suite:?} {n}: {e}"));
                assert_eq!(bytes[12..len], [n as u8; 160]);
                assert_eq!(theirs.open(&mut wire[n].clone()), Err(SrtpFault::Replayed));
            }
        }
        assert_eq!(ours.rollovers, 1);
    }
}

#[test]
fn another_source_under_the_same_key_begins_with_its_own_counters() {
    let keys = keys();
    let suite = Suite::Cm128Sha1_80;
    let master = keys.random(suite.master()).unwrap();
    let mut theirs = Opener::new(&keys, &master, suite).unwrap();
    for ssrc in [1, 2, 3] {
        let mut ours = Protector::new(&keys, &master, suite).unwrap();
        for seq in [5000 * ssrc as u16, 5000 * ssrc as u16 + 1] {
            assert!(theirs.open(&mut protected(&mut ours, &packet(seq, ssrc, &[1; 20]))).is_ok());
        }
    }
}

#[test]
fn control_packets_are_opened_once_and_never_readable() {
    let keys = keys();
    for suite in Suite::ALL {
        let master = keys.random(suite.master()).unwrap();
        let mut ours = ControlProtector::new(&keys, &master, suite).unwrap();
        let mut theirs = ControlOpener::new(&keys, &master, suite).unwrap();
        let plain = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0x5a; 24]].concat();
        let wire: Vec<Vec<u8>> = (0..5)
            .map(|_| {
                let mut buffer = plain.clone();
                buffer.resize(plain.len() + GROWTH, 0);
                let len = ours.protect(&mut buffer, plain.len()).unwrap();
                buffer.truncate(len);
                buffer
            })
            .collect();
        for n in [1, 0, 4] {
            let mut bytes = wire[n].clone();
            let len = theirs.open(&mut bytes).unwrap();
            assert_eq!(bytes[..len], plain, "{suite:?}");
            assert_eq!(theirs.open(&mut wire[n].clone()), Err(SrtpFault::Replayed));
        }
        for at in 0..wire[2].len() {
            let mut bytes = wire[2].clone();
            bytes[at] ^= 1;
            assert!(theirs.open(&mut bytes).is_err(), "{suite:?} byte {at}");
        }
        assert_eq!(theirs.open(&mut plain.clone()), Err(SrtpFault::Forged), "readable");
        assert!(theirs.open(&mut wire[2].clone()).is_ok(), "nothing was learnt from what was forged");
    }
}

#[test]
fn a_key_of_another_suite_is_refused() {
    let keys = keys();
    let master = keys.random(30).unwrap();
    assert!(matches!(Protector::new(&keys, &master, Suite::Gcm128), Err(PlaceError::Unfit)));
    assert!(matches!(Opener::new(&keys, &master, Suite::Cm256Sha1_80), Err(PlaceError::Unfit)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_that_is_changed_or_made_up_is_opened(
        suite in 0usize..6, seq in any::<u16>(), len in 0usize..300, at in any::<prop::sample::Index>(), bit in 0u8..8,
        garbage in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let keys = keys();
        let suite = Suite::ALL[suite];
        let master = keys.random(suite.master()).unwrap();
        let mut ours = Protector::new(&keys, &master, suite).unwrap();
        let mut theirs = Opener::new(&keys, &master, suite).unwrap();
        let right = protected(&mut ours, &packet(seq, 1, &vec![3; len]));
        let mut wrong = right.clone();
        let at = at.index(wrong.len());
        wrong[at] ^= 1 << bit;
        prop_assert!(theirs.open(&mut wrong).is_err());
        prop_assert!(theirs.open(&mut garbage.clone()).is_err());
        prop_assert!(theirs.open(&mut right.clone()).is_ok());
    }
}
