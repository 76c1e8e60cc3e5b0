//! Cases of the plugin `nat64`: throughput either way by the number of sessions, how fast sessions are made, and how fast they end
//! (RFC 8219 §5.5, RFC 9693 §4).

use serde_json::json;

use super::cases::{
    ADDRESSES4, ADDRESSES6, Case, Command, IN_MAC, NEXT_HOP4, NEXT_HOP6, NEXT_MAC, Packets, SOURCE_MAC,
    interfaces, neighbor, route,
};

/// Frames, as IPv6.
pub const NAT64_BYTES: usize = 84;

/// Hosts inside, in the last bits of their addresses, and the clocks a packet that they may cost.
const HOSTS: [(&str, &str, u32, f64); 6] = [
    ("nat64-10k", "2001:db8:a:1::-2001:db8:a:1::270f", 10_000, 120.0),
    ("nat64-64k", "2001:db8:a:1::/112", 1 << 16, 140.0),
    ("nat64-100k", "2001:db8:a:1::-2001:db8:a:1::1:869f", 100_000, 160.0),
    ("nat64-256k", "2001:db8:a:1::/110", 1 << 18, 200.0),
    ("nat64-1m", "2001:db8:a:1::/108", 1 << 20, 240.0),
    ("nat64-4m", "2001:db8:a:1::/106", 1 << 22, 300.0),
];

/// Hosts outside, likewise.
const REMOTES: [(&str, &str, u32, f64); 6] = [
    ("nat64-in-10k", "20.0.0.0-20.0.39.15", 10_000, 120.0),
    ("nat64-in-64k", "20.0.0.0/16", 1 << 16, 140.0),
    ("nat64-in-100k", "20.0.0.0-20.1.134.159", 100_000, 160.0),
    ("nat64-in-256k", "20.0.0.0/14", 1 << 18, 200.0),
    ("nat64-in-1m", "20.0.0.0/12", 1 << 20, 240.0),
    ("nat64-in-4m", "20.0.0.0/10", 1 << 22, 300.0),
];

/// Sessions of `nat64-create`: more than are made between two times that they are all ended.
const CREATED: u32 = 6 << 20;

/// Makes the configuration for a number of workers.
type Configuration = Box<dyn Fn(usize, &Packets<'_>) -> String>;

/// All of them.
pub fn nat64_cases() -> Vec<Case> {
    let case = |name, budget, configuration: Configuration| Case {
        frame_bytes: NAT64_BYTES,
        ..Case::new(name, budget, configuration).of_plugin(&["nat64"])
    };
    let out = HOSTS.into_iter().map(|(name, hosts, count, budget)| {
        let hosts = format!("{hosts} random");
        Case {
            before: before(count),
            ..case(name, budget, Box::new(move |workers, _| nat64(workers, &hosts, room(count))))
        }
    });
    // All of these sessions are of one host inside, so of one worker, who has its share of the room.
    let inward = REMOTES.into_iter().map(|(name, remotes, count, budget)| {
        let remotes = format!("{remotes} random");
        Case {
            before: before(count),
            ..case(
                name,
                budget,
                Box::new(move |workers, _| nat64_in(workers, &remotes, room(count) * workers.max(1) as u32)),
            )
        }
    });
    // Nearly every packet is the first one of a host.
    let create =
        case("nat64-create", 800.0, Box::new(|workers, _| nat64(workers, "2001:db8:a::/64 random", CREATED)));
    out.chain(inward).chain([Case { before: Some(clear), ..create }]).collect()
}

/// Room for so many sessions, whichever workers they are on.
fn room(count: u32) -> u32 {
    (count + count / 2).max(64)
}

/// Of tables with a million sessions and more it is said how many are in them: none of the packets may be refused one.
fn before(count: u32) -> Option<fn() -> Vec<Command>> {
    (count >= 1 << 20).then_some(|| vec![("show nat64 summary", json!({}))])
}

/// Ends all sessions: what that takes is the tear-down rate.
fn clear() -> Vec<Command> {
    vec![("clear nat64 sessions", json!({}))]
}

/// Hosts inside, as many as their prefix has, each with one session; the order is random.
pub fn nat64(workers: usize, hosts: &str, sessions: u32) -> String {
    let packet = format!("eth {SOURCE_MAC} > {IN_MAC} / ip6 {hosts} > 64:ff9b::1400:1 / udp 5000 > 2000");
    let stream = format!(r#"packet = "{packet}", size = {NAT64_BYTES}"#);
    interfaces(workers, &stream, [ADDRESSES6[0], ADDRESSES4[1]])
        + &neighbor(NEXT_HOP4, NEXT_MAC)
        + &route("20.0.0.0/8", NEXT_HOP4)
        + &format!("\n[nat64]\npool = [\"198.18.0.0/22\"]\nmax-sessions = {sessions}\n")
}

/// Hosts outside, each with one session to a server inside, whose address outside is its own.
fn nat64_in(workers: usize, hosts: &str, sessions: u32) -> String {
    let packet = format!("eth {SOURCE_MAC} > {IN_MAC} / ip4 {hosts} > 203.0.113.1 / udp 2000 > 5000");
    let stream = format!(r#"packet = "{packet}", size = 64"#);
    interfaces(workers, &stream, [ADDRESSES4[0], ADDRESSES6[1]])
        + &neighbor(NEXT_HOP6, NEXT_MAC)
        + &route("2001:db8:20::/48", NEXT_HOP6)
        + &format!(
            r#"
[nat64]
max-sessions = {sessions}
static = [{{ inside = "2001:db8:20::1", outside = "203.0.113.1" }}]
"#
        )
}
