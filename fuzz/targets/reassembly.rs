//! Fragments to the nodes of full reassembly: what comes out is what was cut, buffers stay within their bounds, and all are
//! back when time is over.
//!
//! The first byte says the family (bit 0) and whether to read the rest raw (bit 1): as packets, each behind a byte with its
//! length. Else five bytes make a fragment of one of four datagrams: which one, where it begins and how long it is (in units of 8
//! bytes), whether more follow, and what is added to its first byte of data.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use raddle::net::reassembly::{Local4, Local6, ReassemblyDrop, ReassemblyNode};
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{Ip4Address, Ip4Header, Ip6Address, Ip6FragmentHeader, Ip6Header, IpProtocol};

/// Buffers of the pool, and how many of them fragments may hold.
const POOL: u32 = 256;
const MOST_HELD: usize = POOL as usize / 4;

const CONFIG: &str =
    "[reassembly]\ndatagrams = 8\nfragments = 16\nip4-timeout-seconds = 1\nip6-timeout-seconds = 1\n";
const PROTOCOL: IpProtocol = IpProtocol(253);

thread_local! {
    static HOST: RefCell<Harness> = RefCell::new(host());
}

fn host() -> Harness {
    let mut host = Harness::builder().buffers(POOL).config(CONFIG).interface("wan", |wan| wan).build();
    host.load_only(&["forwarding", "local", "reassembly"]).expect("the init functions");
    host.node::<ReassemblyDrop>();
    host
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let (is_ip6, is_raw) = (choice & 1 != 0, choice & 2 != 0);
    HOST.with_borrow_mut(|host| {
        if is_raw {
            let mut left = rest;
            while let Some((&length, bytes)) = left.split_first() {
                let (packet, more) = bytes.split_at(bytes.len().min(length.into()));
                run(host, is_ip6, packet.to_vec());
                left = more;
            }
        } else {
            let mut changed = false;
            for record in rest.as_chunks().0 {
                changed |= record[4] != 0;
                let out = run(host, is_ip6, fragment(is_ip6, record));
                for whole in out.sent().iter().filter(|sent| sent.node.ends_with("-local")) {
                    let bytes = whole.packet.bytes();
                    // An atomic fragment keeps its fragment header.
                    let header = match (is_ip6, bytes[6]) {
                        (false, _) => 20,
                        (true, 44) => 48,
                        (true, _) => 40,
                    };
                    let data = &bytes[header..];
                    assert!(changed || data.iter().enumerate().all(|(at, &byte)| byte == content(at)));
                }
            }
        }
        host.advance(Duration::from_secs(2));
        host.poll::<raddle::net::local::LocalOutputNode>();
        host.assert_no_leaks();
    });
});

fn run(host: &mut Harness, is_ip6: bool, bytes: Vec<u8>) -> Run {
    let packet = Sample::new(bytes);
    let out = if is_ip6 {
        host.run::<ReassemblyNode<Local6>>([packet])
    } else {
        host.run::<ReassemblyNode<Local4>>([packet])
    };
    assert!(host.held_buffers() <= MOST_HELD);
    out
}

/// The byte of every datagram's data at this place.
fn content(at: usize) -> u8 {
    (at ^ at >> 8) as u8
}

fn fragment(is_ip6: bool, &[which, start, length, more, add]: &[u8; 5]) -> Vec<u8> {
    let start = u16::from(start) * 8;
    let length = if more & 1 == 0 { usize::from(length) } else { usize::from(length) * 8 };
    let mut data: Vec<u8> = (0..length).map(|at| content(usize::from(start) + at)).collect();
    if let Some(first) = data.first_mut() {
        *first = first.wrapping_add(add);
    }
    let identification = which & 3;
    let mut bytes = if is_ip6 {
        let [source, destination] = [2, 1].map(|last| Ip6Address::from_bits(0x2001_0db8 << 96 | last));
        let header = Ip6FragmentHeader::new(PROTOCOL, start, more & 1 != 0, identification.into());
        let ip = Ip6Header::new(IpProtocol::FRAGMENT, source, destination, 8 + length).expect("it fits");
        let mut bytes = vec![0; 40];
        ip.write_to(&mut bytes);
        let mut front = [0; 8];
        header.write_to(&mut front);
        bytes.extend(front);
        bytes
    } else {
        let (source, destination) = (Ip4Address([192, 0, 2, 2]), Ip4Address([192, 0, 2, 1]));
        let mut ip = Ip4Header::new(PROTOCOL, source, destination, length).expect("it fits");
        ip.set_identification(identification.into());
        ip.set_fragment(start, more & 1 != 0);
        let mut bytes = vec![0; 20];
        ip.write_to(&mut bytes);
        bytes
    };
    bytes.extend(data);
    bytes
}
