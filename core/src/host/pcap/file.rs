//! A pcapng file in the making: one section, an interface block for each interface as its first packet comes, enhanced
//! packet blocks with comments (draft-ietf-opsawg-pcapng §4).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::names::Names;
use crate::filter::Link;
use crate::runtime::{CapturedPacket, Direction};

/// Ten to the minus this: the unit of time stamps, in seconds.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: the direction, inbound and outbound.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A capture file that is open.
pub struct CaptureFile {
    path: PathBuf,
    writer: PcapNgWriter<BufWriter<File>>,
    snap_bytes: u32,
    filter: Option<String>,
    /// Numbers of interface blocks by interface and link type: one block has one.
    blocks: HashMap<(u32, Link), u32>,
    /// Packets in the file.
    pub packets: u64,
    /// Bytes of the file, so far.
    pub bytes: u64,
}

impl CaptureFile {
    /// Makes the file, for its owner alone, in the place of one that is there.
    ///
    /// # Errors
    /// It cannot be made or written, or what is there is not a plain file.
    pub fn create(path: &Path, snap_bytes: u32, filter: Option<&str>) -> std::io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(std::io::Error::other("it is there and not a plain file"));
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let writer = PcapNgWriter::new(BufWriter::new(file)).map_err(into_io)?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            snap_bytes,
            filter: filter.map(str::to_owned),
            blocks: HashMap::new(),
            packets: 0,
            bytes: 0,
        })
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// The file system does not take it.
    pub fn write(&mut self, packet: &CapturedPacket, names: &Names) -> std::io::Result<()> {
        let interface_id = self.block(packet.interface, packet.link, names)?;
        let mut options = Vec::new();
        match packet.direction {
            Direction::Rx => options.push(EnhancedPacketOption::Flags(INBOUND)),
            Direction::Tx => options.push(EnhancedPacketOption::Flags(OUTBOUND)),
            Direction::Drop => {}
        }
        options.extend(names.comment(packet).map(|comment| EnhancedPacketOption::Comment(comment.into())));
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.time_ns),
            original_len: packet.length,
            data: Cow::Borrowed(&packet.bytes),
            options,
        };
        self.bytes += self.writer.write_pcapng_block(block).map_err(into_io)? as u64;
        self.packets += 1;
        Ok(())
    }

    /// Number of the block of an interface, which is written if it is not there.
    fn block(&mut self, interface: u32, link: Link, names: &Names) -> std::io::Result<u32> {
        if let Some(&number) = self.blocks.get(&(interface, link)) {
            return Ok(number);
        }
        let mut options = vec![
            InterfaceDescriptionOption::IfName(names.interface(interface).into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        if let Some(filter) = &self.filter {
            // A zero byte in front: the filter is a string in libpcap's language.
            let text = [&[0], filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(text.into()));
        }
        let linktype = match link {
            Link::Ethernet => DataLink::ETHERNET,
            Link::Ip => DataLink::RAW,
        };
        let block = InterfaceDescriptionBlock { linktype, snaplen: self.snap_bytes, options };
        self.bytes += self.writer.write_pcapng_block(block).map_err(into_io)? as u64;
        let number = self.blocks.len() as u32;
        self.blocks.insert((interface, link), number);
        Ok(number)
    }

    /// Has all that was written reach the file.
    ///
    /// # Errors
    /// The file system does not take it.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// Ends the file and begins anew: what there is becomes `PATH.1`, in the place of one before.
    ///
    /// # Errors
    /// The file system does not take it.
    pub fn turn(&mut self) -> std::io::Result<()> {
        self.flush()?;
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, &old)?;
        *self = Self::create(&self.path, self.snap_bytes, self.filter.as_deref())?;
        Ok(())
    }
}

fn into_io(error: pcap_file::PcapError) -> std::io::Error {
    match error {
        pcap_file::PcapError::IoError(error) => error,
        other => std::io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    fn packet(direction: Direction, interface: u32, link: Link) -> CapturedPacket {
        CapturedPacket {
            time_ns: 1_700_000_000_123_456_789,
            direction,
            interface,
            link,
            length: 100,
            bytes: vec![0x45; 60],
            error: (direction == Direction::Drop).then_some(1),
            path: vec![0, 1],
        }
    }

    fn names() -> Names {
        let error = |reason: &str| ("ip4-input".to_owned(), reason.to_owned(), "too old".to_owned());
        Names {
            interfaces: vec![(7, "east".to_owned())],
            nodes: vec!["tap-input".to_owned(), "ip4-input".to_owned()],
            errors: vec![error("unspecified"), error("ttl-expired")],
        }
    }

    type Interfaces = Vec<(DataLink, String)>;
    /// Of each its interface's number, its time and its comment.
    type Packets = Vec<(u32, u64, String)>;

    fn read(path: &Path) -> (Interfaces, Packets) {
        let mut reader = PcapNgReader::new(File::open(path).expect("a file")).expect("a section");
        let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.expect("a block") {
                Block::InterfaceDescription(block) => {
                    let name = block.options.iter().find_map(|option| match option {
                        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                        _ => None,
                    });
                    interfaces.push((block.linktype, name.unwrap_or_default()));
                }
                Block::EnhancedPacket(block) => {
                    let comment = block.options.iter().find_map(|option| match option {
                        EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                        _ => None,
                    });
                    let time = block.timestamp.as_nanos() as u64;
                    packets.push((block.interface_id, time, comment.unwrap_or_default()));
                }
                _ => {}
            }
        }
        (interfaces, packets)
    }

    #[test]
    fn a_file_has_interfaces_by_name_times_in_ns_and_comments() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.pcapng");
        let mut file = CaptureFile::create(&path, 65535, Some("ip")).expect("a file");
        for (direction, link) in
            [(Direction::Rx, Link::Ethernet), (Direction::Drop, Link::Ip), (Direction::Tx, Link::Ethernet)]
        {
            file.write(&packet(direction, 7, link), &names()).expect("room");
        }
        file.flush().expect("room");
        let (interfaces, packets) = read(&path);
        let east = |link| (link, "east".to_owned());
        assert_eq!(interfaces, [east(DataLink::ETHERNET), east(DataLink::RAW)]);
        assert_eq!(packets.iter().map(|packet| packet.0).collect::<Vec<_>>(), [0, 1, 0]);
        assert!(packets.iter().all(|packet| packet.1 == 1_700_000_000_123_456_789));
        assert_eq!(packets[0].2, "path: tap-input -> ip4-input");
        let dropped = "dropped by ip4-input: ttl-expired (too old)\npath: tap-input -> ip4-input";
        assert_eq!(packets[1].2, dropped);
    }

    #[test]
    fn a_file_that_turns_leaves_the_one_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.pcapng");
        let mut file = CaptureFile::create(&path, 65535, None).expect("a file");
        for _ in 0..2 {
            file.write(&packet(Direction::Rx, 9, Link::Ethernet), &names()).expect("room");
            file.turn().expect("room");
        }
        file.flush().expect("room");
        assert_eq!((file.packets, read(&path).1.len()), (0, 0));
        let (interfaces, packets) = read(&directory.path().join("a.pcapng.1"));
        assert_eq!((interfaces[0].1.as_str(), packets.len()), ("interface-9", 1));
        assert!(CaptureFile::create(directory.path(), 1, None).is_err(), "a directory");
    }
}
