//! Why a file is not used as a plugin: one sentence each.

use std::path::PathBuf;

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, LAYOUT_HASH, MAGIC, PLUGIN_SYMBOL};

use super::elf::HOST_MACHINE;

/// Why a file is not used as a plugin: which field, its value there and here, what to do about it.
///
/// The file's name is not in the sentence: whoever reports it puts the name in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The system refuses to read it.
    #[error("the file cannot be read: {reason}")]
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// A directory, device, socket or pipe.
    #[error("it is a {kind}, not a plain file; give the path of a shared object")]
    NotAFile {
        /// What it is.
        kind: &'static str,
    },
    /// Larger than any plugin.
    #[error("the file has {bytes} bytes and at most {limit} are read; strip its debug information")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Anyone could put code into a process of root.
    #[error("its {what} {} can be written by every user (mode {mode:03o}) and raddle runs as root; run `chmod o-w` on it", path.display())]
    WorldWritable {
        /// `file` or `directory`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// No private copy of it can be made.
    #[error("no private copy of the file can be made in memory: {reason}")]
    NoCopy {
        /// The system's words.
        reason: String,
    },

    /// Nothing in it.
    #[error("the file is empty; copy the plugin again")]
    Empty,
    /// Something else than ELF.
    #[error(
        "it is not an ELF file (it starts with {start}, not 7f 45 4c 46); a plugin is a shared object, built with crate-type `cdylib`"
    )]
    NotElf {
        /// Its first bytes in hexadecimal.
        start: String,
    },
    /// Pointers of another width.
    #[error("it is a {there} ELF file and raddle is 64-bit; build the plugin for {HOST_MACHINE}")]
    Class {
        /// The file's class.
        there: String,
    },
    /// Bytes the other way round.
    #[error("its byte order is {there} and this machine's is {here}; build the plugin for {HOST_MACHINE}")]
    ByteOrder {
        /// The file's byte order.
        there: String,
        /// This machine's.
        here: &'static str,
    },
    /// Instructions of another processor.
    #[error("it is built for {there} and raddle runs on {HOST_MACHINE}; build the plugin for {HOST_MACHINE}")]
    Machine {
        /// The file's machine.
        there: String,
    },
    /// An executable, an object file, a core dump.
    #[error("it is {there}, not a shared object; build the plugin with crate-type `cdylib`")]
    NotShared {
        /// What it is.
        there: String,
    },
    /// The end is missing.
    #[error(
        "the file is truncated: its {what} reaches to byte {needs} and the file has {has}; copy the plugin again"
    )]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Bytes that would be needed.
        needs: u64,
        /// Bytes that there are.
        has: u64,
    },
    /// Damaged so that the system's loader might trip over it.
    #[error("the ELF file is damaged: {what}; copy or build the plugin again")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// A library, but none of raddle's plugins.
    #[error(
        "it exports no symbol `{PLUGIN_SYMBOL}`, so it is not a raddle plugin; put `plugin! {{ … }}` into its lib.rs"
    )]
    NoSymbol,
    /// The symbol is not a header.
    #[error(
        "its symbol `{PLUGIN_SYMBOL}` is {there}, not a plugin header of {least} bytes; put `plugin! {{ … }}` into its lib.rs"
    )]
    SymbolShape {
        /// What the symbol is.
        there: String,
        /// Bytes of a header.
        least: usize,
    },

    /// Something else under the symbol's name.
    #[error("its header starts with `{}`, not `{}`, so it is not a raddle plugin; rebuild it with raddle-plugin-api", there.escape_ascii(), MAGIC.escape_ascii())]
    Magic {
        /// The bytes there.
        there: [u8; 8],
    },
    /// An ABI generation that is gone.
    #[error(
        "its ABI version is {major}.{minor} and this raddle speaks {ABI_MAJOR}.{ABI_MINOR}: it is too old; rebuild it with the current raddle-plugin-api"
    )]
    AbiTooOld {
        /// Generation there.
        major: u16,
        /// Addition there.
        minor: u16,
    },
    /// An ABI that this binary does not know yet.
    #[error(
        "its ABI version is {major}.{minor}, it needs {needed_major}.{needed_minor}, and this raddle speaks {ABI_MAJOR}.{ABI_MINOR}: it is too new; update raddle, or rebuild the plugin with an older raddle-plugin-api"
    )]
    AbiTooNew {
        /// Generation there.
        major: u16,
        /// Addition there.
        minor: u16,
        /// Generation that it needs.
        needed_major: u16,
        /// Addition that it needs.
        needed_minor: u16,
    },
    /// Shared structs are laid out otherwise.
    #[error(
        "the layout of its packet structs is {there:016x} and raddle's is {LAYOUT_HASH:016x}; rebuild it with an unmodified raddle-plugin-api of ABI {ABI_MAJOR}.{ABI_MINOR}"
    )]
    Layout {
        /// Hash there.
        there: u64,
    },
    /// A struct is shorter than the ABI began with.
    #[error(
        "its {what} says {there} bytes and ABI {ABI_MAJOR}.{ABI_MINOR} needs at least {least}; rebuild it with raddle-plugin-api"
    )]
    Size {
        /// Which struct.
        what: String,
        /// Bytes there.
        there: usize,
        /// Bytes needed.
        least: usize,
    },
    /// A panic in it would end the daemon.
    #[error(
        "it is built with panic=abort (panics-unwind is 0), so a panic in it would end raddle; build it with `panic = \"unwind\"`"
    )]
    PanicsAbort,

    /// It wants a symbol that is nowhere.
    #[error(
        "it needs the symbol `{symbol}`, which neither raddle nor a library that it names provides; link the library that has it"
    )]
    UndefinedSymbol {
        /// The symbol.
        symbol: String,
    },
    /// It wants a library that is not there.
    #[error("it needs the library `{library}`, which cannot be loaded: {reason}; install it")]
    MissingLibrary {
        /// The library.
        library: String,
        /// The loader's words.
        reason: String,
    },
    /// The system's loader has another reason.
    #[error("the system's loader refuses it: {reason}")]
    Loader {
        /// The loader's words.
        reason: String,
    },

    /// A function pointer is null.
    #[error("its {field} is null where a function is due; rebuild it with raddle-plugin-api")]
    NullFunction {
        /// Which.
        field: String,
    },
    /// A pointer leads nowhere.
    #[error("its {field} points to memory that cannot be read; rebuild it with raddle-plugin-api")]
    Pointer {
        /// Which.
        field: String,
    },
    /// Bytes that are not UTF-8.
    #[error("its {field} is not UTF-8 text; rebuild it with raddle-plugin-api")]
    NotText {
        /// Which.
        field: String,
    },
    /// A number beyond its bounds.
    #[error("its {field} is {there} and at most {limit} is allowed; rebuild it with raddle-plugin-api")]
    TooMuch {
        /// Which.
        field: String,
        /// The number there.
        there: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// A name that is not a lower-case word.
    #[error(
        "its {field} is `{there}`; a name is a word of lower-case letters, digits and inner `-`, at most {limit} characters"
    )]
    BadName {
        /// Which.
        field: String,
        /// The name there.
        there: String,
        /// Characters allowed.
        limit: usize,
    },
    /// A value that has no meaning.
    #[error("its {field} is {there}, and {expected} is due; rebuild it with raddle-plugin-api")]
    BadValue {
        /// Which.
        field: String,
        /// The value there.
        there: String,
        /// What would do.
        expected: &'static str,
    },
    /// A version or a requirement that cannot be read.
    #[error("its {field} is `{there}`, which is no {kind} ({reason}); correct it in the plugin")]
    BadVersion {
        /// Which.
        field: String,
        /// The text there.
        there: String,
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// No trusted key has signed it.
    #[error("it has no signature in {}, and `plugins.trusted-keys` lets only signed plugins load; sign it with `raddle plugin sign`", path.display())]
    NotSigned {
        /// Where its signature is looked for.
        path: PathBuf,
    },
    /// What stands for its signature is none.
    #[error("its signature in {} {reason}; sign it again with `raddle plugin sign`", path.display())]
    BadSignature {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It crashed raddle too often.
    #[error("it is held back: {why}")]
    HeldBack {
        /// How often, and what to do.
        why: String,
    },

    /// Another plugin has its name.
    #[error("a plugin named `{name}` is already there, from {}; remove one of the two", other.display())]
    DuplicatePlugin {
        /// The name.
        name: String,
        /// File of the other one.
        other: PathBuf,
    },
    /// The core has its name.
    #[error("its name `{name}` belongs to raddle itself; give the plugin another name")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A plugin that it needs is not there.
    #[error("it needs the plugin `{name}` {requirement}, which is {reason}; {remedy}")]
    MissingDependency {
        /// The plugin needed.
        name: String,
        /// Versions that would do.
        requirement: semver::VersionReq,
        /// What is with it.
        reason: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A plugin that it needs has another version.
    #[error("it needs the plugin `{name}` {requirement} and {there} is there; install a version that fits")]
    DependencyVersion {
        /// The plugin needed.
        name: String,
        /// Versions that would do.
        requirement: semver::VersionReq,
        /// The version there.
        there: semver::Version,
    },
    /// Plugins need each other in a circle.
    #[error("plugins need each other in a circle: {}; remove one of these dependencies", members.join(" → "))]
    DependencyCycle {
        /// The circle, its first member again at the end.
        members: Vec<String>,
    },
}
