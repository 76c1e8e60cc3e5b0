//! The two versions of IP, for what is the same of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::table::{Kept, Plain, SessionTable, TableKey};
use raddle_plugin_api::wire::IpProtocol;
use raddle_plugin_api::{InterfaceIndex, L4Ports};

use crate::compile::{Key, META4, META6, TRANSPORT, WORDS4, WORDS6, Walk, meta};
use crate::key::{Malformed, Seen, flow4, flow6, quoted4, quoted6, read4, read6, write_key4, write_key6};
use crate::policy::Policy;
use crate::session::{Flow, FlowKey4, FlowKey6, Sessions, flow_key4, flow_key6, open4, open6};

/// A version of IP, whose keys have `W` words.
pub trait Family<const W: usize>: Send + 'static {
    /// By what its sessions are found.
    type FlowKey: TableKey + Plain + Default;
    /// Where [`meta`] stands in a key.
    const META: usize;

    /// Reads a packet.
    ///
    /// # Errors
    /// Its headers are malformed.
    fn read(bytes: &[u8], ports: impl FnOnce() -> Option<L4Ports>) -> Result<Seen<W>, Malformed>;

    /// The session's key of a plain packet, whether it comes from the lower end, and its TCP flags. `None`: [`Self::read`]
    /// tells.
    fn flow(bytes: &[u8], interface: InterfaceIndex) -> Option<(Self::FlowKey, bool, u8)>;

    /// Writes what a packet is classified by.
    ///
    /// # Errors
    /// Its headers are malformed.
    fn write_key(
        bytes: &[u8],
        ports: impl FnOnce() -> Option<L4Ports>,
        key: &mut Key<W>,
    ) -> Result<(), Malformed>;

    /// The packet that an ICMP error quotes, whose ICMP header is at the front of `bytes`.
    fn quoted(bytes: &[u8]) -> Option<Seen<W>>;

    /// The key of a packet's session, and whether the packet comes from its lower end.
    fn flow_key(interface: InterfaceIndex, seen: &Seen<W>) -> (Self::FlowKey, bool);

    /// What the packet that began a session was classified by.
    fn first_key(key: &Self::FlowKey, flow: &Flow) -> Key<W>;

    /// The table of its sessions.
    fn sessions<'s, 'm>(
        sessions: &'s mut Sessions<'m>,
    ) -> &'s mut SessionTable<Self::FlowKey, Flow, Kept<'m>>;

    /// The place of the first rule that matches.
    fn find(policy: &Policy, key: &Key<W>) -> u32;

    /// As [`Self::find`], for the packets of a frame: the place of each goes into `places`.
    fn find_frame(policy: &Policy, keys: &[Key<W>], places: &mut [u32], walk: &mut Walk);

    /// Source and destination of a packet.
    fn addresses(key: &Key<W>) -> [IpAddr; 2];
}

/// IPv4.
pub enum Ip4 {}

/// IPv6.
pub enum Ip6 {}

impl Family<WORDS4> for Ip4 {
    type FlowKey = FlowKey4;
    const META: usize = META4;

    #[inline(always)]
    fn read(bytes: &[u8], ports: impl FnOnce() -> Option<L4Ports>) -> Result<Seen<WORDS4>, Malformed> {
        read4(bytes, ports)
    }

    #[inline(always)]
    fn flow(bytes: &[u8], interface: InterfaceIndex) -> Option<(FlowKey4, bool, u8)> {
        let flow = flow4(bytes)?;
        let (key, is_low) = flow_key4(interface, flow.protocol, flow.addresses, flow.ports);
        Some((key, is_low, flow.flags))
    }

    #[inline(always)]
    fn write_key(
        bytes: &[u8],
        ports: impl FnOnce() -> Option<L4Ports>,
        key: &mut Key<WORDS4>,
    ) -> Result<(), Malformed> {
        match flow4(bytes) {
            Some(flow) => write_key4(bytes, &flow, key),
            None => slow(|| read4(bytes, ports).map(|seen| *key = seen.key))?,
        }
        Ok(())
    }

    fn quoted(bytes: &[u8]) -> Option<Seen<WORDS4>> {
        quoted4(bytes)
    }

    #[inline(always)]
    fn flow_key(interface: InterfaceIndex, seen: &Seen<WORDS4>) -> (FlowKey4, bool) {
        let words = &seen.key.words;
        flow_key4(interface, (words[META4] >> 24) as u8, [words[0], words[1]], seen.flow_ports)
    }

    fn first_key(key: &FlowKey4, flow: &Flow) -> Key<WORDS4> {
        let (addresses, ports, protocol) = open4(key);
        let ([source, destination], ports) = ordered(flow, addresses, ports);
        let (meta, ports) = first_words(flow, protocol, ports);
        Key { words: [source, destination, meta, ports] }
    }

    #[inline(always)]
    fn sessions<'s, 'm>(sessions: &'s mut Sessions<'m>) -> &'s mut SessionTable<FlowKey4, Flow, Kept<'m>> {
        &mut sessions.ip4
    }

    #[inline(always)]
    fn find(policy: &Policy, key: &Key<WORDS4>) -> u32 {
        policy.ip4.find(key)
    }

    fn find_frame(policy: &Policy, keys: &[Key<WORDS4>], places: &mut [u32], walk: &mut Walk) {
        policy.ip4.find_frame(keys, places, walk);
    }

    fn addresses(key: &Key<WORDS4>) -> [IpAddr; 2] {
        [key.words[0], key.words[1]].map(|word| Ipv4Addr::from_bits(word).into())
    }
}

impl Family<WORDS6> for Ip6 {
    type FlowKey = FlowKey6;
    const META: usize = META6;

    #[inline(always)]
    fn read(bytes: &[u8], ports: impl FnOnce() -> Option<L4Ports>) -> Result<Seen<WORDS6>, Malformed> {
        read6(bytes, ports)
    }

    #[inline(always)]
    fn flow(bytes: &[u8], interface: InterfaceIndex) -> Option<(FlowKey6, bool, u8)> {
        let flow = flow6(bytes)?;
        let (key, is_low) = flow_key6(interface, flow.protocol, flow.addresses, flow.ports);
        Some((key, is_low, flow.flags))
    }

    #[inline(always)]
    fn write_key(
        bytes: &[u8],
        ports: impl FnOnce() -> Option<L4Ports>,
        key: &mut Key<WORDS6>,
    ) -> Result<(), Malformed> {
        match flow6(bytes) {
            Some(flow) => write_key6(bytes, &flow, key),
            None => slow(|| read6(bytes, ports).map(|seen| *key = seen.key))?,
        }
        Ok(())
    }

    fn quoted(bytes: &[u8]) -> Option<Seen<WORDS6>> {
        quoted6(bytes)
    }

    #[inline(always)]
    fn flow_key(interface: InterfaceIndex, seen: &Seen<WORDS6>) -> (FlowKey6, bool) {
        let words = &seen.key.words;
        let long = |at: usize| u64::from(words[at]) << 32 | u64::from(words[at + 1]);
        let addresses = [[long(0), long(2)], [long(4), long(6)]];
        flow_key6(interface, (words[META6] >> 24) as u8, addresses, seen.flow_ports)
    }

    fn first_key(key: &FlowKey6, flow: &Flow) -> Key<WORDS6> {
        let (addresses, ports, protocol) = open6(key);
        let ([source, destination], ports) = ordered(flow, addresses, ports);
        let (meta, ports) = first_words(flow, protocol, ports);
        let mut key = Key { words: [0; WORDS6] };
        for (at, long) in [source[0], source[1], destination[0], destination[1]].into_iter().enumerate() {
            (key.words[at * 2], key.words[at * 2 + 1]) = ((long >> 32) as u32, long as u32);
        }
        (key.words[META6], key.words[WORDS6 - 1]) = (meta, ports);
        key
    }

    #[inline(always)]
    fn sessions<'s, 'm>(sessions: &'s mut Sessions<'m>) -> &'s mut SessionTable<FlowKey6, Flow, Kept<'m>> {
        &mut sessions.ip6
    }

    #[inline(always)]
    fn find(policy: &Policy, key: &Key<WORDS6>) -> u32 {
        policy.ip6.find(key)
    }

    fn find_frame(policy: &Policy, keys: &[Key<WORDS6>], places: &mut [u32], walk: &mut Walk) {
        policy.ip6.find_frame(keys, places, walk);
    }

    fn addresses(key: &Key<WORDS6>) -> [IpAddr; 2] {
        let address = |at: usize| {
            let words = &key.words[at..at + 4];
            let bits = words.iter().fold(0_u128, |bits, &word| bits << 32 | u128::from(word));
            Ipv6Addr::from_bits(bits).into()
        };
        [address(0), address(4)]
    }
}

/// Keeps what is rare out of the way of what is not.
#[cold]
#[inline(never)]
fn slow<R>(what: impl FnOnce() -> R) -> R {
    what()
}

/// Both ends as the first packet had them: source, destination.
pub fn ordered<A>(flow: &Flow, [low, high]: [A; 2], [low_port, high_port]: [u16; 2]) -> ([A; 2], [u16; 2]) {
    if flow.low_began() { ([low, high], [low_port, high_port]) } else { ([high, low], [high_port, low_port]) }
}

fn first_words(flow: &Flow, protocol: u8, [source, destination]: [u16; 2]) -> (u32, u32) {
    let ports = u32::from(source) << 16 | u32::from(destination);
    match IpProtocol(protocol) {
        IpProtocol::TCP => (meta(protocol, flow.first, flow.dscp, TRANSPORT), ports),
        IpProtocol::ICMP4 | IpProtocol::ICMP6 => {
            (meta(protocol, 0, flow.dscp, TRANSPORT), u32::from(flow.first) << 16)
        }
        IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP => {
            (meta(protocol, 0, flow.dscp, TRANSPORT), ports)
        }
        _ => (meta(protocol, 0, flow.dscp, 0), 0),
    }
}
