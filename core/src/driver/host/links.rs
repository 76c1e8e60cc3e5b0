//! The host's links over rtnetlink: finding one, setting it up, giving it an address.

use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{Message, Request, attributes, messages, u16_at, u32_at};
use super::{Namespace, NamespaceError};

/// Room for one answer; the kernel splits a list to 32 KiB pieces.
const ANSWER_BYTES: usize = 64 * 1024;
/// Answers come before `send` returns; this only bounds a kernel that does otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest link name, in bytes (`IFNAMSIZ` with its zero).
const NAME_BYTES: usize = 15;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_MAX_MTU: u16 = 51;
/// Leave the statistics out of the answer.
const SKIP_STATISTICS: u32 = 1 << 3;

const IFF_UP: u32 = 1 << 0;
const IFF_RUNNING: u32 = 1 << 6;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;

/// Why the host did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It has no rtnetlink socket for us.
    #[error("cannot talk to the host over rtnetlink: {0}")]
    Socket(#[source] Errno),
    /// It answered something that is no answer.
    #[error("the host's rtnetlink gave no answer when asked to {what}")]
    NoAnswer {
        /// What was asked for.
        what: String,
    },
    /// It refused.
    #[error("cannot {what}: {}", reason(*.source))]
    Refused {
        /// What was asked for.
        what: String,
        /// What it said.
        source: Errno,
    },
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

fn reason(error: Errno) -> String {
    match error {
        Errno::PERM | Errno::ACCESS => "no permission, CAP_NET_ADMIN is needed".to_owned(),
        Errno::NODEV => "there is no such device".to_owned(),
        other => other.to_string(),
    }
}

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, which a link that is made anew does not keep.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether the host's operator has set it up.
    pub up: bool,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// Its MAC address; `None` for a link that is not like Ethernet.
    pub mac: Option<MacAddress>,
    /// Largest L3 packet, in bytes.
    pub mtu: u32,
    /// Largest MTU that its driver takes.
    pub max_mtu: u32,
}

/// A socket to the links of one network namespace.
pub struct HostLinks {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl HostLinks {
    /// A socket to the links of `namespace`.
    ///
    /// # Errors
    /// The host has none for us, or the namespace cannot be entered.
    pub fn open(namespace: &Namespace) -> Result<Self, HostError> {
        let socket = namespace
            .run(|| {
                let socket = rustix::net::socket_with(
                    AddressFamily::NETLINK,
                    SocketType::RAW,
                    SocketFlags::CLOEXEC,
                    // Netlink's protocol 0 is NETLINK_ROUTE.
                    None,
                )?;
                set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
                Ok(socket)
            })?
            .map_err(HostError::Socket)?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER_BYTES] })
    }

    /// The link of this name, `None` if there is none.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, HostError> {
        if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
            return Ok(None);
        }
        let request = Request::new(RTM_GETLINK, NLM_F_REQUEST, &link_header(0, 0, 0))
            .with(IFLA_IFNAME, &terminated(name))
            .with(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let mut found = None;
        let outcome = self.ask(request, &format!("find the link {name}"), |message| {
            found = parse_link(message);
            found.is_some()
        });
        match outcome {
            Ok(()) => Ok(found),
            Err(HostError::Refused { source: Errno::NODEV, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all links.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn names(&mut self) -> Result<Vec<String>, HostError> {
        let request = Request::new(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &link_header(0, 0, 0))
            .with(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let mut names = Vec::new();
        self.ask(request, "list its links", |message| {
            names.extend(parse_link(message).map(|link| link.name));
            false
        })?;
        Ok(names)
    }

    /// ` (did you mean …?)` with the link whose name is nearest to `name`, or all names if none is near.
    pub fn near(&mut self, name: &str) -> String {
        let Ok(mut names) = self.names() else { return String::new() };
        names.sort_by_key(|other| strsim::damerau_levenshtein(name, other));
        if let Some(nearest) = names.first()
            && strsim::damerau_levenshtein(name, nearest) <= 2
        {
            return format!(", did you mean {nearest}?");
        }
        names.truncate(10);
        if names.is_empty() { String::new() } else { format!(", there is {}", names.join(", ")) }
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// The host refuses.
    pub fn set_up(&mut self, link: &Link, up: bool) -> Result<(), HostError> {
        let header = link_header(link.index, if up { IFF_UP } else { 0 }, IFF_UP);
        let direction = if up { "up" } else { "down" };
        let request = Request::new(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, &header);
        self.ask(request, &format!("set the link {} {direction}", link.name), |_| false)
    }

    /// Sets a link's MTU.
    ///
    /// # Errors
    /// The host refuses.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<(), HostError> {
        let request = Request::new(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, &link_header(link.index, 0, 0))
            .with(IFLA_MTU, &mtu.to_ne_bytes());
        self.ask(request, &format!("set the MTU of the link {} to {mtu}", link.name), |_| false)
    }

    /// Sets a link's MAC address.
    ///
    /// # Errors
    /// The host refuses.
    pub fn set_mac(&mut self, link: &Link, mac: MacAddress) -> Result<(), HostError> {
        let request = Request::new(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, &link_header(link.index, 0, 0))
            .with(IFLA_ADDRESS, &mac.0);
        self.ask(request, &format!("set the MAC address of the link {} to {mac}", link.name), |_| false)
    }

    /// Gives a link an address, at once usable (RFC 4862's duplicate detection is left out); one that it has stays.
    ///
    /// # Errors
    /// The host refuses.
    pub fn add_address(&mut self, link: &Link, address: InterfaceAddress) -> Result<(), HostError> {
        let (family, bytes) = match address.address() {
            IpAddr::V4(ip) => (AddressFamily::INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
        };
        // Both families' numbers are below 256.
        let mut header = vec![family.as_raw() as u8, address.length(), IFA_F_NODAD, 0];
        header.extend_from_slice(&link.index.to_ne_bytes());
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let request =
            Request::new(RTM_NEWADDR, flags, &header).with(IFA_LOCAL, &bytes).with(IFA_ADDRESS, &bytes);
        match self.ask(request, &format!("give the link {} the address {address}", link.name), |_| false) {
            Err(HostError::Refused { source: Errno::EXIST, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Sends a request and hands the messages that answer it to `take`, until it returns `true` or the answer ends.
    fn ask(
        &mut self,
        request: Request,
        what: &str,
        mut take: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<(), HostError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        let refused = |source| HostError::Refused { what: what.to_owned(), source };
        let no_answer = || HostError::NoAnswer { what: what.to_owned() };
        let pieces = [IoSlice::new(&bytes)];
        rustix::net::sendmsg(&self.socket, &pieces, &mut Default::default(), SendFlags::empty())
            .map_err(refused)?;
        loop {
            let (_, length) =
                rustix::net::recv(&self.socket, &mut self.answer[..], RecvFlags::empty()).map_err(refused)?;
            let answer = self.answer.get(..length).ok_or_else(no_answer)?;
            if answer.is_empty() {
                return Err(no_answer());
            }
            for message in messages(answer).filter(|message| message.sequence == self.sequence) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = u32_at(message.body, 0).ok_or_else(no_answer)?.cast_signed();
                        if code == 0 {
                            return Ok(());
                        }
                        return Err(refused(Errno::from_raw_os_error(code.wrapping_neg())));
                    }
                    _ if take(&message) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

/// `ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn parse_link(message: &Message<'_>) -> Option<Link> {
    /// `ARPHRD_ETHER`.
    const ETHERNET: u16 = 1;
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let body = message.body;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0 && flags & IFF_UP != 0,
        mac: None,
        mtu: 0,
        max_mtu: 0,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value.split(|byte| *byte == 0).next()?).into_owned();
            }
            IFLA_ADDRESS if u16_at(body, 2)? == ETHERNET => {
                link.mac = <[u8; 6]>::try_from(value).ok().map(MacAddress);
            }
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MAX_MTU => link.max_mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    // Drivers that name no bound are bounded by IP itself.
    link.max_mtu = if link.max_mtu == 0 { 65_535 } else { link.max_mtu.min(65_535) }.max(link.mtu);
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_links_of_the_host_without_root() {
        let mut links = HostLinks::open(&Namespace::Own).unwrap();
        let loopback = links.find("lo").unwrap().unwrap();
        assert_eq!(loopback.name, "lo");
        assert!(loopback.mtu > 0 && loopback.max_mtu >= loopback.mtu && loopback.mac.is_none());
        assert!(links.names().unwrap().contains(&"lo".to_owned()));
    }

    #[test]
    fn names_the_nearest_link() {
        let mut links = HostLinks::open(&Namespace::Own).unwrap();
        assert_eq!(links.near("loo"), ", did you mean lo?");
        assert!(links.near("a-name-far-off").starts_with(", there is "));
    }

    #[test]
    fn impossible_names_are_not_found() {
        let mut links = HostLinks::open(&Namespace::Own).unwrap();
        for name in ["", "sixteen-letters!", "a\0b", "no-such-link"] {
            assert_eq!(links.find(name).unwrap(), None, "{name:?}");
        }
    }

    #[test]
    fn truncated_link_messages_are_no_links() {
        for length in 0..16 {
            let body = [0; 16];
            let message = Message { kind: RTM_NEWLINK, sequence: 0, body: &body[..length] };
            assert_eq!(parse_link(&message), None);
        }
    }
}
