/* Any bytes, cut anywhere, leave a reader that answers within its bounds, and the cut does not
 * matter. */
#include <synor/workload/training_progress.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct syn_progress *
read_all(const uint8_t *data, size_t size, size_t cut)
{
    struct syn_progress *progress;
    const char *text = (const char *)data;

    if (syn_progress_new(&progress, NULL) < 0 ||
        syn_progress_feed(progress, text, cut, 1, NULL) < 0 ||
        syn_progress_feed(progress, text + cut, size - cut, 1, NULL) < 0)
        abort();
    return progress;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *whole = read_all(data, size, 0);
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *parts = NULL;
    SYN_JSON(a);
    SYN_JSON(b);
    SYN_JSON(object);

    parts = read_all(data, size, size > 0 ? data[0] % size : 0);
    if (syn_progress_series(whole, NULL, &a, NULL) < 0 ||
        syn_progress_series(parts, NULL, &b, NULL) < 0 ||
        syn_progress_object(whole, &object, NULL) < 0)
        abort();
    if (!json_equal(a, b) || syn_progress_skipped(whole) != syn_progress_skipped(parts))
        abort();
    if (json_array_size(json_object_get(a, "items")) > SYN_PROGRESS_METRICS_MAX)
        abort();
    return 0;
}
