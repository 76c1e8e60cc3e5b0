//! Faults that the processor finds, each with a signal of its own.

use std::ffi::{c_int, c_long, c_void};
use std::os::fd::AsRawFd as _;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        bytes: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
    #[cfg(not(target_arch = "x86_64"))]
    fn raise(signal: c_int) -> c_int;
}

/// Reads behind the end of a mapped file.
pub fn bus() {
    const READ: c_int = 1;
    const SHARED: c_int = 1;
    let path = std::env::temp_dir().join(format!("raddle-faulty-{}", std::process::id()));
    let Ok(file) = std::fs::File::create_new(&path).and_then(|_| std::fs::File::open(&path)) else { return };
    let _ = std::fs::remove_file(&path);
    // SAFETY: none; this is a fault on purpose.
    unsafe {
        let mapped = mmap(std::ptr::null_mut(), 4096, READ, SHARED, file.as_raw_fd(), 0);
        std::hint::black_box(mapped.cast::<u8>()).read_volatile();
    }
}

/// Executes what is no instruction.
pub fn illegal() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: none; this is a fault on purpose.
    unsafe {
        std::arch::asm!("ud2")
    };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as above; 4 is SIGILL.
    unsafe {
        raise(4)
    };
}

/// Divides by zero, as C code does where Rust would panic.
pub fn divide() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: none; this is a fault on purpose.
    unsafe {
        std::arch::asm!("div {0:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _)
    };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as above; 8 is SIGFPE.
    unsafe {
        raise(8)
    };
}
