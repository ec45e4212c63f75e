/* A model from strangers: what is taken must print to text that is taken again and prints alike. */
#include <string.h>

#include <synor/model.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"cpu", "modelled big gpu"};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *first = NULL;
    SYN_SCOPED(syn_model_free_scope) struct syn_model *second = NULL;
    SYN_BUF(text);
    SYN_BUF(again);

    if (syn_model_new(names, 2, &first, NULL) < 0 || syn_model_new(names, 2, &second, NULL) < 0)
        return 0;
    /* What came before a bad line was taken. */
    if (syn_model_read(first, (const char *)data, size, NULL) > 0)
        abort();
    syn_model_write(first, &text);
    if (syn_model_read(second, syn_buf_text(&text), text.len, NULL) < 0)
        abort();
    syn_model_write(second, &again);
    if (strcmp(syn_buf_text(&text), syn_buf_text(&again)) != 0)
        abort();
    return 0;
}
