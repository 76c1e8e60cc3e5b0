//! Keys: read from files that nobody else can read, wiped when dropped, shown to nobody.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

use crate::algorithm::{Encryption, Suite};

/// The longest key file that is read, in bytes: far more than any key has.
const MOST_FILE_BYTES: usize = 4096;
/// `O_NOFOLLOW`, `O_NONBLOCK` and `O_CLOEXEC` of Linux on the machines that raddle runs on.
const OPEN_FLAGS: i32 = 0o4000;

/// Bytes that are nobody's business. There is no way to print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a key is not usable. No message holds a part of one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Others may read or write it.
    #[error("the key file {path} is open to others (mode {mode:04o}): `chmod 600 {path}`")]
    Permissions {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It is somebody else's.
    #[error(
        "the key file {path} belongs to user {owner}: it must be root's or that of the user raddle runs as"
    )]
    Owner {
        /// The file.
        path: String,
        /// Whose it is.
        owner: u32,
    },
    /// It is no file, or a huge one.
    #[error("the key file {path} is not an ordinary file of at most 4,096 bytes")]
    NotAFile {
        /// The file.
        path: String,
    },
    /// It is not hexadecimal.
    #[error("the key file {path} does not hold one key of hexadecimal digits")]
    NotHex {
        /// The file.
        path: String,
    },
    /// It is too long or too short.
    #[error("{algorithm} needs a key of {expected} bytes{salt}, and {found} were given")]
    Length {
        /// The algorithm.
        algorithm: String,
        /// What it needs.
        expected: usize,
        /// Says so where salt is among them.
        salt: &'static str,
        /// What was given.
        found: usize,
    },
}

impl Secret {
    /// These bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for an engine.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hexadecimal digits, with or without `0x`, with white space anywhere.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        // Room for all at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2 + 1));
        let mut high = None;
        for digit in text.chars().filter(|digit| !digit.is_whitespace()) {
            let value = digit.to_digit(16)? as u8;
            match high.take() {
                None => high = Some(value),
                Some(high) => bytes.push(high << 4 | value),
            }
        }
        (high.is_none() && !bytes.is_empty()).then_some(Self(bytes))
    }

    /// The key in a file that is nobody else's to read.
    ///
    /// # Errors
    /// The file is not there, is open to others, or holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let failed = |source| KeyError::Read { path: name(), source };
        // A pipe must not be waited for: it is refused below.
        let file = fs::OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > MOST_FILE_BYTES as u64 {
            return Err(KeyError::NotAFile { path: name() });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Permissions { path: name(), mode });
        }
        let me = fs::metadata("/proc/self").map_err(failed)?.uid();
        if metadata.uid() != 0 && metadata.uid() != me {
            return Err(KeyError::Owner { path: name(), owner: metadata.uid() });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_FILE_BYTES + 1));
        file.take(MOST_FILE_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotHex { path: name() })?;
        Self::from_hex(text).ok_or_else(|| KeyError::NotHex { path: name() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The keys of an SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of the cipher, without salt.
    pub cipher: Secret,
    /// Salt or nonce behind it.
    pub salt: Secret,
    /// Of the integrity; empty if there is none.
    pub integrity: Secret,
}

impl Keys {
    /// The keys of a suite: `encryption` with the salt at its end.
    ///
    /// # Errors
    /// One is too long or too short.
    pub fn new(suite: Suite, encryption: &Secret, integrity: &Secret) -> Result<Self, KeyError> {
        let expected = suite.key_bytes();
        let found = encryption.bytes().len();
        if found != expected {
            let salt =
                if suite.encryption.salt_bytes() == 0 { "" } else { " with 4 bytes of salt at its end" };
            return Err(KeyError::Length { algorithm: suite.encryption.to_string(), expected, salt, found });
        }
        let (expected, found) = (suite.integrity.map_or(0, |i| i.key_bytes()), integrity.bytes().len());
        if found != expected {
            let algorithm = suite.integrity.map_or_else(|| suite.encryption.to_string(), |i| i.to_string());
            let salt = if expected == 0 { " of its own for integrity" } else { "" };
            return Err(KeyError::Length { algorithm, expected, salt, found });
        }
        let at = suite.encryption.cipher_key_bytes();
        Ok(Self {
            cipher: Secret::new(encryption.bytes()[..at].to_vec()),
            salt: Secret::new(encryption.bytes()[at..].to_vec()),
            integrity: integrity.clone(),
        })
    }

    /// The four bytes of salt; zeros where there are none.
    pub fn salt4(&self) -> Zeroizing<[u8; 4]> {
        let mut salt = Zeroizing::new([0; 4]);
        if let Some(bytes) = self.salt.bytes().first_chunk() {
            *salt = *bytes;
        }
        salt
    }

    /// What stands for key and salt where it is noted that they were used: nobody can tell them from it.
    pub fn fingerprint(&self, encryption: Encryption) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"raddle ipsec counter of a key");
        let mut context = aws_lc_rs::hmac::Context::with_key(&key);
        context.update(encryption.to_string().as_bytes());
        context.update(&[0]);
        context.update(self.cipher.bytes());
        context.update(self.salt.bytes());
        let mut text = String::with_capacity(32);
        for byte in &context.sign().as_ref()[..16] {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // `Zeroizing` does so for each part; said here for whoever adds one.
        self.cipher.0.zeroize();
        self.salt.0.zeroize();
        self.integrity.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::algorithm::Integrity;

    #[test]
    fn digits_are_read_and_anything_else_refused() {
        assert_eq!(Secret::from_hex(" 0x00 fF\n10 ").unwrap().bytes(), [0, 255, 16]);
        for text in ["", "0x", "0", "123", "zz", "00-11"] {
            assert!(Secret::from_hex(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_are_never_printed() {
        let keys = Keys::new(
            Suite::new(Encryption::AesGcm128, None).unwrap(),
            &Secret::new(vec![0xab; 20]),
            &Secret::new(vec![]),
        )
        .unwrap();
        let text = format!("{keys:?}");
        assert!(!text.contains("171") && !text.contains("ab, ab"), "{text}");
        assert_eq!(keys.fingerprint(Encryption::AesGcm128).len(), 32);
    }

    #[test]
    fn lengths_are_those_of_the_algorithms() {
        for suite in Suite::all() {
            let cipher = Secret::new(vec![1; suite.key_bytes()]);
            let integrity = Secret::new(vec![2; suite.integrity.map_or(0, |i| i.key_bytes())]);
            let keys = Keys::new(suite, &cipher, &integrity).unwrap();
            assert_eq!(keys.salt.bytes().len(), suite.encryption.salt_bytes());
            let longer = Secret::new(vec![1; suite.key_bytes() + 1]);
            assert!(Keys::new(suite, &longer, &integrity).is_err());
        }
        let suite = Suite::new(Encryption::AesCbc128, Some(Integrity::HmacSha256)).unwrap();
        let error = Keys::new(suite, &Secret::new(vec![1; 16]), &Secret::new(vec![2; 20])).unwrap_err();
        assert_eq!(error.to_string(), "hmac-sha-256 needs a key of 32 bytes, and 20 were given");
        let suite = Suite::new(Encryption::AesGcm128, None).unwrap();
        let error = Keys::new(suite, &Secret::new(vec![1; 16]), &Secret::new(vec![])).unwrap_err();
        let said = "aes-gcm-128 needs a key of 20 bytes with 4 bytes of salt at its end, and 16 were given";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "00112233\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Secret::read(&path).unwrap_err().to_string();
        assert!(error.contains("is open to others (mode 0640)"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Secret::read(&path).unwrap().bytes(), [0, 0x11, 0x22, 0x33]);
        fs::write(&path, "not a key").unwrap();
        assert!(Secret::read(&path).unwrap_err().to_string().contains("hexadecimal"));
        assert!(Secret::read(folder.path()).is_err());
        assert!(Secret::read(&folder.path().join("none")).is_err());
    }
}
