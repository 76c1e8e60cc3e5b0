//! The plugin in the SDK's harness, without root: what needs links of the host is tried by the black-box tests.

use af_xdp as _;
use raddle_plugin_api::testing::Harness;
use serde_json::json;

#[test]
fn plugin_without_interfaces_has_nothing_to_show_and_unloads() {
    let mut host = Harness::builder().build();
    host.load();
    assert_eq!(host.command("show af-xdp", json!({})).unwrap().json, json!([]));
    let refusal = host.command("show af-xdp", json!({ "interface": "wan" })).unwrap_err();
    assert_eq!(refusal.to_string(), "there is no AF_XDP interface `wan`");
    host.unload().unwrap();
    host.assert_no_leaks();
}
