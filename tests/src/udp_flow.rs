//! A paced stream of numbered UDP datagrams from one namespace to another: proof that nothing was lost meanwhile.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::wait::wait_until;
use crate::{Host, Namespace, wait};

/// Enough that a receiver which is not scheduled for seconds still loses nothing itself.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
/// How often the receiver looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// How long a datagram may be under way on a busy machine.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// A running stream.
#[derive(Debug)]
pub struct UdpFlow {
    sending: Arc<AtomicBool>,
    receiving: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<std::io::Result<u64>>,
    receiver: JoinHandle<Arrivals>,
}

/// What became of the datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowReport {
    /// How many were sent, numbered from 0.
    pub sent: u64,
    /// The numbers that never came.
    pub lost: Vec<u64>,
    /// How many came more than once.
    pub duplicates: u64,
    /// How many came after a later one.
    pub reordered: u64,
    /// The longest time between two arrivals.
    pub longest_gap: Duration,
}

impl UdpFlow {
    /// Sends from `from` to `to` (over IPv6 if `ipv6`) at `per_second` and returns once the first datagrams have arrived.
    ///
    /// Those before the first arrival (neighbours being resolved) do not count.
    ///
    /// # Errors
    /// When nothing arrives at all.
    pub fn start(from: &Host, to: &Host, ipv6: bool, per_second: u32) -> Result<Self> {
        let address = if ipv6 { to.spec.ipv6.into() } else { to.spec.ipv4.into() };
        Self::between(&from.namespace, &to.namespace, address, per_second)
    }

    /// As [`UdpFlow::start`], to any `address` of a namespace.
    ///
    /// # Errors
    /// As [`UdpFlow::start`].
    pub fn between(from: &Namespace, to: &Namespace, address: IpAddr, per_second: u32) -> Result<Self> {
        let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let input = to.udp(any)?;
        set_socket_recv_buffer_size_force(&input, RECEIVE_BUFFER_BYTES)?;
        input.set_read_timeout(Some(LOOK))?;
        let output = from.udp(any)?;
        let port = input.local_addr()?.port();
        output.connect(SocketAddr::new(address, port)).context("cannot route the stream")?;
        greet(&output, &input)?;

        let sending = Arc::new(AtomicBool::new(true));
        let receiving = Arc::new(AtomicBool::new(true));
        let received = Arc::new(AtomicU64::new(0));
        let receiver = {
            let (receiving, received) = (Arc::clone(&receiving), Arc::clone(&received));
            std::thread::spawn(move || receive(&input, &receiving, &received))
        };
        let sender = {
            let sending = Arc::clone(&sending);
            std::thread::spawn(move || send(&output, per_second, &sending))
        };
        let flow = Self { sending, receiving, received, sender, receiver };
        flow.wait_for_more(10)?;
        Ok(flow)
    }

    /// Waits until `count` more datagrams have arrived.
    ///
    /// # Errors
    /// When they do not within a minute.
    pub fn wait_for_more(&self, count: u64) -> Result<()> {
        let goal = self.received.load(Ordering::Relaxed) + count;
        wait_until("datagrams to arrive", Duration::from_secs(60), || {
            self.received.load(Ordering::Relaxed) >= goal
        })
    }

    /// Stops sending, waits for what is under way, and reports.
    ///
    /// # Errors
    /// When the sender could not send.
    pub fn stop(self) -> Result<FlowReport> {
        self.sending.store(false, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("cannot send")?;
        // What has not come by then is lost.
        let _ = wait::wait_until("the last datagrams", UNDER_WAY, || {
            self.received.load(Ordering::Relaxed) >= sent
        });
        self.receiving.store(false, Ordering::Relaxed);
        let arrivals = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
        Ok(arrivals.report(sent))
    }
}

impl FlowReport {
    /// Demands that each datagram came exactly once.
    ///
    /// # Errors
    /// When not, with the numbers.
    pub fn demand_no_loss(&self) -> Result<()> {
        ensure!(self.sent > 0, "nothing was sent");
        ensure!(self.lost.is_empty(), "{} of {} lost: {:?}", self.lost.len(), self.sent, self.lost);
        ensure!(self.duplicates == 0, "{} of {} came twice", self.duplicates, self.sent);
        Ok(())
    }
}

/// Order numbers as they came, and the longest silence.
#[derive(Debug, Default)]
struct Arrivals {
    numbers: Vec<u64>,
    longest_gap: Duration,
}

impl Arrivals {
    fn report(&self, sent: u64) -> FlowReport {
        let mut seen = vec![0_u32; usize::try_from(sent).unwrap_or(0)];
        let mut highest = None;
        let mut reordered = 0;
        for &number in &self.numbers {
            if let Some(count) = usize::try_from(number).ok().and_then(|index| seen.get_mut(index)) {
                *count += 1;
            }
            reordered += u64::from(highest.is_some_and(|highest| number < highest));
            highest = highest.max(Some(number));
        }
        FlowReport {
            sent,
            lost: (0_u64..).zip(&seen).filter(|(_, count)| **count == 0).map(|(number, _)| number).collect(),
            duplicates: seen.iter().map(|count| u64::from(count.saturating_sub(1))).sum(),
            reordered,
            longest_gap: self.longest_gap,
        }
    }
}

/// Sends greetings until one arrives, so that neighbours are resolved before the count begins.
fn greet(output: &UdpSocket, input: &UdpSocket) -> Result<()> {
    let mut bytes = [0; 16];
    wait_until("a first datagram", Duration::from_secs(30), || {
        // The port may be unreachable until the path is there; the next greeting will do.
        let _ = output.send(b"hello");
        input.recv(&mut bytes).is_ok()
    })
}

fn send(output: &UdpSocket, per_second: u32, sending: &AtomicBool) -> std::io::Result<u64> {
    let begin = Instant::now();
    let interval = Duration::from_secs(1) / per_second;
    let mut number: u64 = 0;
    while sending.load(Ordering::Relaxed) {
        output.send(&number.to_be_bytes())?;
        number += 1;
        // Paced from the start, but late datagrams are not caught up in a burst that no queue could hold.
        let due = interval.mul_f64(number as f64);
        std::thread::sleep(due.saturating_sub(begin.elapsed()).max(interval / 4));
    }
    Ok(number)
}

fn receive(input: &UdpSocket, receiving: &AtomicBool, received: &AtomicU64) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut last = Instant::now();
    let mut bytes = [0; 16];
    while receiving.load(Ordering::Relaxed) {
        // A late greeting has another length; a timeout is a look at the flag.
        let Ok(8) = input.recv(&mut bytes) else { continue };
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        arrivals.numbers.push(u64::from_be_bytes(number));
        if arrivals.numbers.len() > 1 {
            arrivals.longest_gap = arrivals.longest_gap.max(last.elapsed());
        }
        last = Instant::now();
        received.fetch_add(1, Ordering::Relaxed);
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_lost_doubled_and_late_numbers() {
        let arrivals = Arrivals { numbers: vec![0, 2, 1, 4, 4], longest_gap: Duration::ZERO };
        let report = arrivals.report(6);
        assert_eq!((report.lost.as_slice(), report.duplicates, report.reordered), ([3, 5].as_slice(), 1, 1));
        assert!(report.demand_no_loss().is_err());
        assert!(
            Arrivals { numbers: vec![0, 1], longest_gap: Duration::ZERO }.report(2).demand_no_loss().is_ok()
        );
        assert!(Arrivals::default().report(0).demand_no_loss().is_err());
    }
}
