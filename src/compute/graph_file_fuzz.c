/* Graphs from strangers: what parses keeps its promises and comes back from its own JSON the same.
 */
#include <stdlib.h>
#include <string.h>

#include <synor/graph_file.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_task(const struct syn_graph_file *file, uint32_t index)
{
    const struct syn_graph_task *task = &file->tasks[index];
    struct syn_work work;

    if (syn_kernel_check_call(&task->call, NULL) < 0 || task->repeat == 0 || task->name[0] == '\0')
        abort();
    task->call.kernel->work(&task->call, &work);
    for (unsigned i = 0; i < task->call.kernel->operands_count; i++) {
        if (task->tensors[i] >= file->tensors_count ||
            task->call.operands[i].shape != &file->tensors[task->tensors[i]].shape)
            abort();
    }
    for (uint32_t i = 0; i < task->after_count; i++) {
        if (task->after[i] >= index)
            abort();
    }
}

static void
write_out(const struct syn_graph_file *file, struct syn_buf *out)
{
    SYN_JSON(doc);

    if (syn_graph_file_json(file, &doc, NULL) < 0 || syn_json_write(doc, out, NULL) < 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *file = NULL;
    SYN_SCOPED(syn_graph_file_free_scope) struct syn_graph_file *again = NULL;
    SYN_BUF(text);
    SYN_BUF(text_again);
    struct syn_err err = {0};

    if (syn_graph_file_parse((const char *)data, size, &file, &err) < 0) {
        if (err.msg[0] == '\0')
            abort();
        return 0;
    }
    for (uint32_t i = 0; i < file->tasks_count; i++)
        check_task(file, i);
    write_out(file, &text);
    /* Everything said is more than was written; a document near the limit may go over it. */
    if (text.len > SYN_JSON_BYTES_MAX)
        return 0;
    if (syn_graph_file_parse(syn_buf_text(&text), text.len, &again, &err) < 0)
        abort();
    write_out(again, &text_again);
    if (strcmp(syn_buf_text(&text), syn_buf_text(&text_again)) != 0)
        abort();
    return 0;
}
