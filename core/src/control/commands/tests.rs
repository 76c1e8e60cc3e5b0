//! Every command once as text and as JSON, against a real engine.

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};
use serde_json::{Value, json};

use crate::control::test_engine::{Session, with_engine};

/// Waits until the test device's frames have been dropped.
fn wait_for_drops(session: &Session, count: u64) -> Value {
    for _ in 0..2000 {
        let errors = session.data("show errors");
        let dropped: u64 =
            errors.as_array().expect("rows").iter().filter_map(|row| row["count"].as_u64()).sum();
        if dropped >= count {
            return errors;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the frames were not dropped: {}", session.text("show runtime verbose"));
}

#[test]
fn interfaces_are_made_changed_shown_and_deleted() {
    with_engine(1, |session| {
        assert_eq!(session.text("show interface verbose"), "no interface");
        assert!(session.text("show interface").starts_with("name  state  driver"));
        let made = session.data("interface create lan driver test device lan0 mtu 2000 labels a,b");
        assert_eq!(
            (&made["name"], &made["admin-up"], &made["mtu"]),
            (&json!("lan"), &json!(false), &json!(2000))
        );
        let text = session.text("interface create wan driver test up mac 02:00:00:00:99:01 link off");
        assert_eq!(text, "interface `wan` is made, and waits: no cable; []");
        let rows = session.data("show interface");
        assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&json!("admin-down"), &json!("down")));
        assert!(
            session.text("show interface").ends_with("\nwan: no cable; []"),
            "{}",
            session.text("show interface")
        );
        for key in ["rx-packets", "rx-bytes", "tx-packets", "tx-bytes"] {
            assert_eq!(rows[0][key], json!(0), "{key}");
        }
        for line in [
            "set interface state lan up",
            "set interface mtu lan 1400",
            "set interface mac lan 02:00:00:00:99:02",
            "set interface promiscuous lan on",
            "set interface rx-mode lan interrupt",
            "set interface l2 xconnect lan wan",
        ] {
            assert_eq!(session.text(line), "", "{line}");
        }
        let lan = &session.data("show interface lan verbose")[0];
        let expected = json!({
            "name": "lan", "state": "up", "driver": "test", "mtu": 1400, "mac": "02:00:00:00:99:02",
            "promiscuous": true, "rx-mode": "interrupt", "l2-xconnect": "wan", "details": {"speed": "10 kbit/s"},
        });
        for (key, value) in expected.as_object().expect("an object") {
            assert_eq!(&lan[key], value, "{key}");
        }
        let text = session.text("show interface lan verbose");
        for part in ["lan is up", "mtu 1400 bytes", "to wan", "speed: 10 kbit/s", "rx           0 packets"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        session.text("set interface l3 lan");
        assert_eq!(session.data("show interface lan")[0]["l2-xconnect"], Value::Null);
        session.text("set interface state lan down");
        assert_eq!(session.data("show interface lan")[0]["state"], "admin-down");
        assert_eq!(session.text("interface delete wan"), "");
        assert_eq!(session.data("show interface").as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn names_that_do_not_exist_are_told_with_the_nearest() {
    with_engine(0, |session| {
        session.text("interface create uplink driver test");
        let cases = [
            ("show interface uplnik", "there is no interface `uplnik`; did you mean `uplink`?"),
            ("set interface state uplinc up", "there is no interface `uplinc`; did you mean `uplink`?"),
            ("interface delete nowhere", "there is no interface `nowhere`"),
            ("interface create uplink driver test", "interface `uplink` exists already"),
            ("interface create x driver tset", "there is no driver `tset`; did you mean `test`?"),
            (
                "interface create x driver test devcie a",
                "driver `test` has no option `devcie`; did you mean `device`?",
            ),
            ("interface create x driver test frames many", "option `frames`: `many` is not a whole number"),
            (
                "interface create x driver test mode broken device y",
                "interface `x`: the device \"y\" is broken",
            ),
            (
                "set interface mtu uplink 9001",
                "interface `uplink`: an MTU of 9001 cannot be set: it must be between 68 and 9000 bytes",
            ),
            (
                "set interface mac uplink ff:ff:ff:ff:ff:ff",
                "`ff:ff:ff:ff:ff:ff` is not the address of a station",
            ),
            ("set interface l2 xconnect uplink uplink", "an interface cannot be cross-connected to itself"),
            (
                "set interface feature uplink no-such-feature-at-all on",
                "there is no feature `no-such-feature-at-all`",
            ),
            (
                "show node interface-ouptut",
                "there is no node `interface-ouptut`; did you mean `interface-output`?",
            ),
            ("trace add test-inptu 1", "there is no node `test-inptu`; did you mean `test-input`?"),
            ("trace add test-input 1001", "<count>: `1001` is not a number from 1 to 1000"),
            ("show runtime 7", "there is no thread 7; threads are 0 (main) to 0"),
        ];
        for (line, message) in cases {
            assert_eq!(session.refusal(line).message, message, "{line}");
        }
        let broken = session.data("show interface");
        assert_eq!(broken.as_array().map(Vec::len), Some(1), "what could not be made is not there: {broken}");
    });
}

#[test]
fn packets_are_counted_traced_and_forgotten() {
    for workers in [0, 1] {
        with_engine(workers, |session| {
            assert!(session.text("show trace").starts_with("no packet was traced"));
            session.text("trace add test-input 3");
            session.text("interface create in driver test frames 100 up");
            let errors = wait_for_drops(session, 100);
            let row = &errors[0];
            assert!(row["node"].is_string() && row["reason"].is_string() && row["text"].is_string(), "{row}");
            assert!(session.text("show errors").contains(row["reason"].as_str().expect("a reason")));
            let lan = &session.data("show interface")[0];
            assert_eq!((&lan["rx-packets"], &lan["rx-bytes"]), (&json!(100), &json!(6000)));

            let runtime = session.data("show runtime");
            let thread = &runtime["threads"][workers];
            // A few packets of the core's own may be among them.
            assert!(thread["packets"].as_u64() >= Some(100), "{}", thread["packets"]);
            let nodes = thread["nodes"].as_array().expect("nodes");
            let input = nodes.iter().find(|node| node["name"] == "test-input").expect("the input node");
            assert_eq!((&input["packets"], &input["state"]), (&json!(100), &json!("interrupt")));
            assert!(input["clocks-per-packet"].as_f64().is_some_and(|clocks| clocks > 0.0));
            let text = session.text(&format!("show runtime {workers} sort clocks"));
            assert!(text.contains("test-input") && !text.contains("interface-tx"), "{text}");
            assert!(session.text("show runtime verbose").contains("interface-tx"));

            let trace = session.data("show trace max 2");
            assert_eq!((&trace["traced"], trace["packets"].as_array().map(Vec::len)), (&json!(3), Some(2)));
            let stays = trace["packets"][0]["nodes"].as_array().expect("stays");
            assert_eq!(stays[0]["node"], "test-input");
            assert!(stays[0]["next"].is_string(), "{stays:?}");
            let text = session.text("show trace max 2");
            assert!(text.starts_with("packet 1 at ") && text.contains("\n  test-input -> "), "{text}");
            assert!(text.ends_with("… and 1 more; `show trace max 3` shows all"), "{text}");

            for line in ["clear trace", "clear errors", "clear runtime", "clear interface counters"] {
                assert_eq!(session.text(line), "", "{line}");
            }
            assert_eq!(session.data("show trace")["traced"], json!(0));
            assert_eq!(session.data("show errors"), json!([]));
            let runtime = session.data(&format!("show runtime {workers}"));
            assert!(runtime["threads"][0]["packets"].as_u64() < Some(100), "{runtime}");
            assert_eq!(session.data("show interface")[0]["rx-packets"], json!(0));
            // A new interface in the old one's row counts from nothing.
            session.text("interface delete in");
            session.text("interface create in driver test frames 5 up");
            wait_for_drops(session, 5);
            assert_eq!(session.data("show interface")[0]["rx-packets"], json!(5));
        });
    }
}

#[test]
fn the_graph_is_shown_with_its_owners() {
    with_engine(0, |session| {
        let nodes = session.data("show node");
        assert_eq!((&nodes[0]["name"], &nodes[0]["plugin"]), (&json!("drop"), &json!("core")));
        let one = session.data("show node interface-output");
        assert_eq!((&one["kind"], &one["nexts"][0]), (&json!("internal"), &json!("drop")));
        let text = session.text("show node interface-output");
        assert!(text.contains("sends to:\n      0  drop") && text.contains("interface-down"), "{text}");
        let arcs = session.data("show features");
        let arcs = arcs.as_array().expect("arcs");
        let output = arcs.iter().find(|arc| arc["arc"] == "interface-output").expect("the output arc");
        assert_eq!(output["end"], "interface-tx");
        assert!(session.text("show features").contains("interface-output (ends at interface-tx)"));
        session.text("interface create lan driver test");
        assert_eq!(session.data("show features interface lan"), json!([]));
        assert_eq!(session.text("show features interface lan"), "no feature is on for interface `lan`");
        assert!(session.data("show init-function").is_array());
        session.text("show init-function");
        assert!(session.text("show node").lines().count() > 3);
    });
}

#[test]
fn plugins_drivers_and_version_are_shown() {
    with_engine(0, |session| {
        let core = &session.data("show plugins")[0];
        assert_eq!(
            (&core["name"], &core["state"], &core["reason"]),
            (&json!("core"), &json!("active"), &Value::Null)
        );
        assert!(session.text("show plugins").contains("core"));
        let text = session.text("show plugins verbose");
        assert!(text.contains("core ") && text.contains("interface-output"), "{text}");
        let drivers = session.data("show drivers");
        let drivers = drivers.as_array().expect("drivers");
        let test = drivers.iter().find(|driver| driver["name"] == "test").expect("the test's driver");
        assert!(test["schema"]["properties"]["device"].is_object());
        assert!(session.text("show drivers").contains("device, frames"), "{}", session.text("show drivers"));
        assert_eq!(session.data("show version")["abi"], json!(format!("{ABI_MAJOR}.{ABI_MINOR}")));
        assert!(session.text("show version").starts_with("raddle "));
        let offered = session.candidates("interface create x driver te");
        assert_eq!(offered, ["test"]);
        assert!(session.candidates("show node interface-o").contains(&"interface-output".to_owned()));
    });
}

#[test]
fn threads_buffers_barrier_and_tasks_are_shown() {
    with_engine(2, |session| {
        session.text("interface create lan driver test queues 3 up");
        let threads = session.data("show threads");
        let names: Vec<_> =
            threads.as_array().expect("threads").iter().map(|thread| &thread["name"]).collect();
        assert_eq!(names, ["main", "worker-1", "worker-2"]);
        assert_eq!(threads[1]["rx-queues"], json!(["lan/0", "lan/2"]));
        assert!(["polling", "asleep"].map(Value::from).contains(&threads[1]["state"]));
        assert!(threads[0]["passes"].as_u64().is_some_and(|passes| passes > 0));
        assert!(session.text("show threads").contains("lan/0, lan/2"));
        let buffers = session.data("show buffers");
        assert_eq!((&buffers["total"], &buffers["exhausted"]), (&json!(4096), &json!(0)));
        assert_eq!(buffers["threads"].as_array().map(Vec::len), Some(3));
        assert!(session.text("show buffers").starts_with("4096 buffers of "));
        let barrier = session.data("show barrier");
        let causes = barrier["causes"].as_array().expect("causes");
        let splice = causes.iter().find(|cause| cause["cause"] == "splice").expect("the start's own");
        assert!(splice["holds"].as_u64() >= Some(1) && splice["longest-ns"].is_u64());
        let holds: u64 = barrier["histogram"]
            .as_array()
            .expect("bands")
            .iter()
            .filter_map(|band| band["holds"].as_u64())
            .sum();
        assert_eq!(barrier["holds"], json!(holds));
        let text = session.text("show barrier");
        assert!(text.contains("splice") && text.contains('#'), "{text}");
        assert!(session.data("show processes").is_array());
        assert!(session.text("show processes").starts_with("task  name"));
    });
}

#[test]
fn no_show_command_takes_the_barrier() {
    with_engine(1, |session| {
        session.text("interface create lan driver test up");
        let before = session.data("show barrier")["holds"].clone();
        for line in [
            "show runtime verbose",
            "show errors",
            "show interface verbose",
            "show drivers",
            "show features",
            "show node",
            "show init-function",
            "show plugins verbose",
            "show buffers",
            "show processes",
            "show threads",
            "show version",
            "show trace",
        ] {
            session.text(line);
        }
        assert_eq!(session.data("show barrier")["holds"], before);
    });
}
