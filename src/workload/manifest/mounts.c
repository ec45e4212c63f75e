/* What containers of other formats are given besides their image: users, signals, what is mounted.
 */
#include "manifest_priv.h"

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/workload/service_spec.h>

int
manifest_mount(const struct manifest_at *at, const char *kind, const char *path, json_t **ret,
               struct syn_err *err)
{
    json_t *mounts = json_object_get(at->spec, "mounts"), *mount = NULL;
    int rc = SYN_OK;

    if (mounts == NULL) {
        mounts = json_array();
        rc = syn_json_set_take(at->spec, "mounts", mounts, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&mount, err, "{s:s, s:s}", "path", path, "kind", kind);
    if (rc == SYN_OK)
        rc = syn_json_append_take(mounts, mount, err);
    if (rc == SYN_OK && ret != NULL)
        *ret = mount;
    return rc;
}

int
manifest_take_user(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    SYN_BUF(text);
    uint32_t uid, gid;
    int rc;

    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, "UID or UID:GID");
    rc = syn_buf_ok(&text, err);
    if (rc < 0)
        return rc;
    if (syn_service_user(syn_buf_text(&text), &uid, &gid, NULL) < 0)
        return manifest_unknown(at, err, "%.40s: numbers are understood, UID or UID:GID, never 0",
                                syn_buf_text(&text));
    return manifest_set_take(at, "user", json_string(syn_buf_text(&text)), err);
}

/* SIGQUIT, QUIT or 3 */
int
manifest_take_signal(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct {
        const char *number, *name;
    } signals[] = {{"1", "SIGHUP"},   {"2", "SIGINT"},   {"3", "SIGQUIT"},  {"10", "SIGUSR1"},
                   {"12", "SIGUSR2"}, {"15", "SIGTERM"}, {"28", "SIGWINCH"}};
    SYN_BUF(text);
    const char *said;

    if (!manifest_text(value, &text))
        return manifest_wrong(at, err, "the name of a signal");
    if (syn_buf_ok(&text, err) < 0)
        return SYN_E_NOMEM;
    said = syn_buf_text(&text);
    for (size_t i = 0; i < SYN_LEN(signals); i++)
        if (syn_str_eq(said, signals[i].number) || syn_str_eq(said, signals[i].name) ||
            syn_str_eq(said, signals[i].name + strlen("SIG")))
            return manifest_set_take(at, "stop_signal", json_string(signals[i].name), err);
    return manifest_unknown(at, err,
                            "%.40s does not ask a program to end; see --stop-signal of service "
                            "deploy",
                            said);
}

/* --- docker-compose --------------------------------------------------------------------------- */

/* PATH or PATH:OPTION,..., of which size is understood; the others say what is so anyway, or more
 * than is to be had. */
static int
one_tmpfs(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *text = json_string_value(value), *rest;
    char path[SYN_SERVICE_MOUNT_PATH_MAX + 1];
    json_t *mount = NULL;
    size_t len;
    int rc;

    if (text == NULL)
        return manifest_wrong(at, err, "PATH or PATH:size=SIZE");
    len = strcspn(text, ":");
    if (len >= sizeof(path))
        return manifest_wrong(at, err, "a shorter path");
    (void)snprintf(path, sizeof(path), "%.*s", (int)len, text);
    rc = manifest_mount(at, "tmpfs", path, &mount, err);
    for (rest = text + len; rc == SYN_OK && *rest != '\0'; rest += len) {
        char option[64];

        rest += strspn(rest, ":,");
        len = strcspn(rest, ",");
        (void)snprintf(option, sizeof(option), "%.*s", (int)SYN_MIN(len, sizeof(option) - 1), rest);
        if (syn_str_starts(option, "size="))
            rc = syn_json_set_str(mount, "size_bytes", option + strlen("size="), err);
        else if (len > 0)
            rc = manifest_unknown(at, err, "%s: of options size is understood", option);
    }
    return rc;
}

int
manifest_take_tmpfs(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return json_is_array(value) ? manifest_each(at, value, one_tmpfs, err)
                                : one_tmpfs(at, value, err);
}

/* NAME, or {source, target}: a file in /run/secrets unless the target says another. */
static int
one_secret(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"source", NULL, NULL, NULL},
        {"target", NULL, NULL, NULL},
        {"uid", NULL, NULL, "it is the program's own"},
        {"gid", NULL, NULL, "it is the program's own"},
        {"mode", NULL, NULL, "it is always 0400"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    const char *source =
        json_is_string(value) ? json_string_value(value) : syn_json_str(value, "source", NULL);
    const char *target = syn_json_str(value, "target", source);
    char path[SYN_SERVICE_MOUNT_PATH_MAX + 1];
    json_t *mount = NULL;
    int rc = json_is_string(value) ? SYN_OK : manifest_walk(at, &rules, value, err);

    if (rc < 0)
        return rc;
    if (source == NULL)
        return manifest_wrong(at, err, "the name of a secret");
    if (!syn_name_ok(source))
        return manifest_unknown(at, err,
                                "%.63s: secrets are named with a-z, 0-9 and -; synor secret set "
                                "makes one",
                                source);
    if (snprintf(path, sizeof(path), "%s%s", target[0] == '/' ? "" : "/run/secrets/", target) >=
        (int)sizeof(path))
        return manifest_wrong(at, err, "a shorter target");
    rc = manifest_mount(at, "secret", path, &mount, err);
    return rc < 0 ? rc : syn_json_set_str(mount, "source", source, err);
}

int
manifest_take_secrets(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return manifest_each(at, value, one_secret, err);
}

/* --- volumes ---------------------------------------------------------------------------------- */

int
manifest_volume(const struct manifest_at *at, const char *name, const char *path, bool read_only,
                struct syn_err *err)
{
    json_t *mount = NULL;
    int rc;

    if (!syn_name_ok(name))
        return manifest_unknown(at, err,
                                "%.63s: volumes are named with a-z, 0-9 and -; synor compute "
                                "volume create makes one",
                                name);
    rc = manifest_mount(at, "volume", path, &mount, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(mount, "source", name, err);
    return rc < 0 || !read_only ? rc : syn_json_set_bool(mount, "read_only", true, err);
}

/* NAME:PATH, NAME:PATH:ro, NAME:PATH:rw */
static int
short_volume(const struct manifest_at *at, const char *text, struct syn_err *err)
{
    char name[64], path[SYN_SERVICE_MOUNT_PATH_MAX + 1];
    size_t len = strcspn(text, ":"), rest;
    const char *mode;

    if (text[0] == '/' &&
        text[len] == '\0') { /* without a name: empty, and gone with the replica */
        json_t *mount = NULL;

        return manifest_mount(at, "scratch", text, &mount, err);
    }
    if (text[0] == '/' || text[0] == '.' || text[0] == '~')
        return manifest_unknown(at, err,
                                "%.80s: folders of the machine cannot be had; use a volume: "
                                "synor compute volume create",
                                text);
    if (text[len] == '\0')
        return manifest_unknown(at, err, "%.80s: a volume has a name here: NAME:PATH", text);
    rest = strcspn(text + len + 1, ":");
    if (len >= sizeof(name) || rest >= sizeof(path))
        return manifest_wrong(at, err, "a shorter name or path");
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, text);
    (void)snprintf(path, sizeof(path), "%.*s", (int)rest, text + len + 1);
    mode = text + len + 1 + rest;
    mode += *mode == ':';
    if (*mode != '\0' && !syn_str_eq(mode, "ro") && !syn_str_eq(mode, "rw"))
        return manifest_unknown(at, err, "%.40s: of options ro and rw are understood", mode);
    return manifest_volume(at, name, path, syn_str_eq(mode, "ro"), err);
}

static int
one_volume(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    static const struct manifest_rule rows[] = {
        {"type", NULL, NULL, NULL},
        {"source", NULL, NULL, NULL},
        {"target", NULL, NULL, NULL},
        {"read_only", NULL, NULL, NULL},
        {"volume", NULL, NULL, "a volume has no options"},
        {"bind", NULL, NULL, "folders of the machine cannot be had"},
        {"tmpfs", NULL, NULL, "write it under tmpfs"},
    };
    static const struct manifest_rules rules = MANIFEST_RULES(rows);
    const char *type = syn_json_str(value, "type", "volume");
    int rc;

    if (json_is_string(value))
        return short_volume(at, json_string_value(value), err);
    rc = manifest_walk(at, &rules, value, err);
    if (rc == SYN_OK && !syn_str_eq(type, "volume"))
        return manifest_unknown(at, err, "%.40s: of types volume is understood", type);
    return rc < 0 ? rc
                  : manifest_volume(at, syn_json_str(value, "source", ""),
                                    syn_json_str(value, "target", ""),
                                    json_is_true(json_object_get(value, "read_only")), err);
}

int
manifest_take_volumes(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    return manifest_each(at, value, one_volume, err);
}

/* Volumes of the file: they are the account's, made once and kept. */
int
manifest_take_volume_sources(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *name;
    json_t *row;
    int rc = SYN_OK;

    if (json_is_null(value))
        return SYN_OK;
    if (!json_is_object(value))
        return manifest_wrong(at, err, "an object");
    json_object_foreach (value, name, row) {
        bool external = json_is_true(json_object_get(row, "external"));
        struct manifest_at below;

        manifest_below(at, name, 0, &below);
        if (rc == SYN_OK && !json_is_null(row) && json_object_size(row) > (external ? 1U : 0U))
            rc = manifest_unknown(&below, err,
                                  "synor compute volume create %.63s says how large it is, and "
                                  "where; of options external is understood",
                                  name);
        else if (rc == SYN_OK)
            rc = manifest_note(&below, err, "synor compute volume create %.63s makes it, once",
                               name);
    }
    return rc;
}

/* Only what is always so: every capability is dropped, no new privileges are to be had. */
int
manifest_take_only(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *choices = at->rule->to;
    json_t *row;
    size_t i;
    int rc = SYN_OK;

    if (!json_is_array(value))
        return manifest_wrong(at, err, "a list");
    json_array_foreach (value, i, row) {
        SYN_BUF(text);
        struct manifest_at below;
        bool good = false;

        manifest_below(at, NULL, i, &below);
        if (!manifest_text(row, &text))
            return manifest_wrong(&below, err, "text");
        if (syn_buf_ok(&text, err) < 0)
            return SYN_E_NOMEM;
        for (const char *word = choices; *word != '\0';) {
            size_t len = strcspn(word, "|");

            good = good || (text.len == len && memcmp(syn_buf_text(&text), word, len) == 0);
            word += len + (word[len] == '|');
        }
        if (rc == SYN_OK && !good)
            rc = manifest_unknown(&below, err, "%.40s is not to be had; here it is always %s",
                                  syn_buf_text(&text), choices);
    }
    return rc;
}

/* Secrets of the file: those that are kept elsewhere. */
int
manifest_take_secret_sources(const struct manifest_at *at, json_t *value, struct syn_err *err)
{
    const char *name;
    json_t *row;
    int rc = SYN_OK;

    if (!json_is_object(value))
        return manifest_wrong(at, err, "an object");
    json_object_foreach (value, name, row) {
        struct manifest_at below;

        manifest_below(at, name, 0, &below);
        if (rc == SYN_OK && !json_is_true(json_object_get(row, "external")))
            rc = manifest_unknown(&below, err,
                                  "synor secret set %.63s keeps it; say external: true here", name);
    }
    return rc;
}
