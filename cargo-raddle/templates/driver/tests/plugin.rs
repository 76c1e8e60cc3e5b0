//! The driver as a host sees it, without root and without daemon.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use raddle_plugin_api::driver::{Change, Device, Driver, Request};
use raddle_plugin_api::testing::{Harness, packets};
use raddle_plugin_api::Failure;
use sample_plugin::{Options, SamplePlugin};

type SocketDevice = <SamplePlugin as Driver>::Device;

fn open(host: &mut Harness, folder: &Path) -> Result<SocketDevice, Failure> {
    let request = Request { name: "wire".to_owned(), mac: None, mtu: None, threads: 1 };
    let options = Options { path: folder.join("wire"), peer: folder.join("peer") };
    host.control(|control| SamplePlugin::open(control, &request, options))
}

#[test]
fn frames_go_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let peer = UnixDatagram::bind(folder.path().join("peer")).unwrap();
    let mut host = Harness::builder().build();
    let mut device = open(&mut host, folder.path()).unwrap();
    let mut rx = device.rx_queue(0).unwrap();
    let mut tx = device.tx_queue(0).unwrap();
    let frame = packets::udp("192.0.2.2:4242", "198.51.100.2:53").ethernet().to_vec();

    peer.send_to(&frame, folder.path().join("wire")).unwrap();
    let received = host.receive(&mut rx, 256);
    assert_eq!(received.packets[0].bytes(), frame);
    assert_eq!((received.packets.len(), received.lost), (1, 0));

    assert_eq!(host.transmit(&mut tx, [frame.clone()]), 1);
    let mut sent = [0; 2000];
    let length = peer.recv(&mut sent).unwrap();
    assert_eq!(sent[..length], frame);
    host.assert_no_leaks();
}

#[test]
fn runts_are_lost_and_a_peer_that_is_not_there_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Harness::builder().build();
    let mut device = open(&mut host, folder.path()).unwrap();
    let mut rx = device.rx_queue(0).unwrap();
    let mut tx = device.tx_queue(0).unwrap();
    UnixDatagram::unbound().unwrap().send_to(&[1; 13], folder.path().join("wire")).unwrap();
    let received = host.receive(&mut rx, 256);
    assert_eq!((received.packets.len(), received.lost), (0, 1));
    let frame = packets::echo("192.0.2.2", "198.51.100.2").ethernet().to_vec();
    assert_eq!(host.transmit(&mut tx, [frame]), 0);
    host.assert_no_leaks();
}

#[test]
fn a_socket_in_use_is_not_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Harness::builder().build();
    let device = open(&mut host, folder.path()).unwrap();
    let refused = open(&mut host, folder.path()).map(drop).unwrap_err().to_string();
    assert!(refused.starts_with("somebody receives by the socket "), "{refused}");
    drop(device);
    assert!(!folder.path().join("wire").exists(), "the socket is left");
    open(&mut host, folder.path()).unwrap();
}

#[test]
fn the_mtu_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Harness::builder().build();
    let mut device = open(&mut host, folder.path()).unwrap();
    device.change(Change::Mtu(9000)).unwrap();
    let refused = device.change(Change::Mtu(9001)).unwrap_err().to_string();
    assert_eq!(refused, "the MTU 9001 is too large, 9000 is the largest");
    assert_eq!(device.properties().mtu, 9000);
}
