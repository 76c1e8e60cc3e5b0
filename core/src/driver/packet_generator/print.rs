//! Templates as text: what the parser reads back as the same template.

use std::fmt;

use super::layer::LayerKind;
use super::template::{Layer, Setting, Template};

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, layer) in self.layers.iter().enumerate() {
            if position > 0 {
                f.write_str(" / ")?;
            }
            layer.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        let mut flags = self.kind.flags_are_listed().then_some(" flags ");
        for (position, setting) in self.settings.iter().enumerate() {
            match setting {
                Setting::Field(field, value) => {
                    let leading =
                        position == 0 && (self.kind.has_direction() || self.kind.has_leading_value());
                    if position == 1 && self.kind.has_direction() {
                        f.write_str(" >")?;
                    } else if !leading {
                        write!(f, " {}", self.kind.fields()[*field].name)?;
                    }
                    write!(f, " {value}")?;
                }
                // A list of flags stands where its first flag stood: see `Setting::Flag` in `LayerKind::Tcp`.
                Setting::Flag(_) if self.kind.flags_are_listed() => {
                    if let Some(word) = flags.take() {
                        let all = self.settings.iter().filter_map(|setting| match setting {
                            Setting::Flag(flag) => Some(self.kind.flags()[*flag].0),
                            _ => None,
                        });
                        write!(f, "{word}{}", all.collect::<Vec<_>>().join(","))?;
                    }
                }
                Setting::Flag(flag) => write!(f, " {}", self.kind.flags()[*flag].0)?,
                Setting::ChecksumBad => f.write_str(" checksum bad")?,
                Setting::ChecksumNone => f.write_str(" checksum none")?,
                Setting::Checksum(value) => write!(f, " checksum {value}")?,
                Setting::Bytes(bytes) => {
                    let word = if self.kind.options_limit().is_some() { " options " } else { " " };
                    f.write_str(word)?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_prints_as_it_is_read() {
        let cases = [
            "eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / ip4 10.0.0.2 > 20.0.0.0-20.15.66.63 ttl 64 / \
             udp 1000 > 2000-3000 random / payload 00",
            "eth 02:00:00:00:00:01 > 02:fe:00:00:00:01 / vlan 7 priority 3 / ip6 2001:db8::1 > 2001:db8:1::/48 random \
             flow-label 1-9 / tcp 1 > 2 flags syn,ack seq 0-100 step 10 window 9 options 020405b4",
            "ip4 1.2.3.4 > 5.6.7.8 df offset 3 checksum bad length 9 / icmp echo id 1 seq 1-100",
            "ip6 ::1 > ::2 / hop-by-hop options 01 / fragment offset 1 more id 9 / icmp6 echo-reply checksum none",
            "arp 10.0.0.1 > 10.0.0.2 operation 2 / hex dead",
            "udp 1 > 2 checksum 4660",
        ];
        for text in cases {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.to_string(), text);
        }
        assert_eq!("DE ad\nbeEF".parse::<Template>().unwrap().to_string(), "hex deadbeef");
    }

    fn words() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "eth",
            "vlan",
            "arp",
            "ip4",
            "ip6",
            "udp",
            "tcp",
            "icmp",
            "icmp6",
            "fragment",
            "hop-by-hop",
            "payload",
            "hex",
            "/",
            ">",
            "ttl",
            "flags",
            "syn,ack",
            "syn,syn",
            "checksum",
            "bad",
            "none",
            "random",
            "step",
            "1",
            "1-9",
            "9-1",
            "10.0.0.1",
            "10.0.0.0/8",
            "10.0.0.1-10.0.0.9",
            "::1",
            "2001:db8::/32",
            "::/0",
            "echo",
            "id",
            "length",
            "options",
            "0102",
            "00",
            "02:00:00:00:00:01",
            "0xff",
            "df",
            "more",
            "-",
            "é",
            "70000",
            "destination-options",
            "seq",
            "type",
            "priority",
        ]);
        prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _ = text.parse::<Template>();
        }

        #[test]
        fn what_is_read_prints_as_text_that_reads_the_same(text in words()) {
            if let Ok(template) = text.parse::<Template>() {
                let printed = template.to_string();
                let again: Template = printed.parse().unwrap();
                prop_assert_eq!(again.to_string(), printed);
            }
        }
    }
}
