//! The XDP program: frames go to the socket of their queue, but for those that are left to the host.
//!
//! It looks at each frame once and changes nothing. A frame that is too short for what a rule asks about is none of the rule's. A
//! queue without a socket is the host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use raddle_af_xdp_sys::bpf::Instruction;

use crate::assembler::{Assembler, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Register, Size};
use crate::filter::{Rule, TAGS};

/// By this name a program is known as one of ours.
pub const NAME: &str = "raddle_af_xdp";

/// `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;
/// `XDP_PASS`: the host's.
const PASS: i32 = 2;
/// `xdp_md`: where the frame begins, where it ends, and by which queue it came.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

const ETHERNET: i16 = 14;
const IP4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IP6: u16 = 0x86dd;
/// VLAN tags that are looked behind.
const MOST_TAGS: usize = 2;

/// The program for these rules, which redirects by the map with this descriptor.
pub fn build(rules: &[Rule], map: i32) -> Vec<Instruction> {
    let mut program = Program { code: Assembler::default(), rules };
    program.all(map);
    // Each label has its place in `all`, and the rules are few.
    program.code.finish().unwrap_or_default()
}

struct Program<'r> {
    code: Assembler,
    rules: &'r [Rule],
}

/// Where a frame goes.
#[derive(Clone, Copy)]
struct Ways {
    to_host: Label,
    to_us: Label,
}

impl Program<'_> {
    fn all(&mut self, map: i32) {
        let ways = Ways { to_host: self.code.label(), to_us: self.code.label() };
        self.code.copy(R6, R1);
        if !self.rules.is_empty() {
            self.choose(ways);
        }
        let code = &mut self.code;
        code.place(ways.to_us);
        code.load(R2, R6, CONTEXT_QUEUE, Size::Word);
        code.load_map(R1, map);
        // Frames of a queue that is not in the map pass.
        code.set(R3, PASS);
        code.call(REDIRECT_MAP);
        code.exit();
        code.place(ways.to_host);
        if !self.rules.is_empty() {
            code.set(R0, PASS);
            code.exit();
        }
    }

    /// R7 is 14 bytes in front of what the frame carries, R8 its end, R9 its EtherType.
    fn choose(&mut self, ways: Ways) {
        let code = &mut self.code;
        code.load(R7, R6, CONTEXT_DATA, Size::Word);
        code.load(R8, R6, CONTEXT_DATA_END, Size::Word);
        need(code, R7, ETHERNET, ways.to_us);
        code.load(R9, R7, 12, Size::Half);
        let untagged = code.label();
        for _ in 0..MOST_TAGS {
            let tagged = code.label();
            code.if_equal(R9, half(TAGS[0]), tagged);
            code.unless_equal(R9, half(TAGS[1]), untagged);
            code.place(tagged);
            code.add(R7, 4);
            need(code, R7, ETHERNET, ways.to_us);
            code.load(R9, R7, 12, Size::Half);
        }
        code.place(untagged);
        for rule in self.rules {
            if let Rule::EtherType(value) = *rule {
                self.code.if_equal(R9, half(value), ways.to_host);
            }
        }
        self.ip4(ways);
        self.arp(ways);
        self.ip6(ways);
        self.code.go(ways.to_us);
    }

    fn ip4(&mut self, ways: Ways) {
        let others = self.code.label();
        self.code.unless_equal(R9, half(IP4), others);
        need(&mut self.code, R7, ETHERNET + 20, ways.to_us);
        self.addresses4(ETHERNET + 16, ways.to_host);
        self.code.load(R4, R7, ETHERNET + 9, Size::Byte);
        self.protocols(ways.to_host);
        if self.has_ports() {
            let code = &mut self.code;
            // A later fragment has no ports.
            code.load(R3, R7, ETHERNET + 6, Size::Half);
            code.and(R3, half(0x1fff).cast_signed());
            code.unless_equal(R3, 0, ways.to_us);
            // The header's length, in words of four bytes.
            code.load(R3, R7, ETHERNET, Size::Byte);
            code.and(R3, 0x0f);
            code.shift_left(R3, 2);
            code.copy(R5, R7);
            code.add_register(R5, R3);
            self.ports(R5, ETHERNET, ways);
        }
        self.code.go(ways.to_us);
        self.code.place(others);
    }

    /// ARP about an address of the host (RFC 826): the target's protocol address is at 24.
    fn arp(&mut self, ways: Ways) {
        let others = self.code.label();
        self.code.unless_equal(R9, half(ARP), others);
        need(&mut self.code, R7, ETHERNET + 28, ways.to_us);
        self.addresses4(ETHERNET + 24, ways.to_host);
        self.code.go(ways.to_us);
        self.code.place(others);
    }

    fn ip6(&mut self, ways: Ways) {
        self.code.unless_equal(R9, half(IP6), ways.to_us);
        need(&mut self.code, R7, ETHERNET + 40, ways.to_us);
        for rule in self.rules {
            if let Rule::Address(IpAddr::V6(address)) = *rule {
                self.address6(address, ways.to_host);
                // Neighbours ask for it there (RFC 4861 §7.2.2).
                self.address6(solicited_node(address), ways.to_host);
            }
        }
        self.code.load(R4, R7, ETHERNET + 6, Size::Byte);
        self.protocols(ways.to_host);
        if self.has_ports() {
            self.ports(R7, ETHERNET + 40, ways);
        }
    }

    fn addresses4(&mut self, offset: i16, to_host: Label) {
        for rule in self.rules {
            if let Rule::Address(IpAddr::V4(address)) = *rule {
                self.code.load(R3, R7, offset, Size::Word);
                self.code.if_equal(R3, word(address), to_host);
            }
        }
    }

    fn address6(&mut self, address: Ipv6Addr, to_host: Label) {
        let another = self.code.label();
        let octets = address.octets();
        for (offset, octets) in (ETHERNET + 24..).step_by(4).zip(octets.as_chunks::<4>().0) {
            self.code.load(R3, R7, offset, Size::Word);
            self.code.unless_equal(R3, u32::from_ne_bytes(*octets), another);
        }
        self.code.go(to_host);
        self.code.place(another);
    }

    /// R4 is the protocol.
    fn protocols(&mut self, to_host: Label) {
        for rule in self.rules {
            if let Rule::Protocol(value) = *rule {
                self.code.if_equal(R4, u32::from(value), to_host);
            }
        }
    }

    fn has_ports(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::To { .. } | Rule::From { .. }))
    }

    /// R4 is the protocol; the ports are `offset` bytes behind the address in `base`.
    fn ports(&mut self, base: Register, offset: i16, ways: Ways) {
        need(&mut self.code, base, offset + 4, ways.to_us);
        self.code.load(R0, base, offset, Size::Half);
        self.code.load(R3, base, offset + 2, Size::Half);
        for rule in self.rules {
            let (protocol, port, register) = match *rule {
                Rule::To { protocol, port } => (protocol, port, R3),
                Rule::From { protocol, port } => (protocol, port, R0),
                _ => continue,
            };
            let another = self.code.label();
            self.code.unless_equal(R4, u32::from(protocol), another);
            self.code.if_equal(register, half(port), ways.to_host);
            self.code.place(another);
        }
    }
}

/// Goes on if the frame has `length` bytes behind the address in `base`.
fn need(code: &mut Assembler, base: Register, length: i16, otherwise: Label) {
    code.copy(R2, base);
    code.add(R2, i32::from(length));
    code.if_beyond(R2, R8, otherwise);
}

/// A big-endian number as a load of two bytes sees it.
fn half(value: u16) -> u32 {
    u32::from(u16::from_ne_bytes(value.to_be_bytes()))
}

/// An address as a load of four bytes sees it.
fn word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The solicited-node address (RFC 4291 §2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let prefix = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(prefix | u128::from(u32::from_be_bytes([0, a, b, c])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::testing::packets;

    use super::*;

    /// Runs a program as the kernel would, memory checked; returns whether the frame is ours.
    fn is_ours(program: &[Instruction], frame: &[u8]) -> bool {
        const FRAME: u64 = 0x10_0000;
        const CONTEXT: u64 = 0x20_0000;
        let mut context = [0_u8; 20];
        context[..4].copy_from_slice(&(FRAME as u32).to_ne_bytes());
        context[4..8].copy_from_slice(&(FRAME as u32 + frame.len() as u32).to_ne_bytes());
        context[16..].copy_from_slice(&3_u32.to_ne_bytes());
        let memory = |address: u64, length: usize| -> u64 {
            let (base, bytes) = if address >= CONTEXT { (CONTEXT, &context[..]) } else { (FRAME, frame) };
            let start = (address - base) as usize;
            let mut value = [0; 8];
            value[..length].copy_from_slice(&bytes[start..start + length]);
            u64::from_le_bytes(value)
        };
        let mut registers = [0_u64; 11];
        registers[1] = CONTEXT;
        let mut at = 0;
        for _ in 0..10_000 {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            let value = i64::from(immediate).cast_unsigned();
            let low = registers[to] as u32;
            let mut jumps = false;
            match code {
                0xb7 => registers[to] = value,
                0xbf => registers[to] = registers[from],
                0x07 => registers[to] = registers[to].wrapping_add(value),
                0x0f => registers[to] = registers[to].wrapping_add(registers[from]),
                0x57 => registers[to] &= value,
                0x67 => registers[to] <<= value,
                0x71 | 0x69 | 0x61 => {
                    let length = match code {
                        0x71 => 1,
                        0x69 => 2,
                        _ => 4,
                    };
                    registers[to] = memory(registers[from].wrapping_add_signed(i64::from(offset)), length);
                }
                0x18 => {
                    assert_eq!((from, immediate), (1, 77), "the map's descriptor");
                    at += 1;
                }
                0x05 => jumps = true,
                0x16 => jumps = low == immediate.cast_unsigned(),
                0x56 => jumps = low != immediate.cast_unsigned(),
                0x2d => jumps = registers[to] > registers[from],
                0x85 => {
                    assert_eq!((immediate, registers[2], registers[3]), (51, 3, 2), "the redirection");
                    registers[0] = 4;
                }
                0x95 => return registers[0] == 4,
                _ => panic!("instruction {code:#x}"),
            }
            if jumps {
                at = at.wrapping_add_signed(isize::from(offset));
            }
        }
        panic!("the program does not end");
    }

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn stays(texts: &[&str], frame: &[u8]) -> bool {
        !is_ours(&build(&rules(texts), 77), frame)
    }

    fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
        let mut out = frame[..12].to_vec();
        for tag in tags {
            out.extend(tag.to_be_bytes());
            out.extend([0, 100]);
        }
        out.extend(&frame[12..]);
        out
    }

    #[test]
    fn without_rules_all_is_ours() {
        let program = build(&[], 77);
        assert!(program.len() <= 8);
        for frame in [&[][..], &[0; 60]] {
            assert!(is_ours(&program, frame));
        }
    }

    #[test]
    fn rules_choose_frames_behind_tags_too() {
        let udp4 = packets::udp("192.0.2.1:5353", "198.51.100.2:53").ethernet().to_vec();
        let tcp6 = packets::tcp("[2001:db8::1]:40000", "[2001:db8::2]:22").ethernet().to_vec();
        for (texts, frame, expected) in [
            (&["udp 53"][..], &udp4, true),
            (&["udp 5353"], &udp4, false),
            (&["udp from 5353"], &udp4, true),
            (&["tcp 53"], &udp4, false),
            (&["arp", "protocol 17"], &udp4, true),
            (&["icmp"], &udp4, false),
            (&["ethertype 0x86dd"], &udp4, false),
            (&["address 198.51.100.2"], &udp4, true),
            (&["address 192.0.2.1"], &udp4, false),
            (&["tcp 22"], &tcp6, true),
            (&["tcp from 22", "udp 22"], &tcp6, false),
            (&["ethertype 0x86dd"], &tcp6, true),
            (&["address 2001:db8::2"], &tcp6, true),
            (&["address 2001:db8::1"], &tcp6, false),
            (&["icmp", "icmp6", "protocol 6"], &tcp6, true),
        ] {
            for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                assert_eq!(stays(texts, &tagged(frame, tags)), expected, "{texts:?} {tags:x?}");
            }
            assert!(
                !stays(texts, &tagged(frame, &[0x8100, 0x8100, 0x8100])),
                "a third tag is not looked behind"
            );
        }
    }

    #[test]
    fn ports_lie_behind_options_and_not_in_later_fragments() {
        let mut frame = packets::udp("192.0.2.1:1", "198.51.100.2:53").ethernet().to_vec();
        frame[20..22].copy_from_slice(&0x2000_u16.to_be_bytes());
        assert!(stays(&["udp 53"], &frame), "the first fragment has them");
        frame[20..22].copy_from_slice(&1_u16.to_be_bytes());
        assert!(!stays(&["udp 53"], &frame));
        assert!(stays(&["protocol 17"], &frame));
        frame[20..22].copy_from_slice(&[0, 0]);
        frame[14] = 0x46;
        frame.splice(34..34, [1; 4]);
        assert!(stays(&["udp 53"], &frame));
        frame[14] = 0x4f;
        assert!(!stays(&["udp 53"], &frame), "the header reaches out of the frame");
    }

    #[test]
    fn what_asks_for_an_address_of_the_host_is_the_hosts() {
        let mut arp = vec![0xff; 12];
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend([2, 0, 0, 0, 0, 9, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
        assert!(stays(&["address 192.0.2.1"], &arp));
        assert!(!stays(&["address 192.0.2.9"], &arp));
        let mut ask = packets::udp("[fe80::9]:1", "[ff02::1:ff34:5678]:2").ethernet().to_vec();
        assert!(stays(&["address 2001:db8::1234:5678"], &ask));
        ask[53] ^= 1;
        assert!(!stays(&["address 2001:db8::1234:5678"], &ask));
    }

    proptest! {
        #[test]
        fn no_frame_leads_the_program_astray(frame in proptest::collection::vec(any::<u8>(), 0..120),
            kind in proptest::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100])) {
            let mut frame = frame;
            if let Some(place) = frame.get_mut(12..14) {
                place.copy_from_slice(&kind.to_be_bytes());
            }
            // The interpreter panics where it reads beyond the frame.
            is_ours(&build(&rules(&["arp", "tcp 22", "udp from 53", "protocol 89", "address 10.0.0.1", "address fd00::1"]), 77), &frame);
        }
    }
}
