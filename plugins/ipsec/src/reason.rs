//! Why packets are dropped.

use raddle_plugin_api::error;

use crate::esp::{Malformed, Unwrappable};
use crate::sa::Stopped;

error! {
    /// Why packets are not sent.
    pub enum SealError {
        NoSa => "no-sa": "the tunnel has no SA that sends",
        NoPolicy => "no-policy": "no policy says what becomes of the packet, and the default is to discard",
        Discarded => "discarded": "a policy discards the packet",
        Cycled => "cycled": "the sequence numbers of the SA are used up (RFC 4303 section 3.3.3)",
        Ended => "ended": "a hard bound of the SA's life was met",
        NotNoted => "not-noted": "the next sequence numbers are not yet noted on disk as used",
        Malformed => "malformed": "no whole IP packet, or a fragment in transport mode",
        SelectorMismatch => "selector-mismatch": "an SA in transport mode is for packets between its own ends",
        TooLong => "too-long": "the ESP packet would be longer than an IP packet can be",
        NoRoom => "no-room": "no room for the headers in front or the trailer behind",
        NoBuffer => "no-buffer": "no buffer left",
        NoRandomness => "no-randomness": "the system has no randomness for an IV",
        Crypto => "crypto": "the engine did not encrypt the packet",
    }
}

error! {
    /// Why received packets are dropped.
    pub enum OpenError {
        NoSa => "no-sa": "no SA that receives has the SPI",
        Runt => "runt": "shorter than the SA's headers, trailer and ICV, or no whole number of blocks",
        OuterMismatch => "outer-mismatch": "the outer addresses or ports are not those of the SA",
        Replay => "replay": "came before, or is older than the anti-replay window",
        Integrity => "integrity": "the ICV is wrong",
        Padding => "bad-padding": "the padding is not 1, 2, 3 and so on (RFC 4303 section 2.4)",
        Dummy => "dummy": "a packet of the peer's that holds nothing (RFC 4303 section 2.6)",
        SelectorMismatch => "selector-mismatch": "what was inside is not what the SA carries",
        NoPolicy => "no-policy": "no policy lets the packet in",
        Discarded => "discarded": "a policy discards the packet",
        NotProtected => "not-protected": "a policy wants the packet to come by an SA, by which it did not come",
        Congestion => "congestion": "congestion on the way of a packet that cannot be told of it (RFC 6040 section 4.2)",
        Ended => "ended": "a hard bound of the SA's life was met",
        InterfaceDown => "interface-down": "the tunnel's interface is down or not there",
        KeepAlive => "keep-alive": "a NAT keep-alive (RFC 3948 section 4)",
        Malformed => "malformed": "headers cut short",
        NoBuffer => "no-buffer": "no buffer left",
    }
}

impl From<Stopped> for SealError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Ended => Self::Ended,
            Stopped::Cycled => Self::Cycled,
            Stopped::NotNoted => Self::NotNoted,
        }
    }
}

impl From<Unwrappable> for SealError {
    fn from(unwrappable: Unwrappable) -> Self {
        match unwrappable {
            Unwrappable::TooLong => Self::TooLong,
            Unwrappable::Malformed => Self::Malformed,
            Unwrappable::NoRandomness => Self::NoRandomness,
        }
    }
}

impl From<Malformed> for OpenError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Padding => Self::Padding,
            Malformed::Dummy => Self::Dummy,
            Malformed::Inner => Self::SelectorMismatch,
            Malformed::Congestion => Self::Congestion,
        }
    }
}
