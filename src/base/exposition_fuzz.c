/* Metrics from strangers: the first line is a series, the rest is read for it. A sum is a number,
 * and a series without labels finds whatever one with labels finds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/exposition.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size > 0 ? memchr(text, '\n', size) : NULL;
    char first[SYN_SERIES_TEXT_MAX], name[SYN_SERIES_TEXT_MAX];
    struct syn_series_value some, all;
    struct syn_series series, bare;
    size_t len = end != NULL ? (size_t)(end - text) : 0;

    if (end == NULL || len >= sizeof(first))
        return 0;
    memcpy(first, text, len);
    first[len] = '\0';
    if (syn_series_parse(first, &series, NULL) < 0)
        return 0;
    if (syn_series_parse(syn_series_name(&series, name), &bare, NULL) < 0 || bare.labels_count > 0)
        abort();
    if (syn_exposition_read(end, size - len, &series, &some, NULL) < 0)
        return 0;
    if (isnan(some.sum) || syn_exposition_read(end, size - len, &bare, &all, NULL) < 0 ||
        isnan(all.sum) || all.samples < some.samples || all.counter != some.counter)
        abort();
    return 0;
}
