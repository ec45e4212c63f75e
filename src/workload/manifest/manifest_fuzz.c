/* Files of what is to run, from strangers: one that is taken is a list of named specs in an order
 * that can be followed; one that is refused says why. */
#include <stdint.h>
#include <stdlib.h>

#include <synor/workload/manifest.h>

#include <synor/base/str.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(bool holds)
{
    if (!holds)
        abort();
}

static bool
is_before(const json_t *items, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (syn_str_eq(syn_json_str(json_array_get(items, i), "name", ""), name))
            return true;
    return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_JSON(variables);
    SYN_JSON(read);
    struct syn_err err = {0};
    const json_t *items, *item, *after;
    size_t i, k;

    variables = json_pack("{s:s, s:s}", "A", "a", "EMPTY", "");
    if (variables == NULL)
        return 0;
    if (syn_manifest_read((const char *)data, size, variables, &read, &err) < 0) {
        need(err.msg[0] != '\0');
        return 0;
    }
    items = json_object_get(read, "items");
    need(json_array_size(items) > 0);
    json_array_foreach (items, i, item) {
        need(syn_name_ok(syn_json_str(item, "name", "")));
        need(json_is_object(json_object_get(item, "spec")));
        json_array_foreach (json_object_get(item, "after"), k, after)
            need(is_before(items, i, syn_json_str(after, "name", "")));
    }
    return 0;
}
