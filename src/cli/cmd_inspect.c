/* compute service inspect: everything that is known of a service's replicas, or of one instance. */
#include <stdio.h>

#include <synor/base/str.h>

#include "commands_priv.h"
#include "service_priv.h"

#define KEY_CAP   256
#define DEPTH_MAX 6

/* One value, as people read it; the unit is the last word of its key. */
static void
show_value(const struct syn_cli *cli, const char *key, const json_t *value)
{
    char text[64];

    if (json_is_string(value)) {
        if (json_string_length(value) > 0)
            syn_cli_say(cli, "  %-32s %s", key, json_string_value(value));
    } else if (json_is_integer(value) && syn_str_ends(key, "_bytes")) {
        syn_cli_say(cli, "  %-32s %s", key, syn_format_bytes(json_integer_value(value), text));
    } else if (json_is_integer(value)) {
        syn_cli_say(cli, "  %-32s %lld", key, (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        syn_cli_say(cli, "  %-32s %g", key, json_real_value(value));
    } else if (json_is_boolean(value)) {
        syn_cli_say(cli, "  %-32s %s", key, json_is_true(value) ? "yes" : "no");
    }
}

static void show_all(const struct syn_cli *cli, const char *key, const json_t *value, int depth);

/* Values of the environment may be what nobody should read over a shoulder: only names. */
static bool
hidden(const char *key)
{
    return strstr(key, "spec.env.") != NULL;
}

static void
show_object(const struct syn_cli *cli, const char *key, const json_t *object, int depth)
{
    const char *name;
    const json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
        char below[KEY_CAP];

        (void)snprintf(below, sizeof(below), "%s%s%s", key, key[0] != '\0' ? "." : "", name);
        if (hidden(below))
            syn_cli_say(cli, "  %-32s (set)", below);
        else
            show_all(cli, below, value, depth + 1);
    }
}

static void
show_list(const struct syn_cli *cli, const char *key, const json_t *list, int depth)
{
    const json_t *value;
    size_t i;

    json_array_foreach (list, i, value) {
        char below[KEY_CAP];

        (void)snprintf(below, sizeof(below), "%s[%zu]", key, i);
        show_all(cli, below, value, depth + 1);
    }
}

static void
show_all(const struct syn_cli *cli, const char *key, const json_t *value, int depth)
{
    if (depth > DEPTH_MAX)
        return;
    if (json_is_object(value))
        show_object(cli, key, value, depth);
    else if (json_is_array(value))
        show_list(cli, key, value, depth);
    else
        show_value(cli, key, value);
}

static void
show_instance(const struct syn_cli *cli, const json_t *instance)
{
    static const char *const parts[] = {"spec", "status"};

    syn_cli_say(cli, "%s", syn_json_str(instance, "id", "?"));
    for (size_t i = 0; i < SYN_LEN(parts); i++)
        show_all(cli, parts[i], json_object_get(instance, parts[i]), 0);
}

static int
load_instance(struct syn_cli *cli, const char *id, json_t *list, struct syn_err *err)
{
    json_t *doc = NULL;
    SYN_BUF(path);
    int rc;

    syn_buf_adds(&path, "/v1/instances/");
    syn_cli_escape(&path, id);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &doc, err);
    return rc < 0 ? rc : syn_json_append_take(list, doc, err);
}

/* A replica that went between the two questions is left out. */
static int
load_replicas(struct syn_cli *cli, const json_t *service, json_t *list, struct syn_err *err)
{
    const json_t *endpoint;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (json_object_get(json_object_get(service, "status"), "endpoints"), i,
                        endpoint) {
        if (syn_cli_has(cli, "replica") &&
            syn_json_i64(endpoint, "replica", -1) != syn_cli_number(cli, "replica", -1))
            continue;
        rc = load_instance(cli, syn_json_str(endpoint, "instance", ""), list, err);
        if (rc < 0 && rc != SYN_E_NOTFOUND)
            return rc;
    }
    return SYN_OK;
}

static int
run_inspect(struct syn_cli *cli)
{
    const char *name = syn_cli_operand(cli, 0);
    SYN_JSON(service);
    SYN_JSON(list);
    SYN_JSON(answer);
    const json_t *instance;
    struct syn_err err = {0};
    size_t i;
    int rc = SYN_OK;

    list = json_array();
    if (syn_str_starts(name, "inst-"))
        rc = load_instance(cli, name, list, &err);
    else
        rc = syn_cli_workload_call(cli, "GET", "", NULL, &service, &err);
    if (rc == SYN_OK && service != NULL)
        rc = load_replicas(cli, service, list, &err);
    if (rc == SYN_OK && cli->json)
        rc = syn_json_pack(&answer, &err, "{s:O?, s:O}", "service", service, "instances", list);
    if (rc < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(answer));
    json_array_foreach (list, i, instance)
        show_instance(cli, instance);
    if (json_array_size(list) == 0)
        syn_cli_say(cli, "No replica of %s is there.", name);
    return 0;
}

/* clang-format off */
static const struct syn_cli_option options[] = {
    {"replica", 0, "N", SYN_CLI_INT, 0, 100000, false, false, NULL, NULL, "Only this one"},
};
/* clang-format on */
static const struct syn_cli_operand operands[] = {
    {"SERVICE", SYN_CLI_TEXT, true, false, "Its name or id, or an instance's id"},
};

const struct syn_cli_command syn_cli_service_inspect = {
    .path = "compute service inspect",
    .summary = "Show everything that is known of the replicas of a service",
    .detail = "What each was asked to be (image, version, command, limits, network, checks), where "
              "it is, what isolates it and how it is. Values of the environment are not shown; "
              "--json has them as the API does, secrets never.",
    .options = options,
    .option_count = SYN_LEN(options),
    .operands = operands,
    .operand_count = SYN_LEN(operands),
    .workload = &syn_cli_service_workload,
    .run = run_inspect};
