//! Prefixes and pool addresses, as they are written.

use std::net::Ipv4Addr;

use raddle_plugin_api::wire::{Ip4Address, Ip4Prefix};
use raddle_plugin_api::{Failure, bail, failure};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::state::PoolRange;
use crate::translate::Nat64Prefix;

/// A NAT64 prefix in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct PrefixText(pub Nat64Prefix);

impl TryFrom<String> for PrefixText {
    type Error = crate::translate::PrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Pool addresses in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct PoolText(pub PoolRange);

impl TryFrom<String> for PoolText {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        let address = |part: &str| -> Result<Ip4Address, Failure> {
            let address: Ipv4Addr =
                part.trim().parse().map_err(|_| failure!("`{part}` is not an IPv4 address"))?;
            Ok(address.into())
        };
        let range = if let Some((first, last)) = text.split_once('-') {
            PoolRange { first: address(first)?, last: address(last)? }
        } else if text.contains('/') {
            let prefix: Ip4Prefix = text.parse().map_err(|error| failure!("{error}"))?;
            PoolRange { first: prefix.network().into(), last: prefix.last().into() }
        } else {
            let one = address(&text)?;
            PoolRange { first: one, last: one }
        };
        if range.last < range.first {
            bail!("the range {text} ends before it begins");
        }
        if !crate::flow::is_host4(range.first) || !crate::flow::is_host4(range.last) {
            bail!("{text} holds addresses that no host may have");
        }
        if range.count() > 1 << 16 {
            bail!("{text} holds more than 65,536 addresses");
        }
        Ok(Self(range))
    }
}
