//! Another version of the image in the place of the one that runs.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::Harness;
use super::harness::outcome;
use super::image;
use crate::Failure;
use crate::abi::{Sink, StateRegistration, Status, Text, sink_into, sink_into_bytes};

/// Name, version and bytes of what was exported.
type Exported = Vec<(&'static str, u32, Vec<u8>)>;

impl Harness {
    /// Has another instance of this image take the place of the one that runs, as `plugin upgrade` does with another version:
    /// tables that the host keeps are adopted, exported state is imported, nodes are made anew, and the exit functions
    /// of the old instance run. Tasks, watched descriptors and services of the old one end first.
    ///
    /// # Panics
    /// The new one cannot take over.
    #[track_caller]
    pub fn upgrade(&mut self) {
        if let Err(failure) = self.try_upgrade() {
            panic!("another version takes over: {failure}");
        }
    }

    fn try_upgrade(&mut self) -> Result<(), Failure> {
        self.drop_tasks();
        super::method::forget_services(self.host);
        let old = std::mem::replace(&mut self.instance, self.host.new_instance());
        let old_ptr: *mut c_void = std::ptr::from_ref(old).cast_mut().cast();
        self.try_load()?;
        let exported = export(old_ptr)?;
        import(self.instance_ptr(), &exported)?;
        let names = self.graph.names();
        self.graph.clear();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.nodes(&names);
        self.host.replaces.store(true, Ordering::Release);
        let exits = image::exits().into_iter().try_for_each(|exit| {
            // SAFETY: the old instance is alive; this is the main thread, and no node runs.
            let (status, reason) = sink_into(|sink| unsafe { (exit.run)(old_ptr, sink) });
            outcome(status, reason).map_err(|failure| failure.context(image::text(&exit.name)))
        });
        self.host.replaces.store(false, Ordering::Release);
        self.settle();
        old.forget_resources();
        exits
    }
}

fn export(instance: *mut c_void) -> Result<Exported, Failure> {
    let one = |state: StateRegistration| {
        let ((status, reason), bytes) = sink_into_bytes(|bytes: Sink| {
            // SAFETY: the instance is alive; the sinks live until the call returns.
            sink_into(|error| unsafe { (state.export_state)(instance, bytes, error) })
        });
        outcome(status, reason)?;
        Ok((image::text(&state.name), state.version, bytes))
    };
    image::states().into_iter().map(one).collect()
}

fn import(instance: *mut c_void, exported: &Exported) -> Result<(), Failure> {
    for state in image::states() {
        let name = image::text(&state.name);
        for (_, version, bytes) in exported.iter().filter(|(exported, ..)| *exported == name) {
            let (status, reason): (Status, String) = sink_into(|error| {
                // SAFETY: the instance is alive; bytes and sink live until the call returns.
                unsafe { (state.import_state)(instance, *version, Text::bytes(bytes), error) }
            });
            outcome(status, reason).map_err(|failure| failure.context(name))?;
        }
    }
    Ok(())
}
