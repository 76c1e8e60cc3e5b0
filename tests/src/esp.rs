//! IPsec with independent peers: algorithms as raddle, scapy and tshark call them, SAs and tunnels as both ends are told.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Daemon, DaemonConfig, Host, Judge, Need, Topology, target_dir};

/// What the tests need.
pub const NEEDS: &[Need] = &[
    Need::Ping,
    Need::Python,
    Need::Scapy,
    Need::Cryptography,
    Need::Tshark,
    Need::Iperf,
    Need::Raddle,
    Need::Ipsec,
];

/// An algorithm as raddle, scapy and tshark call it, with the bytes of its keys.
pub struct Algorithm {
    /// The cipher, in raddle's configuration.
    pub encryption: &'static str,
    /// The hash, in raddle's configuration; empty: the cipher authenticates.
    pub integrity: &'static str,
    /// Both, to scapy.
    pub scapy: (&'static str, &'static str),
    /// Both, to tshark; empty: it does not know them.
    pub tshark: (&'static str, &'static str),
    /// Bytes of their keys, with the salt.
    pub key_bytes: (usize, usize),
}

const fn algorithm(
    encryption: &'static str,
    integrity: &'static str,
    scapy: (&'static str, &'static str),
    tshark: (&'static str, &'static str),
    key_bytes: (usize, usize),
) -> Algorithm {
    Algorithm { encryption, integrity, scapy, tshark, key_bytes }
}

const GCM: (&str, &str) = ("AES-GCM with 16 octet ICV [RFC4106]", "NULL");
const SHA1: &str = "HMAC-SHA-1-96 [RFC2404]";
const SHA256: &str = "HMAC-SHA-256-128 [RFC4868]";

/// All that raddle has.
pub const ALGORITHMS: [Algorithm; 12] = [
    algorithm("aes-gcm-128", "", ("AES-GCM", ""), GCM, (20, 0)),
    algorithm("aes-gcm-192", "", ("AES-GCM", ""), GCM, (28, 0)),
    algorithm("aes-gcm-256", "", ("AES-GCM", ""), GCM, (36, 0)),
    algorithm("chacha20-poly1305", "", ("CHACHA20-POLY1305", ""), ("", ""), (36, 0)),
    algorithm(
        "aes-cbc-128",
        "hmac-sha-1",
        ("AES-CBC", "HMAC-SHA1-96"),
        ("AES-CBC [RFC3602]", SHA1),
        (16, 20),
    ),
    algorithm(
        "aes-cbc-192",
        "hmac-sha-256",
        ("AES-CBC", "SHA2-256-128"),
        ("AES-CBC [RFC3602]", SHA256),
        (24, 32),
    ),
    algorithm(
        "aes-cbc-256",
        "hmac-sha-384",
        ("AES-CBC", "SHA2-384-192"),
        ("AES-CBC [RFC3602]", "HMAC-SHA-384-192 [RFC4868]"),
        (32, 48),
    ),
    algorithm(
        "aes-cbc-256",
        "hmac-sha-512",
        ("AES-CBC", "SHA2-512-256"),
        ("AES-CBC [RFC3602]", "HMAC-SHA-512-256 [RFC4868]"),
        (32, 64),
    ),
    algorithm(
        "aes-ctr-128",
        "hmac-sha-256",
        ("AES-CTR", "SHA2-256-128"),
        ("AES-CTR [RFC3686]", SHA256),
        (20, 32),
    ),
    algorithm(
        "aes-ctr-192",
        "hmac-sha-1",
        ("AES-CTR", "HMAC-SHA1-96"),
        ("AES-CTR [RFC3686]", SHA1),
        (28, 20),
    ),
    algorithm(
        "aes-ctr-256",
        "hmac-sha-256",
        ("AES-CTR", "SHA2-256-128"),
        ("AES-CTR [RFC3686]", SHA256),
        (36, 32),
    ),
    algorithm("null", "hmac-sha-256", ("NULL", "SHA2-256-128"), ("NULL", SHA256), (0, 32)),
];

/// A key of so many bytes in hexadecimal digits, told from others by `seed`.
#[must_use]
pub fn key(bytes: usize, seed: u8) -> String {
    (0..bytes).map(|n| format!("{:02x}", (n as u8).wrapping_mul(29).wrapping_add(seed))).collect()
}

/// Writes a key file that only root can read, and gives its path as the configuration wants it.
///
/// # Errors
/// It cannot be written.
pub fn key_file(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path.display().to_string())
}

/// An SA in the configuration.
pub struct Sa<'a> {
    /// Its name.
    pub name: String,
    /// `in` or `out`.
    pub direction: &'a str,
    /// Its SPI.
    pub spi: u32,
    /// Its tunnel's interface.
    pub interface: &'a str,
    /// Raddle's outer address and the peer's.
    pub ends: (IpAddr, IpAddr),
    /// What [`keys`] gives.
    pub keys: String,
    /// Further lines.
    pub more: &'a str,
}

impl Sa<'_> {
    /// Its section of the configuration.
    #[must_use]
    pub fn section(&self) -> String {
        let Sa { name, direction, spi, interface, ends: (local, remote), keys, more } = self;
        format!(
            "[ipsec.sa.{name}]\ndirection = \"{direction}\"\nspi = {spi}\ninterface = \"{interface}\"\n\
             local = \"{local}\"\nremote = \"{remote}\"\n{keys}{more}\n"
        )
    }
}

/// The lines of an SA with this algorithm, whose keys are told from others by `seed`.
///
/// # Errors
/// A file cannot be written.
pub fn keys(folder: &Path, algorithm: &Algorithm, seed: u8) -> Result<String> {
    let Algorithm { encryption, integrity, key_bytes, .. } = algorithm;
    let mut text = format!("encryption = \"{encryption}\"\n");
    if key_bytes.0 > 0 {
        let file = key_file(folder, &format!("cipher-{seed}"), &key(key_bytes.0, seed))?;
        text += &format!("key-file = \"{file}\"\n");
    }
    if key_bytes.1 > 0 {
        let file = key_file(folder, &format!("integrity-{seed}"), &key(key_bytes.1, seed ^ 0x55))?;
        text += &format!("integrity = \"{integrity}\"\nintegrity-key-file = \"{file}\"\n");
    }
    Ok(text)
}

/// The keys as scapy and tshark want them.
#[must_use]
pub fn peer(algorithm: &Algorithm, seed: u8) -> Value {
    json!({
        "crypt": algorithm.scapy.0, "auth": algorithm.scapy.1,
        "crypt_key": key(algorithm.key_bytes.0, seed), "auth_key": key(algorithm.key_bytes.1, seed ^ 0x55),
    })
}

/// Packets that the plugin has dropped for this reason.
///
/// # Errors
/// As [`Daemon::ctl_json`].
pub fn errors_of(daemon: &Daemon<'_>, reason: &str) -> Result<u64> {
    let shown = daemon.ctl_json("show errors")?;
    let rows = shown.as_array().cloned().unwrap_or_default();
    let of = |row: &Value| row["count"].as_u64().unwrap_or(0);
    let is_ours = |row: &&Value| row["node"].as_str().is_some_and(|node| node.starts_with("ipsec"));
    let is_it = |row: &&Value| row["reason"] == reason || row["error"] == reason;
    Ok(rows.iter().filter(is_ours).filter(is_it).map(of).sum())
}

/// Functions of the judges: a peer's SA, and what is asked of both ends.
pub const PEER: &str = "
    from copy import copy
    from scapy.layers.ipsec import ESP, SecurityAssociation
    ether = Ether(src=mac(), dst=args['router'])

    def association(spi, keys, source, target, udp=None, esn=False):
        header = (IPv6 if ':' in source else IP)(src=source, dst=target)
        nat = udp and UDP(sport=udp[0], dport=udp[1])
        sa = SecurityAssociation(ESP, spi=spi, crypt_algo=keys['crypt'], crypt_key=bytes.fromhex(keys['crypt_key']),
            auth_algo=keys['auth'] or None, auth_key=bytes.fromhex(keys['auth_key']) or None, tunnel_header=header,
            nat_t_header=nat, esn_en=esn, esn=0)
        if esn and sa.auth_algo.mac:
            # With ESP scapy leaves the number's high half out of what is authenticated (RFC 4303 section 2.2.1).
            sa.auth_algo = copy(sa.auth_algo)
            plain = sa.auth_algo.new_mac
            sa.auth_algo.new_mac = lambda key: Extended(plain(key))
        return sa

    class Extended:
        def __init__(self, mac):
            self.mac = mac

        def update(self, data):
            self.mac.update(data)

        def finalize(self):
            self.mac.update(bytes(4))
            return self.mac.finalize()

    def is_esp(spi):
        return lambda p: (ESP in p and p[ESP].spi == spi) or (UDP in p and p[UDP].dport in (4500, 5500)
            and bytes(p[UDP].payload)[:4] == spi.to_bytes(4, 'big'))
    result = True
";

/// A judge on a host that knows the functions of [`PEER`].
///
/// # Errors
/// As [`Judge::start`].
pub fn judge(host: &Host, topology: &Topology) -> Result<Judge> {
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(PEER, json!({ "router": host.router_mac(&topology.router)? }))?;
    Ok(judge)
}

/// A routed topology with these sections. What is punted is limited to next to nothing: ESP is not.
#[must_use]
pub fn config(topology: &Topology, workers: u32, section: &str) -> DaemonConfig {
    const LIMITS: &str = "[punt.protocol]\nrate = 1\nburst = 1\n[punt.udp]\nrate = 1\nburst = 1\n";
    let config = DaemonConfig::routed(topology).plugins(&target_dir().join("plugins"));
    config.workers(workers).with(section).with(LIMITS)
}

/// A tunnel between raddle and a judge.
pub struct Tunnel<'a> {
    /// Told from other tunnels by this: interface, addresses, SPIs and keys.
    pub number: usize,
    /// Of both directions.
    pub algorithm: &'a Algorithm,
    /// Raddle's outer address and the peer's.
    pub ends: (IpAddr, IpAddr),
    /// With extended sequence numbers.
    pub esn: bool,
    /// In UDP.
    pub udp: bool,
}

impl Tunnel<'_> {
    /// Its sections of the configuration; key files are put into the folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn section(&self, folder: &Path) -> Result<String> {
        let Tunnel { number, algorithm, ends, esn, udp } = self;
        let interface = format!("tun{number}");
        let mut more = if *esn { "esn = true\n".to_owned() } else { String::new() };
        if *udp {
            more += "udp-encapsulation = { local-port = 4500, remote-port = 5500 }\n";
        }
        // Nothing but what the tests send is to go through it.
        let mut text = format!(
            "[interface.{interface}]\ndriver = \"ipsec\"\n\
             addresses = [\"10.9.{number}.1/24\", \"2001:db8:9:{number}::1/64\"]\nneighbor.dad = false\n\
             igmp = false\nmld = false\n"
        );
        for (direction, seed) in [("out", 2 * number), ("in", 2 * number + 1)] {
            let sa = Sa {
                name: format!("{direction}{number}"),
                direction,
                spi: 0x1000 + seed as u32,
                interface: &interface,
                ends: *ends,
                keys: keys(folder, algorithm, seed as u8)?,
                more: &more,
            };
            text += &sa.section();
        }
        Ok(text)
    }

    /// What the peer's judge is told of it.
    #[must_use]
    pub fn peer(&self) -> Value {
        let seed = 2 * self.number;
        json!({
            "out": peer(self.algorithm, seed as u8), "in": peer(self.algorithm, seed as u8 + 1),
            "spi": 0x1000 + seed, "router": self.ends.0, "bob": self.ends.1,
            "udp": self.udp.then_some([5500, 4500]), "esn": self.esn, "number": self.number,
        })
    }
}

/// A tunnel to bob for each algorithm in each family of outer headers.
#[must_use]
pub fn tunnels(topology: &Topology) -> Vec<Tunnel<'static>> {
    let bob = &topology.host("bob").spec;
    let four: (IpAddr, IpAddr) = (bob.gateway4.into(), bob.ipv4.into());
    let six: (IpAddr, IpAddr) = (bob.gateway6.into(), bob.ipv6.into());
    let mut tunnels = Vec::new();
    for (place, algorithm) in ALGORITHMS.iter().enumerate() {
        tunnels.push(Tunnel { number: place, algorithm, ends: four, esn: false, udp: place % 5 == 0 });
        let number = ALGORITHMS.len() + place;
        tunnels.push(Tunnel { number, algorithm, ends: six, esn: true, udp: false });
    }
    tunnels
}

/// A folder with the keys of one tunnel with AES-GCM to bob, and its section, with further lines of its interface.
///
/// # Errors
/// A file cannot be written.
pub fn one_tunnel(topology: &Topology, more: &str) -> Result<(TempDir, String)> {
    let bob = &topology.host("bob").spec;
    let folder = crate::scratch::directory()?;
    let ends = (bob.gateway4.into(), bob.ipv4.into());
    let tunnel = Tunnel { number: 0, algorithm: &ALGORITHMS[0], ends, esn: false, udp: false };
    let section = tunnel
        .section(folder.path())?
        .replace("driver = \"ipsec\"\n", &format!("driver = \"ipsec\"\n{more}"));
    Ok((folder, section))
}
