//! Two gateways that share keys, and packets for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use raddle_ipsec as _;
use raddle_ipsec::algorithm::Suite;
use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Harness, Run, Sample, packets};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const HERE4: &str = "192.0.2.1";
pub const THERE4: &str = "198.51.100.1";
pub const HERE6: &str = "2001:db8:f::1";
pub const THERE6: &str = "2001:db8:f::2";
pub const SHOW: &str = "show ipsec sa [<sa:word>]";
pub const ADD: &str = "ipsec sa add <name:word> direction <direction:word> spi <spi:u32> interface <interface:word> local <local:ip> remote <remote:ip> encryption <encryption:word> [integrity <integrity:word>] [key-file <key-file:path>] [integrity-key-file <integrity-key-file:path>] [transport] [esn] [replay-window <replay-window:u32>] [sequence <sequence:u64>] [udp-port <udp-port:u16>]";
pub const DELETE: &str = "ipsec sa delete <sa:word>";

/// A folder with keys, and with the state of gateways.
pub struct Keys(pub TempDir);

impl Keys {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A key file of so many bytes, told from others by `seed`.
    pub fn file(&self, name: &str, bytes: usize, seed: u8) -> String {
        let path = self.0.path().join(name);
        let text: String = (0..bytes).map(|n| format!("{:02x}", (n as u8).wrapping_mul(7) ^ seed)).collect();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// The keys of an SA, as lines of the configuration.
    pub fn of(&self, suite: Suite) -> String {
        let mut text = format!("encryption = '{}'\n", suite.encryption);
        if suite.key_bytes() > 0 {
            text += &format!("key-file = '{}'\n", self.file("cipher", suite.key_bytes(), 0xa5));
        }
        if let Some(integrity) = suite.integrity {
            let file = self.file("integrity", integrity.key_bytes(), 0x3c);
            text += &format!("integrity = '{integrity}'\nintegrity-key-file = '{file}'\n");
        }
        text
    }
}

/// The SA `sa` of the tunnel `east`, from the first gateway to the second.
pub fn section(direction: &str, ends: (&str, &str), more: &str) -> String {
    let (local, remote) = if direction == "out" { ends } else { (ends.1, ends.0) };
    format!(
        "[ipsec.sa.sa]\ndirection = '{direction}'\nspi = 4096\ninterface = 'east'\nlocal = '{local}'\nremote = '{remote}'\n{more}"
    )
}

pub fn try_gateway(config: &str, state: &Path) -> (Harness, Result<(), String>) {
    let mut host = Harness::builder()
        .config(config)
        .interface("wan", |wan| wan)
        .interface("east", |east| east.without_ethernet().driver("ipsec").tx_node("ipsec-tx"))
        .build();
    let state = state.display().to_string();
    host.mock("daemon.state-directory", move |_| Ok(json!(state)));
    let loaded = host.try_load().map_err(|failure| failure.to_string());
    if loaded.is_ok() {
        host.nodes(&["ipsec-tx", "ipsec-decrypt"]);
    }
    (host, loaded)
}

pub fn gateway(config: &str, state: &Path) -> Harness {
    let (host, loaded) = try_gateway(config, state);
    loaded.unwrap();
    host
}

/// Two gateways, and the keys that they share.
pub struct Pair {
    pub sender: Harness,
    pub receiver: Harness,
    pub keys: Keys,
}

impl Pair {
    pub fn new(suite: Suite, ends: (&str, &str), of_sender: &str, of_receiver: &str) -> Self {
        let keys = Keys::new();
        let text = keys.of(suite);
        let sender = section("out", ends, &(text.clone() + of_sender));
        let receiver = section("in", ends, &(text + of_receiver));
        Self {
            sender: gateway(&sender, &keys.0.path().join("a")),
            receiver: gateway(&receiver, &keys.0.path().join("b")),
            keys,
        }
    }

    pub fn gcm() -> Self {
        Self::new(gcm(), (HERE4, THERE4), "", "")
    }

    /// What the sender makes of packets.
    pub fn seal(&mut self, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Vec<Vec<u8>> {
        let east = self.sender.interface("east");
        let run =
            self.sender.run_named("ipsec-tx", packets.into_iter().map(|p| p.into().with_tx_interface(east)));
        assert!(run.drops().is_empty(), "{}", run.summary());
        run.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect()
    }

    pub fn open(&mut self, packets: impl IntoIterator<Item = impl Into<Sample>>) -> Run {
        let wan = self.receiver.interface("wan");
        self.receiver.run_arc("ip-local", wan, packets)
    }

    /// What comes out at the other side.
    pub fn pass(&mut self, packet: impl Into<Sample>) -> Vec<u8> {
        let sealed = self.seal([packet]);
        let run = self.open(sealed.iter().map(|bytes| &bytes[..]));
        let sent = run.one();
        assert_eq!(sent.packet.rx_interface(), self.receiver.interface("east"));
        let family = if sent.packet.bytes()[0] >> 4 == 4 { "ip4-input" } else { "ip6-input" };
        assert_eq!(sent.node, family);
        sent.packet.bytes().to_vec()
    }
}

pub fn gcm() -> Suite {
    Suite::new(raddle_ipsec::algorithm::Encryption::AesGcm128, None).unwrap()
}

pub fn show(host: &mut Harness, sa: &str) -> Value {
    host.command(SHOW, json!({ "sa": sa })).unwrap().json[0].clone()
}

pub fn udp4() -> IpPacket {
    packets::udp("10.1.0.1:4000", "10.2.0.1:53")
}

pub fn udp6() -> IpPacket {
    packets::udp("[2001:db8:1::1]:4000", "[2001:db8:2::1]:53")
}

/// Why a gateway with this configuration does not come up.
pub fn refused(config: &str) -> String {
    let keys = Keys::new();
    let (_, loaded) =
        try_gateway(&config.replace("KEYS", &keys.0.path().display().to_string()), keys.0.path());
    loaded.unwrap_err()
}
