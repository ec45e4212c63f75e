/* compute apply: what runs becomes what a file says. The server compares; what is to be done is
 * shown with its price, and then done by the calls that the single commands make. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "image_priv.h"
#include "service_priv.h"
#include "train_priv.h"
#include "workload_priv.h"

#define FILE_BYTES_MAX ((size_t)256 << 10)
#define DOTENV_MAX     ((size_t)64 << 10)

/* clang-format off */
static const struct syn_cli_option apply_options[] = {
    {"file", 'f', "FILE", SYN_CLI_FILE, 0, 0, true, false, NULL, NULL, "What is to run; - reads standard input"},
    {"app", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the file's own name", "What the file is called: --prune finds by it what the file has no more"},
    {"prune", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Stop and forget services of the app that the file has no more"},
    {"allow-unknown", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Go on without what is not understood"},
    {"plan", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Show what would be done and do nothing"},
    {"auth-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "~/.docker/config.json", "Credentials for registries, as docker writes them"},
    {"wait", 'w', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Wait until everything is as the file says; exit status 1 if it will not be"},
};
/* clang-format on */

static const struct syn_cli_workload *
kind_of(const json_t *item)
{
    return syn_str_eq(syn_json_str(item, "kind", ""), "service") ? &syn_cli_service_workload
                                                                 : &syn_cli_train_workload;
}

/* --- variables -------------------------------------------------------------------------------- */

static bool
is_name_char(char c)
{
    return c == '_' || isalnum((unsigned char)c);
}

/* NAME's value in the lines of an .env file, as text of its own, or NULL. */
static json_t *
dotenv_value(const struct syn_buf *dotenv, const char *name)
{
    const char *line = dotenv->len > 0 ? dotenv->data : "";
    const char *end = line + dotenv->len;
    size_t name_len = strlen(name);

    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((newline != NULL ? newline : end) - line);

        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len > name_len && memcmp(line, name, name_len) == 0 && line[name_len] == '=') {
            const char *value = line + name_len + 1;
            size_t value_len = len - name_len - 1;
            bool quoted = value_len >= 2 && (*value == '"' || *value == '\'') &&
                          value[value_len - 1] == *value;

            return json_stringn(value + quoted, value_len - (quoted ? 2 : 0));
        }
        line += len + (newline != NULL ? (size_t)(newline - line) - len + 1 : 1);
    }
    return NULL;
}

/* The variables that the text names, from the environment, else from the .env file beside it.
 * Nothing else of the environment leaves this machine. */
static int
collect_variables(const struct syn_buf *text, const struct syn_buf *dotenv, json_t *variables,
                  struct syn_err *err)
{
    const char *end = text->data + text->len;
    int rc = SYN_OK;

    for (const char *at = text->data; at < end && rc == SYN_OK; at++) {
        char name[128];
        size_t len = 0;
        const char *value;
        json_t *own;

        if (*at != '$')
            continue;
        at += at + 1 < end && at[1] == '{' ? 2 : 1;
        while (at + len < end && len < sizeof(name) - 1 && is_name_char(at[len]))
            len++;
        if (len == 0)
            continue;
        (void)snprintf(name, sizeof(name), "%.*s", (int)len, at);
        at += len - 1;
        value = getenv(name);
        if (value != NULL)
            rc = syn_json_set_str(variables, name, value, err);
        else if ((own = dotenv_value(dotenv, name)) != NULL)
            rc = syn_json_set_take(variables, name, own, err);
    }
    return rc;
}

/* The .env of the file's folder, when there is one. */
static int
read_dotenv(const char *file, struct syn_buf *ret, struct syn_err *err)
{
    const char *slash = strrchr(file, '/');
    SYN_BUF(path);
    int rc;

    if (slash != NULL)
        syn_buf_addf(&path, "%.*s/.env", (int)(slash - file), file);
    else
        syn_buf_adds(&path, ".env");
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_read_file(syn_buf_text(&path), DOTENV_MAX, ret, err);
    return rc == SYN_E_NOTFOUND ? SYN_OK : rc;
}

static int
build_body(const struct syn_cli *cli, json_t **ret, struct syn_err *err)
{
    const char *file = syn_cli_text(cli, "file", "-");
    bool input = syn_str_eq(file, "-");
    SYN_BUF(text);
    SYN_BUF(dotenv);
    SYN_JSON(variables);
    int rc = syn_cli_read_file(input ? "/dev/stdin" : file, FILE_BYTES_MAX, &text, err);

    if (rc == SYN_OK && text.len == 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%s: is empty", file);
    if (rc == SYN_OK && !input)
        rc = read_dotenv(file, &dotenv, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&variables, err, "{}");
    if (rc == SYN_OK)
        rc = collect_variables(&text, &dotenv, variables, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(ret, err, "{s:s%, s:O, s:b}", "text", text.data, text.len, "variables",
                           variables, "prune", syn_cli_has(cli, "prune"));
    if (rc == SYN_OK && syn_cli_has(cli, "app"))
        rc = syn_json_set_str(*ret, "app", syn_cli_text(cli, "app", ""), err);
    return rc;
}

/* --- the plan --------------------------------------------------------------------------------- */

static bool
is_done(const json_t *item)
{
    return syn_str_eq(syn_json_str(item, "action", ""), "unchanged");
}

static bool
deploys(const json_t *item)
{
    return !is_done(item) && !syn_str_eq(syn_json_str(item, "action", ""), "delete");
}

/* What it costs, from its kind's own plan; into the item as "rate_hour", "placeable", "pull",
 * "refused". */
static int
price(struct syn_cli *cli, json_t *item, struct syn_err *err)
{
    static const char *const keys[] = {"rate_hour", "placeable", "pull", "refused"};
    char path[64];
    SYN_JSON(body);
    SYN_JSON(plan);
    int rc;

    (void)snprintf(path, sizeof(path), "%s?plan=true", kind_of(item)->route);
    rc = syn_json_pack(&body, err, "{s:O, s:O}", "name", json_object_get(item, "name"), "spec",
                       json_object_get(item, "spec"));
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", path, body, &plan, err);
    for (size_t i = 0; i < SYN_LEN(keys) && rc == SYN_OK; i++)
        if (json_object_get(plan, keys[i]) != NULL)
            rc = syn_json_set_take(item, keys[i], json_incref(json_object_get(plan, keys[i])), err);
    return rc;
}

static int
load_plan(struct syn_cli *cli, json_t **ret, struct syn_err *err)
{
    SYN_JSON(body);
    SYN_JSON(plan);
    json_t *item;
    size_t i;
    int rc = build_body(cli, &body, err);

    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "POST", "/v1/manifests", body, &plan, err);
    json_array_foreach (json_object_get(plan, "items"), i, item)
        if (rc == SYN_OK && deploys(item)) {
            if (!syn_cli_has(cli, "plan"))
                rc = syn_cli_image_ready(cli, json_object_get(item, "spec"), err);
            if (rc == SYN_OK)
                rc = price(cli, item, err);
        }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(plan);
    return rc;
}

static void
show_value(const json_t *value, struct syn_buf *out)
{
    struct syn_err err;

    if (value == NULL || json_is_null(value))
        syn_buf_adds(out, "nothing");
    else if (json_is_string(value))
        syn_buf_adds(out, json_string_value(value));
    else if (syn_json_write(value, out, &err) < 0)
        syn_buf_adds(out, "?");
}

static void
show_item(const struct syn_cli *cli, const json_t *item)
{
    const char *action = syn_json_str(item, "action", "?");
    const char *sign = is_done(item)                  ? "="
                       : syn_str_eq(action, "create") ? "+"
                       : syn_str_eq(action, "delete") ? "-"
                                                      : "~";
    const char *hour = syn_json_str(item, "rate_hour", NULL);
    const json_t *refused = json_object_get(item, "refused");
    size_t i;
    json_t *change;

    syn_cli_say(cli, "%s %s %s: %s%s%s%s", sign, syn_json_str(item, "kind", "?"),
                syn_json_str(item, "name", "?"), action, hour != NULL ? ", " : "",
                hour != NULL ? hour : "", hour != NULL ? " SYNOR an hour" : "");
    if (deploys(item) && !syn_json_bool(item, "placeable", true))
        syn_cli_say(cli, "    there is no room for all of it now; it would wait");
    if (syn_cli_plan_pull(item) != NULL)
        syn_cli_say(cli, "    %s is not here; it would be pulled first", syn_cli_plan_pull(item));
    if (json_is_object(refused))
        syn_cli_say(cli, "    it would be refused: %s", syn_json_str(refused, "message", "?"));
    json_array_foreach (json_object_get(item, "changes"), i, change) {
        SYN_BUF(from);
        SYN_BUF(to);

        if (json_is_null(json_object_get(change, "to")) && *sign == '+')
            continue;
        show_value(json_object_get(change, "from"), &from);
        show_value(json_object_get(change, "to"), &to);
        if (*sign == '+')
            syn_cli_say(cli, "    %s  %s", syn_json_str(change, "path", "?"), syn_buf_text(&to));
        else
            syn_cli_say(cli, "    %s  %s -> %s", syn_json_str(change, "path", "?"),
                        syn_buf_text(&from), syn_buf_text(&to));
    }
}

static void
show_rows(const struct syn_cli *cli, const json_t *rows, const char *word)
{
    size_t i;
    json_t *row;

    json_array_foreach (rows, i, row)
        syn_cli_note(cli, "%s: %s: %s", word, syn_json_str(row, "path", "?"),
                     syn_json_str(row, "message", "?"));
}

/* Refused as it stands? Says so. */
static int
check_unknown(const struct syn_cli *cli, const json_t *plan, struct syn_err *err)
{
    const json_t *unknown = json_object_get(plan, "unknown");
    const json_t *first = json_array_get(unknown, 0);
    size_t count = json_array_size(unknown);

    if (count == 0 || syn_cli_has(cli, "allow-unknown"))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_INVALID,
                    "the file has %zu %s not understood (%s%s); --allow-unknown goes on without",
                    count, count == 1 ? "thing that is" : "things that are",
                    syn_json_str(first, "path", "?"), count == 1 ? "" : ", ...");
}

/* --- doing it --------------------------------------------------------------------------------- */

static int
call_item(struct syn_cli *cli, const json_t *item, const char *method, const char *tail,
          json_t **ret, struct syn_err *err)
{
    SYN_BUF(path);
    int rc;

    syn_buf_addf(&path, "%s/", kind_of(item)->route);
    syn_cli_escape(&path, syn_json_str(item, "name", "?"));
    syn_buf_adds(&path, tail);
    rc = syn_buf_ok(&path, err);
    return rc < 0 ? rc : syn_cli_call(cli, method, syn_buf_text(&path), NULL, ret, err);
}

/* Wait for a service that was deployed. Exit status. */
static int
wait_for(struct syn_cli *cli, const json_t *item, const char *wanted)
{
    SYN_JSON(before);
    SYN_JSON(after);
    struct syn_err err;

    if (kind_of(item) != &syn_cli_service_workload)
        return 0; /* a job comes to its end, not to a state */
    if (call_item(cli, item, "GET", "", &before, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_workload_reach(cli, kind_of(item), syn_json_str(before, "id", "?"), wanted,
                                  &after);
}

static int
remove_item(struct syn_cli *cli, const json_t *item)
{
    struct syn_err err;
    int status;

    if (call_item(cli, item, "POST", "/stop", NULL, &err) < 0)
        return syn_cli_fail(cli, &err);
    status = wait_for(cli, item, "stopped");
    if (status != 0)
        return status;
    return call_item(cli, item, "DELETE", "", NULL, &err) < 0 ? syn_cli_fail(cli, &err) : 0;
}

/* What it comes after is there; is it also ready, where that is asked? */
static int
wait_before(struct syn_cli *cli, const json_t *item, const json_t *items)
{
    const json_t *after, *other;
    size_t i, k;
    int status = 0;

    json_array_foreach (json_object_get(item, "after"), i, after)
        json_array_foreach (items, k, other)
            if (status == 0 && syn_json_bool(after, "ready", false) &&
                syn_str_eq(syn_json_str(other, "name", ""), syn_json_str(after, "name", "?")))
                status = wait_for(cli, other, "running");
    return status;
}

static int
apply_item(struct syn_cli *cli, const json_t *item, const json_t *items)
{
    SYN_JSON(body);
    SYN_JSON(made);
    struct syn_err err;
    int status;

    if (is_done(item))
        return 0;
    if (!deploys(item))
        return remove_item(cli, item);
    status = wait_before(cli, item, items);
    if (status != 0)
        return status;
    if (syn_json_pack(&body, &err, "{s:O, s:O}", "name", json_object_get(item, "name"), "spec",
                      json_object_get(item, "spec")) < 0 ||
        syn_cli_call(cli, "POST", kind_of(item)->route, body, &made, &err) < 0)
        return syn_cli_fail(cli, &err);
    syn_cli_note(cli, "%s %s: %s", syn_json_str(item, "kind", "?"), syn_json_str(item, "name", "?"),
                 syn_json_str(json_object_get(made, "status"), "state", "?"));
    return 0;
}

static int
apply_all(struct syn_cli *cli, const json_t *items)
{
    const json_t *item;
    size_t i;
    int status = 0;

    json_array_foreach (items, i, item)
        if (status == 0)
            status = apply_item(cli, item, items);
    if (syn_cli_has(cli, "wait"))
        json_array_foreach (items, i, item)
            if (status == 0 && !syn_str_eq(syn_json_str(item, "action", ""), "delete"))
                status = wait_for(cli, item, "running");
    return status;
}

static size_t
count_changes(const json_t *items)
{
    size_t count = 0, i;
    const json_t *item;

    json_array_foreach (items, i, item)
        count += !is_done(item);
    return count;
}

static int
run_apply(struct syn_cli *cli)
{
    SYN_JSON(plan);
    struct syn_err err;
    const json_t *items;
    size_t i, count;
    json_t *item;
    int status;

    if (load_plan(cli, &plan, &err) < 0)
        return syn_cli_fail(cli, &err);
    items = json_object_get(plan, "items");
    count = count_changes(items);
    if (!cli->json || !syn_cli_has(cli, "plan")) {
        show_rows(cli, json_object_get(plan, "notes"), "note");
        show_rows(cli, json_object_get(plan, "unknown"), "not understood");
    }
    json_array_foreach (items, i, item)
        show_item(cli, item);
    if (cli->json && syn_cli_has(cli, "plan")) {
        bool understood = check_unknown(cli, plan, &err) == SYN_OK;

        status = syn_cli_print_json_take(cli, SYN_TAKE(plan));
        return understood ? status : syn_err_info(SYN_E_INVALID)->exit;
    }
    if (check_unknown(cli, plan, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (count == 0)
        syn_cli_note(cli, "Everything is as the file says.");
    if (syn_cli_has(cli, "plan"))
        return 0;
    if (count > 0 && !syn_cli_workload_confirm(cli, "Do it?"))
        return 1;
    status = apply_all(cli, items);
    return status == 0 && cli->json ? syn_cli_print_json_take(cli, SYN_TAKE(plan)) : status;
}

const struct syn_cli_command syn_cli_apply = {
    .path = "compute apply",
    .summary = "Bring what runs to what a file says",
    .detail =
        "FILE holds our own documents (kind, name, spec), a docker-compose file, or Deployments "
        "and "
        "Services of Kubernetes, as far as docs/apply.md says; in several documents, if need be. "
        "What "
        "would change is shown first, with its price, and what is not understood is named and "
        "refused. Variables of a compose file come from the environment, or from .env beside it. A "
        "service that is as the file says is left alone; what others depend on comes first.",
    .examples = "  synor compute apply -f shop.yaml --plan\n"
                "  synor compute apply -f docker-compose.yaml --app shop --prune --wait\n",
    .options = apply_options,
    .option_count = SYN_LEN(apply_options),
    .run = run_apply};
