/* From --health-check, --readiness-check, --liveness-check, --startup-check to spec.health,
 * spec.liveness and spec.startup. What a check asks is one word:
 *
 *     /PATH  :PORT/PATH    by HTTP
 *     tcp  tcp:PORT        that it can be connected to
 *     grpc[:PORT][/NAME]   by gRPC's health protocol, of all or of one of its services
 *     exec:WORD WORD...    a program within the replica; exec:["a b", "c"] for words with blanks
 *     none
 *
 * and from --pre-stop, in the same words, to spec.pre_stop. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

#include "service_priv.h"

static const struct {
    const char *option, *key;
} checks[] = {
    {"health-check", "health"},   {"readiness-check", "health"}, {"liveness-check", "liveness"},
    {"startup-check", "startup"}, {"pre-stop", "pre_stop"},
};
static const struct syn_cli_spec_key paces[] = {
    {"health-interval", "interval_ms"},
    {"health-timeout", "timeout_ms"},
};
static const struct syn_cli_spec_key start_time[] = {{"start-time", "start_ms"}};

static int
wrong(const char *option, const char *word, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID,
                    "--%s: expected /PATH, :PORT/PATH, tcp[:PORT], grpc[:PORT][/SERVICE], "
                    "exec:COMMAND or none, got \"%.80s\"",
                    option, word);
}

static int
set_command(json_t *check, const char *words, const char *option, struct syn_err *err)
{
    json_t *list = NULL;
    int rc = SYN_OK;

    if (words[0] == '[') {
        if (syn_json_parse(words, strlen(words), &list, NULL) < 0)
            return wrong(option, words, err);
        return syn_json_set_take(check, "command", list, err);
    }
    list = json_array();
    rc = syn_json_set_take(check, "command", list, err);
    for (words += strspn(words, " "); rc == SYN_OK && *words != '\0'; words += strspn(words, " ")) {
        size_t len = strcspn(words, " ");

        rc = syn_json_append_take(list, json_stringn(words, len), err);
        words += len;
    }
    return rc;
}

/* ":PORT", then nothing or, of HTTP, the path. */
static int
set_port(json_t *check, const char *text, size_t len, struct syn_err *err)
{
    char digits[8] = "";
    int64_t port;

    (void)snprintf(digits, sizeof(digits), "%.*s", (int)SYN_MIN(len, sizeof(digits) - 1), text);
    if (syn_parse_i64(digits, 1, 65535, "port", &port, NULL) < 0)
        return SYN_E_INVALID;
    return syn_json_set_i64(check, "port", port, err);
}

/* What follows "grpc". */
static int
set_grpc(json_t *check, const char *rest, struct syn_err *err)
{
    const char *slash = strchr(rest, '/');
    size_t len = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
    int rc = syn_json_set_str(check, "kind", "grpc", err);

    if (rc == SYN_OK && len > 0)
        rc = set_port(check, rest + 1, len - 1, err);
    if (rc == SYN_OK && slash != NULL)
        rc = slash[1] != '\0' ? syn_json_set_str(check, "service", slash + 1, err) : SYN_E_INVALID;
    return rc;
}

static int
set_asked(json_t *check, const char *word, const char *option, struct syn_err *err)
{
    const char *slash = strchr(word, '/');
    int rc = SYN_OK;

    if (syn_str_starts(word, "exec:")) {
        rc = set_command(check, word + strlen("exec:"), option, err);
        return rc < 0 ? rc : syn_json_set_str(check, "kind", "exec", err);
    }
    if (syn_str_eq(word, "none") || syn_str_eq(word, "tcp"))
        return syn_json_set_str(check, "kind", word, err);
    if (syn_str_starts(word, "tcp:")) {
        if (set_port(check, word + strlen("tcp:"), strlen(word), err) < 0)
            return wrong(option, word, err);
        return syn_json_set_str(check, "kind", "tcp", err);
    }
    if (syn_str_starts(word, "grpc") && (word[4] == '\0' || word[4] == ':' || word[4] == '/'))
        return set_grpc(check, word + strlen("grpc"), err) < 0 ? wrong(option, word, err) : SYN_OK;
    if (slash == NULL || (word[0] != '/' && word[0] != ':'))
        return wrong(option, word, err);
    if (word[0] == ':' && set_port(check, word + 1, (size_t)(slash - word - 1), err) < 0)
        return wrong(option, word, err);
    rc = syn_json_set_str(check, "path", slash, err);
    return rc < 0 ? rc : syn_json_set_str(check, "kind", "http", err);
}

/* The object of a key, made when it is missing. */
static int
part_of(json_t *spec, const char *key, json_t **ret, struct syn_err *err)
{
    *ret = json_object_get(spec, key);
    if (*ret != NULL)
        return SYN_OK;
    *ret = json_object();
    return syn_json_set_take(spec, key, *ret, err);
}

/* What it asked before is forgotten; how often stays. */
static int
set_check(const struct syn_cli *cli, size_t i, json_t *spec, struct syn_err *err)
{
    static const char *const asked[] = {"kind", "path",    "command", "port",
                                        "host", "headers", "ends",    "service"};
    json_t *check;
    int rc;

    if (!syn_cli_has(cli, checks[i].option))
        return SYN_OK;
    rc = part_of(spec, checks[i].key, &check, err);
    for (size_t k = 0; rc == SYN_OK && k < SYN_LEN(asked); k++)
        (void)json_object_del(check, asked[k]);
    if (rc == SYN_OK)
        rc = set_asked(check, syn_cli_text(cli, checks[i].option, ""), checks[i].option, err);
    if (rc == SYN_OK && syn_str_eq(checks[i].option, "readiness-check"))
        rc = syn_json_set_bool(check, "ends", false, err);
    return rc;
}

/* "NAME=VALUE" */
static int
set_headers(const struct syn_cli *cli, json_t *check, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *headers;
    size_t cursor = 0;
    int rc = SYN_OK;

    if (syn_cli_has(cli, "check-host"))
        rc = syn_json_set_str(check, "host", syn_cli_text(cli, "check-host", ""), err);
    if (rc < 0 || !syn_cli_has(cli, "check-header"))
        return rc;
    headers = json_object();
    rc = syn_json_set_take(check, "headers", headers, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "check-header", &cursor)) != NULL) {
        const char *equals = strchr(value->text, '=');
        char name[128];

        if (equals == NULL || equals == value->text ||
            (size_t)(equals - value->text) >= sizeof(name))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "--check-header: expected NAME=VALUE, got \"%.80s\"", value->text);
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - value->text), value->text);
        rc = syn_json_set_str(headers, name, equals + 1, err);
    }
    return rc;
}

/* What is said of all checks. */
static int
set_pace(const struct syn_cli *cli, json_t *spec, const char *key, struct syn_err *err)
{
    json_t *check = json_object_get(spec, key);
    int rc;

    if (check == NULL)
        return SYN_OK;
    rc = syn_cli_spec_numbers(cli, paces, SYN_LEN(paces), check, err);
    if (rc == SYN_OK && syn_str_eq(syn_json_str(check, "kind", ""), "http"))
        rc = set_headers(cli, check, err);
    return rc;
}

int
syn_cli_service_checks(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    static const char *const keys[] = {"health", "liveness", "startup"};
    json_t *health;
    int rc = part_of(spec, "health", &health, err);

    if (rc == SYN_OK && syn_cli_has(cli, "health-check") && syn_cli_has(cli, "readiness-check"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--readiness-check: --health-check is a readiness check, too; say one");
    if (rc == SYN_OK)
        rc = syn_cli_spec_numbers(cli, start_time, SYN_LEN(start_time), health, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(checks); i++)
        rc = set_check(cli, i, spec, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(keys); i++)
        rc = set_pace(cli, spec, keys[i], err);
    return rc;
}

void
syn_cli_service_checks_blame(const struct syn_cli *cli, struct syn_err *err)
{
    struct syn_err named = *err;

    for (size_t i = 0; i < SYN_LEN(checks); i++) {
        char prefix[32];
        int n = snprintf(prefix, sizeof(prefix), "spec.%s", checks[i].key);

        if (n > 0 && syn_str_starts(err->msg, prefix) && syn_cli_has(cli, checks[i].option))
            (void)snprintf(named.msg, sizeof(named.msg), "--%s%s", checks[i].option, err->msg + n);
    }
    *err = named;
}
