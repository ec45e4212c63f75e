/* compute run-graph: the tasks of a file on this machine's processors, and what it took. Looks at
 * the machine itself; no platform has to run. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "commands_priv.h"
#include "run_graph_priv.h"

#define UNDER_WAY_MAX    65536 /* calls; then what was submitted is waited for */
#define MODELS_BYTES_MAX ((size_t)64 << 20)
#define EVENTS_MAX       ((size_t)1 << 22) /* that a trace keeps */
#define PIECES_MAX       255
#define CLASS_NAME_MAX   sizeof(((struct syn_worker_class *)0)->name)

static const struct syn_cli_option options[] = {
    {"devices", 0, "LIST", SYN_CLI_TEXT, 0, 0, false, false, NULL, "all real ones",
     "Only on these: cpu0,opencl0"},
    {"modelled", 0, "LIST", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL,
     "Add a modelled device for each of these profiles; it computes on the CPU"},
    {"strategy", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false,
     "heft|steal|eager|latency|energy|cost|round-robin|dmda|dmdas|heteroprio", "heft",
     "Who decides what runs where"},
    {"workers", 0, "N", SYN_CLI_INT, 1, SYN_ENGINE_WORKERS_MAX, false, false, NULL,
     "one a processor", "Threads of the CPU"},
    {"pieces", 0, "N", SYN_CLI_TEXT, 0, 0, false, false, NULL, "auto",
     "Pieces that a call is divided into, or auto: as many as pay"},
    {"repeat", 0, "N", SYN_CLI_INT, 1, SYN_RUN_ROUNDS_MAX, false, false, NULL, "1",
     "Run everything so often, each time on what the last one left"},
    {"device-memory", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "all of it",
     "Use so much of each device's own memory"},
    {"timeout", 0, "TIME", SYN_CLI_DURATION, 1, INT64_C(86400000), false, false, NULL, NULL,
     "A device that takes longer for a call is taken out"},
    {"models", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "Learnt times: read if there are some, added to afterwards"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Show what would run where and how long it would take, each task whole, and run nothing"},
    {"result", 0, "TENSOR", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL,
     "Show what this tensor holds in the end"},
    {"trace", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "Write a trace for ui.perfetto.dev or chrome://tracing"},
    {"gantt", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "Write what ran where and when as a picture (SVG)"},
    {"dot", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "Write the graph of tasks for graphviz"},
};

static const struct syn_cli_operand operands[] = {
    {"FILE", SYN_CLI_FILE, true, false,
     "The graph, as docs/kernels.md has it; - reads it from standard input"},
};

/* --- opening --------------------------------------------------------------------------------- */

static int
read_graph(struct syn_run *run, struct syn_err *err)
{
    bool input = syn_str_eq(run->path, "-");
    SYN_BUF(text);
    int rc = syn_cli_read_file(input ? "/dev/stdin" : run->path, SYN_JSON_BYTES_MAX, &text, err);

    rc = rc < 0 ? rc : syn_graph_file_parse(syn_buf_text(&text), text.len, &run->file, err);
    if (rc < 0)
        return rc == SYN_E_INVALID ? syn_err_wrap(err, rc, "%s", run->path) : rc;
    run->tensors = syn_calloc((size_t)run->file->tensors_count + 1, sizeof(struct syn_tensor *));
    run->tasks = syn_calloc((size_t)run->file->tasks_count + 1, sizeof(*run->tasks));
    run->rounds_ns =
        syn_calloc((size_t)syn_cli_number(run->cli, "repeat", 1), sizeof(*run->rounds_ns));
    if (run->tensors == NULL || run->tasks == NULL || run->rounds_ns == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "%s: no memory for its tasks", run->path);
    for (uint32_t i = 0; i < run->file->tasks_count; i++) {
        for (uint32_t k = 0; k < run->file->tasks[i].after_count; k++)
            run->tasks[run->file->tasks[i].after[k]].named = true;
    }
    return SYN_OK;
}

/* What is asked for and cannot be is said before anything runs. */
static int
check_wishes(struct syn_run *run, struct syn_err *err)
{
    static const char *const of_runs[] = {"result", "trace", "gantt", "dot", "repeat", "pieces"};
    const char *pieces = syn_cli_text(run->cli, "pieces", "auto");
    const struct syn_cli_value *wish;
    uint64_t number = SYN_PIECES_AUTO;
    size_t cursor = 0, index = 0;
    int rc = SYN_OK;

    for (size_t i = 0; syn_cli_has(run->cli, "plan") && i < SYN_LEN(of_runs); i++) {
        if (syn_cli_has(run->cli, of_runs[i]))
            return SYN_FAIL(err, SYN_E_INVALID, "--plan runs nothing: --%s is for a run",
                            of_runs[i]);
    }
    if (!syn_str_eq(pieces, "auto"))
        rc = syn_parse_u64(pieces, 1, PIECES_MAX, "--pieces", &number, err);
    run->pieces = (unsigned)number;
    while (rc == SYN_OK && (wish = syn_cli_next(run->cli, "result", &cursor)) != NULL) {
        rc = syn_run_find(run, wish->text, &index, err);
        rc = rc < 0 ? syn_err_wrap(err, rc, "--result") : rc;
    }
    return rc;
}

/* Add the classes that a model's text names, in its lines "class NUMBER NAME". */
static unsigned
add_classes(const char *text, char names[][CLASS_NAME_MAX], unsigned count)
{
    static const char word[] = "class ";

    for (const char *line = text; *line != '\0' && count < SYN_CLASSES_MAX;) {
        size_t len = strcspn(line, "\n");
        const char *name = syn_str_starts(line, word) ? strchr(line + strlen(word), ' ') : NULL;
        unsigned same = 0;

        if (name != NULL && name + 1 < line + len) {
            (void)snprintf(names[count], CLASS_NAME_MAX, "%.*s", (int)(line + len - name - 1),
                           name + 1);
            while (!syn_str_eq(names[same], names[count]))
                same++;
            count += same == count;
        }
        line += len + (line[len] == '\n');
    }
    return count;
}

/* A model of what both texts have learnt; `fresh` may be NULL. */
static int
join_models(const struct syn_buf *fresh, const struct syn_buf *old, struct syn_buf *out,
            struct syn_err *err)
{
    char names[SYN_CLASSES_MAX][CLASS_NAME_MAX];
    const char *pointers[SYN_CLASSES_MAX];
    struct syn_model *model = NULL;
    unsigned count = 0;
    int rc;

    /* Fresh ones first: there may be no room for all. */
    count = fresh != NULL ? add_classes(syn_buf_text(fresh), names, count) : 0;
    count = add_classes(syn_buf_text(old), names, count);
    for (unsigned i = 0; i < count; i++)
        pointers[i] = names[i];
    if (count == 0) /* then `old` is no model, and is told so */
        pointers[count++] = "none";
    rc = syn_model_new(pointers, count, &model, err);
    if (rc == SYN_OK && fresh != NULL)
        rc = syn_model_read(model, fresh->data, fresh->len, err);
    if (rc == SYN_OK && old->len > 0)
        rc = syn_model_read(model, old->data, old->len, err);
    if (rc == SYN_OK && out != NULL) {
        syn_model_write(model, out);
        rc = syn_buf_ok(out, err);
    }
    (void)syn_model_free(model);
    return rc;
}

static int
read_models(struct syn_run *run, struct syn_err *err)
{
    const char *path = syn_cli_text(run->cli, "models", NULL);
    int rc;

    if (path == NULL || (access(path, F_OK) != 0 && errno == ENOENT))
        return SYN_OK;
    rc = syn_cli_read_file(path, MODELS_BYTES_MAX, &run->models, err);
    if (rc < 0 || run->models.len == 0)
        return rc;
    rc = join_models(NULL, &run->models, NULL, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s", path) : rc;
}

static int
open_engine(struct syn_run *run, struct syn_err *err)
{
    const struct syn_cli *cli = run->cli;
    uint64_t limits[SYN_NODES_MAX] = {0}; /* the host's, node 0, is not limited */
    struct syn_engine_options how = {
        .devices = syn_cli_text(cli, "devices", NULL),
        .modelled = syn_cli_text(cli, "modelled", NULL),
        .strategy = syn_cli_text(cli, "strategy", NULL),
        .runtime = {.workers = (unsigned)syn_cli_number(cli, "workers", 0)},
        .node_bytes = limits,
        .node_bytes_count = SYN_LEN(limits),
        .device_timeout_ms = syn_cli_number(cli, "timeout", 0),
    };
    int rc = read_models(run, err);

    if (rc < 0)
        return rc;
    for (size_t i = 1; i < SYN_LEN(limits); i++)
        limits[i] = (uint64_t)syn_cli_number(cli, "device-memory", 0);
    if (run->models.len > 0) {
        how.models = run->models.data;
        how.models_len = run->models.len;
    }
    rc = syn_trace_new(&(struct syn_trace_options){.events_max = EVENTS_MAX}, &run->trace, err);
    if (rc < 0)
        return rc;
    syn_trace_switch(run->trace, true);
    how.trace = run->trace;
    return syn_engine_open(&how, &run->engine, err);
}

/* --- running --------------------------------------------------------------------------------- */

static void
on_done(void *arg, int code)
{
    struct syn_run_task *task = arg;
    int none = 0;

    if (code >= 0)
        return;
    (void)atomic_compare_exchange_strong(&task->code, &none, code);
    (void)atomic_fetch_add(&task->failed, 1);
}

/* A call of the file's task, but for what it waits for by name. */
static void
call_of(struct syn_run *run, uint32_t index, struct syn_task_call *ret_call)
{
    const struct syn_graph_task *task = &run->file->tasks[index];

    *ret_call = (struct syn_task_call){
        .kernel = task->call.kernel,
        .params = task->call.params,
        .params_count = task->call.kernel->params_count,
        .priority = task->priority,
        .pieces = run->pieces,
        .done = on_done,
        .done_arg = &run->tasks[index],
    };
    for (unsigned i = 0; i < task->call.kernel->operands_count; i++)
        ret_call->tensors[i] = run->tensors[task->tensors[i]];
}

static int
capture(struct syn_run *run, uint32_t index, struct syn_err *err)
{
    const struct syn_graph_task *task = &run->file->tasks[index];
    struct syn_run_task *mine = &run->tasks[index];
    uint32_t after[SYN_AFTER_MAX];
    struct syn_engine_step step = {.after = after, .after_count = task->after_count};
    int rc;

    call_of(run, index, &step.call);
    for (uint32_t i = 0; i < task->after_count; i++)
        after[i] = run->tasks[task->after[i]].last;
    mine->last = syn_engine_graph_count(run->graph);
    rc = syn_engine_graph_add(run->graph, &step, err);
    if (rc < 0) {
        on_done(mine, rc);
        return syn_err_wrap(err, rc, "%s", task->name);
    }
    return SYN_OK;
}

/* The strategy is to see the whole before it begins; unless there is so much that it is given to it
 * bit by bit. */
static int
capture_all(struct syn_run *run, struct syn_err *err)
{
    uint64_t calls = 0;
    int rc;

    for (uint32_t i = 0; i < run->file->tasks_count; i++)
        calls += run->file->tasks[i].repeat;
    if (calls > UNDER_WAY_MAX)
        return SYN_OK;
    rc = syn_engine_graph_new(run->engine, &run->graph, err);
    for (uint32_t i = 0; rc == SYN_OK && i < run->file->tasks_count; i++) {
        for (unsigned n = 0; rc == SYN_OK && n < run->file->tasks[i].repeat; n++)
            rc = capture(run, i, err);
    }
    return rc;
}

static int
submit(struct syn_run *run, uint32_t index, struct syn_err *err)
{
    const struct syn_graph_task *task = &run->file->tasks[index];
    struct syn_run_task *mine = &run->tasks[index];
    struct syn_task *after[SYN_AFTER_MAX];
    struct syn_task_call call;
    struct syn_task *handle = NULL;
    int rc;

    call_of(run, index, &call);
    call.after = after;
    call.after_count = (uint16_t)task->after_count;
    for (uint32_t i = 0; i < task->after_count; i++)
        after[i] = run->tasks[task->after[i]].handle;
    rc = syn_engine_submit(run->engine, &call, mine->named ? &handle : NULL, err);
    if (rc < 0) {
        on_done(mine, rc);
        return syn_err_wrap(err, rc, "%s", task->name);
    }
    run->calls++;
    if (mine->named) {
        if (mine->handle != NULL)
            (void)syn_task_release(mine->handle);
        mine->handle = handle;
    }
    return SYN_OK;
}

static int
submit_all(struct syn_run *run, struct syn_err *err)
{
    int rc = SYN_OK;

    if (run->graph != NULL) {
        if (syn_cli_interrupted())
            return SYN_FAIL(err, SYN_E_CANCELED, "interrupted");
        rc = syn_engine_graph_start(run->graph, err);
        run->calls += rc == SYN_OK ? syn_engine_graph_count(run->graph) : 0;
        return rc;
    }
    for (uint32_t i = 0; rc == SYN_OK && i < run->file->tasks_count; i++) {
        for (unsigned n = 0; rc == SYN_OK && n < run->file->tasks[i].repeat; n++) {
            rc = syn_cli_interrupted() ? SYN_FAIL(err, SYN_E_CANCELED, "interrupted")
                                       : submit(run, i, err);
            if (rc < 0 || run->calls % UNDER_WAY_MAX != 0)
                continue;
            rc = syn_engine_wait(run->engine, err);
            rc = rc < 0 ? rc : syn_trace_drain(run->trace, err);
        }
    }
    return rc;
}

/* One time through the file. What was submitted is over when it returns, also on failure. */
static int
run_round(struct syn_run *run, struct syn_err *err)
{
    uint64_t began = syn_trace_now();
    int rc = submit_all(run, err);
    struct syn_err late;
    int of_graph = run->graph != NULL ? syn_engine_graph_wait(run->graph, NULL) : SYN_OK;
    int ended = syn_engine_wait(run->engine, &late);

    assert(of_graph == SYN_OK || ended < 0); /* whose words name the kernel and no number */
    if (rc == SYN_OK && ended < 0) {
        *err = late;
        rc = ended;
    }
    for (uint32_t i = 0; i < run->file->tasks_count; i++) {
        if (run->tasks[i].handle != NULL)
            run->tasks[i].handle = syn_task_release(run->tasks[i].handle);
    }
    run->rounds_ns[run->rounds] = syn_trace_now() - began;
    run->elapsed_ns += run->rounds_ns[run->rounds++];
    return rc < 0 ? rc : syn_trace_drain(run->trace, err);
}

static int
run_all(struct syn_run *run, struct syn_err *err)
{
    uint64_t wanted = (uint64_t)syn_cli_number(run->cli, "repeat", 1);
    int rc = capture_all(run, err);

    while (rc == SYN_OK && run->rounds < wanted)
        rc = run_round(run, err);
    syn_memory_stats(syn_engine_memory(run->engine), &run->memory);
    return rc;
}

/* --- telling --------------------------------------------------------------------------------- */

static int
write_pictures(const struct syn_run *run, const struct syn_trace_data *data, struct syn_err *err)
{
    static const struct {
        const char *option;
        int (*write)(const struct syn_trace_data *data, struct syn_buf *out, struct syn_err *err);
    } pictures[] = {{"trace", syn_trace_write_chrome},
                    {"gantt", syn_trace_write_gantt},
                    {"dot", syn_trace_write_dot}};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(pictures); i++) {
        const char *path = syn_cli_text(run->cli, pictures[i].option, NULL);
        SYN_BUF(text);

        if (path == NULL)
            continue;
        rc = pictures[i].write(data, &text, err);
        rc = rc < 0 ? rc : syn_cli_write_file(path, &text, err);
    }
    return rc;
}

/* What the file knows of devices that were not here it goes on knowing. */
static int
write_models(const struct syn_run *run, struct syn_err *err)
{
    const char *path = syn_cli_text(run->cli, "models", NULL);
    SYN_BUF(fresh);
    SYN_BUF(text);
    int rc;

    if (path == NULL)
        return SYN_OK;
    syn_engine_models(run->engine, &fresh);
    rc = syn_buf_ok(&fresh, err);
    rc = rc < 0 ? rc : join_models(&fresh, &run->models, &text, err);
    return rc < 0 ? rc : syn_cli_write_file(path, &text, err);
}

static int
get_results(struct syn_run *run, json_t *list, struct syn_err *err)
{
    const struct syn_cli_value *wish;
    size_t cursor = 0, index = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && (wish = syn_cli_next(run->cli, "result", &cursor)) != NULL) {
        json_t *one = NULL;

        rc = syn_run_find(run, wish->text, &index, err);
        rc = rc < 0 ? rc : syn_run_result(run, index, &one, err);
        rc = rc < 0 ? rc : syn_json_append_take(list, one, err);
    }
    return rc;
}

/* The failed tasks that began it, each with those that fell with it. */
static void
say_failed(const struct syn_run *run, const json_t *failed)
{
    const json_t *one, *other;
    size_t i, k;

    json_array_foreach (failed, i, one) {
        const char *name = syn_json_str(one, "name", "");
        size_t count = 0;
        SYN_BUF(names);

        json_array_foreach (failed, k, other) {
            if (!syn_str_eq(syn_json_str(other, "because_of", NULL), name))
                continue;
            if (count++ < SYN_RUN_BLAMED_MAX)
                syn_buf_addf(&names, " %s", syn_json_str(other, "name", ""));
        }
        if (count > SYN_RUN_BLAMED_MAX)
            syn_buf_adds(&names, " ...");
        if (count > 0 || syn_json_str(one, "because_of", NULL) == NULL)
            syn_cli_note(run->cli, "%s (%s): %s%s%s", name, syn_json_str(one, "kernel", ""),
                         syn_json_str(one, "code", ""), count > 0 ? "; with it went" : "",
                         syn_buf_text(&names));
    }
}

static int
tell(struct syn_run *run, const struct syn_trace_data *data, struct syn_err *failure)
{
    SYN_JSON(results);
    SYN_JSON(document);
    struct syn_err err = {0};
    int rc = syn_json_pack(&results, &err, "[]");
    int status = 0;

    syn_run_blame(run);
    if (rc == SYN_OK && failure->code == 0 && get_results(run, results, failure) < 0)
        assert(failure->code < 0);
    rc = rc < 0 ? rc : syn_run_json(run, data, results, failure, &document, &err);
    if (rc < 0)
        return syn_cli_fail(run->cli, &err);
    if (run->cli->json)
        status = syn_cli_print_json_take(run->cli, json_incref(document));
    else
        status = syn_run_tables(run, document);
    if (failure->code >= 0)
        return status;
    say_failed(run, json_object_get(document, "failed"));
    fprintf(stderr, "synor: %s\n", failure->msg);
    return syn_cli_interrupted() ? SYN_CLI_INTERRUPTED : syn_err_info(failure->code)->exit;
}

static int
run_and_tell(struct syn_run *run)
{
    struct syn_trace_data *data = NULL;
    struct syn_err failure = {0}, err = {0};
    int status;

    if (syn_run_fill(run, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    if (run_all(run, &failure) == SYN_OK)
        failure.code = 0;
    syn_trace_switch(run->trace, false);
    if (syn_trace_collect(run->trace, &data, &err) < 0)
        return syn_cli_fail(run->cli, &err);
    /* Pictures show failures too; what was learnt before one is true. */
    if (write_pictures(run, data, &err) < 0 || write_models(run, &err) < 0)
        status = syn_cli_fail(run->cli, &err);
    else
        status = tell(run, data, &failure);
    (void)syn_trace_data_free(data);
    return status;
}

static void
run_fini(struct syn_run *run)
{
    struct syn_err err;

    (void)syn_engine_graph_free(run->graph);
    for (uint32_t i = 0; run->tensors != NULL && i < run->file->tensors_count; i++)
        (void)syn_tensor_free(run->tensors[i], &err);
    (void)syn_engine_close(run->engine);
    (void)syn_trace_free(run->trace);
    syn_free((void *)run->tensors);
    syn_free(run->tasks);
    syn_free(run->rounds_ns);
    (void)syn_graph_file_free(run->file);
    syn_buf_fini(&run->models);
}

static int
run_graph(struct syn_cli *cli)
{
    struct syn_run run = {.cli = cli, .path = syn_cli_operand(cli, 0)};
    struct syn_err err = {0};
    int status;

    if (read_graph(&run, &err) < 0 || check_wishes(&run, &err) < 0 || open_engine(&run, &err) < 0)
        status = syn_cli_fail(cli, &err);
    else if (syn_cli_has(cli, "plan"))
        status = syn_run_plan(&run);
    else
        status = run_and_tell(&run);
    run_fini(&run);
    return status;
}

const struct syn_cli_command syn_cli_run_graph = {
    .path = "compute run-graph",
    .summary = "Run a graph of tasks on this machine's processors",
    .detail =
        "Reads tensors and calls of kernels from FILE, runs them wherever they are done soonest, "
        "and tells what each worker did, what each kernel took and what was moved.\n\n"
        "A modelled device computes on the CPU and answers with modelled times and energy; what "
        "is said of it is marked. Times of kernels are when things happened here.\n\n"
        "With --plan the strategy decides on a model of this machine, by what is known of each "
        "kernel (--models, else by the processors' rates), and nothing is run or moved.\n\n"
        "Files that FILE names lie beside it. A task that fails is named, with those that needed "
        "its results.",
    .examples = "synor compute run-graph graph.json --result total\n"
                "  run it on everything that there is, show one tensor\n"
                "synor compute run-graph graph.json --modelled h100-sxm --gantt run.svg\n"
                "  with a modelled device, and a picture\n"
                "synor compute run-graph graph.json --modelled h100-sxm --plan\n"
                "  what such a device would do with it\n",
    .options = options,
    .option_count = SYN_LEN(options),
    .operands = operands,
    .operand_count = SYN_LEN(operands),
    .run = run_graph,
};
