//! Sizes and offsets of every ABI struct: asserted here, dumped for the snapshot test, hashed for the handshake.

use std::mem::{align_of, offset_of, size_of};

use super::*;

macro_rules! layouts {
    ($($name:ty { $($field:ident),* $(,)? })*) => {
        const LAYOUTS: &[(&str, usize, usize, &[(&str, usize)])] = &[
            $((stringify!($name), size_of::<$name>(), align_of::<$name>(),
               &[$((stringify!($field), offset_of!($name, $field))),*]),)*
        ];
    };
}

layouts! {
    BufferHeader { current_data, current_length, flags, rx_interface, tx_interface, adjacency, fib_index, next_buffer,
        rest_length, features, flow_id, error, arc, arc_epoch, references, l3_offset, l4_offset, hot_field, trace,
        gso_size, gso_kind, checksum_start, checksum_offset, header_length, fields }
    Frame { count, flags, interface, indices }
    InterfaceRow { flags, tx_node, mac, mtu, xconnect, ip4_fib, ip6_fib, output_features }
    ArcTable { masks, end_node, epoch, nodes }
    WorkerContext { size, thread_index, host, buffers, buffer_stride, buffer_count, now_ns, interfaces, arcs, scratch,
        host_state }
    NodeContext { size, node, worker, state, arcs, arc_count, error_base, error_count }
    CounterMemory { base, stride, length, threads }
    TaskTable { state, poll, drop }
    FileRequest { size, fd, events, thread, state, ready, drop }
    HostTable { size, thread_count, data, enqueue, enqueue_frame, buffers_allocate, buffers_free, buffers_free_remote, trace, log,
        call, reply, config_text, spawn, wake, wake_at, now_ns, run_on_main, retire, barrier_acquire, barrier_release,
        counters, field, arc, node, handoff, wake_thread_at, count, watch_file, unwatch_file, memory, arena }
    BufferArena { size, stride, count, fd, base, length, page_bytes }
    RxTable { size, receive, fd, wants_polling, drop }
    TxTable { size, flags, transmit, drop }
    DeviceTable { size, properties, details, rx_queue, tx_queue, change, drop, rx, tx }
    DriverRegistration { size, name, summary, open, check, schema, device }
    PluginHeader { magic, size, abi_major, abi_minor, layout, name, version, summary, built_with, panics_unwind, host_abi, create,
        drop, registrations }
    Registrations { size, inits, exits, nodes, arcs, features, commands, configs, drivers, events, dependencies, states }
    InitRegistration { size, name, runs_before, runs_after, run }
    ExitRegistration { size, name, run }
    NodeRegistration { size, kind, name, nexts, errors, error_texts, create, drop, run }
    ArcRegistration { size, name, end }
    FeatureRegistration { size, fail_closed, arc, name, node, runs_before, runs_after }
    CommandRegistration { size, usage, summary, run }
    ConfigRegistration { size, section, check, schema }
    EventRegistration { size, subject, run }
    Dependency { size, name, version }
    StateRegistration { size, version, oldest, name, export_state, import_state }
    ServiceMethod { shape, call }
    ServiceTable { size, state, retain, release, methods }
}

const _: () = {
    assert!(size_of::<BufferHeader>() == 128);
    assert!(offset_of!(BufferHeader, trace) == 64, "what the common path reads fits one cache line");
    assert!(size_of::<InterfaceRow>() == 64);
    assert!(offset_of!(Frame, indices) == 64);
};

/// Hash over names, sizes and offsets of the structs that are laid out in memory shared by both sides without a size
/// in front (buffer header, frame, interface row, arc table): these may not change within one ABI generation.
pub const LAYOUT_HASH: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < 4 {
        let (_, size, align, fields) = LAYOUTS[index];
        hash = fnv(fnv(hash, size as u64), align as u64);
        let mut field = 0;
        while field < fields.len() {
            hash = fnv(hash, fields[field].1 as u64);
            field += 1;
        }
        index += 1;
    }
    hash
};

const fn fnv(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Every ABI struct with its size, alignment and offsets, one line a field: what the committed snapshot holds.
pub fn layout_dump() -> String {
    use std::fmt::Write as _;
    let mut dump = format!("abi {ABI_MAJOR}.{ABI_MINOR}\n");
    for (name, size, align, fields) in LAYOUTS {
        let _ = writeln!(dump, "{name} size {size} align {align}");
        for (field, offset) in *fields {
            let _ = writeln!(dump, "  {offset:4} {field}");
        }
    }
    dump
}
