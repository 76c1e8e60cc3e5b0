//! The root of a plugin.

use std::ffi::c_void;

use crate::abi::{HostTable, Registrations, Sink};
use crate::guard::boxed;
use crate::instance::Instance;

/// # Safety
/// Called by the host as `PluginHeader::create`.
#[doc(hidden)]
pub unsafe extern "C" fn create_instance(host: *const HostTable, error: Sink) -> *mut c_void {
    // SAFETY: the host's table outlives the instance, and the sink the call.
    unsafe { boxed(error, || Ok(Instance::new(host))) }
}

/// # Safety
/// Called by the host as `PluginHeader::drop`, after everything made of the instance is gone.
#[doc(hidden)]
pub unsafe extern "C" fn drop_instance(instance: *mut c_void) {
    // SAFETY: made by `create_instance`.
    let drop_it = || drop(unsafe { Box::from_raw(instance.cast::<Instance>()) });
    let _ = crate::guard::guard(drop_it);
}

/// # Safety
/// Called by the host as `PluginHeader::registrations`.
#[doc(hidden)]
pub unsafe extern "C" fn fill(registrations: *mut Registrations) {
    // SAFETY: as the caller vouches.
    unsafe { crate::registration::fill_registrations(registrations) };
}

/// Makes the crate a plugin; once, in its `lib.rs`: `plugin! { "flow-count", "counts packets by interface" }`. The
/// version is the crate's. A third argument, `requires: [("acl", "^1")]`, names plugins that must be there.
#[macro_export]
macro_rules! plugin {
    ($name:literal, $summary:literal $(, requires: [$(($dependency:literal, $version:literal)),* $(,)?])? $(,)?) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub static RADDLE_PLUGIN: $crate::abi::PluginHeader = $crate::abi::PluginHeader {
            magic: $crate::abi::MAGIC,
            size: size_of::<$crate::abi::PluginHeader>() as u32,
            abi_major: $crate::abi::ABI_MAJOR,
            abi_minor: $crate::abi::ABI_MINOR,
            layout: $crate::abi::LAYOUT_HASH,
            name: $crate::abi::Text::new($name),
            version: $crate::abi::Text::new(env!("CARGO_PKG_VERSION")),
            summary: $crate::abi::Text::new($summary),
            built_with: $crate::abi::Text::new($crate::BUILT_WITH),
            panics_unwind: cfg!(panic = "unwind") as u32,
            reserved: 0,
            create: $crate::plugin::create_instance,
            drop: $crate::plugin::drop_instance,
            registrations: $crate::plugin::fill,
        };
        $($(
            const _: () = {
                #[$crate::linkme::distributed_slice($crate::registration::DEPENDENCIES)]
                #[linkme(crate = $crate::linkme)]
                static DEPENDENCY: $crate::abi::Dependency = $crate::abi::Dependency {
                    size: size_of::<$crate::abi::Dependency>() as u32,
                    reserved: 0,
                    name: $crate::abi::Text::new($dependency),
                    version: $crate::abi::Text::new($version),
                };
            };
        )*)?
    };
}
