/* The part of raddle's plugin ABI 1.0 that the test plugins need. */
#ifndef RADDLE_PLUGIN_H
#define RADDLE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

struct text { const char *ptr; size_t len; };
struct slice { const void *ptr; size_t len; size_t stride; };
struct sink { void *state; void (*write)(void *, struct text); };

struct registrations {
    uint32_t size, reserved;
    struct slice inits, exits, nodes, arcs, features, commands, configs, drivers, events, dependencies;
};

struct plugin_header {
    uint8_t magic[8];
    uint32_t size;
    uint16_t abi_major, abi_minor;
    uint64_t layout;
    struct text name, version, summary, built_with;
    uint32_t panics_unwind, reserved;
    void *(*create)(const void *host, struct sink error);
    void (*drop)(void *instance);
    void (*registrations)(struct registrations *registrations);
};

struct init_registration {
    uint32_t size, reserved;
    struct text name;
    struct slice runs_before, runs_after;
    uint32_t (*run)(void *instance, struct sink error);
};

struct node_registration {
    uint32_t size, kind;
    struct text name;
    struct slice nexts, errors, error_texts;
    void *(*create)(void *instance, uint32_t thread, struct sink error);
    void (*drop)(void *state);
    uint32_t (*run)(void *node, void *frame);
};

struct command_registration {
    uint32_t size, reserved;
    struct text usage, summary;
    void (*run)(void *instance, struct text arguments, uint64_t command);
};

struct dependency {
    uint32_t size, reserved;
    struct text name, version;
};

#define TEXT(literal) { (literal), sizeof(literal) - 1 }
#define SLICE(array) { (array), sizeof(array) / sizeof((array)[0]), sizeof((array)[0]) }

#endif
