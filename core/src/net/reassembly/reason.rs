//! Why fragments are dropped.

use raddle_plugin_api::error;

error! {
    /// Why the nodes of reassembly drop packets.
    pub enum ReassemblyError {
        Malformed => "malformed": "headers cut short, not in the first buffer, or beyond the bounds",
        Length => "bad-length": "a fragment that is empty, or not the last and no multiple of 8 bytes (RFC 791 section 3.2)",
        TooLong => "too-long": "the datagram would be longer than 65,535 bytes",
        Tiny => "tiny": "a first fragment without the transport header, or one that would overwrite it (RFC 1858, RFC 3128)",
        NeighborDiscovery => "fragmented-nd": "neighbour discovery in fragments (RFC 6980)",
        Overlap => "overlap": "fragments overlap, or say different ends: the whole datagram is dropped (RFC 5722)",
        Condemned => "condemned": "further fragment of a datagram that was dropped",
        Duplicate => "duplicate": "the same fragment once more",
        TooMany => "too-many-fragments": "the datagram has more fragments than `reassembly.fragments`",
        Evicted => "evicted": "the oldest datagram in progress, in want of room for others",
        NoRoom => "no-room": "the datagram would hold more buffers than it may",
        Ecn => "ecn-mismatch": "fragments disagree on congestion: marked and not capable (RFC 3168 section 5.3)",
        NoBuffer => "no-buffer": "no buffer left",
        Timeout => "timeout": "not all fragments came in time",
        InterfaceGone => "interface-gone": "the interface that the fragments came in by was deleted",
    }
}
