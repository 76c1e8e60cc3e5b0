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
