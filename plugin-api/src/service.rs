//! Services: what one plugin offers to others, through a table with a version.
//!
//! Both sides see the same declaration, usually from a small crate of its own. The owner exports a value that
//! implements the trait; others find it by name, and call it from any thread, packet paths among them.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use raddle_plugin_api::prelude::*;
//! use raddle_plugin_api::testing::Harness;
//!
//! service! {
//!     /// Counts by number.
//!     pub trait Tallies, client TalliesClient, name "tallies", version (1, 0) {
//!         /// Adds to a number and returns its sum.
//!         fn add(&self, number: u32, amount: u64) -> u64;
//!     }
//! }
//!
//! // In the plugin that owns it, in an init function:
//! struct Sums([AtomicU64; 4]);
//!
//! impl Tallies for Sums {
//!     fn add(&self, number: u32, amount: u64) -> u64 {
//!         self.0[number as usize % 4].fetch_add(amount, Ordering::Relaxed) + amount
//!     }
//! }
//!
//! fn export(control: &mut Control<'_>) -> Result<(), Failure> {
//!     TalliesClient::export(control, Arc::new(Sums(Default::default())))
//! }
//!
//! // In another one, whose `plugin!` says `requires: [("owner", "^1")]`:
//! fn use_it(control: &mut Control<'_>) -> Result<u64, Failure> {
//!     let tallies = TalliesClient::find(control)?;
//!     Ok(tallies.add(3, 2)? + tallies.add(3, 5)?)
//! }
//!
//! let mut host = Harness::builder().build();
//! host.control(export).unwrap();
//! assert_eq!(host.control(use_it).unwrap(), 9);
//! ```
//!
//! Arguments and answers are numbers, addresses, and other plain data (of zerocopy's `FromBytes`, `IntoBytes` and
//! `Immutable`). A service grows by functions at its end, which raise the minor version; whoever changes one raises the
//! major version. An owner serves users of all its earlier minor versions.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::{ServiceMethod, ServiceTable, Slice};
use crate::guard::guard;
use crate::{Control, Failure};

/// The function of a service panicked in its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service `{service}` panicked")]
pub struct ServicePanicked {
    /// Name of the service.
    pub service: &'static str,
}

/// What a service is called, and its version.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Identity<T> {
    /// Name.
    pub name: T,
    /// Generation.
    pub major: u16,
    /// Addition.
    pub minor: u16,
}

/// Arguments of `service.export`, and the answer of `service.find`.
#[doc(hidden)]
#[derive(Debug, Serialize, Deserialize)]
pub struct Exported {
    /// Which service.
    #[serde(flatten)]
    pub identity: Identity<String>,
    /// Address of its [`ServiceTable`] in this process, retained for the receiver.
    pub table: u64,
}

impl Identity<String> {
    /// Judges whether a service that is there serves `wanted`.
    ///
    /// # Errors
    /// It is of another generation, or an older addition.
    #[doc(hidden)]
    pub fn judge(&self, wanted: &Self) -> Result<(), Failure> {
        let Self { name, major, minor } = self;
        if *major == wanted.major && *minor >= wanted.minor {
            return Ok(());
        }
        crate::bail!(
            "the service `{name}` is there in version {major}.{minor}, and {}.{} is wanted; load a plugin that has that",
            wanted.major,
            wanted.minor
        )
    }
}

/// A service in use: held until it is dropped, wherever its owner is by then.
#[doc(hidden)]
pub struct Client {
    name: &'static str,
    table: *const ServiceTable,
}

// SAFETY: table and state are immutable but for counted references; functions may be called from any thread, as the
// state is `Send` and `Sync`.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Clone for Client {
    fn clone(&self) -> Self {
        // SAFETY: the table is alive while this holds it.
        unsafe { ((*self.table).retain)(self.table) };
        Self { name: self.name, table: self.table }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: held since it was found or cloned, and not used afterwards.
        unsafe { ((*self.table).release)(self.table) };
    }
}

impl Client {
    /// Finds a service whose functions begin with those of these shapes.
    #[doc(hidden)]
    pub fn find(
        control: &Control<'_>,
        identity: Identity<&'static str>,
        shapes: &[u64],
    ) -> Result<Self, Failure> {
        let Identity { name, major, minor } = identity;
        let found: Exported = control.call("service.find", &identity)?;
        let table = found.table as usize as *const ServiceTable;
        if table.is_null() {
            crate::bail!("the host knows no table of the service `{name}`");
        }
        // From here on what was retained for us is released again.
        let client = Self { name, table };
        found.identity.judge(&Identity { name: name.to_owned(), major, minor })?;
        for (index, &shape) in shapes.iter().enumerate() {
            if client.method(index).is_none_or(|method| method.shape != shape) {
                crate::bail!(
                    "function {index} of the service `{name}` {major}.{minor} is another one at its owner; build both \
                     plugins from the same declaration"
                );
            }
        }
        Ok(client)
    }

    fn method(&self, index: usize) -> Option<ServiceMethod> {
        // SAFETY: the table is alive while this holds it.
        let method = unsafe { (*self.table).methods.element(index) }?;
        // SAFETY: `element` is within the array that the owner described; it lives as long as the owner's code.
        Some(unsafe { *method })
    }

    /// Calls function `index`, whose shape `find` has compared.
    #[doc(hidden)]
    #[inline]
    pub fn call<A, R: FromBytes>(&self, index: usize, arguments: &A) -> Result<R, ServicePanicked> {
        let panicked = ServicePanicked { service: self.name };
        let Some(method) = self.method(index) else { return Err(panicked) };
        let mut answer = MaybeUninit::<R>::uninit();
        // SAFETY: the owner has the same types: `find` has compared their sizes and the function's name; the state is
        // alive while this holds it.
        let done = unsafe {
            (method.call)(
                (*self.table).state,
                std::ptr::from_ref(arguments).cast(),
                answer.as_mut_ptr().cast(),
            )
        };
        // SAFETY: a function that says so has written its answer.
        if done == 1 { Ok(unsafe { answer.assume_init() }) } else { Err(panicked) }
    }
}

/// A table with what it is for, freed by the last reference.
#[repr(C)]
struct Shared<T> {
    table: ServiceTable,
    value: Arc<T>,
}

/// Exports `value` under a name.
#[doc(hidden)]
pub fn export<T: Send + Sync + 'static>(
    control: &Control<'_>,
    identity: Identity<&'static str>,
    value: Arc<T>,
    methods: &'static [ServiceMethod],
) -> Result<(), Failure> {
    unsafe extern "C" fn retain<T>(table: *const ServiceTable) {
        // SAFETY: the table is the start of a `Shared<T>` in an `Arc` that the caller holds.
        unsafe { Arc::increment_strong_count(table.cast::<Shared<T>>()) };
    }
    unsafe extern "C" fn release<T>(table: *const ServiceTable) {
        // A destructor's panic must not cross the ABI; there is nobody to tell.
        let _ = guard(|| {
            // SAFETY: as above; the caller gives its reference up.
            unsafe { Arc::decrement_strong_count(table.cast::<Shared<T>>()) };
        });
    }
    let table = ServiceTable {
        size: size_of::<ServiceTable>() as u32,
        reserved: 0,
        state: Arc::as_ptr(&value).cast(),
        retain: retain::<T>,
        release: release::<T>,
        methods: Slice::new(methods),
    };
    let table = Arc::into_raw(Arc::new(Shared { table, value })).cast::<ServiceTable>();
    let Identity { name, major, minor } = identity;
    let identity = Identity { name: name.to_owned(), major, minor };
    let exported =
        control.call::<_, ()>("service.export", &Exported { identity, table: table as usize as u64 });
    if exported.is_err() {
        // SAFETY: the host has not taken the reference.
        unsafe { release::<T>(table) };
    }
    exported
}

/// Runs a function of a service for somebody else.
///
/// # Safety
/// `state` is the value that was exported; `arguments` and `answer` are the caller's, of these types.
#[doc(hidden)]
pub unsafe fn serve<T, A, R: IntoBytes + Immutable>(
    state: *const c_void,
    arguments: *const c_void,
    answer: *mut c_void,
    function: impl FnOnce(&T, &A) -> R,
) -> u32 {
    // SAFETY: as the caller vouches.
    let (state, arguments) = unsafe { (&*state.cast::<T>(), &*arguments.cast::<A>()) };
    match guard(|| function(state, arguments)) {
        Ok(value) => {
            // SAFETY: as the caller vouches.
            unsafe { answer.cast::<R>().write(value) };
            1
        }
        Err(_) => 0,
    }
}

/// What may go in and come out of a function: plain data, whose every byte pattern is a value.
#[doc(hidden)]
pub const fn plain<T: FromBytes + IntoBytes + Immutable + Copy + Send + 'static>() -> [usize; 2] {
    [size_of::<T>(), align_of::<T>()]
}

/// Hash of a function's name and of the sizes of what it takes and gives (FNV-1a).
#[doc(hidden)]
pub const fn shape(name: &str, sizes: &[[usize; 2]]) -> u64 {
    const fn mix(hash: u64, byte: u64) -> u64 {
        (hash ^ byte).wrapping_mul(0x0000_0100_0000_01b3)
    }
    let (bytes, mut hash, mut at) = (name.as_bytes(), 0xcbf2_9ce4_8422_2325, 0);
    while at < bytes.len() {
        hash = mix(hash, bytes[at] as u64);
        at += 1;
    }
    at = 0;
    while at < sizes.len() {
        hash = mix(mix(hash, sizes[at][0] as u64), sizes[at][1] as u64);
        at += 1;
    }
    hash
}

/// Declares a service: the trait that its owner implements, and the client by which others call it. See the
/// [module](mod@crate::service) for an example.
#[macro_export]
macro_rules! service {
    ($(#[$meta:meta])* $visibility:vis trait $service:ident, client $client:ident, name $name:literal,
        version ($major:literal, $minor:literal) {
        $($(#[$about:meta])* fn $function:ident(&self $(, $argument:ident: $kind:ty)* $(,)?) -> $answer:ty;)+
    }) => {
        $(#[$meta])*
        $visibility trait $service: Send + Sync + 'static {
            $($(#[$about])* fn $function(&self $(, $argument: $kind)*) -> $answer;)+
        }

        #[doc = concat!("Calls the service `", $name, "`.")]
        #[derive(Clone)]
        $visibility struct $client($crate::service::Client);

        const _: () = {
            const IDENTITY: $crate::service::Identity<&'static str> =
                $crate::service::Identity { name: $name, major: $major, minor: $minor };
            const SHAPES: &[u64] = &[$($crate::service::shape(
                stringify!($function),
                &[$($crate::service::plain::<$kind>(),)* $crate::service::plain::<$answer>()],
            )),+];

            $($crate::service!(@arguments $function $(, $argument: $kind)*);)+

            /// Numbers of the functions.
            #[allow(non_camel_case_types)]
            #[repr(usize)]
            enum Number { $($function),+ }

            struct Functions<T>(::std::marker::PhantomData<T>);

            impl<T: $service> Functions<T> {
                const METHODS: &'static [$crate::abi::ServiceMethod] = &[$($crate::abi::ServiceMethod {
                    shape: SHAPES[Number::$function as usize],
                    call: {
                        unsafe extern "C" fn raddle_shim<T: $service>(
                            state: *const ::std::ffi::c_void,
                            arguments: *const ::std::ffi::c_void,
                            answer: *mut ::std::ffi::c_void,
                        ) -> u32 {
                            // SAFETY: clients call this with the state that was exported beside it, and arguments and
                            // answer of the types whose shape they have compared.
                            unsafe {
                                $crate::service::serve(state, arguments, answer, |service: &T, arguments: &$function::Arguments| {
                                    let $function::Arguments { $($argument,)* } = *arguments;
                                    let answer: $answer = service.$function($($argument),*);
                                    answer
                                })
                            }
                        }
                        raddle_shim::<T>
                    },
                }),+];
            }

            impl $client {
                /// Offers the service to other plugins, as long as this one is there.
                ///
                /// # Errors
                /// Somebody offers a service of this name already.
                pub fn export<T: $service>(
                    control: &$crate::Control<'_>,
                    value: ::std::sync::Arc<T>,
                ) -> Result<(), $crate::Failure> {
                    $crate::service::export(control, IDENTITY, value, Functions::<T>::METHODS)
                }

                /// Finds the service. What is found stays usable; a plugin that is to be there as long as this one is named
                /// by `requires` in `plugin!`.
                ///
                /// # Errors
                /// Nobody offers it, or in another version.
                pub fn find(control: &$crate::Control<'_>) -> Result<Self, $crate::Failure> {
                    $crate::service::Client::find(control, IDENTITY, SHAPES).map(Self)
                }

                $(
                    $(#[$about])*
                    ///
                    /// # Errors
                    /// It panicked in its owner.
                    #[inline]
                    pub fn $function(&self $(, $argument: $kind)*) -> Result<$answer, $crate::service::ServicePanicked> {
                        self.0.call(Number::$function as usize, &$function::Arguments { $($argument,)* })
                    }
                )+
            }
        };
    };
    (@arguments $function:ident $(, $argument:ident: $kind:ty)*) => {
        mod $function {
            #[allow(unused_imports)]
            use super::*;

            /// What goes in.
            #[derive(Clone, Copy)]
            #[repr(C)]
            pub struct Arguments { $(pub $argument: $kind,)* }
        }
    };
}
