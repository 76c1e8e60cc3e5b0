//! Options of `interface create`: words in pairs, typed by the driver's JSON Schema.

use raddle_plugin_api::config::nearest;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Failure, bail, failure};
use serde_json::{Map, Number, Value};

/// Keys that every driver has: see [`Options`].
const COMMON: [&str; 3] = ["mac", "mtu", "up"];

/// What the words say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `mac MAC`.
    pub mac: Option<MacAddress>,
    /// `mtu BYTES`.
    pub mtu: Option<u32>,
    /// `up`.
    pub up: bool,
    /// The driver's own keys.
    pub own: Map<String, Value>,
}

impl Options {
    /// Reads `words` as keys with their values, and `up` alone.
    ///
    /// # Errors
    /// A key that neither the driver nor all drivers have, or that is there twice; a value that is missing or of
    /// another type.
    pub fn read(driver: &str, schema: &Value, words: &[String]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let properties = schema["properties"].as_object();
        let mut words = words.iter();
        let mut seen = Vec::new();
        while let Some(key) = words.next() {
            if seen.contains(&key) {
                bail!("option `{key}` is there twice");
            }
            seen.push(key);
            let own = properties.and_then(|properties| properties.get(key.as_str()));
            if own.is_none() && key == "up" {
                options.up = true;
                continue;
            }
            if own.is_none() && !COMMON.contains(&key.as_str()) {
                return Err(unknown(driver, key, properties));
            }
            let value = words.next().ok_or_else(|| failure!("option `{key}` has no value"))?;
            let wrong = |expected: &str| failure!("option `{key}`: `{value}` is not {expected}");
            match (own, key.as_str()) {
                (Some(own), _) => {
                    let value = typed(schema, own, value).ok_or_else(|| wrong(&expectation(schema, own)))?;
                    options.own.insert(key.clone(), value);
                }
                (None, "mac") => options.mac = Some(value.parse()?),
                (None, _) => {
                    options.mtu = Some(value.parse().map_err(|_| wrong("a number of bytes"))?);
                }
            }
        }
        Ok(options)
    }
}

fn unknown(driver: &str, key: &str, properties: Option<&Map<String, Value>>) -> Failure {
    let own = properties.into_iter().flatten().map(|(name, _)| name.as_str());
    let mut known: Vec<&str> = own.chain(COMMON).collect();
    known.sort_unstable();
    match nearest(key, known.iter().copied()) {
        Some(nearest) => failure!("driver `{driver}` has no option `{key}`; did you mean `{nearest}`?"),
        None => failure!("driver `{driver}` has no option `{key}`; its options are: {}", known.join(", ")),
    }
}

/// Deep enough for every schema that people write, and an end for one that refers to itself.
const MOST_REFERENCES: usize = 16;

/// The schemas of which a value is to fit one.
fn alternatives<'s>(root: &'s Value, schema: &'s Value, depth: usize, found: &mut Vec<&'s Value>) {
    if depth > MOST_REFERENCES {
        return;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|path| root.pointer(path.strip_prefix('#')?)) {
        alternatives(root, target, depth + 1, found);
        return;
    }
    let several = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[*key].as_array());
    match several {
        Some(several) => several.iter().for_each(|one| alternatives(root, one, depth + 1, found)),
        None => found.push(schema),
    }
}

fn has_type(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// The word as a value of the schema; `None` when it is none.
fn typed(root: &Value, schema: &Value, word: &str) -> Option<Value> {
    let mut found = Vec::new();
    alternatives(root, schema, 0, &mut found);
    // A text takes every word, so what is narrower is tried first.
    let narrow = found.iter().find_map(|one| narrow(root, one, word));
    narrow.or_else(|| found.iter().any(|one| is_text(one, word)).then(|| Value::from(word)))
}

fn narrow(root: &Value, schema: &Value, word: &str) -> Option<Value> {
    if has_type(schema, "integer") || has_type(schema, "number") {
        let number = word.parse::<u64>().map(Number::from).or_else(|_| word.parse::<i64>().map(Number::from));
        if let Ok(number) = number {
            return Some(Value::Number(number));
        }
    }
    if has_type(schema, "number")
        && let Some(number) = word.parse().ok().and_then(Number::from_f64)
    {
        return Some(Value::Number(number));
    }
    if has_type(schema, "boolean") {
        match word {
            "true" | "on" | "yes" => return Some(Value::Bool(true)),
            "false" | "off" | "no" => return Some(Value::Bool(false)),
            _ => {}
        }
    }
    if has_type(schema, "array") {
        let items = word.split(',').filter(|item| !item.is_empty());
        return items
            .map(|item| typed(root, &schema["items"], item))
            .collect::<Option<_>>()
            .map(Value::Array);
    }
    if has_type(schema, "object") {
        return serde_json::from_str(word).ok().filter(Value::is_object);
    }
    None
}

/// Whether the schema takes the word as a text. One that says nothing takes everything.
fn is_text(schema: &Value, word: &str) -> bool {
    if let Some(only) = schema.get("const") {
        return only == word;
    }
    if let Some(listed) = schema["enum"].as_array() {
        return listed.iter().any(|one| one == word);
    }
    has_type(schema, "string") || schema.get("type").is_none()
}

/// What the schema wants, in words.
fn expectation(root: &Value, schema: &Value) -> String {
    let mut found = Vec::new();
    alternatives(root, schema, 0, &mut found);
    let mut words: Vec<String> = Vec::new();
    for one in found {
        let listed = one["enum"].as_array().into_iter().flatten().chain(one.get("const"));
        let listed: Vec<String> = listed.filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        if !listed.is_empty() {
            words.extend(listed);
            continue;
        }
        for (kind, text) in [
            ("integer", "a whole number"),
            ("number", "a number"),
            ("boolean", "`on` or `off`"),
            ("array", "a list with commas"),
            ("object", "a JSON object"),
            ("string", "a text"),
        ] {
            if has_type(one, kind) {
                words.push(text.to_owned());
            }
        }
    }
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, schema_for};
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Sample {
        device: String,
        queues: Option<u16>,
        offset: i32,
        rate: f64,
        checksum: Option<bool>,
        cores: Vec<u32>,
        names: Vec<String>,
        mode: Option<Mode>,
        up: Option<String>,
        extra: std::collections::BTreeMap<String, u32>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Mode {
        Bridge,
        /// With a line of its own, which makes another schema.
        Private,
    }

    fn read(line: &str) -> Result<Options, Failure> {
        let schema = serde_json::to_value(schema_for!(Sample)).expect("a schema");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::read("sample", &schema, &words)
    }

    #[test]
    fn values_have_the_types_of_the_schema() {
        let cases = [
            ("device 12", json!({"device": "12"})),
            ("queues 2", json!({"queues": 2})),
            ("offset -3", json!({"offset": -3})),
            ("rate 1.5", json!({"rate": 1.5})),
            ("rate 2", json!({"rate": 2})),
            ("checksum off", json!({"checksum": false})),
            ("cores 1,2,3", json!({"cores": [1, 2, 3]})),
            ("names a,b", json!({"names": ["a", "b"]})),
            ("mode private device x", json!({"mode": "private", "device": "x"})),
            ("extra {\"a\":1}", json!({"extra": {"a": 1}})),
            // The driver's own key comes before the one of all drivers.
            ("up x", json!({"up": "x"})),
        ];
        for (line, own) in cases {
            assert_eq!(Value::Object(read(line).expect(line).own), own, "{line}");
        }
    }

    #[test]
    fn keys_of_all_drivers_are_told_apart() {
        let schema = json!({"properties": {"device": {"type": "string"}}});
        let words = ["mtu", "9000", "device", "up", "up", "mac", "02:00:00:00:00:01"].map(str::to_owned);
        let options = Options::read("x", &schema, &words).expect("all known");
        assert_eq!((options.mtu, options.up), (Some(9000), true));
        assert_eq!(options.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
        assert_eq!(Value::Object(options.own), json!({"device": "up"}));
    }

    #[test]
    fn wrong_options_are_told_with_what_was_expected() {
        let cases = [
            ("devcie x", "driver `sample` has no option `devcie`; did you mean `device`?"),
            ("device", "option `device` has no value"),
            ("device a device b", "option `device` is there twice"),
            ("queues many", "option `queues`: `many` is not a whole number"),
            ("checksum 1", "option `checksum`: `1` is not `on` or `off`"),
            ("mode public", "option `mode`: `public` is not `bridge` or `private`"),
            ("cores 1,x", "option `cores`: `1,x` is not a list with commas"),
            ("mtu big", "option `mtu`: `big` is not a number of bytes"),
        ];
        for (line, message) in cases {
            assert_eq!(read(line).expect_err(line).to_string(), message);
        }
        let none = read("xyzzy 1").expect_err("unknown").to_string();
        assert!(
            none.ends_with("queues, rate, up, up") || none.contains("its options are: checksum"),
            "{none}"
        );
    }
}
