/* Schedules from strangers: the first byte chooses a zone, eight a time, the rest is the text. What
 * is a schedule gives times that go forward and are none of those it leaves out. */
#include <stdlib.h>
#include <string.h>

#include <synor/base/cron.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const zones[] = {"UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0",
                                    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "A-24B24,0,J365/167"};

static void
check(const struct syn_cron *cron, const struct syn_zone *zone, int64_t after_ms)
{
    int64_t at_ms = after_ms;

    for (int i = 0; i < 4; i++) {
        int64_t next_ms, again_ms;

        if (syn_cron_next(cron, zone, at_ms, &next_ms) == SYN_CRON_NEVER)
            return;
        if (next_ms <= at_ms || next_ms % 1000 != 0)
            abort();
        /* From just before it, it is the next one too. */
        if (syn_cron_next(cron, zone, next_ms - 1, &again_ms) != 0 || again_ms != next_ms)
            abort();
        at_ms = next_ms;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_zone *zone = NULL;
    struct syn_cron cron;
    uint64_t after = 0;
    char *text;

    if (size < 9 || size > 1024)
        return 0;
    memcpy(&after, data + 1, sizeof(after));
    text = malloc(size - 8);
    if (text == NULL)
        return 0;
    memcpy(text, data + 9, size - 9);
    text[size - 9] = '\0';
    if (syn_cron_parse(text, &cron, NULL) == 0 &&
        syn_zone_rule(zones[data[0] % SYN_LEN(zones)], &zone, NULL) == 0)
        check(&cron, zone, (int64_t)(after % UINT64_C(253402300800000)));
    (void)syn_zone_free(zone);
    free(text);
    return 0;
}
