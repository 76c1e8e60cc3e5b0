//! The section `[ipsec]` of the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::{Failure, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::algorithm::{Encryption, Integrity, Suite};
use crate::policies::PoliciesConfig;
use crate::replay::{LEAST_WINDOW, MOST_WINDOW};
use crate::sa::{Description, DontFragment, Dscp, Lifetime, Mode, UdpPorts};

/// The port of IKE and ESP behind address translators (RFC 3948 §2.1).
pub const NAT_PORT: u16 = 4500;

/// The section `[ipsec]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IpsecConfig {
    /// The crypto engine for SAs whose algorithms it knows: `auto` (the best that the processor can do), or one of those that
    /// `show ipsec engines` lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Security associations by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sa: BTreeMap<String, SaConfig>,
    /// Policies by selectors, in place of routes into tunnels.
    #[serde(skip_serializing_if = "is_default")]
    pub policies: PoliciesConfig,
}

/// Which way an SA's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It sends.
    Out,
    /// It receives.
    In,
}

/// A security association, `[ipsec.sa.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SaConfig {
    /// Whether it sends or receives.
    pub direction: Direction,
    /// Its number in packets, 256 or more; of SAs that receive no two have the same.
    pub spi: InRange<256, 4_294_967_295>,
    /// The tunnel (an interface with the driver `ipsec`) that sends by it or receives by it. Of several that send, the last one added is
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The own end: the source of what is sent, the destination of what comes.
    pub local: IpAddr,
    /// The peer.
    pub remote: IpAddr,
    /// `tunnel`: whole packets are wrapped in new ones. `transport`: what is behind the IP header is wrapped, of packets between `local` and
    /// `remote` themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// How payloads are encrypted.
    pub encryption: Encryption,
    /// How packets are authenticated, for encryptions that do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// File with the encryption's key in hexadecimal digits, with the four bytes of salt (or nonce) at its end where the algorithm has
    /// some. Nobody but its owner may have access to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// File with the integrity's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity_key_file: Option<PathBuf>,
    /// Whether sequence numbers have 64 bits, of which 32 are sent (RFC 4304).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub esn: bool,
    /// Puts ESP into UDP with this source and destination port, by which it passes address translators (RFC 3948).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_encapsulation: Option<UdpConfig>,
    /// Packets by which one may be late and still be told from a copy, of SAs that receive; 0: copies are not told. By default 1,024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window: Option<InRange<0, { MOST_WINDOW as u64 }>>,
    /// Sequence number of the first packet, of SAs that send. Without it, they go on where their key was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<InRange<1, { u64::MAX / 2 }>>,
    /// Lets `sequence` be lower than what the key was used with before. That gives away plaintext, and with AES-GCM and ChaCha20-Poly1305
    /// the key of the authentication: only for keys that encrypted nothing that matters.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_key_reuse: bool,
    /// DSCP of outer headers, of SAs that send; without it, that of the inner ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<InRange<0, 63>>,
    /// Whether congestion that routers on the way mark is told to the inner packets' ends (RFC 6040).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub ecn: bool,
    /// The "don't fragment" bit of outer IPv4 headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dont_fragment: DontFragment,
    /// Pads payloads to so many bytes at least, so that their lengths do not give away what they are (RFC 4303 §2.7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_to: Option<InRange<0, 9000>>,
    /// Bounds of its life.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lifetime: Lifetime,
}

/// The ports of UDP encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UdpConfig {
    /// The own port; by default 4,500.
    pub local_port: u16,
    /// The peer's; by default 4,500.
    pub remote_port: u16,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self { local_port: NAT_PORT, remote_port: NAT_PORT }
    }
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl SaConfig {
    /// What the SA of this name is.
    ///
    /// # Errors
    /// What was said does not go together.
    pub fn description(&self, name: &str) -> Result<Description, Failure> {
        let suite = Suite::new(self.encryption, self.integrity)
            .map_err(|error| raddle_plugin_api::failure!("SA `{name}`: {error}"))?;
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            bail!("SA `{name}`: {} and {} are not of one family", self.local, self.remote);
        }
        for address in [self.local, self.remote] {
            if address.is_unspecified() || address.is_multicast() {
                bail!("SA `{name}`: {address} is no host's address");
            }
        }
        if self.interface.is_none() {
            bail!("SA `{name}` has no `interface`, and so nothing goes by it: name a tunnel");
        }
        if self.udp_encapsulation.is_some() && self.local.is_ipv6() {
            bail!("SA `{name}`: UDP encapsulation is for IPv4 (RFC 3948): leave `udp-encapsulation` out");
        }
        if self.mode == Mode::Transport {
            // RFC 3948 §3.1.2, RFC 4303 §2.7.
            for (key, is_given) in
                [("udp-encapsulation", self.udp_encapsulation.is_some()), ("pad-to", self.pad_to.is_some())]
            {
                if is_given {
                    bail!("SA `{name}`: `{key}` is for tunnel mode: leave it out, or `mode = \"transport\"`");
                }
            }
        }
        self.check_direction(name)?;
        Ok(Description {
            name: name.to_owned(),
            spi: self.spi.get() as u32,
            suite,
            mode: self.mode,
            local: self.local,
            remote: self.remote,
            udp: self
                .udp_encapsulation
                .map(|ports| UdpPorts { local: ports.local_port, remote: ports.remote_port }),
            esn: self.esn,
        })
    }

    fn check_direction(&self, name: &str) -> Result<(), Failure> {
        let (sends, other) = match self.direction {
            Direction::Out => (true, "one that receives"),
            Direction::In => (false, "one that sends"),
        };
        let given = [
            ("replay-window", self.replay_window.is_some(), false),
            ("sequence", self.sequence.is_some(), true),
            ("allow-key-reuse", self.allow_key_reuse, true),
            ("dscp", self.dscp.is_some(), true),
            ("dont-fragment", self.dont_fragment != DontFragment::Copy, true),
            ("pad-to", self.pad_to.is_some(), true),
        ];
        for (key, is_given, of_sending) in given {
            if is_given && of_sending != sends {
                bail!("SA `{name}`: `{key}` is for {other}: leave it out");
            }
        }
        let least = u64::from(LEAST_WINDOW);
        if let Some(window) = self.replay_window.filter(|window| (1..least).contains(&window.get())) {
            bail!(
                "SA `{name}`: a replay window of {} packets is too small: {least} or more, or 0",
                window.get()
            );
        }
        if self.esn && self.replay_window.is_some_and(|window| window.get() == 0) {
            bail!("SA `{name}`: `esn` needs a replay window, which tells the upper half of sequence numbers");
        }
        Ok(())
    }

    /// The outer header's DSCP.
    pub fn outer_dscp(&self) -> Dscp {
        self.dscp.map_or(Dscp::Copy, |value| Dscp::Value(value.get() as u8))
    }
}
