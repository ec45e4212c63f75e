/* docker-compose files, as the Compose Specification has them. Keys whose meaning a service here
 * has anyway have rules that take nothing; those that it cannot have say why. */
#include "manifest_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/units.h>

bool
manifest_is_compose(json_t *document)
{
    return json_is_object(document) && json_object_get(document, "services") != NULL &&
           json_object_get(document, "kind") == NULL;
}

/* --- one thing or another --------------------------------------------------------------------- */

/* "K=V" in a list. */
static int
take_pair(const struct manifest_at *at, json_t *value, json_t *env, struct syn_err *err)
{
    const char *text = json_string_value(value);
    const char *equals = text != NULL ? strchr(text, '=') : NULL;
    char name[128];

    if (text == NULL)
        return manifest_wrong(at, err, "NAME=VALUE");
    if (equals == NULL) { /* what the shell has */
        const char *set = syn_json_str(at->file->variables, text, NULL);

        return set != NULL ? syn_json_set_str(env, text, set, err)
                           : manifest_note(at, err, "%.63s is not set; it is left out", text);
    }
    if ((size_t)(equals - text) >= sizeof(name))
        return manifest_wrong(at, err, "a shorter name");
    (void)snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    return syn_json_set_str(env, name, equals + 1, err);
}

static int
take_env(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_JSON(env);
    struct manifest_at below;
    const char *key;
    json_t *part;
    size_t i;
    int rc = SYN_OK;

    env = json_object();
    if (env == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for variables");
    if (!json_is_object(value) && !json_is_array(value))
        return manifest_wrong(at, err, "an object or a list of NAME=VALUE");
    json_array_foreach (value, i, part) {
        manifest_below(at, NULL, i, &below);
        if (rc == SYN_OK)
            rc = take_pair(&below, part, env, err);
    }
    json_object_foreach (value, key, part) {
        SYN_BUF(text);

        manifest_below(at, key, 0, &below);
        if (rc == SYN_OK && !json_is_null(part) && !manifest_text(part, &text))
            rc = manifest_wrong(&below, err, "text");
        if (rc == SYN_OK)
            rc = syn_buf_ok(&text, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(env, key, syn_buf_text(&text), err);
    }
    return rc < 0 ? rc : manifest_set_take(at, "env", SYN_TAKE(env), err);
}

/* [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL] or the long form, -> target port. */
static int
one_port(const struct manifest_at *at, json_t *value, int64_t *ret, struct syn_err *err)
{
    SYN_BUF(text);
    char target[16];
    const char *last;
    size_t len;
    int rc = SYN_OK;

    if (json_is_object(value))
        return manifest_whole(at, json_object_get(value, "target"), ret, err);
    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, "PUBLISHED:PORT");
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    last = strrchr(syn_buf_text(&text), ':');
    if (last != NULL)
        rc = manifest_note(at, err,
                           "the platform gives the address that it is published at; service get "
                           "shows it");
    last = last != NULL ? last + 1 : syn_buf_text(&text);
    len = strcspn(last, "/");
    if (rc < 0)
        return rc;
    if (last[len] != '\0' && !syn_str_eq(last + len, "/tcp"))
        return manifest_unknown(at, err, "services speak TCP");
    if (len == 0 || len >= sizeof(target))
        return manifest_wrong(at, err, "PUBLISHED:PORT");
    (void)snprintf(target, sizeof(target), "%.*s", (int)len, last);
    return syn_parse_i64(target, 1, 65535, at->path, ret, err);
}

static int
take_ports(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    json_t *row;
    size_t i;

    if (!json_is_array(value))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (value, i, row) {
        struct manifest_at below;
        int64_t port = 0;
        int rc;

        manifest_below(at, NULL, i, &below);
        rc = one_port(&below, row, &port, err);
        if (rc == SYN_OK && port != 0) {
            int64_t had = syn_json_i64(at->spec, "port", 0);

            rc = had == 0 || had == port
                     ? syn_json_set_i64(at->spec, "port", port, err)
                     : manifest_unknown(&below, err, "a service has one port; this one has %lld",
                                        (long long)had);
        }
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* Only these words, which say what is so anyway. */
/* Is it one of "a|b|c"? */
static bool
is_choice(const char *choices, const char *said)
{
    for (size_t len; *choices != '\0'; choices += len + (choices[len] == '|')) {
        len = strcspn(choices, "|");
        if (strlen(said) == len && memcmp(said, choices, len) == 0)
            return true;
    }
    return false;
}

static int
take_if_word(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_BUF(text);

    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, at->rule->to);
    if (syn_buf_ok(&text, err) < 0)
        return SYN_E_NOMEM;
    if (is_choice(at->rule->to, syn_buf_text(&text)))
        return SYN_OK;
    return manifest_unknown(at, err, "%.40s is not to be had; here it is always %s",
                            syn_buf_text(&text), at->rule->to);
}

static int
take_networks(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    (void)value;
    return manifest_note(at, err, "all services of an account are in one network");
}

/* --- health ----------------------------------------------------------------------------------- */

/* The path of http://localhost:PORT/PATH, whose port is *ret_port; NULL: it is no such address. */
static const char *
local_path(const char *url, int64_t *ret_port)
{
    static const char *const hosts[] = {"http://localhost", "http://127.0.0.1"};

    for (size_t i = 0; i < SYN_LEN(hosts); i++) {
        char port[8] = "80";
        const char *rest = url + strlen(hosts[i]);
        size_t len;

        if (!syn_str_starts(url, hosts[i]))
            continue;
        if (*rest == ':') {
            len = strcspn(++rest, "/");
            if (len >= sizeof(port))
                return NULL;
            (void)snprintf(port, sizeof(port), "%.*s", (int)len, rest);
            rest += len;
        }
        if (syn_parse_i64(port, 1, 65535, "port", ret_port, NULL) < 0)
            return NULL;
        return *rest == '\0' ? "/" : rest;
    }
    return NULL;
}

/* What is run within: by a shell, or as it stands. */
static int
set_command(const struct manifest_at *at, const char *shell, json_t *list, struct syn_err *err)
{
    json_t *command = NULL;
    int rc;

    if (shell != NULL) {
        rc = syn_json_pack(&command, err, "[s, s, s]", "/bin/sh", "-c", shell);
        return rc < 0 ? rc : manifest_set_take(at, "health.command", command, err);
    }
    if (syn_str_eq(json_string_value(json_array_get(list, 0)), "CMD"))
        (void)json_array_remove(list, 0);
    if (json_array_size(list) == 0)
        return manifest_wrong(at, err, "a command");
    return manifest_set_take(at, "health.command", json_incref(list), err);
}

/* curl or wget of something on the replica itself is what our own check does, without a program in
 * the image; other commands are run within the replica. */
static int
take_test(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_JSON(spec);
    struct manifest_at words = *at;
    const struct manifest_rule rule = {.key = "test", .to = "words"};
    json_t *list, *word;
    const char *path = NULL, *first, *shell = json_string_value(value);
    int64_t port = 0;
    size_t i;
    int rc;

    spec = json_object();
    words.spec = spec;
    words.rule = &rule;
    if (spec == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a check");
    if (json_array_size(value) == 2 &&
        syn_str_eq(json_string_value(json_array_get(value, 0)), "CMD-SHELL")) {
        value = json_array_get(value, 1);
        shell = json_string_value(value);
    }
    rc = manifest_take_words(&words, value, err);
    if (rc < 0)
        return rc;
    list = json_object_get(spec, "words");
    first = json_string_value(json_array_get(list, 0));
    if (syn_str_eq(first, "NONE"))
        return manifest_set_take(at, "health.kind", json_string("none"), err);
    json_array_foreach (list, i, word)
        if (path == NULL)
            path = local_path(json_string_value(word), &port);
    if (syn_str_eq(first, "CMD"))
        first = json_string_value(json_array_get(list, 1));
    if (path == NULL || !(syn_str_eq(first, "curl") || syn_str_eq(first, "wget")))
        return set_command(at, shell, list, err);
    rc = manifest_set_take(at, "health.path", json_string(path), err);
    return rc < 0 ? rc : manifest_set_take(at, "health.port", json_integer(port), err);
}

static int
take_disable(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return json_is_true(value) ? manifest_set_take(at, "health.kind", json_string("none"), err)
                               : SYN_OK;
}

static int
take_health(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"test", take_test, NULL, NULL},
        {"interval", manifest_take_text, "health.interval_ms", NULL},
        {"timeout", manifest_take_text, "health.timeout_ms", NULL},
        {"retries", manifest_take_whole, "health.unhealthy", NULL},
        {"start_period", manifest_take_text, "health.start_ms", NULL},
        {"start_interval", NULL, NULL, NULL}, /* checks come fast while it starts */
        {"disable", take_disable, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* --- deploy ----------------------------------------------------------------------------------- */

static int
take_limits(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"cpus", manifest_take_text, "cpu_millicores", NULL},
        {"memory", manifest_take_text, "memory_bytes", NULL},
        {"pids", NULL, NULL, "how many processes a replica may have is the platform's"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* What is reserved is what it may use: said once, it is taken; both must be the same. */
static int
take_reservations(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    if (json_object_get(value, "devices") != NULL)
        return manifest_unknown(at, err, "see --gpus of service deploy");
    if (json_object_get(at->spec, "cpu_millicores") != NULL ||
        json_object_get(at->spec, "memory_bytes") != NULL)
        return manifest_note(at, err, "a replica has what `limits` says, all of it reserved");
    return take_limits(at, value, err);
}

static int
take_resources(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"limits", take_limits, NULL, NULL},
        {"reservations", take_reservations, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* With start-first `parallelism` more come first, with stop-first so many go first. */
static int
take_update(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"parallelism", NULL, NULL, NULL},
        {"order", take_if_word, "start-first|stop-first", NULL},
        {"failure_action", take_if_word, "rollback", NULL},
        {"delay", NULL, NULL, "the next replica follows when the last one is well"},
        {"monitor", NULL, NULL, "see --update-deadline"},
        {"max_failure_ratio", NULL, NULL, "one that fails is one too many"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    bool first = syn_str_eq(syn_json_str(value, "order", ""), "start-first");
    struct manifest_at below;
    int64_t many = 1;
    int rc = manifest_walk(at, &rules, value, err);

    manifest_below(at, "parallelism", 0, &below);
    if (rc == SYN_OK && json_object_get(value, "parallelism") != NULL)
        rc = manifest_whole(&below, json_object_get(value, "parallelism"), &many, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(at->spec, "max_surge", first ? many : 0, err);
    return rc < 0 ? rc : syn_json_set_i64(at->spec, "max_unavailable", first ? 0 : many, err);
}

static int
take_restart(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct {
        const char *word, *restart;
    } words[] = {{"always", "always"}, {"unless-stopped", "always"},
                 {"any", "always"},    {"no", "never"},
                 {"none", "never"},    {"on-failure", "on-failure"}};
    const char *said = json_string_value(value);

    if (said == NULL)
        return manifest_wrong(at, err, at->rule->to);
    for (size_t i = 0; i < SYN_LEN(words); i++)
        if (syn_str_eq(words[i].word, said) && is_choice(at->rule->to, said))
            return syn_json_set_str(at->spec, "restart", words[i].restart, err);
    return manifest_unknown(at, err, "%.40s is not to be had; here it is %s%s", said, at->rule->to,
                            syn_str_starts(said, "on-failure:")
                                ? ", and what fails is started again as often as it takes"
                                : "");
}

static int
take_restart_policy(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"condition", take_restart, "none|on-failure|any", NULL},
        {"delay", NULL, NULL, "pauses grow by themselves, from 1 s to 5 min"},
        {"max_attempts", NULL, NULL, "a service is started again for as long as it is wanted"},
        {"window", NULL, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

static int
take_deploy(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"mode", take_if_word, "replicated", NULL},
        {"replicas", manifest_take_whole, "replicas", NULL},
        {"resources", take_resources, NULL, NULL},
        {"update_config", take_update, NULL, NULL},
        {"restart_policy", take_restart_policy, NULL, NULL},
        {"rollback_config", NULL, NULL, "a roll-back goes as an update does"},
        {"placement", NULL, NULL, "see --region and --policy of service deploy"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);

    return manifest_walk(at, &rules, value, err);
}

/* --- after ------------------------------------------------------------------------------------ */

static int
add_after(const struct manifest_at *at, const char *name, const char *condition,
          struct syn_err *err)
{
    json_t *row = NULL;
    int rc;

    if (!syn_str_eq(condition, "service_started") && !syn_str_eq(condition, "service_healthy"))
        return manifest_unknown(at, err, "%.40s: services run on; service_healthy is understood",
                                condition);
    rc = syn_json_pack(&row, err, "{s:s, s:b}", "name", name, "ready",
                       syn_str_eq(condition, "service_healthy"));
    return rc < 0 ? rc : syn_json_append_take(json_object_get(at->item, "after"), row, err);
}

static int
take_depends(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *key;
    json_t *part;
    size_t i;
    int rc = SYN_OK;

    if (!json_is_object(value) && !json_is_array(value))
        return manifest_wrong(at, err, "a list of services");
    json_array_foreach (value, i, part) {
        if (!json_is_string(part))
            return manifest_wrong(at, err, "a list of services");
        if (rc == SYN_OK)
            rc = add_after(at, json_string_value(part), "service_started", err);
    }
    json_object_foreach (value, key, part) {
        struct manifest_at below;

        manifest_below(at, key, 0, &below);
        if (rc == SYN_OK)
            rc = add_after(&below, key, syn_json_str(part, "condition", "service_started"), err);
    }
    return rc;
}

/* --- services --------------------------------------------------------------------------------- */

static int
take_service(const struct manifest_at *at, const char *name, json_t *service, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"image", manifest_take_text, "image", NULL},
        {"build", NULL, NULL, "build it first and name the image; docs/services.md shows how"},
        {"entrypoint", manifest_take_words, "command", NULL},
        {"command", manifest_take_words, "args", NULL},
        {"environment", take_env, NULL, NULL},
        {"env_file", NULL, NULL, "write the variables under environment"},
        {"ports", take_ports, NULL, NULL},
        {"expose", take_ports, NULL, NULL},
        {"healthcheck", take_health, NULL, NULL},
        {"deploy", take_deploy, NULL, NULL},
        {"scale", manifest_take_whole, "replicas", NULL},
        {"cpus", manifest_take_text, "cpu_millicores", NULL},
        {"mem_limit", manifest_take_text, "memory_bytes", NULL},
        {"restart", take_restart, "no|always|on-failure|unless-stopped", NULL},
        {"stop_grace_period", manifest_take_text, "stop_grace_ms", NULL},
        {"stop_signal", manifest_take_signal, NULL, NULL},
        {"user", manifest_take_user, NULL, NULL},
        {"working_dir", manifest_take_text, "workdir", NULL},
        {"hostname", manifest_take_text, "hostname", NULL},
        {"tmpfs", manifest_take_tmpfs, NULL, NULL},
        {"secrets", manifest_take_secrets, NULL, NULL},
        {"cap_drop", NULL, NULL, NULL}, /* a replica has none */
        {"cap_add", NULL, NULL, "a replica has no capabilities"},
        {"security_opt", manifest_take_only,
         "no-new-privileges|no-new-privileges:true|no-new-privileges=true", NULL},
        {"depends_on", take_depends, NULL, NULL},
        {"networks", take_networks, NULL, NULL},
        {"read_only", take_if_word, "true", NULL}, /* see tmpfs */
        {"init", take_if_word, "true|false", NULL},
        {"privileged", take_if_word, "false", NULL},
        {"tty", take_if_word, "false", NULL},
        {"stdin_open", take_if_word, "false", NULL},
        {"pull_policy", NULL, NULL, NULL}, /* a version's image is pinned when it is deployed */
        {"container_name", NULL, NULL, "replicas are named by the platform"},
        {"volumes", manifest_take_volumes, NULL, NULL},
        {"network_mode", NULL, NULL, "a replica has an address of its own"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    struct manifest_at made;
    int rc = manifest_item(at, "service", name, &made, err);

    if (rc == SYN_OK)
        rc = manifest_walk(&made, &rules, service, err);
    if (rc == SYN_OK && json_object_get(made.spec, "image") == NULL &&
        json_object_get(service, "build") == NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: has no image", at->path);
    return rc;
}

static int
take_services(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *name;
    json_t *service;

    if (!json_is_object(value))
        return manifest_wrong(at, err, "an object");
    json_object_foreach (value, name, service) {
        struct manifest_at below;
        int rc;

        manifest_below(at, name, 0, &below);
        rc = take_service(&below, name, service, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

static int
take_app(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    if (!json_is_string(value))
        return manifest_wrong(at, err, "a name");
    if (at->file->app == NULL)
        at->file->app = json_incref(value);
    return SYN_OK;
}

/* Keys that begin with x- are the user's own, which the specification has everybody pass over. */
static void
without_extensions(json_t *object)
{
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(object, next, key, value) if (syn_str_starts(key, "x-"))(void)
        json_object_del(object, key);
}

int
manifest_compose(struct manifest *file, json_t *document, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"version", NULL, NULL, NULL}, /* "informative only" */
        {"name", take_app, NULL, NULL},
        {"services", take_services, NULL, NULL},
        {"networks", take_networks, NULL, NULL},
        {"volumes", manifest_take_volume_sources, NULL, NULL},
        {"configs", NULL, NULL, "use environment, or put the file into the image"},
        {"secrets", manifest_take_secret_sources, NULL, NULL},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    const struct manifest_at at = {.file = file};
    SYN_JSON(read);
    const char *name;
    json_t *service;
    int rc = manifest_interpolate(&at, document, &read, err);

    if (rc < 0)
        return rc;
    without_extensions(read);
    json_object_foreach (json_object_get(read, "services"), name, service)
        if (json_is_object(service))
            without_extensions(service);
    return manifest_walk(&at, &rules, read, err);
}
