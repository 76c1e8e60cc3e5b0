//! A packet socket (packet(7)): its options and its address, as far as they are not in `rustix`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use raddle_plugin_api::wire::MacAddress;
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::options::Fanout;
use super::ring::{Geometry, Ring};

const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_DROP_MEMBERSHIP: i32 = 2;
const PACKET_RX_RING: i32 = 5;
const PACKET_STATISTICS: i32 = 6;
const PACKET_COPY_THRESH: i32 = 7;
const PACKET_VERSION: i32 = 10;
const PACKET_TX_RING: i32 = 13;
const PACKET_LOSS: i32 = 14;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_FANOUT: i32 = 18;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;

const TPACKET_V2: i32 = 1;
const FANOUT_HASH: u32 = 0;
const FANOUT_CPU: u32 = 2;
const FANOUT_FLAG_UNIQUE_ID: u32 = 0x2000;
const FANOUT_FLAG_IGNORE_OUTGOING: u32 = 0x4000;

/// What a membership is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Frames for every unicast address.
    Promiscuous,
    /// Frames for every multicast address.
    AllMulticast,
    /// Frames for one more address, unicast or multicast.
    Address(MacAddress),
}

impl Membership {
    /// `mr_type`, and the address.
    fn request(self) -> (u16, Option<MacAddress>) {
        match self {
            Self::Address(mac) if mac.is_multicast() => (0, Some(mac)),
            Self::Promiscuous => (1, None),
            Self::AllMulticast => (2, None),
            Self::Address(mac) => (3, Some(mac)),
        }
    }
}

/// A raw packet socket with a virtio-net header in front of each frame.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// A socket that is bound to no link and receives nothing yet.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW; the kernel knows no packet sockets.
    pub fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        let socket = Self { fd };
        socket.set(PACKET_VNET_HDR, &1_i32)?;
        Ok(socket)
    }

    /// A socket for tests that need no root: nothing ever comes in.
    #[cfg(test)]
    pub fn stand_in() -> Self {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { fd: socket.into() }
    }

    /// Gives the socket a receive ring; frames larger than its slots stand whole in the socket's queue of up to
    /// `queue_bytes`.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn receive_ring(&self, geometry: Geometry, queue_bytes: usize) -> Result<Ring, Errno> {
        self.set(PACKET_VERSION, &TPACKET_V2)?;
        self.set(PACKET_COPY_THRESH, &1_i32)?;
        set_socket_recv_buffer_size_force(&self.fd, queue_bytes)
            .or_else(|_| set_socket_recv_buffer_size(&self.fd, queue_bytes))?;
        self.set(PACKET_RX_RING, &geometry.request())?;
        Ring::map(self.fd.as_fd(), geometry)
    }

    /// Gives the socket a transmit ring. A frame that the kernel finds malformed is skipped, not waited at.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn transmit_ring(&self, geometry: Geometry) -> Result<Ring, Errno> {
        self.set(PACKET_VERSION, &TPACKET_V2)?;
        self.set(PACKET_LOSS, &1_i32)?;
        self.set(PACKET_TX_RING, &geometry.request())?;
        Ring::map(self.fd.as_fd(), geometry)
    }

    /// Has up to `bytes` of frames under way that the device has not sent yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_send_buffer(&self, bytes: usize) -> Result<(), Errno> {
        set_socket_send_buffer_size_force(&self.fd, bytes)
            .or_else(|_| set_socket_send_buffer_size(&self.fd, bytes))
    }

    /// Sends past the queueing discipline.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bypass_qdisc(&self) -> Result<(), Errno> {
        self.set(PACKET_QDISC_BYPASS, &1_i32)
    }

    /// Leaves out what this host sends; `false` if the kernel (before 4.20) cannot.
    pub fn ignore_outgoing(&self) -> bool {
        self.set(PACKET_IGNORE_OUTGOING, &1_i32).is_ok()
    }

    /// Joins the receive queues that share `group`, or begins one; returns its number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join_fanout(&self, group: Option<u16>, fanout: Fanout) -> Result<u16, Errno> {
        let kind = match fanout {
            Fanout::Hash => FANOUT_HASH,
            Fanout::Cpu => FANOUT_CPU,
        };
        let unique = if group.is_none() { FANOUT_FLAG_UNIQUE_ID } else { 0 };
        let value = u32::from(group.unwrap_or(0)) | (kind | unique | FANOUT_FLAG_IGNORE_OUTGOING) << 16;
        match self.set(PACKET_FANOUT, &value) {
            // Kernels before 4.20 do not know the flag; own frames are then left out one by one.
            Err(Errno::INVAL) => self.set(PACKET_FANOUT, &(value & !(FANOUT_FLAG_IGNORE_OUTGOING << 16)))?,
            outcome => outcome?,
        }
        // The low half is the group's number.
        Ok(self.option::<u32>(PACKET_FANOUT)? as u16)
    }

    /// Asks the link for more frames than those that are for its own address, or no more.
    ///
    /// # Errors
    /// The link is gone.
    pub fn set_membership(&self, link: u32, membership: Membership, on: bool) -> Result<(), Errno> {
        let (kind, mac) = membership.request();
        // `packet_mreq`: link, type, length of the address, address.
        let mut request = [0_u8; 16];
        request[..4].copy_from_slice(&link.to_ne_bytes());
        request[4..6].copy_from_slice(&kind.to_ne_bytes());
        if let Some(MacAddress(octets)) = mac {
            request[6..8].copy_from_slice(&(octets.len() as u16).to_ne_bytes());
            request[8..14].copy_from_slice(&octets);
        }
        self.set(if on { PACKET_ADD_MEMBERSHIP } else { PACKET_DROP_MEMBERSHIP }, &request)
    }

    /// Frames that were lost for want of room since the last question.
    pub fn take_losses(&self) -> u64 {
        // `tpacket_stats`: packets, drops.
        self.option::<[u32; 2]>(PACKET_STATISTICS).map_or(0, |counts| u64::from(counts[1]))
    }

    /// Binds the socket to a link: to receive all its frames, or only to send.
    ///
    /// # Errors
    /// The link is gone.
    pub fn bind(&self, link: u32, receives: bool) -> Result<(), Errno> {
        let protocol = if receives { (libc::ETH_P_ALL as u16).to_be() } else { 0 };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: link.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is alive and of the length that is given.
        let status = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        outcome(status)
    }

    /// The link that the socket is bound to; `None` when that is gone, even if one of its name and number is there.
    pub fn bound_link(&self) -> Option<u32> {
        let mut address = libc::sockaddr_ll {
            sll_family: 0,
            sll_protocol: 0,
            sll_ifindex: 0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is writable and of the length that is given.
        let status =
            unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        outcome(status).ok()?;
        u32::try_from(address.sll_ifindex).ok().filter(|index| *index != 0)
    }

    fn set<T: IntoBytes + Immutable>(&self, option: i32, value: &T) -> Result<(), Errno> {
        let bytes = value.as_bytes();
        // SAFETY: `bytes` is readable for the length that is given.
        outcome(unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        })
    }

    fn option<T: FromBytes + IntoBytes>(&self, option: i32) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        let mut length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value is writable for the length that is given, and any bytes make one.
        outcome(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                value.as_mut_bytes().as_mut_ptr().cast(),
                &raw mut length,
            )
        })?;
        Ok(value)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn outcome(status: i32) -> Result<(), Errno> {
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
