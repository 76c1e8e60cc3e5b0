//! A service: functions that one plugin offers to others.

use std::ffi::c_void;

use super::Slice;

/// One function of a service. Since ABI 1.2.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServiceMethod {
    /// Hash of its name and of the sizes of what goes in and comes out: it is only called by those who have the same.
    pub shape: u64,
    /// Calls it: reads `arguments`, writes `answer`. 1: it was done. 0: it panicked, and nothing was written. Any thread.
    pub call:
        unsafe extern "C" fn(state: *const c_void, arguments: *const c_void, answer: *mut c_void) -> u32,
}

/// A service as its owner exports it: the methods `service.export` and `service.find` of the control plane carry its
/// address. Since ABI 1.2.
#[repr(C)]
pub struct ServiceTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// First argument of the functions: alive as long as somebody has retained it.
    pub state: *const c_void,
    /// Adds one to those who hold table and state. Any thread.
    pub retain: unsafe extern "C" fn(table: *const ServiceTable),
    /// Takes one away; the last one frees both. Any thread.
    pub release: unsafe extern "C" fn(table: *const ServiceTable),
    /// The functions; a later minor version of the service has more of them.
    pub methods: Slice<ServiceMethod>,
}
