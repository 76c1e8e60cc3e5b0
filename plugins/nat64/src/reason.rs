//! Why packets are dropped.

use raddle_plugin_api::error;

use crate::rewrite::Unfit;
use crate::state::Refusal;

error! {
    /// Why packets are dropped, in either direction.
    pub enum Nat64Error {
        NotOurs => "not-ours": "the configuration has no use for the address any more",
        Malformed => "malformed": "a header is cut short or says what cannot be",
        IllegalSource => "illegal-source": "the source is no host's address, or within a NAT64 prefix (RFC 6146 section 3.5)",
        IllegalDestination => "illegal-destination": "the IPv4 destination is no host's address",
        NonGlobal => "non-global": "the well-known prefix with an address that is not global (RFC 6052 section 3.1)",
        Protocol => "protocol": "neither TCP nor UDP nor ICMP",
        IcmpKind => "icmp-kind": "an ICMP message that is not translated (RFC 7915 sections 4.2 and 5.2)",
        IcmpFragment => "icmp-fragment": "a fragment of an ICMP message (RFC 7915 section 1.2)",
        NoPorts => "no-ports": "a fragment of which no ports are known",
        ErrorQuote => "error-quote": "an ICMP error whose quoted packet is not one of the session's, or lies",
        NoSession => "no-session": "an ICMP error about a packet of no session",
        NoBinding => "no-binding": "from outside, for a port that nobody has",
        Filtered => "filtered": "from outside, from a host that nobody inside talks to",
        NotSyn => "not-syn": "TCP in the middle of a connection that is not known",
        UnwantedSyn => "unwanted-syn": "a SYN from outside that nobody inside answered in time",
        NoPort => "no-port": "no port is left in the pool",
        TableFull => "table-full": "the table of sessions or of bindings is full",
        SubscriberLimit => "subscriber-limit": "the subscriber has as many sessions, bindings or blocks as it may",
        OtherPrefix => "other-prefix": "the session is known by another NAT64 prefix",
        OtherTable => "other-table": "from a routing table that is not the tenant's",
        ZeroChecksum => "zero-checksum": "UDP without a checksum, which cannot or shall not be made",
        TooLong => "too-long": "longer than a packet of the other protocol can be",
        NoHeadroom => "no-headroom": "no room for the longer header",
        NoBuffer => "no-buffer": "no buffer left",
        Congested => "congested": "the thread that has the session takes no more",
    }
}

impl From<Refusal> for Nat64Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoBinding => Self::NoBinding,
            Refusal::Filtered => Self::Filtered,
            Refusal::NotSyn => Self::NotSyn,
            Refusal::NoPort => Self::NoPort,
            Refusal::TableFull => Self::TableFull,
            Refusal::SubscriberLimit => Self::SubscriberLimit,
        }
    }
}

impl From<Unfit> for Nat64Error {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Malformed => Self::Malformed,
            Unfit::IcmpKind => Self::IcmpKind,
            Unfit::ZeroChecksum => Self::ZeroChecksum,
            Unfit::TooLong => Self::TooLong,
        }
    }
}
