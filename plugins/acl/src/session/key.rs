//! By what a session is found: the interface, the protocol, and both ends in an order that does not tell directions.

use raddle_plugin_api::InterfaceIndex;

/// Of an IPv4 flow: each end's address above its port, above the interface in the first word and the protocol in the second.
pub type FlowKey4 = [u64; 2];
/// Of an IPv6 flow.
pub type FlowKey6 = [u64; 5];

#[inline(always)]
const fn last_word(low: u16, high: u16, interface: InterfaceIndex, protocol: u8) -> u64 {
    (low as u64) << 48 | (high as u64) << 32 | (interface.0 as u64 & 0xff_ffff) << 8 | protocol as u64
}

/// The key of a flow, and whether its source is the lower end.
#[inline(always)]
pub fn flow_key4(
    interface: InterfaceIndex,
    protocol: u8,
    [source, destination]: [u32; 2],
    ports: u32,
) -> (FlowKey4, bool) {
    const { assert!(InterfaceIndex::LIMIT <= 1 << 16) };
    let from = u64::from(source) << 32 | u64::from(ports & 0xffff_0000);
    let to = u64::from(destination) << 32 | u64::from(ports << 16);
    let low = from.min(to) | u64::from(interface.0 as u16);
    ([low, from.max(to) | u64::from(protocol)], from <= to)
}

/// As [`flow_key4`].
#[inline(always)]
pub fn flow_key6(
    interface: InterfaceIndex,
    protocol: u8,
    [source, destination]: [[u64; 2]; 2],
    ports: u32,
) -> (FlowKey6, bool) {
    let (from, to) = ((ports >> 16) as u16, ports as u16);
    let whole = |[high, low]: [u64; 2]| u128::from(high) << 64 | u128::from(low);
    let (one, other) = (whole(source), whole(destination));
    // Without a branch, since nobody can foresee it.
    let is_low = (one < other) | ((one == other) & (from <= to));
    let ([low, high], [low_port, high_port]) =
        if is_low { ([source, destination], [from, to]) } else { ([destination, source], [to, from]) };
    ([low[0], low[1], high[0], high[1], last_word(low_port, high_port, interface, protocol)], is_low)
}

/// The interface of a key.
pub const fn interface4(key: &FlowKey4) -> InterfaceIndex {
    InterfaceIndex(key[0] as u32 & 0xffff)
}

/// As [`interface4`].
pub const fn interface6(key: &FlowKey6) -> InterfaceIndex {
    InterfaceIndex((key[4] >> 8) as u32 & 0xff_ffff)
}

/// Low and high address; low and high port; protocol.
pub const fn open4(key: &FlowKey4) -> ([u32; 2], [u16; 2], u8) {
    let [low, high] = *key;
    ([(low >> 32) as u32, (high >> 32) as u32], [(low >> 16) as u16, (high >> 16) as u16], high as u8)
}

/// As [`open4`].
pub const fn open6(key: &FlowKey6) -> ([[u64; 2]; 2], [u16; 2], u8) {
    ([[key[0], key[1]], [key[2], key[3]]], [(key[4] >> 48) as u16, (key[4] >> 32) as u16], key[4] as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key() {
        let interface = InterfaceIndex(7);
        let (there, low) = flow_key4(interface, 6, [9, 2], 1000 << 16 | 80);
        let (back, other) = flow_key4(interface, 6, [2, 9], 80 << 16 | 1000);
        assert_eq!((there, low, other), (back, false, true));
        assert_eq!(open4(&there), ([2, 9], [80, 1000], 6));
        assert_eq!(interface4(&there), interface);
        let (there, _) = flow_key6(interface, 17, [[1, 2], [1, 1]], 5 << 16 | 6);
        let (back, _) = flow_key6(interface, 17, [[1, 1], [1, 2]], 6 << 16 | 5);
        assert_eq!(there, back);
        assert_ne!(flow_key6(InterfaceIndex(8), 17, [[1, 1], [1, 2]], 6 << 16 | 5).0, back);
        assert_eq!(interface6(&there), interface);
        assert_eq!(open6(&there), ([[1, 1], [1, 2]], [6, 5], 17));
    }

    #[test]
    fn a_flow_to_itself_has_its_ports_in_order() {
        let (key, low) = flow_key4(InterfaceIndex(0), 6, [1, 1], 9 << 16 | 3);
        assert_eq!((open4(&key).1, low), ([3, 9], false));
    }
}
