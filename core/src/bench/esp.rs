//! Cases of the plugin `ipsec`: packets into a tunnel, and out of one.
//!
//! The frames that are decrypted were made by scapy, once and for all (`esp_frames/`): the same one comes again and again, so the SA looks
//! for no copies.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::cases::{
    ADDRESSES4, Case, IN_MAC, NEXT_HOP4, NEXT_MAC, Packets, SOURCE_MAC, interfaces, neighbor, stream,
};
use super::workload::Workload;

/// Stands in a configuration for a [`KeyDirectory`].
pub const KEYS: &str = "{KEYS}";
/// An algorithm's keys in the configuration, and bytes of both.
type Algorithm = (&'static str, &'static str, usize, usize);

const GCM128: Algorithm = ("aes-gcm-128", "", 20, 0);
const GCM256: Algorithm = ("aes-gcm-256", "", 36, 0);
const CHACHA: Algorithm = ("chacha20-poly1305", "", 36, 0);
const CBC_SHA1: Algorithm = ("aes-cbc-128", "hmac-sha-1", 16, 20);
const CBC_SHA256: Algorithm = ("aes-cbc-128", "hmac-sha-256", 16, 32);

/// A directory with the key files that the cases' configurations name, where the plugin keeps its notes too; removed when dropped.
pub struct KeyDirectory(PathBuf);

impl KeyDirectory {
    /// Makes it.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn create() -> std::io::Result<Self> {
        let made = Self(std::env::temp_dir().join(format!("raddle-bench-keys-{}", std::process::id())));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&made.0)?;
        for (_, _, cipher, integrity) in [GCM128, GCM256, CHACHA, CBC_SHA1, CBC_SHA256] {
            for (length, seed) in [(cipher, 1), (integrity, 2)] {
                made.write(length, seed)?;
            }
        }
        Ok(made)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, length: usize, seed: u8) -> std::io::Result<()> {
        let mut text = String::new();
        for n in 0..length {
            // Writing to a string does not fail.
            let _ = write!(text, "{:02x}", (n as u8).wrapping_mul(29).wrapping_add(seed));
        }
        let path = self.0.join(format!("{seed}-{length}"));
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
    }
}

impl Drop for KeyDirectory {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own sweep.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tunnel, its SA, and the routes into it and on.
fn configuration(workers: usize, stream: &str, direction: &str, algorithm: Algorithm) -> String {
    let (encryption, integrity, cipher_bytes, integrity_bytes) = algorithm;
    let (local, remote, to_tunnel) = match direction {
        "out" => ("10.0.1.1", NEXT_HOP4, "interface = \"tun\""),
        _ => ("10.0.0.1", "10.0.0.2", "via = \"10.0.1.2\""),
    };
    let more = match (direction, integrity) {
        (_, "") => String::new(),
        _ => format!("integrity = \"{integrity}\"\nintegrity-key-file = \"{KEYS}/2-{integrity_bytes}\"\n"),
    };
    // A tunnel is up while it has an SA that sends.
    let sending = format!(
        "[ipsec.sa.sends]\ndirection = \"out\"\nspi = 8193\ninterface = \"tun\"\nlocal = \"{local}\"\nremote = \"{remote}\"\n\
         encryption = \"null\"\nintegrity = \"hmac-sha-256\"\nintegrity-key-file = \"{KEYS}/2-32\"\n"
    );
    let window = if direction == "in" { format!("replay-window = 0\n{sending}") } else { String::new() };
    interfaces(workers, stream, ADDRESSES4)
        + &neighbor(NEXT_HOP4, NEXT_MAC)
        + &format!(
            r#"
[interface.tun]
driver = "ipsec"
addresses = ["10.6.0.1/30"]

[[route]]
prefix = "20.0.0.0/8"
{to_tunnel}

[ipsec.sa.case]
direction = "{direction}"
spi = 8192
interface = "tun"
local = "{local}"
remote = "{remote}"
encryption = "{encryption}"
key-file = "{KEYS}/1-{cipher_bytes}"
{more}{window}"#
        )
}

fn out(workers: usize, packets: &Packets<'_>, frame_bytes: usize, algorithm: Algorithm) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000");
    let stream = stream(packets, &packet).replace("size = 64", &format!("size = {frame_bytes}"));
    configuration(workers, &stream, "out", algorithm)
}

macro_rules! cases {
    ($($name:literal, $frame:literal, $budget:literal, $algorithm:ident $(, $file:literal)?;)*) => {
        /// All of them.
        pub fn cases() -> Vec<Case> {
            vec![$(cases!(@case $name, $frame, $budget, $algorithm $(, $file)?)),*]
        }
    };
    (@case $name:literal, $frame:literal, $budget:literal, $algorithm:ident) => {
        case($name, $frame, $budget, |workers, packets| out(workers, packets, $frame, $algorithm), None)
    };
    (@case $name:literal, $frame:literal, $budget:literal, $algorithm:ident, $file:literal) => {
        case(
            $name,
            $frame,
            $budget,
            |workers, packets| configuration(workers, &stream(packets, ""), "in", $algorithm),
            Some(|| Workload::of_frames(vec![include_bytes!($file).to_vec()])),
        )
    };
}

cases! {
    "esp-encrypt-gcm128-64", 64, 120.0, GCM128;
    "esp-encrypt-gcm128-1414", 1414, 400.0, GCM128;
    "esp-encrypt-gcm256-64", 64, 130.0, GCM256;
    "esp-encrypt-gcm256-1414", 1414, 500.0, GCM256;
    "esp-encrypt-chacha20-1414", 1414, 1500.0, CHACHA;
    "esp-encrypt-cbc128-sha1-64", 64, 250.0, CBC_SHA1;
    "esp-encrypt-cbc128-sha1-1414", 1414, 900.0, CBC_SHA1;
    "esp-encrypt-cbc128-sha256-64", 64, 350.0, CBC_SHA256;
    "esp-encrypt-cbc128-sha256-1414", 1414, 1500.0, CBC_SHA256;
    "esp-decrypt-gcm128-64", 64, 130.0, GCM128, "esp_frames/gcm128-64.bin";
    "esp-decrypt-gcm128-1414", 1414, 420.0, GCM128, "esp_frames/gcm128-1414.bin";
    "esp-decrypt-cbc128-sha1-64", 64, 250.0, CBC_SHA1, "esp_frames/cbc128-sha1-64.bin";
    "esp-decrypt-cbc128-sha1-1414", 1414, 900.0, CBC_SHA1, "esp_frames/cbc128-sha1-1414.bin";
    "esp-decrypt-cbc128-sha256-64", 64, 350.0, CBC_SHA256, "esp_frames/cbc128-sha256-64.bin";
    "esp-decrypt-cbc128-sha256-1414", 1414, 1500.0, CBC_SHA256, "esp_frames/cbc128-sha256-1414.bin";
}

fn case(
    name: &'static str,
    frame_bytes: usize,
    budget: f64,
    configuration: fn(usize, &Packets<'_>) -> String,
    workload: Option<fn() -> Workload>,
) -> Case {
    let case = Case { frame_bytes, ..Case::new(name, budget, configuration).of_plugin(&["ipsec"]) };
    match workload {
        Some(workload) => case.with(workload),
        None => case,
    }
}
