/* compute function invoke, invocations: calling a function, and what is known of calls. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "commands_priv.h"
#include "function_kind_priv.h"

#define DATA_MAX    ((size_t)64 << 20)
#define HEADERS_MAX 64
#define LONGEST_MS  (INT64_C(20) * 60 * 1000) /* beyond the longest time limit of a function */
/* Of answers that are the function's own. */
#define STATUS_HEADER "x-synor-function-status"

/* --- the request ----------------------------------------------------------------------------- */

struct invocation {
    struct syn_cli *cli;
    struct syn_buf data;
    const char *type; /* of the data */
    const char *headers[2 * HEADERS_MAX + 1];
    char *names[HEADERS_MAX]; /* owned: option texts have no end after the name */
    size_t header_count;
    /* the answer */
    json_t *heard;       /* its headers */
    struct syn_buf body; /* with --json, and of asynchronous calls */
    bool keep;
    char last; /* byte of what was printed */
};

static void
invocation_fini(struct invocation *invocation)
{
    syn_buf_fini(&invocation->data);
    syn_buf_fini(&invocation->body);
    json_decref(invocation->heard);
    for (size_t i = 0; i < invocation->header_count; i++)
        syn_free(invocation->names[i]);
}

static bool
is_json(const struct syn_buf *text)
{
    SYN_JSON(value);

    return text->len > 0 && syn_json_parse(text->data, text->len, &value, NULL) == SYN_OK;
}

/* --data TEXT, @FILE, or - for standard input. */
static int
read_data(struct invocation *invocation, struct syn_err *err)
{
    const char *data = syn_cli_text(invocation->cli, "data", NULL);
    bool literal = data != NULL && data[0] != '@' && !syn_str_eq(data, "-");
    int rc = SYN_OK;

    if (data == NULL)
        return SYN_OK;
    if (literal)
        syn_buf_adds(&invocation->data, data);
    else
        rc = syn_cli_read_file(data[0] == '@' ? data + 1 : "/dev/stdin", DATA_MAX,
                               &invocation->data, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "--data");
    if (is_json(&invocation->data))
        invocation->type = "application/json";
    else
        invocation->type = literal ? "text/plain; charset=utf-8" : "application/octet-stream";
    return syn_buf_ok(&invocation->data, err);
}

/* --header NAME:VALUE; one for the type of the data replaces what we made of it. */
static int
read_headers(struct invocation *invocation, struct syn_err *err)
{
    static const char good[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const struct syn_cli_value *value;
    size_t cursor = 0, count = 0;

    while ((value = syn_cli_next(invocation->cli, "header", &cursor)) != NULL) {
        const char *colon = strchr(value->text, ':');
        char *name;

        if (colon == NULL || colon == value->text ||
            strspn(value->text, good) != (size_t)(colon - value->text))
            return SYN_FAIL(err, SYN_E_INVALID, "--header: \"%.60s\" is not NAME:VALUE",
                            value->text);
        if (invocation->header_count == HEADERS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "--header: more than %d", HEADERS_MAX);
        name = syn_strdup(value->text);
        if (name == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a header");
        invocation->names[invocation->header_count++] = name;
        name[colon - value->text] = '\0';
        colon += 1 + strspn(colon + 1, " ");
        if (strcasecmp(name, "content-type") == 0) {
            invocation->type = colon;
            continue;
        }
        invocation->headers[count++] = name;
        invocation->headers[count++] = colon;
    }
    return SYN_OK;
}

/* A call that is kept is a body: handlers see it as a POST to /. */
static int
check_async(const struct syn_cli *cli, struct syn_err *err)
{
    static const char *const options[] = {"method", "path", "header"};

    for (size_t i = 0; syn_cli_has(cli, "async") && i < SYN_LEN(options); i++)
        if (syn_cli_has(cli, options[i]))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "--%s: does not go with --async: of a call that is kept the handler "
                            "sees the data alone",
                            options[i]);
    return SYN_OK;
}

static void
make_path(const struct syn_cli *cli, struct syn_buf *out)
{
    static const char *const options[] = {"version", "method", "path"};
    char join = '?';

    syn_cli_workload_path(cli, "/invoke", out);
    if (syn_cli_has(cli, "async")) {
        syn_buf_adds(out, "?async=true");
        join = '&';
    }
    for (size_t i = 0; i < SYN_LEN(options); i++) {
        if (!syn_cli_has(cli, options[i]))
            continue;
        syn_buf_addf(out, "%c%s=", join, options[i]);
        syn_cli_escape(out, syn_cli_text(cli, options[i], ""));
        join = '&';
    }
}

/* --- the answer ------------------------------------------------------------------------------ */

static void
on_header(void *arg, const char *name, const char *value)
{
    struct invocation *invocation = arg;

    if (syn_json_set_str(invocation->heard, name, value, NULL) < 0)
        return; /* not UTF-8: not shown */
}

static int
on_body(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct invocation *invocation = arg;

    if (!invocation->keep) {
        int rc = syn_cli_to_stdout(NULL, data, len, err);

        if (len > 0)
            invocation->last = ((const char *)data)[len - 1];
        if (rc == SYN_OK && fflush(stdout) != 0)
            rc = SYN_FAIL_SYS(err, errno, "writing to standard output");
        return rc;
    }
    syn_buf_add(&invocation->body, data, len);
    return syn_buf_ok(&invocation->body, err);
}

/* Bytes that are no text as text. */
static int
encode_base64(const struct syn_buf *from, struct syn_buf *out, struct syn_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = (const unsigned char *)from->data;

    for (size_t i = 0; i < from->len; i += 3) {
        size_t left = from->len - i;
        uint32_t group = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                         (left > 2 ? at[i + 2] : 0);

        syn_buf_addc(out, digits[group >> 18 & 63]);
        syn_buf_addc(out, digits[group >> 12 & 63]);
        syn_buf_addc(out, (char)(left > 1 ? digits[group >> 6 & 63] : '='));
        syn_buf_addc(out, (char)(left > 2 ? digits[group & 63] : '='));
    }
    return syn_buf_ok(out, err);
}

/* The body as it is best read: `json`, `body` or `body_base64`. */
static int
add_body(json_t *document, const struct syn_buf *body, struct syn_err *err)
{
    SYN_BUF(encoded);
    json_t *value = NULL;
    int rc;

    if (body->len > 0 && syn_json_parse(body->data, body->len, &value, NULL) == SYN_OK)
        return syn_json_set_take(document, "json", value, err);
    if (syn_utf8_ok(syn_buf_text(body), body->len))
        return syn_json_set_str(document, "body", syn_buf_text(body), err);
    rc = encode_base64(body, &encoded, err);
    return rc < 0 ? rc : syn_json_set_str(document, "body_base64", syn_buf_text(&encoded), err);
}

static int
print_json(const struct invocation *invocation, int status, int64_t elapsed_us)
{
    SYN_JSON(document);
    struct syn_err err;
    int rc = syn_json_pack(&document, &err, "{s:i, s:s, s:s, s:I, s:O}", "status", status,
                           "invocation", syn_json_str(invocation->heard, "x-synor-invocation", ""),
                           "way", syn_json_str(invocation->heard, "x-synor-way", ""), "elapsed_us",
                           (json_int_t)elapsed_us, "headers", invocation->heard);

    if (rc == SYN_OK)
        rc = add_body(document, &invocation->body, &err);
    if (rc < 0)
        return syn_cli_fail(invocation->cli, &err);
    return syn_cli_print_json_take(invocation->cli, SYN_TAKE(document));
}

/* To standard error: the body alone is on standard output. */
static void
note_status(const struct invocation *invocation, int status, int64_t elapsed_us)
{
    const char *way = syn_json_str(invocation->heard, "x-synor-way", "");
    const char *id = syn_json_str(invocation->heard, "x-synor-invocation", "");

    if (invocation->cli->out_tty && invocation->last != '\0' && invocation->last != '\n')
        (void)putchar('\n');
    (void)fflush(stdout);
    syn_cli_note(invocation->cli, "%d  %" PRId64 ".%02d ms%s%s  %s", status, elapsed_us / 1000,
                 (int)(elapsed_us % 1000 / 10), way[0] != '\0' ? ", " : "", way, id);
}

static int
print_accepted(struct invocation *invocation)
{
    struct syn_cli *cli = invocation->cli;
    SYN_JSON(answer);
    struct syn_err err;
    const char *id;

    if (syn_json_parse_object(syn_buf_text(&invocation->body), invocation->body.len, &answer,
                              &err) < 0)
        return syn_cli_fail(cli, &err);
    id = syn_json_str(answer, "invocation", "?");
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%s", id);
    syn_cli_note(cli, "Look at it: synor compute function invocations %s %s",
                 syn_cli_operand(cli, 0), id);
    return 0;
}

static int
send(struct invocation *invocation, int *ret_status, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct syn_cli *cli = invocation->cli;
    SYN_BUF(path);
    int rc;

    make_path(cli, &path);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_connect(cli, 0, LONGEST_MS, &client, err);
    if (rc < 0)
        return rc;
    syn_cli_cancel_on_signal(client);
    rc = syn_client_raw(client,
                        &(struct syn_raw_call){.method = "POST",
                                               .path = syn_buf_text(&path),
                                               .headers = invocation->headers,
                                               .content_type = invocation->type,
                                               .body = syn_buf_text(&invocation->data),
                                               .body_len = invocation->data.len,
                                               .passed = STATUS_HEADER,
                                               .on_header = on_header,
                                               .sink = on_body,
                                               .arg = invocation},
                        ret_status, err);
    syn_cli_cancel_on_signal(cli->client);
    return rc < 0 ? syn_cli_unreachable(cli, rc, err) : rc;
}

static int
run_invoke(struct syn_cli *cli)
{
    SYN_SCOPED(invocation_fini)
    struct invocation invocation = {.cli = cli,
                                    .type = "application/octet-stream",
                                    .keep = cli->json || syn_cli_has(cli, "async")};
    int64_t begun_ns = syn_clock_ns(), elapsed_us;
    struct syn_err err;
    int http_status = 0, printed = 0;
    int rc = syn_json_pack(&invocation.heard, &err, "{}");

    if (rc == SYN_OK)
        rc = check_async(cli, &err);
    if (rc == SYN_OK)
        rc = read_data(&invocation, &err);
    if (rc == SYN_OK)
        rc = read_headers(&invocation, &err);
    if (rc == SYN_OK)
        rc = send(&invocation, &http_status, &err);
    if (rc < 0 && syn_cli_interrupted())
        return SYN_CLI_INTERRUPTED;
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (syn_cli_has(cli, "async"))
        return print_accepted(&invocation);
    elapsed_us = (syn_clock_ns() - begun_ns) / 1000;
    if (cli->json)
        printed = print_json(&invocation, http_status, elapsed_us);
    else
        note_status(&invocation, http_status, elapsed_us);
    return http_status >= 200 && http_status < 300 ? printed : 1;
}

/* clang-format off */
static const struct syn_cli_option invoke_options[] = {
    {"data", 'd', "TEXT|@FILE|-", SYN_CLI_TEXT, 0, 0, false, false, NULL, "nothing", "What it is given: this text, a file's content, or standard input"},
    {"async", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Do not wait: print the invocation's id; its result is kept for a day"},
    {"version", 0, "N", SYN_CLI_INT, 1, INT64_MAX, false, false, NULL, "as its traffic is shared", "Call this version"},
    {"method", 0, "METHOD", SYN_CLI_TEXT, 0, 0, false, false, NULL, "POST", "Method that it sees"},
    {"path", 0, "PATH", SYN_CLI_TEXT, 0, 0, false, false, NULL, "/", "Path and query that it sees"},
    {"header", 'H', "NAME:VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Header that it sees; may be given again"},
};
/* clang-format on */

const struct syn_cli_command syn_cli_function_invoke = {
    .path = "compute function invoke",
    .summary = "Call a function and print what it answers",
    .detail =
        "The answer's body goes to standard output as it comes, its status, the time and the way "
        "that the instance came to standard error. The exit status is 0 for an answer of 200 to "
        "299 and 1 for any other. It needs no trigger.",
    .examples = "  synor compute function invoke hello --data '{\"name\": \"Ada\"}'\n"
                "  synor compute function invoke resize --data @photo.jpg > small.jpg\n",
    .options = invoke_options,
    .option_count = SYN_LEN(invoke_options),
    .operands = syn_cli_function_operand,
    .operand_count = 1,
    .workload = &syn_cli_function_workload,
    .run = run_invoke};

/* --- invocations ----------------------------------------------------------------------------- */

static const char *
format_us(int64_t us, char *out, size_t cap)
{
    if (us < 1000)
        (void)snprintf(out, cap, "%" PRId64 " us", us);
    else
        (void)snprintf(out, cap, "%" PRId64 ".%02d ms", us / 1000, (int)(us % 1000 / 10));
    return out;
}

static const char *
format_when(const json_t *record, char *out)
{
    int64_t at = syn_json_i64(record, "started_at", -1);

    return at >= 0 ? syn_format_time(at, out) : syn_json_str(record, "started_at", "");
}

static void
record_cells(struct syn_cli_table_out *rows, const json_t *record)
{
    const json_t *http = json_object_get(record, "http_status");
    char text[SYN_FORMAT_MAX];

    syn_cli_cell(rows, "%s", format_when(record, text));
    syn_cli_cell(rows, "%s", syn_json_str(record, "id", ""));
    syn_cli_cell(rows, "%lld", (long long)syn_json_i64(record, "version", 0));
    syn_cli_cell(rows, "%s", syn_json_str(record, "trigger", ""));
    syn_cli_cell(rows, "%s", syn_json_str(record, "state", syn_json_str(record, "status", "")));
    syn_cli_cell(rows, "%lld", json_is_integer(http) ? (long long)json_integer_value(http) : 0);
    syn_cli_cell(rows, "%s", syn_json_str(record, "way", ""));
    syn_cli_cell(rows, "%s", format_us(syn_json_i64(record, "duration_us", 0), text, sizeof(text)));
    syn_cli_cell(rows, "%.60s", syn_json_str(record, "message", ""));
}

static const struct syn_cli_view record_view = {
    .kind = "invocation",
    .titles = "STARTED|ID|>VERSION|TRIGGER|STATUS|>HTTP|WAY|>TIME|MESSAGE",
    .empty = "No calls are on record. Of many that went well only some are.",
    .cells = record_cells};

static void
show_stages(const struct syn_cli *cli, const json_t *stages)
{
    char text[SYN_FORMAT_MAX];

    for (size_t i = 0; i < SYN_CLI_FUNCTION_STAGES; i++) {
        const json_t *value = json_object_get(stages, syn_cli_function_stages[i]);

        if (value != NULL)
            syn_cli_say(cli, "    %-12s %s", syn_cli_function_stages[i],
                        format_us(json_integer_value(value), text, sizeof(text)));
    }
}

/* What a kept call came to. */
static void
show_result(const struct syn_cli *cli, const json_t *record)
{
    int64_t attempts = syn_json_i64(record, "attempts", 0);
    const char *bytes = syn_json_str(record, "result_base64", NULL);

    if (attempts > 0)
        syn_cli_say(cli, "  attempts    %lld", (long long)attempts);
    if (bytes != NULL)
        syn_cli_say(cli, "  result      in base64: %s", bytes);
    else if (syn_json_str(record, "result", NULL) != NULL)
        syn_cli_say(cli, "  result      %s", syn_json_str(record, "result", ""));
}

static int
show_record(struct syn_cli *cli, const char *id)
{
    static const struct {
        const char *title, *key;
    } texts[] = {
        {"function", "function"},
        {"trigger", "trigger"},
        {"way", "way"},
        {"instance", "instance"},
        {"node", "node"},
        {"message", "message"},
        {"destination", "destination"},
        {"told", "destination_state"},
        {"not told", "destination_error"},
    };
    static const struct {
        const char *title, *key;
    } sizes[] = {
        {"memory", "memory_bytes"}, {"request", "request_bytes"}, {"answer", "response_bytes"}};
    SYN_JSON(record);
    SYN_BUF(tail);
    struct syn_err err;
    char text[SYN_FORMAT_MAX];

    syn_buf_adds(&tail, "/invocations/");
    syn_cli_escape(&tail, id);
    if (syn_buf_ok(&tail, &err) < 0 ||
        syn_cli_workload_call(cli, "GET", syn_buf_text(&tail), NULL, &record, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(record));
    syn_cli_say(cli, "%s  %s", syn_json_str(record, "id", id),
                syn_json_str(record, "state", syn_json_str(record, "status", "?")));
    syn_cli_say(cli, "  started     %s", format_when(record, text));
    syn_cli_say(cli, "  version     %lld", (long long)syn_json_i64(record, "version", 0));
    for (size_t i = 0; i < SYN_LEN(texts); i++)
        if (syn_json_str(record, texts[i].key, "")[0] != '\0')
            syn_cli_say(cli, "  %-11s %s", texts[i].title, syn_json_str(record, texts[i].key, ""));
    if (syn_json_i64(record, "http_status", 0) > 0)
        syn_cli_say(cli, "  http status %lld", (long long)syn_json_i64(record, "http_status", 0));
    for (size_t i = 0; i < SYN_LEN(sizes); i++)
        if (syn_json_i64(record, sizes[i].key, 0) > 0)
            syn_cli_say(cli, "  %-11s %s", sizes[i].title,
                        syn_format_bytes(syn_json_i64(record, sizes[i].key, 0), text));
    if (syn_json_i64(record, "duration_us", -1) >= 0)
        syn_cli_say(cli, "  time        %s",
                    format_us(syn_json_i64(record, "duration_us", 0), text, sizeof(text)));
    show_stages(cli, json_object_get(record, "stages_us"));
    if (syn_json_i64(record, "billed_ms", 0) > 0)
        syn_cli_say(cli, "  billed      %lld ms", (long long)syn_json_i64(record, "billed_ms", 0));
    show_result(cli, record);
    return 0;
}

static int
run_invocations(struct syn_cli *cli)
{
    const char *id = syn_cli_operand(cli, 1);
    SYN_BUF(path);
    struct syn_err err;

    if (id != NULL)
        return show_record(cli, id);
    syn_cli_workload_path(cli, "/invocations", &path);
    if (syn_buf_ok(&path, &err) < 0)
        return syn_cli_fail(cli, &err);
    return syn_cli_show_list(cli, &record_view, syn_buf_text(&path));
}

static const struct syn_cli_operand invocations_operands[] = {
    {"FUNCTION", SYN_CLI_TEXT, true, false, "Name of the function, or its id"},
    {"INVOCATION", SYN_CLI_TEXT, false, false, "One call: its stages, and what it came to"},
};

const struct syn_cli_command syn_cli_function_invocations = {
    .path = "compute function invocations",
    .summary = "List calls of a function, or show one: how it went, stage by stage",
    .detail = "Every call that failed or was cold is on record for a day, of others some; those of "
              "invoke --async are, with their result. compute function metrics counts all.",
    .operands = invocations_operands,
    .operand_count = SYN_LEN(invocations_operands),
    .workload = &syn_cli_function_workload,
    .run = run_invocations};
