//! Another version of the plugin takes over.

use std::time::Duration;

use raddle_plugin_api::testing::packets;
use raddle_plugin_api::wire::TcpFlags;
use serde_json::json;

use crate::router::*;

/// Another version of the plugin goes on with bindings and sessions as they are, and gives no port twice.
#[test]
fn sessions_and_bindings_outlive_an_upgrade() {
    for (workers, more) in
        [(0, ""), (2, "subscribers = { port-block-size = 256 }\n"), (0, "filtering = 'address-dependent'\n")]
    {
        let mut router = Router::with_workers(&format!("{CONFIG}{more}"), workers);
        let mut ports = std::collections::HashMap::new();
        for host in 1..=30_u16 {
            let inside = format!("[2001:db8::{host:x}]:5000");
            let out = sent(&router.out(packets::udp(&inside, SERVER6)), "ip4-lookup");
            ports.insert(host, u16::from_be_bytes([out[20], out[21]]));
        }
        router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN));
        let out = sent(&router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN)), "ip4-lookup");
        let port = u16::from_be_bytes([out[20], out[21]]);
        let syn_ack = packets::tcp(SERVER4, &format!("192.0.2.1:{port}")).flags(TcpFlags(0x12));
        sent(&router.inward(syn_ack), "ip6-lookup");
        router.host.upgrade();
        router.host.nodes(&["nat64-4to6-routed"]);
        // From outside first: nobody has sent anything yet that could have made it anew.
        for (host, port) in &ports {
            let back = packets::udp(SERVER4, &format!("192.0.2.1:{port}"));
            let bytes = sent(&router.inward(back), "ip6-lookup");
            assert_eq!(addresses6(&bytes).1, format!("2001:db8::{host:x}"));
        }
        let ack = packets::tcp(HOST, SERVER6).flags(TcpFlags::ACK);
        assert_eq!(sent(&router.out(ack), "ip4-lookup")[20..22], port.to_be_bytes());
        let mut all: std::collections::HashSet<_> = ports.values().copied().collect();
        for host in 31..=60_u16 {
            let inside = format!("[2001:db8::{host:x}]:5000");
            let out = sent(&router.out(packets::udp(&inside, SERVER6)), "ip4-lookup");
            assert!(
                all.insert(u16::from_be_bytes([out[20], out[21]])),
                "host {host} was given another's port"
            );
        }
        router.host.poll_named("nat64-age");
        let summary = router.show("summary");
        assert_eq!((&summary["sessions"]["udp"], &summary["sessions"]["tcp"]), (&json!(60), &json!(1)));
        let states = router.host.command(SHOW_SESSIONS, json!({ "protocol": "tcp" })).unwrap().json.clone();
        assert_eq!(states[0]["state"], "established");
        // Their time goes on, too.
        router.host.advance(Duration::from_secs(301));
        for _ in 0..3 {
            router.host.poll_named("nat64-age");
        }
        let left = router.host.command(SHOW_SESSIONS, json!({})).unwrap().json.clone();
        assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
        router.host.assert_no_leaks();
    }
}

#[test]
fn prefixes_and_tenants_keep_their_numbers_over_an_upgrade() {
    let mut router = Router::new(
        &CONFIG.replace("interfaces", "prefixes = ['2001:db8:64::/96', '64:ff9b::/96']\ninterfaces"),
    );
    sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
    // Read from the start, the second prefix would be the first one.
    router.host.set_config(CONFIG);
    router.host.event("config", &()).unwrap();
    router.host.upgrade();
    router.host.nodes(&["nat64-4to6-routed"]);
    let bytes = sent(&router.inward(packets::udp(SERVER4, "192.0.2.1:5000")), "ip6-lookup");
    assert_eq!(addresses6(&bytes), ("64:ff9b::c633:6402".into(), "2001:db8::1".into()));
    sent(&router.out(packets::udp(HOST, SERVER6)), "ip4-lookup");
}
