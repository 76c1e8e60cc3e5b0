//! Signed plugins: Ed25519 (RFC 8032) over the bytes of the file, the signature in a file beside it.
//!
//! Keys and signatures are lines of text: a word that says what it is, and its bytes in hexadecimal.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::Refusal;

/// In front of a public key.
const PUBLIC: &str = "raddle-ed25519";
/// In front of a private key.
const PRIVATE: &str = "raddle-ed25519-private";
/// In front of a signature.
const SIGNATURE: &str = "raddle-ed25519-signature";
/// Most bytes of a signature's file.
const SIGNATURE_LIMIT: u64 = 4096;

/// Why a key is none, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Something else.
    #[error("`{text}` is no {what}: expected `{word}` and {bytes} bytes in hexadecimal")]
    NoKey {
        /// What is there.
        text: String,
        /// What it should be.
        what: &'static str,
        /// The word in front.
        word: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// The system does not let it be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(io::Error),
}

/// The keys that plugins must be signed with; without any, every plugin is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<VerifyingKey>,
}

impl Trust {
    /// Reads public keys, as [`PrivateKey::public`] writes them.
    ///
    /// # Errors
    /// One is none.
    pub fn of(keys: &[String]) -> Result<Self, KeyError> {
        let key = |text: &String| {
            let bytes = parse::<32>(text, "public key", PUBLIC)?;
            VerifyingKey::from_bytes(&bytes).map_err(|_| no_key(text, "public key", PUBLIC, 32))
        };
        Ok(Self { keys: keys.iter().map(key).collect::<Result<_, _>>()? })
    }

    /// Judges a file by the signature beside it.
    pub(super) fn judge(&self, path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let path = signature_path(path);
        let text = match read_signature(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refusal::NotSigned { path }),
            Err(_) => return Err(Refusal::BadSignature { path, reason: "cannot be read" }),
        };
        let Ok(signature) = parse::<64>(&text, "signature", SIGNATURE) else {
            return Err(Refusal::BadSignature { path, reason: "is no Ed25519 signature" });
        };
        let signature = Signature::from_bytes(&signature);
        if self.keys.iter().any(|key| key.verify_strict(bytes, &signature).is_ok()) {
            return Ok(());
        }
        let reason = "is of none of `plugins.trusted-keys`, or of another content of the file";
        Err(Refusal::BadSignature { path, reason })
    }
}

/// Where the signature of a file is: `NAME.sig` beside it.
pub fn signature_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

fn read_signature(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(SIGNATURE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// A key that signs plugins.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        use std::io::Read as _;
        let mut seed = [0; 32];
        let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
        random.map_err(KeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a key from its file.
    ///
    /// # Errors
    /// There is none in it.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(file)?;
        // The key itself is not put into a message.
        let bytes = parse::<32>(&text, "private key", PRIVATE)
            .map_err(|_| no_key(&path.display().to_string(), "file of a private key", PRIVATE, 32))?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// Writes the key into a new file that only its owner can read.
    ///
    /// # Errors
    /// The file is there, or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let text = format!("{PRIVATE} {}\n", hexadecimal(&self.0.to_bytes()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| KeyError::File { path: path.to_owned(), source })
    }

    /// The public key, as `plugins.trusted-keys` takes it.
    pub fn public(&self) -> String {
        format!("{PUBLIC} {}", hexadecimal(self.0.verifying_key().as_bytes()))
    }

    /// Signs a file; returns where the signature is.
    ///
    /// # Errors
    /// The file cannot be read, or the signature not be written.
    pub fn sign(&self, path: &Path) -> Result<PathBuf, KeyError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::File { path, source }
        };
        let bytes = std::fs::read(path).map_err(file(path))?;
        let signature = signature_path(path);
        let text = format!("{SIGNATURE} {}\n", hexadecimal(&self.0.sign(&bytes).to_bytes()));
        std::fs::write(&signature, text).map_err(file(&signature))?;
        Ok(signature)
    }
}

fn no_key(text: &str, what: &'static str, word: &'static str, bytes: usize) -> KeyError {
    KeyError::NoKey { text: text.trim().chars().take(100).collect(), what, word, bytes }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes behind `word`; what comes after them is a comment.
fn parse<const N: usize>(text: &str, what: &'static str, word: &'static str) -> Result<[u8; N], KeyError> {
    let wrong = || no_key(text, what, word, N);
    let mut words = text.split_whitespace();
    let digits = words.next().filter(|&first| first == word).and_then(|_| words.next()).ok_or_else(wrong)?;
    if digits.len() != 2 * N || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x.so");
        std::fs::write(&file, "content").expect("written");
        let (key, other) = (PrivateKey::generate().expect("a key"), PrivateKey::generate().expect("a key"));
        let trust = |key: &PrivateKey| Trust::of(&[key.public()]).expect("a public key");
        assert_eq!(Trust::default().judge(&file, b"content"), Ok(()));
        assert!(matches!(trust(&key).judge(&file, b"content"), Err(Refusal::NotSigned { .. })));
        key.sign(&file).expect("signed");
        assert_eq!(trust(&key).judge(&file, b"content"), Ok(()));
        let both = Trust::of(&[other.public(), key.public()]).expect("public keys");
        assert_eq!(both.judge(&file, b"content"), Ok(()));
        for (trust, content) in [(trust(&other), &b"content"[..]), (trust(&key), b"Content")] {
            let refusal = trust.judge(&file, content).expect_err("another key or content").to_string();
            assert!(refusal.contains("is of none of `plugins.trusted-keys`"), "{refusal}");
        }
        for text in ["", "raddle-ed25519-signature", "raddle-ed25519-signature 00", "\u{0}"] {
            std::fs::write(signature_path(&file), text).expect("written");
            let refusal = trust(&key).judge(&file, b"content").expect_err("no signature").to_string();
            assert!(refusal.contains("is no Ed25519 signature"), "{refusal}");
        }
    }

    #[test]
    fn keys_are_read_as_they_were_written_and_never_overwritten() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("my.key");
        let key = PrivateKey::generate().expect("a key");
        key.write(&path).expect("written");
        assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(PrivateKey::read(&path).expect("a key").public(), key.public());
        assert!(key.write(&path).is_err());
        assert!(PrivateKey::read(&directory.path().join("none")).is_err());
        for wrong in ["", "raddle-ed25519", "raddle-ed25519 zz", "00"] {
            let error = Trust::of(&[wrong.to_owned()]).expect_err("no key").to_string();
            assert!(error.contains("is no public key"), "{error}");
        }
    }
}
