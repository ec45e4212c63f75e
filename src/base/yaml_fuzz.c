/* YAML from strangers: a document that is taken must be one that JSON can hold; one that is refused
 * must say where. */
#include <synor/base/yaml.h>

#include <synor/base/str.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_JSON(value);
    SYN_JSON(again);
    SYN_BUF(text);
    struct syn_err err = {0};
    int rc = syn_yaml_parse((const char *)data, size, &value, &err);

    if (rc == SYN_E_INVALID && !syn_str_starts(err.msg, "line "))
        abort();
    if (rc < 0)
        return 0;
    if (syn_json_write(value, &text, NULL) < 0)
        abort();
    if (syn_json_parse(text.data, text.len, &again, NULL) < 0 || !json_equal(value, again))
        abort();
    return 0;
}
