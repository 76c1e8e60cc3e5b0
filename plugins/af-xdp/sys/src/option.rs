//! Socket options and an ioctl that `rustix` does not have.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use raddle_plugin_api::wire::MacAddress;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

const PACKET_ADD_MEMBERSHIP: libc::c_int = 1;
const PACKET_DROP_MEMBERSHIP: libc::c_int = 2;
/// The longest name of a link, in bytes (`IFNAMSIZ` with its zero).
const NAME_BYTES: usize = 16;

/// What a link is asked to take frames for, besides its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Every unicast address.
    Promiscuous,
    /// Every multicast address.
    AllMulticast,
    /// One address more, a station's or a group's.
    Address(MacAddress),
}

/// What a link is asked to take frames for, for as long as this lives: a packet socket that receives nothing itself.
#[derive(Debug)]
pub struct Filtering {
    fd: OwnedFd,
    link: u32,
}

impl Filtering {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW.
    pub fn open(link: u32) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        Ok(Self { fd, link })
    }

    /// Asks for more frames, or no more.
    ///
    /// # Errors
    /// The link is gone.
    pub fn set(&self, membership: Membership, on: bool) -> Result<(), Errno> {
        let (kind, mac): (u16, _) = match membership {
            Membership::Address(mac) if mac.is_multicast() => (0, Some(mac)),
            Membership::Promiscuous => (1, None),
            Membership::AllMulticast => (2, None),
            Membership::Address(mac) => (3, Some(mac)),
        };
        // `packet_mreq`: link, type, length of the address, address.
        let mut request = [0_u8; 16];
        request[..4].copy_from_slice(&self.link.to_ne_bytes());
        request[4..6].copy_from_slice(&kind.to_ne_bytes());
        if let Some(MacAddress(octets)) = mac {
            request[6..8].copy_from_slice(&(octets.len() as u16).to_ne_bytes());
            request[8..14].copy_from_slice(&octets);
        }
        let option = if on { PACKET_ADD_MEMBERSHIP } else { PACKET_DROP_MEMBERSHIP };
        // SAFETY: the request is readable for its length until the call returns.
        outcome(unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                request.as_ptr().cast(),
                request.len() as libc::socklen_t,
            )
        })
    }
}

/// Has the kernel's own work for the socket's queue done in our calls, up to `budget` frames in each, and looks for frames for
/// up to `micros` µs.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN; the kernel (before 5.11) does not know it.
pub fn prefer_busy_polling(socket: BorrowedFd<'_>, micros: u32, budget: u32) -> Result<(), Errno> {
    let options = [
        (libc::SO_PREFER_BUSY_POLL, 1),
        (libc::SO_BUSY_POLL, micros.cast_signed()),
        (libc::SO_BUSY_POLL_BUDGET, budget.cast_signed()),
    ];
    for (option, value) in options {
        // SAFETY: the value is readable for its length until the call returns.
        outcome(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        })?;
    }
    Ok(())
}

/// The receive queues that a link of this namespace uses now; 1 where its driver does not say.
///
/// # Errors
/// There is no such link.
pub fn real_queues(link: &str) -> Result<u32, Errno> {
    /// `ETHTOOL_GCHANNELS` of `ethtool_channels`.
    const GET_CHANNELS: u32 = 0x3c;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    #[repr(C)]
    struct Request {
        name: [u8; NAME_BYTES],
        data: *mut Channels,
        rest: [u64; 2],
    }
    #[repr(C)]
    struct Channels {
        command: u32,
        max: [u32; 4],
        receive: u32,
        transmit: u32,
        other: u32,
        combined: u32,
    }
    let mut channels =
        Channels { command: GET_CHANNELS, max: [0; 4], receive: 0, transmit: 0, other: 0, combined: 0 };
    let mut request = Request { name: [0; NAME_BYTES], data: &raw mut channels, rest: [0; 2] };
    if link.len() >= NAME_BYTES {
        return Err(Errno::NODEV);
    }
    request.name[..link.len()].copy_from_slice(link.as_bytes());
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the request is an `ifreq` (40 bytes), whose data points to an `ethtool_channels`; both live until the call returns.
    match outcome(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) }) {
        Ok(()) => Ok((channels.receive + channels.combined).max(1)),
        Err(Errno::NODEV) => Err(Errno::NODEV),
        Err(_) => Ok(1),
    }
}

fn outcome(status: libc::c_int) -> Result<(), Errno> {
    if status == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
