//! `ipsec-mb`: Intel's multi-buffer library, which has many packets in the processor's units at once.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use raddle_ipsec_mb::{Cipher, Hash, Job as Turn, Key, Manager};
use zeroize::Zeroizing;

use super::{Aad, Engine, Job, Parts, PreparedKeys, nonce};
use crate::algorithm::{Encryption, Integrity, Kind, Suite};
use crate::key::Keys;

/// The engine, for one thread.
pub struct MultiBuffer {
    manager: Manager,
    /// Of the packets that are being opened.
    icvs: Vec<Icv>,
}

/// A key schedule, wiped when dropped.
pub struct MultiBufferKeys {
    suite: Suite,
    salt: Zeroizing<[u8; 4]>,
    key: Key,
}

impl MultiBuffer {
    /// Its name.
    pub const NAME: &'static str = "ipsec-mb";

    /// For this processor; `None` if it has not the instructions.
    pub fn open() -> Option<Self> {
        Manager::open().map(|manager| Self { manager, icvs: Vec::new() })
    }

    /// Turns the packets that are this engine's. One that comes is done if the tag that it has is the right one.
    fn run(&mut self, jobs: &mut [Job<'_>], seal: bool) {
        self.icvs.clear();
        let mut batch = self.manager.batch();
        for (place, job) in jobs.iter_mut().enumerate() {
            let PreparedKeys::MultiBuffer(keys) = job.keys else { continue };
            let Some(parts) = Parts::of(keys.suite, job.packet.len()) else { continue };
            let icv = (!seal).then(|| Icv::of(&job.packet[parts.icv.clone()]));
            if batch.push(keys.turn(&mut *job.packet, &parts, job.high, place as u32)) {
                self.icvs.extend(icv);
            }
        }
        let turned = batch.turn(seal);
        if seal {
            turned.for_each(|turned| jobs[turned.place].done = turned.done);
            return;
        }
        for (turned, icv) in turned.zip(&self.icvs) {
            jobs[turned.place].done = turned.done && icv.is(turned.tag);
        }
    }
}

/// The ICV that came with a packet: what it is replaced by in the packet is authenticated.
struct Icv {
    bytes: [u8; 32],
    length: usize,
}

impl Icv {
    #[inline(always)]
    fn of(icv: &[u8]) -> Self {
        let (mut bytes, length) = ([0; 32], icv.len().min(32));
        bytes[..length].copy_from_slice(&icv[..length]);
        Self { bytes, length }
    }

    #[inline(always)]
    fn is(&self, tag: &[u8; 64]) -> bool {
        verify_slices_are_equal(&tag[..self.length], &self.bytes[..self.length]).is_ok()
    }
}

impl MultiBufferKeys {
    /// What the library is to do with a packet.
    #[inline(always)]
    fn turn<'a>(&'a self, packet: &'a mut [u8], parts: &Parts, high: Option<u32>, place: u32) -> Turn<'a> {
        let (mut iv, mut aad, mut hashed) = ([0; 16], ([0; 12], 0), parts.icv.start);
        match self.suite.encryption.kind() {
            Kind::Cbc => iv.copy_from_slice(&packet[parts.iv.clone()]),
            Kind::Ctr => {
                iv[..12].copy_from_slice(&nonce(&self.salt, &packet[parts.iv.clone()]));
                iv[15] = 1;
            }
            Kind::Null => {}
            Kind::Aead | Kind::Gmac => {
                iv[..12].copy_from_slice(&nonce(&self.salt, &packet[parts.iv.clone()]));
                if let Some(header) = packet.first_chunk() {
                    aad = Aad::of(header, high).into_parts();
                }
                hashed = 0;
            }
        }
        if let (Some(high), Some(_)) = (high, self.suite.integrity) {
            // It is authenticated behind all else, where the ICV will be (RFC 4303 §2.2.1).
            packet[parts.icv.start..parts.icv.start + 4].copy_from_slice(&high.to_be_bytes());
            hashed += 4;
        }
        let text = if self.suite.encryption == Encryption::Null { 0..0 } else { parts.text.clone() };
        Turn { key: &self.key, packet, text, hashed, tag_at: parts.icv.start, iv, aad, place }
    }
}

impl Engine for MultiBuffer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn details(&self) -> String {
        format!("Intel's multi-buffer library with {}, a frame at a time", self.manager.instructions())
    }

    fn prepare(&mut self, suite: Suite, keys: &Keys) -> Option<PreparedKeys> {
        let cipher = match (suite.encryption, suite.encryption.kind()) {
            (Encryption::ChaCha20Poly1305, _) => Cipher::ChaCha,
            (_, Kind::Aead) => Cipher::Gcm,
            (_, Kind::Cbc) => Cipher::Cbc,
            (_, Kind::Ctr) => Cipher::Ctr,
            (_, Kind::Null) => Cipher::Null,
            (_, Kind::Gmac) => return None,
        };
        let hash = match suite.integrity {
            None => Hash::None,
            Some(Integrity::HmacSha1) => Hash::Sha1,
            Some(Integrity::HmacSha256) => Hash::Sha256,
            Some(Integrity::HmacSha384) => Hash::Sha384,
            Some(Integrity::HmacSha512) => Hash::Sha512,
        };
        let key = self.manager.prepare(cipher, keys.cipher.bytes(), hash, keys.integrity.bytes())?;
        Some(PreparedKeys::MultiBuffer(MultiBufferKeys { suite, salt: keys.salt4(), key }))
    }

    fn seal(&mut self, jobs: &mut [Job<'_>]) {
        self.run(jobs, true);
    }

    fn open(&mut self, jobs: &mut [Job<'_>]) {
        self.run(jobs, false);
    }
}
