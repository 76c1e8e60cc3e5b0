//! What the configuration says, and what is around the plugin: interfaces, addresses, tables.

use raddle_plugin_api::Failure;
use raddle_plugin_api::testing::{Sample, packets};
use raddle_plugin_api::wire::{IpProtocol, TcpFlags};
use serde_json::{Value, json};

use crate::router::*;

#[test]
fn new_configuration_holds_for_what_comes_and_sessions_stay() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    router.host.set_config(CONFIG.replace("192.0.2.1", "203.0.113.7"));
    router.host.event("config", &()).unwrap();
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "192.0.2.1", "its session is there still");
    let bytes = sent(&router.out(packets::udp("[2001:db8::2]:5000", SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.7");
    let wrong = CONFIG.replace("interfaces", "prefixes = ['64:ff9b::/96', '64:ff9b::/96']\ninterfaces");
    router.host.set_config(wrong);
    assert!(router.host.event("config", &()).unwrap_err().to_string().contains("overlap"));
}

/// A router whose wan has addresses as given, and which knows tables.
fn surrounded(config: &str, addresses: &std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>) -> Router {
    let given = addresses.clone();
    Router::made(config, 0, move |host| {
        host.mock("address.list", move |_| {
            let list =
                given.lock().unwrap().iter().map(|text| json!({ "address": text, "given": true })).collect();
            Ok(json!({ "addresses": Value::Array(list), "table": 0 }))
        });
        host.mock("route.fib-index", |table| match table {
            Value::String(name) if name == "red" => Ok(json!(3)),
            Value::String(name) if name == "blue" => Ok(json!(4)),
            _ => Err(Failure::new("there is no such table")),
        });
    })
}

#[test]
fn pool_of_an_interface_follows_its_addresses_and_raddle_keeps_what_is_its_own() {
    let addresses = std::sync::Arc::new(std::sync::Mutex::new(vec!["203.0.113.1/24", "2001:db8:9::1/64"]));
    let mut router =
        surrounded("[nat64]\npool-interfaces = ['wan']\ninterfaces = ['lan', 'wan']\n", &addresses);
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.1");
    sent(&router.inward(packets::udp(SERVER4, "203.0.113.1:5000")), "ip6-lookup");
    // What no binding is for is for raddle itself, whatever it is.
    for packet in [
        packets::udp(SERVER4, "203.0.113.1:5001"),
        packets::tcp(SERVER4, "203.0.113.1:22").flags(TcpFlags::SYN),
        packets::udp(SERVER4, "203.0.113.1:5001").ttl(1),
        packets::echo("198.51.100.2", "203.0.113.1"),
        packets::ip("198.51.100.2", "203.0.113.1", IpProtocol::OSPF),
    ] {
        router.inward(packet).assert_all("ip4-lookup");
    }
    // From inside by way of the hairpin, too.
    router.out(packets::udp(HOST, "[64:ff9b::203.0.113.1]:53")).assert_all("ip4-lookup");
    *addresses.lock().unwrap() = vec!["203.0.113.9/24"];
    router.host.control(|control| control.signal("addresses-changed", &json!({ "interface": 1 }))).unwrap();
    router.host.quiesce();
    let bytes = sent(&router.out(packets::udp("[2001:db8::2]:5000", SERVER6)), "ip4-lookup");
    assert_eq!(addresses4(&bytes).0, "203.0.113.9");
    let pools = router.show("pools");
    let shown =
        |address: &str| pools.as_array().unwrap().iter().find(|row| row["address"] == address).cloned();
    assert_eq!(shown("203.0.113.9").unwrap()["is-shared"], true);
    assert_eq!(shown("203.0.113.1").unwrap()["in-pool"], false, "its sessions end in their time");
    router.host.assert_no_leaks();
}

const TENANTS: &str = "[nat64]\npool = ['192.0.2.1']\ninterfaces = ['lan', 'wan']\n\
    [nat64.tenant.red]\ntable = 'red'\npool = ['192.0.2.2']\n\
    [nat64.tenant.blue]\ntable = 'blue'\noutside-table = 'blue'\npool = ['192.0.2.3']\n\
    [nat64.tenant.green]\ntable = 'green'\npool = ['192.0.2.4']\n";

#[test]
fn tenants_with_one_prefix_and_one_address_keep_apart() {
    let mut router = surrounded(TENANTS, &std::sync::Arc::default());
    router.host.quiesce();
    let packet = || Sample::from(packets::udp(HOST, SERVER6));
    for (table, outside) in [(0, "192.0.2.1"), (3, "192.0.2.2"), (4, "192.0.2.3")] {
        for _ in 0..2 {
            let run = router.out(packet().with_fib_index(table));
            let bytes = sent(&run, "ip4-lookup");
            assert_eq!(addresses4(&bytes).0, outside);
            assert_eq!(run.one().packet.header().fib_index, if table == 4 { 4 } else { 0 });
        }
    }
    // Each comes back into its own table; blue's pool only from its own table.
    for (outside, from, table) in [("192.0.2.1", 0, 0), ("192.0.2.2", 0, 3), ("192.0.2.3", 4, 4)] {
        for _ in 0..2 {
            let back = Sample::from(packets::udp(SERVER4, &format!("{outside}:5000"))).with_fib_index(from);
            let run = router.inward(back);
            assert_eq!(addresses6(&sent(&run, "ip6-lookup")).1, "2001:db8::1");
            assert_eq!(run.one().packet.header().fib_index, table);
        }
    }
    let foreign = Sample::from(packets::udp(SERVER4, "192.0.2.3:5000")).with_fib_index(0);
    assert_eq!(router.inward(foreign).dropped("other-table"), 1);
    let sessions = router.show("sessions");
    let tenants: std::collections::BTreeSet<_> =
        sessions.as_array().unwrap().iter().map(|row| row["tenant"].to_string()).collect();
    assert_eq!(tenants, ["\"blue\"", "\"red\"", "null"].map(String::from).into());
    let rows = router.host.command("show nat64 tenants", json!({})).unwrap().json.clone();
    let status: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect();
    assert_eq!(status, ["in force", "in force", "waits for its tables", "in force"]);
    router.host.assert_no_leaks();
}

#[test]
fn what_is_held_is_let_go_of_when_the_configuration_says_so() {
    let mut router = Router::new(CONFIG);
    assert_eq!(router.host.features("ip6-unicast", router.lan), ["nat64"]);
    router.host.set_config(CONFIG.replace("['lan', 'wan']", "['wan']"));
    router.host.event("config", &()).unwrap();
    assert!(router.host.features("ip6-unicast", router.lan).is_empty());
    assert_eq!(router.host.features("ip4-unicast", router.wan), ["nat64"]);
}

/// A pool address that an interface has, too, is shared with raddle, whether the operator has thought of that or not.
#[test]
fn pool_address_that_is_raddles_own_stays_raddles_own() {
    let addresses = std::sync::Arc::new(std::sync::Mutex::new(vec!["203.0.113.1/24"]));
    let config = "[nat64]\npool = ['203.0.113.0/30']\ninterfaces = ['lan', 'wan']\n";
    let mut router = surrounded(config, &addresses);
    router.host.quiesce();
    router.inward(packets::echo("198.51.100.2", "203.0.113.1")).assert_all("ip4-lookup");
    router.inward(packets::tcp(SERVER4, "203.0.113.1:22").flags(TcpFlags::SYN)).assert_all("ip4-lookup");
    router.inward(packets::udp(SERVER4, "203.0.113.2:22")).assert_all("ip4-icmp-error");
    let shared = |row: &&Value| row["is-shared"] == true;
    let pools = router.show("pools");
    let found: Vec<_> = pools.as_array().unwrap().iter().filter(shared).map(|row| &row["address"]).collect();
    assert_eq!(found, ["203.0.113.1"]);
}

/// What is a host's alone cannot be raddle's own.
#[test]
fn address_that_is_raddles_own_is_mapped_to_nobody() {
    let addresses = std::sync::Arc::new(std::sync::Mutex::new(vec!["203.0.113.1/24"]));
    for more in [
        "static = [{ inside = '2001:db8::7', outside = '203.0.113.1' }]\n",
        "eam = [{ ip4 = '203.0.113.0/29', ip6 = '2001:db8:cc::/125' }]\n",
    ] {
        let mut router = surrounded(CONFIG, &addresses);
        router.host.quiesce();
        router.host.set_config(format!("{CONFIG}{more}"));
        let error = router.host.event("config", &()).unwrap_err().to_string();
        assert!(error.contains("203.0.113.1") && error.contains("raddle's own"), "{error}");
        router.inward(packets::echo("198.51.100.2", "203.0.113.1")).assert_all("ip4-lookup");
    }
}

/// One interface is enough, and others are left alone.
#[test]
fn what_came_in_by_an_interface_may_leave_by_it() {
    let mut router = Router::new(&CONFIG.replace("['lan', 'wan']", "['lan']"));
    let (lan, wan) = (router.lan, router.wan);
    for _ in 0..2 {
        let run = router.host.run_arc("ip6-unicast", lan, [packets::udp(HOST, SERVER6)]);
        assert_eq!(addresses4(&sent(&run, "ip4-lookup")).0, "192.0.2.1");
        let back = packets::udp(SERVER4, "192.0.2.1:5000");
        let run = router.host.run_arc("ip4-unicast", lan, [back.clone()]);
        assert_eq!(sent(&run, "ip6-lookup"), packets::udp(SERVER6, HOST).to_vec());
        router.host.run_arc("ip4-unicast", wan, [back]).assert_all("ip4-lookup");
    }
}
