//! The two shapes that repeat: a fixed header read in place, and a set of reasons for refusing a packet.

/// Gives a fixed-size zerocopy struct its `LENGTH`, `parse`, `parse_mut` and `write_to`, and asserts its
/// size.
macro_rules! wire_header {
    ($name:ident, $length:literal) => {
        const _: () = assert!(size_of::<$name>() == $length && align_of::<$name>() == 1);

        impl $name {
            /// Bytes on the wire.
            pub const LENGTH: usize = $length;

            /// The header that these bytes are.
            #[inline(always)]
            pub fn of(bytes: &[u8; $length]) -> &Self {
                zerocopy::transmute_ref!(bytes)
            }

            /// As `of`, to be changed in place.
            #[inline(always)]
            pub fn of_mut(bytes: &mut [u8; $length]) -> &mut Self {
                zerocopy::transmute_mut!(bytes)
            }

            /// The header at the front of `bytes` and what follows it; `None` when there are too few bytes.
            #[inline]
            pub fn parse(bytes: &[u8]) -> Option<(&Self, &[u8])> {
                zerocopy::FromBytes::ref_from_prefix(bytes).ok()
            }

            /// As `parse`, to be changed in place.
            #[inline]
            pub fn parse_mut(bytes: &mut [u8]) -> Option<(&mut Self, &mut [u8])> {
                zerocopy::FromBytes::mut_from_prefix(bytes).ok()
            }

            /// Copies the header to the front of `bytes`; gives what follows it, or `None` (and writes
            /// nothing) when it does not fit.
            #[inline]
            pub fn write_to<'a>(&self, bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
                let (front, rest) = bytes.split_at_mut_checked(Self::LENGTH)?;
                front.copy_from_slice(zerocopy::IntoBytes::as_bytes(self));
                Some(rest)
            }
        }
    };
}

/// Defines an enum of reasons for refusing a packet: small, indexable (for counters), displayable.
macro_rules! reasons {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* #[error($text)] $variant,)+
        }

        impl $name {
            /// Every reason, in the order of `index`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Position in `ALL`, to index a table of counters.
            #[inline]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The reason in words, as a counter shows it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

/// Gives a type with `Display` and `FromStr` its serde and JSON schema forms as a string.
macro_rules! string_form {
    ($type:ident, $name:literal, $description:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($description)
                    }

                    // The mistake is the text's own, so that a reader that knows where the text stands can say so.
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description, "pattern": $pattern })
            }
        }
    };
}
