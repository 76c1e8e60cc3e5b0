//! The virtio-net header (virtio 1.2 §5.1.6), which tap and AF_PACKET put in front of each frame: a checksum
//! left to be filled in, and segmentation left to be done.

use zerocopy::byteorder::{LittleEndian, NativeEndian, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCP6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

reasons! {
    /// Why a virtio-net header does not fit its packet.
    pub enum OffloadMalformed {
        /// The checksum field is not within the packet.
        ChecksumBeyond = "virtio-net checksum beyond packet",
        /// A segmentation type that is not known.
        GsoKind = "virtio-net unknown segmentation type",
        /// Segments of no bytes.
        GsoSize = "virtio-net segment size is zero",
        /// The headers to repeat reach beyond the packet.
        HeaderLengthBeyond = "virtio-net header length beyond packet",
    }
}

/// What is left to be done to a packet, checked against its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// The checksum to be filled in.
    pub checksum: Option<ChecksumOffload>,
    /// Whether checksums were already verified (by hardware, or because the packet never left the host).
    pub data_valid: bool,
    /// The segmentation to be done.
    pub gso: Option<Gso>,
}

/// A checksum over the bytes from `start` to the packet's end. The field holds the sum of the pseudo header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChecksumOffload {
    /// Where the summed bytes begin, from the Ethernet header on.
    pub start: u16,
    /// Where the field stands, from `start` on.
    pub offset: u16,
}

/// A packet that stands for several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gso {
    /// How to cut it.
    pub kind: GsoKind,
    /// Payload bytes per segment, at least 1.
    pub size: u16,
    /// Bytes of headers to repeat, from the Ethernet header on. A hint: the sender may leave it 0 or short.
    pub header_length: u16,
    /// Whether TCP's CWR is set, which only the first segment keeps (RFC 3168 §6.1.2).
    pub ecn: bool,
}

/// How to cut a packet into segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum GsoKind {
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// IP fragments of one UDP datagram.
    UdpFragments,
    /// UDP datagrams of equal size.
    UdpSegments,
}

/// The 10-byte header of tap (`IFF_VNET_HDR`) and AF_PACKET (`PACKET_VNET_HDR`) as they come, in the host's
/// byte order.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct VirtioNetHeader {
    flags: u8,
    gso_type: u8,
    header_length: U16<NativeEndian>,
    gso_size: U16<NativeEndian>,
    checksum_start: U16<NativeEndian>,
    checksum_offset: U16<NativeEndian>,
}

wire_header!(VirtioNetHeader, 10);

/// The 12-byte header of virtio 1.0 and later, little-endian, with the number of buffers that a received
/// packet spans.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct VirtioNetHeaderMergeable {
    flags: u8,
    gso_type: u8,
    header_length: U16<LittleEndian>,
    gso_size: U16<LittleEndian>,
    checksum_start: U16<LittleEndian>,
    checksum_offset: U16<LittleEndian>,
    buffers: U16<LittleEndian>,
}

wire_header!(VirtioNetHeaderMergeable, 12);

impl VirtioNetHeader {
    /// Reads what is left to be done to the packet of `packet_length` bytes behind this header.
    ///
    /// # Errors
    /// When the header contradicts that length or asks for what is not known.
    #[inline]
    pub fn decode(&self, packet_length: usize) -> Result<Offload, OffloadMalformed> {
        if self.flags | self.gso_type == 0 {
            return Ok(Offload::default());
        }
        Fields {
            flags: self.flags,
            gso_type: self.gso_type,
            header_length: self.header_length.get(),
            gso_size: self.gso_size.get(),
            checksum_start: self.checksum_start.get(),
            checksum_offset: self.checksum_offset.get(),
        }
        .decode(packet_length)
    }

    /// The header that says this.
    #[inline]
    pub fn encode(offload: &Offload) -> Self {
        let fields = Fields::encode(offload);
        Self {
            flags: fields.flags,
            gso_type: fields.gso_type,
            header_length: U16::new(fields.header_length),
            gso_size: U16::new(fields.gso_size),
            checksum_start: U16::new(fields.checksum_start),
            checksum_offset: U16::new(fields.checksum_offset),
        }
    }
}

impl VirtioNetHeaderMergeable {
    /// Reads what is left to be done to the packet of `packet_length` bytes behind this header.
    ///
    /// # Errors
    /// When the header contradicts that length or asks for what is not known.
    #[inline]
    pub fn decode(&self, packet_length: usize) -> Result<Offload, OffloadMalformed> {
        if self.flags | self.gso_type == 0 {
            return Ok(Offload::default());
        }
        Fields {
            flags: self.flags,
            gso_type: self.gso_type,
            header_length: self.header_length.get(),
            gso_size: self.gso_size.get(),
            checksum_start: self.checksum_start.get(),
            checksum_offset: self.checksum_offset.get(),
        }
        .decode(packet_length)
    }

    /// The header that says this, of a packet that spans `buffers` buffers (0 on transmit).
    #[inline]
    pub fn encode(offload: &Offload, buffers: u16) -> Self {
        let fields = Fields::encode(offload);
        Self {
            flags: fields.flags,
            gso_type: fields.gso_type,
            header_length: U16::new(fields.header_length),
            gso_size: U16::new(fields.gso_size),
            checksum_start: U16::new(fields.checksum_start),
            checksum_offset: U16::new(fields.checksum_offset),
            buffers: U16::new(buffers),
        }
    }

    /// How many buffers a received packet spans.
    #[inline]
    pub const fn buffers(&self) -> u16 {
        self.buffers.get()
    }
}

/// The fields that both headers have, in host order.
struct Fields {
    flags: u8,
    gso_type: u8,
    header_length: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Fields {
    fn decode(self, packet_length: usize) -> Result<Offload, OffloadMalformed> {
        let checksum = (self.flags & NEEDS_CHECKSUM != 0)
            .then_some(ChecksumOffload { start: self.checksum_start, offset: self.checksum_offset });
        if let Some(ChecksumOffload { start, offset }) = checksum
            && start as usize + offset as usize + 2 > packet_length
        {
            return Err(OffloadMalformed::ChecksumBeyond);
        }
        Ok(Offload {
            checksum,
            data_valid: self.flags & DATA_VALID != 0,
            gso: self.decode_gso(packet_length)?,
        })
    }

    fn decode_gso(&self, packet_length: usize) -> Result<Option<Gso>, OffloadMalformed> {
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => return Ok(None),
            GSO_TCP4 => GsoKind::Tcp4,
            GSO_TCP6 => GsoKind::Tcp6,
            GSO_UDP => GsoKind::UdpFragments,
            GSO_UDP_L4 => GsoKind::UdpSegments,
            _ => return Err(OffloadMalformed::GsoKind),
        };
        if self.gso_size == 0 {
            return Err(OffloadMalformed::GsoSize);
        }
        if self.header_length as usize > packet_length {
            return Err(OffloadMalformed::HeaderLengthBeyond);
        }
        let ecn = self.gso_type & GSO_ECN != 0;
        Ok(Some(Gso { kind, size: self.gso_size, header_length: self.header_length, ecn }))
    }

    #[inline]
    fn encode(offload: &Offload) -> Self {
        let needs = if offload.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        let valid = if offload.data_valid { DATA_VALID } else { 0 };
        let checksum = offload.checksum.unwrap_or(ChecksumOffload { start: 0, offset: 0 });
        let gso_type = offload.gso.map_or(GSO_NONE, |gso| {
            let kind = match gso.kind {
                GsoKind::Tcp4 => GSO_TCP4,
                GsoKind::Tcp6 => GSO_TCP6,
                GsoKind::UdpFragments => GSO_UDP,
                GsoKind::UdpSegments => GSO_UDP_L4,
            };
            if gso.ecn { kind | GSO_ECN } else { kind }
        });
        Self {
            flags: needs | valid,
            gso_type,
            header_length: offload.gso.map_or(0, |gso| gso.header_length),
            gso_size: offload.gso.map_or(0, |gso| gso.size),
            checksum_start: checksum.start,
            checksum_offset: checksum.offset,
        }
    }
}
