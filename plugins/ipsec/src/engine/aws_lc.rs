//! `aws-lc`: the engine that is there on every machine.

use aws_lc_rs::aead::{self, Aad as AeadAad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::{Aad, ESP_BYTES, Engine, Job, Parts, PreparedKeys, nonce};
use crate::algorithm::{Encryption, Integrity, Kind, Suite, TAG_BYTES};
use crate::key::Keys;

/// The engine. It keeps nothing: all that it needs is in the keys.
pub struct AwsLc;

/// Key schedules. The library wipes them when they are dropped.
pub struct AwsLcKeys {
    suite: Suite,
    salt: Zeroizing<[u8; 4]>,
    schedule: Schedule,
}

enum Schedule {
    Aead(LessSafeKey),
    /// Boxed: far the larger one.
    Separate(Box<Separate>),
}

/// A cipher, if any, and what authenticates its packets.
struct Separate {
    cipher: Option<(EncryptingKey, DecryptingKey)>,
    integrity: hmac::Key,
}

impl AwsLc {
    /// Its name.
    pub const NAME: &'static str = "aws-lc";
}

impl Engine for AwsLc {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn details(&self) -> String {
        "AWS-LC by way of aws-lc-rs, packet by packet, with the processor's AES and vector instructions"
            .into()
    }

    fn prepare(&mut self, suite: Suite, keys: &Keys) -> Option<PreparedKeys> {
        let schedule = match suite.integrity {
            None => Schedule::Aead(LessSafeKey::new(
                UnboundKey::new(aead_of(suite.encryption)?, keys.cipher.bytes()).ok()?,
            )),
            Some(integrity) => {
                let integrity = hmac::Key::new(hmac_of(integrity), keys.integrity.bytes());
                let cipher = cipher_pair(suite.encryption, keys.cipher.bytes())?;
                Schedule::Separate(Box::new(Separate { cipher, integrity }))
            }
        };
        Some(PreparedKeys::AwsLc(AwsLcKeys { suite, salt: keys.salt4(), schedule }))
    }

    fn seal(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            #[allow(irrefutable_let_patterns, reason = "there may be other engines")]
            if let PreparedKeys::AwsLc(keys) = job.keys {
                job.done = keys.seal(job.packet, job.high).is_some();
            }
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            #[allow(irrefutable_let_patterns, reason = "there may be other engines")]
            if let PreparedKeys::AwsLc(keys) = job.keys {
                job.done = keys.open(job.packet, job.high).is_some();
            }
        }
    }
}

impl AwsLcKeys {
    fn seal(&self, packet: &mut [u8], high: Option<u32>) -> Option<()> {
        let parts = Parts::of(self.suite, packet.len())?;
        match &self.schedule {
            Schedule::Aead(key) if self.suite.encryption.kind() == Kind::Gmac => {
                let nonce = self.nonce(packet, &parts)?;
                let aad = gmac_aad(packet, &parts, high);
                let tag = key.seal_in_place_separate_tag(nonce, AeadAad::from(aad), &mut []).ok()?;
                packet[parts.icv].copy_from_slice(tag.as_ref());
            }
            Schedule::Aead(key) => {
                let nonce = self.nonce(packet, &parts)?;
                let aad = Aad::of(packet.first_chunk()?, high);
                let text = &mut packet[parts.text];
                let tag = key.seal_in_place_separate_tag(nonce, AeadAad::from(aad.bytes()), text).ok()?;
                packet[parts.icv].copy_from_slice(tag.as_ref());
            }
            Schedule::Separate(keys) => {
                if let Some((key, _)) = &keys.cipher {
                    let context = EncryptionContext::Iv128(self.counter_or_iv(packet, &parts)?);
                    key.less_safe_encrypt(&mut packet[parts.text.clone()], context).ok()?;
                }
                let tag = keys.tag(&packet[..parts.icv.start], high);
                let length = parts.icv.len();
                packet[parts.icv].copy_from_slice(&tag.as_ref()[..length]);
            }
        }
        Some(())
    }

    fn open(&self, packet: &mut [u8], high: Option<u32>) -> Option<()> {
        let parts = Parts::of(self.suite, packet.len())?;
        match &self.schedule {
            Schedule::Aead(key) if self.suite.encryption.kind() == Kind::Gmac => {
                let nonce = self.nonce(packet, &parts)?;
                let aad = gmac_aad(packet, &parts, high);
                let mut tag = [0; TAG_BYTES];
                tag.copy_from_slice(&packet[parts.icv]);
                key.open_in_place_separate_tag(nonce, AeadAad::from(aad), &tag, &mut []).ok()?;
            }
            Schedule::Aead(key) => {
                let nonce = self.nonce(packet, &parts)?;
                let aad = Aad::of(packet.first_chunk()?, high);
                let (front, tag) = packet.split_at_mut(parts.icv.start);
                let text = &mut front[parts.text];
                key.open_in_place_separate_tag(nonce, AeadAad::from(aad.bytes()), tag, text).ok()?;
            }
            Schedule::Separate(keys) => {
                let tag = keys.tag(&packet[..parts.icv.start], high);
                verify_slices_are_equal(&tag.as_ref()[..parts.icv.len()], &packet[parts.icv.clone()]).ok()?;
                if let Some((_, key)) = &keys.cipher {
                    let context = DecryptionContext::Iv128(self.counter_or_iv(packet, &parts)?);
                    key.decrypt(&mut packet[parts.text], context).ok()?;
                }
            }
        }
        Some(())
    }

    fn nonce(&self, packet: &[u8], parts: &Parts) -> Option<Nonce> {
        Nonce::try_assume_unique_for_key(&nonce(&self.salt, &packet[parts.iv.clone()])).ok()
    }

    /// The IV of CBC; of CTR its first counter block: nonce, IV, and 1 (RFC 3686 §4).
    fn counter_or_iv(&self, packet: &[u8], parts: &Parts) -> Option<FixedLength<16>> {
        let iv = &packet[parts.iv.clone()];
        if self.suite.encryption.kind() == Kind::Cbc {
            return FixedLength::try_from(iv).ok();
        }
        let mut block = [0; 16];
        block[..4].copy_from_slice(&self.salt[..]);
        block[4..12].copy_from_slice(iv);
        block[15] = 1;
        Some(FixedLength::from(block))
    }
}

impl Separate {
    /// Over all but the ICV, then the upper half of the sequence number (RFC 4303 §2.8).
    fn tag(&self, packet: &[u8], high: Option<u32>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.integrity);
        context.update(packet);
        if let Some(high) = high {
            context.update(&high.to_be_bytes());
        }
        context.sign()
    }
}

/// All of a packet but its ICV, with the whole sequence number (RFC 4543 §3.3).
fn gmac_aad(packet: &[u8], parts: &Parts, high: Option<u32>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(parts.icv.start + 4);
    aad.extend_from_slice(&packet[..4]);
    if let Some(high) = high {
        aad.extend_from_slice(&high.to_be_bytes());
    }
    aad.extend_from_slice(&packet[4..ESP_BYTES]);
    aad.extend_from_slice(&packet[ESP_BYTES..parts.icv.start]);
    aad
}

fn aead_of(encryption: Encryption) -> Option<&'static aead::Algorithm> {
    match encryption {
        Encryption::AesGcm128 | Encryption::AesGmac128 => Some(&aead::AES_128_GCM),
        Encryption::AesGcm192 | Encryption::AesGmac192 => Some(&aead::AES_192_GCM),
        Encryption::AesGcm256 | Encryption::AesGmac256 => Some(&aead::AES_256_GCM),
        Encryption::ChaCha20Poly1305 => Some(&aead::CHACHA20_POLY1305),
        _ => None,
    }
}

fn hmac_of(integrity: Integrity) -> hmac::Algorithm {
    match integrity {
        Integrity::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Integrity::HmacSha256 => hmac::HMAC_SHA256,
        Integrity::HmacSha384 => hmac::HMAC_SHA384,
        Integrity::HmacSha512 => hmac::HMAC_SHA512,
    }
}

/// The keys of both directions; `Some(None)` where nothing is encrypted.
fn cipher_pair(encryption: Encryption, key: &[u8]) -> Option<Option<(EncryptingKey, DecryptingKey)>> {
    let algorithm: &'static Algorithm = match encryption {
        Encryption::Null => return Some(None),
        Encryption::AesCbc128 | Encryption::AesCtr128 => &AES_128,
        Encryption::AesCbc192 | Encryption::AesCtr192 => &AES_192,
        Encryption::AesCbc256 | Encryption::AesCtr256 => &AES_256,
        _ => return None,
    };
    let unbound = || UnboundCipherKey::new(algorithm, key).ok();
    let pair = match encryption.kind() {
        Kind::Cbc => (EncryptingKey::cbc(unbound()?).ok()?, DecryptingKey::cbc(unbound()?).ok()?),
        _ => (EncryptingKey::ctr(unbound()?).ok()?, DecryptingKey::ctr(unbound()?).ok()?),
    };
    Some(Some(pair))
}
