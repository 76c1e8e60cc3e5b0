//! A netlink socket: requests with their answers, and events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use raddle_plugin_api::namespace::{Namespace, NamespaceError};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_timeout,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Room for one message of the kernel, which splits lists to 32 KiB.
const MESSAGE_BYTES: usize = 64 * 1024;
/// What the kernel keeps of events for us.
const EVENT_BYTES: usize = 16 * 1024 * 1024;
/// The kernel answers before `send` returns; this only bounds one that does otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a list is asked for again that changed while it was read.
const TRIES: usize = 20;

/// Numbers of errors end here (`MAX_ERRNO`).
const MOST_ERRNO: i32 = 4095;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Why the kernel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no socket for us.
    #[error("cannot talk to the kernel over rtnetlink: {0}")]
    Socket(#[source] Errno),
    /// It refused.
    #[error("cannot {what}: {}", reason(*.source))]
    Refused {
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        source: Errno,
    },
    /// The list changed each time that it was read.
    #[error("cannot {0}: it changes faster than it can be read")]
    Restless(&'static str),
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

fn reason(error: Errno) -> String {
    match error {
        Errno::PERM | Errno::ACCESS => "no permission, CAP_NET_ADMIN is needed".to_owned(),
        Errno::NODEV => "there is no such device".to_owned(),
        other => other.to_string(),
    }
}

/// One message as the kernel sent it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'m> {
    /// `RTM_…`.
    pub kind: u16,
    /// `NLM_F_…`.
    pub flags: u16,
    /// Header and payload.
    pub whole: &'m [u8],
    /// What is behind the header.
    pub payload: &'m [u8],
}

/// A socket of one namespace.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    room: Vec<u8>,
}

impl Socket {
    /// A socket of `namespace` that hears the events of these groups (a set of bits, `RTMGRP_…`); 0: none.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there is no socket for us.
    pub fn open(namespace: &Namespace, groups: u32) -> Result<Self, NetlinkError> {
        let fd = namespace
            .run(|| {
                let flags = SocketFlags::CLOEXEC;
                // Netlink's protocol 0 is NETLINK_ROUTE.
                let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
                rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
                Ok(fd)
            })?
            .map_err(NetlinkError::Socket)?;
        if groups != 0 {
            // Without the capability there is as much as the system allows everyone.
            let _ = set_socket_recv_buffer_size_force(&fd, EVENT_BYTES)
                .or_else(|_| set_socket_recv_buffer_size(&fd, EVENT_BYTES));
        }
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(NetlinkError::Socket)?;
        Ok(Self { fd, sequence: 0, room: vec![0; MESSAGE_BYTES] })
    }

    /// Asks for a change and waits until it is made.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn change(
        &mut self,
        what: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map_err(|source| NetlinkError::Refused { what, source })?;
        match self.answers(|_| {}) {
            Ok(_) => Ok(()),
            Err(source) => Err(NetlinkError::Refused { what, source }),
        }
    }

    /// Reads a list, each message of which `take` gets. It is read again if it changed meanwhile: `begin` is called before each
    /// reading.
    ///
    /// # Errors
    /// The kernel refuses, or the list never rests.
    pub fn list<S>(
        &mut self,
        what: &'static str,
        message: &RouteNetlinkMessage,
        begin: impl Fn() -> S,
        take: impl FnMut(&mut S, Received<'_>),
    ) -> Result<S, NetlinkError> {
        let ask = |socket: &mut Self| socket.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        self.list_asked(what, ask, begin, take)
    }

    /// As [`Socket::list`], of a message that the crate does not know: `bytes` are its payload.
    ///
    /// # Errors
    /// As [`Socket::list`].
    pub fn list_raw<S>(
        &mut self,
        what: &'static str,
        (kind, bytes): (u16, &[u8]),
        begin: impl Fn() -> S,
        take: impl FnMut(&mut S, Received<'_>),
    ) -> Result<S, NetlinkError> {
        let ask = |socket: &mut Self| {
            socket.sequence = socket.sequence.wrapping_add(1);
            let mut request = vec![0; 16 + bytes.len()];
            let mut header = NetlinkBuffer::new(&mut request[..]);
            header.set_length(16 + bytes.len() as u32);
            header.set_message_type(kind);
            header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
            header.set_sequence_number(socket.sequence);
            request[16..].copy_from_slice(bytes);
            rustix::net::send(&socket.fd, &request, SendFlags::empty()).map(drop)
        };
        self.list_asked(what, ask, begin, take)
    }

    fn list_asked<S>(
        &mut self,
        what: &'static str,
        ask: impl Fn(&mut Self) -> Result<(), Errno>,
        begin: impl Fn() -> S,
        mut take: impl FnMut(&mut S, Received<'_>),
    ) -> Result<S, NetlinkError> {
        let refused = |source| NetlinkError::Refused { what, source };
        for _ in 0..TRIES {
            let mut state = begin();
            ask(self).map_err(refused)?;
            let interrupted = self.answers(|received| take(&mut state, received)).map_err(refused)?;
            if !interrupted {
                return Ok(state);
            }
        }
        Err(NetlinkError::Restless(what))
    }

    /// Takes the events that there are, without waiting; returns how many datagrams there were, at most `most`.
    ///
    /// # Errors
    /// `ENOBUFS`: events were lost.
    pub fn events(&mut self, most: usize, mut take: impl FnMut(Received<'_>)) -> Result<usize, Errno> {
        for count in 0..most {
            let length = match rustix::net::recv(&self.fd, &mut self.room[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return Ok(count),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            messages(&self.room[..length], &mut take);
        }
        Ok(most)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty()).map(drop)
    }

    /// Takes the answers to the last request, to the end; `true`: what was listed changed meanwhile.
    fn answers(&mut self, mut take: impl FnMut(Received<'_>)) -> Result<bool, Errno> {
        let (sequence, mut interrupted) = (self.sequence, false);
        loop {
            let length = match rustix::net::recv(&self.fd, &mut self.room[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let mut end = None;
            messages(&self.room[..length], |received| {
                let Ok(header) = NetlinkBuffer::new_checked(received.whole) else { return };
                // What is left of a request that timed out.
                if header.sequence_number() != sequence || end.is_some() {
                    return;
                }
                interrupted |= received.flags & NLM_F_DUMP_INTR != 0;
                end = outcome(received.kind, received.payload);
                if end.is_none() {
                    take(received);
                }
            });
            if let Some(outcome) = end {
                return outcome.map(|()| interrupted);
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What became of a request, if a message is its end. Both kinds have the error, which is below zero; a list that fails on its way has it
/// in its end (Linux `netlink_dump_done`), which may be without one.
fn outcome(kind: u16, payload: &[u8]) -> Option<Result<(), Errno>> {
    let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
    let code = match kind {
        NLMSG_DONE => code.unwrap_or(0),
        NLMSG_ERROR => code.unwrap_or(-1),
        _ => return None,
    };
    Some(if code < 0 { Err(Errno::from_raw_os_error(code.saturating_neg().min(MOST_ERRNO))) } else { Ok(()) })
}

/// Takes a datagram apart; what does not fit its own lengths ends it.
fn messages(mut bytes: &[u8], mut take: impl FnMut(Received<'_>)) {
    while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
        let length = buffer.length() as usize;
        // `new_checked` has seen that it is at least a header and not beyond the bytes.
        let (Some(whole), Some(payload)) = (bytes.get(..length), bytes.get(16..length)) else { return };
        take(Received { kind: buffer.message_type(), flags: buffer.flags(), whole, payload });
        // Messages begin at multiples of four.
        let Some(rest) = bytes.get(length.next_multiple_of(4)..) else { return };
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_its_own_length_ends_a_datagram() {
        let header = |length: u32, kind: u16| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(16, 0);
            bytes
        };
        let kinds = |bytes: &[u8]| {
            let mut kinds = Vec::new();
            messages(bytes, |received| kinds.push((received.kind, received.payload.len())));
            kinds
        };
        let two = [header(18, 5), vec![1, 2, 0, 0], header(16, 6)].concat();
        assert_eq!(kinds(&two), [(5, 2), (6, 0)]);
        for bytes in [&two[..17], &header(0, 5)[..], &header(15, 5)[..], &header(4000, 5)[..], &[]] {
            assert_eq!(kinds(bytes), [], "{bytes:?}");
        }
        assert_eq!(kinds(&[header(16, 5), header(99, 6)].concat()), [(5, 0)]);
    }

    #[test]
    fn a_list_that_fails_on_its_way_is_no_list() {
        let end = |kind: u16, code: i32| outcome(kind, &code.to_ne_bytes());
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            assert_eq!(end(kind, 0), Some(Ok(())));
            assert_eq!(end(kind, -(Errno::NOMEM.raw_os_error())), Some(Err(Errno::NOMEM)));
        }
        assert_eq!(outcome(NLMSG_DONE, &[]), Some(Ok(())));
        assert!(matches!(outcome(NLMSG_ERROR, &[]), Some(Err(_))), "it was cut short");
        assert!(matches!(end(NLMSG_DONE, i32::MIN), Some(Err(_))));
        assert_eq!(end(16, 0), None);
    }

    #[test]
    fn lists_the_links_of_the_host_without_root() {
        use netlink_packet_route::link::LinkMessage;
        let mut socket = Socket::open(&Namespace::Own, 0).unwrap();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let count = socket.list("list links", &request, || 0, |count, _| *count += 1).unwrap();
        assert!(count > 0, "there is a loopback at least");
        assert!(matches!(socket.events(8, |_| {}), Ok(0)));
    }
}
