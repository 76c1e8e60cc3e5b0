//! The driver's keys in an interface's table.

use std::path::PathBuf;
use std::sync::Arc;

use raddle_plugin_api::{Failure, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::compile::CompileError;
use super::pcap::read_packets;
use super::program::Program;
use super::rate::Rate;
use super::sizes::Sizes;
use super::stream::{Source, Stream, StreamPlan};
use super::template::Template;

/// Queues that an interface may have.
pub const MAX_QUEUES: u32 = 64;

/// `[interface.NAME]` with `driver = "packet-generator"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GeneratorOptions {
    /// Receive queues: as many threads can make packets at once.
    #[serde(default = "one_queue")]
    #[schemars(range(min = 1, max = MAX_QUEUES))]
    pub queues: u32,
    /// File to which the packets are written that the router sends to the interface: pcapng if its name ends so, else
    /// pcap. What was in it is lost. Without it they are counted.
    #[serde(default)]
    pub capture: Option<PathBuf>,
    /// Packets that are written to the capture file at most.
    #[serde(default = "capture_limit")]
    pub capture_limit: u64,
    /// What it makes.
    #[serde(default)]
    pub streams: Vec<StreamOptions>,
}

/// A stream as it is configured; what is wrong in itself is refused when it is read.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "StreamKeys")]
#[schemars(with = "StreamKeys")]
pub struct StreamOptions {
    /// Its name.
    pub name: String,
    /// What it sends.
    pub content: Content,
    /// Packets to send; `None`: without end.
    pub count: Option<u64>,
    /// How fast; `None`: as fast as the threads can.
    pub rate: Option<Rate>,
    /// The queues that share in it; `None`: all.
    pub queues: Option<Vec<u32>>,
    /// Whether it starts by itself.
    pub start: bool,
    /// Where random numbers start.
    pub seed: u64,
}

/// What a stream sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Packets of a template.
    Template {
        /// The template.
        template: Template,
        /// Sizes of the packets; `None`: what the template has.
        sizes: Option<Sizes>,
        /// Whether all fields go on with each packet.
        in_step: bool,
    },
    /// The packets of a capture file.
    Pcap {
        /// The file.
        path: PathBuf,
        /// How often; 0: without end.
        loops: u64,
    },
}

/// The keys of a stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StreamKeys {
    /// Its name.
    name: String,
    /// The packet, as layers or hex digits. Either this or `pcap`.
    #[serde(default)]
    packet: Option<Template>,
    /// A pcap or pcapng file whose packets are sent.
    #[serde(default)]
    pcap: Option<PathBuf>,
    /// How often the file is gone through; 0: without end. By default once.
    #[serde(default)]
    loops: Option<u64>,
    /// Frame size in bytes, without frame check sequence.
    #[serde(default)]
    size: Option<Sizes>,
    /// The same, for several.
    #[serde(default)]
    sizes: Option<Sizes>,
    /// Packets to send; without it a template is sent without end.
    #[serde(default)]
    count: Option<u64>,
    /// Rate; without it as fast as the threads can.
    #[serde(default)]
    rate: Option<Rate>,
    /// Numbers of the queues that share in it; by default all.
    #[serde(default)]
    queues: Option<Vec<u32>>,
    /// Whether it starts by itself, not by command.
    #[serde(default)]
    start: bool,
    /// Where random numbers start: the same number, the same packets.
    #[serde(default)]
    seed: u64,
    /// Whether all fields that vary go on with each packet. By default the first goes around before the next goes on,
    /// so that every combination comes.
    #[serde(default)]
    in_step: bool,
}

/// What is wrong with a stream's keys together.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("a stream's name is empty, too long or has blanks: `{0}`")]
    Name(String),
    #[error("stream {0}: it needs either `packet` or `pcap`")]
    Content(String),
    #[error("stream {0}: `{1}` goes with `{2}` only")]
    Misplaced(String, &'static str, &'static str),
    #[error("stream {0}: `size` and `sizes` are the same key: give one")]
    BothSizes(String),
    #[error("stream {0}: `queues` is empty or names a queue twice")]
    Queues(String),
    #[error("stream {name}: {error}")]
    Compile { name: String, error: CompileError },
}

impl TryFrom<StreamKeys> for StreamOptions {
    type Error = StreamError;

    fn try_from(keys: StreamKeys) -> Result<Self, StreamError> {
        let name = keys.name;
        if name.is_empty() || name.len() > 64 || name.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(StreamError::Name(name.chars().take(64).collect()));
        }
        if keys.size.is_some() && keys.sizes.is_some() {
            return Err(StreamError::BothSizes(name));
        }
        let sizes = keys.size.or(keys.sizes);
        let content = match (keys.packet, keys.pcap) {
            (Some(_), None) if keys.loops.is_some() => {
                return Err(StreamError::Misplaced(name, "loops", "pcap"));
            }
            (Some(template), None) => {
                if let Err(error) = Program::compile(&template, sizes.as_ref(), keys.in_step) {
                    return Err(StreamError::Compile { name, error });
                }
                Content::Template { template, sizes, in_step: keys.in_step }
            }
            (None, Some(_)) if sizes.is_some() => return Err(StreamError::Misplaced(name, "size", "packet")),
            (None, Some(_)) if keys.in_step => return Err(StreamError::Misplaced(name, "in-step", "packet")),
            (None, Some(path)) => Content::Pcap { path, loops: keys.loops.unwrap_or(1) },
            _ => return Err(StreamError::Content(name)),
        };
        if let Some(queues) = &keys.queues {
            let mut distinct = queues.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if queues.is_empty() || distinct.len() != queues.len() {
                return Err(StreamError::Queues(name));
            }
        }
        Ok(Self {
            name,
            content,
            count: keys.count,
            rate: keys.rate,
            queues: keys.queues,
            start: keys.start,
            seed: keys.seed,
        })
    }
}

impl StreamOptions {
    /// The stream, for an interface of so many queues. Reads its file if it has one.
    ///
    /// # Errors
    /// The file cannot be used, or the packet cannot be made so.
    pub fn open(self, queue_count: u32) -> Result<Stream, Failure> {
        let context = |failure: Failure| failure.context(format_args!("stream {}", self.name));
        let (source, text, count) = match &self.content {
            Content::Template { template, sizes, in_step } => {
                let program = Program::compile(template, sizes.as_ref(), *in_step);
                let program = program.map_err(|error| context(error.into()))?;
                (Source::Template(Arc::new(program)), template.to_string(), self.count)
            }
            Content::Pcap { path, loops } => {
                let packets = read_packets(path).map_err(|error| context(error.into()))?;
                let all = (*loops > 0).then(|| loops.saturating_mul(packets.len() as u64));
                let text = format!("{} packets of {}", packets.len(), path.display());
                let count = match (self.count, all) {
                    (Some(count), Some(all)) => Some(count.min(all)),
                    (count, all) => count.or(all),
                };
                (Source::Replay(Arc::new(packets)), text, count)
            }
        };
        if count == Some(0) {
            bail!("stream {}: a count of 0 packets sends nothing", self.name);
        }
        let queues = self.queues.unwrap_or_else(|| (0..queue_count).collect());
        let plan =
            StreamPlan { name: self.name, text, source, count, rate: self.rate, queues, seed: self.seed };
        Ok(Stream::new(plan))
    }
}

fn one_queue() -> u32 {
    1
}

fn capture_limit() -> u64 {
    100_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GeneratorOptions, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    const PACKET: &str =
        "packet = 'eth 02:00:00:00:00:01 > 02:00:00:00:00:02 / ip4 10.0.0.1 > 10.0.0.2 / udp 1 > 2'";

    #[test]
    fn an_empty_table_serves() {
        let options = read("").unwrap();
        assert_eq!((options.queues, options.capture_limit, options.streams.len()), (1, 100_000, 0));
    }

    #[test]
    fn a_stream_has_its_keys() {
        let text = format!(
            "queues = 2\n[[streams]]\nname = 'a'\n{PACKET}\nsizes = 'imix'\nrate = '10kpps'\ncount = 5\nqueues = [1]\n\
             start = true\nseed = 3\nin-step = true\n[[streams]]\nname = 'b'\npcap = 'b.pcap'\nloops = 0"
        );
        let options = read(&text).unwrap();
        let (a, b) = (&options.streams[0], &options.streams[1]);
        assert_eq!((a.name.as_str(), a.count, a.rate), ("a", Some(5), Some(Rate::Packets(1e4))));
        assert!(matches!(&a.content, Content::Template { sizes: Some(_), in_step: true, .. }));
        assert_eq!((a.queues.as_deref(), a.start, a.seed), (Some(&[1][..]), true, 3));
        assert_eq!(b.content, Content::Pcap { path: "b.pcap".into(), loops: 0 });
    }

    #[test]
    fn wrong_streams_are_refused_with_the_reason() {
        let cases = [
            ("name = 'a'".to_owned(), "stream a: it needs either `packet` or `pcap`"),
            (format!("name = 'a'\n{PACKET}\npcap = 'x'"), "stream a: it needs either `packet` or `pcap`"),
            (format!("name = ''\n{PACKET}"), "a stream's name is empty, too long or has blanks: ``"),
            (format!("name = 'a'\n{PACKET}\nloops = 2"), "stream a: `loops` goes with `pcap` only"),
            ("name = 'a'\npcap = 'x'\nsize = 64".to_owned(), "stream a: `size` goes with `packet` only"),
            (
                format!("name = 'a'\n{PACKET}\nqueues = [1, 1]"),
                "stream a: `queues` is empty or names a queue twice",
            ),
            (
                format!("name = 'a'\n{PACKET}\nsize = 40"),
                "stream a: size 40 is below the 42 bytes of the packet's headers",
            ),
            (
                "name = 'a'\npacket = 'eth 02:00:00:00:00:01 > 1'".to_owned(),
                "eth: destination: `1` is not a MAC address",
            ),
            (
                "name = 'a'\npacket = 'ehh'".to_owned(),
                "there is no layer `ehh`; did you mean `eth`?; layers are `eth`, `vlan`, `arp`, `ip4`, `ip6`, \
                 `hop-by-hop`, `destination-options`, `fragment`, `udp`, `tcp`, `icmp`, `icmp6`, `hex`, `payload`",
            ),
        ];
        for (stream, message) in cases {
            assert_eq!(read(&format!("[[streams]]\n{stream}")).unwrap_err(), message, "{stream}");
        }
        let unknown = read(&format!("[[streams]]\nname = 'a'\n{PACKET}\nrat = 1")).unwrap_err();
        assert!(unknown.starts_with("unknown field `rat`"), "{unknown}");
    }

    #[test]
    fn the_schema_names_every_key_of_a_stream() {
        let schema = serde_json::to_string(&schemars::schema_for!(GeneratorOptions)).unwrap();
        for key in ["capture-limit", "streams", "packet", "pcap", "loops", "sizes", "in-step", "seed"] {
            assert!(schema.contains(&format!("\"{key}\"")), "{key}");
        }
    }
}
