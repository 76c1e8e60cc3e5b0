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
        Manager::open().map(|manager| Self { manager })
    }

    /// Turns the packets that are this engine's. One that comes is done if the tag that it has is the right one.
    fn run(&mut self, jobs: &mut [Job<'_>], seal: bool) {
        let mut turns: Vec<Turn<'_>> = Vec::with_capacity(jobs.len());
        let mut ends: Vec<(&mut bool, Parts, [u8; 32])> = Vec::with_capacity(jobs.len());
        for job in jobs.iter_mut() {
            let PreparedKeys::MultiBuffer(keys) = job.keys else { continue };
            let Some(parts) = Parts::of(keys.suite, job.packet.len()) else { continue };
            let (turn, icv) = keys.turn(job.packet, &parts, job.high, seal);
            ends.push((&mut job.done, parts, icv));
            turns.push(turn);
        }
        self.manager.run(&mut turns, seal);
        for (turn, (done, parts, icv)) in turns.iter_mut().zip(ends) {
            let length = parts.icv.len();
            *done = turn.done;
            if seal {
                turn.packet[parts.icv].copy_from_slice(&turn.tag[..length]);
            } else {
                *done &= verify_slices_are_equal(&turn.tag[..length], &icv[..length]).is_ok();
            }
        }
    }
}

impl MultiBufferKeys {
    /// What the library is to do with a packet, and the ICV that came with it.
    #[inline(always)]
    fn turn<'a>(
        &'a self,
        packet: &'a mut [u8],
        parts: &Parts,
        high: Option<u32>,
        seal: bool,
    ) -> (Turn<'a>, [u8; 32]) {
        let mut icv = [0; 32];
        if !seal {
            icv[..parts.icv.len()].copy_from_slice(&packet[parts.icv.clone()]);
        }
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
                    let of_packet = Aad::of(header, high);
                    let length = of_packet.bytes().len();
                    aad.0[..length].copy_from_slice(of_packet.bytes());
                    aad.1 = length;
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
        (Turn { key: &self.key, packet, text, hashed, iv, aad, tag: [0; 64], done: false }, icv)
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
