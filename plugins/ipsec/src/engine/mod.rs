//! Crypto engines: each takes a whole frame of packets at once.
//!
//! A job is an ESP packet (RFC 4303 §2) with its IV in place and room for its ICV at the end. What of it is encrypted, what is
//! authenticated, and by which nonce, is said here once; engines turn bytes.

mod aws_lc;
#[cfg(ipsec_mb)]
mod multi_buffer;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::algorithm::{Kind, Suite};
use crate::key::Keys;

pub use aws_lc::{AwsLc, AwsLcKeys};
#[cfg(ipsec_mb)]
pub use multi_buffer::{MultiBuffer, MultiBufferKeys};

/// Bytes of the ESP header: SPI and sequence number.
pub const ESP_BYTES: usize = 8;

/// Turns packets. One is made for each thread.
pub trait Engine: Send {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// What it is made of and the instructions that it uses, for people.
    fn details(&self) -> String;

    /// The key schedule of an SA, made once; `None` if the engine does not know the suite.
    fn prepare(&mut self, suite: Suite, keys: &Keys) -> Option<PreparedKeys>;

    /// Encrypts the packets whose keys are this engine's, in place, and writes their ICVs. Packets that are done say so.
    fn seal(&mut self, jobs: &mut [Job<'_>]);

    /// Checks the packets whose keys are this engine's, and decrypts those that are authentic, in place. They say so.
    fn open(&mut self, jobs: &mut [Job<'_>]);
}

/// An SA's key schedule, of the engine that made it. Wiped when dropped.
pub enum PreparedKeys {
    /// Of `aws-lc`.
    AwsLc(AwsLcKeys),
    /// Of `ipsec-mb`.
    #[cfg(ipsec_mb)]
    MultiBuffer(MultiBufferKeys),
}

impl PreparedKeys {
    /// The engine that made it.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::AwsLc(_) => AwsLc::NAME,
            #[cfg(ipsec_mb)]
            Self::MultiBuffer(_) => MultiBuffer::NAME,
        }
    }
}

/// A packet to be turned.
pub struct Job<'a> {
    /// By what.
    pub keys: &'a PreparedKeys,
    /// From the ESP header to the end of the ICV.
    pub packet: &'a mut [u8],
    /// The upper half of the sequence number where SAs have one (RFC 4303 §2.2.1): it is authenticated and not sent.
    pub high: Option<u32>,
    /// Whether it is sealed, or authentic and open. Set by the engine.
    pub done: bool,
}

/// Where the parts of a packet are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The IV.
    pub iv: Range<usize>,
    /// What is encrypted: the payload and its trailer.
    pub text: Range<usize>,
    /// The ICV, at the end.
    pub icv: Range<usize>,
}

impl Parts {
    /// The parts of a packet of so many bytes; `None` if they do not fit, or the text is no whole number of blocks.
    #[inline(always)]
    pub fn of(suite: Suite, length: usize) -> Option<Self> {
        let text = ESP_BYTES + suite.encryption.iv_bytes();
        let icv = length.checked_sub(suite.icv_bytes())?;
        // RFC 4303 §2: at least the pad length and the next header are behind the payload.
        let block = suite.encryption.block_bytes();
        if icv < text + 2 || (suite.encryption.kind() == Kind::Cbc && !(icv - text).is_multiple_of(block)) {
            return None;
        }
        Some(Self { iv: ESP_BYTES..text, text: text..icv, icv: icv..length })
    }
}

/// The additional authenticated data of an AEAD (RFC 4106 §5, RFC 7634 §2.1): SPI and sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aad {
    bytes: [u8; 12],
    length: usize,
}

impl Aad {
    /// Of a packet.
    #[inline(always)]
    pub fn of(header: &[u8; ESP_BYTES], high: Option<u32>) -> Self {
        let mut bytes = [0; 12];
        let Some(high) = high else {
            bytes[..8].copy_from_slice(header);
            return Self { bytes, length: 8 };
        };
        bytes[..4].copy_from_slice(&header[..4]);
        bytes[4..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&header[4..]);
        Self { bytes, length: 12 }
    }

    /// The bytes.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The bytes and how many of them count.
    #[inline(always)]
    pub fn into_parts(self) -> ([u8; 12], usize) {
        (self.bytes, self.length)
    }
}

/// The nonce of an AEAD: salt, then the packet's IV (RFC 4106 §4, RFC 7634 §2).
#[inline(always)]
pub fn nonce(salt: &[u8; 4], iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(salt);
    nonce[4..].copy_from_slice(&iv[..8]);
    nonce
}

/// Which engines there are here, the best first. What cannot be had is said by [`left_out`].
pub fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    #[cfg(ipsec_mb)]
    if let Some(engine) = MultiBuffer::open() {
        engines.push(Box::new(engine));
    }
    engines.push(Box::new(AwsLc));
    engines
}

/// A thread's engines, made if they are not yet.
#[inline(always)]
pub fn ready(made: &mut Vec<Box<dyn Engine>>) -> &mut [Box<dyn Engine>] {
    if made.is_empty() {
        *made = engines();
    }
    made
}

/// Engines that are not here, and why.
pub fn left_out() -> Vec<(&'static str, &'static str)> {
    #[cfg(ipsec_mb)]
    {
        if MultiBuffer::open().is_none() {
            return vec![(MultiBuffer::NAME, "the processor has none of the instructions that it needs")];
        }
        Vec::new()
    }
    #[cfg(not(ipsec_mb))]
    vec![(
        "ipsec-mb",
        "left out of this build, which found no intel-ipsec-mb.h: install libipsec-mb-dev and build again",
    )]
}
