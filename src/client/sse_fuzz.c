/* Event streams from strangers: whole and cut at a place of the input's choice must give the same.
 */
#include <stddef.h>
#include <stdint.h>

#include "sse_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct tally {
    uint64_t hash;
    int events;
};

static int
count(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct tally *tally = arg;

    (void)err;
    assert(event->data[event->len] == '\0');
    tally->events++;
    for (size_t i = 0; i < event->len; i++)
        tally->hash = (tally->hash ^ (uint8_t)event->data[i]) * 1099511628211U;
    for (const char *at = event->name; *at != '\0'; at++)
        tally->hash = (tally->hash ^ (uint8_t)*at) * 1099511628211U;
    for (const char *at = event->id; *at != '\0'; at++)
        tally->hash = (tally->hash ^ (uint8_t)*at) * 1099511628211U;
    return SYN_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tally whole = {0, 0};
    struct tally cut = {0, 0};
    SYN_SCOPED(sse_parser_fini) struct sse_parser one;
    SYN_SCOPED(sse_parser_fini) struct sse_parser two;
    size_t at = size == 0 ? 0 : data[0] % size;
    const char *text = (const char *)data;

    sse_parser_init(&one, count, &whole);
    sse_parser_init(&two, count, &cut);
    if (sse_parser_feed(&one, text, size, NULL) < 0)
        return 0;
    if (sse_parser_feed(&two, text, at, NULL) < 0 ||
        sse_parser_feed(&two, text + at, size - at, NULL) < 0)
        assert(!"a cut changes whether a stream is read");
    assert(whole.events == cut.events && whole.hash == cut.hash);
    return 0;
}
