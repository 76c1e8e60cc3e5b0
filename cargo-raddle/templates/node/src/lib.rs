//! `sample-plugin`: answers UDP echo requests (RFC 862) to any IPv4 address that passes through.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, IpProtocol};

/// The port of the echo service (RFC 862).
const ECHO: u16 = 7;

plugin! { "sample-plugin", "answers UDP echo requests" }
node!(SamplePlugin);
feature! { "sample-plugin", node: SamplePlugin, arc: "ip4-unicast" }

next! {
    /// Where packets go that do not go on along the arc.
    pub enum Next { Lookup => "ip4-lookup" }
}

error! {
    /// Why packets are dropped here.
    pub enum Reason {
        BadHeader => "bad-header": "the IPv4 header is malformed",
        Loop => "loop": "two echo services would answer each other for ever"
    }
}

/// Sends echo requests back. One value of it is made for each thread, so its fields need no lock.
pub struct SamplePlugin {
    answered: u64,
}

impl Node for SamplePlugin {
    const NAME: &'static str = "sample-plugin";
    type Next = Next;
    type Error = Reason;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { answered: 0 })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let length = packet.len();
            let Ok(header) = Ip4Header::check(packet.bytes(), length) else {
                return Verdict::Drop(Reason::BadHeader);
            };
            if header.protocol() != IpProtocol::UDP || header.is_fragment() {
                return Verdict::Continue;
            }
            // Addresses and ports change places, so no checksum changes.
            let udp = header.header_length();
            let bytes = packet.bytes_mut();
            let Some([source_high, source_low, high, low]) = bytes.get(udp..udp + 4) else {
                return Verdict::Continue;
            };
            if u16::from_be_bytes([*high, *low]) != ECHO {
                return Verdict::Continue;
            }
            if u16::from_be_bytes([*source_high, *source_low]) == ECHO {
                return Verdict::Drop(Reason::Loop);
            }
            for (at, width) in [(12, 4), (udp, 2)] {
                let (first, second) = bytes[at..at + 2 * width].split_at_mut(width);
                first.swap_with_slice(second);
            }
            self.answered += 1;
            Verdict::Next(Next::Lookup)
        });
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::testing::{Harness, packets};

    use super::*;

    fn host() -> Harness {
        Harness::builder().interface("wan", |wan| wan.feature("sample-plugin")).build()
    }

    #[test]
    fn echo_requests_go_back_to_where_they_came_from() {
        let mut host = host();
        let wan = host.interface("wan");
        let request = packets::udp("192.0.2.2:4242", "198.51.100.2:7").payload(b"hello");
        let answer = packets::udp("198.51.100.2:7", "192.0.2.2:4242").payload(b"hello");
        let out = host.run_arc("ip4-unicast", wan, [request]);
        assert_eq!(out.to(Next::Lookup)[0].bytes(), answer.to_vec());
        host.assert_no_leaks();
    }

    #[test]
    fn other_packets_go_on() {
        let mut host = host();
        let wan = host.interface("wan");
        let other = packets::udp("192.0.2.2:4242", "198.51.100.2:53");
        let before = other.to_vec();
        let out = host.run_arc("ip4-unicast", wan, [other]);
        assert_eq!(out.to("ip4-lookup")[0].bytes(), before);
        let later = packets::udp("192.0.2.2:4242", "198.51.100.2:7").fragment(1480, false);
        host.run_arc("ip4-unicast", wan, [later]).assert_all("ip4-lookup");
    }

    #[test]
    fn what_would_loop_or_is_malformed_is_dropped() {
        let mut host = host();
        let wan = host.interface("wan");
        let between_services = packets::udp("192.0.2.2:7", "198.51.100.2:7");
        host.run_arc("ip4-unicast", wan, [between_services]).assert_all_dropped(Reason::Loop);
        host.run_arc("ip4-unicast", wan, [vec![0x45; 7]]).assert_all_dropped(Reason::BadHeader);
    }
}
