/* Resources as they change. The server first tells what there is, then every change; a connection
 * that breaks is made anew, and what there is then is held against what was shown: whatever was
 * missed comes out as changes, and what is not named any more is gone. So nothing depends on how
 * far back the server's history reaches. */
#include <stdlib.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "live_priv.h"

#define RESOURCES_MAX 100000

struct watch {
    struct syn_cli *cli;
    const struct syn_cli_view *view;
    const char *state; /* only these; NULL: all */
    bool single;
    struct syn_cli_live live;
    json_t *known; /* id -> resource, as shown */
    json_t *news;  /* id -> what of its row is news, as text */
    json_t *first; /* id -> resource, of the snapshot under way; NULL: there is none */
    bool begun;    /* the first snapshot is through */
    bool heard;    /* something came on this connection */
    bool gone;     /* the single one is */
};

static void
watch_fini(struct watch *watch)
{
    json_decref(watch->known);
    json_decref(watch->news);
    json_decref(watch->first);
}

/* --- showing ---------------------------------------------------------------------------------- */

/* A row to be, borrowed from what is known. */
struct row {
    const json_t *resource;
};

static int
newer(const void *a, const void *b)
{
    const struct row *left = a;
    const struct row *right = b;

    return strcmp(syn_json_str(right->resource, "created_at", ""),
                  syn_json_str(left->resource, "created_at", ""));
}

/* The resources in the order of the list. */
static int
in_order(const struct syn_cli_view *view, json_t *set, struct row **ret, size_t *ret_count,
         struct syn_err *err)
{
    size_t count = json_object_size(set);
    struct row *sorted = syn_calloc(count + 1, sizeof(*sorted));
    const char *id;
    json_t *resource;
    size_t i = 0;

    if (sorted == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    json_object_foreach (set, id, resource)
        sorted[i++].resource = resource;
    if (view->newest_first)
        qsort(sorted, count, sizeof(*sorted), newer);
    *ret = sorted;
    *ret_count = count;
    return SYN_OK;
}

static int
make_rows(const struct syn_cli_view *view, const struct row *sorted, size_t count,
          struct syn_cli_table_out **ret, struct syn_err *err)
{
    struct syn_cli_table_out *rows;
    int rc = syn_cli_rows_new(view->titles, &rows, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        view->cells(rows, sorted[i].resource);
    if (syn_cli_rows_failed(rows)) {
        (void)syn_cli_rows_free(rows);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a table");
    }
    *ret = rows;
    return SYN_OK;
}

/* All that is known, anew. */
static int
redraw(struct watch *watch, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct row *sorted = NULL;
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    size_t count = 0;
    int rc = in_order(watch->view, watch->known, &sorted, &count, err);

    if (rc == SYN_OK)
        rc = make_rows(watch->view, sorted, count, &rows, err);
    return rc < 0 ? rc : syn_cli_live_redraw(&watch->live, rows, err);
}

/* A row of its own, unless it would only say again what the last one of that resource said. */
static int
append(struct watch *watch, const char *id, const json_t *resource, struct syn_err *err)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    const struct row row = {resource};
    SYN_BUF(news);
    int rc = make_rows(watch->view, &row, 1, &rows, err);

    if (rc < 0)
        return rc;
    syn_cli_rows_news(rows, 0, &news);
    rc = syn_buf_ok(&news, err);
    if (rc < 0 || syn_str_eq(syn_json_str(watch->news, id, ""), syn_buf_text(&news)))
        return rc;
    rc = syn_json_set_str(watch->news, id, syn_buf_text(&news), err);
    return rc < 0 ? rc : syn_cli_live_append(&watch->live, rows, err);
}

static int
print_line(const struct watch *watch, const json_t *value, struct syn_err *err)
{
    if (syn_cli_print_json_take(watch->cli, json_incref((json_t *)(uintptr_t)value)) != 0)
        return SYN_FAIL(err, SYN_E_IO, "writing to standard output");
    return SYN_OK;
}

static int
show(struct watch *watch, const char *id, const json_t *resource, struct syn_err *err)
{
    if (watch->cli->json)
        return print_line(watch, resource, err);
    return watch->cli->out_tty ? redraw(watch, err) : append(watch, id, resource, err);
}

/* --- what the server says --------------------------------------------------------------------- */

static bool
is_wanted(const struct watch *watch, const json_t *resource)
{
    return watch->state == NULL ||
           syn_str_eq(watch->state, syn_json_str(json_object_get(resource, "status"), "state", ""));
}

/* A resource is as it says. One that has left the wanted state is shown once more, leaving. */
static int
take(struct watch *watch, const char *id, json_t *resource, struct syn_err *err)
{
    const json_t *before = json_object_get(watch->known, id);
    bool wanted = is_wanted(watch, resource);
    int rc = SYN_OK;

    if ((before == NULL && !wanted) || (before != NULL && json_equal(before, resource)))
        return SYN_OK;
    if (wanted)
        rc = syn_json_set_take(watch->known, id, json_incref(resource), err);
    else
        (void)json_object_del(watch->known, id);
    if (rc == SYN_OK)
        rc = show(watch, id, resource, err);
    if (!wanted)
        (void)json_object_del(watch->news, id);
    return rc;
}

static int
lose(struct watch *watch, const char *id, struct syn_err *err)
{
    SYN_JSON(resource);
    SYN_JSON(line);
    int rc = SYN_OK;

    resource = json_incref(json_object_get(watch->known, id));
    if (resource == NULL)
        return SYN_OK;
    watch->gone = watch->single;
    if (watch->gone)
        return SYN_OK; /* the error says it */
    if (watch->cli->json) {
        rc = syn_json_pack(&line, err, "{s:s, s:b}", "id", id, "deleted", 1);
        if (rc == SYN_OK)
            rc = print_line(watch, line, err);
    } else if (!watch->cli->out_tty) {
        json_t *status = json_object_get(resource, "status");

        rc = syn_json_set_str(status, "state", "deleted", err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(status, "reason", "", err);
        if (rc == SYN_OK)
            rc = append(watch, id, resource, err);
    }
    (void)json_object_del(watch->known, id);
    (void)json_object_del(watch->news, id);
    return rc == SYN_OK && watch->cli->out_tty && !watch->cli->json ? redraw(watch, err) : rc;
}

/* The first state: shown as the list is. */
static int
show_first(struct watch *watch, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct row *sorted = NULL;
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    size_t count = 0;
    int rc = in_order(watch->view, watch->known, &sorted, &count, err);

    if (count == 0 && !watch->cli->json)
        syn_cli_note(watch->cli, "%s", watch->view->empty);
    if (rc < 0 || (watch->cli->out_tty && !watch->cli->json))
        return rc < 0 ? rc : redraw(watch, err);
    if (!watch->cli->json) { /* so that the rows are in line with each other */
        rc = make_rows(watch->view, sorted, count, &rows, err);
        if (rc == SYN_OK)
            syn_cli_rows_fit(rows, watch->live.widths);
    }
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = show(watch, syn_json_str(sorted[i].resource, "id", ""), sorted[i].resource, err);
    return rc;
}

static int
begin(struct watch *watch, json_t *first, struct syn_err *err)
{
    const char *id;
    json_t *resource;
    int rc = SYN_OK;

    watch->begun = true;
    json_object_foreach (first, id, resource) {
        if (rc == SYN_OK && is_wanted(watch, resource))
            rc = syn_json_set_take(watch->known, id, json_incref(resource), err);
    }
    return rc < 0 ? rc : show_first(watch, err);
}

/* The snapshot is through: what it says is shown where it is new, and what it does not name is
 * gone. */
static int
synced(struct watch *watch, struct syn_err *err)
{
    SYN_JSON(first);
    SYN_JSON(before);
    const char *id;
    json_t *resource;
    int rc = SYN_OK;

    first = SYN_TAKE(watch->first);
    if (first == NULL)
        return SYN_OK;
    if (!watch->begun)
        return begin(watch, first, err);
    before = syn_json_copy(watch->known);
    if (before == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    json_object_foreach (before, id, resource) {
        if (rc == SYN_OK && json_object_get(first, id) == NULL)
            rc = lose(watch, id, err);
    }
    json_object_foreach (first, id, resource) {
        if (rc == SYN_OK)
            rc = take(watch, id, resource, err);
    }
    return rc;
}

static int
on_resource(struct watch *watch, bool put, json_t *resource, struct syn_err *err)
{
    const char *id = syn_json_str(resource, "id", "");

    if (id[0] == '\0')
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server told of a resource without id");
    if (json_object_size(watch->known) >= RESOURCES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d to watch", RESOURCES_MAX);
    if (!put)
        return lose(watch, id, err);
    return watch->first != NULL ? syn_json_set_take(watch->first, id, json_incref(resource), err)
                                : take(watch, id, resource, err);
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct watch *watch = arg;
    bool put = syn_str_eq(event->name, "put");
    SYN_JSON(resource);
    int rc = SYN_OK;

    watch->heard = true;
    if (syn_str_eq(event->name, "compacted")) /* too far behind: look anew */
        return SYN_CLIENT_STOP;
    if (syn_str_eq(event->name, "snapshot")) {
        json_decref(watch->first);
        watch->first = json_object();
        return watch->first != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    }
    if (syn_str_eq(event->name, "synced")) {
        rc = synced(watch, err);
    } else if (put || syn_str_eq(event->name, "delete")) {
        rc = syn_json_parse_object(event->data, event->len, &resource, err);
        if (rc == SYN_OK)
            rc = on_resource(watch, put, resource, err);
    }
    if (rc == SYN_OK && watch->single && watch->begun && watch->first == NULL &&
        json_object_size(watch->known) == 0)
        watch->gone = true;
    return rc == SYN_OK && watch->gone ? SYN_CLIENT_STOP : rc;
}

/* --- following -------------------------------------------------------------------------------- */

static int
watch_path(const struct syn_cli_view *view, const char *id, struct syn_buf *out,
           struct syn_err *err)
{
    syn_buf_addf(out, "/v1/watch?kind=%s", view->kind);
    if (id != NULL) {
        syn_buf_adds(out, "&id=");
        syn_cli_escape(out, id);
    } else if (view->own) {
        syn_buf_adds(out, "&account=me");
    }
    return syn_buf_ok(out, err);
}

/* Each connection begins with what there is. */
static int
follow(struct watch *watch, const char *path, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    int64_t away_since = 0;
    int rc = syn_cli_connect(watch->cli, 0, 0, &client, err);

    if (rc < 0)
        return rc;
    syn_cli_cancel_on_signal(client);
    while (rc == SYN_OK && !watch->gone && !syn_cli_interrupted()) {
        watch->heard = false;
        rc = syn_client_follow(client, path, NULL, on_event, watch, err);
        if (watch->heard)
            away_since = 0;
        if (watch->begun && (rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
            syn_cli_away(watch->cli, SYN_CLI_AWAY_MAX_MS, &away_since))
            rc = SYN_OK;
    }
    syn_cli_cancel_on_signal(watch->cli->client);
    return rc < 0 && !watch->begun ? syn_cli_unreachable(watch->cli, rc, err) : rc;
}

int
syn_cli_watch(struct syn_cli *cli, const struct syn_cli_view *view, const char *id,
              const char *state)
{
    SYN_SCOPED(watch_fini)
    struct watch watch = {.cli = cli,
                          .view = view,
                          .state = state,
                          .single = id != NULL,
                          .live = {.cli = cli},
                          .known = json_object(),
                          .news = json_object()};
    SYN_BUF(path);
    struct syn_err err = {0};
    int rc = watch_path(view, id, &path, &err);

    cli->json_lines = true;
    if (rc == SYN_OK && (watch.known == NULL || watch.news == NULL))
        rc = SYN_FAIL(&err, SYN_E_NOMEM, "no memory for a list");
    if (rc == SYN_OK)
        rc = follow(&watch, syn_buf_text(&path), &err);
    if (syn_cli_interrupted())
        return SYN_CLI_INTERRUPTED;
    if (rc == SYN_OK && watch.gone)
        rc = SYN_FAIL(&err, SYN_E_NOTFOUND, "%s was deleted", id);
    return rc < 0 ? syn_cli_fail(cli, &err) : 0;
}

int
syn_cli_show_list(struct syn_cli *cli, const struct syn_cli_view *view, const char *path)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    SYN_JSON(items);
    struct syn_err err;
    size_t i;
    json_t *item;

    if (syn_cli_list(cli, path, &items, &err) < 0 ||
        syn_cli_rows_new(view->titles, &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, json_pack("{s:O, s:n}", "items", items, "next"));
    json_array_foreach (items, i, item)
        view->cells(rows, item);
    return syn_cli_rows_print(cli, rows, view->empty);
}
