//! Programs, maps and links by `bpf(2)`.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;

const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// `bpf_attach_type`.
const BPF_XDP: u32 = 37;
/// The program takes frames of several pieces.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// Room for what the verifier says.
const LOG_BYTES: usize = 64 * 1024;
/// The longest name of a program or map, in bytes (`BPF_OBJ_NAME_LEN` without its zero).
pub const NAME_BYTES: usize = 15;

/// An instruction (`bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u8,
    /// Destination register in the low half, source register in the high one.
    pub registers: u8,
    /// Offset: of memory, or of a jump in instructions.
    pub offset: i16,
    /// A number.
    pub immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// How a program is attached to a link (`XDP_FLAGS_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// By the link's own driver, before the kernel makes a packet of the frame.
    Native,
    /// By the kernel for any driver, after that.
    Generic,
}

impl AttachMode {
    /// The bits by which the kernel is asked for it.
    pub fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

/// A map from a link's queues to sockets.
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map for `queues` queues.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN and CAP_BPF; `EINVAL` where the kernel has no AF_XDP.
    pub fn create(name: &str, queues: u32) -> Result<Self, Errno> {
        #[repr(C)]
        struct Attributes {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            map_flags: u32,
            inner_map_fd: u32,
            numa_node: u32,
            map_name: [u8; NAME_BYTES + 1],
        }
        let attributes = Attributes {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            map_flags: 0,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: terminated(name),
        };
        // SAFETY: all that the kernel reads for this command is in the struct.
        unsafe { call_for_fd(BPF_MAP_CREATE, &attributes) }.map(Self)
    }

    /// Has frames of a queue go to a socket.
    ///
    /// # Errors
    /// The socket is not bound.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        #[repr(C)]
        struct Attributes {
            map_fd: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let value = socket.as_raw_fd();
        let attributes = Attributes {
            map_fd: self.0.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: address(&raw const queue),
            value: address(&raw const value),
            flags: 0,
        };
        // SAFETY: key and value are four bytes each, as the map was made, and live until the call returns.
        unsafe { call(BPF_MAP_UPDATE_ELEM, &attributes) }.map(drop)
    }

    /// The number by which instructions name it.
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A program that is loaded.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// What is known of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl Program {
    /// Loads an XDP program; `in_pieces`: it takes frames of several pieces. `false` is for kernels before 5.18.
    ///
    /// # Errors
    /// The kernel refuses it; with what its verifier says.
    pub fn load(name: &str, instructions: &[Instruction], in_pieces: bool) -> Result<Self, (Errno, String)> {
        #[repr(C)]
        struct Attributes {
            prog_type: u32,
            insn_cnt: u32,
            insns: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log_buf: u64,
            kern_version: u32,
            prog_flags: u32,
            prog_name: [u8; NAME_BYTES + 1],
            prog_ifindex: u32,
            expected_attach_type: u32,
        }
        let license = c"Apache-2.0";
        let mut attributes = Attributes {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: instructions.len() as u32,
            insns: address(instructions.as_ptr()),
            license: address(license.as_ptr()),
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: if in_pieces { BPF_F_XDP_HAS_FRAGS } else { 0 },
            prog_name: terminated(name),
            prog_ifindex: 0,
            expected_attach_type: BPF_XDP,
        };
        // SAFETY: `insn_cnt` instructions and the license live until the call returns; there is no log.
        let refusal = match unsafe { call_for_fd(BPF_PROG_LOAD, &attributes) } {
            Ok(program) => return Ok(Self(program)),
            Err(refusal) => refusal,
        };
        if refusal == Errno::PERM {
            return Err((refusal, String::new()));
        }
        // Once more, with its reasons.
        let mut log = vec![0_u8; LOG_BYTES];
        attributes.log_level = 1;
        attributes.log_size = LOG_BYTES as u32;
        attributes.log_buf = address(log.as_mut_ptr().cast_const());
        // SAFETY: as above; the log is writable for `log_size` bytes until the call returns.
        match unsafe { call_for_fd(BPF_PROG_LOAD, &attributes) } {
            Ok(program) => Ok(Self(program)),
            Err(refusal) => {
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                Err((refusal, String::from_utf8_lossy(&log[..end]).into_owned()))
            }
        }
    }

    /// The program with this number.
    ///
    /// # Errors
    /// There is none any more; `EPERM` without CAP_SYS_ADMIN.
    pub fn by_id(id: u32) -> Result<Self, Errno> {
        #[repr(C)]
        struct Attributes {
            prog_id: u32,
            next_id: u32,
            open_flags: u32,
        }
        let attributes = Attributes { prog_id: id, next_id: 0, open_flags: 0 };
        // SAFETY: all that the kernel reads for this command is in the struct.
        unsafe { call_for_fd(BPF_PROG_GET_FD_BY_ID, &attributes) }.map(Self)
    }

    /// What the kernel knows of it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn info(&self) -> Result<ProgramInfo, Errno> {
        /// `bpf_prog_info`, up to the name.
        #[repr(C)]
        struct Info {
            kind: u32,
            id: u32,
            tag: [u8; 8],
            lengths: [u32; 2],
            instructions: [u64; 2],
            load_time: u64,
            uid: u32,
            map_count: u32,
            maps: u64,
            name: [u8; NAME_BYTES + 1],
        }
        #[repr(C)]
        struct Attributes {
            bpf_fd: u32,
            info_len: u32,
            info: u64,
        }
        let mut info = Info {
            kind: 0,
            id: 0,
            tag: [0; 8],
            lengths: [0; 2],
            instructions: [0; 2],
            load_time: 0,
            uid: 0,
            map_count: 0,
            maps: 0,
            name: [0; NAME_BYTES + 1],
        };
        let attributes = Attributes {
            bpf_fd: self.0.as_raw_fd().cast_unsigned(),
            info_len: size_of::<Info>() as u32,
            info: address((&raw mut info).cast_const()),
        };
        // SAFETY: the info is writable for its length until the call returns, asks for nothing to be written elsewhere, and any
        // bytes make one.
        unsafe { call(BPF_OBJ_GET_INFO_BY_FD, &attributes) }?;
        let end = info.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        Ok(ProgramInfo { id: info.id, name: String::from_utf8_lossy(&info.name[..end]).into_owned() })
    }

    /// Attaches it to a link of the host: it stays so as long as the result lives, and the kernel takes it off when this
    /// process ends, however it does.
    ///
    /// # Errors
    /// `EBUSY`: the link has a program; `EINVAL` where the kernel (before 5.9) knows no such attachments; `EOPNOTSUPP`: the
    /// link's driver knows no XDP.
    pub fn attach(&self, link: u32, mode: AttachMode) -> Result<Attachment, Errno> {
        #[repr(C)]
        struct Attributes {
            prog_fd: u32,
            target_ifindex: u32,
            attach_type: u32,
            flags: u32,
        }
        let attributes = Attributes {
            prog_fd: self.0.as_raw_fd().cast_unsigned(),
            target_ifindex: link,
            attach_type: BPF_XDP,
            flags: mode.flags(),
        };
        // SAFETY: all that the kernel reads for this command is in the struct.
        unsafe { call_for_fd(BPF_LINK_CREATE, &attributes) }.map(Attachment)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A program's being attached: it ends when this is dropped.
#[derive(Debug)]
pub struct Attachment(OwnedFd);

impl Attachment {
    /// The link that it is attached to; 0 when that is gone.
    ///
    /// # Errors
    /// The kernel (before 5.9) does not say.
    pub fn link(&self) -> Result<u32, Errno> {
        /// `bpf_link_info` of an XDP link.
        #[repr(C)]
        struct Info {
            kind: u32,
            id: u32,
            prog_id: u32,
            padding: u32,
            ifindex: u32,
            rest: u32,
        }
        #[repr(C)]
        struct Attributes {
            bpf_fd: u32,
            info_len: u32,
            info: u64,
        }
        let mut info = Info { kind: 0, id: 0, prog_id: 0, padding: 0, ifindex: 0, rest: 0 };
        let attributes = Attributes {
            bpf_fd: self.0.as_raw_fd().cast_unsigned(),
            info_len: size_of::<Info>() as u32,
            info: address((&raw mut info).cast_const()),
        };
        // SAFETY: as in `Program::info`.
        unsafe { call(BPF_OBJ_GET_INFO_BY_FD, &attributes) }?;
        Ok(info.ifindex)
    }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn terminated(name: &str) -> [u8; NAME_BYTES + 1] {
    let mut bytes = [0; NAME_BYTES + 1];
    let length = name.len().min(NAME_BYTES);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

/// # Safety
/// The attributes are those of the command; what they point to is readable, or writable, as the command says.
unsafe fn call<A>(command: libc::c_long, attributes: &A) -> Result<libc::c_long, Errno> {
    // SAFETY: the attributes are readable for their size; the rest the caller vouches for.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>()) };
    if outcome < 0 { Err(last_error()) } else { Ok(outcome) }
}

/// As [`call`], for a command that makes a descriptor.
///
/// # Safety
/// As [`call`].
unsafe fn call_for_fd<A>(command: libc::c_long, attributes: &A) -> Result<OwnedFd, Errno> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel has just made the descriptor, closed on exec, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
