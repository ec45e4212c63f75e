/* Zones from strangers: bytes of a file, and the same as a rule. Spans of what is a zone must hold
 * the time asked for, follow each other, and know what was before. */
#include <stdlib.h>
#include <string.h>

#include <synor/base/zone.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct syn_zone *zone)
{
    int64_t at_s = INT64_C(-3000000000);

    for (int i = 0; i < 400; i++) {
        struct syn_zone_span span = syn_zone_at(zone, at_s);

        if (span.from_s > at_s || span.until_s <= at_s)
            abort();
        if (span.until_s == INT64_MAX || span.until_s > INT64_C(250000000000))
            return;
        at_s = span.until_s;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct syn_zone *zone = NULL;
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (syn_zone_read(data, size, &zone, NULL) == 0)
        check(zone);
    zone = syn_zone_free(zone);
    if (syn_zone_rule(text, &zone, NULL) == 0)
        check(zone);
    (void)syn_zone_free(zone);
    free(text);
    return 0;
}
