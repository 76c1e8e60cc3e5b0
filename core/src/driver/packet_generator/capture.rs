//! Capture of what is sent to an interface, into a pcap or pcapng file.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError, TsResolution};

use super::generator::lock;
use super::pcap::CaptureFormat;
use super::sizes::MAX_PACKET_BYTES;

/// A capture file that is written. Threads share it; without a capture none of this is on a packet's way.
pub struct Capture {
    path: PathBuf,
    limit: u64,
    written: AtomicU64,
    open: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    writer: Option<Writer>,
    file: Buffered,
    fault: Option<String>,
}

enum Writer {
    Pcap(PcapWriter<Buffered>),
    PcapNg(PcapNgWriter<Buffered>),
}

/// The file, shared between the writer of the format and who flushes it.
#[derive(Clone)]
struct Buffered(Arc<Mutex<BufWriter<File>>>);

/// Why a capture file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be made.
    #[error("cannot make the capture file {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its beginning cannot be written.
    #[error("cannot write the capture file {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        lock(&self.0).flush()
    }
}

impl CaptureFormat {
    /// The format that a file's name asks for: pcapng if it ends so, else pcap.
    pub fn of_path(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("pcapng") => Self::PcapNg,
            _ => Self::Pcap,
        }
    }
}

impl Capture {
    /// Makes the file, or empties it, for at most `limit` packets.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn create(path: &Path, limit: u64) -> Result<Self, CaptureError> {
        let create = |source| CaptureError::Create { path: path.into(), source };
        let file = Buffered(Arc::new(Mutex::new(BufWriter::new(File::create(path).map_err(create)?))));
        let writer = Writer::create(CaptureFormat::of_path(path), file.clone())
            .and_then(|writer| file.clone().flush().map(|()| writer).map_err(PcapError::IoError));
        let write = |error: PcapError| CaptureError::Write { path: path.into(), reason: describe(&error) };
        let inner = Inner { writer: Some(writer.map_err(write)?), file, fault: None };
        Ok(Self {
            path: path.into(),
            limit,
            written: AtomicU64::new(0),
            open: AtomicBool::new(limit > 0),
            inner: Mutex::new(inner),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Packets written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether packets are still written: the limit is not reached, and no write failed.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Why no more is written, if a write failed.
    pub fn fault(&self) -> Option<String> {
        lock(&self.inner).fault.clone()
    }

    /// Writes a packet, of which the first bytes are `bytes`; `length` is that of the whole.
    pub fn write(&self, since_epoch: Duration, bytes: &[u8], length: usize) {
        let mut inner = lock(&self.inner);
        let Some(writer) = inner.writer.as_mut().filter(|_| self.is_open()) else { return };
        match writer.write(since_epoch, bytes, length) {
            Ok(()) => {
                if self.written.fetch_add(1, Ordering::Relaxed) + 1 >= self.limit {
                    self.open.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => {
                self.open.store(false, Ordering::Relaxed);
                inner.fault =
                    Some(format!("capture to {} stopped: {}", self.path.display(), describe(&error)));
            }
        }
    }

    /// Has all packets written so far reach the file.
    pub fn flush(&self) {
        let mut inner = lock(&self.inner);
        if let Err(error) = inner.file.flush()
            && inner.fault.is_none()
        {
            self.open.store(false, Ordering::Relaxed);
            inner.fault = Some(format!("capture to {} stopped: {error}", self.path.display()));
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("path", &self.path)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Writer {
    fn create(format: CaptureFormat, file: Buffered) -> Result<Self, PcapError> {
        let snaplen = MAX_PACKET_BYTES as u32;
        match format {
            CaptureFormat::Pcap => {
                let header = PcapHeader {
                    snaplen,
                    datalink: DataLink::ETHERNET,
                    ts_resolution: TsResolution::NanoSecond,
                    ..PcapHeader::default()
                };
                Ok(Self::Pcap(PcapWriter::with_header(file, header)?))
            }
            CaptureFormat::PcapNg => {
                let mut writer = PcapNgWriter::new(file)?;
                // Time stamps are written in ns, which is not what readers take without this option.
                let options = vec![InterfaceDescriptionOption::IfTsResol(9)];
                let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
                writer.write_pcapng_block(interface)?;
                Ok(Self::PcapNg(writer))
            }
        }
    }

    fn write(&mut self, since_epoch: Duration, bytes: &[u8], length: usize) -> Result<(), PcapError> {
        let bytes = &bytes[..bytes.len().min(MAX_PACKET_BYTES)];
        let length = length.max(bytes.len()) as u32;
        match self {
            Self::Pcap(writer) => writer.write_packet(&PcapPacket::new(since_epoch, length, bytes)).map(drop),
            Self::PcapNg(writer) => {
                let block = EnhancedPacketBlock {
                    interface_id: 0,
                    timestamp: since_epoch,
                    original_len: length,
                    data: Cow::Borrowed(bytes),
                    options: Vec::new(),
                };
                writer.write_pcapng_block(block).map(drop)
            }
        }
    }
}

fn describe(error: &PcapError) -> String {
    match error {
        PcapError::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcap::{parse_packets, read_packets};
    use super::*;

    fn packets() -> Vec<Vec<u8>> {
        vec![vec![1; 60], (0..=255).collect(), vec![7; 1514], vec![9; 61]]
    }

    #[test]
    fn what_is_captured_is_read_back_the_same() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.pcap", "a.pcapng", "a"] {
            let path = directory.path().join(name);
            let capture = Capture::create(&path, 100).unwrap();
            for packet in packets() {
                capture.write(Duration::new(1_700_000_000, 5), &packet, packet.len());
            }
            capture.flush();
            let replay = read_packets(&path).unwrap();
            let back: Vec<Vec<u8>> = (0..replay.len()).map(|at| replay.packet(at).to_vec()).collect();
            assert_eq!(back, packets(), "{name}");
            assert_eq!(capture.fault(), None);
        }
    }

    #[test]
    fn capture_ends_at_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcap");
        let capture = Capture::create(&path, 2).unwrap();
        for packet in packets() {
            capture.write(Duration::ZERO, &packet, packet.len());
        }
        capture.flush();
        assert_eq!((capture.written(), capture.is_open()), (2, false));
        assert_eq!(read_packets(&path).unwrap().len(), 2);
    }

    #[test]
    fn files_that_are_none_are_refused_with_a_sentence() {
        let message = |bytes: &[u8]| {
            parse_packets(bytes, Path::new("x.pcap")).map(|r| r.len()).unwrap_err().to_string()
        };
        assert!(message(b"").contains("the file ends in the middle"));
        assert!(message(&[0; 24]).contains("wrong magic number"), "{}", message(&[0; 24]));
        assert!(read_packets(Path::new("/nowhere/x.pcap")).unwrap_err().to_string().contains("cannot read"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pcap");
        let capture = Capture::create(&path, 2).unwrap();
        capture.flush();
        assert_eq!(
            read_packets(&path).unwrap_err().to_string(),
            format!("{} has no packets", path.display())
        );
        let error = Capture::create(Path::new("/nowhere/x.pcap"), 1).unwrap_err();
        assert_eq!(error.to_string(), "cannot make the capture file /nowhere/x.pcap");
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(
            ng in proptest::bool::ANY,
            flips in proptest::collection::vec((0_usize..400, proptest::num::u8::ANY), 0..6),
            cut in 0_usize..600,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(if ng { "a.pcapng" } else { "a.pcap" });
            let capture = Capture::create(&path, 100).unwrap();
            for packet in packets().iter().take(2) {
                capture.write(Duration::new(5, 5), packet, packet.len());
            }
            capture.flush();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(cut.max(1));
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = parse_packets(&bytes, &path);
        }
    }
}
