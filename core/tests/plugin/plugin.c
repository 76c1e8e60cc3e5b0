/* A plugin of one node, one init function and one command; each test bends one field of it. */
#include "raddle_plugin.h"
#include <fcntl.h>
#include <unistd.h>

#ifndef MAGIC
#define MAGIC { 'r', 'a', 'd', 'd', 'l', 'e', 0, 1 }
#endif
#ifndef HEADER_SIZE
#define HEADER_SIZE sizeof(struct plugin_header)
#endif
#ifndef ABI_MAJOR
#define ABI_MAJOR 1
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
#ifndef CREATE
#define CREATE create
#endif
#ifndef NODE_SIZE
#define NODE_SIZE sizeof(struct node_registration)
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

static void *create(const void *host, struct sink error) { (void)host, (void)error; return (void *)1; }
static void drop(void *instance) { (void)instance; }
static uint32_t init_run(void *instance, struct sink error)
{
    (void)instance, (void)error, (void)mark;
#ifdef INIT_MARK
    mark(INIT_MARK);
#endif
    return TOUCH();
}
static void *node_create(void *instance, uint32_t thread, struct sink error)
{
    (void)thread, (void)error;
    return instance;
}
static uint32_t node_run(void *node, void *frame) { (void)node, (void)frame; return 0; }
static void command_run(void *instance, struct text arguments, uint64_t command)
{
    (void)instance, (void)arguments, (void)command;
}

static const struct text nexts[] = { TEXT("ip4-lookup"), TEXT("punt") };
static const struct text errors[] = { TEXT("low-ttl") };
static const struct text error_texts[] = { TEXT("TTL too low"), TEXT("one too many") };
#ifndef ERROR_TEXTS
#define ERROR_TEXTS 1
#endif
static const struct node_registration nodes[] = {
    { NODE_SIZE, NODE_KIND, NODE_NAME, SLICE(nexts), SLICE(errors),
      { error_texts, ERROR_TEXTS, sizeof(struct text) }, node_create, drop, NODE_RUN },
    { sizeof(struct node_registration), 1, TEXT("bent-input"), { 0 }, { 0 }, { 0 }, node_create, drop, node_run },
};
static const struct text after[] = { RUN_AFTER };
static const struct init_registration inits[] = {
    { sizeof(struct init_registration), 0, TEXT("bent-init"), { 0 }, SLICE(after), init_run },
};
static const struct command_registration commands[] = {
    { sizeof(struct command_registration), 0, USAGE, TEXT("shows it"), command_run },
};
#ifdef NEEDS
static const struct dependency dependencies[] = {
    { sizeof(struct dependency), 0, TEXT(NEEDS), TEXT(NEEDS_VERSION) },
};
#endif

static void fill(struct registrations *to)
{
    (void)mark;
    to->nodes = (struct slice)NODES;
    to->inits = (struct slice)SLICE(inits);
    to->commands = (struct slice)SLICE(commands);
#ifdef NEEDS
    to->dependencies = (struct slice)SLICE(dependencies);
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
const struct plugin_header SYMBOL = {
    MAGIC, HEADER_SIZE, ABI_MAJOR, ABI_MINOR, LAYOUT, NAME, VERSION, SUMMARY, TEXT("cc"), PANICS_UNWIND, 0,
    CREATE, drop, fill,
};
#endif
void (*const raddle_test_keep)(struct registrations *) = fill;
