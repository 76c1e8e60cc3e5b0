//! The algorithms of ESP: their names, and the sizes of what they need (RFC 8221 and the RFCs that it names).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How payloads are encrypted, or encrypted and authenticated in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// AES-GCM with a tag of 16 bytes, 128 bits (RFC 4106).
    #[serde(rename = "aes-gcm-128")]
    AesGcm128,
    /// AES-GCM, 192 bits (RFC 4106).
    #[serde(rename = "aes-gcm-192")]
    AesGcm192,
    /// AES-GCM, 256 bits (RFC 4106).
    #[serde(rename = "aes-gcm-256")]
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    /// AES-GMAC, which encrypts nothing, 128 bits (RFC 4543).
    #[serde(rename = "aes-gmac-128")]
    AesGmac128,
    /// AES-GMAC, 192 bits (RFC 4543).
    #[serde(rename = "aes-gmac-192")]
    AesGmac192,
    /// AES-GMAC, 256 bits (RFC 4543).
    #[serde(rename = "aes-gmac-256")]
    AesGmac256,
    /// AES-CBC, 128 bits (RFC 3602).
    #[serde(rename = "aes-cbc-128")]
    AesCbc128,
    /// AES-CBC, 192 bits (RFC 3602).
    #[serde(rename = "aes-cbc-192")]
    AesCbc192,
    /// AES-CBC, 256 bits (RFC 3602).
    #[serde(rename = "aes-cbc-256")]
    AesCbc256,
    /// AES-CTR, 128 bits (RFC 3686).
    #[serde(rename = "aes-ctr-128")]
    AesCtr128,
    /// AES-CTR, 192 bits (RFC 3686).
    #[serde(rename = "aes-ctr-192")]
    AesCtr192,
    /// AES-CTR, 256 bits (RFC 3686).
    #[serde(rename = "aes-ctr-256")]
    AesCtr256,
    /// Nothing is encrypted (RFC 2410).
    Null,
}

/// How packets are authenticated where the encryption does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// HMAC-SHA-1 cut to 96 bits (RFC 2404).
    #[serde(rename = "hmac-sha-1")]
    HmacSha1,
    /// HMAC-SHA-256 cut to 128 bits (RFC 4868).
    #[serde(rename = "hmac-sha-256")]
    HmacSha256,
    /// HMAC-SHA-384 cut to 192 bits (RFC 4868).
    #[serde(rename = "hmac-sha-384")]
    HmacSha384,
    /// HMAC-SHA-512 cut to 256 bits (RFC 4868).
    #[serde(rename = "hmac-sha-512")]
    HmacSha512,
}

/// What kind of transform an encryption is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Encrypts and authenticates.
    Aead,
    /// Authenticates alone, as an AEAD without plaintext.
    Gmac,
    /// A block cipher with an unpredictable IV.
    Cbc,
    /// A stream from a counter.
    Ctr,
    /// Nothing.
    Null,
}

impl Encryption {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AesGcm128,
        Self::AesGcm192,
        Self::AesGcm256,
        Self::ChaCha20Poly1305,
        Self::AesGmac128,
        Self::AesGmac192,
        Self::AesGmac256,
        Self::AesCbc128,
        Self::AesCbc192,
        Self::AesCbc256,
        Self::AesCtr128,
        Self::AesCtr192,
        Self::AesCtr256,
        Self::Null,
    ];

    /// What kind of transform it is.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        match self {
            Self::AesGcm128 | Self::AesGcm192 | Self::AesGcm256 | Self::ChaCha20Poly1305 => Kind::Aead,
            Self::AesGmac128 | Self::AesGmac192 | Self::AesGmac256 => Kind::Gmac,
            Self::AesCbc128 | Self::AesCbc192 | Self::AesCbc256 => Kind::Cbc,
            Self::AesCtr128 | Self::AesCtr192 | Self::AesCtr256 => Kind::Ctr,
            Self::Null => Kind::Null,
        }
    }

    /// Bytes of the cipher's key, without salt.
    pub const fn cipher_key_bytes(self) -> usize {
        match self {
            Self::AesGcm128 | Self::AesGmac128 | Self::AesCbc128 | Self::AesCtr128 => 16,
            Self::AesGcm192 | Self::AesGmac192 | Self::AesCbc192 | Self::AesCtr192 => 24,
            Self::AesGcm256
            | Self::AesGmac256
            | Self::AesCbc256
            | Self::AesCtr256
            | Self::ChaCha20Poly1305 => 32,
            Self::Null => 0,
        }
    }

    /// Bytes of salt (RFC 4106 §4, RFC 7634 §2) or nonce (RFC 3686 §4) behind the key.
    pub const fn salt_bytes(self) -> usize {
        match self.kind() {
            Kind::Aead | Kind::Gmac | Kind::Ctr => 4,
            Kind::Cbc | Kind::Null => 0,
        }
    }

    /// Bytes of the IV in each packet.
    #[inline(always)]
    pub const fn iv_bytes(self) -> usize {
        match self.kind() {
            Kind::Aead | Kind::Gmac | Kind::Ctr => 8,
            Kind::Cbc => 16,
            Kind::Null => 0,
        }
    }

    /// The payload with its trailer is a multiple of so many bytes (RFC 4303 §2.4).
    #[inline(always)]
    pub const fn block_bytes(self) -> usize {
        match self.kind() {
            Kind::Cbc => 16,
            _ => 4,
        }
    }

    /// Whether it authenticates by itself.
    #[inline(always)]
    pub const fn authenticates(self) -> bool {
        matches!(self.kind(), Kind::Aead | Kind::Gmac)
    }

    /// Whether the IV is a counter, so that the same key must never meet the same one again.
    #[inline(always)]
    pub const fn counts_iv(self) -> bool {
        matches!(self.kind(), Kind::Aead | Kind::Gmac | Kind::Ctr)
    }
}

impl Integrity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HmacSha1, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// Bytes of its key (RFC 2404 §3, RFC 4868 §2.6).
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Bytes of the ICV in each packet.
    #[inline(always)]
    pub const fn icv_bytes(self) -> usize {
        match self {
            Self::HmacSha1 => 12,
            Self::HmacSha256 => 16,
            Self::HmacSha384 => 24,
            Self::HmacSha512 => 32,
        }
    }
}

/// Bytes of the tag of all AEADs here (RFC 8221 §4).
pub const TAG_BYTES: usize = 16;

/// What an SA transforms its packets by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Suite {
    /// The encryption.
    pub encryption: Encryption,
    /// The integrity, for encryptions that do not authenticate.
    pub integrity: Option<Integrity>,
}

/// Why algorithms do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// Both authenticate.
    #[error("{0} authenticates by itself: leave `integrity` out")]
    TwoIntegrities(Encryption),
    /// Neither does.
    #[error("{0} does not authenticate: name an `integrity`, such as hmac-sha-256 (RFC 8221 section 5)")]
    NoIntegrity(Encryption),
}

impl Suite {
    /// Checks that the two go together.
    ///
    /// # Errors
    /// Packets would be authenticated twice, or not at all.
    pub const fn new(encryption: Encryption, integrity: Option<Integrity>) -> Result<Self, SuiteError> {
        match (encryption.authenticates(), integrity) {
            (true, Some(_)) => Err(SuiteError::TwoIntegrities(encryption)),
            (false, None) => Err(SuiteError::NoIntegrity(encryption)),
            _ => Ok(Self { encryption, integrity }),
        }
    }

    /// Every suite that there is.
    pub fn all() -> impl Iterator<Item = Self> {
        Encryption::ALL.into_iter().flat_map(|encryption| {
            let integrities = Integrity::ALL.into_iter().map(Some).chain([None]);
            integrities.filter_map(move |integrity| Self::new(encryption, integrity).ok())
        })
    }

    /// Bytes of the ICV in each packet.
    #[inline(always)]
    pub const fn icv_bytes(self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.icv_bytes(),
            None => TAG_BYTES,
        }
    }

    /// Bytes of the encryption's key with its salt.
    pub const fn key_bytes(self) -> usize {
        self.encryption.cipher_key_bytes() + self.encryption.salt_bytes()
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AesGcm128 => "aes-gcm-128",
            Self::AesGcm192 => "aes-gcm-192",
            Self::AesGcm256 => "aes-gcm-256",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::AesGmac128 => "aes-gmac-128",
            Self::AesGmac192 => "aes-gmac-192",
            Self::AesGmac256 => "aes-gmac-256",
            Self::AesCbc128 => "aes-cbc-128",
            Self::AesCbc192 => "aes-cbc-192",
            Self::AesCbc256 => "aes-cbc-256",
            Self::AesCtr128 => "aes-ctr-128",
            Self::AesCtr192 => "aes-ctr-192",
            Self::AesCtr256 => "aes-ctr-256",
            Self::Null => "null",
        })
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HmacSha1 => "hmac-sha-1",
            Self::HmacSha256 => "hmac-sha-256",
            Self::HmacSha384 => "hmac-sha-384",
            Self::HmacSha512 => "hmac-sha-512",
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integrity {
            Some(integrity) => write!(f, "{} with {integrity}", self.encryption),
            None => self.encryption.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration() {
        for encryption in Encryption::ALL {
            assert_eq!(serde_json::to_value(encryption).unwrap(), encryption.to_string());
        }
        for integrity in Integrity::ALL {
            assert_eq!(serde_json::to_value(integrity).unwrap(), integrity.to_string());
        }
    }

    // RFC 8221 §4 and §5: no packet goes without authentication, and none has two.
    #[test]
    fn every_suite_authenticates_once() {
        assert_eq!(Suite::all().count(), 7 + 7 * 4);
        let both = Suite::new(Encryption::AesGcm128, Some(Integrity::HmacSha1)).unwrap_err();
        assert_eq!(both.to_string(), "aes-gcm-128 authenticates by itself: leave `integrity` out");
        assert!(Suite::new(Encryption::AesCbc128, None).is_err());
        assert!(Suite::new(Encryption::Null, None).is_err());
    }
}
