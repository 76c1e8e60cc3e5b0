//! Echo requests as bytes, and what answers to them say (RFC 792, RFC 4443 §4).

use std::net::IpAddr;

use raddle_plugin_api::wire::{
    Icmp4Header, Icmp4Kind, Icmp6Header, Icmp6Kind, Ip4Address, Ip4Header, Ip6Address, Ip6Header, Ip6Upper,
    IpProtocol,
};
use zerocopy::IntoBytes;

/// Echo data at most, in bytes.
pub(super) const MAX_SIZE: u32 = 9000;

/// A whole echo request with `size` bytes of data. `None` if the addresses are of two families.
pub(super) fn echo_request(
    source: IpAddr,
    destination: IpAddr,
    identifier: u16,
    sequence: u16,
    size: usize,
) -> Option<Vec<u8>> {
    // As other pings do: each byte its position.
    let data: Vec<u8> = (0..size).map(|position| position as u8).collect();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let icmp = Icmp4Header::echo_request(identifier, sequence, &data);
            let length = Icmp4Header::LENGTH + size;
            let (source, destination) = (Ip4Address::from(source), Ip4Address::from(destination));
            let mut ip = Ip4Header::new(IpProtocol::ICMP4, source, destination, length)?;
            ip.set_identification(sequence);
            Some([ip.as_bytes(), icmp.as_bytes(), &data].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = Icmp6Header::LENGTH + size;
            let (source, destination) = (Ip6Address::from(source), Ip6Address::from(destination));
            let ip = Ip6Header::new(IpProtocol::ICMP6, source, destination, length)?;
            let icmp = Icmp6Header::echo_request(&ip, identifier, sequence, &data);
            Some([ip.as_bytes(), icmp.as_bytes(), &data].concat())
        }
        _ => None,
    }
}

/// An ICMP message about one of our echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) identifier: u16,
    pub(super) sequence: u16,
    pub(super) from: IpAddr,
    pub(super) ttl: u8,
    /// Bytes of the ICMP message.
    pub(super) length: usize,
    /// Type and code of the error, if it is one.
    pub(super) error: Option<(u8, u8)>,
}

impl Answer {
    /// Reads a packet that begins with its IP header, which was checked.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse4(bytes),
            6 => Self::parse6(bytes),
            _ => None,
        }
    }

    fn parse4(bytes: &[u8]) -> Option<Self> {
        let (ip, _) = Ip4Header::parse(bytes)?;
        let (icmp, behind) = Icmp4Header::parse(bytes.get(ip.header_length()..)?)?;
        let (echo, error) = match icmp.kind() {
            Icmp4Kind::ECHO_REPLY => (icmp, None),
            kind if kind.is_error() => {
                let (quoted, _) = Ip4Header::parse(behind)?;
                let (echo, _) = Icmp4Header::parse(behind.get(quoted.header_length()..)?)?;
                let is_ours =
                    quoted.protocol() == IpProtocol::ICMP4 && echo.kind() == Icmp4Kind::ECHO_REQUEST;
                (is_ours.then_some(echo)?, Some((kind.0, icmp.code())))
            }
            _ => return None,
        };
        Some(Self {
            identifier: echo.identifier(),
            sequence: echo.sequence(),
            from: ip.source().to_std().into(),
            ttl: ip.ttl(),
            length: ip.payload_length(),
            error,
        })
    }

    fn parse6(bytes: &[u8]) -> Option<Self> {
        let (ip, _) = Ip6Header::parse(bytes)?;
        let at = Ip6Upper::find(bytes).ok()?.offset;
        let (icmp, behind) = Icmp6Header::parse(bytes.get(at..)?)?;
        let (echo, error) = match icmp.kind() {
            Icmp6Kind::ECHO_REPLY => (icmp, None),
            kind if kind.is_error() => {
                let upper = Ip6Upper::find(behind).ok()?;
                let (echo, _) = Icmp6Header::parse(behind.get(upper.offset..)?)?;
                let is_ours = upper.protocol == IpProtocol::ICMP6 && echo.kind() == Icmp6Kind::ECHO_REQUEST;
                (is_ours.then_some(echo)?, Some((kind.0, icmp.code())))
            }
            _ => return None,
        };
        Some(Self {
            identifier: echo.identifier(),
            sequence: echo.sequence(),
            from: ip.source().to_std().into(),
            ttl: ip.hop_limit(),
            length: ip.total_length().saturating_sub(at),
            error,
        })
    }

    /// What the error is, in words.
    pub(super) fn error_text(&self) -> Option<&'static str> {
        let (kind, code) = self.error?;
        Some(match (self.from.is_ipv4(), kind, code) {
            (true, 3, 0) | (false, 1, 0) => "network unreachable",
            (true, 3, 1) | (false, 1, 3) => "host unreachable",
            (true, 3, 4) | (false, 2, _) => "packet too big",
            (true, 3, 13) | (false, 1, 1) => "prohibited",
            (true, 3, _) | (false, 1, _) => "destination unreachable",
            (true, 11, 0) | (false, 3, 0) => "time exceeded",
            (true, 12, _) | (false, 4, _) => "parameter problem",
            _ => "another error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 2] = [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")];

    fn request(source: &str, destination: &str, size: usize) -> Vec<u8> {
        echo_request(source.parse().unwrap(), destination.parse().unwrap(), 7, 9, size).unwrap()
    }

    /// An ICMP error that quotes the request, without checksums, which are not looked at here.
    fn error(mut about: Vec<u8>, kind: u8, code: u8) -> Vec<u8> {
        let mut bytes = about.clone();
        let header = if bytes[0] >> 4 == 4 { 20 } else { 40 };
        bytes.truncate(header);
        bytes.extend([kind, code, 0, 0, 0, 0, 0, 0]);
        bytes.append(&mut about);
        bytes
    }

    #[test]
    fn requests_are_whole_packets() {
        for (source, destination) in PAIRS {
            for size in [0, 56, 9000] {
                let bytes = request(source, destination, size);
                if source.contains('.') {
                    let ip = Ip4Header::check(&bytes, bytes.len()).unwrap();
                    assert_eq!(usize::from(ip.total_length()), bytes.len());
                    assert!(Icmp4Header::check(&bytes[20..]).is_ok());
                } else {
                    let ip = Ip6Header::check(&bytes, bytes.len()).unwrap();
                    assert!(Icmp6Header::check(ip, &bytes[40..]).is_ok());
                }
            }
        }
        let (four, six) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(echo_request(four, six, 1, 1, 0), None);
    }

    #[test]
    fn reads_replies_and_errors_about_requests() {
        for ((source, destination), (reply, unreachable)) in
            PAIRS.into_iter().zip([(0, (3, 1)), (129, (1, 3))])
        {
            let bytes = request(source, destination, 3);
            assert_eq!(Answer::parse(&bytes), None, "a request is no answer");
            let header = if source.contains('.') { 20 } else { 40 };
            let mut answer = bytes.clone();
            answer[header] = reply;
            let parsed = Answer::parse(&answer).unwrap();
            assert_eq!((parsed.identifier, parsed.sequence, parsed.length), (7, 9, 11));
            assert_eq!((parsed.error, parsed.error_text()), (None, None));
            let failed = error(bytes.clone(), unreachable.0, unreachable.1);
            let parsed = Answer::parse(&failed).unwrap();
            assert_eq!((parsed.identifier, parsed.sequence), (7, 9));
            assert_eq!(parsed.error_text(), Some("host unreachable"));
            let about_reply = error(answer, unreachable.0, unreachable.1);
            assert_eq!(Answer::parse(&about_reply), None, "it is not about a request");
            for length in 0..failed.len() - 3 {
                assert_eq!(Answer::parse(&failed[..length]), None, "{length}");
            }
        }
    }
}
