/* A plugin of one node, one init function and one command; each test bends one field of it. */
#include "raddle_plugin.h"
#include <fcntl.h>
#include <unistd.h>

/* What the tests define is short. */
#define TEXT RADDLE_TEXT
#define SLICE RADDLE_SLICE

#ifndef MAGIC
#define MAGIC RADDLE_MAGIC
#endif
#ifndef LAYOUT
#define LAYOUT RADDLE_LAYOUT_HASH
#endif
#ifndef HEADER_SIZE
#define HEADER_SIZE sizeof(struct raddle_plugin_header)
#endif
#ifndef ABI_MAJOR
#define ABI_MAJOR RADDLE_ABI_MAJOR
#endif
#ifndef ABI_MINOR
#define ABI_MINOR 0
#endif
#ifndef NAME
#define NAME TEXT("bent")
#endif
#ifndef VERSION
#define VERSION TEXT("1.2.3")
#endif
#ifndef SUMMARY
#define SUMMARY TEXT("for tests")
#endif
#ifndef PANICS_UNWIND
#define PANICS_UNWIND 1
#endif
#ifndef HOST_ABI
#define HOST_ABI 0
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef NODE_SIZE
#define NODE_SIZE sizeof(struct raddle_node_registration)
#endif
#ifndef NODE_KIND
#define NODE_KIND 0
#endif
#ifndef NODE_NAME
#define NODE_NAME TEXT("bent-node")
#endif
#ifndef NODE_RUN
#define NODE_RUN node_run
#endif
#ifndef NODES
#define NODES SLICE(nodes)
#endif
#ifndef USAGE
#define USAGE TEXT("show bent")
#endif
#ifndef RUN_AFTER
#define RUN_AFTER TEXT("other-init")
#endif

static void mark(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0600)); }

#ifdef CONSTRUCTOR_MARK
__attribute__((constructor)) static void constructor(void) { mark(CONSTRUCTOR_MARK); }
#endif
#ifdef UNDEFINED
extern int raddle_test_nowhere(void);
#define TOUCH() raddle_test_nowhere()
#else
#define TOUCH() 0
#endif

static void *create(const struct raddle_host_table *host, struct raddle_sink error) { (void)host, (void)error; return (void *)1; }
static void drop(void *instance) { (void)instance; }
static raddle_status init_run(void *instance, struct raddle_sink error)
{
    (void)instance, (void)error, (void)mark;
#ifdef INIT_MARK
    mark(INIT_MARK);
#endif
    return TOUCH();
}
static void *node_create(void *instance, uint32_t thread, struct raddle_sink error)
{
    (void)thread, (void)error;
    return instance;
}
static uint32_t node_run(struct raddle_node_context *node, struct raddle_frame *frame)
{
    (void)node, (void)frame;
    return 0;
}
static void command_run(void *instance, struct raddle_text arguments, uint64_t command)
{
    (void)instance, (void)arguments, (void)command;
}

static const struct raddle_text nexts[] = { TEXT("ip4-lookup"), TEXT("punt") };
static const struct raddle_text errors[] = { TEXT("low-ttl") };
static const struct raddle_text error_texts[] = { TEXT("TTL too low"), TEXT("one too many") };
#ifndef ERROR_TEXTS
#define ERROR_TEXTS 1
#endif
static const struct raddle_node_registration nodes[] = {
    {
        .size = NODE_SIZE,
        .kind = NODE_KIND,
        .name = NODE_NAME,
        .nexts = SLICE(nexts),
        .errors = SLICE(errors),
        .error_texts = { error_texts, ERROR_TEXTS, sizeof(struct raddle_text) },
        .create = node_create,
        .drop = drop,
        .run = NODE_RUN,
    },
    {
        .size = sizeof(struct raddle_node_registration),
        .kind = RADDLE_NODE_KIND_INPUT,
        .name = TEXT("bent-input"),
        .create = node_create,
        .drop = drop,
        .run = node_run,
    },
};
static const struct raddle_text after[] = { RUN_AFTER };
static const struct raddle_init_registration inits[] = {
    {
        .size = sizeof(struct raddle_init_registration),
        .name = TEXT("bent-init"),
        .runs_after = SLICE(after),
        .run = init_run,
    },
};
static const struct raddle_command_registration commands[] = {
    {
        .size = sizeof(struct raddle_command_registration),
        .usage = USAGE,
        .summary = TEXT("shows it"),
        .run = command_run,
    },
};
#ifdef NEEDS
static const struct raddle_dependency dependencies[] = {
    { .size = sizeof(struct raddle_dependency), .name = TEXT(NEEDS), .version = TEXT(NEEDS_VERSION) },
};
#endif

static void fill(struct raddle_registrations *to)
{
    (void)mark;
    to->nodes = (struct raddle_slice_node_registration)NODES;
    to->inits = (struct raddle_slice_init_registration)SLICE(inits);
    to->commands = (struct raddle_slice_command_registration)SLICE(commands);
#ifdef NEEDS
    to->dependencies = (struct raddle_slice_dependency)SLICE(dependencies);
#endif
}

#ifndef SYMBOL
#define SYMBOL RADDLE_PLUGIN
#endif
#ifdef SHORT_HEADER
const uint64_t SYMBOL[3] = { 1 };
#elif defined(CODE_HEADER)
void SYMBOL(void) { }
#else
const struct raddle_plugin_header SYMBOL = {
    .magic = MAGIC,
    .size = HEADER_SIZE,
    .abi_major = ABI_MAJOR,
    .abi_minor = ABI_MINOR,
    .layout = LAYOUT,
    .name = NAME,
    .version = VERSION,
    .summary = SUMMARY,
    .built_with = TEXT("cc"),
    .panics_unwind = PANICS_UNWIND,
    .host_abi = HOST_ABI,
    .create = CREATE,
    .drop = drop,
    .registrations = fill,
};
#endif
void (*const raddle_test_keep)(struct raddle_registrations *) = fill;
