/* From options to keys of a workload's spec. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "workload_priv.h"

int
syn_cli_spec_numbers(const struct syn_cli *cli, const struct syn_cli_spec_key *keys, size_t count,
                     json_t *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        if (syn_cli_has(cli, keys[i].option))
            rc = syn_json_set_i64(spec, keys[i].key, syn_cli_number(cli, keys[i].option, 0), err);
    return rc;
}

int
syn_cli_spec_texts(const struct syn_cli *cli, const struct syn_cli_spec_key *keys, size_t count,
                   json_t *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < count && rc == SYN_OK; i++)
        if (syn_cli_has(cli, keys[i].option))
            rc = syn_json_set_str(spec, keys[i].key, syn_cli_text(cli, keys[i].option, ""), err);
    return rc;
}

void
syn_cli_spec_blame(const struct syn_cli *cli, const char *prefix,
                   const struct syn_cli_spec_key *keys, size_t count, struct syn_err *err)
{
    const char *key = err->msg + strlen(prefix);
    struct syn_err named = *err;
    size_t len;

    if (!syn_str_starts(err->msg, prefix))
        return;
    len = strcspn(key, ":["); /* one of a list is known by what it says */
    for (size_t i = 0; i < count; i++)
        if (strlen(keys[i].key) == len && strncmp(keys[i].key, key, len) == 0 &&
            syn_cli_has(cli, keys[i].option))
            (void)snprintf(named.msg, sizeof(named.msg), "--%s%s", keys[i].option,
                           key + strcspn(key, ":"));
    *err = named;
}

int
syn_cli_spec_words(const struct syn_cli *cli, const char *option, const char *key, json_t *spec,
                   struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *list;
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, option))
        return SYN_OK;
    list = json_array();
    rc = syn_json_set_take(spec, key, list, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, option, &cursor)) != NULL)
        rc = syn_json_append_take(list, json_string(value->text), err);
    return rc;
}

int
syn_cli_spec_card(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    static const struct syn_cli_spec_key memory = {"gpu-memory", "gpu_memory_bytes"};
    static const struct syn_cli_spec_key mig = {"mig", "gpu_mig"};
    double share = 0;
    int rc = syn_cli_spec_numbers(cli, &memory, 1, spec, err);

    if (rc == SYN_OK)
        rc = syn_cli_spec_texts(cli, &mig, 1, spec, err);
    if (rc < 0 || !syn_cli_has(cli, "gpu-share"))
        return rc;
    rc = syn_parse_double(syn_cli_text(cli, "gpu-share", ""), 0.001, 1, "--gpu-share", &share, err);
    return rc < 0 ? rc : syn_json_set_take(spec, "gpu_share", json_real(share), err);
}

int
syn_cli_spec_env(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *env;
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "env"))
        return SYN_OK;
    env = json_object();
    rc = syn_json_set_take(spec, "env", env, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "env", &cursor)) != NULL) {
        const char *equals = strchr(value->text, '=');
        char name[128];

        if (equals == NULL || equals == value->text ||
            (size_t)(equals - value->text) >= sizeof(name))
            return SYN_FAIL(err, SYN_E_INVALID, "--env: expected NAME=VALUE, got \"%s\"",
                            value->text);
        (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - value->text), value->text);
        rc = syn_json_set_str(env, name, equals + 1, err);
    }
    return rc;
}

/* "VAR=name", or "a-name", which is A_NAME's. */
static int
add_secret(json_t *secrets, const char *word, struct syn_err *err)
{
    const char *equals = strchr(word, '='), *name = equals != NULL ? equals + 1 : word;
    char variable[128];
    size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);

    if (len == 0 || len >= sizeof(variable) || *name == '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "--secret: expected NAME or VAR=NAME, got \"%.80s\"",
                        word);
    for (size_t i = 0; i < len; i++) {
        char c = word[i];

        if (equals == NULL && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (equals == NULL && c == '-')
            c = '_';
        variable[i] = c;
    }
    variable[len] = '\0';
    return syn_json_set_str(secrets, variable, name, err);
}

int
syn_cli_spec_secrets(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    const struct syn_cli_value *value;
    json_t *secrets;
    size_t cursor = 0;
    int rc;

    if (!syn_cli_has(cli, "secret"))
        return SYN_OK;
    secrets = json_object();
    rc = syn_json_set_take(spec, "secrets", secrets, err);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "secret", &cursor)) != NULL)
        rc = add_secret(secrets, value->text, err);
    return rc;
}
