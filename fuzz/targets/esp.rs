//! ESP input: what comes by the wire as it is, and what a peer with the right keys may put into an authentic packet. Whatever it is, it is
//! refused for a reason, or what comes out lies within it.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use raddle_ipsec::algorithm::Suite;
use raddle_ipsec::engine::{Job, PreparedKeys, engines};
use raddle_ipsec::key::{Keys, Secret};
use raddle_ipsec::opener::Opener;
use raddle_ipsec::sa::{Description, Inbound, Lifetime, Mode, UdpPorts, Usage};
use raddle_ipsec::tables::Tables;

/// The first SPI: one for each suite in tunnel mode, then each in transport mode.
const FIRST_SPI: u32 = 256;

struct Gateway {
    opener: Opener,
    tables: Tables,
    senders: Vec<(Description, PreparedKeys)>,
}

thread_local! {
    static GATEWAY: RefCell<Gateway> = RefCell::new(gateway());
}

fn gateway() -> Gateway {
    let mut tables = Tables::default();
    let mut senders = Vec::new();
    let all = [Mode::Tunnel, Mode::Transport]
        .into_iter()
        .flat_map(|mode| Suite::all().map(move |suite| (mode, suite)));
    for (number, (mode, suite)) in all.enumerate() {
        let integrity = Secret::new(vec![3; suite.integrity.map_or(0, |integrity| integrity.key_bytes())]);
        let keys =
            Keys::new(suite, &Secret::new(vec![5; suite.key_bytes()]), &integrity).expect("right lengths");
        let prepare =
            || engines().iter_mut().find_map(|engine| engine.prepare(suite, &keys)).expect("an engine");
        let description = Description {
            name: String::new(),
            spi: FIRST_SPI + number as u32,
            suite,
            mode,
            local: [192, 0, 2, 1].into(),
            remote: [192, 0, 2, 2].into(),
            udp: (number % 3 == 2).then_some(UdpPorts { local: 4500, remote: 4500 }),
            esn: false,
        };
        let sa = Inbound {
            description: description.clone(),
            keys: prepare(),
            replay: None,
            follows_ecn: true,
            lifetime: Lifetime::default(),
            usage: Usage::default(),
        };
        tables.add_inbound(Arc::new(sa), None);
        senders.push((description, prepare()));
    }
    Gateway { opener: Opener::default(), tables, senders }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    if data.len() > 4096 {
        return;
    }
    GATEWAY.with_borrow_mut(|gateway| {
        let Gateway { opener, tables, senders } = gateway;
        let mut wire = data.to_vec();
        if let Ok((range, _)) = opener.open_bytes(0, tables, &mut wire) {
            assert!(range.end <= data.len());
        }
        // The same as the text of an authentic packet, cut to whole blocks.
        let (description, keys) = &senders[usize::from(choice) % senders.len()];
        let text = &data[..data.len() / 16 * 16];
        let (udp, iv) = (usize::from(description.udp.is_some()) * 8, description.suite.encryption.iv_bytes());
        let icv = description.suite.icv_bytes();
        let mut packet = vec![0; 20 + udp + 8 + iv];
        packet.extend_from_slice(text);
        packet.resize(packet.len() + icv, 0);
        let total = packet.len() as u16;
        packet[0] = 0x45;
        packet[1] = choice & 3;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[9] = if udp > 0 { 17 } else { 50 };
        packet[12..20].copy_from_slice(&[192, 0, 2, 2, 192, 0, 2, 1]);
        if udp > 0 {
            packet[20..24].copy_from_slice(&[0x11, 0x94, 0x11, 0x94]);
            packet[24..26].copy_from_slice(&(total - 20).to_be_bytes());
        }
        let esp = 20 + udp;
        packet[esp..esp + 4].copy_from_slice(&description.spi.to_be_bytes());
        let mut jobs = [Job { keys, packet: &mut packet[esp..], high: None, done: false }];
        for mut engine in engines() {
            engine.seal(&mut jobs);
        }
        let sealed = jobs[0].done;
        let length = packet.len();
        match opener.open_bytes(0, tables, &mut packet) {
            Ok((range, _)) => assert!(sealed && range.start < range.end && range.end <= length),
            Err(raddle_ipsec::reason::OpenError::Integrity) => panic!("what was sealed did not open"),
            Err(_) => {}
        }
    });
});
