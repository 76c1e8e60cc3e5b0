//! Intel's multi-buffer library in safe Rust: keys that are wiped, and packets that lie where they say. Empty where the build did not
//! find the library.
#![cfg(ipsec_mb)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use raddle_ipsec_mb_sys as sys;

/// Ciphers that the library knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cipher {
    /// None.
    Null = sys::CIPHER_NULL,
    /// AES-CBC: keys of 16, 24 or 32 bytes.
    Cbc = sys::CIPHER_CBC,
    /// AES-CTR: keys of 16, 24 or 32 bytes.
    Ctr = sys::CIPHER_CTR,
    /// AES-GCM: keys of 16, 24 or 32 bytes.
    Gcm = sys::CIPHER_GCM,
    /// ChaCha20-Poly1305: a key of 32 bytes.
    ChaCha = sys::CIPHER_CHACHA,
}

/// Hashes that the library makes HMACs of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hash {
    /// None: the cipher authenticates.
    None = sys::HASH_NONE,
    /// SHA-1, with a tag of 12 bytes.
    Sha1 = sys::HASH_SHA1,
    /// SHA-256, with a tag of 16 bytes.
    Sha256 = sys::HASH_SHA256,
    /// SHA-384, with a tag of 24 bytes.
    Sha384 = sys::HASH_SHA384,
    /// SHA-512, with a tag of 32 bytes.
    Sha512 = sys::HASH_SHA512,
}

impl Hash {
    const fn tag_bytes(self) -> usize {
        match self {
            Self::None | Self::Sha256 => 16,
            Self::Sha1 => 12,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

/// The library, for one thread.
pub struct Manager {
    manager: NonNull<c_void>,
    instructions: &'static str,
    jobs: Vec<sys::Job>,
}

// SAFETY: a manager has no tie to the thread that made it; `&mut self` keeps it to one at a time.
unsafe impl Send for Manager {}

/// A prepared key.
pub struct Key {
    key: NonNull<c_void>,
    tag_bytes: usize,
}

// SAFETY: after `Manager::prepare` it is only read.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

/// A packet to be turned: parts are ranges of it.
pub struct Job<'p> {
    /// By what.
    pub key: &'p Key,
    /// The packet.
    pub packet: &'p mut [u8],
    /// What is encrypted.
    pub text: Range<usize>,
    /// What a hash of its own covers, from the packet's start: it may reach over the text, not over the packet.
    pub hashed: usize,
    /// Where the tag is: there it is written when the packet is sealed.
    pub tag_at: usize,
    /// The IV, nonce or first counter block.
    pub iv: [u8; 16],
    /// Additional authenticated data, of AEADs.
    pub aad: ([u8; 12], usize),
    /// The caller's own, given back with what became of the packet.
    pub place: u32,
}

/// Packets that are turned together.
pub struct Batch<'m, 'p> {
    manager: &'m mut Manager,
    packets: PhantomData<&'p mut [u8]>,
}

/// What became of a packet.
pub struct Turned<'m> {
    /// As in its [`Job`].
    pub place: usize,
    /// Whether the library turned it.
    pub done: bool,
    /// The tag that was computed, of a packet that was opened: the first bytes, as many as the tag has.
    pub tag: &'m [u8; 64],
}

impl Manager {
    /// One for this processor; `None` if it has not the instructions.
    pub fn open() -> Option<Self> {
        let mut arch = 0;
        // SAFETY: `arch` is written; the functions take nothing.
        let (manager, is_same) = unsafe {
            (sys::raddle_imb_open(&mut arch), sys::raddle_imb_job_bytes() == size_of::<sys::Job>())
        };
        let manager = NonNull::new(manager)?;
        // `IMB_ARCH` of the header.
        let instructions = match arch {
            2 => "SSE",
            3 => "AVX",
            4 => "AVX2",
            5 => "AVX-512",
            _ => "no AES instructions",
        };
        let opened = Self { manager, instructions, jobs: Vec::new() };
        is_same.then_some(opened)
    }

    /// The widest instructions that it uses.
    pub fn instructions(&self) -> &'static str {
        self.instructions
    }

    /// A key schedule; `None` if a length is not the algorithm's.
    pub fn prepare(&mut self, cipher: Cipher, key: &[u8], hash: Hash, hash_key: &[u8]) -> Option<Key> {
        let fits = match cipher {
            Cipher::Null => key.is_empty(),
            Cipher::ChaCha => key.len() == 32,
            Cipher::Cbc | Cipher::Ctr | Cipher::Gcm => matches!(key.len(), 16 | 24 | 32),
        };
        let is_aead = matches!(cipher, Cipher::Gcm | Cipher::ChaCha);
        // The shortest block of the hashes is 64 bytes.
        if !fits || hash_key.len() > 64 || is_aead != (hash == Hash::None) {
            return None;
        }
        let prepared = Key::new(hash.tag_bytes());
        // SAFETY: the manager is this one's; the key has the size and alignment that the shim wants; the bytes are readable, as many as
        // are said.
        unsafe {
            sys::raddle_imb_prepare(
                self.manager.as_ptr(),
                prepared.key.as_ptr(),
                cipher as u32,
                key.as_ptr(),
                key.len() as u32,
                hash as u32,
                hash_key.as_ptr(),
                hash_key.len() as u32,
                prepared.tag_bytes as u32,
            );
        }
        Some(prepared)
    }

    /// Begins with a batch of packets.
    pub fn batch<'p>(&mut self) -> Batch<'_, 'p> {
        self.jobs.clear();
        Batch { manager: self, packets: PhantomData }
    }
}

impl<'m, 'p> Batch<'m, 'p> {
    /// Takes a packet along, if its parts are within it; says whether they are.
    #[inline(always)]
    pub fn push(&mut self, job: Job<'p>) -> bool {
        let length = job.packet.len();
        if job.text.start > job.text.end
            || job.text.end > length
            || job.hashed > length
            || job.tag_at > length
            || length - job.tag_at < job.key.tag_bytes
            || length > 1 << 20
        {
            return false;
        }
        let mut aad = [0; 16];
        aad[..12].copy_from_slice(&job.aad.0);
        self.manager.jobs.push(sys::Job {
            key: job.key.key.as_ptr(),
            packet: job.packet.as_mut_ptr(),
            text_at: job.text.start as u32,
            text_bytes: job.text.len() as u32,
            hash_bytes: job.hashed as u32,
            aad_bytes: job.aad.1.min(12) as u32,
            tag_at: job.tag_at as u32,
            place: job.place,
            iv: job.iv,
            aad,
            tag: [0; 64],
            done: 0,
            reserved: 0,
        });
        true
    }

    /// Encrypts (`seal`) or decrypts the packets in place and computes their tags.
    pub fn turn(self, seal: bool) -> impl Iterator<Item = Turned<'m>> + use<'m> {
        let Manager { manager, jobs, .. } = self.manager;
        // SAFETY: the manager is this one's, and holds no job of an earlier call; each packet is borrowed mutably and each key shared for
        // `'p`, which lasts until this batch is consumed here; the parts, and the tag where it is written, are within the packets, as
        // `push` has seen.
        unsafe {
            sys::raddle_imb_run(manager.as_ptr(), jobs.as_mut_ptr(), jobs.len(), i32::from(seal));
        }
        jobs.iter().map(|job| Turned { place: job.place as usize, done: job.done == 1, tag: &job.tag })
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: made by `open`, ended once.
        unsafe { sys::raddle_imb_close(self.manager.as_ptr()) };
    }
}

impl Key {
    fn layout() -> Layout {
        // SAFETY: takes nothing.
        let bytes = unsafe { sys::raddle_imb_key_bytes() };
        Layout::from_size_align(bytes.max(64), 64).expect("a few kilobytes")
    }

    fn new(tag_bytes: usize) -> Self {
        let layout = Self::layout();
        // SAFETY: the layout's size is not zero.
        let key = unsafe { alloc_zeroed(layout) };
        let key = NonNull::new(key.cast()).unwrap_or_else(|| handle_alloc_error(layout));
        Self { key, tag_bytes }
    }

    /// Bytes of the tag.
    pub fn tag_bytes(&self) -> usize {
        self.tag_bytes
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, wiped and given back once.
        unsafe {
            sys::raddle_imb_wipe(self.key.as_ptr());
            dealloc(self.key.as_ptr().cast(), Self::layout());
        }
    }
}
