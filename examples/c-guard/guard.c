/*
 * A plugin in C: drops IPv4 packets whose TTL is below 5, as examples/minimal does in Rust.
 *
 *     cc -shared -fPIC -O2 -I ../../plugin-api/include -o libguard.so guard.c
 */
#include "raddle_plugin.h"

enum { LOW_TTL };

/* The plugin keeps nothing, so its instance and its node's state are only something that is not null. */
static char something;

static void *create(const struct raddle_host_table *host, struct raddle_sink error)
{
    (void)host, (void)error;
    return &something;
}

static void *node_create(void *instance, uint32_t thread, struct raddle_sink error)
{
    (void)instance, (void)thread, (void)error;
    return &something;
}

static void drop(void *what)
{
    (void)what;
}

/* Whether a packet, which is what a peer sent, has an IPv4 header with a TTL that is worth a way through here. */
static bool may_pass(struct raddle_buffer_header *buffer)
{
    return buffer->current_length > 8 && raddle_data(buffer)[8] >= 5;
}

static uint32_t node_run(struct raddle_node_context *node, struct raddle_frame *frame)
{
    uint16_t targets[RADDLE_FRAME_SIZE];
    uint32_t count = frame->count;
    for (uint32_t at = 0; at < count; at++) {
        struct raddle_buffer_header *buffer = raddle_buffer(node->worker, frame->indices[at]);
        targets[at] = may_pass(buffer) ? raddle_continue(node, buffer) : raddle_drop(node, buffer, LOW_TTL);
        if (buffer->flags & RADDLE_BUFFER_FLAGS_TRACED) {
            struct raddle_text none = { 0 };
            node->worker->host->trace(node, frame->indices[at], targets[at], none, none);
        }
    }
    node->worker->host->enqueue(node, frame->indices, targets, count);
    return count;
}

static const struct raddle_text errors[] = { [LOW_TTL] = RADDLE_TEXT("low-ttl") };
static const struct raddle_text error_texts[] = { [LOW_TTL] = RADDLE_TEXT("TTL below 5") };

static const struct raddle_node_registration nodes[] = { {
    .size = sizeof(struct raddle_node_registration),
    .kind = RADDLE_NODE_KIND_INTERNAL,
    .name = RADDLE_TEXT("ttl-guard"),
    .errors = RADDLE_SLICE(errors),
    .error_texts = RADDLE_SLICE(error_texts),
    .create = node_create,
    .drop = drop,
    .run = node_run,
} };

static const struct raddle_feature_registration features[] = { {
    .size = sizeof(struct raddle_feature_registration),
    .arc = RADDLE_TEXT("ip4-unicast"),
    .name = RADDLE_TEXT("ttl-guard"),
    .node = RADDLE_TEXT("ttl-guard"),
} };

static void registrations(struct raddle_registrations *to)
{
    to->nodes = (struct raddle_slice_node_registration)RADDLE_SLICE(nodes);
    to->features = (struct raddle_slice_feature_registration)RADDLE_SLICE(features);
}

const struct raddle_plugin_header RADDLE_PLUGIN = {
    .magic = RADDLE_MAGIC,
    .size = sizeof(struct raddle_plugin_header),
    .abi_major = RADDLE_ABI_MAJOR,
    .abi_minor = RADDLE_ABI_MINOR,
    /* Nothing newer than ABI 1.0 is used here. */
    .host_abi = 1 << 16,
    .layout = RADDLE_LAYOUT_HASH,
    .name = RADDLE_TEXT("ttl-guard"),
    .version = RADDLE_TEXT("0.1.0"),
    .summary = RADDLE_TEXT("drops IPv4 packets with a TTL below 5"),
    .built_with = RADDLE_TEXT("C " __VERSION__),
    /* C has no panics; what says 0 here is taken for Rust with panic=abort. */
    .panics_unwind = 1,
    .create = create,
    .drop = drop,
    .registrations = registrations,
};
