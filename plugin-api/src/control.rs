//! The control side: what init functions, commands, event functions and tasks can ask of the host.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::{LogLevel, Status, Text, sink_into};
use crate::counter::Counters;
use crate::instance::Instance;
use crate::sync::BarrierGuard;
use crate::{ArcIndex, Failure, Field, NodeIndex};

/// The main thread's view of the host. Functions that are handed one run on the main thread, between two passes of
/// its loop.
pub struct Control<'a> {
    instance: &'a Instance,
    main_thread: PhantomData<*mut ()>,
}

impl<'a> Control<'a> {
    /// The view of `instance` from the main thread.
    ///
    /// # Safety
    /// The calling thread is the host's main thread, between two passes of its loop, for as long as the value lives.
    #[doc(hidden)]
    pub unsafe fn new(instance: &'a Instance) -> Self {
        Self { instance, main_thread: PhantomData }
    }

    pub(crate) fn instance(&self) -> &'a Instance {
        self.instance
    }

    pub(crate) fn host(&self) -> &'a crate::abi::HostTable {
        // SAFETY: the host's table outlives its instances.
        unsafe { &*self.instance.host() }
    }

    /// Keeps `value` for this plugin's nodes, commands and later init functions, which find it by its type.
    ///
    /// # Errors
    /// There is one of this type already.
    pub fn provide<T: Any + Send + Sync>(&self, value: Arc<T>) -> Result<(), Failure> {
        self.instance.provide(value)
    }

    /// The value of this type that an init function of this plugin provided.
    ///
    /// # Errors
    /// None did.
    pub fn resource<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Failure> {
        self.instance.resource()
    }

    /// The plugin's section of the configuration file; the type's default if it is not there.
    ///
    /// # Errors
    /// The section is wrong: the message names line, column and the nearest known key.
    pub fn config<T: DeserializeOwned + Default>(&self, section: &str) -> Result<T, Failure> {
        // SAFETY: the host's function writes to the sink before it returns.
        let ((), text) = sink_into(|sink| unsafe { (self.host().config_text)(self.host().data, sink) });
        Ok(crate::config::parse_section(&text, section)?.unwrap_or_default())
    }

    /// Calls a method of the control plane by name; the typed functions of the SDK are made of it.
    ///
    /// # Errors
    /// The method's own, or that there is no such method.
    pub fn call<A: Serialize, R: DeserializeOwned>(&self, method: &str, arguments: &A) -> Result<R, Failure> {
        let arguments = serde_json::to_string(arguments)?;
        let (status, answer) = sink_into(|sink| {
            // SAFETY: texts and sink live until the call returns.
            unsafe { (self.host().call)(self.host().data, Text::new(method), Text::new(&arguments), sink) }
        });
        if status != Status::OK {
            return Err(Failure::new(answer));
        }
        serde_json::from_str(&answer)
            .map_err(|error| crate::failure!("method {method} answered {answer:?}: {error}"))
    }

    /// The directory that the daemon keeps what outlives it in, for files that begin with the plugin's name; `None` if it has none. It
    /// may have to be made. Since ABI 1.2.
    pub fn state_directory(&self) -> Option<std::path::PathBuf> {
        // A host that does not know the method has none.
        self.call("daemon.state-directory", &()).ok().flatten()
    }

    /// Writes a log line. The macros [`log_error!`](crate::log_error) and its like are shorter.
    pub fn log(&self, level: LogLevel, message: impl std::fmt::Display) {
        // SAFETY: the host's table outlives its instances.
        unsafe { crate::log::write(self.host(), level, &message.to_string()) };
    }

    /// Threads of the graph, the main one among them: see [`crate::Worker::thread_count`].
    pub fn thread_count(&self) -> u32 {
        self.host().thread_count
    }

    /// Counters of one name, `length` per thread. The same name gives the same counters, also after a reload.
    ///
    /// # Errors
    /// The host has no memory for them, or the name is taken with another length.
    pub fn counters(&self, name: &str, length: usize) -> Result<Counters, Failure> {
        // SAFETY: the name lives until the call returns.
        let memory = unsafe { (self.host().counters)(self.host().data, Text::new(name), length) };
        Counters::from_memory(memory).ok_or_else(|| {
            crate::failure!("no memory for {length} counters `{name}`, or they have another length")
        })
    }

    /// A per-packet field of this name. It holds what was last written for the packet, or anything if nothing was.
    ///
    /// # Errors
    /// No room is left, or the name is taken with another size.
    pub fn packet_field<T: FromBytes + IntoBytes + Immutable + Copy>(
        &self,
        name: &str,
    ) -> Result<Field<T>, Failure> {
        let (size, align) = (size_of::<T>(), align_of::<T>());
        // SAFETY: the name lives until the call returns.
        let offset =
            unsafe { (self.host().field)(self.host().data, Text::new(name), size as u32, align as u32) };
        let end = (offset as usize).saturating_add(size);
        if end > size_of::<crate::abi::BufferHeader>() || !(offset as usize).is_multiple_of(align) {
            crate::bail!("no room for the per-packet field `{name}` of {size} bytes, or it has another size");
        }
        Ok(Field { offset, content: PhantomData })
    }

    /// The feature arc of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn arc(&self, name: &str) -> Result<ArcIndex, Failure> {
        // SAFETY: the name lives until the call returns.
        let index = unsafe { (self.host().arc)(self.host().data, Text::new(name)) };
        u8::try_from(index).map(ArcIndex).map_err(|_| crate::failure!("there is no feature arc `{name}`"))
    }

    /// The node of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<NodeIndex, Failure> {
        // SAFETY: the name lives until the call returns.
        let index = unsafe { (self.host().node)(self.host().data, Text::new(name)) };
        u16::try_from(index).map(NodeIndex).map_err(|_| crate::failure!("there is no node `{name}`"))
    }

    /// Runs `run` on the main thread once every thread has passed a quiescent point: whatever was read by a worker
    /// before this call is not in anybody's hands any more.
    pub fn defer(&self, run: impl FnOnce(&mut Control<'_>) + 'static) {
        type Deferred = (*const Instance, Box<dyn FnOnce(&mut Control<'_>)>);
        unsafe extern "C" fn run_deferred(state: *mut std::ffi::c_void) {
            // SAFETY: made by `Box::into_raw` below and handed over once.
            let (instance, run) = *unsafe { Box::from_raw(state.cast::<Deferred>()) };
            // SAFETY: the host runs this on its main thread, between two passes; instances outlive what they deferred.
            let mut control = unsafe { Control::new(&*instance) };
            if let Err(panic) = crate::guard::guard(|| run(&mut control)) {
                control.log(LogLevel::ERROR, format_args!("a deferred call panicked: {panic}"));
            }
        }
        let state: Deferred = (self.instance, Box::new(run));
        // SAFETY: the state is handed over; this is the main thread.
        unsafe {
            (self.host().retire)(self.host().data, Box::into_raw(Box::new(state)).cast(), run_deferred)
        };
    }

    /// Monotonic time now, in ns.
    pub fn now_ns(&self) -> u64 {
        // SAFETY: may be called from any thread.
        unsafe { (self.host().now_ns)(self.host().data) }
    }

    /// Stops the workers between two passes of their loops until the guard is dropped; `cause` shows in `show barrier`.
    ///
    /// The guard borrows the control side mutably: nothing that was read under it is still around while cells change.
    pub fn barrier(&mut self, cause: &str) -> BarrierGuard<'_> {
        BarrierGuard::acquire(self.host(), cause)
    }
}

/// What [`crate::Node::new`] is handed: the control side, and for which thread the state is made.
pub struct NodeInit<'a> {
    control: Control<'a>,
    thread_index: u32,
}

impl<'a> NodeInit<'a> {
    pub(crate) fn new(control: Control<'a>, thread_index: u32) -> Self {
        Self { control, thread_index }
    }

    /// The thread that will run the node: 0 is the main thread, workers count from 1.
    pub fn thread_index(&self) -> u32 {
        self.thread_index
    }
}

impl<'a> std::ops::Deref for NodeInit<'a> {
    type Target = Control<'a>;

    fn deref(&self) -> &Control<'a> {
        &self.control
    }
}
