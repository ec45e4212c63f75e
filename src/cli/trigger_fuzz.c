/* Words from strangers: what was read is written, and read again as the same. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "trigger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_warmup(const char *word)
{
    SYN_BUF(again);
    SYN_JSON(one);
    SYN_JSON(two);
    struct syn_err err;

    if (syn_cli_warmup_parse(word, &one, &err) < 0) {
        assert(err.msg[0] != '\0' && one == NULL);
        return;
    }
    syn_cli_warmup_write(one, &again);
    if (syn_buf_ok(&again, NULL) < 0 || syn_cli_warmup_parse(syn_buf_text(&again), &two, &err) < 0)
        assert(!"a word of its own is refused");
    assert(json_equal(one, two));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_BUF(word);
    SYN_BUF(again);
    SYN_JSON(one);
    SYN_JSON(two);
    struct syn_err err;

    syn_buf_add(&word, data, size);
    read_warmup(syn_buf_text(&word));
    if (syn_cli_trigger_parse(syn_buf_text(&word), &one, &err) < 0) {
        assert(err.msg[0] != '\0' && one == NULL);
        return 0;
    }
    syn_cli_trigger_write(one, &again);
    if (syn_buf_ok(&again, NULL) < 0 || syn_cli_trigger_parse(syn_buf_text(&again), &two, &err) < 0)
        assert(!"a word of its own is refused");
    assert(json_equal(one, two));
    return 0;
}
