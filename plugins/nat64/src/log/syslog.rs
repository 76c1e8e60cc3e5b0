//! Lines of syslog with structured data (RFC 5424), over UDP (RFC 5426).

use std::fmt::Write as _;
use std::time::SystemTime;

use super::event::{Event, EventKind};

/// Facility "local use 0", severity "informational" (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;
/// The same, severity "warning".
const PRIORITY_WARNING: u8 = 16 * 8 + 4;
/// Enterprise number for documentation (RFC 5612): raddle has none of its own.
const ENTERPRISE: u32 = 32_473;

/// The line of an event (RFC 5424 §6).
pub fn line(event: &Event, host: &str, process: u32) -> String {
    let is_warning = !event.kind.has_outside();
    let is_block = matches!(event.kind, EventKind::BlockAllocated | EventKind::BlockReleased);
    let priority = if is_warning { PRIORITY_WARNING } else { PRIORITY };
    let mut line = format!(
        "<{priority}>1 {} {host} raddle {process} {} [nat64@{ENTERPRISE}",
        timestamp(event.at),
        event.kind.name()
    );
    // Writing to a string does not fail.
    if event.tenant != 0 {
        let _ = write!(line, " tenant=\"{}\"", event.tenant);
    }
    if let Some(protocol) = event.protocol {
        let _ = write!(line, " proto=\"{}\"", protocol.name());
    }
    if event.kind.has_inside() {
        let _ = write!(line, " inside=\"{}\"", event.inside.0);
    }
    if event.protocol.is_some() {
        let _ = write!(line, " inside-port=\"{}\"", event.inside.1);
    }
    match is_warning {
        true if event.kind.is_threshold() => {
            let _ = write!(line, " threshold=\"{}\"", event.amount);
        }
        true if event.amount != 0 => {
            let _ = write!(line, " limit=\"{}\"", event.amount);
        }
        true => {}
        false => {
            let _ = write!(line, " outside=\"{}\" outside-port=\"{}\"", event.outside.0, event.outside.1);
        }
    }
    if is_block {
        let _ = write!(line, " ports=\"{}\"", event.amount);
    }
    if let Some((remote, _, port)) = event.remote {
        let _ = write!(line, " remote=\"{remote}\" remote-port=\"{port}\"");
    }
    line.push(']');
    line
}

/// RFC 3339, in UTC with milliseconds.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days of eras of 400 years that begin on 1 March: the leap day is a year's last.
    let z = days as i64 + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::super::exporter::tests::event;
    use super::*;

    #[test]
    fn line_is_one_of_rfc_5424() {
        assert_eq!(
            line(&event(), "gw", 7),
            "<134>1 2024-02-29T12:34:56.789Z gw raddle 7 session-created [nat64@32473 proto=\"tcp\" \
             inside=\"2001:db8::1\" inside-port=\"5000\" outside=\"192.0.2.1\" outside-port=\"6000\" \
             remote=\"198.51.100.2\" remote-port=\"80\"]"
        );
        let block =
            Event { protocol: None, remote: None, kind: EventKind::BlockAllocated, amount: 256, ..event() };
        assert!(line(&block, "gw", 7).ends_with(
            "block-allocated [nat64@32473 inside=\"2001:db8::1\" outside=\"192.0.2.1\" outside-port=\"6000\" \
             ports=\"256\"]"
        ));
        let full = Event { kind: EventKind::SubscriberLimit, remote: None, tenant: 2, amount: 9, ..event() };
        assert!(line(&full, "gw", 7).starts_with("<132>1 "));
        assert!(line(&full, "gw", 7).ends_with(
            "subscriber-limit [nat64@32473 tenant=\"2\" proto=\"tcp\" inside=\"2001:db8::1\" inside-port=\"5000\" \
             limit=\"9\"]"
        ));
        let mark = Event {
            protocol: None,
            remote: None,
            tenant: 0,
            amount: 40,
            kind: EventKind::MappingsHigh,
            ..event()
        };
        assert!(line(&mark, "gw", 7).ends_with("mappings-high [nat64@32473 threshold=\"40\"]"));
        let mark = Event { kind: EventKind::SubscriberMappingsHigh, ..mark };
        assert!(line(&mark, "gw", 7).ends_with("[nat64@32473 inside=\"2001:db8::1\" threshold=\"40\"]"));
        assert!(timestamp(SystemTime::UNIX_EPOCH).starts_with("1970-01-01T00:00:00.000"));
    }
}
