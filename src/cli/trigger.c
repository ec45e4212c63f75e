/* Words of triggers: forward through the word once, each part is cut off at the front. */
#include "trigger.h"

#include <string.h>

#include <synor/base/cron.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#define PART_MAX 2048 /* of a word: a path, a schedule, a value */

/* Copy text[0..len) as a part of its own. */
static int
part_of(const char *text, size_t len, char out[PART_MAX], struct syn_err *err)
{
    if (len >= PART_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.40s...\" is longer than %d bytes", text,
                        PART_MAX - 1);
    memcpy(out, text, len);
    out[len] = '\0';
    return SYN_OK;
}

/* Cut "KEY=VALUE" off the front of *rest, which stands behind a comma. */
static int
cut_option(const char **rest, char out[PART_MAX], char **ret_value, struct syn_err *err)
{
    size_t len = strcspn(*rest, ",");
    int rc = part_of(*rest, len, out, err);

    if (rc < 0)
        return rc;
    *ret_value = strchr(out, '=');
    if (*ret_value == NULL || *ret_value == out || (*ret_value)[1] == '\0')
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.60s\" is not OPTION=VALUE", out);
    *(*ret_value)++ = '\0';
    *rest += len;
    *rest += **rest == ',';
    return SYN_OK;
}

/* Append `text` to the list `key` of `object`, which is made where there is none. */
static int
add_to_list(json_t *object, const char *key, const char *text, struct syn_err *err)
{
    json_t *list = json_object_get(object, key);
    int rc = SYN_OK;

    if (list == NULL) {
        list = json_array();
        rc = syn_json_set_take(object, key, list, err);
    }
    if (rc == SYN_OK && !syn_utf8_ok(text, strlen(text)))
        return SYN_FAIL(err, SYN_E_INVALID, "%s: not UTF-8", key);
    return rc < 0 ? rc : syn_json_append_take(list, json_string(text), err);
}

/* --- http ------------------------------------------------------------------------------------ */

/* "GET,POST" */
static int
set_methods(json_t *trigger, const char *text, size_t len, struct syn_err *err)
{
    const char *end = text + len;
    int rc = SYN_OK;

    while (rc == SYN_OK && text <= end) {
        size_t size = strcspn(text, ",:");
        char name[16];

        if (size == 0 || size >= sizeof(name))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "\"%.*s\" are no methods; write http:GET,POST:/path", (int)len,
                            end - len);
        for (size_t i = 0; i < size; i++) {
            char c = text[i];

            if (c >= 'a' && c <= 'z')
                c = (char)(c - 'a' + 'A');
            if (c < 'A' || c > 'Z')
                return SYN_FAIL(err, SYN_E_INVALID, "\"%.*s\" is no method; write http:GET:/path",
                                (int)size, text);
            name[i] = c;
        }
        name[size] = '\0';
        rc = add_to_list(trigger, "methods", name, err);
        text += size + 1;
    }
    return rc;
}

static int
set_host(json_t *trigger, const char *text, size_t len, struct syn_err *err)
{
    char host[PART_MAX];
    int rc = part_of(text, len, host, err);

    if (rc < 0)
        return rc;
    if (strchr(host, '.') == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "\"%.60s\" is neither a path, which begins with /, nor a host, which has a "
                        "dot; write http:/path or http:api.example.org/path",
                        host);
    for (char *at = host; *at != '\0'; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    return syn_json_set_str(trigger, "host", host, err);
}

static int
set_auth(json_t *trigger, const char *value, struct syn_err *err)
{
    if (!syn_str_eq(value, "key") && !syn_str_eq(value, "token") && !syn_str_eq(value, "none"))
        return SYN_FAIL(err, SYN_E_INVALID, "auth: \"%.40s\" is neither key, token nor none",
                        value);
    return syn_json_set_str(trigger, "auth", value, err);
}

static int
set_cors(json_t *trigger, const char *key, const char *value, struct syn_err *err)
{
    json_t *cors = json_object_get(trigger, "cors");
    int64_t age_ms;
    int rc = SYN_OK;

    if (cors == NULL) {
        cors = json_object();
        rc = syn_json_set_take(trigger, "cors", cors, err);
    }
    if (rc < 0)
        return rc;
    if (syn_str_eq(key, "cors"))
        return add_to_list(cors, "origins", value, err);
    if (syn_str_eq(key, "cors-header"))
        return add_to_list(cors, "headers", value, err);
    if (syn_str_eq(key, "cors-credentials")) {
        if (!syn_str_eq(value, "true"))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "cors-credentials: \"%.40s\" is not true; without it there are none",
                            value);
        return syn_json_set_bool(cors, "credentials", true, err);
    }
    if (!syn_str_eq(key, "cors-age"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "http has no option \"%.40s\": auth=, hmac=, cors=, cors-header=, "
                        "cors-credentials= and cors-age= there are",
                        key);
    rc = syn_parse_duration_ms(value, "cors-age", &age_ms, err);
    if (rc == SYN_OK && age_ms % 1000 != 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "cors-age: \"%.40s\": whole seconds, as 10m", value);
    return rc < 0 ? rc : syn_json_set_i64(cors, "max_age_s", age_ms / 1000, err);
}

/* "hmac", or "hmac-..." */
static int
set_hmac(json_t *trigger, const char *key, const char *value, struct syn_err *err)
{
    static const char *const texts[] = {"scheme", "header", "prefix"};
    json_t *hmac = json_object_get(trigger, "hmac");
    int64_t tolerance_ms;
    int rc = SYN_OK;

    if (hmac == NULL) {
        hmac = json_object();
        rc = syn_json_set_take(trigger, "hmac", hmac, err);
    }
    if (rc < 0)
        return rc;
    if (key[strlen("hmac")] == '\0')
        return syn_json_set_str(hmac, "secret", value, err);
    for (size_t i = 0; i < SYN_LEN(texts); i++)
        if (syn_str_eq(key + strlen("hmac-"), texts[i]))
            return syn_json_set_str(hmac, texts[i], value, err);
    if (!syn_str_eq(key, "hmac-tolerance"))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "http has no option \"%.40s\": hmac=SECRET, hmac-scheme=, hmac-header=, "
                        "hmac-prefix= and hmac-tolerance= there are",
                        key);
    rc = syn_parse_duration_ms(value, "hmac-tolerance", &tolerance_ms, err);
    if (rc == SYN_OK && tolerance_ms % 1000 != 0)
        rc = SYN_FAIL(err, SYN_E_INVALID, "hmac-tolerance: \"%.40s\": whole seconds, as 5m", value);
    return rc < 0 ? rc : syn_json_set_i64(hmac, "tolerance_s", tolerance_ms / 1000, err);
}

static int
set_http_option(json_t *trigger, const char *key, const char *value, struct syn_err *err)
{
    if (syn_str_eq(key, "auth"))
        return set_auth(trigger, value, err);
    if (syn_str_eq(key, "hmac") || syn_str_starts(key, "hmac-"))
        return set_hmac(trigger, key, value, err);
    return set_cors(trigger, key, value, err);
}

static int
parse_http(const char *rest, json_t *trigger, struct syn_err *err)
{
    size_t before = strcspn(rest, "/");
    const char *colon = memchr(rest, ':', before);
    char text[PART_MAX];
    size_t len;
    int rc = SYN_OK;

    if (colon != NULL) {
        rc = set_methods(trigger, rest, (size_t)(colon - rest), err);
        before -= (size_t)(colon + 1 - rest);
        rest = colon + 1;
    }
    if (rc == SYN_OK && (before > 0 || rest[before] == '\0'))
        rc = set_host(trigger, rest, before, err);
    if (rc < 0)
        return rc;
    rest += before;
    if (*rest != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "a path is missing: http:HOST/path");
    len = strcspn(rest, ",");
    rc = part_of(rest, len, text, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(trigger, "path", text, err);
    rest += len;
    rest += *rest == ',';
    while (rc == SYN_OK && *rest != '\0') {
        char *value;

        rc = cut_option(&rest, text, &value, err);
        if (rc == SYN_OK)
            rc = set_http_option(trigger, text, value, err);
    }
    if (rc == SYN_OK && json_object_get(trigger, "hmac") != NULL &&
        syn_json_at(trigger, "hmac.secret") == NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "hmac=SECRET is missing: what is it signed with?");
    if (rc == SYN_OK && json_object_get(trigger, "cors") != NULL &&
        syn_json_at(trigger, "cors.origins") == NULL)
        rc = SYN_FAIL(err, SYN_E_INVALID, "cors=ORIGIN is missing: whose pages may call it?");
    return rc;
}

/* --- schedule, queue ------------------------------------------------------------------------- */

/* Where the first ",OPTION=" of a schedule is: its own commas have no such word behind them. */
static size_t
cron_length(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    size_t len = strcspn(text, ",");

    while (text[len] == ',' && text[len + 1 + strspn(text + len + 1, letters)] != '=')
        len += 1 + strcspn(text + len + 1, ",");
    return len;
}

static int
set_payload(json_t *trigger, const char *text, struct syn_err *err)
{
    json_t *payload = NULL;
    int rc = syn_json_parse(text, strlen(text), &payload, err);

    return rc < 0 ? syn_err_wrap(err, rc, "payload")
                  : syn_json_set_take(trigger, "payload", payload, err);
}

/* Cut the schedule off the front of *rest. */
static int
cut_cron(const char **rest, json_t *doc, struct syn_err *err)
{
    size_t len = cron_length(*rest);
    struct syn_cron cron;
    char text[PART_MAX];
    int rc = part_of(*rest, len, text, err);

    if (rc == SYN_OK)
        rc = syn_cron_parse(text, &cron, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "cron", text, err);
    *rest += len;
    *rest += **rest == ',';
    return rc;
}

static int
parse_schedule(const char *rest, json_t *trigger, struct syn_err *err)
{
    static const char payload[] = "payload=";
    char text[PART_MAX];
    int rc = cut_cron(&rest, trigger, err);

    while (rc == SYN_OK && *rest != '\0') {
        char *value;

        if (syn_str_starts(rest, payload))
            return set_payload(trigger, rest + sizeof(payload) - 1, err);
        rc = cut_option(&rest, text, &value, err);
        if (rc == SYN_OK && syn_str_eq(text, "missed") && !syn_str_eq(value, "skip") &&
            !syn_str_eq(value, "once"))
            rc = SYN_FAIL(err, SYN_E_INVALID, "missed: \"%.40s\" is neither skip nor once", value);
        if (rc == SYN_OK && !syn_str_eq(text, "zone") && !syn_str_eq(text, "missed"))
            rc = SYN_FAIL(err, SYN_E_INVALID,
                          "schedule has no option \"%.40s\": zone=, missed= and payload= there are",
                          text);
        if (rc == SYN_OK)
            rc = syn_json_set_str(trigger, text, value, err);
    }
    return rc;
}

int
syn_cli_warmup_parse(const char *word, json_t **ret, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{}");

    if (rc == SYN_OK)
        rc = cut_cron(&word, doc, err);
    while (rc == SYN_OK && *word != '\0') {
        char text[PART_MAX], *value;
        int64_t number;

        rc = cut_option(&word, text, &value, err);
        if (rc == SYN_OK && syn_str_eq(text, "zone")) {
            rc = syn_json_set_str(doc, "zone", value, err);
        } else if (rc == SYN_OK && syn_str_eq(text, "for")) {
            rc = syn_parse_duration_ms(value, "for", &number, err);
            if (rc == SYN_OK)
                rc = syn_json_set_i64(doc, "for_ms", number, err);
        } else if (rc == SYN_OK && syn_str_eq(text, "instances")) {
            rc = syn_parse_i64(value, 1, INT32_MAX, "instances", &number, err);
            if (rc == SYN_OK)
                rc = syn_json_set_i64(doc, "instances", number, err);
        } else if (rc == SYN_OK) {
            rc = SYN_FAIL(err, SYN_E_INVALID,
                          "a warm-up has no option \"%.40s\": zone=, for= and instances= there are",
                          text);
        }
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

static int
parse_queue(const char *rest, json_t *trigger, struct syn_err *err)
{
    size_t len = strcspn(rest, ",");
    char text[PART_MAX];
    int rc = part_of(rest, len, text, err);

    if (rc == SYN_OK && !syn_name_ok(text))
        rc = SYN_FAIL(err, SYN_E_INVALID, "\"%.63s\" is no name of a queue: a-z 0-9 -", text);
    if (rc == SYN_OK)
        rc = syn_json_set_str(trigger, "queue", text, err);
    rest += len;
    rest += *rest == ',';
    while (rc == SYN_OK && *rest != '\0') {
        int64_t batch;
        char *value;

        rc = cut_option(&rest, text, &value, err);
        if (rc == SYN_OK && !syn_str_eq(text, "batch"))
            rc = SYN_FAIL(err, SYN_E_INVALID, "queue has no option \"%.40s\": batch= there is",
                          text);
        if (rc == SYN_OK)
            rc = syn_parse_i64(value, 1, SYN_CLI_TRIGGER_BATCH_MAX, "batch", &batch, err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(trigger, "batch", batch, err);
    }
    return rc;
}

/* --- storage, ledger ------------------------------------------------------------------------- */

static int
parse_storage(const char *rest, json_t *trigger, struct syn_err *err)
{
    size_t len = strcspn(rest, ",");
    char text[PART_MAX];
    int rc = part_of(rest, len, text, err);

    if (rc == SYN_OK && !syn_utf8_ok(text, strlen(text)))
        rc = SYN_FAIL(err, SYN_E_INVALID, "prefix: not UTF-8");
    if (rc == SYN_OK)
        rc = syn_json_set_str(trigger, "prefix", text, err);
    rest += len;
    rest += *rest == ',';
    while (rc == SYN_OK && *rest != '\0') {
        char *value;

        rc = cut_option(&rest, text, &value, err);
        if (rc == SYN_OK && !syn_str_eq(text, "events"))
            rc = SYN_FAIL(err, SYN_E_INVALID, "storage has no option \"%.40s\": events= there is",
                          text);
        if (rc == SYN_OK)
            rc = add_to_list(trigger, "events", value, err);
    }
    return rc;
}

/* "transfer,settle"; nothing: all of them. */
static int
parse_ledger(const char *rest, json_t *trigger, struct syn_err *err)
{
    char text[PART_MAX];
    bool more = *rest != '\0';
    int rc = SYN_OK;

    while (rc == SYN_OK && more) {
        size_t len = strcspn(rest, ",");

        rc = part_of(rest, len, text, err);
        if (rc == SYN_OK && len == 0)
            rc = SYN_FAIL(err, SYN_E_INVALID,
                          "an event is missing; write ledger or ledger:transfer,settle");
        if (rc == SYN_OK)
            rc = add_to_list(trigger, "events", text, err);
        more = rest[len] == ',';
        rest += len + more;
    }
    return rc;
}

static const struct {
    const char *type;
    int (*parse)(const char *rest, json_t *trigger, struct syn_err *err);
} kinds[] = {
    {"http", parse_http},       {"schedule", parse_schedule}, {"queue", parse_queue},
    {"storage", parse_storage}, {"ledger", parse_ledger},
};

int
syn_cli_trigger_parse(const char *word, json_t **ret, struct syn_err *err)
{
    size_t len = strcspn(word, ":");
    SYN_JSON(trigger);

    for (size_t i = 0; i < SYN_LEN(kinds); i++) {
        int rc;

        if (strlen(kinds[i].type) != len || strncmp(kinds[i].type, word, len) != 0)
            continue;
        rc = syn_json_pack(&trigger, err, "{s:s}", "type", kinds[i].type);
        if (rc == SYN_OK)
            rc = kinds[i].parse(word + len + (word[len] == ':'), trigger, err);
        if (rc == SYN_OK)
            *ret = SYN_TAKE(trigger);
        return rc;
    }
    return SYN_FAIL(err, SYN_E_INVALID,
                    "\"%.60s\" is no trigger: http:/path, schedule:CRON, queue:NAME, "
                    "storage:PREFIX or ledger",
                    word);
}

/* --- the way back ---------------------------------------------------------------------------- */

static void
write_list(const json_t *list, const char *before, const char *between, struct syn_buf *out)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        syn_buf_addf(out, "%s%s", i == 0 ? before : between, json_string_value(item));
}

static void
write_hmac(const json_t *hmac, struct syn_buf *out)
{
    static const char *const texts[] = {"scheme", "header", "prefix"};
    const json_t *tolerance = json_object_get(hmac, "tolerance_s");

    if (hmac == NULL)
        return;
    syn_buf_addf(out, ",hmac=%s", syn_json_str(hmac, "secret", ""));
    for (size_t i = 0; i < SYN_LEN(texts); i++) {
        const char *value = syn_json_str(hmac, texts[i], "");

        if (value[0] != '\0')
            syn_buf_addf(out, ",hmac-%s=%s", texts[i], value);
    }
    if (json_is_integer(tolerance))
        syn_buf_addf(out, ",hmac-tolerance=%llds", (long long)json_integer_value(tolerance));
}

static void
write_http(const json_t *trigger, struct syn_buf *out)
{
    const json_t *methods = json_object_get(trigger, "methods");
    const json_t *cors = json_object_get(trigger, "cors");
    const json_t *age = json_object_get(cors, "max_age_s");

    syn_buf_adds(out, "http:");
    write_list(methods, "", ",", out);
    if (json_array_size(methods) > 0)
        syn_buf_addc(out, ':');
    syn_buf_adds(out, syn_json_str(trigger, "host", ""));
    syn_buf_adds(out, syn_json_str(trigger, "path", ""));
    if (json_object_get(trigger, "auth") != NULL)
        syn_buf_addf(out, ",auth=%s", syn_json_str(trigger, "auth", ""));
    write_hmac(json_object_get(trigger, "hmac"), out);
    write_list(json_object_get(cors, "origins"), ",cors=", ",cors=", out);
    write_list(json_object_get(cors, "headers"), ",cors-header=", ",cors-header=", out);
    if (syn_json_bool(cors, "credentials", false))
        syn_buf_adds(out, ",cors-credentials=true");
    if (json_is_integer(age))
        syn_buf_addf(out, ",cors-age=%llds", (long long)json_integer_value(age));
}

void
syn_cli_warmup_write(const json_t *warmup, struct syn_buf *out)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    const char *zone = syn_json_str(warmup, "zone", "");
    int64_t for_ms = syn_json_i64(warmup, "for_ms", -1);
    int64_t instances = syn_json_i64(warmup, "instances", -1);
    size_t unit = 0;

    syn_buf_adds(out, syn_json_str(warmup, "cron", "?"));
    if (zone[0] != '\0')
        syn_buf_addf(out, ",zone=%s", zone);
    while (for_ms % units[unit].ms != 0)
        unit++;
    if (for_ms >= 0)
        syn_buf_addf(out, ",for=%lld%s", (long long)(for_ms / units[unit].ms), units[unit].name);
    if (instances >= 0)
        syn_buf_addf(out, ",instances=%lld", (long long)instances);
}

static void
write_schedule(const json_t *trigger, struct syn_buf *out)
{
    static const char *const options[] = {"zone", "missed"};
    const json_t *payload = json_object_get(trigger, "payload");

    syn_buf_addf(out, "schedule:%s", syn_json_str(trigger, "cron", ""));
    for (size_t i = 0; i < SYN_LEN(options); i++) {
        const char *value = syn_json_str(trigger, options[i], "");

        if (value[0] != '\0')
            syn_buf_addf(out, ",%s=%s", options[i], value);
    }
    if (payload == NULL)
        return;
    syn_buf_adds(out, ",payload=");
    if (syn_json_write(payload, out, NULL) < 0)
        out->failed = true;
}

void
syn_cli_trigger_write(const json_t *trigger, struct syn_buf *out)
{
    const char *type = syn_json_str(trigger, "type", "?");
    int64_t batch = syn_json_i64(trigger, "batch", 0);

    if (syn_str_eq(type, "http")) {
        write_http(trigger, out);
    } else if (syn_str_eq(type, "schedule")) {
        write_schedule(trigger, out);
    } else if (syn_str_eq(type, "queue")) {
        syn_buf_addf(out, "queue:%s", syn_json_str(trigger, "queue", ""));
        if (batch > 0)
            syn_buf_addf(out, ",batch=%lld", (long long)batch);
    } else if (syn_str_eq(type, "storage")) {
        syn_buf_addf(out, "storage:%s", syn_json_str(trigger, "prefix", ""));
        write_list(json_object_get(trigger, "events"), ",events=", ",events=", out);
    } else if (syn_str_eq(type, "ledger")) {
        syn_buf_adds(out, "ledger");
        write_list(json_object_get(trigger, "events"), ":", ",", out);
    } else {
        syn_buf_addf(out, "%s:...", type);
    }
}
