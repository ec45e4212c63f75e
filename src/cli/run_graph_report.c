/* What compute run-graph tells of a run. The document is made first; the tables are read off it, so
 * that people and programs are told the same. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "run_graph_priv.h"

/* --- failures -------------------------------------------------------------------------------- */

/* The failed task before `index` that it had to wait for: by name, or for a tensor that either of
 * them writes. `last` is by tensor: the last failed task that used it. */
static const struct syn_run_task *
cause_of(const struct syn_run *run, uint32_t index, const struct syn_run_task *const *last)
{
    const struct syn_graph_task *task = &run->file->tasks[index];

    for (uint32_t i = 0; i < task->after_count; i++) {
        if (atomic_load(&run->tasks[task->after[i]].code) < 0)
            return &run->tasks[task->after[i]];
    }
    for (unsigned i = 0; i < task->call.kernel->operands_count; i++) {
        if (last[task->tensors[i]] != NULL)
            return last[task->tensors[i]];
    }
    return NULL;
}

void
syn_run_blame(struct syn_run *run)
{
    const struct syn_run_task **last =
        syn_calloc((size_t)run->file->tensors_count + 1, sizeof(struct syn_run_task *));

    for (uint32_t i = 0; last != NULL && i < run->file->tasks_count; i++) {
        const struct syn_graph_task *task = &run->file->tasks[i];
        struct syn_run_task *mine = &run->tasks[i];

        if (atomic_load(&mine->code) >= 0)
            continue;
        mine->of = cause_of(run, i, last);
        if (mine->of != NULL && mine->of->of != NULL)
            mine->of = mine->of->of; /* the one that began it */
        for (unsigned k = 0; k < task->call.kernel->operands_count; k++) {
            if ((syn_kernel_access(&task->call, k) & SYN_WRITE) != 0)
                last[task->tensors[k]] = mine;
        }
    }
    syn_free((void *)last);
}

static int
failed_json(const struct syn_run *run, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = syn_json_pack(&list, err, "[]");

    for (uint32_t i = 0; rc == SYN_OK && i < run->file->tasks_count; i++) {
        const struct syn_run_task *task = &run->tasks[i];
        int code = atomic_load(&task->code);
        const char *of = NULL;
        json_t *one = NULL;

        if (code >= 0)
            continue;
        if (task->of != NULL)
            of = run->file->tasks[task->of - run->tasks].name;
        rc = syn_json_pack(&one, err, "{s:s, s:s, s:s, s:I, s:s?}", "name",
                           run->file->tasks[i].name, "kernel",
                           run->file->tasks[i].call.kernel->name, "code", syn_err_info(code)->wire,
                           "times", (json_int_t)atomic_load(&task->failed), "because_of", of);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* --- workers --------------------------------------------------------------------------------- */

bool
syn_run_is_asked(const struct syn_run *run, const char *device)
{
    const char *list = syn_cli_text(run->cli, "devices", NULL);
    size_t len = strlen(device);

    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t part = strcspn(at, ",");

        if (part == len && memcmp(at, device, len) == 0)
            return true;
        at += part + (at[part] == ',');
    }
    return list == NULL;
}

static int
worker_json(const struct syn_engine_worker *worker, unsigned index, json_t **ret,
            struct syn_err *err)
{
    bool known = worker->energy_source != SYN_POWER_UNKNOWN;

    return syn_json_pack(ret, err, "{s:i, s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:s, s:b, s:s?}",
                         "worker", (int)index, "device", worker->device, "model", worker->model,
                         "modelled", worker->modelled, "tasks", (json_int_t)worker->tasks, "failed",
                         (json_int_t)worker->failed, "busy_ns", (json_int_t)worker->busy_ns,
                         "energy_uj",
                         known ? json_integer((json_int_t)worker->energy_uj) : json_null(),
                         "energy_source", syn_power_source_name(worker->energy_source), "lost",
                         worker->lost, "reason", worker->lost ? worker->reason : NULL);
}

static int
workers_json(const struct syn_run *run, json_t **ret, struct syn_err *err)
{
    SYN_JSON(list);
    int rc = syn_json_pack(&list, err, "[]");

    for (unsigned i = 0; rc == SYN_OK && i < syn_engine_workers(run->engine); i++) {
        struct syn_engine_worker worker;
        json_t *one = NULL;

        syn_engine_worker(run->engine, i, &worker);
        if (!syn_run_is_asked(run, worker.device))
            continue;
        rc = worker_json(&worker, i, &one, err);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* --- kernels --------------------------------------------------------------------------------- */

static uint64_t
length(const struct syn_trace_event *event)
{
    return event->end_ns - event->begin_ns;
}

/* By kernel and device; of one pair the failed first, then by how long they took. */
static int
by_kernel(const void *a, const void *b)
{
    const struct syn_trace_event *x = *(const struct syn_trace_event *const *)a;
    const struct syn_trace_event *y = *(const struct syn_trace_event *const *)b;

    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if ((x->code != 0) != (y->code != 0))
        return x->code != 0 ? -1 : 1;
    return (length(x) > length(y)) - (length(x) < length(y));
}

/* The runs of one kernel on one device, sorted. */
static int
kernel_json(const struct syn_trace_data *data, const struct syn_trace_event *const *runs,
            size_t count, json_t **ret, struct syn_err *err)
{
    const struct syn_trace_device *device = &data->scene.devices[runs[0]->device];
    const struct syn_trace_event *const *good = runs;
    uint64_t sum = 0;
    int rc;

    while (good < runs + count && (*good)->code != 0)
        good++;
    rc = syn_json_pack(ret, err, "{s:s, s:s, s:b, s:I, s:I}", "kernel", data->names[runs[0]->name],
                       "device", device->name, "modelled", device->modelled, "count",
                       (json_int_t)count, "failed", (json_int_t)(good - runs));
    count -= (size_t)(good - runs);
    if (rc < 0 || count == 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        sum += length(good[i]);
    rc = syn_json_set_i64(*ret, "mean_ns", (int64_t)(sum / count), err);
    rc = rc < 0 ? rc
                : syn_json_set_i64(*ret, "p50_ns",
                                   (int64_t)length(good[(count * 50 + 99) / 100 - 1]), err);
    rc = rc < 0 ? rc
                : syn_json_set_i64(*ret, "p95_ns",
                                   (int64_t)length(good[(count * 95 + 99) / 100 - 1]), err);
    return rc < 0 ? rc : syn_json_set_i64(*ret, "max_ns", (int64_t)length(good[count - 1]), err);
}

static int
group_kernels(const struct syn_trace_data *data, const struct syn_trace_event **runs, size_t count,
              json_t *list, struct syn_err *err)
{
    size_t first = 0;
    int rc = SYN_OK;

    qsort((void *)runs, count, sizeof(struct syn_trace_event *), by_kernel);
    for (size_t i = 1; rc == SYN_OK && i <= count; i++) {
        json_t *one = NULL;

        if (i < count && runs[i]->name == runs[first]->name &&
            runs[i]->device == runs[first]->device)
            continue;
        rc = kernel_json(data, runs + first, i - first, &one, err);
        if (rc < 0)
            json_decref(one);
        else
            rc = syn_json_append_take(list, one, err);
        first = i;
    }
    return rc;
}

/* What ran somewhere; a call that was divided did not, its pieces did. */
static int
kernels_json(const struct syn_trace_data *data, json_t **ret, struct syn_err *err)
{
    const struct syn_trace_event **runs =
        syn_calloc(data->events_count + 1, sizeof(struct syn_trace_event *));
    SYN_JSON(list);
    size_t count = 0;
    int rc;

    if (runs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "statistics of %zu events", data->events_count);
    for (size_t i = 0; i < data->events_count; i++) {
        const struct syn_trace_event *event = &data->events[i];

        if (event->kind == SYN_TRACE_TASK && event->device < data->scene.devices_count &&
            event->name < data->names_count)
            runs[count++] = event;
    }
    rc = syn_json_pack(&list, err, "[]");
    rc = rc < 0 ? rc : group_kernels(data, runs, count, list, err);
    syn_free((void *)runs);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

/* --- the document ---------------------------------------------------------------------------- */

static int
add_counts(const struct syn_run *run, json_t *made, struct syn_err *err)
{
    struct syn_engine_stats stats;
    json_t *calls = NULL, *transfers = NULL, *rounds = json_array();
    int rc = SYN_OK;

    for (uint64_t i = 0; rc == SYN_OK && i < run->rounds; i++)
        rc = syn_json_append_take(rounds, json_integer((json_int_t)run->rounds_ns[i]), err);
    if (rc < 0)
        json_decref(rounds);
    rc = rc < 0 ? rc : syn_json_set_take(made, "rounds_ns", rounds, err);
    syn_engine_stats(run->engine, &stats);
    rc = rc < 0
             ? rc
             : syn_json_pack(&calls, err, "{s:I, s:I, s:I, s:I}", "submitted",
                             (json_int_t)run->calls, "failed", (json_int_t)stats.failed, "divided",
                             (json_int_t)stats.divided, "again", (json_int_t)stats.again);
    rc = rc < 0 ? rc : syn_json_set_take(made, "calls", calls, err);
    rc = rc < 0 ? rc
                : syn_json_pack(&transfers, err, "{s:I, s:I, s:I, s:I, s:I}", "copies",
                                (json_int_t)run->memory.copies, "copied_bytes",
                                (json_int_t)run->memory.copied_bytes, "prefetches",
                                (json_int_t)run->memory.prefetches, "evictions",
                                (json_int_t)run->memory.evictions, "written_back_bytes",
                                (json_int_t)run->memory.written_back_bytes);
    return rc < 0 ? rc : syn_json_set_take(made, "transfers", transfers, err);
}

int
syn_run_json(const struct syn_run *run, const struct syn_trace_data *data, json_t *results,
             const struct syn_err *failure, json_t **ret, struct syn_err *err)
{
    json_t *workers = NULL, *kernels = NULL, *failed = NULL;
    SYN_JSON(made);
    int rc = syn_json_pack(&made, err, "{s:s, s:s, s:I}", "file", run->path, "strategy",
                           syn_cli_text(run->cli, "strategy", "heft"), "elapsed_ns",
                           (json_int_t)run->elapsed_ns);

    rc = rc < 0 ? rc : add_counts(run, made, err);
    rc = rc < 0 ? rc : workers_json(run, &workers, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "workers", workers, err);
    rc = rc < 0 ? rc : kernels_json(data, &kernels, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "kernels", kernels, err);
    rc = rc < 0 ? rc : syn_json_set_i64(made, "events_dropped", (int64_t)data->dropped, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "results", json_incref(results), err);
    rc = rc < 0 ? rc : failed_json(run, &failed, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "failed", failed, err);
    if (rc == SYN_OK && failure->code < 0) {
        rc = syn_json_set_str(made, "code", syn_err_info(failure->code)->wire, err);
        rc = rc < 0 ? rc : syn_json_set_str(made, "message", failure->msg, err);
        rc = rc < 0 ? rc : syn_json_set_take(made, "hint", json_null(), err);
        rc = rc < 0 ? rc : syn_json_set_take(made, "details", json_object(), err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

/* --- tables ---------------------------------------------------------------------------------- */

const char *
syn_run_format_ns(const json_t *number, char *out)
{
    static const char *const units[] = {"us", "ms", "s"};
    uint64_t ns = (uint64_t)json_integer_value(number), tenths = (ns + 50) / 100;
    size_t i = 0;

    if (!json_is_integer(number))
        return "-";
    if (ns < 1000) {
        (void)snprintf(out, SYN_FORMAT_MAX, "%" PRIu64 " ns", ns);
        return out;
    }
    for (; tenths >= 10000 && i + 1 < SYN_LEN(units); i++)
        tenths = (tenths + 500) / 1000;
    (void)snprintf(out, SYN_FORMAT_MAX, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
                   units[i]);
    return out;
}

const char *
syn_run_format_energy(const json_t *number, char *out)
{
    uint64_t uj = (uint64_t)json_integer_value(number);

    if (!json_is_integer(number))
        return "-";
    if (uj < 1000000)
        (void)snprintf(out, SYN_FORMAT_MAX, "%" PRIu64 ".%03" PRIu64 " mJ", uj / 1000, uj % 1000);
    else
        (void)snprintf(out, SYN_FORMAT_MAX, "%" PRIu64 ".%03" PRIu64 " J", uj / 1000000,
                       uj / 1000 % 1000);
    return out;
}

static int
workers_table(const struct syn_run *run, const json_t *workers)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;
    const json_t *one;
    size_t i;

    if (syn_cli_rows_new("WORKER|DEVICE|>TASKS|>BUSY|>ENERGY|SOURCE|MODEL|NOTE", &rows, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    json_array_foreach (workers, i, one) {
        bool modelled = syn_json_bool(one, "modelled", false);
        const char *reason = syn_json_str(one, "reason", NULL);
        char text[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "worker", 0));
        syn_cli_cell(rows, "%s", syn_json_str(one, "device", ""));
        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "tasks", 0));
        syn_cli_cell(rows, "%s", syn_run_format_ns(json_object_get(one, "busy_ns"), text));
        syn_cli_cell(rows, "%s", syn_run_format_energy(json_object_get(one, "energy_uj"), text));
        syn_cli_cell(rows, "%s", syn_json_str(one, "energy_source", ""));
        syn_cli_cell(rows, "%s", syn_json_str(one, "model", ""));
        syn_cli_cell(rows, "%s%s%s", modelled ? "modelled" : "",
                     reason == NULL ? "" : (modelled ? ", lost: " : "lost: "),
                     reason == NULL ? "" : reason);
    }
    return syn_cli_rows_print(run->cli, rows, "No worker.");
}

static int
kernels_table(const struct syn_run *run, const json_t *kernels)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    static const char *const times[] = {"mean_ns", "p50_ns", "p95_ns", "max_ns"};
    struct syn_err err;
    const json_t *one;
    size_t i;

    if (syn_cli_rows_new("KERNEL|DEVICE|>COUNT|>FAILED|>MEAN|>P50|>P95|>MAX|NOTE", &rows, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    json_array_foreach (kernels, i, one) {
        char text[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%s", syn_json_str(one, "kernel", ""));
        syn_cli_cell(rows, "%s", syn_json_str(one, "device", ""));
        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "count", 0));
        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "failed", 0));
        for (size_t k = 0; k < SYN_LEN(times); k++)
            syn_cli_cell(rows, "%s", syn_run_format_ns(json_object_get(one, times[k]), text));
        syn_cli_cell(rows, "%s",
                     syn_json_bool(one, "modelled", false) ? "modelled, times are the host's" : "");
    }
    return syn_cli_rows_print(run->cli, rows, "Nothing ran.");
}

static void
say_result(const struct syn_run *run, const json_t *one)
{
    static const char *const keys[] = {"min", "max", "sum", "nan", "first", "fnv1a64"};
    SYN_BUF(line);

    syn_buf_addf(&line, "%s: %s [", syn_json_str(one, "tensor", ""),
                 syn_json_str(one, "dtype", ""));
    for (size_t i = 0; i < json_array_size(json_object_get(one, "shape")); i++)
        syn_buf_addf(&line, "%s%" PRId64, i > 0 ? ", " : "",
                     (int64_t)json_integer_value(json_array_get(json_object_get(one, "shape"), i)));
    syn_buf_addc(&line, ']');
    for (size_t i = 0; i < SYN_LEN(keys); i++) {
        const json_t *value = json_object_get(one, keys[i]);
        char *text =
            value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

        if (text != NULL)
            syn_buf_addf(&line, "  %s %s", keys[i],
                         json_is_string(value) ? json_string_value(value) : text);
        syn_free(text);
    }
    syn_cli_say(run->cli, "%s", syn_buf_text(&line));
}

int
syn_run_tables(const struct syn_run *run, const json_t *document)
{
    const json_t *transfers = json_object_get(document, "transfers");
    const json_t *results = json_object_get(document, "results");
    char time[SYN_FORMAT_MAX], copied[SYN_FORMAT_MAX], back[SYN_FORMAT_MAX];
    int status = workers_table(run, json_object_get(document, "workers"));
    const json_t *one;
    size_t i;

    syn_cli_say(run->cli, "%s", "");
    if (status == 0)
        status = kernels_table(run, json_object_get(document, "kernels"));
    syn_cli_say(run->cli, "%s", "");
    syn_cli_say(run->cli,
                "Transfers: %" PRId64 " copies, %s; %" PRId64 " evictions, %s written back",
                syn_json_i64(transfers, "copies", 0),
                syn_format_bytes(syn_json_i64(transfers, "copied_bytes", 0), copied),
                syn_json_i64(transfers, "evictions", 0),
                syn_format_bytes(syn_json_i64(transfers, "written_back_bytes", 0), back));
    syn_cli_say(run->cli, "Elapsed: %s for %" PRIu64 " calls in %" PRIu64 " %s, by %s",
                syn_run_format_ns(json_object_get(document, "elapsed_ns"), time), run->calls,
                run->rounds, syn_plural((int64_t)run->rounds, "round", "rounds"),
                syn_json_str(document, "strategy", ""));
    json_array_foreach (results, i, one)
        say_result(run, one);
    if (syn_json_i64(document, "events_dropped", 0) > 0)
        syn_cli_note(run->cli, "%" PRId64 " events of the trace are missing for want of room",
                     syn_json_i64(document, "events_dropped", 0));
    return status;
}
