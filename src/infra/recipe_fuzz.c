#include <synor/base/buf.h>

#include "block_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A recipe that is accepted is spelled as it would be written, and filling a block from it stays
 * inside the block and its bases, however long these are. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t whole[SYN_BLOCK_BYTES_MAX];
    static uint8_t base[SYN_BLOCK_BYTES_MAX];
    struct syn_recipe recipe;
    SYN_BUF(again);
    size_t total = 0;

    if (syn_recipe_decode(data, size, &recipe, NULL) != 0)
        return 0;
    if (syn_recipe_encode(&recipe, &again, NULL) != 0 || again.len != size ||
        memcmp(again.data, data, size) != 0)
        abort();
    for (size_t i = 0; i < recipe.parts_count; i++)
        total += recipe.parts[i].len;
    if (total != recipe.size || total > sizeof(whole))
        abort();
    syn_recipe_fill_literals(&recipe, whole);
    for (unsigned i = 0; i < recipe.bases_count; i++) {
        if (syn_recipe_fill_base(&recipe, i, base, sizeof(base), whole, NULL) != 0)
            abort();
        if (syn_recipe_fill_base(&recipe, i, base, 0, whole, NULL) == 0)
            abort();
    }
    return 0;
}
