//! Streams on queues, with simulated time.

use std::sync::Arc;

use super::generator::Generator;
use super::options::StreamOptions;
use super::queue::{GeneratorRx, Sink};
use super::report::StreamReport;
use super::stream::{Stream, StreamState};

const PACKET: &str = "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 / ip4 10.0.0.1 > 10.0.1.0/24 / udp 1 > 2";

/// Keeps what is pushed.
struct Frames {
    limit: usize,
    frames: Vec<Vec<u8>>,
}

impl Sink for Frames {
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.frames.len())
    }

    fn push(&mut self, bytes: &[u8], finish: impl FnOnce(&mut [u8])) -> bool {
        if self.room() == 0 {
            return false;
        }
        let mut frame = bytes.to_vec();
        finish(&mut frame);
        self.frames.push(frame);
        true
    }
}

fn stream(name: &str, keys: &str, queues: u32) -> Stream {
    let text = format!("name = '{name}'\npacket = '{PACKET}'\n{keys}");
    toml::from_str::<StreamOptions>(&text).unwrap().open(queues).unwrap()
}

fn generator(queues: u32, streams: &[(&str, &str)]) -> Arc<Generator> {
    let generator = Generator::create("pg0", queues, None).unwrap();
    for (name, keys) in streams {
        generator.add(stream(name, keys, queues)).unwrap();
    }
    Arc::new(generator)
}

fn start(generator: &Generator) {
    generator.streams().iter().for_each(|stream| stream.start());
    generator.tell_queues();
}

fn pass(queue: &mut GeneratorRx, now_ns: u64) -> Vec<Vec<u8>> {
    let mut sink = Frames { limit: 256, frames: Vec::new() };
    queue.fill(now_ns, &mut sink);
    queue.settle();
    sink.frames
}

#[test]
fn a_stream_sends_nothing_until_it_is_started_and_then_its_count() {
    let generator = generator(1, &[("a", "count = 300")]);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    assert!(queue.is_busy(), "it looks once");
    assert_eq!(pass(&mut queue, 0).len(), 0);
    assert!(!queue.is_busy());
    assert_eq!(generator.streams()[0].state(), StreamState::Ready);
    start(&generator);
    assert!(queue.is_busy());
    assert_eq!(pass(&mut queue, 1).len(), 256);
    assert_eq!(generator.streams()[0].state(), StreamState::Running);
    assert!(queue.is_busy());
    assert_eq!(pass(&mut queue, 2).len(), 44);
    assert_eq!(generator.streams()[0].state(), StreamState::Completed);
    assert!(!queue.is_busy());
    assert_eq!(pass(&mut queue, 3).len(), 0);
    let report = StreamReport::of(&generator, &generator.streams()[0]);
    assert_eq!((report.sent, report.remaining, report.bytes), (300, Some(0), 300 * 42));
}

#[test]
fn a_stopped_stream_goes_on_where_it_was_and_a_complete_one_begins_anew() {
    let generator = generator(1, &[("a", "count = 300")]);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    let stream = generator.streams()[0].clone();
    start(&generator);
    let first = pass(&mut queue, 0);
    stream.stop();
    generator.tell_queues();
    assert_eq!(pass(&mut queue, 1).len(), 0);
    assert!(!queue.is_busy());
    assert_eq!(stream.state(), StreamState::Stopped);
    start(&generator);
    assert_eq!(pass(&mut queue, 2).len(), 44);
    start(&generator);
    assert_eq!(pass(&mut queue, 3), first, "from the start, with the same values");
    stream.restart();
    generator.tell_queues();
    assert_eq!(pass(&mut queue, 4).len(), 256);
    assert_eq!(stream.progress().packets, 256);
}

#[test]
fn queues_share_a_stream_without_overlap() {
    let generator = generator(3, &[("a", "count = 256\nqueues = [0, 2]")]);
    start(&generator);
    let mut queues: Vec<_> = (0..3).map(|queue| GeneratorRx::new(generator.clone(), queue)).collect();
    let parts: Vec<_> = queues.iter_mut().map(|queue| pass(queue, 0)).collect();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [128, 0, 128]);
    let mut last: Vec<u8> = parts.concat().iter().map(|frame| frame[33]).collect();
    last.sort_unstable();
    assert_eq!(last, (0..=255).collect::<Vec<u8>>());
    assert_eq!(generator.streams()[0].state(), StreamState::Completed);
}

#[test]
fn an_odd_count_is_shared_out_whole() {
    let generator = generator(4, &[("a", "count = 6")]);
    start(&generator);
    let sent: Vec<usize> =
        (0..4).map(|queue| pass(&mut GeneratorRx::new(generator.clone(), queue), 0).len()).collect();
    assert_eq!(sent, [2, 2, 1, 1]);
    assert!(generator.streams()[0].is_complete());
    let one = self::generator(4, &[("a", "count = 1")]);
    start(&one);
    for queue in 0..4 {
        pass(&mut GeneratorRx::new(one.clone(), queue), 0);
    }
    assert!(one.streams()[0].is_complete(), "a share of nothing is complete");
}

#[test]
fn a_rate_is_kept_and_slow_streams_do_not_poll() {
    let generator = generator(2, &[("a", "rate = 2000\ncount = 1000000")]);
    start(&generator);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    let mut sent = 0;
    for step in 0..1000 {
        sent += pass(&mut queue, step * 1_000_000).len();
        assert!(!queue.is_busy(), "the alarm wakes it");
    }
    assert!((999..=1001).contains(&sent), "{sent}");
    let report = StreamReport::of(&generator, &generator.streams()[0]);
    assert!(report.rate.unwrap().abs_diff(1000) <= 2, "{report:?}");
}

#[test]
fn streams_share_a_queue_by_rate_and_the_rest_goes_to_those_without() {
    let keys = [("slow", "rate = 1000"), ("fast", "rate = '10kpps'"), ("x", ""), ("y", "")];
    let generator = generator(1, &keys);
    start(&generator);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    for step in 0..1000 {
        assert_eq!(pass(&mut queue, step * 1_000_000).len(), 256);
    }
    let sent: Vec<u64> = generator.streams().iter().map(|stream| stream.progress().packets).collect();
    assert!(sent[0].abs_diff(1000) <= 2, "{sent:?}");
    assert!(sent[1].abs_diff(10_000) <= 20, "{sent:?}");
    assert!(sent[2].abs_diff(sent[3]) <= 1000, "{sent:?}");
    assert_eq!(sent.iter().sum::<u64>(), 256_000);
}

#[test]
fn streams_come_and_go_while_others_run() {
    let generator = generator(1, &[("a", "")]);
    start(&generator);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    pass(&mut queue, 0);
    generator.add(stream("b", "count = 10", 1)).unwrap();
    generator.select(Some("b")).unwrap()[0].start();
    generator.tell_queues();
    pass(&mut queue, 1);
    assert_eq!(generator.streams()[1].state(), StreamState::Completed);
    assert_eq!(generator.streams()[0].progress().packets, 256 + 246);
    generator.remove("a").unwrap();
    assert_eq!(pass(&mut queue, 2).len(), 0);
    assert!(!queue.is_busy());
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let generator = generator(2, &[("first", "")]);
    let error = |stream| generator.add(stream).unwrap_err().to_string();
    assert_eq!(error(stream("first", "", 2)), "interface pg0 has a stream first already");
    assert_eq!(
        error(stream("b", "queues = [2]", 2)),
        "stream b: there is no queue 2 on pg0: they are 0 to 1"
    );
    assert_eq!(
        generator.select(Some("frist")).unwrap_err().to_string(),
        "interface pg0 has no stream frist; did you mean first?"
    );
    let zero =
        toml::from_str::<StreamOptions>(&format!("name = 'z'\npacket = '{PACKET}'\ncount = 0")).unwrap();
    assert_eq!(zero.open(1).unwrap_err().to_string(), "stream z: a count of 0 packets sends nothing");
}

#[test]
fn a_replay_sends_the_file_as_often_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in.pcap");
    let capture = super::capture::Capture::create(&path, 10).unwrap();
    for byte in 0..3_u8 {
        capture.write(std::time::Duration::ZERO, &[byte; 60], 60);
    }
    capture.flush();
    let keys = |loops: &str| format!("name = 'r'\npcap = '{}'\n{loops}", path.display());
    for (loops, expected) in
        [("", 3), ("loops = 3", 9), ("loops = 0\ncount = 7", 7), ("loops = 2\ncount = 100", 6)]
    {
        let generator = Arc::new(Generator::create("pg0", 2, None).unwrap());
        generator.add(toml::from_str::<StreamOptions>(&keys(loops)).unwrap().open(2).unwrap()).unwrap();
        start(&generator);
        let mut bytes: Vec<u8> = (0..2)
            .flat_map(|queue| pass(&mut GeneratorRx::new(generator.clone(), queue), 0))
            .map(|frame| frame[0])
            .collect();
        assert!(generator.streams()[0].is_complete());
        bytes.sort_unstable();
        let mut wanted: Vec<u8> = (0..expected).map(|number| number % 3).collect();
        wanted.sort_unstable();
        assert_eq!(bytes, wanted, "{loops}");
    }
    let missing = toml::from_str::<StreamOptions>("name = 'r'\npcap = '/nowhere/x.pcap'").unwrap();
    assert!(missing.open(1).unwrap_err().to_string().starts_with("stream r: cannot read /nowhere/x.pcap: "));
}

#[test]
fn the_alarm_is_heard_when_somebody_starts_a_stream() {
    use rustix::event::{PollFd, PollFlags, poll};
    let generator = generator(1, &[("a", "count = 1")]);
    let mut queue = GeneratorRx::new(generator.clone(), 0);
    pass(&mut queue, 0);
    queue.hear_alarm();
    let readable = |wait_ms: i64| {
        let fd = generator.alarm(0).unwrap().fd();
        let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: wait_ms * 1_000_000 };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    // What `add` rang may still be about to come.
    readable(50);
    queue.hear_alarm();
    assert!(!readable(0));
    start(&generator);
    assert!(readable(900));
    queue.hear_alarm();
    assert!(!readable(0), "it is silent once heard");
    assert_eq!(pass(&mut queue, 1).len(), 1);
}

#[test]
fn the_demo_configuration_is_good() {
    use super::options::GeneratorOptions;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/demo-packet-generator.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut streams = 0;
    for name in ["left", "right"] {
        // The common keys are the core's; this refuses any other that the driver does not know.
        let options = raddle_plugin_api::config::parse_interface_options::<GeneratorOptions>(&text, name);
        let options = options.unwrap().unwrap();
        for stream in options.streams {
            streams += 1;
            assert!(stream.count.is_some() && stream.start, "{name}");
            stream.open(options.queues).unwrap();
        }
    }
    assert_eq!(streams, 2);
}

#[test]
fn a_device_says_what_it_is_and_leaves_the_table_when_it_goes() {
    use super::device::GeneratorDevice;
    use super::generator::Generators;
    use raddle_plugin_api::driver::{Change, Device, Request};

    let directory = tempfile::tempdir().unwrap();
    let table = Arc::<Generators>::default();
    let request = |mtu| Request { name: "pg0".into(), mac: None, mtu, threads: 1 };
    let capture = directory.path().join("out.pcapng");
    let text = format!(
        "queues = 2\ncapture = '{}'\n[[streams]]\nname = 'a'\nstart = true\npacket = '{PACKET}'",
        capture.display()
    );
    let options = || toml::from_str(&text).unwrap();
    let mut device = GeneratorDevice::open(table.clone(), &request(None), options()).unwrap();
    let properties = device.properties();
    assert!(properties.mac.unwrap().is_unicast() && properties.mac.unwrap().is_local());
    assert_eq!((properties.mtu, properties.rx_queues, properties.link_up), (1500, 2, true));
    assert!(!properties.tx_gso && !properties.tx_checksum && properties.fault.is_none());
    assert!(device.rx_queue(0).is_some() && device.rx_queue(1).is_some());
    assert!(device.rx_queue(0).is_none() && device.rx_queue(2).is_none(), "each is taken once");
    assert!(device.change(Change::Mtu(9000)).is_ok());
    assert!(device.change(Change::Mtu(60)).is_err());
    assert_eq!(device.properties().mtu, 9000);
    assert!(table.find("pg0").unwrap().capture().unwrap().is_open() && capture.exists());
    assert_eq!(
        table.find("pg1").unwrap_err().to_string(),
        "pg1 is not an interface of the packet generator; did you mean pg0?"
    );
    drop(device);
    assert!(table.all().is_empty());
    assert!(GeneratorDevice::open(table, &request(Some(70_000)), options()).is_err());
}
