//! Mistakes in configuration files, and where they are reported.

use raddle_plugin_api::config::Problem;

use super::document::Document;
use super::model::Config;
use super::owners::Owners;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its keys matter")]
struct Tap {
    host: Option<String>,
}

fn problems(text: &str) -> Vec<String> {
    let mut owners = Owners::new();
    owners.driver::<Tap>("tap");
    owners.driver::<Tap>("loopback");
    owners.section::<Tap>("acl");
    let document = match Document::parse("f", text) {
        Ok(document) => document,
        Err(error) => return error.problems().iter().map(Problem::to_string).collect(),
    };
    match Config::load(&document, &owners) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(Problem::to_string).collect(),
    }
}

const TWO: &str = "[interface.tap0]\ndriver = 'tap'\n[interface.tap1]\ndriver = 'tap'\n";

#[test]
fn what_is_right_passes() {
    for text in [
        "",
        "[runtime]\nworkers = 2\ncores = [1, 2]\nmain-core = 0\n[acl]\nhost = 'x'\n",
        "[plugins]\nonly = ['a']\nrequire = ['a']\n[log]\nlevel = 'debug'\nrate-limit = 0\n[buffers]\nhugepages = 'require'\n",
        "interface.a = { driver = 'tap', host = 'x', addresses = ['10.0.0.1/24', 'fe80::1/64'], mtu = 1280, mac = '02:00:00:00:00:01' }\n\
         interface.b = { driver = 'loopback', addresses = ['fe80::1/64'], l2-xconnect = 'a', rx-mode = 'adaptive' }\n\
         route = [{ prefix = '::/0', via = 'fe80::2', interface = 'a' }, { prefix = '10.9.0.0/16', type = 'blackhole' }]\n\
         [[neighbor]]\ninterface = 'a'\naddress = '10.0.0.2'\nmac = '02:00:00:00:00:02'\n",
    ] {
        assert_eq!(problems(text), [] as [String; 0], "{text}");
    }
}

#[test]
fn every_mistake_has_its_position_and_the_nearest_name() {
    let cases: &[(&str, &[&str])] = &[
        ("[runtim]\n", &["1:2: unknown section `runtim`; did you mean `runtime`?"]),
        ("[runtime]\nwrokers = 1\n", &["2:1: unknown key `wrokers`; did you mean `workers`?"]),
        (
            "[runtime]\nworkers = 'two'\n",
            &["2:11: expected an integer from 0 to 4294967295, found string \"two\""],
        ),
        (
            "[runtime]\nworkers = 3\ncores = [1, 1]\n",
            &["3:9: 2 cores are too few for 3 workers", "3:13: core 1 is listed twice"],
        ),
        ("[runtime]\ncores = [1]\nmain-core = 1\n", &["2:10: core 1 is also `main-core`"]),
        ("[buffers]\ncount = 1\n", &["2:9: expected a number from 1024 to 16777216"]),
        (
            "[plugins]\ndisable = ['a']\nonly = ['b']\nrequire = ['a']",
            &["3:1: `only` and `disable` exclude each other", "4:12: plugin `a` is also in `disable`"],
        ),
        ("[log]\nlevel = 'warning'", &["2:9: unknown value `warning`; did you mean `warn`?"]),
        ("[interface.a]\n", &["1:1: missing key `driver`"]),
        ("[interface.a]\ndrivr = 'tap'\n", &["2:1: unknown key `drivr`; did you mean `driver`?"]),
        ("[interface.a]\ndriver = 'tab'\n", &["2:10: unknown driver `tab`; did you mean `tap`?"]),
        ("[interface.a]\ndriver = 'tap'\nhots = 'x'\n", &["3:1: unknown key `hots`; did you mean `host`?"]),
        (
            "[interface.a]\ndriver = 'tap'\nadresses = []\n",
            &["3:1: unknown key `adresses`; did you mean `addresses`?"],
        ),
        (
            "[interface.a]\ndriver = 'tap'\nzzzzzzzz = 1\n",
            &[
                "3:1: unknown key `zzzzzzzz`; known keys: `addresses`, `driver`, `features`, `host`, `igmp`, `l2-xconnect`, `mac`, `mac-addresses`, `martians`, `mld`, `mtu`, `multicast-filter`, `neighbor`, `promiscuous`, `redirects`, `router-advertisement`, `rx-mode`, `rx-modes`, `table`, `tag-rewrite`, `up`, `urpf`",
            ],
        ),
        (
            "[interface.a]\ndriver = 'tap'\naddresses = ['10.0.0.1/24', '10.0.0.300/24']\n",
            &["3:29: \"10.0.0.300\" is not an IP address"],
        ),
        (
            "[interface.a]\ndriver = 'tap'\naddresses = ['10.0.0.1/24', '10.0.0.1/25', '224.0.0.1/4']\n",
            &[
                "3:29: address 10.0.0.1 is listed twice",
                "3:44: `224.0.0.1` cannot be the address of an interface",
            ],
        ),
        (
            "[interface.a]\ndriver = 'tap'\naddresses = ['::2/64']\n[interface.b]\ndriver = 'tap'\naddresses = ['::2/64']\n",
            &["6:14: address ::2 is already that of interface `a`"],
        ),
        ("[interface.a]\ndriver = 'tap'\n[interface.a]\ndriver = 'tap'\n", &["3:12: duplicate key `a`"]),
        ("[interface.'a b']\ndriver = 'tap'\n", &["1:12: the name of an interface has no ' '"]),
        ("[interface.a]\ndriver = 'tap'\nl2-xconnect = 'b'\n", &["3:15: interface `b` is not defined"]),
        (
            "[interface.a]\ndriver = 'tap'\nl2-xconnect = 'a'\n",
            &["3:15: interface `a` cannot be connected to itself"],
        ),
        (
            "[interface.a]\ndriver = 'tap'\n[interface.a.neighbor]\ndad = 99\nmax-queued = 0\nproxy = ['10.0.0.0/33']\n",
            &[
                "4:7: expected `true`, `false`, or a number from 0 to 16",
                "5:14: expected a number from 1 to 1024, found integer `0`",
                "6:10: prefix length \"33\" is not a number from 0 to 32",
            ],
        ),
        (
            "[interface.a]\ndriver = 'tap'\n[interface.a.router-advertisement]\nlifetime-seconds = 5\n\
             [[interface.a.router-advertisement.pref64]]\nprefix = '64:ff9b::/97'\n",
            &[
                "4:20: expected 0, or at least `max-interval-seconds`, which is 600",
                "6:10: expected a prefix of length 32, 40, 48, 56, 64 or 96",
            ],
        ),
        (
            "[neighbor-table]\nmax-entrys = 9\n",
            &["2:1: unknown key `max-entrys`; did you mean `max-entries`?"],
        ),
        ("[interface.a]\ndriver = 'tap'\nmtu = 0\n", &["3:7: expected a number from 68 to 65535"]),
        ("[interface.a]\ndriver = 'tap'\nmtu = 60\n", &["3:7: expected a number from 68 to 65535"]),
        ("[interface.a]\ndriver = 'tap'\nmtu = 70000\n", &["3:7: expected a number from 68 to 65535"]),
        (
            "[interface.a]\ndriver = 'tap'\nmtu = 600\naddresses = ['2001:db8::1/64']\n",
            &["3:7: an interface with IPv6 addresses needs an mtu of 1280 or more"],
        ),
        (
            "[interface.a]\ndriver = 'tap'\nmac = '01:00:00:00:00:00'\nfeatures = ['x', 'x']\n",
            &["3:7: `01:00:00:00:00:00` is a group address", "4:18: feature `x` is listed twice"],
        ),
        (
            "[interface.a]\ndriver = 'tap'\nmac-addresses = ['02:00:00:00:00:01', '01:00:5e:00:00:05', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00', '02:00:00:00:00:01']\n",
            &[
                "3:60: frames for `ff:ff:ff:ff:ff:ff` are always taken",
                "3:81: `00:00:00:00:00:00` is the address of no station and no group",
                "3:102: address 02:00:00:00:00:01 is listed twice",
            ],
        ),
        ("interface = 3\n", &["1:13: expected tables `[interface.NAME]`"]),
        ("[interface]\na = 3\n", &["2:5: expected a table `[interface.a]`"]),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), *expected, "{text}");
    }
}

#[test]
fn routes_and_neighbours_are_checked_against_the_interfaces() {
    let cases: &[(&str, &[&str])] = &[
        (
            "[[route]]\nprefix = '10.0.0.0/8'\ninterface = 'tpa0'\n",
            &["7:13: interface `tpa0` is not defined; did you mean `tap0`?"],
        ),
        (
            "[[route]]\nprefix = '10.0.0.1/8'\ninterface = 'tap0'\n",
            &["6:10: 10.0.0.1/8 has host bits set, the network is 10.0.0.0/8"],
        ),
        (
            "[[route]]\nprefix = '10.0.0.0/8'\n",
            &["5:1: a route needs `via`, `interface`, `via-table`, or a `type`"],
        ),
        (
            "[[route]]\nprefix = '10.0.0.0/8'\nvia = '10.0.0.1'\ntype = 'blackhole'\n",
            &["8:8: a route with a `type` leads nowhere: `via` and `interface` do not go with it"],
        ),
        (
            "[[route]]\nprefix = '10.0.0.0/8'\nvia = '::1'\n",
            &["7:7: next hop ::1 is of another address family than 10.0.0.0/8"],
        ),
        (
            "[[route]]\nprefix = '::/0'\nvia = 'fe80::1'\n",
            &["7:7: next hop fe80::1 is link-local: `interface` must say on which link"],
        ),
        (
            "[[route]]\nprefix = '10.0.0.0/8'\nvia = '10.0.0.300'\n",
            &["7:7: `10.0.0.300` is not an IP address"],
        ),
        ("[[route]]\nprefix = '10/8'\nvia = '10.0.0.1'\n", &["6:10: \"10\" is not an IP address"]),
        (
            "[[route]]\nprefix = '::/0'\nvia = '::1'\nweight = 0\n[[route]]\nprefix = '::/0'\nvia = '::1'\n",
            &["8:10: expected a number from 1 to 255", "9:1: the same path to ::/0 is configured twice"],
        ),
        (
            "[[neighbor]]\ninterface = 'tap9'\naddress = '0.0.0.0'\nmac = '00:00:00:00:00:00'\n",
            &[
                "6:13: interface `tap9` is not defined; did you mean `tap0`?",
                "7:11: `0.0.0.0` cannot be the address of a neighbour",
                "8:7: `00:00:00:00:00:00` is not the address of a station",
            ],
        ),
        (
            "[[neighbor]]\ninterface = 'tap0'\naddress = '::5'\nmac = '02:00:00:00:00:00'\n[[neighbor]]\ninterface = 'tap0'\naddress = '::5'\nmac = '02:00:00:00:00:00'\n",
            &["11:11: neighbour ::5 of interface `tap0` is configured twice"],
        ),
        ("[[neighbor]]\ninterface = 'tap0'\n", &["5:1: missing key `address`"]),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(&format!("{TWO}{text}")), *expected, "{text}");
    }
}

#[test]
fn mistakes_of_all_sections_are_found_at_once_in_the_order_of_the_file() {
    let text = "[acl]\nhots = 1\n[runtime]\nworkers = -1\n[interfaces.a]\n[interface.b]\ndriver = 'tap'\nup = 'no'\n[[route]]\nprefix = 'x'\n[[route]]\nprefix = '0.0.0.0/0'\ninterface = 'c'\n";
    assert_eq!(
        problems(text),
        [
            "2:1: unknown key `hots`; did you mean `host`?",
            "4:11: expected an integer from 0 to 4294967295, found integer `-1`",
            "5:2: unknown section `interfaces`; did you mean `interface`?",
            "8:6: expected `true` or `false`, found string \"no\"",
            "10:10: \"x\" has no length, expected address/length as in 192.0.2.0/24 or 2001:db8::/32",
        ]
    );
}

#[test]
fn sections_and_drivers_without_owner_pass_when_plugins_cannot_be_asked() {
    let document =
        Document::parse("f", "[nat64]\npool = 'x'\n[interface.a]\ndriver = 'memif'\nsocket = 'y'\n").unwrap();
    let mut owners = Owners::new();
    assert_eq!(Config::load(&document, &owners).unwrap_err().problems().len(), 2);
    owners.accept_unknown();
    let config = Config::load(&document, &owners).unwrap();
    assert_eq!(config.others["nat64"]["pool"].as_str(), Some("x"));
    assert_eq!(config.interfaces[0].options["socket"].as_str(), Some("y"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[?\\[(interface|route|runtime|a)(\\.[a-b ])?\\]\\]?\n|(driver|prefix|via|cores|up|x) = ('[a:0-9./]*'|[0-9]{1,9}|\\[[0-9,]*\\]|true)\n){0,8}") {
        problems(&text);
    }
}
