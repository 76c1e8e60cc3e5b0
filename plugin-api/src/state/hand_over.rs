//! Bytes that one version of a plugin hands to the next.

use std::ffi::c_void;

use crate::abi::{Sink, Status, Text};
use crate::guard::{guard, status};
use crate::instance::Instance;
use crate::{Control, Failure};

/// # Safety
/// Called by the host as `StateRegistration::export_state`.
#[doc(hidden)]
pub unsafe fn run_export(
    function: fn(&mut Control<'_>) -> Result<Vec<u8>, Failure>,
    instance: *mut c_void,
    state: Sink,
    error: Sink,
) -> Status {
    // SAFETY: as the caller vouches.
    unsafe {
        status(error, || {
            let bytes = function(&mut Control::new(Instance::from_ptr(instance)))?;
            state.write_bytes(&bytes);
            Ok(())
        })
    }
}

/// # Safety
/// Called by the host as `StateRegistration::import_state`.
#[doc(hidden)]
pub unsafe fn run_import(
    function: fn(&mut Control<'_>, u32, &[u8]) -> Result<(), Failure>,
    instance: *mut c_void,
    version: u32,
    state: Text,
    error: Sink,
) -> Status {
    // SAFETY: as the caller vouches.
    unsafe {
        status(error, || function(&mut Control::new(Instance::from_ptr(instance)), version, state.as_bytes()))
    }
}

/// Tells the host that a function of the plugin panicked where the ABI has no way to say so.
pub(crate) fn report_panic(control: &mut Control<'_>, what: &str, panic: &str) {
    #[derive(serde::Serialize)]
    struct Report<'a> {
        instance: u64,
        what: &'a str,
        panic: &'a str,
    }
    let instance = std::ptr::from_ref(control.instance()).addr() as u64;
    let told = guard(|| control.call::<_, ()>("plugin.panicked", &Report { instance, what, panic }));
    if !matches!(told, Ok(Ok(()))) {
        // A host that is older, or a harness.
        control.log(crate::abi::LogLevel::ERROR, format_args!("{what} panicked: {panic}"));
    }
}

/// Registers state that is handed over in an upgrade: its name, the version of its bytes and the oldest version that can
/// still be read, and two functions, `fn(&mut Control<'_>) -> Result<Vec<u8>, Failure>` and
/// `fn(&mut Control<'_>, version: u32, &[u8]) -> Result<(), Failure>`:
///
/// `state! { "sessions", version: 2, oldest: 1, export: export, import: import }`
///
/// The old version exports while its nodes run on; the new one imports after its init functions and before its nodes are
/// made. If either fails there is no upgrade. What happens in between is lost to the new one: what packets change
/// belongs into a [`KeptPerThread`](crate::state::KeptPerThread).
#[macro_export]
macro_rules! state {
    ($name:literal, version: $version:literal, oldest: $oldest:literal, export: $export:path, import: $import:path $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::STATES)]
            #[linkme(crate = $crate::linkme)]
            static STATE: $crate::abi::StateRegistration = $crate::abi::StateRegistration {
                size: size_of::<$crate::abi::StateRegistration>() as u32,
                version: $version,
                oldest: $oldest,
                reserved: 0,
                name: $crate::abi::Text::new($name),
                export_state: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        state: $crate::abi::Sink,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `StateRegistration::export_state`.
                        unsafe { $crate::state::run_export($export, instance, state, error) }
                    }
                    raddle_shim
                },
                import_state: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        version: u32,
                        state: $crate::abi::Text,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `StateRegistration::import_state`.
                        unsafe { $crate::state::run_import($import, instance, version, state, error) }
                    }
                    raddle_shim
                },
            };
        };
    };
}
