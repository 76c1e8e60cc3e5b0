//! The template language: a packet as its layers, each a name and settings.
//!
//! ```text
//! template = layer { " / " layer } | hex digits
//! layer    = name [ value " > " value | value ] { setting }
//! setting  = field value | flag | "checksum" ("bad" | "none" | number) | "options" hex
//! value    = one | first "-" last [ "random" | "step" n ] | prefix [ "random" ] | "random"
//! ```
//!
//! `eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / ip4 10.0.0.2 > 20.0.0.0-20.0.0.255 ttl 9 / udp 1 > 53 / payload 00`

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::layer::LayerKind;
use super::value::{Value, ValueError};

/// Bytes that a template may have as text.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Layers that a template may have.
const MAX_LAYERS: usize = 24;

/// A packet as its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The layers, outermost first; never empty.
    pub layers: Vec<Layer>,
}

/// A layer and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is.
    pub kind: LayerKind,
    /// What it is told, each thing at most once.
    pub settings: Vec<Setting>,
}

/// Something that a layer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A field of [`LayerKind::fields`], by position, has these values.
    Field(usize, Value),
    /// A flag of [`LayerKind::flags`], by position, is set.
    Flag(usize),
    /// The checksum is wrong.
    ChecksumBad,
    /// The checksum is zero: not there.
    ChecksumNone,
    /// The checksum is this.
    Checksum(u16),
    /// Options, or the bytes of `hex` and `payload`.
    Bytes(Vec<u8>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there.
    #[error("a packet is empty; it begins as `eth SOURCE > DESTINATION / ip4 …`, or is hex digits")]
    Empty,
    /// Too long.
    #[error("a packet's text has more than {MAX_TEXT_BYTES} bytes")]
    Long,
    /// Too many layers.
    #[error("a packet has more than {MAX_LAYERS} layers")]
    Layers,
    /// No such layer.
    #[error("there is no layer `{name}`{near}; layers are {known}")]
    UnknownLayer {
        /// What was given.
        name: String,
        /// The nearest one, as a clause.
        near: String,
        /// Those that are.
        known: String,
    },
    /// No such setting.
    #[error("{layer}: there is no setting `{word}`{near}; it has {known}")]
    UnknownSetting {
        /// The layer.
        layer: &'static str,
        /// What was given.
        word: String,
        /// The nearest one, as a clause.
        near: String,
        /// Those that are.
        known: String,
    },
    /// `A > B` lacks its middle.
    #[error("{layer}: expected `SOURCE > DESTINATION`, found `{found}` for `>`")]
    Direction {
        /// The layer.
        layer: &'static str,
        /// What was there.
        found: String,
    },
    /// A wrong value.
    #[error("{layer}: {field}: {error}")]
    Value {
        /// The layer.
        layer: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong.
        error: ValueError,
    },
    /// Several values where one is wanted.
    #[error("{layer}: {field} takes one value")]
    OneValue {
        /// The layer.
        layer: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The same thing twice.
    #[error("{layer}: `{word}` is said twice")]
    Twice {
        /// The layer.
        layer: &'static str,
        /// What.
        word: String,
    },
    /// No checksum word.
    #[error("{layer}: checksum `{word}` is not `bad`, `none` or a number from 0 to 65535")]
    Checksum {
        /// The layer.
        layer: &'static str,
        /// What was given.
        word: String,
    },
    /// No hex digits.
    #[error("{layer}: `{word}` is not bytes as pairs of hex digits")]
    Hex {
        /// The layer.
        layer: &'static str,
        /// What was given.
        word: String,
    },
    /// Too many option bytes.
    #[error("{layer}: options of {bytes} bytes, at most {most} are possible")]
    Options {
        /// The layer.
        layer: &'static str,
        /// How many bytes.
        bytes: usize,
        /// How many are possible.
        most: usize,
    },
    /// Something behind the payload.
    #[error("`payload` fills the packet: nothing can follow it")]
    BehindPayload,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TemplateError::Long);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(TemplateError::Empty);
        }
        if words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            let bytes = hex("hex", &words)?;
            let layer = Layer { kind: LayerKind::Hex, settings: vec![Setting::Bytes(bytes)] };
            return Ok(Self { layers: vec![layer] });
        }
        let parts: Vec<&[&str]> = words.split(|word| *word == "/").collect();
        if parts.len() > MAX_LAYERS {
            return Err(TemplateError::Layers);
        }
        let layers = parts.into_iter().map(parse_layer).collect::<Result<Vec<_>, _>>()?;
        if layers.iter().rev().skip(1).any(|layer| layer.kind == LayerKind::Payload) {
            return Err(TemplateError::BehindPayload);
        }
        Ok(Self { layers })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "PacketTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "a packet: its layers, as `eth SOURCE > DESTINATION / ip4 10.0.0.2 > 10.1.0.0-10.1.0.255 \
                            ttl 64 / udp 1000 > 2000 / payload 00`, or all its bytes as hex digits"
        })
    }
}

fn parse_layer(words: &[&str]) -> Result<Layer, TemplateError> {
    let Some((&name, mut rest)) = words.split_first() else { return Err(TemplateError::Empty) };
    let kind = LayerKind::by_name(name).ok_or_else(|| {
        let known = LayerKind::ALL.iter().map(|kind| kind.name());
        let name = shortened(name);
        TemplateError::UnknownLayer { near: near(&name, known.clone()), name, known: list(known) }
    })?;
    let mut settings = Vec::new();
    if matches!(kind, LayerKind::Hex | LayerKind::Payload) {
        return Ok(Layer { kind, settings: vec![Setting::Bytes(hex(kind.name(), rest)?)] });
    }
    if kind.has_direction() {
        settings.push(take_field(kind, 0, &mut rest)?);
        match rest.split_first() {
            Some((&">", behind)) => rest = behind,
            other => {
                let found = other.map_or("", |(word, _)| word).to_owned();
                return Err(TemplateError::Direction { layer: kind.name(), found });
            }
        }
        settings.push(take_field(kind, 1, &mut rest)?);
    } else if kind.has_leading_value() {
        settings.push(take_field(kind, 0, &mut rest)?);
    }
    while let Some((&word, behind)) = rest.split_first() {
        rest = behind;
        take_setting(kind, word, &mut rest, &mut settings)?;
    }
    Ok(Layer { kind, settings })
}

fn take_setting(
    kind: LayerKind,
    word: &str,
    rest: &mut &[&str],
    settings: &mut Vec<Setting>,
) -> Result<(), TemplateError> {
    let layer = kind.name();
    let twice = |word: &str| TemplateError::Twice { layer, word: word.into() };
    if kind.flags_are_listed() && word == "flags" {
        let (first, behind) = rest.split_first().map_or(("", *rest), |(first, behind)| (*first, behind));
        *rest = behind;
        for flag in first.split(',') {
            let position = kind.flags().iter().position(|known| known.0 == flag);
            let position = position.ok_or_else(|| unknown(kind, flag))?;
            if settings.contains(&Setting::Flag(position)) {
                return Err(twice(flag));
            }
            settings.push(Setting::Flag(position));
        }
        return Ok(());
    }
    if word == "checksum" && kind.checksum().is_some() {
        let (what, behind) = rest.split_first().map_or(("", *rest), |(what, behind)| (*what, behind));
        *rest = behind;
        let known =
            |s: &Setting| matches!(s, Setting::Checksum(_) | Setting::ChecksumBad | Setting::ChecksumNone);
        if settings.iter().any(known) {
            return Err(twice(word));
        }
        settings.push(match what {
            "bad" => Setting::ChecksumBad,
            "none" => Setting::ChecksumNone,
            number => {
                let wrong = || TemplateError::Checksum { layer, word: number.into() };
                let (value, _) =
                    Value::parse(super::value::Kind::Number(16), &[number]).map_err(|_| wrong())?;
                Setting::Checksum(value.single().ok_or_else(wrong)? as u16)
            }
        });
        return Ok(());
    }
    if let Some(most) = kind.options_limit().filter(|_| word == "options") {
        let bytes = hex(layer, rest.get(..1).unwrap_or(&[]))?;
        *rest = &rest[1..];
        if bytes.len() > most {
            return Err(TemplateError::Options { layer, bytes: bytes.len(), most });
        }
        if settings.iter().any(|setting| matches!(setting, Setting::Bytes(_))) {
            return Err(twice(word));
        }
        settings.push(Setting::Bytes(bytes));
        return Ok(());
    }
    if !kind.flags_are_listed()
        && let Some(position) = kind.flags().iter().position(|flag| flag.0 == word)
    {
        if settings.contains(&Setting::Flag(position)) {
            return Err(twice(word));
        }
        settings.push(Setting::Flag(position));
        return Ok(());
    }
    let position = kind.fields().iter().position(|field| field.name == word);
    let position = position.ok_or_else(|| unknown(kind, word))?;
    if settings.iter().any(|setting| matches!(setting, Setting::Field(known, _) if *known == position)) {
        return Err(twice(word));
    }
    settings.push(take_field(kind, position, rest)?);
    Ok(())
}

fn take_field(kind: LayerKind, position: usize, rest: &mut &[&str]) -> Result<Setting, TemplateError> {
    let (layer, field) = (kind.name(), &kind.fields()[position]);
    let (value, words) = Value::parse(field.kind, rest).map_err(|error| TemplateError::Value {
        layer,
        field: field.name,
        error,
    })?;
    if value.single().is_none() && !field.varies {
        return Err(TemplateError::OneValue { layer, field: field.name });
    }
    *rest = &rest[words..];
    Ok(Setting::Field(position, value))
}

/// Bytes from words of hex digits, an even number of digits in all.
fn hex(layer: &'static str, words: &[&str]) -> Result<Vec<u8>, TemplateError> {
    let digits: String = words.concat();
    let wrong = || TemplateError::Hex { layer, word: shortened(&digits) };
    if digits.is_empty()
        || !digits.len().is_multiple_of(2)
        || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return Err(wrong());
    }
    // All digits are ASCII, so that pairs of bytes are pairs of characters.
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 {
        return text.into();
    }
    text.chars().take(40).chain(['…']).collect()
}

fn unknown(kind: LayerKind, word: &str) -> TemplateError {
    let mut known: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
    if kind.has_direction() {
        known.drain(..2);
    }
    known.extend(kind.flags().iter().map(|flag| flag.0));
    known.extend(kind.flags_are_listed().then_some("flags"));
    known.extend(kind.checksum().map(|_| "checksum"));
    known.extend(kind.options_limit().map(|_| "options"));
    let word = shortened(word);
    let near = near(&word, known.iter().copied());
    TemplateError::UnknownSetting { layer: kind.name(), word, near, known: list(known.into_iter()) }
}

fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    raddle_plugin_api::config::nearest(word, known)
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
