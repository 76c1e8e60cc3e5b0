//! What the operator says: what is refused, chosen, read again.

use raddle_ipsec::algorithm::Suite;
use raddle_plugin_api::testing::Harness;
use serde_json::json;

use crate::pair::*;

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let keys = Keys::new();
    let (key16, key20, key20b) = (keys.file("16", 16, 1), keys.file("20", 20, 2), keys.file("20b", 20, 3));
    let gcm = format!("encryption = 'aes-gcm-128'\nkey-file = '{key20}'\n");
    let out = |more: &str| section("out", (HERE4, THERE4), more);
    for (config, said) in [
        (
            out(&format!("encryption = 'aes-gcm-128'\nkey-file = '{key16}'\n")),
            "needs a key of 20 bytes with 4 bytes of salt at its end, and 16 were given",
        ),
        (
            out(&format!("{gcm}integrity = 'hmac-sha-1'\nintegrity-key-file = '{key20b}'\n")),
            "authenticates by itself: leave `integrity` out",
        ),
        (out(&format!("encryption = 'aes-cbc-128'\nkey-file = '{key16}'\n")), "name an `integrity`"),
        (out("encryption = 'aes-gcm-128'\nkey-file = '/nowhere/key'\n"), "/nowhere/key cannot be read"),
        (out(&format!("{gcm}replay-window = 128\n")), "`replay-window` is for one that receives"),
        (section("in", (HERE4, THERE4), &format!("{gcm}replay-window = 10\n")), "64 or more, or 0"),
        (section("in", (HERE4, THERE4), &format!("{gcm}sequence = 10\n")), "is for one that sends"),
        (section("out", (HERE4, THERE6), &gcm), "are not of one family"),
        (section("out", (HERE6, THERE6), &format!("{gcm}udp-encapsulation = {{}}\n")), "is for IPv4"),
        (section("out", (HERE4, "224.0.0.1"), &gcm), "224.0.0.1 is no host's address"),
        (
            section("in", (HERE4, THERE4), &gcm)
                + &section(
                    "in",
                    (HERE4, THERE4),
                    &format!("encryption = 'aes-gcm-128'\nkey-file = '{key20b}'\n"),
                )
                .replace("sa.sa", "sa.two"),
            "SA `two`: SPI 4096 is that of SA `sa`",
        ),
        (
            section("in", (HERE4, THERE4), &gcm) + &out(&gcm).replace("sa.sa", "sa.two"),
            "SA `two` has the key of SA `sa`",
        ),
        ("[ipsec]\nengine = 'steam'\n".to_owned(), "there is no engine `steam` here"),
    ] {
        let failure = refused(&config);
        assert!(failure.contains(said), "{said}: {failure}");
    }
    let host = Harness::builder().build();
    let wrong = host.check_config(&out("encryption = 'rot13'\n")).unwrap_err().to_string();
    assert!(wrong.contains("rot13"), "{wrong}");
    let wrong = host.check_config("[ipsec.sa.a]\nspi = 255\n").unwrap_err().to_string();
    assert!(wrong.contains("a number from 256 to 4294967295"), "{wrong}");
}

#[test]
fn engines_are_shown_and_chosen() {
    let keys = Keys::new();
    let config = format!("[ipsec]\nengine = 'aws-lc'\n{}", section("in", (HERE4, THERE4), &keys.of(gcm())));
    let mut host = gateway(&config, keys.0.path());
    let shown = host.command("show ipsec engines", json!({})).unwrap().json;
    assert_eq!(shown[0]["engine"], "aws-lc");
    assert_eq!(shown[0]["algorithms"].as_array().unwrap().len(), Suite::all().count());
    assert_eq!(show(&mut host, "sa")["engine"], "aws-lc");
    assert!(shown.as_array().unwrap().iter().any(|row| row["engine"] == "ipsec-mb"), "{shown}");
}

#[test]
fn a_configuration_that_was_read_again_changes_what_it_changes() {
    let keys = Keys::new();
    let (one, two) = (keys.file("one", 20, 1), keys.file("two", 20, 2));
    let sa = |name: &str, spi: u32, key: &str| {
        section("in", (HERE4, THERE4), &format!("encryption = 'aes-gcm-128'\nkey-file = '{key}'\n"))
            .replace("sa.sa", &format!("sa.{name}"))
            .replace("4096", &spi.to_string())
    };
    let mut host = gateway(&sa("a", 300, &one), keys.0.path());
    host.set_config(sa("b", 301, &two));
    host.event("config", &()).unwrap();
    let names = |host: &mut Harness| {
        let rows = host.command(SHOW, json!({})).unwrap().json;
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&mut host), ["b"]);
    host.set_config(sa("b", 301, &two) + &sa("a", 300, "/nowhere"));
    assert!(host.event("config", &()).is_err());
    assert_eq!(names(&mut host), ["b"]);
}
