//! Which entries are meant.

use std::net::{Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
use raddle_plugin_api::{Failure, failure};
use serde::Deserialize;

use crate::state::{Binding, Protocol, Rules, Session};

/// Lines of a list unless the operator says how many.
const LINES: u32 = 100;

/// Which entries are meant, as it was typed.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    protocol: Option<String>,
    tenant: Option<String>,
    inside: Option<String>,
    outside: Option<String>,
    remote: Option<String>,
    count: Option<u32>,
}

/// Which entries are meant.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    protocol: Option<Protocol>,
    tenant: Option<u8>,
    /// The inside host.
    pub inside: Option<Ip6Address>,
    outside: Option<Ip4Address>,
    remote: Option<Ip4Address>,
    /// Lines at most.
    pub count: usize,
}

impl Wanted {
    /// The filter, if it makes sense.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn filter(&self, rules: &Rules) -> Result<Filter, Failure> {
        let protocol = match &self.protocol {
            None => None,
            Some(name) => match Protocol::ALL.into_iter().find(|protocol| protocol.name() == name) {
                None => return Err(failure!("there is no protocol `{name}`; there are tcp, udp and icmp")),
                found => found,
            },
        };
        let tenant = match &self.tenant {
            None => None,
            Some(name) => {
                let number = rules.tenants.iter().position(|tenant| tenant.name == *name);
                let number = number
                    .ok_or_else(|| failure!("there is no tenant `{name}`; see `show nat64 tenants`"))?;
                Some(number as u8)
            }
        };
        let four = |text: &Option<String>| -> Result<Option<Ip4Address>, Failure> {
            let Some(text) = text else { return Ok(None) };
            let address: Result<Ipv4Addr, _> = text.parse();
            address
                .map(|address| Some(address.into()))
                .map_err(|_| failure!("`{text}` is not an IPv4 address"))
        };
        let inside = match &self.inside {
            None => None,
            Some(text) => {
                let address: Result<Ipv6Addr, _> = text.parse();
                Some(address.map_err(|_| failure!("`{text}` is not an IPv6 address"))?.into())
            }
        };
        Ok(Filter {
            protocol,
            tenant,
            inside,
            outside: four(&self.outside)?,
            remote: four(&self.remote)?,
            count: self.count.unwrap_or(LINES) as usize,
        })
    }
}

impl Filter {
    /// Whether a binding is meant.
    pub fn takes_binding(&self, binding: &Binding) -> bool {
        self.takes_ends(binding.protocol(), binding.tenant, binding.inside, binding.outside)
    }

    /// Whether a session is meant.
    pub fn takes_session(&self, session: &Session) -> bool {
        self.takes_ends(session.protocol(), session.tenant, session.inside, session.outside)
            && self.remote.is_none_or(|wanted| wanted == session.remote)
    }

    /// Whether a tenant is meant.
    pub fn takes_tenant(&self, tenant: u8) -> bool {
        self.tenant.is_none_or(|wanted| wanted == tenant)
    }

    fn takes_ends(&self, protocol: Protocol, tenant: u8, inside: Ip6Address, outside: Ip4Address) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.takes_tenant(tenant)
            && self.inside.is_none_or(|wanted| wanted == inside)
            && self.outside.is_none_or(|wanted| wanted == outside)
    }
}
