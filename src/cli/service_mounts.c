/* From --tmpfs, --scratch-dir, --secret-file, --mount and --volume to spec.mounts: what an option
 * says takes the place of all mounts of its kind; "none" alone is none. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "service_priv.h"

/* An option, the kind of mounts that it makes, and how one is taken apart. */
struct mount_option {
    const char *option, *kind;
    int (*take)(const struct mount_option *option, const char *word, json_t *mounts,
                struct syn_err *err);
};

static int
wrong(const struct mount_option *option, const char *word, const char *expected,
      struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_INVALID, "--%s: expected %s, got \"%.80s\"", option->option,
                    expected, word);
}

/* {path, kind}, the path the first `len` bytes of `word`; *ret is the list's. */
static int
add_mount(const struct mount_option *option, const char *word, size_t len, json_t *mounts,
          json_t **ret, struct syn_err *err)
{
    json_t *mount = NULL;
    int rc = syn_json_pack(&mount, err, "{s:s%, s:s}", "path", word, len, "kind", option->kind);

    *ret = mount;
    return rc < 0 ? rc : syn_json_append_take(mounts, mount, err);
}

/* PATH or PATH:SIZE */
static int
take_tmpfs(const struct mount_option *option, const char *word, json_t *mounts, struct syn_err *err)
{
    size_t len = strcspn(word, ":");
    json_t *mount = NULL;
    int rc;

    if (word[0] != '/' || syn_str_ends(word, ":"))
        return wrong(option, word, "PATH or PATH:SIZE such as /cache:64mb", err);
    rc = add_mount(option, word, len, mounts, &mount, err);
    if (rc == SYN_OK && word[len] == ':')
        rc = syn_json_set_str(mount, "size_bytes", word + len + 1, err);
    return rc;
}

/* PATH */
static int
take_scratch(const struct mount_option *option, const char *word, json_t *mounts,
             struct syn_err *err)
{
    json_t *mount = NULL;

    if (word[0] != '/')
        return wrong(option, word, "PATH such as /var/cache", err);
    return add_mount(option, word, strlen(word), mounts, &mount, err);
}

/* PATH=NAME */
static int
take_secret(const struct mount_option *option, const char *word, json_t *mounts,
            struct syn_err *err)
{
    const char *equals = strrchr(word, '=');
    json_t *mount = NULL;
    int rc;

    if (word[0] != '/' || equals == NULL || equals[1] == '\0')
        return wrong(option, word, "PATH=NAME such as /run/secrets/db=db-password", err);
    rc = add_mount(option, word, (size_t)(equals - word), mounts, &mount, err);
    return rc < 0 ? rc : syn_json_set_str(mount, "source", equals + 1, err);
}

/* synor://NAME:PATH */
static int
take_content(const struct mount_option *option, const char *word, json_t *mounts,
             struct syn_err *err)
{
    const char *colon = strrchr(word, ':');
    json_t *mount = NULL;
    int rc;

    if (!syn_str_starts(word, "synor://") || colon[1] != '/' || colon[2] == '/')
        return wrong(option, word, "synor://NAME:PATH such as synor://models/small:/model", err);
    rc = add_mount(option, colon + 1, strlen(colon + 1), mounts, &mount, err);
    return rc < 0 ? rc
                  : syn_json_set_take(mount, "source", json_stringn(word, (size_t)(colon - word)),
                                      err);
}

/* NAME:PATH or NAME:PATH:ro */
static int
take_volume(const struct mount_option *option, const char *word, json_t *mounts,
            struct syn_err *err)
{
    const char *colon = strchr(word, ':');
    bool read_only = syn_str_ends(word, ":ro");
    size_t len;
    json_t *mount = NULL;
    int rc;

    if (colon == NULL || colon == word || colon[1] != '/')
        return wrong(option, word, "NAME:PATH or NAME:PATH:ro such as data:/var/lib/data", err);
    len = strlen(colon + 1) - (read_only ? strlen(":ro") : 0);
    rc = add_mount(option, colon + 1, len, mounts, &mount, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(mount, "source", json_stringn(word, (size_t)(colon - word)), err);
    return rc < 0 || !read_only ? rc : syn_json_set_bool(mount, "read_only", true, err);
}

static const struct mount_option options[] = {
    {"tmpfs", "tmpfs", take_tmpfs},         {"scratch-dir", "scratch", take_scratch},
    {"secret-file", "secret", take_secret}, {"mount", "content", take_content},
    {"volume", "volume", take_volume},
};

static void
drop_kind(json_t *mounts, const char *kind)
{
    for (size_t i = json_array_size(mounts); i-- > 0;)
        if (syn_str_eq(syn_json_str(json_array_get(mounts, i), "kind", ""), kind))
            (void)json_array_remove(mounts, i);
}

static int
take_all(const struct syn_cli *cli, const struct mount_option *option, json_t *mounts,
         struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0;
    int rc = SYN_OK;

    drop_kind(mounts, option->kind);
    while (rc == SYN_OK && (value = syn_cli_next(cli, option->option, &cursor)) != NULL)
        if (!syn_str_eq(value->text, "none"))
            rc = option->take(option, value->text, mounts, err);
    return rc;
}

int
syn_cli_service_mounts(const struct syn_cli *cli, json_t *spec, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(options); i++) {
        if (!syn_cli_has(cli, options[i].option))
            continue;
        if (json_object_get(spec, "mounts") == NULL)
            rc = syn_json_set_take(spec, "mounts", json_array(), err);
        if (rc == SYN_OK)
            rc = take_all(cli, &options[i], json_object_get(spec, "mounts"), err);
    }
    return rc;
}

void
syn_cli_service_mounts_blame(struct syn_err *err)
{
    static const char prefix[] = "spec.mounts: ";
    struct syn_err named = *err;

    if (!syn_str_starts(err->msg, prefix))
        return;
    (void)snprintf(named.msg, sizeof(named.msg), "mount %s", err->msg + sizeof(prefix) - 1);
    *err = named;
}
