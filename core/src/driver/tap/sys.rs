//! The kernel's tun device (Linux `Documentation/networking/tuntap.rst`): one open queue of a tap.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::driver::vnet::{ETHERNET_BYTES, VNET_BYTES};

/// The device that makes taps.
pub const TUN_PATH: &str = "/dev/net/tun";

const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// Since Linux 6.2.
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Which step of opening a tap failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opening [`TUN_PATH`].
    Open,
    /// Making the tap, or taking up the one of its name.
    Attach,
    /// Switching on the virtio-net header or the offloads.
    Offloads,
}

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet frames: a tap.
    Ethernet,
    /// IP packets without a header in front: a tun.
    Ip,
}

impl Layer {
    /// The kernel's word for such a device.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ethernet => "tap",
            Self::Ip => "tun",
        }
    }

    /// Bytes of the header that every packet has.
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET_BYTES,
            Self::Ip => 20,
        }
    }

    const fn flag(self) -> libc::c_int {
        match self {
            Self::Ethernet => libc::IFF_TAP,
            Self::Ip => libc::IFF_TUN,
        }
    }
}

/// A queue of a tap or tun.
#[derive(Debug)]
pub struct TapQueue {
    fd: OwnedFd,
    layer: Layer,
}

impl TapQueue {
    /// Makes the device of this name, of up to 15 bytes, in the calling thread's network namespace, or takes up the one
    /// that is there; with `several`, one queue of many. Frames have a virtio-net header of [`VNET_BYTES`] bytes.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub fn open(name: &str, layer: Layer, several: bool) -> Result<Self, (Step, Errno)> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(TUN_PATH, flags, Mode::empty()).map_err(|error| (Step::Open, error))?;
        let queue = Self { fd, layer };
        let mut request = request(name);
        let several = if several { libc::IFF_MULTI_QUEUE } else { 0 };
        // The flags fit 16 bits by their definition.
        request.ifr_ifru.ifru_flags =
            (layer.flag() | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several) as libc::c_short;
        queue.ioctl(libc::TUNSETIFF, (&raw mut request).cast()).map_err(|error| (Step::Attach, error))?;
        let offloads = |error| (Step::Offloads, error);
        let mut header_bytes = VNET_BYTES as libc::c_int;
        queue.ioctl(libc::TUNSETVNETHDRSZ, (&raw mut header_bytes).cast()).map_err(offloads)?;
        queue
            .ioctl_value(libc::TUNSETOFFLOAD, OFFLOADS | UDP_OFFLOADS)
            .or_else(|_| queue.ioctl_value(libc::TUNSETOFFLOAD, OFFLOADS))
            .map_err(offloads)?;
        Ok(queue)
    }

    /// What it carries.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// The tap's name at present, in whatever namespace it is.
    ///
    /// # Errors
    /// `EBADFD`: it was removed.
    pub fn name(&self) -> Result<String, Errno> {
        let mut request = request("");
        self.ioctl(libc::TUNGETIFF, (&raw mut request).cast())?;
        let bytes = request.ifr_name.map(|byte| byte as u8);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// The network namespace in which the tap is now.
    ///
    /// # Errors
    /// The tap was removed, or CAP_NET_ADMIN is missing.
    pub fn namespace(&self) -> Result<OwnedFd, Errno> {
        // SAFETY: this call takes no argument and returns a new descriptor or -1.
        let fd = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TUNGETDEVNETNS) };
        outcome(fd)?;
        // SAFETY: the descriptor is new and ours.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Whether the tap stays when nobody has it open.
    ///
    /// # Errors
    /// The tap was removed.
    pub fn set_persistent(&self, persistent: bool) -> Result<(), Errno> {
        self.ioctl_value(libc::TUNSETPERSIST, u32::from(persistent))
    }

    /// Whether the host's side has a carrier.
    ///
    /// # Errors
    /// The tap was removed, or the kernel (before 5.0) cannot.
    pub fn set_carrier(&self, carrier: bool) -> Result<(), Errno> {
        let mut value = libc::c_int::from(carrier);
        self.ioctl(libc::TUNSETCARRIER, (&raw mut value).cast())
    }

    /// A call whose argument is a pointer to a struct of the size that the call's number says, alive for the call.
    fn ioctl(&self, call: libc::Ioctl, argument: *mut libc::c_void) -> Result<(), Errno> {
        // SAFETY: the callers above pass pointers to locals of the type that the call reads or writes.
        outcome(unsafe { libc::ioctl(self.fd.as_raw_fd(), call, argument) })
    }

    fn ioctl_value(&self, call: libc::Ioctl, value: libc::c_uint) -> Result<(), Errno> {
        // SAFETY: these calls take a number, not a pointer.
        outcome(unsafe { libc::ioctl(self.fd.as_raw_fd(), call, libc::c_ulong::from(value)) })
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A request about the device of this name, which is cut at 15 bytes.
fn request(name: &str) -> libc::ifreq {
    let mut letters = [0; libc::IFNAMSIZ];
    for (letter, byte) in letters[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *letter = byte as libc::c_char;
    }
    libc::ifreq {
        ifr_name: letters,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_map: libc::__c_anonymous_ifru_map {
                mem_start: 0,
                mem_end: 0,
                base_addr: 0,
                irq: 0,
                dma: 0,
                port: 0,
            },
        },
    }
}

fn outcome(status: i32) -> Result<(), Errno> {
    if status >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
