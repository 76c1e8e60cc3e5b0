//! The executor against a real engine.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::protocol::tests::answer;
use super::protocol::{Executor, Format};
use super::test_engine::with_engine;

#[test]
fn a_line_is_carried_out_or_refused_with_its_usage() {
    with_engine(0, |session| {
        assert_eq!(session.text("show errors"), "no packet was dropped");
        assert_eq!(session.text("sh err"), "no packet was dropped");
        assert_eq!(session.data("# a remark"), Value::Null);
        assert_eq!(session.text("   "), "");
        let refused = session.refusal("set interface state nowhere");
        assert_eq!(refused.usage.as_deref(), Some("set interface state <interface> up|down"));
        assert_eq!(session.refusal("shwo errors").message, "unknown command `shwo`; did you mean `show`?");
        assert!(session.text("help show").contains("show runtime"));
        assert!(session.text("show ?").contains("interface"));
        let answered =
            answer("{\"id\":3,\"command\":\"show errors\",\"format\":\"json\"}", &*session.executor);
        assert_eq!(answered, "{\"id\":3,\"ok\":true,\"data\":[]}");
    });
}

#[test]
fn names_of_the_engine_complete_a_line() {
    with_engine(0, |session| {
        session
            .executor
            .ask(|engine| {
                for name in ["tap0", "tap1", "loop"] {
                    let request = serde_json::json!({"name": name, "driver": "test"});
                    engine.call("interface.create", request).expect("a new interface");
                }
            })
            .expect("an engine");
        assert_eq!(session.candidates("show interface t"), ["tap0", "tap1"]);
        assert_eq!(session.candidates("set interface state loop "), ["down", "up"]);
        assert!(session.candidates("se").contains(&"set".to_owned()));
    });
}

#[test]
fn many_threads_are_served_at_a_time() {
    with_engine(1, |session| {
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert!(session.data("show runtime")["threads"].is_array());
                    }
                });
            }
        });
    });
}

#[test]
fn commands_that_come_later_are_found() {
    with_engine(0, |session| {
        assert!(session.refusal("version of-nothing").message.contains("unknown command"));
        // The version changes while the line is read with the old one: it is read again.
        session
            .executor
            .ask(|engine| engine.quarantine(crate::graph::Owner(99), "nothing"))
            .expect("an engine");
        assert_eq!(session.text("show errors"), "no packet was dropped");
    });
}

#[test]
fn calls_that_wait_end_when_the_executor_stops() {
    with_engine(0, |session| {
        let asked = Instant::now();
        std::thread::scope(|scope| {
            // The main thread is kept busy, so that nothing is answered in time.
            session
                .executor
                .ask(|engine| {
                    engine.remote().run(|_| std::thread::sleep(Duration::from_secs(2)));
                })
                .expect("an engine");
            let waiting: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| session.executor.execute("show errors", Format::Both)))
                .collect();
            std::thread::sleep(Duration::from_millis(100));
            session.executor.stop();
            for call in waiting {
                let refused = call.join().expect("no panic").expect_err("the engine stops");
                assert_eq!(refused.message, "raddle is stopping");
            }
            assert!(asked.elapsed() < Duration::from_secs(2));
        });
        assert_eq!(session.refusal("show errors").message, "raddle is stopping");
        assert_eq!(session.candidates("sh"), [""; 0]);
    });
}
