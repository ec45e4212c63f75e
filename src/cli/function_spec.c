/* From the options of `function deploy` to a spec. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "function_kind_priv.h"
#include "trigger.h"

#define ENV_FILE_MAX ((size_t)256 << 10)
#define MIB          (INT64_C(1) << 20)

static const struct syn_cli_spec_key numbers[] = {
    {"cpu", "cpu_millicores"},
    {"concurrency", "concurrency"},
    {"min-instances", "min_instances"},
    {"max-instances", "max_instances"},
    {"idle", "idle_ms"},
    {"max-waiting", "max_waiting"},
    {"max-request", "request_bytes_max"},
    {"max-response", "response_bytes_max"},
    {"fuel", "fuel"},
    {"gpu", "gpus"},
    {"billing-period", "billing_period_ms"},
};
static const struct syn_cli_spec_key texts[] = {
    {"runtime", "runtime"},     {"handler", "handler"},       {"region", "region"},
    {"isolation", "isolation"}, {"max-budget", "max_budget"}, {"prewarm", "prewarm"},
    {"gpu-type", "gpu_model"},
};
/* Numbers whose bare form is another unit than elsewhere. */
static const struct syn_cli_spec_key own[] = {
    {"memory", "memory_bytes"},
    {"ephemeral-storage", "scratch_bytes"},
    {"timeout", "timeout_ms"},
    {"provisioned-concurrency", "min_instances"},
};
/* What the options of lists became. */
static const struct syn_cli_spec_key lists[] = {
    {"warmup-schedule", "warmup"},
    {"trigger", "triggers"},
    {"code", "code"},
    {"env", "env"},
    {"env-file", "env"},
    {"secret", "secrets"},
    {"dependencies", "layer"},
    {"snapstart", "snapstart"},
};

static const struct syn_cli_spec_key destinations[] = {
    {"on-success", "success"},
    {"on-failure", "failure"},
    {"destination-secret", "secret"},
};

void
syn_cli_function_blame(const struct syn_cli *cli, struct syn_err *err)
{
    syn_cli_spec_blame(cli, "spec.destinations.", destinations, SYN_LEN(destinations), err);
    syn_cli_spec_blame(cli, "spec.", numbers, SYN_LEN(numbers), err);
    syn_cli_spec_blame(cli, "spec.", texts, SYN_LEN(texts), err);
    syn_cli_spec_blame(cli, "spec.", own, SYN_LEN(own), err);
    syn_cli_spec_blame(cli, "spec.", lists, SYN_LEN(lists), err);
}

static bool
is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* "1024" is MiB, as those who come from elsewhere write it; with a unit it is what it says. */
static int
set_memory(const struct syn_cli *cli, const struct syn_cli_spec_key *key, json_t *spec,
           struct syn_err *err)
{
    const char *text = syn_cli_text(cli, key->option, NULL);
    char what[40];
    int64_t bytes;
    int rc;

    if (text == NULL)
        return SYN_OK;
    (void)snprintf(what, sizeof(what), "--%s", key->option);
    if (is_number(text)) {
        rc = syn_parse_i64(text, 1, SYN_AMOUNT_MAX / MIB, what, &bytes, err);
        bytes = rc == SYN_OK ? bytes * MIB : 0;
    } else {
        rc = syn_parse_bytes(text, what, &bytes, err);
    }
    return rc < 0 ? rc : syn_json_set_i64(spec, key->key, bytes, err);
}

/* "30000" is ms. */
static int
set_timeout(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const char *text = syn_cli_text(cli, "timeout", NULL);
    int64_t ms;
    int rc;

    if (text == NULL)
        return SYN_OK;
    rc = is_number(text) ? syn_parse_i64(text, 1, INT64_MAX, "--timeout", &ms, err)
                         : syn_parse_duration_ms(text, "--timeout", &ms, err);
    return rc < 0 ? rc : syn_json_set_i64(spec, "timeout_ms", ms, err);
}

static int
set_provisioned(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    if (!syn_cli_has(cli, "provisioned-concurrency"))
        return SYN_OK;
    if (syn_cli_has(cli, "min-instances"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--provisioned-concurrency: is another name of --min-instances; give one");
    return syn_json_set_i64(spec, "min_instances",
                            syn_cli_number(cli, "provisioned-concurrency", 0), err);
}

/* --- env ------------------------------------------------------------------------------------- */

/* One line of a file, as docker has it: NAME=VALUE with nothing quoted; empty ones and those that
 * begin with # say nothing. */
static int
env_line(json_t *env, const char *line, size_t len, size_t number, const char *path,
         struct syn_err *err)
{
    const char *equals = memchr(line, '=', len);
    char name[128];
    size_t size;
    SYN_BUF(value);
    int rc;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    if (len == 0 || line[0] == '#')
        return SYN_OK;
    size = equals != NULL ? (size_t)(equals - line) : 0;
    if (size == 0 || size >= sizeof(name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--env-file: %.80s, line %zu: expected NAME=VALUE, got \"%.*s\"", path,
                        number, (int)SYN_MIN(len, (size_t)40), line);
    (void)snprintf(name, sizeof(name), "%.*s", (int)size, line);
    syn_buf_add(&value, equals + 1, len - size - 1);
    rc = syn_buf_ok(&value, err);
    return rc < 0 ? rc : syn_json_set_str(env, name, syn_buf_text(&value), err);
}

static int
read_env_file(json_t *env, const char *path, struct syn_err *err)
{
    SYN_BUF(text);
    size_t number = 0;
    int rc = syn_cli_read_file(path, ENV_FILE_MAX, &text, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "--env-file");
    if (memchr(syn_buf_text(&text), '\0', text.len) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "--env-file: %.80s: not a text", path);
    for (const char *at = syn_buf_text(&text); rc == SYN_OK && *at != '\0';) {
        size_t len = strcspn(at, "\n");

        rc = env_line(env, at, len, ++number, path, err);
        at += len + (at[len] == '\n');
    }
    return rc;
}

/* Files first, in their order: --env has the last word. */
static int
set_env(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0;
    SYN_JSON(env);
    SYN_JSON(said);
    int rc = syn_json_pack(&env, err, "{}");

    while (rc == SYN_OK && (value = syn_cli_next(cli, "env-file", &cursor)) != NULL)
        rc = read_env_file(env, value->text, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&said, err, "{}");
    if (rc == SYN_OK)
        rc = syn_cli_spec_env(cli, said, err);
    if (rc == SYN_OK && json_object_get(said, "env") != NULL &&
        json_object_update(env, json_object_get(said, "env")) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
    if (rc < 0 || json_object_size(env) == 0)
        return rc;
    return syn_json_set_take(spec, "env", SYN_TAKE(env), err);
}

/* --- the whole ------------------------------------------------------------------------------- */

int
syn_cli_function_triggers(const struct syn_cli *cli, const char *option, json_t *triggers,
                          struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && (value = syn_cli_next(cli, option, &cursor)) != NULL) {
        json_t *trigger = NULL;

        rc = syn_cli_trigger_parse(value->text, &trigger, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "--%s", option);
        rc = syn_json_append_take(triggers, trigger, err);
    }
    return rc;
}

static int
set_triggers(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    json_t *triggers;
    int rc;

    if (!syn_cli_has(cli, "trigger"))
        return SYN_OK;
    triggers = json_array();
    rc = syn_json_set_take(spec, "triggers", triggers, err);
    return rc < 0 ? rc : syn_cli_function_triggers(cli, "trigger", triggers, err);
}

static int
set_warmups(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *list = json_array();
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "warmup-schedule")) {
        json_decref(list);
        return SYN_OK;
    }
    rc = syn_json_set_take(spec, "warmup", list, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "warmup-schedule", &cursor)) != NULL) {
        json_t *warmup = NULL;

        rc = syn_cli_warmup_parse(value->text, &warmup, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "--warmup-schedule");
        rc = syn_json_append_take(list, warmup, err);
    }
    return rc;
}

static int
set_destinations(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    SYN_JSON(given);
    int rc = syn_json_pack(&given, err, "{}");

    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, destinations, SYN_LEN(destinations), given, err);
    if (rc < 0 || json_object_size(given) == 0)
        return rc;
    return syn_json_set_take(spec, "destinations", SYN_TAKE(given), err);
}

int
syn_cli_function_spec(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int rc = syn_cli_spec_numbers(cli, numbers, SYN_LEN(numbers), spec, err);

    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, texts, SYN_LEN(texts), spec, err);
    for (size_t i = 0; rc == SYN_OK && i < 2; i++)
        rc = set_memory(cli, &own[i], spec, err);
    if (rc == SYN_OK)
        rc = set_timeout(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_provisioned(cli, spec, err);
    if (rc == SYN_OK && syn_cli_has(cli, "snapstart"))
        rc = syn_json_set_bool(spec, "snapstart", true, err);
    if (rc == SYN_OK)
        rc = set_env(cli, spec, err);
    if (rc == SYN_OK)
        rc = syn_cli_spec_secrets(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_destinations(cli, spec, err);
    if (rc == SYN_OK)
        rc = set_warmups(cli, spec, err);
    return rc < 0 ? rc : set_triggers(cli, spec, err);
}
