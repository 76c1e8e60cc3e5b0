//! Registration by declaration: the slices, and the macros that fill them.

use std::ffi::c_void;

use linkme::distributed_slice;
use serde::de::DeserializeOwned;

use crate::abi::{
    ArcRegistration, CommandRegistration, ConfigRegistration, Dependency, DriverRegistration,
    EventRegistration, ExitRegistration, FeatureRegistration, Frame, InitRegistration, NodeContext, NodeKind,
    NodeRegistration, Registrations, Sink, Slice, Status, Text,
};
use crate::guard::{boxed, guard, status};
use crate::instance::Instance;
use crate::{Control, Errors, Failure, InputNode, Next, Node, NodeInit, Output, Vector};

macro_rules! slices {
    ($($(#[$meta:meta])* $name:ident: $kind:ty, $field:ident;)*) => {
        $(
            $(#[$meta])*
            #[doc(hidden)]
            #[distributed_slice]
            pub static $name: [$kind];
        )*

        /// Everything that is registered in this image.
        #[doc(hidden)]
        pub fn registrations() -> Registrations {
            Registrations { $($field: Slice::new(&$name),)* ..Registrations::empty() }
        }
    };
}

slices! {
    /// Init functions of this image.
    INITS: InitRegistration, inits;
    /// Exit functions of this image.
    EXITS: ExitRegistration, exits;
    /// Nodes of this image.
    NODES: NodeRegistration, nodes;
    /// Feature arcs of this image.
    ARCS: ArcRegistration, arcs;
    /// Features of this image.
    FEATURES: FeatureRegistration, features;
    /// Commands of this image.
    COMMANDS: CommandRegistration, commands;
    /// Configuration sections of this image.
    CONFIGS: ConfigRegistration, configs;
    /// Interface drivers of this image.
    DRIVERS: DriverRegistration, drivers;
    /// Event functions of this image.
    EVENTS: EventRegistration, events;
    /// Plugins that this image needs.
    DEPENDENCIES: Dependency, dependencies;
}

/// Fills in `into` as far as its reader knows the struct.
///
/// # Safety
/// `into` is writable for the bytes that its first field says.
#[doc(hidden)]
pub unsafe fn fill_registrations(into: *mut Registrations) {
    let ours = registrations();
    // SAFETY: as the caller vouches.
    let size = unsafe { (*into).size };
    let length = (size as usize).min(size_of::<Registrations>());
    // SAFETY: `length` bytes are readable here and writable there; the reader's size is put back.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const ours).cast::<u8>(), into.cast::<u8>(), length);
        (*into).size = size;
    }
}

/// The registration of node `N`.
#[doc(hidden)]
pub const fn node_registration<N: Node>() -> NodeRegistration {
    unsafe extern "C" fn create<N: Node>(instance: *mut c_void, thread: u32, error: Sink) -> *mut c_void {
        // SAFETY: the host hands over the instance that the plugin made, on its main thread, between two passes.
        unsafe { boxed(error, || N::new(&NodeInit::new(Control::new(Instance::from_ptr(instance)), thread))) }
    }
    unsafe extern "C" fn run<N: Node>(node: *mut NodeContext, frame: *mut Frame) -> u32 {
        // SAFETY: the host hands over the node's context and a frame that is this call's.
        let (state, count) = unsafe { ((*node).state.cast::<N>(), (*frame).count) };
        let mut done = false;
        let outcome = guard(|| {
            // SAFETY: `state` is what `create` boxed for this thread, which runs one call at a time; for the vector
            // as above.
            unsafe { (*state).process(Vector::new(node, frame, &mut done)) };
        });
        match outcome {
            Ok(()) if done => count,
            // Not consumed: the host drops what is still in the frame, as after a panic.
            Ok(()) | Err(_) => u32::MAX,
        }
    }
    NodeRegistration {
        size: size_of::<NodeRegistration>() as u32,
        kind: NodeKind::INTERNAL,
        name: Text::new(N::NAME),
        nexts: Slice::new(<N::Next as Next>::NAMES),
        errors: Slice::new(<N::Error as Errors>::NAMES),
        error_texts: Slice::new(<N::Error as Errors>::TEXTS),
        create: create::<N>,
        drop: drop_state::<N>,
        run: run::<N>,
    }
}

/// The registration of input node `N`.
#[doc(hidden)]
pub const fn input_node_registration<N: InputNode>() -> NodeRegistration {
    unsafe extern "C" fn create<N: InputNode>(
        instance: *mut c_void,
        thread: u32,
        error: Sink,
    ) -> *mut c_void {
        // SAFETY: as in `node_registration`.
        unsafe { boxed(error, || N::new(&NodeInit::new(Control::new(Instance::from_ptr(instance)), thread))) }
    }
    unsafe extern "C" fn run<N: InputNode>(node: *mut NodeContext, _: *mut Frame) -> u32 {
        let mut sent = 0;
        let outcome = guard(|| {
            // SAFETY: `state` is what `create` boxed for this thread, which runs one call at a time.
            unsafe { (*(*node).state.cast::<N>()).poll(&mut Output::new(node, &mut sent)) };
        });
        outcome.map_or(u32::MAX, |()| sent)
    }
    NodeRegistration {
        size: size_of::<NodeRegistration>() as u32,
        kind: NodeKind::INPUT,
        name: Text::new(N::NAME),
        nexts: Slice::new(<N::Next as Next>::NAMES),
        errors: Slice::EMPTY,
        error_texts: Slice::EMPTY,
        create: create::<N>,
        drop: drop_state::<N>,
        run: run::<N>,
    }
}

unsafe extern "C" fn drop_state<T>(state: *mut c_void) {
    // SAFETY: boxed by `create`, dropped once by the host when no thread runs the node any more.
    let drop_it = || drop(unsafe { Box::from_raw(state.cast::<T>()) });
    // A panicking destructor must not cross the ABI; there is nobody to tell.
    let _ = guard(drop_it);
}

/// # Safety
/// Called by the host on its main thread with the plugin's instance.
#[doc(hidden)]
pub unsafe fn run_control(
    function: fn(&mut Control<'_>) -> Result<(), Failure>,
    instance: *mut c_void,
    error: Sink,
) -> Status {
    // SAFETY: as the caller vouches.
    unsafe { status(error, || function(&mut Control::new(Instance::from_ptr(instance)))) }
}

/// # Safety
/// As [`run_control`]; `event` lives until the call returns.
#[doc(hidden)]
pub unsafe fn run_event<E: DeserializeOwned>(
    function: fn(&mut Control<'_>, E) -> Result<(), Failure>,
    instance: *mut c_void,
    event: Text,
    error: Sink,
) -> Status {
    // SAFETY: as the caller vouches.
    unsafe {
        status(error, || {
            let event = serde_json::from_str(event.as_str().unwrap_or("null"))?;
            function(&mut Control::new(Instance::from_ptr(instance)), event)
        })
    }
}

/// # Safety
/// `text` and `error` live until the call returns.
#[doc(hidden)]
pub unsafe fn check_config<T: DeserializeOwned>(section: &str, text: Text, error: Sink) -> Status {
    // SAFETY: as the caller vouches.
    unsafe {
        checked(error, || crate::config::parse_section::<T>(text.as_str().unwrap_or(""), section).map(drop))
    }
}

/// Runs a check of a configuration text; what is wrong goes into the sink as JSON.
///
/// # Safety
/// `error` lives until the call returns.
pub(crate) unsafe fn checked(
    error: Sink,
    check: impl FnOnce() -> Result<(), crate::config::SectionError>,
) -> Status {
    let (status, message) = match guard(check) {
        Ok(Ok(())) => return Status::OK,
        Ok(Err(wrong)) => {
            (Status::FAILED, serde_json::to_string(&wrong).unwrap_or_else(|_| wrong.to_string()))
        }
        Err(panic) => (Status::PANICKED, panic),
    };
    // SAFETY: as the caller vouches.
    unsafe { error.write(&message) };
    status
}

/// Registers a type that implements [`Node`](crate::Node).
#[macro_export]
macro_rules! node {
    ($node:ty) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::NODES)]
            #[linkme(crate = $crate::linkme)]
            static NODE: $crate::abi::NodeRegistration = $crate::registration::node_registration::<$node>();
        };
    };
}

/// Registers a type that implements [`InputNode`](crate::InputNode).
#[macro_export]
macro_rules! input_node {
    ($node:ty) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::NODES)]
            #[linkme(crate = $crate::linkme)]
            static NODE: $crate::abi::NodeRegistration =
                $crate::registration::input_node_registration::<$node>();
        };
    };
}

/// Registers an init function, `fn(&mut Control<'_>) -> Result<(), Failure>`:
/// `init! { "my-init", my_init, runs_after: ["other-init"], runs_before: [] }`.
#[macro_export]
macro_rules! init {
    ($name:literal, $function:path
        $(, runs_after: [$($after:literal),* $(,)?])? $(, runs_before: [$($before:literal),* $(,)?])? $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::INITS)]
            #[linkme(crate = $crate::linkme)]
            static INIT: $crate::abi::InitRegistration = $crate::abi::InitRegistration {
                size: size_of::<$crate::abi::InitRegistration>() as u32,
                reserved: 0,
                name: $crate::abi::Text::new($name),
                runs_before: $crate::abi::Slice::new(&[$($($crate::abi::Text::new($before)),*)?]),
                runs_after: $crate::abi::Slice::new(&[$($($crate::abi::Text::new($after)),*)?]),
                run: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `InitRegistration::run`.
                        unsafe { $crate::registration::run_control($function, instance, error) }
                    }
                    raddle_shim
                },
            };
        };
    };
}

/// Registers an exit function, `fn(&mut Control<'_>) -> Result<(), Failure>`: `exit! { "my-exit", my_exit }`.
#[macro_export]
macro_rules! exit {
    ($name:literal, $function:path $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::EXITS)]
            #[linkme(crate = $crate::linkme)]
            static EXIT: $crate::abi::ExitRegistration = $crate::abi::ExitRegistration {
                size: size_of::<$crate::abi::ExitRegistration>() as u32,
                reserved: 0,
                name: $crate::abi::Text::new($name),
                run: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `ExitRegistration::run`.
                        unsafe { $crate::registration::run_control($function, instance, error) }
                    }
                    raddle_shim
                },
            };
        };
    };
}

/// Registers a feature arc: `arc! { "ip4-unicast", end: "ip4-lookup" }`.
#[macro_export]
macro_rules! arc {
    ($name:literal, end: $end:literal $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::ARCS)]
            #[linkme(crate = $crate::linkme)]
            static ARC: $crate::abi::ArcRegistration = $crate::abi::ArcRegistration {
                size: size_of::<$crate::abi::ArcRegistration>() as u32,
                reserved: 0,
                name: $crate::abi::Text::new($name),
                end: $crate::abi::Text::new($end),
            };
        };
    };
}

/// Registers a node as a feature of an arc:
/// `feature! { "my-feature", node: MyNode, arc: "ip4-unicast", runs_after: ["acl"], runs_before: ["nat64"] }`, and
/// `fail_closed` at the end where packets must not pass without it.
#[macro_export]
macro_rules! feature {
    (@closed $closed:literal, $name:literal, $node:ty, $arc:literal, [$($after:literal),*], [$($before:literal),*]) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::FEATURES)]
            #[linkme(crate = $crate::linkme)]
            static FEATURE: $crate::abi::FeatureRegistration = $crate::abi::FeatureRegistration {
                size: size_of::<$crate::abi::FeatureRegistration>() as u32,
                fail_closed: $closed,
                arc: $crate::abi::Text::new($arc),
                name: $crate::abi::Text::new($name),
                node: $crate::abi::Text::new(<$node as $crate::Node>::NAME),
                runs_before: $crate::abi::Slice::new(&[$($crate::abi::Text::new($before)),*]),
                runs_after: $crate::abi::Slice::new(&[$($crate::abi::Text::new($after)),*]),
            };
        };
    };
    ($name:literal, node: $node:ty, arc: $arc:literal
        $(, runs_after: [$($after:literal),* $(,)?])? $(, runs_before: [$($before:literal),* $(,)?])?
        , fail_closed $(,)?) => {
        $crate::feature!(@closed 1, $name, $node, $arc, [$($($after),*)?], [$($($before),*)?]);
    };
    ($name:literal, node: $node:ty, arc: $arc:literal
        $(, runs_after: [$($after:literal),* $(,)?])? $(, runs_before: [$($before:literal),* $(,)?])? $(,)?) => {
        $crate::feature!(@closed 0, $name, $node, $arc, [$($($after),*)?], [$($($before),*)?]);
    };
}

/// Registers a command: its usage, from which it is parsed, completed and explained; a line on what it does; and the
/// function, `fn(&mut Control<'_>, Arguments) -> Result<impl Output, Failure>`, whose `Arguments` are a struct with a
/// serde field for each `<name>` (an option where the usage has it in brackets; a `bool` for a word in brackets).
///
/// `command! { "flow-count show [<interface>]", "shows the packets counted", show }`
///
/// With `async` in front of the function, it returns a future of that result instead, which borrows nothing:
/// `Result<impl Future<Output = Result<impl Output, Failure>> + use<>, Failure>`.
#[macro_export]
macro_rules! command {
    (@run $usage:literal, $summary:literal, $run:path, $function:path) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::COMMANDS)]
            #[linkme(crate = $crate::linkme)]
            static COMMAND: $crate::abi::CommandRegistration = $crate::abi::CommandRegistration {
                size: size_of::<$crate::abi::CommandRegistration>() as u32,
                reserved: 0,
                usage: $crate::abi::Text::new($usage),
                summary: $crate::abi::Text::new($summary),
                run: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        arguments: $crate::abi::Text,
                        command: u64,
                    ) {
                        // SAFETY: the host calls this as `CommandRegistration::run`, on its main thread.
                        unsafe { $run($function, instance, arguments, command) }
                    }
                    raddle_shim
                },
            };
        };
    };
    ($usage:literal, $summary:literal, async $function:path $(,)?) => {
        $crate::command!(@run $usage, $summary, $crate::command::run_async_command, $function);
    };
    ($usage:literal, $summary:literal, $function:path $(,)?) => {
        $crate::command!(@run $usage, $summary, $crate::command::run_command, $function);
    };
}

/// Registers the type of a section of the configuration file: `config! { "flow-count", FlowConfig }`. The type
/// implements `Deserialize` (with `deny_unknown_fields`), `Default` and `JsonSchema`.
#[macro_export]
macro_rules! config {
    ($section:literal, $kind:ty $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::CONFIGS)]
            #[linkme(crate = $crate::linkme)]
            static CONFIG: $crate::abi::ConfigRegistration = $crate::abi::ConfigRegistration {
                size: size_of::<$crate::abi::ConfigRegistration>() as u32,
                reserved: 0,
                section: $crate::abi::Text::new($section),
                check: {
                    unsafe extern "C" fn check(
                        text: $crate::abi::Text,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `ConfigRegistration::check`.
                        unsafe { $crate::registration::check_config::<$kind>($section, text, error) }
                    }
                    check
                },
                schema: $crate::registration::write_schema::<$kind>,
            };
        };
    };
}

/// Registers a function that hears of events of a subject, `fn(&mut Control<'_>, Event) -> Result<(), Failure>`:
/// `on_event! { "interface", interface_changed }`.
#[macro_export]
macro_rules! on_event {
    ($subject:literal, $function:path $(,)?) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::EVENTS)]
            #[linkme(crate = $crate::linkme)]
            static EVENT: $crate::abi::EventRegistration = $crate::abi::EventRegistration {
                size: size_of::<$crate::abi::EventRegistration>() as u32,
                reserved: 0,
                subject: $crate::abi::Text::new($subject),
                run: {
                    unsafe extern "C" fn raddle_shim(
                        instance: *mut ::std::ffi::c_void,
                        event: $crate::abi::Text,
                        error: $crate::abi::Sink,
                    ) -> $crate::abi::Status {
                        // SAFETY: the host calls this as `EventRegistration::run`.
                        unsafe { $crate::registration::run_event($function, instance, event, error) }
                    }
                    raddle_shim
                },
            };
        };
    };
}

/// Writes the JSON Schema of `T`.
///
/// # Safety
/// `schema` lives until the call returns.
#[doc(hidden)]
pub unsafe extern "C" fn write_schema<T: schemars::JsonSchema>(schema: Sink) {
    let text =
        guard(|| serde_json::to_string(&schemars::schema_for!(T)).unwrap_or_default()).unwrap_or_default();
    // SAFETY: as the caller vouches.
    unsafe { schema.write(&text) };
}
