/* Credentials for a registry, from where docker keeps them: in its file, or with a helper program
 * that the file names. They go into the one request that needs them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/image_ref.h>
#include <synor/base/str.h>

#include "image_priv.h"

#define AUTH_FILE_MAX    ((size_t)1 << 20)
#define HELPER_LIMIT_MS  30000 /* some ask the user */
#define HELPER_BYTES_MAX ((size_t)65536)
#define NOT_FOUND        "credentials not found" /* as all helpers begin it */

/* Where docker keeps them; false when nobody says. */
static bool
auth_path(const struct syn_cli *cli, char *out, size_t cap)
{
    const char *given = syn_cli_text(cli, "auth-file", NULL);
    const char *docker = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    int len = -1;

    if (given != NULL)
        len = snprintf(out, cap, "%s", given);
    else if (docker != NULL && docker[0] != '\0')
        len = snprintf(out, cap, "%s/config.json", docker);
    else if (home != NULL && home[0] != '\0')
        len = snprintf(out, cap, "%s/.docker/config.json", home);
    return len > 0 && (size_t)len < cap && (given != NULL || access(out, F_OK) == 0);
}

/* --- helpers ---------------------------------------------------------------------------------- */

static bool
find_helper(const char *name, char *out, size_t cap)
{
    const char *folders = getenv("PATH");

    for (const char *at = folders != NULL ? folders : "/usr/bin"; *at != '\0';
         at += strspn(at, ":")) {
        size_t len = strcspn(at, ":");

        if (at[0] == '/' &&
            snprintf(out, cap, "%.*s/docker-credential-%s", (int)len, at, name) < (int)cap &&
            access(out, X_OK) == 0)
            return true;
        at += len;
    }
    return false;
}

/* What the program has for the host, appended; nothing when it has nothing. */
static int
ask_helper(const char *name, const char *host, struct syn_buf *out, struct syn_err *err)
{
    const char *const argv[] = {name, "get", NULL};
    char path[1024];
    const struct syn_child_question question = {.program = path,
                                                .argv = argv,
                                                .env = (const char *const *)environ,
                                                .limit_ms = HELPER_LIMIT_MS,
                                                .bytes_max = HELPER_BYTES_MAX,
                                                .input = syn_image_helper_key(host)};
    int status = 0, rc;

    if (!find_helper(name, path, sizeof(path)))
        return SYN_FAIL(err, SYN_E_NOTFOUND, "docker-credential-%s is not in PATH", name);
    rc = syn_child_ask(&question, out, &status, err);
    if (rc < 0)
        return rc;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return SYN_OK;
    if (!syn_str_starts(syn_buf_text(out), NOT_FOUND))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "docker-credential-%s fails (status %d)", name,
                        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    syn_buf_clear(out);
    return SYN_OK;
}

static int
helper_credentials(const char *name, const char *host, json_t **ret, struct syn_err *err)
{
    char user[SYN_IMAGE_AUTH_MAX] = "", password[SYN_IMAGE_AUTH_MAX] = "";
    SYN_BUF(answer);
    int rc = ask_helper(name, host, &answer, err);

    if (rc == SYN_OK && answer.len > 0)
        rc = syn_image_helper_read(syn_buf_text(&answer), answer.len, user, password, err);
    if (rc == SYN_OK && user[0] != '\0')
        rc = syn_json_pack(ret, err, "{s:s, s:s}", "username", user, "password", password);
    if (answer.len > 0)
        explicit_bzero(answer.data, answer.len);
    explicit_bzero(password, sizeof(password));
    return rc < 0 ? syn_err_wrap(err, rc, "credentials for %s", host) : SYN_OK;
}

/* --- all of it -------------------------------------------------------------------------------- */

/* *ret stays NULL when there are none. A helper that is not there or fails is passed over aloud, as
 * public images need none, unless the user named the file. */
static int
find_credentials(struct syn_cli *cli, const char *path, const char *host, json_t **ret,
                 struct syn_err *err)
{
    char auth[SYN_IMAGE_AUTH_MAX] = "";
    SYN_BUF(text);
    int rc = syn_cli_read_file(path, AUTH_FILE_MAX, &text, err);

    if (rc == SYN_OK)
        rc = syn_image_auth_find(syn_buf_text(&text), text.len, host, auth, err);
    if (text.len > 0)
        explicit_bzero(text.data, text.len);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s", path);
    if (rc == SYN_IMAGE_HELPER) {
        rc = helper_credentials(auth, host, ret, err);
        if (rc == SYN_OK || rc == SYN_E_NOMEM || syn_cli_has(cli, "auth-file"))
            return rc;
        syn_cli_note(cli, "%s; going on without.", err->msg);
        return SYN_OK;
    }
    if (auth[0] != '\0')
        rc = syn_json_pack(ret, err, "{s:s}", "auth", auth);
    explicit_bzero(auth, sizeof(auth));
    return rc;
}

int
syn_cli_image_credentials(struct syn_cli *cli, const char *ref, json_t *body, struct syn_err *err)
{
    char path[1024];
    struct syn_image_ref parsed;
    json_t *credentials = NULL;
    int rc = syn_image_ref_parse(ref, &parsed, err);

    if (rc < 0 || !auth_path(cli, path, sizeof(path)))
        return rc;
    rc = find_credentials(cli, path, parsed.host, &credentials, err);
    return rc < 0 || credentials == NULL ? rc
                                         : syn_json_set_take(body, "credentials", credentials, err);
}
