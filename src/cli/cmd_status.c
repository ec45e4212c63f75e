/* status: does the platform run, and where. That it does not is an answer too, so watching it goes
 * on without a server, and begins without one. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "live_priv.h"
#include "platform_priv.h"

#define LOOK_AGAIN_MS 500 /* for a server that is away */

/* What there is to say where nobody answers. */
static int
absent(const struct syn_cli *cli, int rc, const struct syn_err *why, json_t **ret,
       struct syn_err *err)
{
    return syn_json_pack(ret, err, "{s:b, s:s, s:s, s:s, s:n, s:{}}", "ready", 0, "data_dir",
                         cli->home, "code", syn_err_info(rc)->wire, "message", why->msg, "hint",
                         "details");
}

static int
show_status(const struct syn_cli *cli, const json_t *status)
{
    const json_t *nodes = json_object_get(status, "nodes");
    char up[SYN_FORMAT_MAX];

    syn_cli_say(cli, "ready     %s, pid %lld, up %s",
                syn_json_bool(status, "ready", false) ? "yes" : "no",
                (long long)syn_json_i64(status, "pid", 0),
                syn_format_duration(syn_json_i64(status, "uptime_ms", 0), up));
    syn_cli_say(cli, "version   %s", syn_json_str(status, "version", "?"));
    syn_cli_say(cli, "address   %s", syn_json_str(status, "listen", "?"));
    if (syn_json_str(status, "fingerprint", NULL) != NULL)
        syn_cli_say(cli, "key       %s", syn_json_str(status, "fingerprint", ""));
    syn_cli_say(cli, "data      %s", syn_json_str(status, "data_dir", "?"));
    syn_cli_say(cli, "network   %s", syn_json_str(status, "network", "?"));
    syn_cli_say(cli, "nodes     %lld of %lld ready",
                (long long)json_integer_value(json_object_get(nodes, "ready")),
                (long long)json_integer_value(json_object_get(nodes, "total")));
    return syn_json_bool(status, "ready", false) ? 0 : 1;
}

/* --- watching --------------------------------------------------------------------------------- */

struct watch {
    struct syn_cli *cli;
    struct syn_cli_live live;
    json_t *status;   /* as the server said it, with the nodes as heard of since */
    int64_t asked_ms; /* when */
    int64_t uptime_ms;
    json_t *nodes;   /* id -> is it ready */
    bool counting;   /* all nodes are named */
    char shown[256]; /* what of the last row is news */
};

static void
status_cells(struct syn_cli_table_out *rows, const json_t *status)
{
    const json_t *nodes = json_object_get(status, "nodes");
    bool ready = syn_json_bool(status, "ready", false);

    syn_cli_cell(rows, "%s", ready ? "yes" : "no");
    if (nodes == NULL) {
        syn_cli_cell(rows, "-");
        syn_cli_cell(rows, "-");
        syn_cli_cell(rows, "-");
        syn_cli_cell(rows, "%s", syn_json_str(status, "message", "?"));
        return;
    }
    syn_cli_cell(rows, "%lld of %lld ready", (long long)syn_json_i64(nodes, "ready", 0),
                 (long long)syn_json_i64(nodes, "total", 0));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(status, "pid", 0));
    syn_cli_cell(rows, "%s", syn_json_str(status, "version", "?"));
    syn_cli_cell(rows, "%s", syn_json_str(status, "listen", "?"));
}

/* Show `status`, unless that would only say again what was said last. */
static int
tell(struct watch *watch, json_t *status, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    char text[sizeof(watch->shown)];
    SYN_BUF(news);
    int rc = syn_cli_rows_new("READY|NODES|>PID|VERSION|ADDRESS", &rows, err);

    if (rc < 0)
        return rc;
    status_cells(rows, status);
    if (syn_cli_rows_failed(rows))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a table");
    syn_cli_rows_news(rows, 0, &news);
    rc = syn_buf_ok(&news, err);
    (void)snprintf(text, sizeof(text), "%s", syn_buf_text(&news));
    if (rc < 0 || syn_str_eq(text, watch->shown))
        return rc;
    memcpy(watch->shown, text, sizeof(text));
    if (watch->cli->json)
        return syn_cli_print_json_take(watch->cli, json_incref(status)) == 0
                   ? SYN_OK
                   : SYN_FAIL(err, SYN_E_IO, "writing to standard output");
    return watch->cli->out_tty ? syn_cli_live_redraw(&watch->live, rows, err)
                               : syn_cli_live_append(&watch->live, rows, err);
}

/* The status with the nodes as they are now. */
static int
tell_nodes(struct watch *watch, struct syn_err *err)
{
    int64_t now_ms = syn_mono_ms(syn_world_system());
    json_t *nodes = NULL;
    int64_t ready = 0;
    const char *id;
    json_t *is_ready;
    int rc;

    json_object_foreach (watch->nodes, id, is_ready)
        ready += json_is_true(is_ready);
    rc = syn_json_pack(&nodes, err, "{s:I, s:I}", "ready", (json_int_t)ready, "total",
                       (json_int_t)json_object_size(watch->nodes));
    if (rc == SYN_OK)
        rc = syn_json_set_take(watch->status, "nodes", nodes, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(watch->status, "uptime_ms",
                              watch->uptime_ms + now_ms - watch->asked_ms, err);
    return rc < 0 ? rc : tell(watch, watch->status, err);
}

static int
on_node(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct watch *watch = arg;
    const char *id;
    SYN_JSON(node);
    int rc = syn_json_parse_object(event->data, event->len, &node, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "watching the nodes");
    if (syn_str_eq(event->name, "compacted"))
        return SYN_CLIENT_STOP;
    id = syn_json_str(node, "id", "");
    if (syn_str_eq(event->name, "put"))
        rc = syn_json_set_take(
            watch->nodes, id,
            json_boolean(syn_str_eq(json_string_value(syn_json_at(node, "status.state")), "ready")),
            err);
    else if (syn_str_eq(event->name, "delete"))
        (void)json_object_del(watch->nodes, id);
    else if (syn_str_eq(event->name, "synced"))
        watch->counting = true;
    return rc == SYN_OK && watch->counting ? tell_nodes(watch, err) : rc;
}

/* Tell of the nodes until the connection ends. */
static int
follow_nodes(struct watch *watch, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    int rc = syn_cli_connect(watch->cli, 0, 0, &client, err);

    if (rc < 0)
        return rc;
    syn_cli_cancel_on_signal(client);
    json_object_clear(watch->nodes);
    watch->counting = false;
    if (!syn_cli_interrupted())
        rc = syn_client_follow(client, "/v1/watch?kind=node", NULL, on_node, watch, err);
    syn_cli_cancel_on_signal(NULL);
    return rc;
}

/* Ask once, tell it, and go on as long as the server is there. */
static int
look(struct watch *watch, struct syn_err *err)
{
    struct syn_err why = {0};
    SYN_JSON(nobody);
    int rc;

    watch->status = (json_decref(watch->status), NULL);
    rc = syn_cli_probe(watch->cli, &watch->status, err);
    if (rc == SYN_OK) {
        watch->asked_ms = syn_mono_ms(syn_world_system());
        watch->uptime_ms = syn_json_i64(watch->status, "uptime_ms", 0);
        rc = tell(watch, watch->status, err);
    }
    if (rc == SYN_OK)
        rc = follow_nodes(watch, err);
    if (rc != SYN_E_UNAVAILABLE && rc != SYN_E_TIMEOUT)
        return rc;
    if (syn_cli_probe(watch->cli, NULL, &why) == SYN_OK)
        return SYN_OK; /* only the stream ended */
    rc = syn_cli_unreachable(watch->cli, rc, &why);
    rc = absent(watch->cli, rc, &why, &nobody, err);
    return rc < 0 ? rc : tell(watch, nobody, err);
}

static int
watch_status(struct syn_cli *cli)
{
    struct watch watch = {.cli = cli, .live = {.cli = cli}, .nodes = json_object()};
    struct syn_err err = {0};
    int rc = watch.nodes != NULL ? SYN_OK : SYN_FAIL(&err, SYN_E_NOMEM, "no memory to watch");

    cli->json_lines = true;
    while (rc == SYN_OK && !syn_cli_interrupted()) {
        rc = look(&watch, &err);
        if (rc == SYN_OK && !syn_cli_interrupted())
            (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
    json_decref(watch.status);
    json_decref(watch.nodes);
    return syn_cli_interrupted() ? SYN_CLI_INTERRUPTED : syn_cli_fail(cli, &err);
}

/* --- the command ------------------------------------------------------------------------------ */

static int
run_status(struct syn_cli *cli)
{
    SYN_JSON(status);
    SYN_JSON(nobody);
    struct syn_err err;
    struct syn_err short_of;
    int rc;

    if (syn_cli_has(cli, "watch"))
        return watch_status(cli);
    rc = syn_cli_probe(cli, &status, &err);
    if (rc < 0)
        rc = syn_cli_unreachable(cli, rc, &err);
    if (rc < 0 && cli->json) {
        if (absent(cli, rc, &err, &nobody, &short_of) < 0)
            return syn_cli_fail(cli, &short_of);
        (void)syn_cli_print_json_take(cli, SYN_TAKE(nobody));
        return 1;
    }
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json) {
        bool ready = syn_json_bool(status, "ready", false);
        int failed = syn_cli_print_json_take(cli, SYN_TAKE(status));

        return failed != 0 || !ready ? 1 : 0;
    }
    return show_status(cli, status);
}

static const struct syn_cli_option status_options[] = {
    {"data-dir", 0, "DIR", SYN_CLI_DIR, 0, 0, false, false, NULL, "--home",
     "Where its state is kept"},
    SYN_CLI_WATCH_OPTION,
};

const struct syn_cli_command syn_cli_status_command = {
    .path = "status",
    .summary = "Say whether the platform runs, and where; exit status 1 when not",
    .detail = SYN_CLI_WATCH_DETAIL " That the platform is away is told as a change, too.",
    .options = status_options,
    .option_count = SYN_LEN(status_options),
    .run = run_status};
