//! The special-purpose address registries (RFC 6890 §2.2, as IANA keeps them since).

use serde::Serialize;

/// What may be done with addresses of a prefix (RFC 6890 §2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Columns {
    /// They may be the source of a packet on the wire.
    pub source: bool,
    /// They may be the destination of a packet on the wire.
    pub destination: bool,
    /// A router may forward packets that have one as source or destination.
    pub forwardable: bool,
    /// They may be forwarded beyond an administrative domain. That is for filters at its border: here it is only told.
    pub global: bool,
}

impl Columns {
    /// Addresses like any other.
    pub const ORDINARY: Self = Self { source: true, destination: true, forwardable: true, global: true };
    /// Addresses that may not be in packets at all.
    pub const FORBIDDEN: Self = Self { source: false, destination: false, forwardable: false, global: false };
}

/// A registered prefix.
#[derive(Clone, Copy, Debug)]
pub struct Special {
    /// The prefix, as text.
    pub prefix: &'static str,
    /// What it is for, and who says so.
    pub purpose: &'static str,
    /// What may be done with its addresses.
    pub columns: Columns,
}

const fn special(prefix: &'static str, columns: &[u8; 4], purpose: &'static str) -> Special {
    let [source, destination, forwardable, global] = *columns;
    let columns = Columns {
        source: source == b'T',
        destination: destination == b'T',
        forwardable: forwardable == b'T',
        global: global == b'T',
    };
    Special { prefix, purpose, columns }
}

/// Source, destination, forwardable, global: `T` yes, `F` no. "N/A" counts as no.
pub const REGISTRY: &[Special] = &[
    special("0.0.0.0/8", b"TFFF", "this network (RFC 791 section 3.2)"),
    special("10.0.0.0/8", b"TTTF", "private use (RFC 1918)"),
    special("100.64.0.0/10", b"TTTF", "shared address space (RFC 6598)"),
    special("127.0.0.0/8", b"FFFF", "loopback (RFC 1122 section 3.2.1.3)"),
    special("169.254.0.0/16", b"TTFF", "link local (RFC 3927)"),
    special("172.16.0.0/12", b"TTTF", "private use (RFC 1918)"),
    special("192.0.0.0/24", b"FFFF", "IETF protocol assignments (RFC 6890 section 2.1)"),
    special("192.0.0.0/29", b"TTTF", "IPv4 service continuity (RFC 7335)"),
    special("192.0.0.8/32", b"TFFF", "IPv4 dummy address (RFC 7600)"),
    special("192.0.0.9/32", b"TTTT", "PCP anycast (RFC 7723)"),
    special("192.0.0.10/32", b"TTTT", "TURN anycast (RFC 8155)"),
    special("192.0.2.0/24", b"FFFF", "documentation (RFC 5737)"),
    special("192.168.0.0/16", b"TTTF", "private use (RFC 1918)"),
    special("198.18.0.0/15", b"TTTF", "benchmarking (RFC 2544)"),
    special("198.51.100.0/24", b"FFFF", "documentation (RFC 5737)"),
    special("203.0.113.0/24", b"FFFF", "documentation (RFC 5737)"),
    special("240.0.0.0/4", b"FFFF", "reserved (RFC 1112 section 4)"),
    special("255.255.255.255/32", b"FTFF", "limited broadcast (RFC 919 section 7)"),
    special("::/128", b"TFFF", "unspecified address (RFC 4291 section 2.5.2)"),
    special("::1/128", b"FFFF", "loopback (RFC 4291 section 2.5.3)"),
    special("::ffff:0:0/96", b"FFFF", "IPv4-mapped addresses (RFC 4291 section 2.5.5.2)"),
    special("64:ff9b:1::/48", b"TTTF", "IPv4/IPv6 translation, local use (RFC 8215)"),
    special("100::/64", b"TTTF", "discard only (RFC 6666)"),
    special("100:0:0:1::/64", b"TFFF", "dummy prefix (RFC 9780)"),
    special("2001::/23", b"FFFF", "IETF protocol assignments (RFC 2928)"),
    special("2001::/32", b"TTTF", "Teredo (RFC 4380)"),
    special("2001:1::1/128", b"TTTT", "PCP anycast (RFC 7723)"),
    special("2001:1::2/128", b"TTTT", "TURN anycast (RFC 8155)"),
    special("2001:1::3/128", b"TTTT", "DNS-SD SRP anycast (RFC 9665)"),
    special("2001:2::/48", b"TTTF", "benchmarking (RFC 5180)"),
    special("2001:3::/32", b"TTTT", "AMT (RFC 7450)"),
    special("2001:4:112::/48", b"TTTT", "AS112 (RFC 7535)"),
    special("2001:10::/28", b"FFFF", "ORCHID, deprecated (RFC 4843)"),
    special("2001:20::/28", b"TTTT", "ORCHIDv2 (RFC 7343)"),
    special("2001:30::/28", b"TTTT", "drone remote identification (RFC 9374)"),
    special("2001:db8::/32", b"FFFF", "documentation (RFC 3849)"),
    special("2002::/16", b"TTTF", "6to4 (RFC 3056)"),
    special("3fff::/20", b"FFFF", "documentation (RFC 9637)"),
    special("5f00::/16", b"TTTF", "segment routing SIDs (RFC 9602)"),
    special("fc00::/7", b"TTTF", "unique local (RFC 4193)"),
    special("fe80::/10", b"TTFF", "link local (RFC 4291 section 2.5.6)"),
];
