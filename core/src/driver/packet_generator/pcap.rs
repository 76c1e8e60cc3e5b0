//! Reading packets of capture files. Files are hostile input: every size is bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_file::DataLink;
use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::{Block, PcapNgParser};

use super::replay::Replay;
use super::sizes::MAX_PACKET_BYTES;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 512 << 20;
/// The most packets that are taken from a file.
const MAX_PACKETS: usize = 16 << 20;

/// The formats of capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// Classic libpcap.
    Pcap,
    /// pcapng.
    PcapNg,
}

/// Why a capture file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than what is read.
    #[error("{path} has more than {} MiB", MAX_FILE_BYTES >> 20)]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// Not a capture file, or a broken one.
    #[error("{path} is not a good pcap or pcapng file: packet {packet}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which packet or block, from 1.
        packet: usize,
        /// What is wrong.
        reason: String,
    },
    /// Packets of another link layer.
    #[error("{path} has packets of link type {link:?}; only Ethernet can be replayed")]
    Link {
        /// The file.
        path: PathBuf,
        /// Its link type.
        link: DataLink,
    },
    /// A packet that is too long.
    #[error("{path}: packet {packet} has {bytes} bytes; at most {MAX_PACKET_BYTES} can be replayed")]
    Long {
        /// The file.
        path: PathBuf,
        /// Which packet, from 1.
        packet: usize,
        /// Its length.
        bytes: usize,
    },
    /// Nothing to send.
    #[error("{path} has no packets")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Too many packets.
    #[error("{path} has more packets than can be kept")]
    Many {
        /// The file.
        path: PathBuf,
    },
}

/// Reads all packets of a capture file.
///
/// # Errors
/// The file cannot be read, is too large, is no capture of Ethernet packets, or has none.
pub fn read_packets(path: &Path) -> Result<Replay, PcapError> {
    let read = |source| PcapError::Read { path: path.into(), source };
    let file = File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(PcapError::Large { path: path.into() });
    }
    parse_packets(&bytes, path)
}

/// The packets of a capture file's bytes; `path` is for messages.
pub(super) fn parse_packets(bytes: &[u8], path: &Path) -> Result<Replay, PcapError> {
    let mut packets = Replay::default();
    // Both formats begin with a number of four bytes; that of pcapng reads the same both ways round.
    if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        parse_pcapng(bytes, path, &mut packets)?;
    } else {
        parse_pcap(bytes, path, &mut packets)?;
    }
    if packets.is_empty() { Err(PcapError::Empty { path: path.into() }) } else { Ok(packets) }
}

fn parse_pcap(bytes: &[u8], path: &Path, packets: &mut Replay) -> Result<(), PcapError> {
    let malformed = |packet, error| malformed(path, packet, error);
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| malformed(0, error))?;
    check_link(parser.header().datalink, path)?;
    while !rest.is_empty() {
        let number = packets.len() + 1;
        let (behind, packet) = parser.next_raw_packet(rest).map_err(|error| malformed(number, error))?;
        keep(&packet.data, path, packets)?;
        rest = behind;
    }
    Ok(())
}

fn parse_pcapng(bytes: &[u8], path: &Path, packets: &mut Replay) -> Result<(), PcapError> {
    let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|error| malformed(path, 0, error))?;
    while !rest.is_empty() {
        let number = packets.len() + 1;
        let (behind, block) = parser.next_block(rest).map_err(|error| malformed(path, number, error))?;
        let (interface, data) = match &block {
            Block::EnhancedPacket(packet) => (packet.interface_id, &packet.data),
            Block::SimplePacket(packet) => (0, &packet.data),
            Block::Packet(packet) => (u32::from(packet.interface_id), &packet.data),
            _ => {
                rest = behind;
                continue;
            }
        };
        if let Some(interface) = parser.interfaces().get(interface as usize) {
            check_link(interface.linktype, path)?;
        } else {
            let reason = format!("interface {interface} is not described");
            return Err(PcapError::Malformed { path: path.into(), packet: number, reason });
        }
        keep(data, path, packets)?;
        rest = behind;
    }
    Ok(())
}

fn malformed(path: &Path, packet: usize, error: pcap_file::PcapError) -> PcapError {
    let reason = match error {
        pcap_file::PcapError::IncompleteBuffer => "the file ends in the middle".into(),
        other => other.to_string(),
    };
    PcapError::Malformed { path: path.into(), packet, reason }
}

fn check_link(link: DataLink, path: &Path) -> Result<(), PcapError> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(PcapError::Link { path: path.into(), link }) }
}

fn keep(data: &[u8], path: &Path, packets: &mut Replay) -> Result<(), PcapError> {
    if data.len() > MAX_PACKET_BYTES {
        return Err(PcapError::Long { path: path.into(), packet: packets.len() + 1, bytes: data.len() });
    }
    if packets.len() >= MAX_PACKETS || !packets.push(data) {
        return Err(PcapError::Many { path: path.into() });
    }
    Ok(())
}
