/*
 * examples/c-guard as an SDK to come would build it: of a newer minor ABI version, with registrations that have grown at
 * their end, and a header that has too. It needs no more than the host has.
 */
#define RADDLE_PLUGIN guard_of_today
#include "guard.c"
#undef RADDLE_PLUGIN

struct newer_node {
    struct raddle_node_registration known;
    uint64_t more[3];
};

static const struct newer_node newer_nodes[] = { {
    .known = {
        .size = sizeof(struct newer_node),
        .kind = RADDLE_NODE_KIND_INTERNAL,
        .name = RADDLE_TEXT("ttl-guard"),
        .errors = RADDLE_SLICE(errors),
        .error_texts = RADDLE_SLICE(error_texts),
        .create = node_create,
        .drop = drop,
        .run = node_run,
    },
    .more = { ~0, ~0, ~0 },
} };

static void newer_registrations(struct raddle_registrations *to)
{
    registrations(to);
    to->nodes = (struct raddle_slice_node_registration){ &newer_nodes[0].known, 1, sizeof(struct newer_node) };
}

const struct {
    struct raddle_plugin_header known;
    uint64_t more[3];
} RADDLE_PLUGIN = {
    .known = {
        .magic = RADDLE_MAGIC,
        .size = sizeof(struct raddle_plugin_header) + 3 * sizeof(uint64_t),
        .abi_major = RADDLE_ABI_MAJOR,
        .abi_minor = RADDLE_ABI_MINOR + 1,
        .host_abi = HOST_ABI,
        .layout = RADDLE_LAYOUT_HASH,
        .name = RADDLE_TEXT("ttl-guard"),
        .version = RADDLE_TEXT("0.2.0"),
        .summary = RADDLE_TEXT("drops IPv4 packets with a TTL below 5"),
        .built_with = RADDLE_TEXT("C " __VERSION__),
        .panics_unwind = 1,
        .create = create,
        .drop = drop,
        .registrations = newer_registrations,
    },
    .more = { ~0, ~0, ~0 },
};
