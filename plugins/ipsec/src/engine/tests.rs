//! Known answers, and that the engines agree.

use proptest::prelude::*;

use super::*;
use crate::algorithm::{Encryption, Integrity};
use crate::key::Secret;

fn hex(text: &str) -> Vec<u8> {
    Secret::from_hex(text).expect("digits").bytes().to_vec()
}

fn keys(suite: Suite, cipher: &[u8], integrity: &[u8]) -> Keys {
    Keys::new(suite, &Secret::new(cipher.to_vec()), &Secret::new(integrity.to_vec())).expect("right lengths")
}

fn seal(engine: &mut dyn Engine, keys: &PreparedKeys, packet: &mut [u8], high: Option<u32>) -> bool {
    let mut jobs = [Job { keys, packet, high, done: false }];
    engine.seal(&mut jobs);
    jobs[0].done
}

fn open(engine: &mut dyn Engine, keys: &PreparedKeys, packet: &mut [u8], high: Option<u32>) -> bool {
    let mut jobs = [Job { keys, packet, high, done: false }];
    engine.open(&mut jobs);
    jobs[0].done
}

/// On every engine that knows the suite: the packet, sealed, is this; and it opens again.
fn answers(suite: Suite, keys: &Keys, plain: &[u8], high: Option<u32>, sealed: &[u8]) {
    let mut asked = 0;
    for mut engine in engines() {
        let Some(prepared) = engine.prepare(suite, keys) else { continue };
        asked += 1;
        let mut packet = plain.to_vec();
        assert!(seal(&mut *engine, &prepared, &mut packet, high), "{} {suite}", engine.name());
        assert_eq!(packet, sealed, "{} {suite}", engine.name());
        assert!(open(&mut *engine, &prepared, &mut packet, high), "{} {suite}", engine.name());
        let text = plain.len() - suite.icv_bytes();
        assert_eq!(packet[..text], plain[..text], "{} {suite}", engine.name());
    }
    assert!(asked > 0, "no engine knows {suite}");
}

// The ESP packet of the test vectors to RFC 4106 (draft-mcgrew-gcm-test-01, case 2), with a key of 128 bits.
#[test]
fn gcm_known_answer_of_the_draft() {
    let suite = Suite::new(Encryption::AesGcm128, None).unwrap();
    let keys = keys(suite, &hex("feffe9928665731c6d6a8f9467308308cafebabe"), &[]);
    let header = "0000a5f8 0000000a facedbaddecaf888";
    let text = "4500003e698f000080114dccc0a80102 c0a801010a980035002a2343b2d00100 00010000000000000373697009637962 65726369747902646b00000100010001";
    let sealed = "deb22cd9b07c72c16e3a65beeb8df304 a5a5897d33ae530f1ba76d5d114d2a5c 3de81827c10e9a4f51330d0eec416642 cfbb85a5b47e48a4ec3b9ba95d918bd1 83b70d3aa8bc6ee4c309e9d85a41ad4a";
    let mut plain = hex(header);
    plain.extend(hex(text));
    plain.resize(plain.len() + 16, 0);
    let mut expected = hex(header);
    expected.extend(hex(sealed));
    answers(suite, &keys, &plain, None, &expected);
}

// RFC 7634 appendix A.
#[test]
fn chacha20_poly1305_known_answer_of_rfc_7634() {
    let suite = Suite::new(Encryption::ChaCha20Poly1305, None).unwrap();
    let key = "808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f a0a1a2a3";
    let keys = keys(suite, &hex(key), &[]);
    let header = "01020304 00000005 1011121314151617";
    let text = "45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10 0007362708090a0b0c0d0e0f10111213 1415161718191a1b1c1d1e1f20212223 2425262728292a2b2c2d2e2f30313233 3435363701020204";
    let sealed = "24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6 14ee8099d52844eb61aa95dfab4c02f7 2aa71e7c4c4f64c9befe2facc638e8f3 cbec163fac469b502773f6fb94e664da 9165b82829f641e0 76aaa8266b7fb0f7b11b369907e1ad43";
    let mut plain = hex(header);
    plain.extend(hex(text));
    plain.resize(plain.len() + 16, 0);
    let mut expected = hex(header);
    expected.extend(hex(sealed));
    answers(suite, &keys, &plain, None, &expected);
}

/// Puts a text between header and IV, and room for an ICV of HMAC-SHA-256.
fn framed(iv: &str, text: &str) -> Vec<u8> {
    let mut packet = hex("00004321 00000001");
    packet.extend(hex(iv));
    packet.extend(hex(text));
    packet.resize(packet.len() + 16, 0);
    packet
}

// RFC 3602 §4, cases 1 to 4: the encryption alone; the ICV behind it is of the next test.
#[test]
fn cbc_known_answers_of_rfc_3602() {
    let suite = Suite::new(Encryption::AesCbc128, Some(Integrity::HmacSha256)).unwrap();
    for (key, iv, text, sealed) in [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            "53696e676c6520626c6f636b206d7367",
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        (
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            "5468697320697320612034382d62797465206d65737361676520286578616374 6c7920332041455320626c6f636b7329",
            "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5 021c19216bad525c8579695d83ba2684",
        ),
    ] {
        let keys = keys(suite, &hex(key), &[7; 32]);
        for mut engine in engines() {
            let Some(prepared) = engine.prepare(suite, &keys) else { continue };
            let mut packet = framed(iv, text);
            assert!(seal(&mut *engine, &prepared, &mut packet, None));
            let end = packet.len() - 16;
            assert_eq!(packet[24..end], hex(sealed), "{}", engine.name());
        }
    }
}

// RFC 3686 §6, test vectors 1, 4 and 7: 128, 192 and 256 bits.
#[test]
fn ctr_known_answers_of_rfc_3686() {
    for (encryption, key, nonce, iv, sealed) in [
        (
            Encryption::AesCtr128,
            "ae6852f8121067cc4bf7a5765577f39e",
            "00000030",
            "0000000000000000",
            "e4095d4fb7a7b3792d6175a3261311b8",
        ),
        (
            Encryption::AesCtr192,
            "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515",
            "00000048",
            "36733c147d6d93cb",
            "4b55384fe259c9c84e7935a003cbe928",
        ),
        (
            Encryption::AesCtr256,
            "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104",
            "00000060",
            "db5672c97aa8f0b2",
            "145ad01dbf824ec7560863dc71e3e0c0",
        ),
    ] {
        let suite = Suite::new(encryption, Some(Integrity::HmacSha256)).unwrap();
        let keys = keys(suite, &hex(&format!("{key}{nonce}")), &[7; 32]);
        for mut engine in engines() {
            let Some(prepared) = engine.prepare(suite, &keys) else { continue };
            let mut packet = framed(iv, "53696e676c6520626c6f636b206d7367");
            assert!(seal(&mut *engine, &prepared, &mut packet, None));
            assert_eq!(packet[16..32], hex(sealed), "{} {encryption}", engine.name());
        }
    }
}

// RFC 4303 §2.2.1, §2.8: what HMAC covers, and how it is cut (RFC 2404 §2, RFC 4868 §2.6). The HMACs themselves are tested by their library.
#[test]
fn icvs_are_over_the_packet_and_the_upper_half() {
    for integrity in Integrity::ALL {
        let suite = Suite::new(Encryption::Null, Some(integrity)).unwrap();
        let key = vec![0x0b; integrity.key_bytes()];
        let keys = keys(suite, &[], &key);
        for high in [None, Some(0xa1b2_c3d4_u32)] {
            let mut plain = b"Hi There, this is authenticated.\x01\x01\x02\x03".to_vec();
            let mut covered = plain.clone();
            covered.extend(high.map(u32::to_be_bytes).into_iter().flatten());
            let algorithm = match integrity {
                Integrity::HmacSha1 => aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                Integrity::HmacSha256 => aws_lc_rs::hmac::HMAC_SHA256,
                Integrity::HmacSha384 => aws_lc_rs::hmac::HMAC_SHA384,
                Integrity::HmacSha512 => aws_lc_rs::hmac::HMAC_SHA512,
            };
            let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(algorithm, &key), &covered);
            let mut sealed = plain.clone();
            sealed.extend(&tag.as_ref()[..integrity.icv_bytes()]);
            plain.resize(sealed.len(), 0);
            answers(suite, &keys, &plain, high, &sealed);
        }
    }
}

#[test]
fn what_is_no_packet_is_not_done() {
    for suite in Suite::all() {
        let keys =
            keys(suite, &vec![1; suite.key_bytes()], &vec![2; suite.integrity.map_or(0, |i| i.key_bytes())]);
        for mut engine in engines() {
            let Some(prepared) = engine.prepare(suite, &keys) else { continue };
            let least = ESP_BYTES + suite.encryption.iv_bytes() + 2 + suite.icv_bytes();
            for length in 0..least {
                let mut packet = vec![0; length];
                assert!(!seal(&mut *engine, &prepared, &mut packet, None), "{suite} {length}");
                assert!(!open(&mut *engine, &prepared, &mut packet, Some(1)), "{suite} {length}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn engines_agree_and_a_changed_bit_is_seen(
        seed in any::<[u8; 32]>(),
        blocks in 1_usize..100,
        high in prop::option::of(any::<u32>()),
        at in any::<prop::sample::Index>(),
    ) {
        for suite in Suite::all() {
            let byte = |n: usize| seed[n % 32] ^ (n / 32) as u8;
            let cipher: Vec<u8> = (0..suite.key_bytes()).map(byte).collect();
            let integrity: Vec<u8> = (0..suite.integrity.map_or(0, |i| i.key_bytes())).map(|n| byte(n + 99)).collect();
            let keys = keys(suite, &cipher, &integrity);
            let length = ESP_BYTES + suite.encryption.iv_bytes() + 16 * blocks + suite.icv_bytes();
            let plain: Vec<u8> = (0..length).map(|n| byte(n + 7)).collect();
            let mut sealed: Vec<Vec<u8>> = Vec::new();
            for mut engine in engines() {
                let Some(prepared) = engine.prepare(suite, &keys) else { continue };
                let mut packet = plain.clone();
                prop_assert!(seal(&mut *engine, &prepared, &mut packet, high));
                sealed.push(packet);
            }
            prop_assert!(sealed.windows(2).all(|pair| pair[0] == pair[1]), "{}", suite);
            for mut engine in engines() {
                let Some(prepared) = engine.prepare(suite, &keys) else { continue };
                let mut packet = sealed[0].clone();
                prop_assert!(open(&mut *engine, &prepared, &mut packet, high));
                let end = length - suite.icv_bytes();
                prop_assert_eq!(&packet[..end], &plain[..end]);
                let mut changed = sealed[0].clone();
                changed[at.index(length)] ^= 1;
                prop_assert!(!open(&mut *engine, &prepared, &mut changed, high), "{}", suite);
                let mut other = sealed[0].clone();
                let wrong = Some(high.unwrap_or(0).wrapping_add(1));
                prop_assert!(!open(&mut *engine, &prepared, &mut other, wrong), "{}", suite);
            }
        }
    }
}
