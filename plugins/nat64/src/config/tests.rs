use raddle_plugin_api::config::parse_section;
use raddle_plugin_api::wire::Ip4Address;

use super::*;
use crate::state::{KnownPrefix, PoolRange, Rules};

fn read(text: &str) -> Result<Rules, String> {
    let config = parse_section::<Nat64Config>(&format!("[nat64]\n{text}"), "nat64");
    let config = config.map_err(|error| error.to_string())?.unwrap_or_default();
    config.share_bits().map_err(|failure| failure.to_string())?;
    config.rules(&Rules::nothing(), &Surroundings::default()).map_err(|failure| failure.to_string())
}

#[test]
fn three_lines_are_a_configuration() {
    let rules = read("pool = ['192.0.2.1', '198.51.100.0/28', '203.0.113.5-203.0.113.9']").unwrap();
    assert_eq!(rules.prefixes, [KnownPrefix { prefix: Nat64Prefix::WELL_KNOWN, tenant: 0 }]);
    assert_eq!(rules.tenant(0).pool.iter().map(PoolRange::count).collect::<Vec<_>>(), [1, 16, 5]);
    assert_eq!(rules.timeouts, Rules::nothing().timeouts, "the defaults are those of RFC 6146");
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    for (text, part) in [
        ("prefixes = ['2001:db8::/33']", "32, 40, 48, 56, 64 or 96"),
        ("prefixes = ['2001:db8:0:0:ff00::/96']", "bits 64 to 71"),
        ("prefixes = ['2001:db8::/32', '2001:db8:1::/96']", "overlap"),
        ("pool = ['192.0.2.9-192.0.2.1']", "ends before it begins"),
        ("pool = ['192.0.2.0/24', '192.0.2.7']", "overlap"),
        ("pool = ['224.0.0.1']", "no host may have"),
        ("pool = ['hello']", "not an IPv4 address"),
        ("timeouts.udp = 60", "120"),
        ("timeouts.tcp-established = 3600", "7440"),
        ("subscribers.port-block-size = 100", "port-block-size"),
        ("static = [{ inside = '[2001:db8::1]:80', outside = '192.0.2.1' }]", "needs `protocol`"),
        ("static = [{ protocol = 'tcp', inside = '2001:db8::1', outside = '192.0.2.1:80' }]", "with a port"),
        ("pool = ['192.0.2.1']\nstatic = [{ inside = '2001:db8::1', outside = '192.0.2.1' }]", "in the pool"),
        ("eam = [{ ip4 = '192.0.2.0/24', ip6 = '2001:db8::/124' }]", "fewer addresses"),
        ("pool = ['192.0.2.1']\neam = [{ ip4 = '192.0.2.0/24', ip6 = '2001:db8::/120' }]", "in the pool"),
        (
            "eam = [{ ip4 = '192.0.2.0/32', ip6 = '2001:db8::1/128' }, { ip4 = '192.0.2.0/32', ip6 = '2001:db8::2/128' }]",
            "twice",
        ),
        ("[nat64.tenant.red]\npool = ['192.0.2.1']\nprefixes = ['64:ff9b::/96']", "overlap"),
        ("pool = ['192.0.2.1']\n[nat64.tenant.red]\ntable = 'red'\npool = ['192.0.2.0/30']", "overlap"),
        ("static = [{ inside = '2001:db8::1', outside = '192.0.2.1', tenant = 'blue' }]", "who is not there"),
        ("log = { ipfix = '[2001:db8::1]' }", "socket address"),
        ("hop-addresses = ['224.0.0.1']", "no host may have"),
        ("port-reuse = { after = 4000 }", "3600"),
        ("log = { thresholds = { pool-low = 7, pool-high = 7 } }", "not below pool-high"),
        ("interfaces = ['lan', 'wan']\npcp = ['lam']", "lam is not one of interfaces"),
        ("pcp = true", "expected a list"),
        ("pools = []", "did you mean `pool`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn prefixes_and_tenants_keep_their_numbers() {
    let read = |text: &str| parse_section::<Nat64Config>(text, "nat64").unwrap().unwrap();
    let around = Surroundings::default();
    let first = read(
        "[nat64]\nprefixes = ['2001:db8:64::/96', '64:ff9b::/96']\n[nat64.tenant.red]\nprefixes = ['2001:db8:66::/96']",
    );
    let first = first.rules(&Rules::nothing(), &around).unwrap();
    let second = read(
        "[nat64]\nprefixes = ['64:ff9b::/96', '2001:db8:65::/96']\n[nat64.tenant.blue]\nprefixes = ['2001:db8:67::/96']\n\
         [nat64.tenant.red]\nprefixes = ['2001:db8:66::/96']",
    );
    let second = second.rules(&first, &around).unwrap();
    let of = |rules: &Rules| rules.active().map(|found| (found.number, found.tenant)).collect::<Vec<_>>();
    assert_eq!(of(&first), [(0, 0), (1, 0), (2, 1)]);
    assert_eq!(of(&second), [(1, 0), (3, 0), (4, 2), (2, 1)]);
    let names = |rules: &Rules| rules.tenants.iter().map(|tenant| tenant.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["".into(), "red".into()], vec!["".into(), "red".into(), "blue".into()])
    );
}

#[test]
fn pools_and_tables_come_from_what_is_around() {
    let text = "[nat64]\npool = ['192.0.2.1']\npool-interfaces = ['wan']\n\
                [nat64.tenant.red]\ntable = 'red'\npool = ['192.0.2.9']\noutside-table = 7";
    let config = parse_section::<Nat64Config>(text, "nat64").unwrap().unwrap();
    let address = |last: u8| Ip4Address([198, 51, 100, last]);
    let mut around = Surroundings::default();
    let rules = config.rules(&Rules::nothing(), &around).unwrap();
    assert_eq!((rules.active().count(), rules.is_ours(address(1))), (1, false), "no table, no tenant");
    around.addresses.insert("wan".into(), vec![address(1), address(2)]);
    around.tables = [(TableKey::Name("red".into()), 3), (TableKey::Id(7), 4)].into();
    let rules = config.rules(&rules, &around).unwrap();
    assert!(rules.is_ours(address(1)) && rules.is_shared(address(2)) && rules.in_pool(address(2)));
    assert!(!rules.is_shared(Ip4Address([192, 0, 2, 1])));
    let red = rules.tenant(1);
    assert_eq!((red.inside_table, red.outside_table), (Some(3), Some(4)));
    assert!(rules.may_come_in(1, 4) && !rules.may_come_in(1, 0) && rules.may_come_in(0, 9));
    around.addresses.clear();
    assert!(
        !config.rules(&rules, &around).unwrap().is_ours(address(1)),
        "it went with the interface's address"
    );
}
