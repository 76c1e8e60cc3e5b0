//! libpcap's compiler of filter expressions, from the library that is installed; opened when a filter is first asked for.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use libloading::{Library, Symbol};

use super::expression::{Compiled, Filter};
use super::program::{Instruction, ProgramError};

/// Names of the library: that of the interface, and Debian's older one.
const NAMES: [&str; 2] = ["libpcap.so.1", "libpcap.so.0.8"];
/// Link types (`DLT_EN10MB`, `DLT_RAW`).
const ETHERNET: c_int = 1;
const RAW_IP: c_int = 12;
/// Bytes that a filter returns for a packet that passes; any but 0 does.
const SNAP_BYTES: c_int = 262_144;
/// `PCAP_NETMASK_UNKNOWN`.
const NO_NETMASK: u32 = u32::MAX;
/// Bytes that an expression may have.
const MOST_BYTES: usize = 4096;

/// Why an expression is no filter.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// libpcap is not installed.
    #[error("filters need libpcap, which is not installed here (Debian: apt-get install libpcap0.8): {0}")]
    NoLibrary(libloading::Error),
    /// The expression is wrong.
    #[error("filter `{text}`: {reason}")]
    Wrong {
        /// The expression.
        text: String,
        /// What libpcap says.
        reason: String,
    },
    /// What libpcap made of it cannot be run here.
    #[error("filter `{text}`: {source}")]
    Program {
        /// The expression.
        text: String,
        /// Why.
        source: ProgramError,
    },
}

#[repr(C)]
struct RawInstruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

#[repr(C)]
struct RawProgram {
    length: c_uint,
    instructions: *mut RawInstruction,
}

type OpenDead = unsafe extern "C" fn(link: c_int, snap: c_int) -> *mut c_void;
type Compile =
    unsafe extern "C" fn(*mut c_void, *mut RawProgram, *const c_char, optimize: c_int, netmask: u32) -> c_int;
type GetError = unsafe extern "C" fn(*mut c_void) -> *mut c_char;
type FreeCode = unsafe extern "C" fn(*mut RawProgram);
type Close = unsafe extern "C" fn(*mut c_void);

/// Compiles an expression. It may ask name servers, if the expression has names of hosts, and so take its time.
///
/// # Errors
/// libpcap is not installed; the expression is wrong.
pub fn compile(text: &str) -> Result<Filter, CompileError> {
    let wrong = |reason: String| CompileError::Wrong { text: text.to_owned(), reason };
    if text.len() > MOST_BYTES {
        return Err(wrong(format!("it has {} bytes; at most {MOST_BYTES} are read", text.len())));
    }
    let expression = CString::new(text).map_err(|_| wrong("it holds a zero byte".to_owned()))?;
    let library = open()?;
    let ethernet = compile_for(&library, ETHERNET, &expression).map_err(wrong)?;
    // What asks for Ethernet addresses has no meaning without their header.
    let ip = compile_for(&library, RAW_IP, &expression).ok();
    Filter::try_from(Compiled { text: text.to_owned(), ethernet, ip })
        .map_err(|source| CompileError::Program { text: text.to_owned(), source })
}

fn open() -> Result<Library, CompileError> {
    // SAFETY: libpcap's initialisers do nothing but set up its own data.
    let open = |name: &str| unsafe { Library::new(name) };
    open(NAMES[0]).or_else(|_| open(NAMES[1])).map_err(CompileError::NoLibrary)
}

/// Compiles for a link type; the error is what libpcap says.
fn compile_for(library: &Library, link: c_int, expression: &CStr) -> Result<Vec<Instruction>, String> {
    // SAFETY: the types are those of pcap(3PCAP), which are the same in all versions of the library.
    let open_dead: Symbol<'_, OpenDead> = unsafe { symbol(library, "pcap_open_dead") }?;
    // SAFETY: as above.
    let compile: Symbol<'_, Compile> = unsafe { symbol(library, "pcap_compile") }?;
    // SAFETY: as above.
    let get_error: Symbol<'_, GetError> = unsafe { symbol(library, "pcap_geterr") }?;
    // SAFETY: as above.
    let free_code: Symbol<'_, FreeCode> = unsafe { symbol(library, "pcap_freecode") }?;
    // SAFETY: as above.
    let close: Symbol<'_, Close> = unsafe { symbol(library, "pcap_close") }?;
    // SAFETY: a handle of no device, which needs nothing of the system.
    let handle = unsafe { open_dead(link, SNAP_BYTES) };
    if handle.is_null() {
        return Err("libpcap has no memory".to_owned());
    }
    let mut program = RawProgram { length: 0, instructions: std::ptr::null_mut() };
    // SAFETY: the handle is open; program and expression live until the call returns.
    let status = unsafe { compile(handle, &raw mut program, expression.as_ptr(), 1, NO_NETMASK) };
    let outcome = if status == 0 {
        // SAFETY: libpcap made `length` instructions there, or none.
        let instructions = unsafe { instructions(&program) };
        // SAFETY: the program is libpcap's, and given back once.
        unsafe { free_code(&raw mut program) };
        Ok(instructions)
    } else {
        // SAFETY: the text belongs to the handle, and is copied before that is closed.
        Err(unsafe { CStr::from_ptr(get_error(handle)) }.to_string_lossy().into_owned())
    };
    // SAFETY: opened above, closed once.
    unsafe { close(handle) };
    outcome
}

/// A function of the library; the error is what the loader says.
///
/// # Safety
/// `T` is the type of that function.
unsafe fn symbol<'l, T>(library: &'l Library, name: &str) -> Result<Symbol<'l, T>, String> {
    // SAFETY: as the caller vouches.
    unsafe { library.get(name.as_bytes()) }.map_err(|error| error.to_string())
}

/// # Safety
/// `program` is as libpcap made it.
unsafe fn instructions(program: &RawProgram) -> Vec<Instruction> {
    if program.instructions.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller vouches.
    let raw = unsafe { std::slice::from_raw_parts(program.instructions, program.length as usize) };
    raw.iter().map(|one| Instruction(one.code, one.if_true, one.if_false, one.k)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Link;
    use super::*;

    /// An IPv4 frame with a TCP segment to this port.
    fn tcp(port: u16) -> Vec<u8> {
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[17], frame[22], frame[23]) = (0x45, 40, 64, 6);
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame
    }

    #[test]
    fn expressions_of_tcpdump_tell_packets_apart_with_and_without_their_frame() {
        let compiled = compile("tcp dst port 443");
        let Ok(filter) = compiled else {
            assert!(matches!(compiled, Err(CompileError::NoLibrary(_))), "{compiled:?}");
            return;
        };
        assert_eq!(filter.text(), "tcp dst port 443");
        assert!(
            filter.matches(Link::Ethernet, &tcp(443), 54) && filter.matches(Link::Ip, &tcp(443)[14..], 40)
        );
        assert!(
            !filter.matches(Link::Ethernet, &tcp(80), 54) && !filter.matches(Link::Ip, &tcp(80)[14..], 40)
        );
        let error = compile("tcp dst prt 443").expect_err("no expression").to_string();
        assert!(error.starts_with("filter `tcp dst prt 443`: "), "{error}");
        let ether = compile("ether src 02:00:00:00:00:01").expect("a filter");
        assert!(!ether.matches(Link::Ip, &tcp(80)[14..], 40));
        assert!(compile(&"a".repeat(MOST_BYTES + 1)).is_err() && compile("a\0b").is_err());
    }
}
