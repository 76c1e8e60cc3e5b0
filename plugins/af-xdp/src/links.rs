//! The host's links over rtnetlink: finding one, setting it up, putting a program on it.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable as _, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
    XdpAttached,
};
use raddle_plugin_api::wire::MacAddress;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Room for one answer; the kernel splits a list to 32 KiB pieces.
const ANSWER_BYTES: usize = 64 * 1024;
/// Answers come before `send` returns; this only bounds a kernel that does otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest link name, in bytes.
const NAME_BYTES: usize = 15;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The program is put there only if the one that is expected is there (`XDP_FLAGS_REPLACE`).
const REPLACE: u32 = 1 << 4;
/// The program is put there only if there is none (`XDP_FLAGS_UPDATE_IF_NOEXIST`).
const ONLY_IF_NONE: u32 = 1 << 0;

/// Why the host did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It has no rtnetlink socket for us.
    #[error("cannot talk to the host over rtnetlink: {0}")]
    Socket(#[source] Errno),
    /// It refused.
    #[error("cannot {what}: {}", reason(*.source))]
    Refused {
        /// What was asked for.
        what: String,
        /// What it said.
        source: Errno,
    },
}

fn reason(error: Errno) -> String {
    match error {
        Errno::PERM | Errno::ACCESS => "no permission, CAP_NET_ADMIN is needed".to_owned(),
        Errno::NODEV => "there is no such device".to_owned(),
        other => other.to_string(),
    }
}

/// A link of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Whether it is one end of a pair of virtual links.
    pub is_veth: bool,
    /// The XDP programs on it.
    pub programs: Vec<AttachedProgram>,
}

/// An XDP program on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Its number.
    pub id: u32,
    /// The bits that say where it sits (`XDP_FLAGS_…_MODE`).
    pub place: u32,
}

/// A socket to the links of this process's network namespace.
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl Links {
    /// A socket.
    ///
    /// # Errors
    /// The host has none for us.
    pub fn open() -> Result<Self, LinkError> {
        // Netlink's protocol 0 is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .map_err(LinkError::Socket)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(LinkError::Socket)?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER_BYTES] })
    }

    /// The link of this name, `None` if there is none.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, LinkError> {
        if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
            return Ok(None);
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
        ];
        let request = RouteNetlinkMessage::GetLink(message);
        let mut found = None;
        // It is asked for an acknowledgement too, so that an end follows the one answer.
        match self.ask(request, NLM_F_ACK, &format!("find the link {name}"), |link| found = Some(link)) {
            Ok(()) => Ok(found),
            Err(LinkError::Refused { source: Errno::NODEV, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// ` (did you mean …?)` with the link whose name is nearest to `name`, or all names if none is near.
    pub fn near(&mut self, name: &str) -> String {
        let mut names = Vec::new();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        if self.ask(request, NLM_F_DUMP, "list its links", |link| names.push(link.name)).is_err() {
            return String::new();
        }
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
    pub fn set_up(&mut self, link: &Link, up: bool) -> Result<(), LinkError> {
        let mut message = about(link);
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.header.change_mask = LinkFlags::Up;
        let what = format!("set the link {} {}", link.name, if up { "up" } else { "down" });
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, &what, drop)
    }

    /// Sets a link's MTU.
    ///
    /// # Errors
    /// The host refuses.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<(), LinkError> {
        let mut message = about(link);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        let what = format!("set the MTU of the link {} to {mtu}", link.name);
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, &what, drop)
    }

    /// Puts a program on a link, in the place that the bits say; takes it off with `None`. `instead` is the one that is there.
    ///
    /// # Errors
    /// The host refuses: `EBUSY` or `EEXIST` when another program is there.
    pub fn set_program(
        &mut self,
        link: &Link,
        program: Option<BorrowedFd<'_>>,
        place: u32,
        instead: Option<BorrowedFd<'_>>,
    ) -> Result<(), LinkError> {
        let number = program.map_or(-1, |program| program.as_raw_fd());
        let condition = if instead.is_some() { REPLACE } else { ONLY_IF_NONE };
        let mut xdp = vec![LinkXdp::Fd(number), LinkXdp::Flags(place | condition)];
        if let Some(instead) = instead {
            xdp.push(LinkXdp::ExpectedFd(instead.as_raw_fd().cast_unsigned()));
        }
        let mut message = about(link);
        message.attributes.push(LinkAttribute::Xdp(xdp));
        let what = match program {
            Some(_) => format!("put an XDP program on the link {}", link.name),
            None => format!("take the XDP program off the link {}", link.name),
        };
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, &what, drop)
    }

    /// Sends a request and hands the links that answer it to `take`, until the answer ends.
    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        what: &str,
        take: impl FnMut(Link),
    ) -> Result<(), LinkError> {
        self.exchange(request, flags, take)
            .map_err(|source| LinkError::Refused { what: what.to_owned(), source })
    }

    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(Link),
    ) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        loop {
            let length = match rustix::net::recv(&self.socket, &mut self.answer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let mut rest = self.answer.get(..length).unwrap_or(&[]);
            while let Ok(buffer) = NetlinkBuffer::new_checked(rest) {
                let length = buffer.length() as usize;
                let Some(payload) = rest.get(16..length) else { break };
                if buffer.sequence_number() == self.sequence {
                    match buffer.message_type() {
                        NLMSG_DONE => return Ok(()),
                        NLMSG_ERROR => return verdict(payload),
                        kind => {
                            let mut header = NetlinkHeader::default();
                            header.message_type = kind;
                            // A message that the crate does not know is none that was asked for.
                            if let Ok(RouteNetlinkMessage::NewLink(link)) =
                                RouteNetlinkMessage::deserialize(&header, payload)
                            {
                                take(read(&link));
                            }
                        }
                    }
                }
                // Messages begin at multiples of four.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

/// What a message of type `NLMSG_ERROR` says: an error, or that there is none.
fn verdict(payload: &[u8]) -> Result<(), Errno> {
    match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code @ -4095..=-1) => Err(Errno::from_raw_os_error(-code)),
        // No other number is an error's.
        _ => Err(Errno::PROTO),
    }
}

/// A message that is about a link.
fn about(link: &Link) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message
}

fn read(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Up | LinkFlags::Running),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if message.header.link_layer_type == LinkLayerType::Ether => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddress);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::MaxMtu(mtu) => link.max_mtu = *mtu,
            LinkAttribute::LinkInfo(info) => {
                link.is_veth |= info.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            LinkAttribute::Xdp(xdp) => link.programs = programs(xdp),
            _ => {}
        }
    }
    // Drivers that name no bound are bounded by IP itself.
    link.max_mtu = if link.max_mtu == 0 { 65_535 } else { link.max_mtu.min(65_535) }.max(link.mtu);
    link
}

fn programs(xdp: &[LinkXdp]) -> Vec<AttachedProgram> {
    const IN_KERNEL: u32 = 1 << 1;
    const IN_DRIVER: u32 = 1 << 2;
    const IN_DEVICE: u32 = 1 << 3;
    let mut found: Vec<_> = xdp
        .iter()
        .filter_map(|one| match *one {
            LinkXdp::DrvProgId(id) => Some(AttachedProgram { id, place: IN_DRIVER }),
            LinkXdp::SkbProgId(id) => Some(AttachedProgram { id, place: IN_KERNEL }),
            LinkXdp::HwProgId(id) => Some(AttachedProgram { id, place: IN_DEVICE }),
            _ => None,
        })
        .collect();
    // Kernels before 4.19 name the only one and say where it sits.
    let only = xdp.iter().find_map(|one| if let LinkXdp::ProgId(id) = one { Some(*id) } else { None });
    if let (true, Some(id)) = (found.is_empty(), only) {
        let place =
            match xdp.iter().find_map(|one| if let LinkXdp::Attached(at) = one { Some(*at) } else { None }) {
                Some(XdpAttached::SocketBuffer) => IN_KERNEL,
                Some(XdpAttached::Hardware) => IN_DEVICE,
                _ => IN_DRIVER,
            };
        found.push(AttachedProgram { id, place });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_error_are_not_made_one() {
        let verdict = |code: i32| verdict(&code.to_ne_bytes());
        assert_eq!(verdict(0), Ok(()));
        assert_eq!(verdict(-Errno::NODEV.raw_os_error()), Err(Errno::NODEV));
        assert_eq!(verdict(-4095).unwrap_err().raw_os_error(), 4095);
        for code in [1, -4096, -65_536, i32::MIN, i32::MAX] {
            assert_eq!(verdict(code), Err(Errno::PROTO), "{code}");
        }
        assert_eq!(super::verdict(&[0, 0]), Err(Errno::PROTO), "it is too short");
    }

    #[test]
    fn finds_the_links_of_the_host_without_root() {
        let mut links = Links::open().unwrap();
        let loopback = links.find("lo").unwrap().unwrap();
        assert_eq!((loopback.name.as_str(), loopback.mac, loopback.is_veth), ("lo", None, false));
        assert!(loopback.mtu > 0 && loopback.max_mtu >= loopback.mtu && loopback.programs.is_empty());
        for name in ["", "sixteen-letters!", "a\0b", "no-such-link"] {
            assert_eq!(links.find(name).unwrap(), None, "{name:?}");
        }
        assert_eq!(links.near("loo"), ", did you mean lo?");
        assert!(links.near("a-name-far-off").starts_with(", there is "));
        assert!(links.find("lo").unwrap().is_some(), "what is left of a list is no answer");
    }
}
