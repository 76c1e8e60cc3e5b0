//! `include/raddle_plugin.h`, the ABI for plugins in C, is what the Rust types say. `cargo xtask docs` writes it;
//! without that this test says where it is stale.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use raddle_plugin_api::abi::{BUFFER_DATA_OFFSET, Frame, LAYOUT_HASH, MAGIC, PLUGIN_SYMBOL, layout_dump};

/// Set by `cargo xtask docs`: the header is written instead of compared.
const WRITE: &str = "RADDLE_WRITE_REFERENCE";

/// Files of `src/abi` with types in them, each behind those that it uses.
const SOURCES: &[&str] = &["text", "buffer", "frame", "worker", "host", "driver", "plugin", "service"];

/// Types that are not reached from a struct, but say what its numbers mean.
const VALUES: &[&str] = &[
    "BufferFlags",
    "FrameFlags",
    "InterfaceFlags",
    "TxFlags",
    "Status",
    "LogLevel",
    "Counted",
    "NodeKind",
    "NO_BUFFER",
    "NO_INTERFACE",
    "NO_TRACE",
    "BUFFER_HEADROOM_BYTES",
    "BUFFER_DATA_BYTES",
    "BUFFER_FIELD_BYTES",
    "FRAME_SIZE",
    "MAX_INTERFACES",
    "MAX_ARCS",
    "FEATURES_PER_ARC",
];

#[test]
fn the_c_header_is_what_the_rust_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/raddle_plugin.h");
    let made = header();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, made).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (old, new)) in found.lines().zip(made.lines()).enumerate() {
        let line = line + 1;
        assert_eq!(old, new, "include/raddle_plugin.h is stale at line {line}; run `cargo xtask docs`");
    }
    assert_eq!(found, made, "include/raddle_plugin.h is stale at its end; run `cargo xtask docs`");
}

/// The types by cbindgen, between definitions and assertions made of their values, under names of C.
fn header() -> String {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Tag,
        usize_is_size_t: true,
        cpp_compat: true,
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"].map(str::to_owned).to_vec(),
        documentation_style: cbindgen::DocumentationStyle::C99,
        line_length: 110,
        header: Some(HEAD.to_owned()),
        after_includes: Some(definitions()),
        trailer: Some(assertions() + HELP),
        ..cbindgen::Config::default()
    };
    config.layout.aligned_n = Some("RADDLE_ALIGNED".to_owned());
    config.export.include = structs()
        .into_iter()
        .map(|(name, _)| name)
        .chain(VALUES.iter().map(|&name| name.to_owned()))
        .collect();
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source()).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).unwrap();
    // Rust's links in doc comments mean nothing in C.
    let text = text.replace("[`", "`").replace("`]", "`");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut text = in_c(&lines.join("\n"));
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    text.trim_start().to_owned() + "\n"
}

/// Every struct of the layout dump with the lines of its fields.
fn structs() -> Vec<(String, Vec<String>)> {
    let dump = layout_dump();
    let mut structs: Vec<(String, Vec<String>)> = Vec::new();
    for line in dump.lines().skip(1) {
        match (line.strip_prefix(' '), structs.last_mut()) {
            (Some(field), Some((_, fields))) => fields.push(field.trim().to_owned()),
            _ => structs.push((line.to_owned(), Vec::new())),
        }
    }
    structs.into_iter().map(|(line, fields)| (line.split(' ').next().unwrap().to_owned(), fields)).collect()
}

/// All sources in one file, in the words that cbindgen knows.
fn source() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/abi");
    let mut all = String::new();
    for name in SOURCES {
        let text = std::fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
        all.extend(text.lines().filter(|line| !line.starts_with("//!")).flat_map(|line| [line, "\n"]));
    }
    // Atomics are integers in memory.
    for bits in ["16", "32", "64"] {
        all = all.replace(&format!("AtomicU{bits}"), &format!("u{bits}"));
    }
    // Sets of flags are named constants of integers.
    for flags in VALUES.iter().filter(|name| name.ends_with("Flags")) {
        let plain = format!("pub struct {flags};");
        assert!(all.contains(&plain), "{flags} is not declared as expected");
        all = all.replace(&plain, &format!("#[repr(transparent)]\npub struct {flags}(pub u32);"));
    }
    // Lengths of arrays must be numbers.
    let frame = size_of::<Frame>() - offset_of!(Frame, indices);
    all = all.replace("FRAME_SIZE + READ_AHEAD", &(frame / size_of::<u32>()).to_string());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi.rs");
    std::fs::write(&path, all).unwrap();
    path
}

/// Names as C programmers write them, none of which can be another library's: `raddle_node_context`,
/// `RADDLE_STATUS_OK`.
fn in_c(text: &str) -> String {
    let mut types: Vec<String> = structs().into_iter().map(|(name, _)| name).collect();
    types.extend(["Text", "Sink"].map(str::to_owned));
    types.extend(VALUES.iter().filter(|name| !is_constant(name)).map(|&name| name.to_owned()));
    let mut made = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        made.push_str(&name_in_c(&word, &types));
        made.push(letter);
        word.clear();
    }
    made
}

fn name_in_c(word: &str, types: &[String]) -> String {
    if is_constant(word) && (VALUES.contains(&word) || word.starts_with("ABI_M")) {
        return format!("RADDLE_{word}");
    }
    if let Some(element) = word.strip_prefix("Slice_") {
        return format!("raddle_slice_{}", snake(element));
    }
    if types.iter().any(|name| name == word) {
        return format!("raddle_{}", snake(word));
    }
    match word.split_once('_') {
        Some((owner, value)) if types.iter().any(|name| name == owner) && is_constant(value) => {
            format!("RADDLE_{}_{value}", snake(owner).to_uppercase())
        }
        _ => word.to_owned(),
    }
}

fn is_constant(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Values that only the compiler knows.
fn definitions() -> String {
    let mut text = String::from(DEFINITIONS);
    let magic: Vec<String> = MAGIC.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let _ = write!(
        text,
        "\n// Name of the exported symbol, a constant `raddle_plugin_header`.\n\
         #define RADDLE_PLUGIN_SYMBOL {PLUGIN_SYMBOL}\n\
         // First bytes of that header.\n\
         #define RADDLE_MAGIC {{ {} }}\n\
         // Hash over the layout of the structs that have no size of their own in front.\n\
         #define RADDLE_LAYOUT_HASH UINT64_C(0x{LAYOUT_HASH:016x})\n\
         // From the start of a buffer to its data (`current_data == 0`), in bytes.\n\
         #define RADDLE_BUFFER_DATA_OFFSET {BUFFER_DATA_OFFSET}\n",
        magic.join(", ")
    );
    text
}

/// The compiler of the plugin agrees with that of the host on every size and offset, or there is no plugin.
fn assertions() -> String {
    let mut text = String::from("\n// What the host's compiler makes of these structs.\n");
    for line in layout_dump().lines().skip(1).filter(|line| !line.starts_with(' ')) {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, size) = (words[0], words[2]);
        let _ =
            writeln!(text, "RADDLE_ASSERT(sizeof(struct {name}) == {size}, \"size of {}\");", snake(name));
    }
    for (name, fields) in structs() {
        for field in fields {
            let (offset, field) = field.split_once(' ').unwrap();
            let message = format!("\"{}.{field}\"", snake(&name));
            let _ = writeln!(text, "RADDLE_ASSERT(offsetof(struct {name}, {field}) == {offset}, {message});");
        }
    }
    text
}

const HEAD: &str = "\
// raddle's plugin ABI for C. Made from the Rust types in plugin-api/src/abi by `cargo xtask docs`: do not edit.
//
// - A struct that one side hands to the other begins with its size in bytes and grows only at its end; zero is a valid
//   value of every field. Zero the whole struct, then set what you know.
// - Memory is freed by the side that allocated it. Nothing may be thrown across a function of these tables.
// - examples/c-guard is a plugin in C.

#ifndef RADDLE_PLUGIN_H
#define RADDLE_PLUGIN_H
";

const DEFINITIONS: &str = "
#if defined(__cplusplus)
#define RADDLE_ASSERT(condition, message) static_assert(condition, message)
#else
#define RADDLE_ASSERT(condition, message) _Static_assert(condition, message)
#endif
#define RADDLE_ALIGNED(bytes) __attribute__((aligned(bytes)))
// A `raddle_text` of a string literal, as an initialiser.
#define RADDLE_TEXT(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }
// A slice of an array, as an initialiser.
#define RADDLE_SLICE(array) { (array), sizeof(array) / sizeof((array)[0]), sizeof((array)[0]) }
";

const HELP: &str = "
// What the macros and loops of the Rust SDK do, for C.

// The header of a buffer of the arena.
static inline struct raddle_buffer_header *raddle_buffer(const struct raddle_worker_context *worker, uint32_t index)
{
    return (struct raddle_buffer_header *)(worker->buffers + (size_t)index * worker->buffer_stride);
}

// The first byte of a packet; `current_length` bytes may be read and written in this buffer.
static inline uint8_t *raddle_data(struct raddle_buffer_header *buffer)
{
    return (uint8_t *)buffer + RADDLE_BUFFER_DATA_OFFSET + buffer->current_data;
}

// Where a packet goes that is dropped for the node's error number `error`: counted by it, if it is sent there.
static inline uint16_t raddle_drop(const struct raddle_node_context *node, struct raddle_buffer_header *buffer,
                                   uint32_t error)
{
    buffer->error = (uint16_t)(node->error_base + error);
    return node->arcs[0];
}

// Where a packet goes that is sent to the node's next number `next`, counted from 0 as in its registration.
static inline uint16_t raddle_next(const struct raddle_node_context *node, uint32_t next)
{
    return node->arcs[next + 1];
}

// Where a packet goes that leaves a feature: to the next one of its arc, or to the arc's end.
static inline uint16_t raddle_continue(const struct raddle_node_context *node, struct raddle_buffer_header *buffer)
{
    const struct raddle_arc_table *arc = &node->worker->arcs[buffer->arc % RADDLE_MAX_ARCS];
    uint64_t features = buffer->features;
    if (features == 0)
        return arc->end_node;
    if (buffer->arc_epoch != arc->epoch) {
        // The features were numbered anew while somebody held the packet: the rest cannot be told any more.
        buffer->error = 0;
        return node->arcs[0];
    }
    buffer->features = features & (features - 1);
    return arc->nodes[__builtin_ctzll(features) % RADDLE_FEATURES_PER_ARC];
}

// Hands `text` to the other side of a call.
static inline void raddle_write(struct raddle_sink sink, const char *text)
{
    if (sink.write != NULL) {
        struct raddle_text bytes = { (const uint8_t *)text, __builtin_strlen(text) };
        sink.write(sink.state, bytes);
    }
}

#endif // RADDLE_PLUGIN_H
";
