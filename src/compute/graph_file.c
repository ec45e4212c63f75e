/* Graphs as JSON. Two passes over the document: tensors, then tasks in order, each checked as it
 * comes; names are looked up in maps. Everything hangs on one owner and is freed with it. */
#include <synor/graph_file.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define PLACE_MAX 160 /* of a place in the document, in messages */

static const char *const init_names[] = {
    [SYN_GRAPH_INIT_ZEROS] = "zeros",
    [SYN_GRAPH_INIT_ONES] = "ones",
    [SYN_GRAPH_INIT_IOTA] = "iota",
    [SYN_GRAPH_INIT_RANDOM] = "random",
};

struct graph {
    struct syn_graph_file base;
    struct syn_graph_tensor *tensors;
    struct syn_graph_task *tasks;
    char **paths;     /* of tensors, or NULL */
    uint32_t **after; /* of tasks, or NULL */
};

/* A document while it is read. */
struct reader {
    struct graph *graph;
    struct syn_map *tensors, *tasks; /* by name, to the entries */
    bool *filled;                    /* tensors that have content at this point */
};

struct syn_graph_file *
syn_graph_file_free(struct syn_graph_file *file)
{
    struct graph *graph = NULL;

    if (!file)
        return NULL;
    graph = SYN_CONTAINER(file, struct graph, base);
    for (uint32_t i = 0; graph->paths && i < file->tensors_count; i++)
        syn_free(graph->paths[i]);
    for (uint32_t i = 0; graph->after && i < file->tasks_count; i++)
        syn_free(graph->after[i]);
    syn_free(graph->paths);
    syn_free(graph->after);
    syn_free(graph->tensors);
    syn_free(graph->tasks);
    syn_free(graph);
    return NULL;
}

void
syn_graph_file_free_scope(struct syn_graph_file **slot)
{
    *slot = syn_graph_file_free(*slot);
}

/* ---- what both parts need ---- */

/* A name that can stand in messages and traces. */
static int
take_name(const char *name, const char *path, char *out, struct syn_err *err)
{
    size_t len = strlen(name);

    if (len == 0 || len >= SYN_GRAPH_FILE_NAME_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: a name has 1 to %d characters", path,
                        SYN_GRAPH_FILE_NAME_MAX - 1);
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return SYN_FAIL(err, SYN_E_INVALID, "%s: a name is printable ASCII without blanks",
                            path);
    }
    memcpy(out, name, len + 1);
    return SYN_OK;
}

/* A list between two lengths, or *ret untouched where there is none. */
static int
opt_list(const json_t *obj, const char *path, const char *key, size_t max, json_t **ret,
         struct syn_err *err)
{
    json_t *list = json_object_get(obj, key);

    if (!list)
        return SYN_OK;
    if (!json_is_array(list))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: expected a list", path, key);
    if (json_array_size(list) > max)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.%s: at most %zu entries", path, key, max);
    *ret = list;
    return SYN_OK;
}

/* ---- tensors ---- */

static int
take_sizes(const json_t *obj, const char *path, struct syn_shape *shape, struct syn_err *err)
{
    json_t *list = NULL, *value = NULL;
    uint64_t bits = syn_dtype_info(shape->dtype)->bits, count = 1;
    size_t i;
    int rc = opt_list(obj, path, "shape", SYN_DIMS_MAX, &list, err);

    if (rc < 0)
        return rc;
    if (!list)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.shape: missing, expected a list", path);
    json_array_foreach (list, i, value) {
        json_int_t size = json_is_integer(value) ? json_integer_value(value) : 0;

        if (size < 1)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.shape[%zu]: expected a whole number from 1 on",
                            path, i);
        shape->sizes[shape->dims++] = (uint64_t)size;
        if ((uint64_t)size > SYN_TENSOR_BYTES_MAX / (bits > 8 ? bits / 8 : 1) / count)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.shape: more than 2^62 bytes", path);
        count *= (uint64_t)size;
    }
    return SYN_OK;
}

static int
take_layout(const json_t *obj, const char *path, struct syn_shape *shape, struct syn_err *err)
{
    const char *layout = "rows";
    int rc = syn_json_opt_str(obj, path, "layout", &layout, err);

    if (rc < 0)
        return rc;
    if (strcmp(layout, "rows") != 0 && strcmp(layout, "columns") != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.layout: expected rows or columns", path);
    shape->layout = layout[0] == 'r' ? SYN_LAYOUT_ROWS : SYN_LAYOUT_COLUMNS;
    rc = syn_shape_complete(shape, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", path) : SYN_OK;
}

/* Can numbers be written in this format? */
static bool
is_known(enum syn_dtype dtype)
{
    const struct syn_dtype_info *info = syn_dtype_info(dtype);

    if (info->family == SYN_DTYPE_FLOAT)
        return info->bits >= 32;
    return info->bits >= 8;
}

static int
take_init_word(const char *word, const char *path, struct syn_graph_tensor *tensor,
               struct syn_err *err)
{
    for (unsigned i = SYN_GRAPH_INIT_ZEROS; i < SYN_LEN(init_names); i++) {
        if (strcmp(word, init_names[i]) == 0)
            tensor->init = (enum syn_graph_init)i;
    }
    if (tensor->init == SYN_GRAPH_INIT_NONE)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s.init: expected zeros, ones, iota, random, {\"random\": SEED} or "
                        "{\"file\": PATH}",
                        path);
    return SYN_OK;
}

static int
take_init_object(const json_t *init, const char *path, struct syn_graph_tensor *tensor,
                 char **ret_path, struct syn_err *err)
{
    static const char *const known[] = {"random", "file", NULL};
    char place[PLACE_MAX];
    const char *file = NULL;
    int64_t seed = -1;
    int rc;

    (void)snprintf(place, sizeof(place), "%.128s.init", path);
    rc = syn_json_only_keys(init, place, known, err);
    rc = rc < 0 ? rc : syn_json_opt_i64(init, place, "random", 0, INT64_MAX, &seed, err);
    rc = rc < 0 ? rc : syn_json_opt_str(init, place, "file", &file, err);
    if (rc < 0)
        return rc;
    if ((seed < 0) == !file)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected random or file", place);
    if (seed >= 0) {
        tensor->init = SYN_GRAPH_INIT_RANDOM;
        tensor->seed = (uint64_t)seed;
        return SYN_OK;
    }
    if (file[0] == '\0' || strlen(file) >= SYN_GRAPH_FILE_PATH_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.file: a path has 1 to %d bytes", place,
                        SYN_GRAPH_FILE_PATH_MAX - 1);
    *ret_path = syn_strdup(file);
    if (!*ret_path)
        return SYN_FAIL(err, SYN_E_NOMEM, "a graph");
    tensor->init = SYN_GRAPH_INIT_FILE;
    tensor->path = *ret_path;
    return SYN_OK;
}

static int
take_init(const json_t *obj, const char *path, struct syn_graph_tensor *tensor, char **ret_path,
          struct syn_err *err)
{
    const json_t *init = json_object_get(obj, "init");
    int rc = SYN_OK;

    if (!init)
        return SYN_OK;
    if (json_is_object(init))
        rc = take_init_object(init, path, tensor, ret_path, err);
    else
        rc = take_init_word(json_is_string(init) ? json_string_value(init) : "", path, tensor, err);
    if (rc == SYN_OK && tensor->init != SYN_GRAPH_INIT_ZEROS &&
        tensor->init != SYN_GRAPH_INIT_FILE && !is_known(tensor->shape.dtype))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.init: %s can only be zeros or a file's", path,
                      syn_dtype_name(tensor->shape.dtype));
    return rc;
}

static int
take_tensor(struct reader *reader, uint32_t index, const char *name, const json_t *obj,
            struct syn_err *err)
{
    static const char *const known[] = {"dtype", "shape", "layout", "init", NULL};
    struct syn_graph_tensor *tensor = &reader->graph->tensors[index];
    char path[PLACE_MAX];
    const char *dtype = NULL;
    int rc = take_name(name, "tensors", tensor->name, err);

    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "tensors.%s", name);
    if (!json_is_object(obj))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected an object", path);
    rc = syn_json_only_keys(obj, path, known, err);
    rc = rc < 0 ? rc : syn_json_get_str(obj, path, "dtype", &dtype, err);
    if (rc == SYN_OK && !syn_dtype_parse(dtype, &tensor->shape.dtype))
        rc =
            SYN_FAIL(err, SYN_E_INVALID, "%s.dtype: no number format is called %.32s", path, dtype);
    rc = rc < 0 ? rc : take_sizes(obj, path, &tensor->shape, err);
    rc = rc < 0 ? rc : take_layout(obj, path, &tensor->shape, err);
    rc = rc < 0 ? rc : take_init(obj, path, tensor, &reader->graph->paths[index], err);
    if (rc < 0)
        return rc;
    reader->filled[index] = tensor->init != SYN_GRAPH_INIT_NONE;
    return syn_map_put_take(reader->tensors, tensor->name, tensor, err);
}

static int
take_tensors(struct reader *reader, const json_t *root, struct syn_err *err)
{
    struct graph *graph = reader->graph;
    json_t *all = NULL, *obj = NULL;
    const char *name = NULL;
    uint32_t index = 0;
    size_t count;
    int rc = syn_json_get_obj(root, NULL, "tensors", &all, err);

    if (rc < 0)
        return rc;
    count = json_object_size(all);
    if (count == 0 || count > SYN_GRAPH_FILE_TENSORS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "tensors: 1 to %d", SYN_GRAPH_FILE_TENSORS_MAX);
    graph->tensors = syn_calloc(count, sizeof(*graph->tensors));
    graph->paths = syn_calloc(count, sizeof(*graph->paths));
    reader->filled = syn_calloc(count, sizeof(*reader->filled));
    if (!graph->tensors || !graph->paths || !reader->filled)
        return SYN_FAIL(err, SYN_E_NOMEM, "a graph");
    graph->base.tensors = graph->tensors;
    graph->base.tensors_count = (uint32_t)count;
    json_object_foreach (all, name, obj) {
        rc = take_tensor(reader, index++, name, obj, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* ---- tasks ---- */

static int
take_arg(struct reader *reader, struct syn_graph_task *task, const char *path, const char *operand,
         const json_t *value, struct syn_err *err)
{
    const struct syn_graph_tensor *tensor = NULL;
    unsigned index = 0;
    int rc = syn_kernel_operand_find(task->call.kernel, operand, &index, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "%s.args", path);
    if (!json_is_string(value))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.args.%s: expected a tensor's name", path, operand);
    tensor = syn_map_find(reader->tensors, json_string_value(value));
    if (!tensor)
        return SYN_FAIL(err, SYN_E_INVALID, "%s.args.%s: no tensor is called %.64s", path, operand,
                        json_string_value(value));
    task->tensors[index] = (uint32_t)(tensor - reader->graph->tensors);
    task->call.operands[index].shape = &tensor->shape;
    return SYN_OK;
}

static int
take_args(struct reader *reader, struct syn_graph_task *task, const json_t *obj, const char *path,
          struct syn_err *err)
{
    json_t *args = NULL, *value = NULL;
    const char *operand = NULL;
    int rc = syn_json_get_obj(obj, path, "args", &args, err);

    if (rc < 0)
        return rc;
    json_object_foreach (args, operand, value) {
        rc = take_arg(reader, task, path, operand, value, err);
        if (rc < 0)
            return rc;
    }
    for (unsigned i = 0; i < task->call.kernel->operands_count; i++) {
        if (!task->call.operands[i].shape)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.args.%s: missing", path,
                            task->call.kernel->operands[i].name);
    }
    return SYN_OK;
}

static int
take_params(struct syn_graph_task *task, const json_t *obj, const char *path, struct syn_err *err)
{
    json_t *params = json_object_get(obj, "params"), *value = NULL;
    const char *name = NULL;

    if (!params)
        return SYN_OK;
    if (!json_is_object(params))
        return SYN_FAIL(err, SYN_E_INVALID, "%s.params: expected an object", path);
    json_object_foreach (params, name, value) {
        double number = json_is_true(value) ? 1 : json_number_value(value);
        int rc;

        if (!json_is_number(value) && !json_is_boolean(value))
            return SYN_FAIL(err, SYN_E_INVALID, "%s.params.%.32s: expected a number", path, name);
        rc = syn_kernel_set(&task->call, name, number, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s.params", path);
    }
    return SYN_OK;
}

static int
take_after(struct reader *reader, uint32_t index, const json_t *obj, const char *path,
           struct syn_err *err)
{
    struct graph *graph = reader->graph;
    json_t *list = NULL, *value = NULL;
    uint32_t *after = NULL;
    size_t i;
    int rc = opt_list(obj, path, "after", SYN_AFTER_MAX, &list, err);

    if (rc < 0 || !list || json_array_size(list) == 0)
        return rc;
    after = syn_calloc(json_array_size(list), sizeof(*after));
    if (!after)
        return SYN_FAIL(err, SYN_E_NOMEM, "a graph");
    graph->after[index] = after;
    graph->tasks[index].after = after;
    json_array_foreach (list, i, value) {
        const struct syn_graph_task *other =
            json_is_string(value) ? syn_map_find(reader->tasks, json_string_value(value)) : NULL;

        if (!other)
            return SYN_FAIL(err, SYN_E_INVALID, "%s.after[%zu]: no task before it is called %.64s",
                            path, i, json_is_string(value) ? json_string_value(value) : "that");
        after[graph->tasks[index].after_count++] = (uint32_t)(other - graph->tasks);
    }
    return SYN_OK;
}

/* Content before it is read, and no operand written beside another one of the same tensor. */
static int
check_use(struct reader *reader, const struct syn_graph_task *task, const char *path,
          struct syn_err *err)
{
    const struct syn_kernel_call *call = &task->call;
    unsigned count = call->kernel->operands_count;

    for (unsigned i = 0; i < count; i++) {
        const char *operand = call->kernel->operands[i].name;
        const char *tensor = reader->graph->tensors[task->tensors[i]].name;
        enum syn_access access = syn_kernel_access(call, i);

        if ((access & SYN_READ) && !reader->filled[task->tensors[i]])
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s.args.%s: nothing was written to %s before it is read", path,
                            operand, tensor);
        for (unsigned k = 0; k < count; k++) {
            if (k != i && task->tensors[k] == task->tensors[i] && (access & SYN_WRITE))
                return SYN_FAIL(err, SYN_E_INVALID, "%s.args.%s: %s is written and used twice",
                                path, operand, tensor);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (syn_kernel_access(call, i) & SYN_WRITE)
            reader->filled[task->tensors[i]] = true;
    }
    return SYN_OK;
}

static int
fail_kernel(const char *path, const char *name, struct syn_err *err)
{
    const struct syn_kernel *const *kernels;
    size_t count = 0;
    SYN_BUF(names);

    kernels = syn_kernels(&count);
    for (size_t i = 0; i < count; i++)
        syn_buf_addf(&names, " %s", kernels[i]->name);
    return SYN_FAIL(err, SYN_E_INVALID, "%s.kernel: no kernel is called %.64s; there are:%s", path,
                    name, syn_buf_text(&names));
}

static int
take_call(struct reader *reader, struct syn_graph_task *task, const json_t *obj, const char *path,
          struct syn_err *err)
{
    const struct syn_kernel *kernel = NULL;
    const char *name = NULL;
    int rc = syn_json_get_str(obj, path, "kernel", &name, err);

    if (rc < 0)
        return rc;
    kernel = syn_kernel_find(name);
    if (!kernel)
        return fail_kernel(path, name, err);
    syn_kernel_call_init(&task->call, kernel);
    rc = take_args(reader, task, obj, path, err);
    rc = rc < 0 ? rc : take_params(task, obj, path, err);
    if (rc < 0)
        return rc;
    rc = syn_kernel_check_call(&task->call, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    return check_use(reader, task, path, err);
}

static int
take_task(struct reader *reader, uint32_t index, const json_t *obj, struct syn_err *err)
{
    static const char *const known[] = {"name",  "kernel",   "args",   "params",
                                        "after", "priority", "repeat", NULL};
    struct syn_graph_task *task = &reader->graph->tasks[index];
    int64_t priority = 0, repeat = 1;
    char path[PLACE_MAX], own[SYN_GRAPH_FILE_NAME_MAX];
    const char *name = own;
    int rc;

    (void)snprintf(path, sizeof(path), "tasks[%u]", index);
    (void)snprintf(own, sizeof(own), "task%u", index);
    if (!json_is_object(obj))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: expected an object", path);
    rc = syn_json_only_keys(obj, path, known, err);
    rc = rc < 0 ? rc : syn_json_opt_str(obj, path, "name", &name, err);
    rc = rc < 0 ? rc : take_name(name, path, task->name, err);
    if (rc == SYN_OK && syn_map_find(reader->tasks, name))
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s.name: %s is another task's", path, name);
    rc = rc < 0 ? rc : take_call(reader, task, obj, path, err);
    rc = rc < 0 ? rc : take_after(reader, index, obj, path, err);
    rc = rc < 0 ? rc
                : syn_json_opt_i64(obj, path, "priority", SYN_PRIORITY_MIN, SYN_PRIORITY_MAX,
                                   &priority, err);
    rc = rc < 0 ? rc
                : syn_json_opt_i64(obj, path, "repeat", 1, SYN_GRAPH_FILE_REPEAT_MAX, &repeat, err);
    if (rc < 0)
        return rc;
    task->priority = (int)priority;
    task->repeat = (unsigned)repeat;
    return syn_map_put_take(reader->tasks, task->name, task, err);
}

static int
take_tasks(struct reader *reader, const json_t *root, struct syn_err *err)
{
    struct graph *graph = reader->graph;
    json_t *list = NULL, *obj = NULL;
    size_t count, i;
    int rc = syn_json_get_arr(root, NULL, "tasks", &list, err);

    if (rc < 0)
        return rc;
    count = json_array_size(list);
    if (count == 0 || count > SYN_GRAPH_FILE_TASKS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "tasks: 1 to %d", SYN_GRAPH_FILE_TASKS_MAX);
    graph->tasks = syn_calloc(count, sizeof(*graph->tasks));
    graph->after = syn_calloc(count, sizeof(*graph->after));
    if (!graph->tasks || !graph->after)
        return SYN_FAIL(err, SYN_E_NOMEM, "a graph");
    graph->base.tasks = graph->tasks;
    graph->base.tasks_count = (uint32_t)count;
    json_array_foreach (list, i, obj) {
        rc = take_task(reader, (uint32_t)i, obj, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
take_root(struct reader *reader, const json_t *root, struct syn_err *err)
{
    static const char *const known[] = {"version", "tensors", "tasks", NULL};
    int64_t version = 0;
    int rc = syn_json_get_i64(root, NULL, "version", 1, SYN_GRAPH_FILE_VERSION, &version, err);

    rc = rc < 0 ? rc : syn_json_only_keys(root, NULL, known, err);
    rc = rc < 0 ? rc : take_tensors(reader, root, err);
    return rc < 0 ? rc : take_tasks(reader, root, err);
}

int
syn_graph_file_parse(const char *data, size_t len, struct syn_graph_file **ret_file,
                     struct syn_err *err)
{
    SYN_JSON(root);
    struct reader reader = {.graph = syn_calloc(1, sizeof(struct graph))};
    int rc;

    if (!reader.graph)
        return SYN_FAIL(err, SYN_E_NOMEM, "a graph");
    rc = syn_json_parse_object(data, len, &root, err);
    rc = rc < 0 ? rc : syn_map_new(NULL, &reader.tensors, err);
    rc = rc < 0 ? rc : syn_map_new(NULL, &reader.tasks, err);
    rc = rc < 0 ? rc : take_root(&reader, root, err);
    syn_free(reader.filled);
    (void)syn_map_free(reader.tensors);
    (void)syn_map_free(reader.tasks);
    if (rc < 0)
        (void)syn_graph_file_free(&reader.graph->base);
    else
        *ret_file = &reader.graph->base;
    return rc;
}

/* ---- back to JSON ---- */

static int
add_tensor(json_t *all, const struct syn_graph_tensor *tensor, struct syn_err *err)
{
    SYN_JSON(obj);
    SYN_JSON(sizes);
    SYN_JSON(init);
    int rc =
        syn_json_pack(&obj, err, "{s:s, s:s}", "dtype", syn_dtype_name(tensor->shape.dtype),
                      "layout", tensor->shape.layout == SYN_LAYOUT_COLUMNS ? "columns" : "rows");

    rc = rc < 0 ? rc : syn_json_pack(&sizes, err, "[]");
    for (unsigned i = 0; rc == SYN_OK && i < tensor->shape.dims; i++)
        rc = syn_json_append_take(sizes, json_integer((json_int_t)tensor->shape.sizes[i]), err);
    rc = rc < 0 ? rc : syn_json_set_take(obj, "shape", SYN_TAKE(sizes), err);
    if (rc < 0)
        return rc;
    if (tensor->init == SYN_GRAPH_INIT_RANDOM)
        rc = syn_json_pack(&init, err, "{s:I}", "random", (json_int_t)tensor->seed);
    else if (tensor->init == SYN_GRAPH_INIT_FILE)
        rc = syn_json_pack(&init, err, "{s:s}", "file", tensor->path);
    else if (tensor->init != SYN_GRAPH_INIT_NONE)
        rc = syn_json_pack(&init, err, "s", init_names[tensor->init]);
    if (rc == SYN_OK && init)
        rc = syn_json_set_take(obj, "init", SYN_TAKE(init), err);
    return rc < 0 ? rc : syn_json_set_take(all, tensor->name, SYN_TAKE(obj), err);
}

static int
add_task(json_t *list, const struct syn_graph_file *file, const struct syn_graph_task *task,
         struct syn_err *err)
{
    const struct syn_kernel *kernel = task->call.kernel;
    SYN_JSON(obj);
    SYN_JSON(args);
    SYN_JSON(params);
    SYN_JSON(after);
    int rc = syn_json_pack(&obj, err, "{s:s, s:s, s:i, s:i}", "name", task->name, "kernel",
                           kernel->name, "priority", task->priority, "repeat", (int)task->repeat);

    rc = rc < 0 ? rc : syn_json_pack(&args, err, "{}");
    rc = rc < 0 ? rc : syn_json_pack(&params, err, "{}");
    rc = rc < 0 ? rc : syn_json_pack(&after, err, "[]");
    for (unsigned i = 0; rc == SYN_OK && i < kernel->operands_count; i++)
        rc = syn_json_set_str(args, kernel->operands[i].name, file->tensors[task->tensors[i]].name,
                              err);
    for (unsigned i = 0; rc == SYN_OK && i < kernel->params_count; i++)
        rc =
            syn_json_set_take(params, kernel->params[i].name, json_real(task->call.params[i]), err);
    for (uint32_t i = 0; rc == SYN_OK && i < task->after_count; i++)
        rc = syn_json_append_take(after, json_string(file->tasks[task->after[i]].name), err);
    rc = rc < 0 ? rc : syn_json_set_take(obj, "args", SYN_TAKE(args), err);
    rc = rc < 0 ? rc : syn_json_set_take(obj, "params", SYN_TAKE(params), err);
    rc = rc < 0 ? rc : syn_json_set_take(obj, "after", SYN_TAKE(after), err);
    return rc < 0 ? rc : syn_json_append_take(list, SYN_TAKE(obj), err);
}

int
syn_graph_file_json(const struct syn_graph_file *file, json_t **ret, struct syn_err *err)
{
    SYN_JSON(root);
    SYN_JSON(tensors);
    SYN_JSON(tasks);
    int rc = syn_json_pack(&root, err, "{s:i}", "version", SYN_GRAPH_FILE_VERSION);

    rc = rc < 0 ? rc : syn_json_pack(&tensors, err, "{}");
    rc = rc < 0 ? rc : syn_json_pack(&tasks, err, "[]");
    for (uint32_t i = 0; rc == SYN_OK && i < file->tensors_count; i++)
        rc = add_tensor(tensors, &file->tensors[i], err);
    for (uint32_t i = 0; rc == SYN_OK && i < file->tasks_count; i++)
        rc = add_task(tasks, file, &file->tasks[i], err);
    rc = rc < 0 ? rc : syn_json_set_take(root, "tensors", SYN_TAKE(tensors), err);
    rc = rc < 0 ? rc : syn_json_set_take(root, "tasks", SYN_TAKE(tasks), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(root);
    return rc;
}

/* ---- content ---- */

/* A number from seed and place: splitmix64. */
static uint64_t
noise(uint64_t seed, uint64_t index)
{
    uint64_t z = seed * UINT64_C(0xd1342543de82ef95) + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* `index` counts numbers: two a complex element. */
static double
number_of(const struct syn_graph_tensor *tensor, uint64_t index, bool whole)
{
    uint64_t random = tensor->init == SYN_GRAPH_INIT_RANDOM ? noise(tensor->seed, index) : 0;

    switch (tensor->init) {
    case SYN_GRAPH_INIT_ONES:
        return 1;
    case SYN_GRAPH_INIT_IOTA:
        return (double)index;
    case SYN_GRAPH_INIT_RANDOM:
        return whole ? (double)(random % 201) - 100 : (double)(int64_t)random / 0x1p63;
    case SYN_GRAPH_INIT_NONE:
    case SYN_GRAPH_INIT_ZEROS:
    case SYN_GRAPH_INIT_FILE:
        break;
    }
    return 0;
}

static void
put_number(char *data, uint64_t at, const struct syn_dtype_info *info, double number)
{
    bool complex = info->family == SYN_DTYPE_COMPLEX;
    size_t bytes = info->bits / 8 / (complex ? 2 : 1);
    float narrow = (float)number;
    int64_t whole = complex || info->family == SYN_DTYPE_FLOAT ? 0 : (int64_t)number;

    if (complex || info->family == SYN_DTYPE_FLOAT)
        memcpy(data + at * bytes, bytes == sizeof(float) ? (const void *)&narrow : &number, bytes);
    else if (bytes == 8)
        memcpy(data + at * bytes, &whole, bytes);
    else if (bytes == 4)
        memcpy(data + at * bytes, &(uint32_t){(uint32_t)whole}, bytes);
    else if (bytes == 2)
        memcpy(data + at * bytes, &(uint16_t){(uint16_t)whole}, bytes);
    else
        memcpy(data + at, &(uint8_t){(uint8_t)whole}, 1);
}

void
syn_graph_tensor_fill(const struct syn_graph_tensor *tensor, void *data)
{
    const struct syn_shape *shape = &tensor->shape;
    const struct syn_dtype_info *info = syn_dtype_info(shape->dtype);
    bool complex = info->family == SYN_DTYPE_COMPLEX;
    bool whole = !complex && info->family != SYN_DTYPE_FLOAT;
    uint64_t count = 1;

    assert(tensor->init != SYN_GRAPH_INIT_NONE && tensor->init != SYN_GRAPH_INIT_FILE);
    for (unsigned i = 0; i < shape->dims; i++)
        count *= shape->sizes[i];
    memset(data, 0, syn_dtype_bytes(shape->dtype, count));
    if (tensor->init == SYN_GRAPH_INIT_ZEROS)
        return;
    for (uint64_t index = 0; index < count; index++) {
        uint64_t rest = index, at = 0;

        for (unsigned i = shape->dims; i > 0; i--) {
            at += rest % shape->sizes[i - 1] * shape->strides[i - 1];
            rest /= shape->sizes[i - 1];
        }
        if (!complex) {
            put_number(data, at, info, number_of(tensor, index, whole));
        } else if (tensor->init == SYN_GRAPH_INIT_RANDOM) {
            put_number(data, 2 * at, info, number_of(tensor, 2 * index, false));
            put_number(data, 2 * at + 1, info, number_of(tensor, 2 * index + 1, false));
        } else { /* real */
            put_number(data, 2 * at, info, number_of(tensor, index, false));
        }
    }
}
