//! The engine as a whole, without interfaces of the outside world.

use std::time::Duration;

use super::*;

fn engine(workers: usize) -> Box<Engine> {
    let workers = vec![Default::default(); workers];
    let engine =
        Engine::create(EngineConfig { workers, buffers: 4096, ..Default::default() }).expect("an engine");
    engine.start_workers().expect("workers");
    engine
}

#[test]
fn starts_and_ends_with_and_without_workers() {
    for workers in 0..3 {
        let engine = engine(workers);
        assert!(!engine.run_until(Duration::from_millis(20), || false));
        drop(engine);
    }
}

#[test]
fn the_core_image_is_active_and_its_nodes_are_known() {
    let engine = engine(1);
    engine.for_each_image(|image| assert_eq!(image.state, ImageState::Active, "{}", image.parts.name));
    assert!(engine.graph.borrow().find("interface-output").is_some());
}

#[test]
fn closures_reach_the_main_thread_from_others() {
    let engine = engine(0);
    let (remote, (sender, receiver)) = (engine.remote(), std::sync::mpsc::channel());
    let other = std::thread::spawn(move || remote.run(move |_| sender.send(7).expect("somebody waits")));
    let mut got = None;
    assert!(engine.run_until(Duration::from_secs(5), || {
        got = got.or(receiver.try_recv().ok());
        got.is_some()
    }));
    other.join().expect("it only sent");
    assert_eq!(got, Some(7));
}

#[test]
fn features_are_on_while_somebody_holds_them_and_off_with_their_interface() {
    let engine = engine(0);
    let request = || InterfaceRequest {
        made_by: None,
        name: "lo0".to_owned(),
        driver: "loopback".to_owned(),
        mac: None,
        mtu: None,
        options: serde_json::Value::Null,
    };
    let interface = engine.add_interface(request()).expect("an interface").0;
    let is_on = || {
        let arcs = engine.features.borrow();
        arcs.enabled(interface).iter().any(|(_, features)| features.contains(&"ip4-virtual-reassembly"))
    };
    let hold = |held| engine.hold_feature(interface, "ip4-virtual-reassembly", held);
    hold(true).expect("known");
    engine.set_feature(interface, "ip4-virtual-reassembly", true).expect("known");
    engine.set_feature(interface, "ip4-virtual-reassembly", false).expect("known");
    assert!(is_on() && !engine.is_feature_set(interface, "ip4-virtual-reassembly"));
    hold(false).expect("held");
    assert!(!is_on() && hold(false).is_err());
    assert!(engine.hold_feature(interface, "ip4-vritual-reassembly", true).is_err());
    hold(true).expect("known");
    engine.remove_interface(interface);
    let again = engine.add_interface(request()).expect("an interface").0;
    assert!(again != interface || !is_on());
}

/// An image whose init function defers a call and fails.
mod failing {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicBool, Ordering};

    use raddle_plugin_api::abi::{HostTable, InitRegistration, Registrations, Sink, Slice, Status, Text};

    use crate::host::ImageParts;

    static ALIVE: AtomicBool = AtomicBool::new(false);
    /// Whether the deferred call has run while the instance was there.
    pub static RAN_IN_TIME: AtomicBool = AtomicBool::new(false);

    unsafe extern "C" fn create(host: *const HostTable, _: Sink) -> *mut c_void {
        ALIVE.store(true, Ordering::Relaxed);
        Box::into_raw(Box::new(host)).cast()
    }

    unsafe extern "C" fn drop_instance(instance: *mut c_void) {
        ALIVE.store(false, Ordering::Relaxed);
        // SAFETY: made by `create`, dropped once.
        drop(unsafe { Box::from_raw(instance.cast::<*const HostTable>()) });
    }

    unsafe extern "C" fn deferred(_: *mut c_void) {
        RAN_IN_TIME.store(ALIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    unsafe extern "C" fn init(instance: *mut c_void, error: Sink) -> Status {
        // SAFETY: the instance is `create`'s, the host outlives it, and this is the main thread.
        unsafe {
            let host = *instance.cast::<*const HostTable>();
            ((*host).retire)((*host).data, instance, deferred);
            error.write("it does not want to");
        }
        Status::FAILED
    }

    static INITS: [InitRegistration; 1] = [InitRegistration {
        size: size_of::<InitRegistration>() as u32,
        reserved: 0,
        name: Text::new("failing-init"),
        runs_before: Slice::EMPTY,
        runs_after: Slice::EMPTY,
        run: init,
    }];

    pub fn parts() -> ImageParts {
        ImageParts {
            name: "failing".into(),
            version: "1.0.0".into(),
            summary: String::new(),
            built_with: String::new(),
            abi: "1.2".into(),
            path: None,
            steps: Vec::new(),
            mapped: (0, 0),
            code: None,
            create,
            drop: drop_instance,
            registrations: Registrations { inits: Slice::new(&INITS), ..Registrations::empty() },
        }
    }
}

#[test]
fn what_a_refused_image_has_deferred_runs_before_its_instance_is_gone() {
    let engine = engine(1);
    let (name, outcome) = engine.add_images(vec![failing::parts()]).pop().expect("an outcome");
    assert_eq!(name, "failing");
    assert!(outcome.expect_err("its init function fails").to_string().contains("it does not want to"));
    assert!(failing::RAN_IN_TIME.load(std::sync::atomic::Ordering::Relaxed));
}
