//! Messages of the Port Control Protocol (RFC 6887): what a host asks for, and what it is told.

use raddle_plugin_api::wire::{Ip4Address, Ip6Address, IpProtocol};

use crate::state::Protocol;

/// The port of servers (RFC 6887 §19.1).
pub const SERVER_PORT: u16 = 5351;
/// The longest message (RFC 6887 §7).
pub const MOST_BYTES: usize = 1100;

const VERSION: u8 = 2;
const RESPONSE: u8 = 0x80;
/// Bytes of the common header, and of that with what MAP adds.
const HEADER: usize = 24;
const MAP: usize = HEADER + 36;
/// Options below this one must be understood (RFC 6887 §7.3).
const OPTIONAL: u8 = 128;
/// Seconds for which a mapping stands at least and at most (RFC 6887 §15).
const LIFETIMES: std::ops::RangeInclusive<u32> = 120..=86_400;
/// Seconds after which a host may ask again: what passes soon, and what does not (RFC 6887 §7.4).
const SOON: u32 = 30;
const LATER: u32 = 1800;

/// What a host is told (RFC 6887 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It is so.
    Success = 0,
    /// Another version than 2.
    UnsupportedVersion = 1,
    /// Of somebody else's mapping, or what is not for hosts to ask.
    NotAuthorized = 2,
    /// The request is cut short or says what cannot be.
    MalformedRequest = 3,
    /// Neither MAP nor ANNOUNCE.
    UnsupportedOpcode = 4,
    /// An option that has to be understood.
    UnsupportedOption = 5,
    /// An option beyond the end.
    MalformedOption = 6,
    /// No port or no room is left.
    NoResources = 8,
    /// Neither TCP nor UDP.
    UnsupportedProtocol = 9,
    /// The subscriber has as much as it may.
    UserExceededQuota = 10,
    /// The request says that it comes from another address than it does.
    AddressMismatch = 12,
}

impl Code {
    /// Seconds that an error holds.
    const fn lifetime(self) -> u32 {
        if matches!(self, Self::NoResources | Self::UserExceededQuota) { SOON } else { LATER }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether the server is as it was.
    Announce,
    /// A mapping.
    Map(MapRequest),
}

/// A mapping that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Says who may change it (RFC 6887 §11.1).
    pub nonce: [u8; 12],
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's port.
    pub port: u16,
    /// Seconds; 0: the mapping is to end.
    pub lifetime: u32,
}

/// Reads a request that came from `source`, in the order of RFC 6887 §8.2 and §11.3.
///
/// # Errors
/// What the host is told; `None` if it is told nothing.
pub fn read(bytes: &[u8], source: Ip6Address) -> Result<Request, Option<Code>> {
    let &[version, opcode, ..] = bytes else { return Err(None) };
    if opcode & RESPONSE != 0 {
        return Err(None);
    }
    if version != VERSION {
        return Err(Some(Code::UnsupportedVersion));
    }
    let header = bytes.first_chunk::<HEADER>().ok_or(Some(Code::MalformedRequest))?;
    if bytes.len() > MOST_BYTES || !bytes.len().is_multiple_of(4) {
        return Err(Some(Code::MalformedRequest));
    }
    if header[8..] != source.0 {
        return Err(Some(Code::AddressMismatch));
    }
    match opcode {
        0 => check_options(&bytes[HEADER..]).map(|()| Request::Announce),
        1 => {
            let (map, options) = bytes.split_first_chunk::<MAP>().ok_or(Some(Code::MalformedRequest))?;
            let asked = read_map(map)?;
            check_options(options)?;
            Ok(Request::Map(asked))
        }
        _ => Err(Some(Code::UnsupportedOpcode)),
    }
}

fn read_map(bytes: &[u8; MAP]) -> Result<MapRequest, Option<Code>> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let asked = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let (protocol, port) = (IpProtocol(bytes[36]), word(40));
    if protocol.0 == 0 && port != 0 {
        return Err(Some(Code::MalformedRequest));
    }
    let protocol = match protocol {
        IpProtocol::TCP => Protocol::Tcp,
        IpProtocol::UDP => Protocol::Udp,
        _ => return Err(Some(Code::UnsupportedProtocol)),
    };
    if port == 0 {
        // All ports: an address of its own, which the operator gives.
        return Err(Some(Code::NotAuthorized));
    }
    let lifetime = if asked == 0 { 0 } else { asked.clamp(*LIFETIMES.start(), *LIFETIMES.end()) };
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&bytes[HEADER..HEADER + 12]);
    Ok(MapRequest { nonce, protocol, port, lifetime })
}

/// No option is known here; those that have to be are refused (RFC 6887 §7.3).
fn check_options(mut options: &[u8]) -> Result<(), Option<Code>> {
    while let &[code, _, high, low, ..] = options {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = 4 + length.next_multiple_of(4);
        options = options.get(end..).ok_or(Some(Code::MalformedOption))?;
        if code < OPTIONAL {
            return Err(Some(Code::UnsupportedOption));
        }
    }
    Ok(())
}

/// An answer.
pub struct Response {
    bytes: [u8; MOST_BYTES],
    length: usize,
}

impl Response {
    /// That something is wrong with a request, which goes back with it (RFC 6887 §8.3); `epoch` is the server's time in seconds.
    pub fn error(request: &[u8], code: Code, epoch: u32) -> Self {
        let length = request.len().min(MOST_BYTES);
        let mut response = Self { bytes: [0; MOST_BYTES], length: length.next_multiple_of(4).max(HEADER) };
        response.bytes[..length].copy_from_slice(&request[..length]);
        response.head(code, code.lifetime(), epoch);
        response
    }

    /// That the server is there.
    pub fn announce(request: &[u8], epoch: u32) -> Self {
        let mut response = Self::error(&request[..request.len().min(HEADER)], Code::Success, epoch);
        response.head(Code::Success, 0, epoch);
        response
    }

    /// That the mapping is there, with its port outside, for `lifetime` seconds; or that it is there no more.
    pub fn map(request: &[u8], outside: Option<(Ip4Address, u16)>, lifetime: u32, epoch: u32) -> Self {
        let mut response = Self::error(&request[..request.len().min(MAP)], Code::Success, epoch);
        response.head(Code::Success, lifetime, epoch);
        let (address, port) = outside.unwrap_or((Ip4Address::UNSPECIFIED, 0));
        response.bytes[42..44].copy_from_slice(&port.to_be_bytes());
        response.bytes[44..MAP].copy_from_slice(&address.to_std().to_ipv6_mapped().octets());
        response
    }

    fn head(&mut self, code: Code, lifetime: u32, epoch: u32) {
        let [version, opcode, reserved, result, ..] = &mut self.bytes;
        *version = VERSION;
        *opcode |= RESPONSE;
        (*reserved, *result) = (0, code as u8);
        self.bytes[4..8].copy_from_slice(&lifetime.to_be_bytes());
        self.bytes[8..12].copy_from_slice(&epoch.to_be_bytes());
        self.bytes[12..HEADER].fill(0);
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 1);

    fn map(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![2, 1, 0, 0, 0, 0, 14, 16];
        bytes.extend(HOST.0);
        bytes.extend([7; 12]);
        bytes.extend([17, 0, 0, 0, 0x13, 0x88, 0, 0]);
        bytes.extend([0; 16]);
        change(&mut bytes);
        bytes
    }

    #[test]
    fn request_is_what_rfc_6887_says() {
        let asked = MapRequest { nonce: [7; 12], protocol: Protocol::Udp, port: 5000, lifetime: 3600 };
        assert_eq!(read(&map(|_| ()), HOST), Ok(Request::Map(asked)));
        let short = read(&map(|bytes| bytes[4..8].copy_from_slice(&[0, 0, 0, 1])), HOST);
        assert_eq!(short, Ok(Request::Map(MapRequest { lifetime: 120, ..asked })));
        let long = read(&map(|bytes| bytes[4..8].fill(0xff)), HOST);
        assert_eq!(long, Ok(Request::Map(MapRequest { lifetime: 86_400, ..asked })));
        let unknown = read(&map(|bytes| bytes.extend([200, 0, 0, 2, 1, 2, 0, 0])), HOST);
        assert_eq!(unknown, Ok(Request::Map(asked)), "an option that need not be understood");
        assert_eq!(
            read(
                &map(|bytes| {
                    bytes[1] = 0;
                    bytes.truncate(24);
                }),
                HOST
            ),
            Ok(Request::Announce)
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |change: fn(&mut Vec<u8>)| read(&map(change), HOST).unwrap_err();
        assert_eq!(told(|bytes| bytes[1] = 0x81), None, "a response");
        assert_eq!(told(|bytes| bytes.truncate(1)), None);
        assert_eq!(told(|bytes| bytes[0] = 0), Some(Code::UnsupportedVersion), "NAT-PMP");
        assert_eq!(told(|bytes| bytes[1] = 2), Some(Code::UnsupportedOpcode), "PEER");
        assert_eq!(told(|bytes| bytes.truncate(56)), Some(Code::MalformedRequest));
        assert_eq!(told(|bytes| bytes.push(0)), Some(Code::MalformedRequest));
        assert_eq!(told(|bytes| bytes.resize(1104, 0)), Some(Code::MalformedRequest));
        assert_eq!(told(|bytes| bytes[23] = 2), Some(Code::AddressMismatch));
        assert_eq!(told(|bytes| bytes[36] = 0), Some(Code::MalformedRequest), "a port of all protocols");
        assert_eq!(told(|bytes| bytes[36] = 132), Some(Code::UnsupportedProtocol));
        assert_eq!(told(|bytes| bytes[40..42].fill(0)), Some(Code::NotAuthorized), "all ports");
        assert_eq!(told(|bytes| bytes.extend([2, 0, 0, 0])), Some(Code::UnsupportedOption));
        let for_another = |bytes: &mut Vec<u8>| {
            bytes.extend([1, 0, 0, 16]);
            bytes.extend([9; 16]);
        };
        assert_eq!(told(for_another), Some(Code::UnsupportedOption), "THIRD_PARTY (RFC 6887 §13.1)");
        assert_eq!(told(|bytes| bytes.extend([200, 0, 0, 4])), Some(Code::MalformedOption));
    }

    #[test]
    fn answer_has_the_port_outside() {
        let request = map(|bytes| bytes.extend([200, 0, 0, 0]));
        let made = Response::map(&request, Some((Ip4Address([192, 0, 2, 1]), 6000)), 3600, 99);
        assert_eq!(
            made.bytes()[..24],
            [2, 0x81, 0, 0, 0, 0, 14, 16, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!((made.bytes().len(), &made.bytes()[24..42]), (60, &request[24..42]));
        assert_eq!(made.bytes()[42..], [0x17, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        let error = Response::error(&[0, 0], Code::UnsupportedVersion, 5);
        assert_eq!((error.bytes().len(), &error.bytes()[..4]), (24, &[2, 0x80, 0, 1][..]));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered_with_a_message_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
            let code = match read(&bytes, HOST) {
                Ok(Request::Announce) => return Ok(()),
                Ok(Request::Map(asked)) => {
                    prop_assert!(asked.lifetime == 0 || LIFETIMES.contains(&asked.lifetime));
                    return Ok(());
                }
                Err(None) => return Ok(()),
                Err(Some(code)) => code,
            };
            let made = Response::error(&bytes, code, 1);
            prop_assert!((24..=1100).contains(&made.bytes().len()) && made.bytes().len().is_multiple_of(4));
            prop_assert_eq!((made.bytes()[0], made.bytes()[1] & 0x80, made.bytes()[3]), (2, 0x80, code as u8));
        }
    }
}
