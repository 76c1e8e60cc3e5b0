// raddle's plugin ABI for C. Made from the Rust types in plugin-api/src/abi by `cargo xtask docs`: do not edit.
//
// - A struct that one side hands to the other begins with its size in bytes and grows only at its end; zero is a valid
//   value of every field. Zero the whole struct, then set what you know.
// - Memory is freed by the side that allocated it. Nothing may be thrown across a function of these tables.
// - examples/c-guard is a plugin in C.

#ifndef RADDLE_PLUGIN_H
#define RADDLE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

// Name of the exported symbol, a constant `raddle_plugin_header`.
#define RADDLE_PLUGIN_SYMBOL RADDLE_PLUGIN
// First bytes of that header.
#define RADDLE_MAGIC { 0x72, 0x61, 0x64, 0x64, 0x6c, 0x65, 0x00, 0x01 }
// Hash over the layout of the structs that have no size of their own in front.
#define RADDLE_LAYOUT_HASH UINT64_C(0x3b6a3c01cf375948)
// From the start of a buffer to its data (`current_data == 0`), in bytes.
#define RADDLE_BUFFER_DATA_OFFSET 256

// Room in front of the data for headers that are pushed, in bytes.
#define RADDLE_BUFFER_HEADROOM_BYTES 128

// Room for packet data in one buffer, without the headroom, in bytes.
#define RADDLE_BUFFER_DATA_BYTES 2048

// Room for the fields that plugins register by name, in bytes.
#define RADDLE_BUFFER_FIELD_BYTES 48

// "No buffer" in a buffer index.
#define RADDLE_NO_BUFFER UINT32_MAX

// "No interface" in an interface index.
#define RADDLE_NO_INTERFACE UINT32_MAX

// "Not traced" in a trace handle.
#define RADDLE_NO_TRACE UINT32_MAX

// Packets in a full frame.
#define RADDLE_FRAME_SIZE 256

// Interfaces that can exist at a time.
#define RADDLE_MAX_INTERFACES 4096

// Feature arcs that can exist at a time.
#define RADDLE_MAX_ARCS 32

// Features that one arc can have.
#define RADDLE_FEATURES_PER_ARC 64

// ABI generation: another one cannot be used at all.
#define RADDLE_ABI_MAJOR 1

// ABI additions: a plugin of an older one can be used.
//
// - 1.1: handing packets from thread to thread, threads that wake for timers, counters of interfaces without queues.
// - 1.2: plugins say which host they need; services between plugins; watched descriptors; state and memory that outlive an
//   upgrade.
// - 1.3: devices that read and write the packet buffers by themselves, and keep what they send until it is sent.
//
// On a host of an older one, what came later does nothing: packets cannot be handed off, threads do not wake.
#define RADDLE_ABI_MINOR 3

// Metadata in front of each buffer: the first cache line is what the common path reads. Since ABI 1.0.
//
// Invariant, kept by every writer: `-HEADROOM <= current_data` and `current_data + current_length <= DATA`.
struct RADDLE_ALIGNED(64) raddle_buffer_header {
  // Offset of the first byte from the data area's start, in bytes; negative into the headroom.
  int16_t current_data;
  // Bytes in this buffer, from `current_data`.
  uint16_t current_length;
  // See `raddle_buffer_flags`.
  uint32_t flags;
  // Where the packet came in.
  uint32_t rx_interface;
  // Where the packet is to leave.
  uint32_t tx_interface;
  // Index of the adjacency that the lookup found.
  uint32_t adjacency;
  // Routing table in which the next lookup is made.
  uint32_t fib_index;
  // Next buffer of the packet where `CHAINED` is set.
  uint32_t next_buffer;
  // Bytes in the buffers behind this one.
  uint32_t rest_length;
  // Features of the arc that are still to run, one bit each.
  uint64_t features;
  // Flow id, as the receiver or a classifier gave it; 0 is none.
  uint32_t flow_id;
  // Why the packet is dropped: index into the global list of errors.
  uint16_t error;
  // The feature arc that `features` belongs to.
  uint8_t arc;
  // The arc's order when `features` was taken: a stale one is not followed.
  uint8_t arc_epoch;
  // Packets that hold this buffer.
  uint16_t references;
  // Offset of the network header, as `current_data`.
  int16_t l3_offset;
  // Offset of the transport header, as `current_data`.
  int16_t l4_offset;
  // Zero.
  uint16_t reserved0;
  // Room for one hot field of 8 bytes, handed out by name.
  uint8_t hot_field[8];
  // Where the trace of this packet is kept while `TRACED` is set.
  uint32_t trace;
  // Payload bytes of each packet that a GSO packet stands for.
  uint16_t gso_size;
  // What a GSO packet holds: `VIRTIO_NET_HDR_GSO_*` (virtio 1.2 §5.1.6).
  uint8_t gso_kind;
  // Zero.
  uint8_t reserved1;
  // Where the partial checksum starts, in bytes from the packet's first byte.
  uint16_t checksum_start;
  // Where the partial checksum is put, in bytes from `checksum_start`.
  uint16_t checksum_offset;
  // Bytes of all headers in front of a GSO packet's payload.
  uint16_t header_length;
  // Zero.
  uint16_t reserved2;
  // Fields of plugins, handed out by name.
  uint8_t fields[RADDLE_BUFFER_FIELD_BYTES];
};

// A vector of up to `RADDLE_FRAME_SIZE` buffer indices. The node that is handed a frame owns the packets in it. Since ABI 1.0.
struct RADDLE_ALIGNED(64) raddle_frame {
  // Packets in the frame, at most `RADDLE_FRAME_SIZE`.
  uint32_t count;
  // See `raddle_frame_flags`.
  uint32_t flags;
  // The rx interface of all packets, if `ONE_INTERFACE` is set.
  uint32_t interface;
  // Zero.
  uint32_t reserved[13];
  // Buffer indices; those from `count` on are stale, but name buffers of the pool.
  uint32_t indices[272];
};

// What the packet's way reads of an interface: one cache line. Written by the main thread only. Since ABI 1.0.
struct RADDLE_ALIGNED(64) raddle_interface_row {
  // See `raddle_interface_flags`.
  uint32_t flags;
  // Node that sends for this interface's driver.
  uint32_t tx_node;
  // The MAC address in the low six bytes, first octet lowest.
  uint64_t mac;
  // Largest L3 packet, in bytes.
  uint32_t mtu;
  // The other side of an L2 cross-connect.
  uint32_t xconnect;
  // IPv4 routing table.
  uint32_t ip4_fib;
  // IPv6 routing table.
  uint32_t ip6_fib;
  // Features of the `interface-output` arc (a copy of that arc's mask, so that output reads one line).
  uint64_t output_features;
  // Zero.
  uint64_t reserved[2];
};

// A feature arc: per interface the set of features that are on, per feature its node. Since ABI 1.0.
//
// Features stand in the order in which they run: bit *n* runs before bit *n + 1*. Nodes and `epoch` change only
// while the workers stand at a barrier; a mask changes at any time.
struct raddle_arc_table {
  // Enabled features per interface, `RADDLE_MAX_INTERFACES` of them.
  const uint64_t *masks;
  // Where a packet goes when no feature is left.
  uint16_t end_node;
  // Counts the changes of `nodes`.
  uint8_t epoch;
  // Zero.
  uint8_t reserved[5];
  // The node of each feature.
  uint16_t nodes[RADDLE_FEATURES_PER_ARC];
};

// What one node finds on one thread. Made and kept by the host. Since ABI 1.0.
struct raddle_node_context {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Index of the node in the graph.
  uint32_t node;
  // The thread.
  struct raddle_worker_context *worker;
  // The state that the node's `create` returned for this thread.
  void *state;
  // Node index behind each next slot; slot 0 is `drop`.
  const uint16_t *arcs;
  // Number of next slots.
  uint32_t arc_count;
  // Index of the node's first error in the global list.
  uint32_t error_base;
  // Number of the node's errors.
  uint32_t error_count;
  // Zero.
  uint32_t reserved;
};

// Borrowed bytes, UTF-8 where the use says text. Since ABI 1.0.
struct raddle_text {
  const uint8_t *ptr;
  size_t len;
};

// Importance of a log line, across the ABI.
typedef uint32_t raddle_log_level;
// Something failed.
#define RADDLE_LOG_LEVEL_ERROR 1
// Something is not as it should be.
#define RADDLE_LOG_LEVEL_WARN 2
// Worth knowing.
#define RADDLE_LOG_LEVEL_INFO 3
// For those who look for a fault.
#define RADDLE_LOG_LEVEL_DEBUG 4

// Outcome of a call, across the ABI.
typedef uint32_t raddle_status;
// It was done.
#define RADDLE_STATUS_OK 0
// It could not be done; the sink has the reason in one sentence.
#define RADDLE_STATUS_FAILED 1
// The callee panicked; the sink has the message.
#define RADDLE_STATUS_PANICKED 2
// The callee is not finished yet (tasks, commands that answer later).
#define RADDLE_STATUS_PENDING 3

// Takes bytes from the other side, in pieces: `write(state, bytes)`. Since ABI 1.0.
struct raddle_sink {
  void *state;
  void (*write)(void*, struct raddle_text);
};

// A task of the main thread's executor: what a plugin hands over when it spawns a future. Since ABI 1.0.
struct raddle_task_table {
  // The task's own state.
  void *state;
  // Polls it: `OK` when finished, `PENDING` when not, `PANICKED` when it may not be polled again.
  raddle_status (*poll)(void *state, uint64_t task);
  // Drops it.
  void (*drop)(void *state);
};

// Memory of one counter set: `stride` counters per thread, of which each thread writes only its own. Since ABI 1.0.
struct raddle_counter_memory {
  // The first counter of thread 0 (an `u64`); null if the host refused.
  uint64_t *base;
  // Counters from one thread to the next.
  size_t stride;
  // Counters that may be used per thread.
  size_t length;
  // Threads.
  size_t threads;
};

// What is counted of an interface, across the ABI. Since ABI 1.1.
typedef uint32_t raddle_counted;
// Packets and bytes that came in by it.
#define RADDLE_COUNTED_RECEIVED 0
// Packets and bytes that left by it.
#define RADDLE_COUNTED_SENT 1
// Packets that it could not send; bytes are not counted.
#define RADDLE_COUNTED_NOT_SENT 2

// What of a descriptor is waited for, and what it is ready for: bits, across the ABI. Since ABI 1.2.
typedef uint32_t FileEvents;
// There is something to read.
#define FileEvents_READABLE (1 << 0)
// Something can be written.
#define FileEvents_WRITABLE (1 << 1)
// The other side has gone, or there is an error: told whether asked for or not.
#define FileEvents_HUNG_UP (1 << 2)
// Told once only.
#define FileEvents_ONCE (1 << 31)

// A descriptor to be watched. Since ABI 1.2.
struct raddle_file_request {
  // Bytes of this struct at its maker.
  uint32_t size;
  // The descriptor, of which the host makes a duplicate.
  int32_t fd;
  // What is waited for.
  FileEvents events;
  // The thread on which `ready` is called.
  uint32_t thread;
  // The plugin's own state.
  void *state;
  // Called on the thread, between two quiescent points, as long as the descriptor is ready: `OK`, or `PANICKED` when
  // it may not be called again.
  raddle_status (*ready)(void *state, struct raddle_worker_context *worker, FileEvents events);
  // Drops the state, on the main thread.
  void (*drop)(void *state);
};

// The memory of all packet buffers, for devices that read and write it by themselves. Since ABI 1.3.
struct raddle_buffer_arena {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Bytes from one buffer to the next.
  uint32_t stride;
  // Buffers: number *i* stands at `base + i * stride`.
  uint32_t count;
  // A descriptor by which the memory can be mapped elsewhere, the host's own; -1: there is none.
  int32_t fd;
  // The first byte, aligned to a page.
  uint8_t *base;
  // Bytes of the memory, whole pages.
  size_t length;
  // Bytes of a page that is one stretch of the machine's memory.
  size_t page_bytes;
};

// Functions of the host. Those that take `data` are for the main thread unless they say otherwise. Since ABI 1.0.
struct raddle_host_table {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Threads of the graph, the main one among them. Since ABI 1.1.
  uint32_t thread_count;
  // The host's own state: first argument of the functions that ask for it.
  void *data;
  // Sends `count` packets on: packet *i* to the node with index `nodes[i]`. The packets belong to those nodes then.
  void (*enqueue)(struct raddle_node_context *node, const uint32_t *indices, const uint16_t *nodes, uint32_t count);
  // Sends the whole frame to one node; the frame may move, so nothing of it may be read afterwards.
  void (*enqueue_frame)(struct raddle_node_context *node, struct raddle_frame *frame, uint16_t target);
  // Takes up to `count` buffers from the thread's cache, plain and empty; returns how many.
  uint32_t (*buffers_allocate)(struct raddle_worker_context *worker, uint32_t *indices, uint32_t count);
  // Gives packets (whole chains) back to the pool.
  void (*buffers_free)(struct raddle_worker_context *worker, const uint32_t *indices, uint32_t count);
  // Gives packets back from any thread.
  void (*buffers_free_remote)(void *data, const uint32_t *indices, uint32_t count);
  // Notes that a traced packet passed `node` and went to `target`, with the node's record as JSON and as text.
  void (*trace)(struct raddle_node_context *node, uint32_t buffer, uint16_t target, struct raddle_text json, struct raddle_text text);
  // Writes a log line. Any thread; rate-limited by the host.
  void (*log)(void *data, raddle_log_level level, struct raddle_text target, struct raddle_text message);
  // Calls a method of the host's control plane by name, arguments and answer in JSON.
  raddle_status (*call)(void *data, struct raddle_text method, struct raddle_text arguments, struct raddle_sink answer);
  // Answers a command: exactly once per command, `json` and `text` the result or `text` the error.
  void (*reply)(void *data, uint64_t command, raddle_status status, struct raddle_text json, struct raddle_text text);
  // The text of the configuration file, whole.
  void (*config_text)(void *data, struct raddle_sink text);
  // Starts a task; returns its id.
  uint64_t (*spawn)(void *data, struct raddle_text name, struct raddle_task_table task);
  // Has the task polled soon. Any thread.
  void (*wake)(void *data, uint64_t task);
  // Has the task polled at `at_ns` of the monotonic clock. The earliest time asked for since its last poll counts; a
  // poll, for whatever reason, has all of them forgotten.
  void (*wake_at)(void *data, uint64_t task, uint64_t at_ns);
  // Monotonic time now, in ns. Any thread.
  uint64_t (*now_ns)(void *data);
  // Runs `run(state)` once on the main thread, soon. Any thread.
  void (*run_on_main)(void *data, void *state, void (*run)(void*));
  // Runs `drop(state)` on the main thread once every thread has passed a quiescent point.
  void (*retire)(void *data, void *state, void (*drop)(void*));
  // Stops the workers between two passes of their loops. Nests.
  void (*barrier_acquire)(void *data, struct raddle_text cause);
  // Lets the workers go on.
  void (*barrier_release)(void *data);
  // Memory for `length` counters of one name; the same name gives the same memory.
  struct raddle_counter_memory (*counters)(void *data, struct raddle_text name, size_t length);
  // Room for a per-packet field: its offset from the buffer's start, `u32::MAX` if there is none left. The same
  // name with the same size gives the same offset.
  uint32_t (*field)(void *data, struct raddle_text name, uint32_t size, uint32_t align);
  // Index of the feature arc with this name, `u32::MAX` if there is none.
  uint32_t (*arc)(void *data, struct raddle_text name);
  // Index of the node with this name, `u32::MAX` if there is none.
  uint32_t (*node)(void *data, struct raddle_text name);
  // Sends one packet to the node with index `target` on another thread. 1: it belongs to that thread now. 0: the way
  // there is full, or there is no such thread; the packet is still the caller's. Since ABI 1.1.
  uint32_t (*handoff)(struct raddle_node_context *node, uint32_t buffer, uint32_t thread, uint16_t target);
  // Has the calling thread make a pass at `at_ns` of the monotonic clock, or before, though nothing comes in.
  // Since ABI 1.1.
  void (*wake_thread_at)(struct raddle_worker_context *worker, uint64_t at_ns);
  // Counts packets of an interface that has no queues of its own. Since ABI 1.1.
  void (*count)(struct raddle_worker_context *worker,
                uint32_t interface,
                raddle_counted what,
                uint64_t packets,
                uint64_t bytes);
  // Watches a descriptor until `Self::unwatch_file`, or until the plugin goes; returns a number. 0: it cannot be
  // watched, for the reason in `error`; the state is still the caller's. Since ABI 1.2.
  uint64_t (*watch_file)(void *data, const struct raddle_file_request *request, struct raddle_sink error);
  // Ends a watch, whose state is dropped; a number that names none is ignored. Since ABI 1.2.
  void (*unwatch_file)(void *data, uint64_t watch);
  // Memory of the host's that the calling plugin borrows: `bytes` bytes at a multiple of `align`. The same name,
  // layout and size give the same memory to another version of the plugin that takes its place; what is new is zero.
  // It is freed when no version of the plugin is there that asked for it. Null if it cannot be had. Since ABI 1.2.
  uint8_t *(*memory)(void *data, struct raddle_text name, uint64_t layout, size_t bytes, size_t align);
  // Says where the packet buffers are: fills in `arena` up to its size, which the caller has set. They stay there as long
  // as the host runs. Since ABI 1.3.
  void (*arena)(void *data, struct raddle_buffer_arena *arena);
};

// What all nodes of one thread share. Made and kept by the host. Since ABI 1.0.
struct raddle_worker_context {
  // Bytes of this struct at its maker.
  uint32_t size;
  // 0 is the main thread, workers count from 1.
  uint32_t thread_index;
  // Functions of the host.
  const struct raddle_host_table *host;
  // The buffer arena: buffer *i* stands at `buffers + i * buffer_stride`.
  uint8_t *buffers;
  // Bytes from one buffer to the next.
  uint32_t buffer_stride;
  // Buffers in the arena.
  uint32_t buffer_count;
  // Monotonic time at the start of this pass of the loop, in ns.
  uint64_t now_ns;
  // The interface table, `RADDLE_MAX_INTERFACES` rows.
  const struct raddle_interface_row *interfaces;
  // The feature arcs, `RADDLE_MAX_ARCS` of them.
  const struct raddle_arc_table *arcs;
  // A buffer header that nobody owns, for views of packets that were given away.
  uint8_t *scratch;
  // The host's own state of this thread.
  void *host_state;
};

// A receive queue's functions. Since ABI 1.0.
struct raddle_rx_table {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Fills `frame` from `frame.count` on, at most to `limit`; adds the bytes received to `bytes` and the packets
  // lost for want of buffers to `lost`. Returns `raddle_status::OK`, or `PANICKED`.
  raddle_status (*receive)(void *queue,
                    struct raddle_worker_context *worker,
                    struct raddle_frame *frame,
                    uint32_t limit,
                    uint64_t *bytes,
                    uint64_t *lost);
  // A descriptor that is readable when there is something to receive; -1: none, poll when `wants_polling`.
  int32_t (*fd)(void *queue);
  // Whether the queue must be polled now although its descriptor is silent (a generator that runs).
  bool (*wants_polling)(void *queue);
  // Drops the queue.
  void (*drop)(void *queue);
};

// A transmit queue's functions. Since ABI 1.0.
struct raddle_tx_table {
  // Bytes of this struct at its maker.
  uint32_t size;
  // See `raddle_tx_flags`. Since ABI 1.3, before that always 0.
  uint32_t flags;
  // Sends `count` packets in order; returns how many the device took. The buffers stay the caller's, who frees them: but for
  // those in whose places a queue with `raddle_tx_flags::KEEPS` has written `RADDLE_NO_BUFFER`, which it keeps and frees itself.
  uint32_t (*transmit)(void *queue, struct raddle_worker_context *worker, const uint32_t *indices, uint32_t count);
  // Drops the queue.
  void (*drop)(void *queue);
};

// A device's functions, called on the main thread. Since ABI 1.0.
struct raddle_device_table {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // What the device is now, as JSON of `driver::Properties`.
  raddle_status (*properties)(void *device, struct raddle_sink json);
  // Details for `show interface … verbose`, as JSON.
  raddle_status (*details)(void *device, struct raddle_sink json);
  // Takes receive queue `index`; null when there is no such queue.
  void *(*rx_queue)(void *device, uint32_t index);
  // Makes the transmit queue of a thread; null with the reason in the sink when it cannot.
  void *(*tx_queue)(void *device, uint32_t thread, struct raddle_sink error);
  // Changes the device: JSON of `driver::Change`.
  raddle_status (*change)(void *device, struct raddle_text change, struct raddle_sink error);
  // Drops the device; its queues are gone by then.
  void (*drop)(void *device);
  // Functions of its receive queues.
  struct raddle_rx_table rx;
  // Functions of its transmit queues.
  struct raddle_tx_table tx;
};

// A kind of device. Since ABI 1.0.
struct raddle_driver_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Name of the driver in the configuration: `tap`; its nodes are `tap-input` and `tap-tx`.
  struct raddle_text name;
  // One line for `help`.
  struct raddle_text summary;
  // Opens a device: `request` is JSON of `driver::Request`, `options` the driver's keys as JSON. Returns the device
  // or null with the reason in `error`.
  void *(*open)(void *instance, struct raddle_text request, struct raddle_text options, struct raddle_sink error);
  // Checks the driver's keys of an interface in the whole text of a configuration file, without opening anything;
  // writes JSON of `config::SectionError` where they are wrong.
  raddle_status (*check)(struct raddle_text text, struct raddle_text interface, struct raddle_sink error);
  // JSON Schema of the options.
  void (*schema)(struct raddle_sink schema);
  // Functions of its devices.
  struct raddle_device_table device;
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_text {
  const struct raddle_text *ptr;
  size_t len;
  size_t stride;
};

// A function that runs once after load, in the order that names give. Since ABI 1.0.
struct raddle_init_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Name of the function in `show init-function`.
  struct raddle_text name;
  // Init functions that come later.
  struct raddle_slice_text runs_before;
  // Init functions that come earlier.
  struct raddle_slice_text runs_after;
  // The function.
  raddle_status (*run)(void *instance, struct raddle_sink error);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_init_registration {
  const struct raddle_init_registration *ptr;
  size_t len;
  size_t stride;
};

// A function that runs before the plugin goes; exit functions run in reverse order of the init functions. Since ABI 1.0.
struct raddle_exit_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Name of the function.
  struct raddle_text name;
  // The function.
  raddle_status (*run)(void *instance, struct raddle_sink error);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_exit_registration {
  const struct raddle_exit_registration *ptr;
  size_t len;
  size_t stride;
};

// When a node runs.
typedef uint32_t raddle_node_kind;
// When it is handed a frame.
#define RADDLE_NODE_KIND_INTERNAL 0
// Once a pass of the loop, to bring packets in; its frame is null.
#define RADDLE_NODE_KIND_INPUT 1
// Once a pass of the loop, before the input nodes; its frame is null.
#define RADDLE_NODE_KIND_PRE_INPUT 2

// A node of the graph. Since ABI 1.0.
struct raddle_node_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // When it runs.
  raddle_node_kind kind;
  // Name, unique in the graph.
  struct raddle_text name;
  // Names of its next nodes; slot 0 is always `drop` and not named here, so these are slots 1, 2, ….
  struct raddle_slice_text nexts;
  // Names of its errors, which are the reasons of its drops.
  struct raddle_slice_text errors;
  // What each error means, for people.
  struct raddle_slice_text error_texts;
  // Makes the node's state for one thread; null with the reason in `error`.
  void *(*create)(void *instance, uint32_t thread, struct raddle_sink error);
  // Drops that state.
  void (*drop)(void *state);
  // Processes a frame; returns the packets it dealt with, `u32::MAX` after a panic (the frame is then untouched).
  uint32_t (*run)(struct raddle_node_context *node, struct raddle_frame *frame);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_node_registration {
  const struct raddle_node_registration *ptr;
  size_t len;
  size_t stride;
};

// A feature arc: a place in the graph where features can be hung in. Since ABI 1.0.
struct raddle_arc_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Name.
  struct raddle_text name;
  // Node behind the last feature.
  struct raddle_text end;
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_arc_registration {
  const struct raddle_arc_registration *ptr;
  size_t len;
  size_t stride;
};

// A node as a feature of an arc. Since ABI 1.0.
struct raddle_feature_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // 1: if the plugin is quarantined, packets of interfaces with this feature are dropped, not passed on.
  uint32_t fail_closed;
  // The arc.
  struct raddle_text arc;
  // Name of the feature in the configuration; several nodes of one plugin, each on its own arc, may share it.
  struct raddle_text name;
  // The node.
  struct raddle_text node;
  // Features of the arc that come later.
  struct raddle_slice_text runs_before;
  // Features of the arc that come earlier.
  struct raddle_slice_text runs_after;
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_feature_registration {
  const struct raddle_feature_registration *ptr;
  size_t len;
  size_t stride;
};

// A command. Since ABI 1.0.
struct raddle_command_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Usage, from which the command is parsed: `acl add <name> [at <index>]`.
  struct raddle_text usage;
  // What it does, in a line.
  struct raddle_text summary;
  // Runs it: arguments as a JSON object; answers through `raddle_host_table::reply` with `command`, now or later.
  void (*run)(void *instance, struct raddle_text arguments, uint64_t command);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_command_registration {
  const struct raddle_command_registration *ptr;
  size_t len;
  size_t stride;
};

// A section of the configuration file. Since ABI 1.0.
struct raddle_config_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Name of the top-level key.
  struct raddle_text section;
  // Checks the section in the whole text of a file; writes JSON of `config::SectionError` where it is wrong.
  raddle_status (*check)(struct raddle_text text, struct raddle_sink error);
  // JSON Schema of the section.
  void (*schema)(struct raddle_sink schema);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_config_registration {
  const struct raddle_config_registration *ptr;
  size_t len;
  size_t stride;
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_driver_registration {
  const struct raddle_driver_registration *ptr;
  size_t len;
  size_t stride;
};

// A function that hears of an event. Since ABI 1.0.
struct raddle_event_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Subject: `interface`.
  struct raddle_text subject;
  // The function; the event is JSON.
  raddle_status (*run)(void *instance, struct raddle_text event, struct raddle_sink error);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_event_registration {
  const struct raddle_event_registration *ptr;
  size_t len;
  size_t stride;
};

// A plugin that another one needs. Since ABI 1.0.
struct raddle_dependency {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Its name.
  struct raddle_text name;
  // Which versions will do (semver requirement, `^1.2`).
  struct raddle_text version;
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_dependency {
  const struct raddle_dependency *ptr;
  size_t len;
  size_t stride;
};

// State that a plugin hands over as bytes to another version of itself, which has the same name for it. Since ABI 1.2.
struct raddle_state_registration {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Version of the bytes that it exports, and the newest that it imports.
  uint32_t version;
  // The oldest version that it imports.
  uint32_t oldest;
  // Zero.
  uint32_t reserved;
  // Name, by which the new version's is found.
  struct raddle_text name;
  // Writes the bytes into `state`. Main thread; the graph runs on.
  raddle_status (*export_state)(void *instance, struct raddle_sink state, struct raddle_sink error);
  // Takes bytes of `version`, after the init functions and before the nodes are made.
  raddle_status (*import_state)(void *instance, uint32_t version, struct raddle_text state, struct raddle_sink error);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_state_registration {
  const struct raddle_state_registration *ptr;
  size_t len;
  size_t stride;
};

// Everything that a plugin registers. Since ABI 1.0.
struct raddle_registrations {
  // Bytes of this struct at its reader.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // Init functions.
  struct raddle_slice_init_registration inits;
  // Exit functions.
  struct raddle_slice_exit_registration exits;
  // Nodes.
  struct raddle_slice_node_registration nodes;
  // Feature arcs.
  struct raddle_slice_arc_registration arcs;
  // Features.
  struct raddle_slice_feature_registration features;
  // Commands.
  struct raddle_slice_command_registration commands;
  // Sections of the configuration file.
  struct raddle_slice_config_registration configs;
  // Interface drivers.
  struct raddle_slice_driver_registration drivers;
  // Functions that hear of events.
  struct raddle_slice_event_registration events;
  // Plugins that must be there.
  struct raddle_slice_dependency dependencies;
  // State that is handed over in an upgrade. Since ABI 1.2.
  struct raddle_slice_state_registration states;
};

// What a plugin exports: plain data that can be read before any of its code runs. Since ABI 1.0.
struct raddle_plugin_header {
  // `MAGIC`.
  uint8_t magic[8];
  // Bytes of this struct at its maker.
  uint32_t size;
  // `RADDLE_ABI_MAJOR` of its SDK.
  uint16_t abi_major;
  // `RADDLE_ABI_MINOR` of its SDK.
  uint16_t abi_minor;
  // `super::LAYOUT_HASH` of its SDK.
  uint64_t layout;
  // Name, also of its configuration section.
  struct raddle_text name;
  // Version (semver).
  struct raddle_text version;
  // What it does, in a line.
  struct raddle_text summary;
  // Compiler and profile that built it.
  struct raddle_text built_with;
  // 1 if panics unwind and so can be contained.
  uint32_t panics_unwind;
  // The oldest ABI of a host that will do, major version in the upper 16 bits, minor in the lower ones; 0: the one that
  // it is built with. Since ABI 1.2, before that always 0.
  uint32_t host_abi;
  // Makes the plugin's instance, which is handed to all its functions; null with the reason in the sink.
  void *(*create)(const struct raddle_host_table *host, struct raddle_sink error);
  // Drops the instance, after everything made of it.
  void (*drop)(void *instance);
  // Fills in what the plugin registers; `size` of it is set by the caller.
  void (*registrations)(struct raddle_registrations *registrations);
};

// One function of a service. Since ABI 1.2.
struct raddle_service_method {
  // Hash of its name and of the sizes of what goes in and comes out: it is only called by those who have the same.
  uint64_t shape;
  // Calls it: reads `arguments`, writes `answer`. 1: it was done. 0: it panicked, and nothing was written. Any thread.
  uint32_t (*call)(const void *state, const void *arguments, void *answer);
};

// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
struct raddle_slice_service_method {
  const struct raddle_service_method *ptr;
  size_t len;
  size_t stride;
};

// A service as its owner exports it: the methods `service.export` and `service.find` of the control plane carry its
// address. Since ABI 1.2.
struct raddle_service_table {
  // Bytes of this struct at its maker.
  uint32_t size;
  // Zero.
  uint32_t reserved;
  // First argument of the functions: alive as long as somebody has retained it.
  const void *state;
  // Adds one to those who hold table and state. Any thread.
  void (*retain)(const struct raddle_service_table *table);
  // Takes one away; the last one frees both. Any thread.
  void (*release)(const struct raddle_service_table *table);
  // The functions; a later minor version of the service has more of them.
  struct raddle_slice_service_method methods;
};

// Bits of `raddle_buffer_header::flags`. Since ABI 1.0.
typedef uint32_t raddle_buffer_flags;
// `next_buffer` holds the index of the next buffer of this packet.
#define RADDLE_BUFFER_FLAGS_CHAINED (1 << 0)
// The packet is traced; `trace` holds the handle.
#define RADDLE_BUFFER_FLAGS_TRACED (1 << 1)
// The L4 checksum is still to be filled in from `checksum_start` (offload asked for by the sender).
#define RADDLE_BUFFER_FLAGS_CHECKSUM_PARTIAL (1 << 2)
// The L4 checksum is known to be right (checked by a device, or never left this host).
#define RADDLE_BUFFER_FLAGS_CHECKSUM_VALID (1 << 3)
// One packet that stands for many: `gso_size` bytes of payload each.
#define RADDLE_BUFFER_FLAGS_GSO (1 << 4)
// Made here, not received: no rx interface, no TTL decrement.
#define RADDLE_BUFFER_FLAGS_LOCAL (1 << 5)
// The destination MAC address was a broadcast or multicast one.
#define RADDLE_BUFFER_FLAGS_L2_MULTICAST (1 << 6)
// `references` is above one: the buffer is shared and must be copied before it is written.
#define RADDLE_BUFFER_FLAGS_SHARED (1 << 7)
// The packet was put together of fragments by the host, which cuts it again before it leaves. The host's own: plugins
// neither set nor clear it, and a packet that they make of another has it not.
#define RADDLE_BUFFER_FLAGS_REASSEMBLED (1 << 8)
// What makes a buffer other than a plain one on the way to the pool.
#define RADDLE_BUFFER_FLAGS_NOT_PLAIN ((RADDLE_BUFFER_FLAGS_CHAINED | RADDLE_BUFFER_FLAGS_SHARED) | RADDLE_BUFFER_FLAGS_TRACED)

// Bits of `raddle_frame::flags`. Since ABI 1.0.
typedef uint32_t raddle_frame_flags;
// All packets came in by `raddle_frame::interface`.
#define RADDLE_FRAME_FLAGS_ONE_INTERFACE (1 << 0)
// At least one packet is traced.
#define RADDLE_FRAME_FLAGS_TRACED (1 << 1)

// Bits of `raddle_interface_row::flags`. Since ABI 1.0.
typedef uint32_t raddle_interface_flags;
// The row is in use.
#define RADDLE_INTERFACE_FLAGS_EXISTS (1 << 0)
// The operator wants the interface up.
#define RADDLE_INTERFACE_FLAGS_ADMIN_UP (1 << 1)
// The device says that the link is up.
#define RADDLE_INTERFACE_FLAGS_LINK_UP (1 << 2)
// Frames go unread to the interface in `xconnect`.
#define RADDLE_INTERFACE_FLAGS_XCONNECT (1 << 3)
// Frames for every MAC address are taken.
#define RADDLE_INTERFACE_FLAGS_PROMISCUOUS (1 << 4)
// Frames are handed to the bridge that the interface is a port of. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_BRIDGED (1 << 5)
// The interface has sub-interfaces, by which tagged frames are received. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_HAS_SUB_INTERFACES (1 << 6)
// One of the sub-interfaces receives the untagged frames. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_HAS_UNTAGGED_SUB_INTERFACE (1 << 7)
// Both up: the interface passes packets.
#define RADDLE_INTERFACE_FLAGS_UP (RADDLE_INTERFACE_FLAGS_ADMIN_UP | RADDLE_INTERFACE_FLAGS_LINK_UP)
// The device fills in partial checksums.
#define RADDLE_INTERFACE_FLAGS_TX_CHECKSUM (1 << 8)
// The device takes GSO packets whole.
#define RADDLE_INTERFACE_FLAGS_TX_GSO (1 << 9)
// The interface carries IP packets without a link-layer header.
#define RADDLE_INTERFACE_FLAGS_NO_ETHERNET (1 << 10)
// VLAN tags of frames that are switched are rewritten as they come in. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_TAG_REWRITE (1 << 11)
// Group addresses are filtered: only those that were joined are taken. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_FILTERS_GROUPS (1 << 12)
// Other addresses than the interface's own are taken too. Since ABI 1.1.
#define RADDLE_INTERFACE_FLAGS_HAS_MORE_ADDRESSES (1 << 13)
// What becomes of frames before they are looked at as packets for this host.
#define RADDLE_INTERFACE_FLAGS_SWITCHED (RADDLE_INTERFACE_FLAGS_XCONNECT | RADDLE_INTERFACE_FLAGS_BRIDGED)

// Bits of `raddle_tx_table::flags`. Since ABI 1.3.
typedef uint32_t raddle_tx_flags;
// The queue may keep packets until its device has sent them.
#define RADDLE_TX_FLAGS_KEEPS (1 << 0)

// What the host's compiler makes of these structs.
RADDLE_ASSERT(sizeof(struct raddle_buffer_header) == 128, "size of buffer_header");
RADDLE_ASSERT(sizeof(struct raddle_frame) == 1152, "size of frame");
RADDLE_ASSERT(sizeof(struct raddle_interface_row) == 64, "size of interface_row");
RADDLE_ASSERT(sizeof(struct raddle_arc_table) == 144, "size of arc_table");
RADDLE_ASSERT(sizeof(struct raddle_worker_context) == 72, "size of worker_context");
RADDLE_ASSERT(sizeof(struct raddle_node_context) == 48, "size of node_context");
RADDLE_ASSERT(sizeof(struct raddle_counter_memory) == 32, "size of counter_memory");
RADDLE_ASSERT(sizeof(struct raddle_task_table) == 24, "size of task_table");
RADDLE_ASSERT(sizeof(struct raddle_file_request) == 40, "size of file_request");
RADDLE_ASSERT(sizeof(struct raddle_host_table) == 248, "size of host_table");
RADDLE_ASSERT(sizeof(struct raddle_buffer_arena) == 40, "size of buffer_arena");
RADDLE_ASSERT(sizeof(struct raddle_rx_table) == 40, "size of rx_table");
RADDLE_ASSERT(sizeof(struct raddle_tx_table) == 24, "size of tx_table");
RADDLE_ASSERT(sizeof(struct raddle_device_table) == 120, "size of device_table");
RADDLE_ASSERT(sizeof(struct raddle_driver_registration) == 184, "size of driver_registration");
RADDLE_ASSERT(sizeof(struct raddle_plugin_header) == 120, "size of plugin_header");
RADDLE_ASSERT(sizeof(struct raddle_registrations) == 272, "size of registrations");
RADDLE_ASSERT(sizeof(struct raddle_init_registration) == 80, "size of init_registration");
RADDLE_ASSERT(sizeof(struct raddle_exit_registration) == 32, "size of exit_registration");
RADDLE_ASSERT(sizeof(struct raddle_node_registration) == 120, "size of node_registration");
RADDLE_ASSERT(sizeof(struct raddle_arc_registration) == 40, "size of arc_registration");
RADDLE_ASSERT(sizeof(struct raddle_feature_registration) == 104, "size of feature_registration");
RADDLE_ASSERT(sizeof(struct raddle_command_registration) == 48, "size of command_registration");
RADDLE_ASSERT(sizeof(struct raddle_config_registration) == 40, "size of config_registration");
RADDLE_ASSERT(sizeof(struct raddle_event_registration) == 32, "size of event_registration");
RADDLE_ASSERT(sizeof(struct raddle_dependency) == 40, "size of dependency");
RADDLE_ASSERT(sizeof(struct raddle_state_registration) == 48, "size of state_registration");
RADDLE_ASSERT(sizeof(struct raddle_service_method) == 16, "size of service_method");
RADDLE_ASSERT(sizeof(struct raddle_service_table) == 56, "size of service_table");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, current_data) == 0, "buffer_header.current_data");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, current_length) == 2, "buffer_header.current_length");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, flags) == 4, "buffer_header.flags");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, rx_interface) == 8, "buffer_header.rx_interface");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, tx_interface) == 12, "buffer_header.tx_interface");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, adjacency) == 16, "buffer_header.adjacency");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, fib_index) == 20, "buffer_header.fib_index");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, next_buffer) == 24, "buffer_header.next_buffer");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, rest_length) == 28, "buffer_header.rest_length");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, features) == 32, "buffer_header.features");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, flow_id) == 40, "buffer_header.flow_id");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, error) == 44, "buffer_header.error");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, arc) == 46, "buffer_header.arc");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, arc_epoch) == 47, "buffer_header.arc_epoch");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, references) == 48, "buffer_header.references");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, l3_offset) == 50, "buffer_header.l3_offset");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, l4_offset) == 52, "buffer_header.l4_offset");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, hot_field) == 56, "buffer_header.hot_field");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, trace) == 64, "buffer_header.trace");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, gso_size) == 68, "buffer_header.gso_size");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, gso_kind) == 70, "buffer_header.gso_kind");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, checksum_start) == 72, "buffer_header.checksum_start");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, checksum_offset) == 74, "buffer_header.checksum_offset");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, header_length) == 76, "buffer_header.header_length");
RADDLE_ASSERT(offsetof(struct raddle_buffer_header, fields) == 80, "buffer_header.fields");
RADDLE_ASSERT(offsetof(struct raddle_frame, count) == 0, "frame.count");
RADDLE_ASSERT(offsetof(struct raddle_frame, flags) == 4, "frame.flags");
RADDLE_ASSERT(offsetof(struct raddle_frame, interface) == 8, "frame.interface");
RADDLE_ASSERT(offsetof(struct raddle_frame, indices) == 64, "frame.indices");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, flags) == 0, "interface_row.flags");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, tx_node) == 4, "interface_row.tx_node");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, mac) == 8, "interface_row.mac");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, mtu) == 16, "interface_row.mtu");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, xconnect) == 20, "interface_row.xconnect");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, ip4_fib) == 24, "interface_row.ip4_fib");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, ip6_fib) == 28, "interface_row.ip6_fib");
RADDLE_ASSERT(offsetof(struct raddle_interface_row, output_features) == 32, "interface_row.output_features");
RADDLE_ASSERT(offsetof(struct raddle_arc_table, masks) == 0, "arc_table.masks");
RADDLE_ASSERT(offsetof(struct raddle_arc_table, end_node) == 8, "arc_table.end_node");
RADDLE_ASSERT(offsetof(struct raddle_arc_table, epoch) == 10, "arc_table.epoch");
RADDLE_ASSERT(offsetof(struct raddle_arc_table, nodes) == 16, "arc_table.nodes");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, size) == 0, "worker_context.size");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, thread_index) == 4, "worker_context.thread_index");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, host) == 8, "worker_context.host");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, buffers) == 16, "worker_context.buffers");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, buffer_stride) == 24, "worker_context.buffer_stride");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, buffer_count) == 28, "worker_context.buffer_count");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, now_ns) == 32, "worker_context.now_ns");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, interfaces) == 40, "worker_context.interfaces");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, arcs) == 48, "worker_context.arcs");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, scratch) == 56, "worker_context.scratch");
RADDLE_ASSERT(offsetof(struct raddle_worker_context, host_state) == 64, "worker_context.host_state");
RADDLE_ASSERT(offsetof(struct raddle_node_context, size) == 0, "node_context.size");
RADDLE_ASSERT(offsetof(struct raddle_node_context, node) == 4, "node_context.node");
RADDLE_ASSERT(offsetof(struct raddle_node_context, worker) == 8, "node_context.worker");
RADDLE_ASSERT(offsetof(struct raddle_node_context, state) == 16, "node_context.state");
RADDLE_ASSERT(offsetof(struct raddle_node_context, arcs) == 24, "node_context.arcs");
RADDLE_ASSERT(offsetof(struct raddle_node_context, arc_count) == 32, "node_context.arc_count");
RADDLE_ASSERT(offsetof(struct raddle_node_context, error_base) == 36, "node_context.error_base");
RADDLE_ASSERT(offsetof(struct raddle_node_context, error_count) == 40, "node_context.error_count");
RADDLE_ASSERT(offsetof(struct raddle_counter_memory, base) == 0, "counter_memory.base");
RADDLE_ASSERT(offsetof(struct raddle_counter_memory, stride) == 8, "counter_memory.stride");
RADDLE_ASSERT(offsetof(struct raddle_counter_memory, length) == 16, "counter_memory.length");
RADDLE_ASSERT(offsetof(struct raddle_counter_memory, threads) == 24, "counter_memory.threads");
RADDLE_ASSERT(offsetof(struct raddle_task_table, state) == 0, "task_table.state");
RADDLE_ASSERT(offsetof(struct raddle_task_table, poll) == 8, "task_table.poll");
RADDLE_ASSERT(offsetof(struct raddle_task_table, drop) == 16, "task_table.drop");
RADDLE_ASSERT(offsetof(struct raddle_file_request, size) == 0, "file_request.size");
RADDLE_ASSERT(offsetof(struct raddle_file_request, fd) == 4, "file_request.fd");
RADDLE_ASSERT(offsetof(struct raddle_file_request, events) == 8, "file_request.events");
RADDLE_ASSERT(offsetof(struct raddle_file_request, thread) == 12, "file_request.thread");
RADDLE_ASSERT(offsetof(struct raddle_file_request, state) == 16, "file_request.state");
RADDLE_ASSERT(offsetof(struct raddle_file_request, ready) == 24, "file_request.ready");
RADDLE_ASSERT(offsetof(struct raddle_file_request, drop) == 32, "file_request.drop");
RADDLE_ASSERT(offsetof(struct raddle_host_table, size) == 0, "host_table.size");
RADDLE_ASSERT(offsetof(struct raddle_host_table, thread_count) == 4, "host_table.thread_count");
RADDLE_ASSERT(offsetof(struct raddle_host_table, data) == 8, "host_table.data");
RADDLE_ASSERT(offsetof(struct raddle_host_table, enqueue) == 16, "host_table.enqueue");
RADDLE_ASSERT(offsetof(struct raddle_host_table, enqueue_frame) == 24, "host_table.enqueue_frame");
RADDLE_ASSERT(offsetof(struct raddle_host_table, buffers_allocate) == 32, "host_table.buffers_allocate");
RADDLE_ASSERT(offsetof(struct raddle_host_table, buffers_free) == 40, "host_table.buffers_free");
RADDLE_ASSERT(offsetof(struct raddle_host_table, buffers_free_remote) == 48, "host_table.buffers_free_remote");
RADDLE_ASSERT(offsetof(struct raddle_host_table, trace) == 56, "host_table.trace");
RADDLE_ASSERT(offsetof(struct raddle_host_table, log) == 64, "host_table.log");
RADDLE_ASSERT(offsetof(struct raddle_host_table, call) == 72, "host_table.call");
RADDLE_ASSERT(offsetof(struct raddle_host_table, reply) == 80, "host_table.reply");
RADDLE_ASSERT(offsetof(struct raddle_host_table, config_text) == 88, "host_table.config_text");
RADDLE_ASSERT(offsetof(struct raddle_host_table, spawn) == 96, "host_table.spawn");
RADDLE_ASSERT(offsetof(struct raddle_host_table, wake) == 104, "host_table.wake");
RADDLE_ASSERT(offsetof(struct raddle_host_table, wake_at) == 112, "host_table.wake_at");
RADDLE_ASSERT(offsetof(struct raddle_host_table, now_ns) == 120, "host_table.now_ns");
RADDLE_ASSERT(offsetof(struct raddle_host_table, run_on_main) == 128, "host_table.run_on_main");
RADDLE_ASSERT(offsetof(struct raddle_host_table, retire) == 136, "host_table.retire");
RADDLE_ASSERT(offsetof(struct raddle_host_table, barrier_acquire) == 144, "host_table.barrier_acquire");
RADDLE_ASSERT(offsetof(struct raddle_host_table, barrier_release) == 152, "host_table.barrier_release");
RADDLE_ASSERT(offsetof(struct raddle_host_table, counters) == 160, "host_table.counters");
RADDLE_ASSERT(offsetof(struct raddle_host_table, field) == 168, "host_table.field");
RADDLE_ASSERT(offsetof(struct raddle_host_table, arc) == 176, "host_table.arc");
RADDLE_ASSERT(offsetof(struct raddle_host_table, node) == 184, "host_table.node");
RADDLE_ASSERT(offsetof(struct raddle_host_table, handoff) == 192, "host_table.handoff");
RADDLE_ASSERT(offsetof(struct raddle_host_table, wake_thread_at) == 200, "host_table.wake_thread_at");
RADDLE_ASSERT(offsetof(struct raddle_host_table, count) == 208, "host_table.count");
RADDLE_ASSERT(offsetof(struct raddle_host_table, watch_file) == 216, "host_table.watch_file");
RADDLE_ASSERT(offsetof(struct raddle_host_table, unwatch_file) == 224, "host_table.unwatch_file");
RADDLE_ASSERT(offsetof(struct raddle_host_table, memory) == 232, "host_table.memory");
RADDLE_ASSERT(offsetof(struct raddle_host_table, arena) == 240, "host_table.arena");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, size) == 0, "buffer_arena.size");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, stride) == 4, "buffer_arena.stride");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, count) == 8, "buffer_arena.count");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, fd) == 12, "buffer_arena.fd");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, base) == 16, "buffer_arena.base");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, length) == 24, "buffer_arena.length");
RADDLE_ASSERT(offsetof(struct raddle_buffer_arena, page_bytes) == 32, "buffer_arena.page_bytes");
RADDLE_ASSERT(offsetof(struct raddle_rx_table, size) == 0, "rx_table.size");
RADDLE_ASSERT(offsetof(struct raddle_rx_table, receive) == 8, "rx_table.receive");
RADDLE_ASSERT(offsetof(struct raddle_rx_table, fd) == 16, "rx_table.fd");
RADDLE_ASSERT(offsetof(struct raddle_rx_table, wants_polling) == 24, "rx_table.wants_polling");
RADDLE_ASSERT(offsetof(struct raddle_rx_table, drop) == 32, "rx_table.drop");
RADDLE_ASSERT(offsetof(struct raddle_tx_table, size) == 0, "tx_table.size");
RADDLE_ASSERT(offsetof(struct raddle_tx_table, flags) == 4, "tx_table.flags");
RADDLE_ASSERT(offsetof(struct raddle_tx_table, transmit) == 8, "tx_table.transmit");
RADDLE_ASSERT(offsetof(struct raddle_tx_table, drop) == 16, "tx_table.drop");
RADDLE_ASSERT(offsetof(struct raddle_device_table, size) == 0, "device_table.size");
RADDLE_ASSERT(offsetof(struct raddle_device_table, properties) == 8, "device_table.properties");
RADDLE_ASSERT(offsetof(struct raddle_device_table, details) == 16, "device_table.details");
RADDLE_ASSERT(offsetof(struct raddle_device_table, rx_queue) == 24, "device_table.rx_queue");
RADDLE_ASSERT(offsetof(struct raddle_device_table, tx_queue) == 32, "device_table.tx_queue");
RADDLE_ASSERT(offsetof(struct raddle_device_table, change) == 40, "device_table.change");
RADDLE_ASSERT(offsetof(struct raddle_device_table, drop) == 48, "device_table.drop");
RADDLE_ASSERT(offsetof(struct raddle_device_table, rx) == 56, "device_table.rx");
RADDLE_ASSERT(offsetof(struct raddle_device_table, tx) == 96, "device_table.tx");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, size) == 0, "driver_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, name) == 8, "driver_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, summary) == 24, "driver_registration.summary");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, open) == 40, "driver_registration.open");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, check) == 48, "driver_registration.check");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, schema) == 56, "driver_registration.schema");
RADDLE_ASSERT(offsetof(struct raddle_driver_registration, device) == 64, "driver_registration.device");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, magic) == 0, "plugin_header.magic");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, size) == 8, "plugin_header.size");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, abi_major) == 12, "plugin_header.abi_major");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, abi_minor) == 14, "plugin_header.abi_minor");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, layout) == 16, "plugin_header.layout");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, name) == 24, "plugin_header.name");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, version) == 40, "plugin_header.version");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, summary) == 56, "plugin_header.summary");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, built_with) == 72, "plugin_header.built_with");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, panics_unwind) == 88, "plugin_header.panics_unwind");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, host_abi) == 92, "plugin_header.host_abi");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, create) == 96, "plugin_header.create");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, drop) == 104, "plugin_header.drop");
RADDLE_ASSERT(offsetof(struct raddle_plugin_header, registrations) == 112, "plugin_header.registrations");
RADDLE_ASSERT(offsetof(struct raddle_registrations, size) == 0, "registrations.size");
RADDLE_ASSERT(offsetof(struct raddle_registrations, inits) == 8, "registrations.inits");
RADDLE_ASSERT(offsetof(struct raddle_registrations, exits) == 32, "registrations.exits");
RADDLE_ASSERT(offsetof(struct raddle_registrations, nodes) == 56, "registrations.nodes");
RADDLE_ASSERT(offsetof(struct raddle_registrations, arcs) == 80, "registrations.arcs");
RADDLE_ASSERT(offsetof(struct raddle_registrations, features) == 104, "registrations.features");
RADDLE_ASSERT(offsetof(struct raddle_registrations, commands) == 128, "registrations.commands");
RADDLE_ASSERT(offsetof(struct raddle_registrations, configs) == 152, "registrations.configs");
RADDLE_ASSERT(offsetof(struct raddle_registrations, drivers) == 176, "registrations.drivers");
RADDLE_ASSERT(offsetof(struct raddle_registrations, events) == 200, "registrations.events");
RADDLE_ASSERT(offsetof(struct raddle_registrations, dependencies) == 224, "registrations.dependencies");
RADDLE_ASSERT(offsetof(struct raddle_registrations, states) == 248, "registrations.states");
RADDLE_ASSERT(offsetof(struct raddle_init_registration, size) == 0, "init_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_init_registration, name) == 8, "init_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_init_registration, runs_before) == 24, "init_registration.runs_before");
RADDLE_ASSERT(offsetof(struct raddle_init_registration, runs_after) == 48, "init_registration.runs_after");
RADDLE_ASSERT(offsetof(struct raddle_init_registration, run) == 72, "init_registration.run");
RADDLE_ASSERT(offsetof(struct raddle_exit_registration, size) == 0, "exit_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_exit_registration, name) == 8, "exit_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_exit_registration, run) == 24, "exit_registration.run");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, size) == 0, "node_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, kind) == 4, "node_registration.kind");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, name) == 8, "node_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, nexts) == 24, "node_registration.nexts");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, errors) == 48, "node_registration.errors");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, error_texts) == 72, "node_registration.error_texts");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, create) == 96, "node_registration.create");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, drop) == 104, "node_registration.drop");
RADDLE_ASSERT(offsetof(struct raddle_node_registration, run) == 112, "node_registration.run");
RADDLE_ASSERT(offsetof(struct raddle_arc_registration, size) == 0, "arc_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_arc_registration, name) == 8, "arc_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_arc_registration, end) == 24, "arc_registration.end");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, size) == 0, "feature_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, fail_closed) == 4, "feature_registration.fail_closed");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, arc) == 8, "feature_registration.arc");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, name) == 24, "feature_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, node) == 40, "feature_registration.node");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, runs_before) == 56, "feature_registration.runs_before");
RADDLE_ASSERT(offsetof(struct raddle_feature_registration, runs_after) == 80, "feature_registration.runs_after");
RADDLE_ASSERT(offsetof(struct raddle_command_registration, size) == 0, "command_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_command_registration, usage) == 8, "command_registration.usage");
RADDLE_ASSERT(offsetof(struct raddle_command_registration, summary) == 24, "command_registration.summary");
RADDLE_ASSERT(offsetof(struct raddle_command_registration, run) == 40, "command_registration.run");
RADDLE_ASSERT(offsetof(struct raddle_config_registration, size) == 0, "config_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_config_registration, section) == 8, "config_registration.section");
RADDLE_ASSERT(offsetof(struct raddle_config_registration, check) == 24, "config_registration.check");
RADDLE_ASSERT(offsetof(struct raddle_config_registration, schema) == 32, "config_registration.schema");
RADDLE_ASSERT(offsetof(struct raddle_event_registration, size) == 0, "event_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_event_registration, subject) == 8, "event_registration.subject");
RADDLE_ASSERT(offsetof(struct raddle_event_registration, run) == 24, "event_registration.run");
RADDLE_ASSERT(offsetof(struct raddle_dependency, size) == 0, "dependency.size");
RADDLE_ASSERT(offsetof(struct raddle_dependency, name) == 8, "dependency.name");
RADDLE_ASSERT(offsetof(struct raddle_dependency, version) == 24, "dependency.version");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, size) == 0, "state_registration.size");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, version) == 4, "state_registration.version");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, oldest) == 8, "state_registration.oldest");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, name) == 16, "state_registration.name");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, export_state) == 32, "state_registration.export_state");
RADDLE_ASSERT(offsetof(struct raddle_state_registration, import_state) == 40, "state_registration.import_state");
RADDLE_ASSERT(offsetof(struct raddle_service_method, shape) == 0, "service_method.shape");
RADDLE_ASSERT(offsetof(struct raddle_service_method, call) == 8, "service_method.call");
RADDLE_ASSERT(offsetof(struct raddle_service_table, size) == 0, "service_table.size");
RADDLE_ASSERT(offsetof(struct raddle_service_table, state) == 8, "service_table.state");
RADDLE_ASSERT(offsetof(struct raddle_service_table, retain) == 16, "service_table.retain");
RADDLE_ASSERT(offsetof(struct raddle_service_table, release) == 24, "service_table.release");
RADDLE_ASSERT(offsetof(struct raddle_service_table, methods) == 32, "service_table.methods");

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

