/* compute queue: durable queues. What a message goes through says docs/queues.md. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "cli_priv.h"
#include "commands_priv.h"
#include "named_priv.h"

#define MESSAGE_MAX   ((size_t)64 << 10)
#define POLL_NS       250000000L
#define WAIT_MAX_MS   (INT64_C(3600) * 1000)
#define MESSAGES_STEP 100 /* in one request */

static const struct syn_cli_operand queue_operand[] = {
    {"QUEUE", SYN_CLI_TEXT, true, false, "Name of the queue: a-z 0-9 -"},
};

static const struct syn_cli_named queues;

/* Call the API about the queue; `rest` is what follows its name in the path. */
static int
call_queue(struct syn_cli *cli, const char *method, const char *rest, const json_t *body,
           json_t **ret, struct syn_err *err)
{
    return syn_cli_named_call(cli, &queues, method, rest, body, ret, err);
}

/* --- create, update, list, get, rm ------------------------------------------------------------ */

/* clang-format off */
#define RULE_OPTIONS \
    {"visibility", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "30s", "A received message is nobody else's for so long"}, \
    {"delay", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "0s", "A new message waits so long before it may be received"}, \
    {"retention", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "4d", "Messages are kept so long"}, \
    {"max-receives", 0, "N", SYN_CLI_INT, 0, 1000, false, false, NULL, NULL, "Received so often in vain, a message is a dead letter"}, \
    {"dead-letter", 0, "QUEUE", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Where dead letters go; \"none\": nowhere"}, \
    {"backoff", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "1s", "A released message waits so long, twice as long each time"}, \
    {"backoff-max", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "5m", "And no longer than this"}
/* clang-format on */
static const struct syn_cli_option rule_options[] = {RULE_OPTIONS};

/* Which option sets which rule. */
static const struct {
    const char *option, *rule;
} rules[] = {
    {"visibility", "visibility_ms"},  {"delay", "delay_ms"},     {"retention", "retention_ms"},
    {"max-receives", "receives_max"}, {"backoff", "backoff_ms"}, {"backoff-max", "backoff_max_ms"},
};

static int
set_rules(const struct syn_cli *cli, json_t *body, struct syn_err *err)
{
    const char *dead = syn_cli_text(cli, "dead-letter", NULL);
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(rules); i++)
        if (syn_cli_has(cli, rules[i].option))
            rc =
                syn_json_set_i64(body, rules[i].rule, syn_cli_number(cli, rules[i].option, 0), err);
    if (rc == SYN_OK && dead != NULL)
        rc = syn_json_set_str(body, "dead_letter", strcmp(dead, "none") == 0 ? "" : dead, err);
    if (rc == SYN_OK && dead != NULL && strcmp(dead, "none") == 0)
        rc = syn_json_set_i64(body, "receives_max", 0, err);
    return rc;
}

static int
show_take(struct syn_cli *cli, json_t *queue)
{
    static const struct {
        const char *title, *rule;
    } times[] = {
        {"visibility", "visibility_ms"}, {"delay", "delay_ms"},
        {"retention", "retention_ms"},   {"back-off", "backoff_ms"},
        {"at most", "backoff_max_ms"},
    };
    char text[SYN_FORMAT_MAX];

    if (cli->json)
        return syn_cli_print_json_take(cli, queue);
    syn_cli_say(cli, "%s", syn_json_str(queue, "name", "?"));
    if (json_object_get(queue, "messages") != NULL)
        syn_cli_say(cli, "  messages    %" PRId64 ", %" PRId64 "%s may be received now",
                    syn_json_i64(queue, "messages", 0), syn_json_i64(queue, "ready", 0),
                    syn_json_bool(queue, "ready_more", false) ? " or more" : "");
    for (size_t i = 0; i < SYN_LEN(times); i++)
        syn_cli_say(cli, "  %-11s %s", times[i].title,
                    syn_format_duration(syn_json_i64(queue, times[i].rule, 0), text));
    if (syn_json_str(queue, "dead_letter", "")[0] != '\0')
        syn_cli_say(cli, "  dead after  %" PRId64 " receipts, to %s",
                    syn_json_i64(queue, "receives_max", 0), syn_json_str(queue, "dead_letter", ""));
    json_decref(queue);
    return 0;
}

static int
run_create(struct syn_cli *cli)
{
    json_t *queue = NULL;
    SYN_JSON(body);
    SYN_JSON(before);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{}");

    if (rc == SYN_OK)
        rc = set_rules(cli, body, &err);
    if (rc == SYN_OK)
        rc = call_queue(cli, "GET", "", NULL, &before, &err);
    if (rc == SYN_OK)
        rc = SYN_FAIL(&err, SYN_E_EXISTS,
                      "there is a queue %.63s: synor compute queue update changes it",
                      syn_cli_operand(cli, 0));
    else if (rc == SYN_E_NOTFOUND)
        rc = call_queue(cli, "PUT", "", body, &queue, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, queue);
}

const struct syn_cli_command syn_cli_queue_create = {
    .path = "compute queue create",
    .summary = "Make a queue",
    .detail = "A message that was sent is on disk, and is received until it is acknowledged: at "
              "least once, by another receiver if the first does not acknowledge it in time.",
    .examples = "  synor compute queue create dead\n"
                "  synor compute queue create orders --max-receives 5 --dead-letter dead\n",
    .operands = queue_operand,
    .operand_count = SYN_LEN(queue_operand),
    .options = rule_options,
    .option_count = SYN_LEN(rule_options),
    .run = run_create};

/* What a queue document has beside its rules is not written back. */
static int
run_update(struct syn_cli *cli)
{
    static const char *const kept[] = {"visibility_ms", "delay_ms",    "retention_ms",
                                       "receives_max",  "dead_letter", "backoff_ms",
                                       "backoff_max_ms"};
    json_t *queue = NULL;
    SYN_JSON(before);
    SYN_JSON(body);
    struct syn_err err;
    int rc = call_queue(cli, "GET", "", NULL, &before, &err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&body, &err, "{}");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(kept); i++)
        rc = syn_json_set_take(body, kept[i], json_incref(json_object_get(before, kept[i])), &err);
    if (rc == SYN_OK)
        rc = set_rules(cli, body, &err);
    if (rc == SYN_OK)
        rc = call_queue(cli, "PUT", "", body, &queue, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : show_take(cli, queue);
}

const struct syn_cli_command syn_cli_queue_update = {
    .path = "compute queue update",
    .summary = "Give a queue other rules; what is not said stays",
    .operands = queue_operand,
    .operand_count = SYN_LEN(queue_operand),
    .options = rule_options,
    .option_count = SYN_LEN(rule_options),
    .run = run_update};

static void
queue_cells(struct syn_cli_table_out *rows, const json_t *queue)
{
    char text[SYN_FORMAT_MAX];

    syn_cli_cell(rows, "%s", syn_json_str(queue, "name", ""));
    syn_cli_cell(rows, "%" PRId64, syn_json_i64(queue, "messages", 0));
    syn_cli_cell(rows, "%s", syn_format_duration(syn_json_i64(queue, "visibility_ms", 0), text));
    syn_cli_cell(rows, "%s", syn_format_duration(syn_json_i64(queue, "retention_ms", 0), text));
    syn_cli_cell(rows, "%s", syn_json_str(queue, "dead_letter", ""));
}

static const struct syn_cli_view queue_view = {
    .kind = "queue",
    .titles = "NAME|>MESSAGES|>VISIBILITY|>RETENTION|DEAD LETTERS",
    .empty = "No queues yet: synor compute queue create NAME",
    .cells = queue_cells};

static const struct syn_cli_named queues = {.route = "/v1/queues",
                                            .view = &queue_view,
                                            .show_take = show_take,
                                            .removal = "Delete the queue"};

static int
run_list(struct syn_cli *cli)
{
    return syn_cli_named_list(cli, &queues);
}

const struct syn_cli_command syn_cli_queue_list = {.path = "compute queue list",
                                                   .summary = "List queues and how much is in them",
                                                   .run = run_list};

static int
run_get(struct syn_cli *cli)
{
    return syn_cli_named_get(cli, &queues);
}

const struct syn_cli_command syn_cli_queue_get = {.path = "compute queue get",
                                                  .summary =
                                                      "Show a queue: its rules, and what is in it",
                                                  .operands = queue_operand,
                                                  .operand_count = SYN_LEN(queue_operand),
                                                  .run = run_get};

static const struct syn_cli_option rm_options[] = {
    {"force", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Also with messages in it, which are lost"},
};

static int
run_rm(struct syn_cli *cli)
{
    bool force = syn_cli_has(cli, "force");

    return syn_cli_named_rm(cli, &queues, force ? "?force=true" : "",
                            force ? " and the messages in it" : "");
}

const struct syn_cli_command syn_cli_queue_rm = {.path = "compute queue rm",
                                                 .summary = "Delete an empty queue",
                                                 .operands = queue_operand,
                                                 .operand_count = SYN_LEN(queue_operand),
                                                 .options = rm_options,
                                                 .option_count = SYN_LEN(rm_options),
                                                 .run = run_rm};

/* --- send ------------------------------------------------------------------------------------- */

static const struct syn_cli_operand send_operands[] = {
    {"QUEUE", SYN_CLI_TEXT, true, false, "Name of the queue"},
    {"TEXT", SYN_CLI_TEXT, false, true, "Messages; without one, standard input is one"},
};

static const struct syn_cli_option send_options[] = {
    {"file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL,
     "The message is the content of this file"},
    {"delay", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "the queue's",
     "They may be received after this time"},
    {"attribute", 0, "NAME=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL,
     "What else is said of them; repeatable"},
};

static int
add_message(const struct syn_cli *cli, json_t *messages, const char *text, size_t size,
            struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0;
    SYN_JSON(attributes);
    json_t *message = NULL;
    int rc = syn_json_pack(&message, err, "{s:s%}", "body", text, size);

    if (rc == SYN_OK && syn_cli_has(cli, "delay"))
        rc = syn_json_set_i64(message, "delay_ms", syn_cli_number(cli, "delay", 0), err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "attribute", &cursor)) != NULL) {
        const char *equals = strchr(value->text, '=');
        char name[64];

        if (attributes == NULL)
            attributes = json_object();
        if (equals == NULL || equals == value->text || equals - value->text >= (long)sizeof(name))
            rc = SYN_FAIL(err, SYN_E_INVALID, "--attribute: \"%.60s\" is not NAME=VALUE",
                          value->text);
        if (rc == SYN_OK) {
            (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - value->text), value->text);
            rc = syn_json_set_str(attributes, name, equals + 1, err);
        }
    }
    if (rc == SYN_OK && attributes != NULL)
        rc = syn_json_set_take(message, "attributes", json_incref(attributes), err);
    if (rc < 0) {
        json_decref(message);
        return rc;
    }
    return syn_json_append_take(messages, message, err);
}

/* The messages that the command line, a file or standard input has. */
static int
collect(const struct syn_cli *cli, json_t *messages, struct syn_err *err)
{
    const char *file = syn_cli_text(cli, "file", NULL);
    int rc = SYN_OK;
    SYN_BUF(text);

    for (size_t i = 1; rc == SYN_OK && syn_cli_operand(cli, i) != NULL; i++)
        rc = add_message(cli, messages, syn_cli_operand(cli, i), strlen(syn_cli_operand(cli, i)),
                         err);
    if (rc < 0 || (json_array_size(messages) > 0 && file == NULL))
        return rc;
    rc = syn_cli_read_file(file != NULL ? file : "/dev/stdin", MESSAGE_MAX, &text, err);
    if (rc == SYN_OK && memchr(syn_buf_text(&text), '\0', text.len) != NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "a message is text, without NUL bytes");
    return rc < 0 ? rc : add_message(cli, messages, syn_buf_text(&text), text.len, err);
}

static int
run_send(struct syn_cli *cli)
{
    SYN_JSON(body);
    SYN_JSON(answer);
    struct syn_err err;
    int rc = syn_json_pack(&body, &err, "{s:[]}", "messages");

    if (rc == SYN_OK)
        rc = collect(cli, json_object_get(body, "messages"), &err);
    if (rc == SYN_OK)
        rc = call_queue(cli, "POST", "/messages", body, &answer, &err);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%zu sent", json_array_size(json_object_get(answer, "messages")));
    return 0;
}

const struct syn_cli_command syn_cli_queue_send = {
    .path = "compute queue send",
    .summary = "Send messages",
    .detail = "When it ends with 0 the messages are on disk, all of them or none.",
    .examples = "  synor compute queue send orders '{\"id\": 7}'\n"
                "  synor compute queue send orders --file order.json --delay 5m\n",
    .operands = send_operands,
    .operand_count = SYN_LEN(send_operands),
    .options = send_options,
    .option_count = SYN_LEN(send_options),
    .run = run_send};

/* --- peek, receive ---------------------------------------------------------------------------- */

static void
message_cells(struct syn_cli_table_out *rows, const json_t *message)
{
    char text[SYN_FORMAT_MAX];

    syn_cli_cell(rows, "%s", syn_json_str(message, "id", ""));
    syn_cli_cell(rows, "%s", syn_format_time(syn_json_i64(message, "sent_ms", 0), text));
    syn_cli_cell(rows, "%s", syn_format_time(syn_json_i64(message, "ready_ms", 0), text));
    syn_cli_cell(rows, "%" PRId64, syn_json_i64(message, "receives", 0));
    syn_cli_cell(rows, "%.60s", syn_json_str(message, "body", ""));
}

static const struct syn_cli_view message_view = {.kind = "message",
                                                 .titles = "ID|SENT|FROM|>RECEIVED|BODY",
                                                 .empty = "The queue is empty",
                                                 .cells = message_cells};

static int
run_peek(struct syn_cli *cli)
{
    SYN_BUF(path);
    struct syn_err err;

    return syn_cli_named_path(cli, &queues, "/messages", &path, &err) < 0
               ? syn_cli_fail(cli, &err)
               : syn_cli_show_list(cli, &message_view, syn_buf_text(&path));
}

const struct syn_cli_command syn_cli_queue_peek = {
    .path = "compute queue peek",
    .summary = "Look at messages without receiving them",
    .detail =
        "FROM is the time from which a message may be received: later than now while somebody "
        "has it, and while it waits.",
    .operands = queue_operand,
    .operand_count = SYN_LEN(queue_operand),
    .run = run_peek};

static const struct syn_cli_option receive_options[] = {
    {"max", 0, "N", SYN_CLI_INT, 1, MESSAGES_STEP, false, false, NULL, "1", "Messages at a time"},
    {"wait", 0, "TIME", SYN_CLI_DURATION, 0, WAIT_MAX_MS, false, false, NULL, "0s",
     "Wait so long for the first"},
    {"acknowledge", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL,
     "Acknowledge them once they are printed"},
};

/* POST what is done with these receipts. */
static int
return_receipts(struct syn_cli *cli, const char *verb, json_t *receipts, json_t **ret,
                struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:O}", "receipts", receipts);

    if (rc == SYN_OK && syn_cli_has(cli, "delay"))
        rc = syn_json_set_i64(body, "delay_ms", syn_cli_number(cli, "delay", 0), err);
    return rc < 0 ? rc : call_queue(cli, "POST", verb, body, ret, err);
}

/* The first answer that has messages, or the last one in time. */
static int
receive(struct syn_cli *cli, json_t **ret, struct syn_err *err)
{
    int64_t until = syn_clock_ns() + syn_cli_number(cli, "wait", 0) * 1000000;
    const struct timespec step = {0, POLL_NS};
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:I}", "max", (json_int_t)syn_cli_number(cli, "max", 1));

    while (rc == SYN_OK) {
        json_decref(*ret);
        *ret = NULL;
        rc = call_queue(cli, "POST", "/receive", body, ret, err);
        if (rc < 0 || json_array_size(json_object_get(*ret, "items")) > 0 ||
            syn_clock_ns() >= until || syn_cli_interrupted())
            break;
        (void)nanosleep(&step, NULL);
    }
    return rc;
}

static int
run_receive(struct syn_cli *cli)
{
    const json_t *item, *items;
    SYN_JSON(answer);
    SYN_JSON(receipts);
    SYN_JSON(done);
    struct syn_err err;
    size_t i;
    int rc = receive(cli, &answer, &err), status = 0;

    if (rc < 0)
        return syn_cli_fail(cli, &err);
    items = json_object_get(answer, "items");
    receipts = json_array();
    json_array_foreach (items, i, item) {
        if (rc == SYN_OK)
            rc =
                syn_json_append_take(receipts, json_incref(json_object_get(item, "receipt")), &err);
        syn_cli_say(cli, "%s  %s", syn_json_str(item, "receipt", ""),
                    syn_json_str(item, "body", ""));
    }
    if (cli->json)
        status = syn_cli_print_json_take(cli, json_incref(answer));
    if (rc == SYN_OK && status == 0 && syn_cli_has(cli, "acknowledge") &&
        json_array_size(receipts) > 0)
        rc = return_receipts(cli, "/acknowledge", receipts, &done, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : status;
}

const struct syn_cli_command syn_cli_queue_receive = {
    .path = "compute queue receive",
    .summary = "Receive messages that are due",
    .detail = "Each comes with a receipt, good until the queue's visibility time is over: "
              "acknowledge it by then, or the message is received again.",
    .examples = "  synor compute queue receive orders --wait 10s\n"
                "  synor compute queue receive orders --max 10 --acknowledge --json\n",
    .operands = queue_operand,
    .operand_count = SYN_LEN(queue_operand),
    .options = receive_options,
    .option_count = SYN_LEN(receive_options),
    .run = run_receive};

/* --- acknowledge, release, purge -------------------------------------------------------------- */

static const struct syn_cli_operand receipt_operands[] = {
    {"QUEUE", SYN_CLI_TEXT, true, false, "Name of the queue"},
    {"RECEIPT", SYN_CLI_TEXT, true, true, "As the message came with"},
};

static const struct syn_cli_option release_options[] = {
    {"delay", 0, "TIME", SYN_CLI_DURATION, 0, 0, false, false, NULL, "the queue's back-off",
     "They may be received again after this time"},
};

/* Fails when a receipt is void: the message is somebody else's, or gone. */
static int
run_return(struct syn_cli *cli, const char *verb)
{
    const json_t *missing;
    SYN_JSON(receipts);
    SYN_JSON(answer);
    struct syn_err err;
    int rc = SYN_OK;

    receipts = json_array();
    for (size_t i = 1; rc == SYN_OK && syn_cli_operand(cli, i) != NULL; i++)
        rc = syn_json_append_take(receipts, json_string(syn_cli_operand(cli, i)), &err);
    if (rc == SYN_OK)
        rc = return_receipts(cli, verb, receipts, &answer, &err);
    missing = json_object_get(answer, "missing");
    if (rc == SYN_OK && json_array_size(missing) > 0)
        rc = SYN_FAIL(&err, SYN_E_NOTFOUND,
                      "%s is void: its time was over, or the message is gone%s",
                      json_string_value(json_array_get(missing, 0)),
                      json_array_size(missing) > 1 ? "; others as well" : "");
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    return cli->json ? syn_cli_print_json_take(cli, SYN_TAKE(answer)) : 0;
}

static int
run_acknowledge(struct syn_cli *cli)
{
    return run_return(cli, "/acknowledge");
}

const struct syn_cli_command syn_cli_queue_acknowledge = {.path = "compute queue acknowledge",
                                                          .summary = "These messages are done",
                                                          .operands = receipt_operands,
                                                          .operand_count =
                                                              SYN_LEN(receipt_operands),
                                                          .run = run_acknowledge};

static int
run_release(struct syn_cli *cli)
{
    return run_return(cli, "/release");
}

const struct syn_cli_command syn_cli_queue_release = {
    .path = "compute queue release",
    .summary = "Give messages back, or keep them longer",
    .detail = "Without --delay they wait for the queue's back-off, longer each time. With it, they "
              "are nobody else's for that time: who needs longer for a message says so here, and "
              "has a void receipt from then on.",
    .operands = receipt_operands,
    .operand_count = SYN_LEN(receipt_operands),
    .options = release_options,
    .option_count = SYN_LEN(release_options),
    .run = run_release};

static int
run_purge(struct syn_cli *cli)
{
    char question[160];
    SYN_JSON(answer);
    struct syn_err err;

    (void)snprintf(question, sizeof(question), "Delete every message of the queue %.63s?",
                   syn_cli_operand(cli, 0));
    if (!syn_cli_confirm(cli, question))
        return 1;
    if (call_queue(cli, "DELETE", "/messages", NULL, &answer, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    syn_cli_say(cli, "%" PRId64 " deleted", syn_json_i64(answer, "deleted", 0));
    return 0;
}

const struct syn_cli_command syn_cli_queue_purge = {.path = "compute queue purge",
                                                    .summary = "Delete all messages of a queue",
                                                    .operands = queue_operand,
                                                    .operand_count = SYN_LEN(queue_operand),
                                                    .run = run_purge};
