//! The changes of a batch as one text: there may be a million of them, and a list of pairs takes ten times as long to write and read.
//!
//! `10.0.0.0/8=0 2001:db8::/32=1 192.0.2.0/24`: prefixes with the places of their targets; one without place loses its route. A list of
//! pairs, as `[["10.0.0.0/8", 0], ["192.0.2.0/24", null]]`, is read too.

use std::fmt::{self, Write as _};

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

use crate::wire::IpPrefix;

type Change = (IpPrefix, Option<u32>);

/// Bytes of most changes.
const CHANGE_BYTES: usize = 24;

pub fn serialize<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(changes.len() * CHANGE_BYTES);
    for (prefix, place) in changes {
        if !text.is_empty() {
            text.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{prefix}");
        if let Some(place) = place {
            let _ = write!(text, "={place}");
        }
    }
    serializer.serialize_str(&text)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Change>, D::Error> {
    struct Changes;

    impl<'de> Visitor<'de> for Changes {
        type Value = Vec<Change>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("prefixes with places of targets, as \"10.0.0.0/8=0 192.0.2.0/24\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Change>, E> {
            text.split_ascii_whitespace().map(change).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Change>, A::Error> {
            let mut changes = Vec::new();
            while let Some(change) = list.next_element()? {
                changes.push(change);
            }
            Ok(changes)
        }
    }

    deserializer.deserialize_any(Changes)
}

fn change<E: Error>(text: &str) -> Result<Change, E> {
    let (prefix, place) = match text.split_once('=') {
        Some((prefix, place)) => {
            let place =
                place.parse().map_err(|_| E::custom(format_args!("{place:?} is no place of a target")))?;
            (prefix, Some(place))
        }
        None => (text, None),
    };
    Ok((prefix.parse().map_err(E::custom)?, place))
}

#[cfg(test)]
mod tests {
    use crate::route::RouteBatch;

    #[test]
    fn a_text_and_a_list_say_the_same() {
        let batch = RouteBatch {
            routes: vec![
                ("10.0.0.0/8".parse().unwrap(), Some(0)),
                ("2001:db8::/32".parse().unwrap(), Some(17)),
                ("192.0.2.0/24".parse().unwrap(), None),
            ],
            ..RouteBatch::default()
        };
        let mut json = serde_json::to_value(&batch).unwrap();
        assert_eq!(json["routes"], "10.0.0.0/8=0 2001:db8::/32=17 192.0.2.0/24");
        assert_eq!(serde_json::from_value::<RouteBatch>(json.clone()).unwrap(), batch);
        json["routes"] =
            serde_json::json!([["10.0.0.0/8", 0], ["2001:db8::/32", 17], ["192.0.2.0/24", null]]);
        assert_eq!(serde_json::from_value::<RouteBatch>(json).unwrap(), batch);
    }

    #[test]
    fn what_is_no_change_is_told() {
        let read = |routes: serde_json::Value| {
            let batch = serde_json::json!({
                "table": 0, "preference": 20, "owner": 1, "targets": [], "routes": routes,
            });
            serde_json::from_value::<RouteBatch>(batch)
                .map(|batch| batch.routes.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("".into()), Ok(0));
        for (wrong, message) in [
            ("10.0.0.0/8=x", "\"x\" is no place of a target"),
            ("10.0.0.0/8=", "\"\" is no place of a target"),
            ("10.0.0.0/8=4294967296", "\"4294967296\" is no place of a target"),
            ("10.0.0.1/8=1", "10.0.0.1/8 has host bits set, the network is 10.0.0.0/8"),
            ("=1", "\"\" has no length"),
        ] {
            let error = read(wrong.into()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert!(read(7.into()).unwrap_err().contains("expected prefixes with places of targets"));
    }
}
