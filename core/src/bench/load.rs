//! Putting a case's routes into the engine, and its packets where the generator finds them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Header, Ip6Header, IpPrefix, IpProtocol, MacAddress, UdpHeader,
};
use rustix::fs::MemfdFlags;
use zerocopy::IntoBytes as _;

use crate::host::Engine;
use crate::net::routes::Routes;
use crate::net::static_route::{RouteHop, RouteSpec, RouteTarget};

/// Routes that are added between two turns of the main loop.
const ROUTES_PER_TURN: usize = 4096;

/// Adds the routes as the configuration's are added; returns how long it took.
///
/// # Errors
/// A route is refused.
pub fn add_routes(engine: &Engine, routes: &[IpPrefix], next_hop: IpAddr) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for routes in routes.chunks(ROUTES_PER_TURN) {
        let added = engine.with_core(|control| {
            let table = control.resource::<Routes>()?;
            for &prefix in routes {
                let hop = RouteHop { via: Some(next_hop), interface: None, weight: 1 };
                table.add(
                    control,
                    &RouteSpec { prefix, table: TableKey::DEFAULT, target: RouteTarget::Hop(hop) },
                )?;
            }
            Ok(())
        });
        added.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        engine.run_until(Duration::ZERO, || false);
    }
    Ok(start.elapsed())
}

/// A capture file in memory that the generator replays.
#[derive(Debug)]
pub struct PacketFile {
    file: File,
}

impl PacketFile {
    /// Writes a UDP packet of `frame_bytes` for each destination, from `source` to the router's MAC address `router`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn create(
        destinations: &[IpAddr],
        frame_bytes: usize,
        [source, router]: [MacAddress; 2],
    ) -> anyhow::Result<Self> {
        let frames =
            destinations.iter().map(|&destination| frame(destination, frame_bytes, [source, router]));
        Self::write(frames)
    }

    /// Writes frames as they are.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn of_frames(frames: &[Vec<u8>]) -> anyhow::Result<Self> {
        Self::write(frames.iter().cloned().map(Some))
    }

    fn write(frames: impl Iterator<Item = Option<Vec<u8>>>) -> anyhow::Result<Self> {
        let file = File::from(
            rustix::fs::memfd_create("raddle-bench", MemfdFlags::CLOEXEC)
                .context("no memory for the packets")?,
        );
        let mut writer = PcapWriter::new(BufWriter::new(&file))?;
        for frame in frames {
            let frame = frame.context("frames are too short")?;
            writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame))?;
        }
        writer.into_writer().flush()?;
        Ok(Self { file })
    }

    /// Where it can be opened while it lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// A frame of a UDP datagram from a neighbour on the network of the case's `in`; `None` if that needs more bytes.
fn frame(destination: IpAddr, bytes: usize, [source, router]: [MacAddress; 2]) -> Option<Vec<u8>> {
    let (ethertype, ip_bytes) = match destination {
        IpAddr::V4(_) => (EtherType::IP4, Ip4Header::LENGTH),
        IpAddr::V6(_) => (EtherType::IP6, Ip6Header::LENGTH),
    };
    let datagram_bytes = bytes.checked_sub(EthernetHeader::LENGTH + ip_bytes)?;
    let payload = vec![0; datagram_bytes.checked_sub(UdpHeader::LENGTH)?];
    let mut udp = UdpHeader::new(1000, 2000, payload.len())?;
    let mut frame = EthernetHeader::new(router, source, ethertype).as_bytes().to_vec();
    match destination {
        IpAddr::V4(destination) => {
            let source = std::net::Ipv4Addr::new(10, 0, 0, 2);
            let header = Ip4Header::new(IpProtocol::UDP, source.into(), destination.into(), datagram_bytes)?;
            udp.fill_checksum(header.pseudo_header(datagram_bytes as u16), &payload);
            frame.extend(header.as_bytes());
        }
        IpAddr::V6(destination) => {
            let source = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2);
            let header = Ip6Header::new(IpProtocol::UDP, source.into(), destination.into(), datagram_bytes)?;
            udp.fill_checksum(header.pseudo_header(IpProtocol::UDP, datagram_bytes as u32), &payload);
            frame.extend(header.as_bytes());
        }
    }
    frame.extend(udp.as_bytes());
    frame.extend(payload);
    Some(frame)
}
