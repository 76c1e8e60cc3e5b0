//! The cases: a configuration each, named as in the budgets.

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Bytes of each frame, without FCS.
    pub frame_bytes: usize,
    /// Clocks a packet that it may cost on one worker.
    pub budget: f64,
    configuration: fn(workers: usize) -> String,
}

impl Case {
    /// The configuration for so many workers: the interface `in` generates, `out` swallows.
    pub fn configuration(&self, workers: usize) -> String {
        (self.configuration)(workers)
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "l2-xconnect", frame_bytes: 64, budget: 15.0, configuration: l2_xconnect },
        Case { name: "ip4-1", frame_bytes: 64, budget: 37.0, configuration: ip4_1 },
        Case { name: "ip6-1", frame_bytes: 64, budget: 46.0, configuration: ip6_1 },
    ]
}

const IN_MAC: &str = "02:fe:00:00:00:01";
const OUT_MAC: &str = "02:fe:00:00:00:02";
const SOURCE_MAC: &str = "02:00:00:00:00:01";
const NEXT_MAC: &str = "02:00:00:00:00:02";

fn interfaces(workers: usize, packet: &str, common: [&str; 2]) -> String {
    let [input, output] = common;
    format!(
        r#"
[interface.in]
driver = "packet-generator"
mac = "{IN_MAC}"
queues = {workers}
streams = [{{ name = "case", start = true, packet = "{packet}", size = 64 }}]
{input}

[interface.out]
driver = "packet-generator"
mac = "{OUT_MAC}"
{output}
"#
    )
}

fn l2_xconnect(workers: usize) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {NEXT_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000");
    interfaces(workers, &packet, [r#"l2-xconnect = "out""#, r#"l2-xconnect = "in""#])
}

fn ip4_1(workers: usize) -> String {
    let packet =
        format!("eth {SOURCE_MAC} > {IN_MAC} / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 / udp 1000 > 2000");
    let addresses = [r#"addresses = ["10.0.0.1/24"]"#, r#"addresses = ["10.0.1.1/24"]"#];
    interfaces(workers, &packet, addresses)
        + &format!(
            r#"
[[neighbor]]
interface = "out"
address = "10.0.1.2"
mac = "{NEXT_MAC}"

[[route]]
prefix = "20.0.0.0/8"
via = "10.0.1.2"
"#
        )
}

fn ip6_1(workers: usize) -> String {
    let packet = format!(
        "eth {SOURCE_MAC} > {IN_MAC} / ip6 2001:db8:a::2 > 2001:db8:20::-2001:db8:20::f:423f / udp 1000 > 2000"
    );
    let addresses = [r#"addresses = ["2001:db8:a::1/64"]"#, r#"addresses = ["2001:db8:b::1/64"]"#];
    interfaces(workers, &packet, addresses)
        + &format!(
            r#"
[[neighbor]]
interface = "out"
address = "2001:db8:b::2"
mac = "{NEXT_MAC}"

[[route]]
prefix = "2001:db8:20::/48"
via = "2001:db8:b::2"
"#
        )
}
