//! The log's thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::event::Event;
use super::ipfix::{Encoder, IpfixTarget};
use super::syslog;

/// Events that may wait for the log's thread.
const QUEUE: usize = 16_384;

/// Where the log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// A syslog collector.
    pub syslog: Option<SocketAddr>,
    /// An IPFIX collector.
    pub ipfix: Option<IpfixTarget>,
}

/// The log's thread.
#[derive(Default)]
pub struct Logger {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Logger {
    /// Starts a thread that sends to the collectors; what it is to send goes into the channel. It ends when all senders are gone.
    ///
    /// # Errors
    /// There is no socket, or no thread, to be had.
    pub fn start(&self, targets: Targets) -> std::io::Result<SyncSender<Event>> {
        let mut exports = Exports { syslog: None, ipfix: None };
        if let Some(collector) = targets.syslog {
            exports.syslog = Some(Syslog { socket: connect(collector)?, host: host_name() });
        }
        if let Some(target) = targets.ipfix {
            exports.ipfix = Some(Ipfix {
                socket: connect(target.collector)?,
                encoder: Encoder::new(target.domain),
                refresh: target.refresh,
                next_templates: Instant::now(),
            });
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("nat64-log".into()).spawn(move || exports.run(&receiver))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(sender)
    }

    /// Waits for the thread's end; the senders are gone by now.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn connect(collector: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if collector.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(collector)?;
    Ok(socket)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "-".to_owned(),
        name => name.to_owned(),
    }
}

struct Syslog {
    socket: UdpSocket,
    host: String,
}

struct Ipfix {
    socket: UdpSocket,
    encoder: Encoder,
    refresh: Duration,
    next_templates: Instant,
}

struct Exports {
    syslog: Option<Syslog>,
    ipfix: Option<Ipfix>,
}

impl Exports {
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let wait = self.ipfix.as_mut().map_or(Duration::from_secs(3600), Ipfix::refresh);
            match events.recv_timeout(wait) {
                Ok(event) => self.export(&event),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What is there already goes with it.
            while let Ok(event) = events.try_recv() {
                self.export(&event);
            }
            if let Some(ipfix) = &mut self.ipfix {
                ipfix.flush();
            }
        }
    }

    fn export(&mut self, event: &Event) {
        if let Some(Syslog { socket, host }) = &self.syslog {
            // Syslog over UDP promises nothing (RFC 5426 §4.4); a collector that is away is no reason to stop.
            let _ = socket.send(syslog::line(event, host, std::process::id()).as_bytes());
        }
        if let Some(ipfix) = &mut self.ipfix
            && !ipfix.encoder.append(event)
        {
            ipfix.flush();
            ipfix.encoder.append(event);
        }
    }
}

impl Ipfix {
    /// Sends the templates if it is time; returns how long it is until then.
    fn refresh(&mut self) -> Duration {
        let now = Instant::now();
        if self.next_templates <= now {
            // As syslog: a collector that is away is no reason to stop. It gets the templates again.
            let _ = self.socket.send(&self.encoder.templates(SystemTime::now()));
            self.next_templates = now + self.refresh;
        }
        self.next_templates - now
    }

    fn flush(&mut self) {
        if let Some(message) = self.encoder.take(SystemTime::now()) {
            let _ = self.socket.send(&message);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

    use super::super::event::EventKind;
    use super::*;
    use crate::state::Protocol;
    use crate::translate::Nat64Prefix;

    pub fn event() -> Event {
        let remote = Ip4Address([198, 51, 100, 2]);
        Event {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789),
            kind: EventKind::SessionCreated,
            tenant: 0,
            protocol: Some(Protocol::Tcp),
            inside: (Ip6Address::from_bits(0x2001_0db8 << 96 | 1), 5000),
            outside: (Ip4Address([192, 0, 2, 1]), 6000),
            remote: Some((remote, Nat64Prefix::WELL_KNOWN.embed(remote), 80)),
            amount: 0,
        }
    }

    fn collector() -> UdpSocket {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        collector.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        collector
    }

    #[test]
    fn events_come_to_both_collectors_and_the_thread_ends() {
        let (lines, messages) = (collector(), collector());
        let logger = Logger::default();
        let ipfix = IpfixTarget {
            collector: messages.local_addr().unwrap(),
            domain: 3,
            refresh: Duration::from_secs(600),
        };
        let targets = Targets { syslog: Some(lines.local_addr().unwrap()), ipfix: Some(ipfix) };
        let sender = logger.start(targets).unwrap();
        sender.try_send(event()).unwrap();
        let mut bytes = [0; 2048];
        let length = lines.recv(&mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes[..length]).contains("session-created"));
        // Templates first.
        for set in [2, 256] {
            let length = messages.recv(&mut bytes).unwrap();
            assert_eq!(
                (&bytes[..2], u16::from_be_bytes([bytes[2], bytes[3]])),
                (&[0, 10][..], length as u16)
            );
            assert_eq!(u16::from_be_bytes([bytes[16], bytes[17]]), set);
        }
        drop(sender);
        logger.join();
    }

    #[test]
    fn templates_come_again() {
        let messages = collector();
        let logger = Logger::default();
        let ipfix = IpfixTarget {
            collector: messages.local_addr().unwrap(),
            domain: 3,
            refresh: Duration::from_millis(10),
        };
        let sender = logger.start(Targets { syslog: None, ipfix: Some(ipfix) }).unwrap();
        let mut bytes = [0; 2048];
        for _ in 0..3 {
            messages.recv(&mut bytes).unwrap();
            assert_eq!(bytes[16..18], [0, 2]);
        }
        drop(sender);
        logger.join();
    }
}
