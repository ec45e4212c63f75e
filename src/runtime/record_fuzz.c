/* Everything here that parses bytes it did not write itself: log and usage lines, mount tables. */
#include <synor/base/mem.h>
#include <synor/runtime/runtime_ops.h>

#include "native/cgroup_priv.h"
#include "native/group_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = syn_strndup((const char *)data, size);
    struct syn_log_record record;
    struct syn_usage_sample usage;
    struct syn_cgroup_layout layout;
    struct syn_prefix prefix;

    if (!text)
        return 0;
    if (syn_log_record_parse((const char *)data, size, &record, NULL) == SYN_OK) {
        assert(record.text >= (const char *)data);
        assert(record.text + record.text_len == (const char *)data + size);
    }
    if (syn_usage_parse((const char *)data, size, &usage, NULL) == SYN_OK)
        assert(usage.seq >= 1 && usage.to_ms >= usage.from_ms);
    syn_cgroup_layout_parse(text, text, &layout);
    assert(layout.count >= 0 && layout.count <= SYN_CGROUP_MOUNTS_MAX);
    (void)!syn_group_address(text, &prefix, NULL);
    syn_free(text);
    return 0;
}
