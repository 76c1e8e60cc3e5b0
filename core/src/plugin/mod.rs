//! Plugin files: found, verified, loaded, judged. What they bring is spliced in elsewhere.

mod description;
mod descriptor;
mod discover;
mod elf;
mod header;
mod library;
mod load;
mod loader;
mod mapped;
mod order;
mod refusal;
mod registrations;
mod sealed;
mod signature;
mod verify;

pub use description::{Description, FeatureDescription, Registered, Requirement};
pub use descriptor::{Descriptor, HEADER_LEAST};
pub use discover::{DiscoverError, Discovery, HeldBack, PluginPolicy, discover};
pub use header::{LIST_LIMIT, TEXT_LIMIT};
pub use library::Library;
pub use load::{Loaded, Times, check, load};
pub use order::Present;
pub use refusal::Refusal;
pub use registrations::NAME_LIMIT;
pub use signature::{KeyError, PrivateKey, Trust, signature_path};
pub use verify::{FILE_LIMIT, Verified, judge_bytes, verify};
