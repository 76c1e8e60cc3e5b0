//! Bindings of the shim over Intel's multi-buffer library (`shim.c`), where the build found it; else nothing.
#![cfg(ipsec_mb)]

use std::ffi::c_void;

/// No cipher.
pub const CIPHER_NULL: u32 = 0;
/// AES-CBC.
pub const CIPHER_CBC: u32 = 1;
/// AES-CTR.
pub const CIPHER_CTR: u32 = 2;
/// AES-GCM.
pub const CIPHER_GCM: u32 = 3;
/// ChaCha20-Poly1305.
pub const CIPHER_CHACHA: u32 = 4;
/// No hash of its own.
pub const HASH_NONE: u32 = 0;
/// HMAC-SHA-1.
pub const HASH_SHA1: u32 = 1;
/// HMAC-SHA-256.
pub const HASH_SHA256: u32 = 2;
/// HMAC-SHA-384.
pub const HASH_SHA384: u32 = 3;
/// HMAC-SHA-512.
pub const HASH_SHA512: u32 = 4;

/// A packet: `struct raddle_imb_job`.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Job {
    /// The prepared key.
    pub key: *const c_void,
    /// First byte of the packet.
    pub packet: *mut u8,
    /// Where the text begins, in bytes from the packet's start.
    pub text_at: u32,
    /// Bytes of text.
    pub text_bytes: u32,
    /// Bytes that a hash of its own covers, from the packet's start.
    pub hash_bytes: u32,
    /// Bytes of `aad`.
    pub aad_bytes: u32,
    /// Where the tag goes when the packet is sealed, in bytes from the packet's start.
    pub tag_at: u32,
    /// The caller's own.
    pub place: u32,
    /// The IV, nonce or first counter block.
    pub iv: [u8; 16],
    /// Additional authenticated data.
    pub aad: [u8; 16],
    /// The tag that was computed, of a packet that was opened.
    pub tag: [u8; 64],
    /// 1 when the library was done with it.
    pub done: u32,
    /// Zero.
    pub reserved: u32,
}

unsafe extern "C" {
    /// Bytes of a prepared key; it is aligned to 64.
    pub fn raddle_imb_key_bytes() -> usize;
    /// Bytes of [`Job`].
    pub fn raddle_imb_job_bytes() -> usize;
    /// A manager for one thread, and which instructions it uses; null where the processor has none that it needs.
    pub fn raddle_imb_open(arch: *mut u32) -> *mut c_void;
    /// Ends a manager.
    pub fn raddle_imb_close(manager: *mut c_void);
    /// Fills in a key of [`raddle_imb_key_bytes`].
    pub fn raddle_imb_prepare(
        manager: *mut c_void,
        key: *mut c_void,
        cipher: u32,
        bytes: *const u8,
        length: u32,
        hash: u32,
        hash_bytes: *const u8,
        hash_length: u32,
        tag_bytes: u32,
    );
    /// Wipes a key.
    pub fn raddle_imb_wipe(key: *mut c_void);
    /// Turns packets in place and computes their tags.
    pub fn raddle_imb_run(manager: *mut c_void, jobs: *mut Job, count: usize, seal: i32);
}
