//! From a template to a program: headers laid out, lengths and checksums prepared.

use raddle_plugin_api::abi::BUFFER_DATA_BYTES;
use raddle_plugin_api::wire::checksum::Sum;

use super::fields::{Auto, Field};
use super::layer::{Coverage, LayerKind};
use super::program::{Check, Draw, Feed, MAX_CHECKS, Patch, Program, Variant};
use super::random::Random;
use super::sizes::{MAX_PACKET_BYTES, Sizes};
use super::template::{Layer, Setting, Template};
use super::value::{Mode, Span, Value, last_of};

/// Why a template cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A size that cannot hold the headers.
    #[error("size {size} is below the {headers} bytes of the packet's headers")]
    SizeShort {
        /// The size.
        size: u32,
        /// Bytes of headers.
        headers: usize,
    },
    /// More bytes than a packet has.
    #[error("the packet has {0} bytes; at most {MAX_PACKET_BYTES} are possible")]
    Long(usize),
    /// A field that must be said is not.
    #[error("{layer}: `{field}` is missing")]
    Missing {
        /// The layer.
        layer: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A checksum over a pseudo header that is not there.
    #[error("{0} needs `ip4` or `ip6` in front of it for its checksum; or say `checksum none` or a number")]
    NoPseudoHeader(&'static str),
    /// Something that changes from packet to packet lies too far back.
    #[error(
        "fields that vary, and checksums over them, reach to byte {0}; at most {BUFFER_DATA_BYTES} are possible"
    )]
    Deep(usize),
    /// Too many checksums.
    #[error("the packet has more than {MAX_CHECKS} checksums")]
    Checksums,
}

/// A layer in its place.
struct Placed<'t> {
    layer: &'t Layer,
    start: usize,
    /// Where its header ends.
    end: usize,
}

/// A checksum and what it covers.
struct Cover {
    offset: usize,
    kind: LayerKind,
    bad: bool,
    start: usize,
    /// `None`: to the packet's end.
    end: Option<usize>,
    /// Bytes of addresses in the IP header of the pseudo header.
    pseudo: Option<(usize, usize)>,
}

impl Program {
    /// Makes a template ready to run.
    ///
    /// # Errors
    /// The packet cannot be made so.
    pub fn compile(template: &Template, sizes: Option<&Sizes>, in_step: bool) -> Result<Self, CompileError> {
        let mut image = Vec::new();
        let placed = lay_out(template, &mut image)?;
        let headers = image.len();
        let payload: &[u8] = match template.layers.last() {
            Some(Layer { kind: LayerKind::Payload, settings }) => {
                settings.iter().find_map(bytes_of).unwrap_or(&[0])
            }
            _ => &[],
        };
        let cycle = match sizes {
            Some(sizes) => sizes.cycle(),
            None => vec![u32::try_from(headers + payload.len()).unwrap_or(u32::MAX)],
        };
        let mut distinct = cycle.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let (least, most) = (distinct.first().copied().unwrap_or(0), distinct.last().copied().unwrap_or(0));
        if (least as usize) < headers {
            return Err(CompileError::SizeShort { size: least, headers });
        }
        if most as usize > MAX_PACKET_BYTES {
            return Err(CompileError::Long(most as usize));
        }
        let pattern = if payload.is_empty() { &[0][..] } else { payload };
        image.extend(pattern.iter().copied().cycle().take(most as usize - headers));

        let lengths = auto_lengths(&placed);
        let covers = covers(&placed, &mut image)?;
        let patches = patches(&placed, &covers, &mut image);
        let variants = variants(&image, headers, &distinct, &lengths, &covers);
        for (&(offset, _), length) in lengths.iter().zip(&variants[0].lengths) {
            image[offset..offset + 2].copy_from_slice(&length.to_be_bytes());
        }
        let checks = covers.iter().enumerate().map(|(position, cover)| Check {
            offset: cover.offset,
            never_zero: matches!(cover.kind, LayerKind::Udp),
            bad: cover.bad,
            feeds: feeds(&covers[position + 1..], cover.offset, 2, position + 1),
        });
        // The sizes in turn, as positions among the distinct ones; one size needs none.
        let cycle = if distinct.len() == 1 { Vec::new() } else { cycle };
        let position = |size: &u32| distinct.binary_search(size).unwrap_or(0) as u32;
        let mut program = Self {
            cycle: cycle.iter().map(position).collect(),
            random_size: sizes.is_some_and(Sizes::is_random),
            checks: checks.collect(),
            length_offsets: lengths.iter().map(|&(offset, _)| offset).collect(),
            image,
            variants,
            patches,
            in_step,
        };
        program.bake();
        program.check_depth()?;
        Ok(program)
    }

    /// Writes checksums into the image for good if nothing varies.
    fn bake(&mut self) {
        if self.patches.is_empty() && self.variants.len() == 1 {
            let mut image = std::mem::take(&mut self.image);
            self.finish(0, &[], &mut Random::new(0), &mut image);
            self.image = image;
            self.checks.clear();
        }
    }

    /// What is written into each packet must lie in its first buffer.
    fn check_depth(&self) -> Result<(), CompileError> {
        let patches = self.patches.iter().map(|patch| patch.offset + patch.width);
        let checks = self.checks.iter().map(|check| check.offset + 2);
        let lengths = self.length_offsets.iter().map(|offset| offset + 2).filter(|_| self.variants.len() > 1);
        match patches.chain(checks).chain(lengths).max() {
            Some(depth) if depth > BUFFER_DATA_BYTES => Err(CompileError::Deep(depth)),
            _ => Ok(()),
        }
    }
}

fn bytes_of(setting: &Setting) -> Option<&[u8]> {
    match setting {
        Setting::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn value_of(layer: &Layer, position: usize) -> Option<&Value> {
    layer.settings.iter().find_map(|setting| match setting {
        Setting::Field(field, value) if *field == position => Some(value),
        _ => None,
    })
}

/// Writes the headers with all that stays the same, but lengths and checksums.
fn lay_out<'t>(template: &'t Template, image: &mut Vec<u8>) -> Result<Vec<Placed<'t>>, CompileError> {
    let mut placed = Vec::new();
    for (position, layer) in template.layers.iter().enumerate() {
        let start = image.len();
        if layer.kind == LayerKind::Payload {
            break;
        }
        image.extend_from_slice(layer.kind.header());
        match layer.settings.iter().find_map(bytes_of) {
            Some(bytes) if matches!(layer.kind, LayerKind::HopByHop | LayerKind::DestinationOptions) => {
                // The options take the place of the usual padding; zeros behind them are Pad1 (RFC 8200 §4.2).
                image.truncate(start + 2);
                image.extend_from_slice(bytes);
                image.resize(start + (image.len() - start).next_multiple_of(8), 0);
                image[start + 1] = ((image.len() - start) / 8 - 1) as u8;
            }
            Some(bytes) => {
                image.extend_from_slice(bytes);
                if layer.kind.options_limit().is_some() {
                    // Zeros are "end of options" (RFC 791 §3.1, RFC 9293 §3.2).
                    image.resize(start + (image.len() - start).next_multiple_of(4), 0);
                }
            }
            None => {}
        }
        let end = image.len();
        let next = template.layers.get(position + 1).map(|next| next.kind);
        write_header(layer, &mut image[start..end], next)?;
        placed.push(Placed { layer, start, end });
    }
    Ok(placed)
}

fn write_header(layer: &Layer, header: &mut [u8], next: Option<LayerKind>) -> Result<(), CompileError> {
    let kind = layer.kind;
    for setting in &layer.settings {
        if let Setting::Flag(flag) = setting {
            let (_, offset, bits) = kind.flags()[*flag];
            match kind {
                // The words are the message's type, not bits of it.
                LayerKind::Icmp | LayerKind::Icmp6 => header[offset] = bits,
                _ => header[offset] |= bits,
            }
        }
    }
    for (position, field) in kind.fields().iter().enumerate() {
        let value = match (value_of(layer, position), field.auto) {
            (Some(value), _) => match value.span {
                Span::One(value) => value,
                Span::Range { .. } | Span::Prefix { .. } => continue,
            },
            (None, Auto::Usual | Auto::Length(_)) => continue,
            (None, Auto::Required) => {
                return Err(CompileError::Missing { layer: kind.name(), field: field.name });
            }
            (None, Auto::HeaderLength) => header.len() as u128 / 4,
            (None, Auto::NextLayer) => next_layer(kind, next),
        };
        set(header, field, value);
    }
    Ok(())
}

/// What announces the next layer: where there is no number for it, one that is kept for experiments.
fn next_layer(kind: LayerKind, next: Option<LayerKind>) -> u128 {
    match (kind, next) {
        // "Local experimental" (IEEE 802).
        (LayerKind::Eth | LayerKind::Vlan, _) => {
            u128::from(next.and_then(LayerKind::ethertype).unwrap_or(0x88b5))
        }
        // No next header (RFC 8200 §4.7).
        (LayerKind::Ip6 | LayerKind::HopByHop | LayerKind::DestinationOptions, None) => 59,
        // RFC 3692 §2.1.
        _ => u128::from(next.and_then(LayerKind::protocol).unwrap_or(253)),
    }
}

/// Puts a value in its place among other bits.
fn set(header: &mut [u8], field: &Field, value: u128) {
    let bytes = &mut header[field.offset..field.offset + field.width];
    let old = bytes.iter().fold(0_u128, |word, byte| word << 8 | u128::from(*byte));
    let mask = last_of(field.kind.bits()) << field.shift;
    let word = old & !mask | value << field.shift & mask;
    bytes.copy_from_slice(&word.to_be_bytes()[16 - field.width..]);
}

/// Where lengths go that are not said, and from where on they count.
fn auto_lengths(placed: &[Placed<'_>]) -> Vec<(usize, usize)> {
    let mut lengths = Vec::new();
    for Placed { layer, start, .. } in placed {
        for (position, field) in layer.kind.fields().iter().enumerate() {
            if let Auto::Length(from) = field.auto
                && value_of(layer, position).is_none()
            {
                lengths.push((start + field.offset, start + from));
            }
        }
    }
    lengths
}

/// The checksums to fill in, innermost first. Those that are said are written.
fn covers(placed: &[Placed<'_>], image: &mut [u8]) -> Result<Vec<Cover>, CompileError> {
    let mut covers = Vec::new();
    for (position, Placed { layer, start, end }) in placed.iter().enumerate().rev() {
        let Some((offset, coverage)) = layer.kind.checksum() else { continue };
        let offset = start + offset;
        let mut bad = false;
        let said = layer.settings.iter().find_map(|setting| match setting {
            Setting::Checksum(value) => Some(*value),
            Setting::ChecksumNone => Some(0),
            Setting::ChecksumBad => {
                bad = true;
                None
            }
            _ => None,
        });
        if let Some(value) = said {
            image[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
            continue;
        }
        let pseudo = match coverage {
            Coverage::Header | Coverage::Message => None,
            Coverage::Pseudo => {
                let ip = placed[..position]
                    .iter()
                    .rev()
                    .find(|outer| matches!(outer.layer.kind, LayerKind::Ip4 | LayerKind::Ip6))
                    .ok_or(CompileError::NoPseudoHeader(layer.kind.name()))?;
                Some(match ip.layer.kind {
                    LayerKind::Ip4 => (ip.start + 12, ip.start + 20),
                    _ => (ip.start + 8, ip.start + 40),
                })
            }
        };
        let end = (coverage == Coverage::Header).then_some(*end);
        covers.push(Cover { offset, kind: layer.kind, bad, start: *start, end, pseudo });
    }
    if covers.len() > MAX_CHECKS {
        return Err(CompileError::Checksums);
    }
    Ok(covers)
}

/// The fields that vary. Their bytes become zero in the image, so that sums over it leave them out.
fn patches(placed: &[Placed<'_>], covers: &[Cover], image: &mut [u8]) -> Vec<Patch> {
    let mut patches = Vec::new();
    for Placed { layer, start, .. } in placed {
        for (position, field) in layer.kind.fields().iter().enumerate() {
            let Some(value) = value_of(layer, position) else { continue };
            let mask = last_of(field.kind.bits()) << field.shift;
            let unit = 1_u128 << field.shift;
            let (first, draw) = match value.span {
                Span::One(_) => continue,
                Span::Range { first, last, mode: Mode::Random } => {
                    (first, Draw::Range { count: (last - first) as u64 + 1, unit })
                }
                Span::Range { first, last, mode: Mode::Step(step) } => {
                    let count = (last - first) as u64 / step + 1;
                    (first, Draw::Count { count, unit: unit * u128::from(step) })
                }
                Span::Prefix { network, length } => {
                    (network, Draw::Bits(last_of(field.kind.bits() - length)))
                }
            };
            let offset = start + field.offset;
            let bytes = &mut image[offset..offset + field.width];
            let stays = bytes.iter().fold(0_u128, |word, byte| word << 8 | u128::from(*byte)) & !mask;
            bytes.fill(0);
            patches.push(Patch {
                offset,
                width: field.width,
                draw,
                base: stays | first << field.shift,
                feeds: feeds(covers, offset, field.width, 0),
            });
        }
    }
    patches
}

/// Which of the checksums (the first of which has number `base`) cover the bytes at `offset`.
fn feeds(covers: &[Cover], offset: usize, width: usize, base: usize) -> Vec<Feed> {
    let mut feeds = Vec::new();
    for (position, cover) in covers.iter().enumerate() {
        let mut feed = |start: usize| {
            // A number whose last byte is the first of a word counts 256 times.
            let shift = if (offset + width - start) % 2 == 1 { 8 } else { 0 };
            feeds.push(Feed { check: base + position, shift });
        };
        if offset >= cover.start && cover.end.is_none_or(|end| offset < end) {
            feed(cover.start);
        }
        if let Some((start, end)) = cover.pseudo
            && (start..end).contains(&offset)
        {
            feed(start);
        }
    }
    feeds
}

/// What depends on the size, for each size from the least to the largest.
fn variants(
    image: &[u8],
    headers: usize,
    sizes: &[u32],
    lengths: &[(usize, usize)],
    covers: &[Cover],
) -> Vec<Variant> {
    // Each sum grows from size to size, so that a range of sizes costs one pass over the longest.
    let mut running: Vec<Sum> = covers
        .iter()
        .map(|cover| {
            let pseudo = cover.pseudo.map_or(Sum::new(), |(start, end)| {
                let protocol = u16::from(cover.kind.protocol().unwrap_or(0));
                Sum::new().add_bytes(&image[start..end]).add_u16(protocol)
            });
            pseudo.add_bytes(&image[cover.start..cover.end.unwrap_or(headers)])
        })
        .collect();
    let mut done = headers;
    let mut variants = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let size = size as usize;
        let values: Vec<u16> = lengths.iter().map(|&(_, from)| size.saturating_sub(from) as u16).collect();
        let mut sums = [0; MAX_CHECKS];
        for ((cover, running), sum) in covers.iter().zip(&mut running).zip(&mut sums) {
            if cover.end.is_none() {
                *running = running.add_bytes(&image[done..size]);
            }
            *sum = u64::from(running.partial());
            if cover.pseudo.is_some() {
                *sum += (size - cover.start) as u64;
            }
            for (&(offset, _), &value) in lengths.iter().zip(&values) {
                if offset >= cover.start && cover.end.is_none_or(|end| offset < end) {
                    let shift = if (offset - cover.start) % 2 == 1 { 8 } else { 0 };
                    *sum += u64::from(value) << shift;
                }
            }
        }
        done = size;
        variants.push(Variant { length: size, lengths: values, sums });
    }
    variants
}
