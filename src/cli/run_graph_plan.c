/* compute run-graph --plan: what the strategy would do, by estimates. Nothing runs: tensors have
 * their shape and no content. */
#include <inttypes.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "run_graph_priv.h"

#define STEPS_MAX    (1U << 20)
#define ROWS_MAX     100 /* of the table; a program gets all */
#define COLUMNS_MAX  8   /* devices whose estimates the table shows */
#define HEADER_BYTES 640

/* A plan in the making. */
struct planned {
    struct syn_engine_step *steps;
    uint32_t *tasks;  /* by step: which of the file's it is */
    uint32_t *afters; /* what the steps' `after` lists lie in */
    uint32_t *last;   /* by task: its last step */
    uint32_t count;
    struct syn_plan_event *events; /* by step, once sorted */
    struct syn_plan_result result;
};

static void
planned_fini(struct planned *planned)
{
    syn_free(planned->steps);
    syn_free(planned->tasks);
    syn_free(planned->afters);
    syn_free(planned->last);
    syn_free(planned->events);
}

/* --- steps ----------------------------------------------------------------------------------- */

static int
make_room(const struct syn_run *run, struct planned *planned, struct syn_err *err)
{
    uint64_t steps = 0, afters = 0;

    for (uint32_t i = 0; i < run->file->tasks_count; i++) {
        const struct syn_graph_task *task = &run->file->tasks[i];

        steps += task->repeat;
        afters += (uint64_t)task->repeat * task->after_count;
    }
    if (steps > STEPS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "--plan: %" PRIu64 " calls, at most %u", steps,
                        STEPS_MAX);
    planned->steps = syn_calloc(steps + 1, sizeof(*planned->steps));
    planned->tasks = syn_calloc(steps + 1, sizeof(*planned->tasks));
    planned->events = syn_calloc(steps + 1, sizeof(*planned->events));
    planned->afters = syn_calloc(afters + 1, sizeof(*planned->afters));
    planned->last = syn_calloc((size_t)run->file->tasks_count + 1, sizeof(*planned->last));
    if (planned->steps == NULL || planned->tasks == NULL || planned->events == NULL ||
        planned->afters == NULL || planned->last == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a plan of %" PRIu64 " calls", steps);
    return SYN_OK;
}

static void
make_steps(const struct syn_run *run, struct planned *planned)
{
    uint32_t *after = planned->afters;

    for (uint32_t i = 0; i < run->file->tasks_count; i++) {
        const struct syn_graph_task *task = &run->file->tasks[i];

        for (unsigned n = 0; n < task->repeat; n++) {
            struct syn_engine_step *step = &planned->steps[planned->count];

            step->call.kernel = task->call.kernel;
            step->call.params = task->call.params;
            step->call.params_count = task->call.kernel->params_count;
            step->call.priority = task->priority;
            for (unsigned k = 0; k < task->call.kernel->operands_count; k++)
                step->call.tensors[k] = run->tensors[task->tensors[k]];
            step->after = after;
            step->after_count = task->after_count;
            for (uint32_t k = 0; k < task->after_count; k++)
                *after++ = planned->last[task->after[k]];
            planned->tasks[planned->count++] = i;
        }
        planned->last[i] = planned->count - 1;
    }
}

/* They come in the order of their ends. */
static int
sort_events(struct planned *planned, struct syn_err *err)
{
    struct syn_plan_event *sorted = syn_calloc((size_t)planned->count + 1, sizeof(*sorted));

    if (sorted == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a plan");
    for (uint32_t i = 0; i < planned->count; i++)
        sorted[planned->events[i].task] = planned->events[i];
    syn_free(planned->events);
    planned->events = sorted;
    return SYN_OK;
}

static int
make_plan(struct syn_run *run, struct planned *planned, struct syn_err *err)
{
    int rc = make_room(run, planned, err);

    for (uint32_t i = 0; rc == SYN_OK && i < run->file->tensors_count; i++)
        rc = syn_tensor_new(syn_engine_memory(run->engine), &run->file->tensors[i].shape,
                            &run->tensors[i], err);
    if (rc < 0)
        return rc;
    make_steps(run, planned);
    rc = syn_engine_plan(run->engine, planned->steps, planned->count, planned->events,
                         &planned->result, err);
    return rc < 0 ? rc : sort_events(planned, err);
}

/* --- the document ---------------------------------------------------------------------------- */

/* The first worker of each device that was asked for. */
struct columns {
    unsigned count;
    struct {
        unsigned worker;
        char device[sizeof(((struct syn_engine_worker *)NULL)->device)];
    } of[SYN_ENGINE_WORKERS_MAX];
};

static void
find_columns(const struct syn_run *run, struct columns *columns)
{
    columns->count = 0;
    for (unsigned i = 0; i < syn_engine_workers(run->engine); i++) {
        struct syn_engine_worker worker;
        unsigned known = 0;

        syn_engine_worker(run->engine, i, &worker);
        while (known < columns->count && !syn_str_eq(columns->of[known].device, worker.device))
            known++;
        if (known < columns->count || !syn_run_is_asked(run, worker.device))
            continue;
        columns->of[known].worker = i;
        (void)syn_str_copy(columns->of[known].device, sizeof(columns->of[known].device),
                           worker.device);
        columns->count++;
    }
}

static int
estimates_json(const struct syn_run *run, const struct columns *columns,
               const struct syn_engine_step *step, json_t **ret, struct syn_err *err)
{
    uint64_t ns[SYN_ENGINE_WORKERS_MAX] = {0};
    SYN_JSON(made);
    int rc = syn_json_pack(&made, err, "{}");

    rc = rc < 0 ? rc : syn_engine_estimate(run->engine, &step->call, ns, err);
    for (unsigned i = 0; rc == SYN_OK && i < columns->count; i++) {
        uint64_t mine = ns[columns->of[i].worker];

        rc = syn_json_set_take(made, columns->of[i].device,
                               mine == SYN_NEVER || mine == SYN_UNKNOWN_NS
                                   ? json_null()
                                   : json_integer((json_int_t)SYN_MIN(mine, INT64_MAX)),
                               err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

static int
tasks_json(const struct syn_run *run, const struct planned *planned, json_t **ret,
           struct syn_err *err)
{
    struct columns columns;
    SYN_JSON(list);
    SYN_JSON(estimates); /* the same for each repetition */
    int rc = syn_json_pack(&list, err, "[]");

    find_columns(run, &columns);
    for (uint32_t i = 0; rc == SYN_OK && i < planned->count; i++) {
        const struct syn_graph_task *task = &run->file->tasks[planned->tasks[i]];
        const struct syn_plan_event *event = &planned->events[i];
        struct syn_engine_worker worker;
        json_t *one = NULL;

        syn_engine_worker(run->engine, event->worker, &worker);
        if (i == 0 || planned->tasks[i] != planned->tasks[i - 1]) {
            json_decref(estimates);
            estimates = NULL;
            rc = estimates_json(run, &columns, &planned->steps[i], &estimates, err);
        }
        rc = rc < 0 ? rc
                    : syn_json_pack(&one, err, "{s:s, s:s, s:i, s:s, s:b, s:I, s:I, s:I, s:O}",
                                    "name", task->name, "kernel", task->call.kernel->name, "worker",
                                    (int)event->worker, "device", worker.device, "modelled",
                                    worker.modelled, "begin_ns", (json_int_t)event->begin_ns,
                                    "end_ns", (json_int_t)event->end_ns, "waited_ns",
                                    (json_int_t)(event->begin_ns - event->pop_ns), "estimates_ns",
                                    estimates);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

static int
workers_json(const struct syn_run *run, const struct planned *planned, json_t **ret,
             struct syn_err *err)
{
    uint64_t tasks[SYN_ENGINE_WORKERS_MAX] = {0}, busy[SYN_ENGINE_WORKERS_MAX] = {0};
    SYN_JSON(list);
    int rc = syn_json_pack(&list, err, "[]");

    for (uint32_t i = 0; i < planned->count; i++) {
        tasks[planned->events[i].worker]++;
        busy[planned->events[i].worker] += planned->events[i].end_ns - planned->events[i].begin_ns;
    }
    for (unsigned i = 0; rc == SYN_OK && i < syn_engine_workers(run->engine); i++) {
        struct syn_engine_worker worker;
        json_t *one = NULL;

        syn_engine_worker(run->engine, i, &worker);
        if (!syn_run_is_asked(run, worker.device))
            continue;
        rc = syn_json_pack(&one, err, "{s:i, s:s, s:s, s:b, s:I, s:I}", "worker", (int)i, "device",
                           worker.device, "model", worker.model, "modelled", worker.modelled,
                           "tasks", (json_int_t)tasks[i], "busy_ns", (json_int_t)busy[i]);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}

static int
plan_json(const struct syn_run *run, const struct planned *planned, json_t **ret,
          struct syn_err *err)
{
    const struct syn_plan_result *result = &planned->result;
    json_t *workers = NULL, *tasks = NULL;
    SYN_JSON(made);
    int rc = syn_json_pack(
        &made, err, "{s:s, s:b, s:s, s:I, s:I, s:s, s:{s:I, s:I, s:I}}", "file", run->path, "plan",
        true, "strategy", syn_cli_text(run->cli, "strategy", "heft"), "makespan_ns",
        (json_int_t)result->makespan_ns, "energy_uj", (json_int_t)result->energy_uj,
        "energy_source", syn_power_source_name(SYN_POWER_MODELLED), "transfers", "copies",
        (json_int_t)result->transfers, "copied_bytes", (json_int_t)result->moved_bytes, "evictions",
        (json_int_t)result->evictions);

    rc = rc < 0 ? rc : workers_json(run, planned, &workers, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "workers", workers, err);
    rc = rc < 0 ? rc : tasks_json(run, planned, &tasks, err);
    rc = rc < 0 ? rc : syn_json_set_take(made, "tasks", tasks, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(made);
    return rc;
}

/* --- tables ---------------------------------------------------------------------------------- */

static int
tasks_table(const struct syn_run *run, const json_t *tasks)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char header[HEADER_BYTES] = "TASK|KERNEL|DEVICE|>BEGIN|>END";
    const json_t *estimates = json_object_get(json_array_get(tasks, 0), "estimates_ns");
    const char *devices[COLUMNS_MAX];
    unsigned columns = 0;
    struct syn_err err;
    const char *device;
    const json_t *one;
    json_t *value;
    size_t i;

    json_object_foreach ((json_t *)(uintptr_t)estimates, device, value) {
        size_t len = strlen(header);

        if (columns == COLUMNS_MAX)
            break;
        (void)snprintf(header + len, sizeof(header) - len, "|>ON %s", device);
        devices[columns++] = device;
    }
    if (syn_cli_rows_new(header, &rows, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    json_array_foreach (tasks, i, one) {
        char text[SYN_FORMAT_MAX];

        if (i == ROWS_MAX)
            break;
        syn_cli_cell(rows, "%s", syn_json_str(one, "name", ""));
        syn_cli_cell(rows, "%s", syn_json_str(one, "kernel", ""));
        syn_cli_cell(rows, "%s", syn_json_str(one, "device", ""));
        syn_cli_cell(rows, "%s", syn_run_format_ns(json_object_get(one, "begin_ns"), text));
        syn_cli_cell(rows, "%s", syn_run_format_ns(json_object_get(one, "end_ns"), text));
        estimates = json_object_get(one, "estimates_ns");
        for (unsigned k = 0; k < columns; k++)
            syn_cli_cell(rows, "%s",
                         syn_run_format_ns(json_object_get(estimates, devices[k]), text));
    }
    return syn_cli_rows_print(run->cli, rows, "No task.");
}

static int
workers_table(const struct syn_run *run, const json_t *workers)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;
    const json_t *one;
    size_t i;

    if (syn_cli_rows_new("WORKER|DEVICE|>TASKS|>BUSY|MODEL|NOTE", &rows, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    json_array_foreach (workers, i, one) {
        char text[SYN_FORMAT_MAX];

        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "worker", 0));
        syn_cli_cell(rows, "%s", syn_json_str(one, "device", ""));
        syn_cli_cell(rows, "%" PRId64, syn_json_i64(one, "tasks", 0));
        syn_cli_cell(rows, "%s", syn_run_format_ns(json_object_get(one, "busy_ns"), text));
        syn_cli_cell(rows, "%s", syn_json_str(one, "model", ""));
        syn_cli_cell(rows, "%s", syn_json_bool(one, "modelled", false) ? "modelled" : "");
    }
    return syn_cli_rows_print(run->cli, rows, "No worker.");
}

static int
plan_tables(const struct syn_run *run, const json_t *document)
{
    const json_t *transfers = json_object_get(document, "transfers");
    const json_t *tasks = json_object_get(document, "tasks");
    char time[SYN_FORMAT_MAX], energy[SYN_FORMAT_MAX], copied[SYN_FORMAT_MAX];
    int status = tasks_table(run, tasks);

    if (status == 0 && json_array_size(tasks) > ROWS_MAX)
        syn_cli_note(run->cli, "%zu more tasks; --json has them all",
                     json_array_size(tasks) - ROWS_MAX);
    syn_cli_say(run->cli, "%s", "");
    if (status == 0)
        status = workers_table(run, json_object_get(document, "workers"));
    syn_cli_say(run->cli, "%s", "");
    syn_cli_say(run->cli, "Transfers: %" PRId64 " copies, %s; %" PRId64 " evictions",
                syn_json_i64(transfers, "copies", 0),
                syn_format_bytes(syn_json_i64(transfers, "copied_bytes", 0), copied),
                syn_json_i64(transfers, "evictions", 0));
    syn_cli_say(run->cli, "Would take: %s and %s (modelled), by %s. Nothing ran.",
                syn_run_format_ns(json_object_get(document, "makespan_ns"), time),
                syn_run_format_energy(json_object_get(document, "energy_uj"), energy),
                syn_json_str(document, "strategy", ""));
    return status;
}

int
syn_run_plan(struct syn_run *run)
{
    SYN_SCOPED(planned_fini) struct planned planned = {0};
    SYN_JSON(document);
    struct syn_err err = {0};

    if (make_plan(run, &planned, &err) < 0 || plan_json(run, &planned, &document, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    if (run->cli->json)
        return syn_cli_print_json_take(run->cli, json_incref(document));
    return plan_tables(run, document);
}
