#include "authorities_priv.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/str.h>

#define FIRST  "mesh-ca"
#define SUFFIX ".pem"
#define DAYS   3650

/* --- which there are -------------------------------------------------------------------------- */

static void
path_of(const char *dir, int64_t made_ms, char out[SRV_PATH_MAX])
{
    if (made_ms == 0)
        (void)snprintf(out, SRV_PATH_MAX, "%s/" FIRST SUFFIX, dir);
    else
        (void)snprintf(out, SRV_PATH_MAX, "%s/" FIRST "-%" PRId64 SUFFIX, dir, made_ms);
}

/* Is it the file of one, and of when? */
static bool
read_name(const char *name, int64_t *ret_ms)
{
    char text[64];
    size_t len = strlen(name);

    *ret_ms = 0;
    if (syn_str_eq(name, FIRST SUFFIX))
        return true;
    if (!syn_str_starts(name, FIRST "-") || !syn_str_ends(name, SUFFIX) || len >= sizeof(text))
        return false;
    (void)snprintf(text, sizeof(text), "%.*s", (int)(len - strlen(FIRST "-" SUFFIX)),
                   name + strlen(FIRST "-"));
    return syn_parse_i64(text, 1, INT64_MAX, "", ret_ms, NULL) == SYN_OK;
}

static int
by_age(const void *a, const void *b)
{
    const struct srv_authority *one = a, *other = b;

    return (one->made_ms > other->made_ms) - (one->made_ms < other->made_ms);
}

static int
list(const char *dir, struct srv_authorities *all, struct syn_err *err)
{
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    int rc = SYN_OK;

    *all = (struct srv_authorities){.count = 0};
    if (handle == NULL)
        return SYN_FAIL_SYS(err, errno, "opening %s", dir);
    while (rc == SYN_OK && (entry = readdir(handle)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        int64_t made_ms;

        if (!read_name(entry->d_name, &made_ms))
            continue;
        if (all->count == SRV_AUTHORITIES_MAX) {
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s holds more than %d authorities of the mesh", dir,
                          SRV_AUTHORITIES_MAX);
            continue;
        }
        all->rows[all->count].made_ms = made_ms;
        path_of(dir, made_ms, all->rows[all->count++].path);
    }
    (void)closedir(handle);
    qsort(all->rows, all->count, sizeof(all->rows[0]), by_age);
    return rc;
}

/* --- what they are now ------------------------------------------------------------------------ */

static int64_t
signs_at_ms(const struct srv_authority *authority)
{
    return authority->made_ms == 0 ? 0 : authority->made_ms + SRV_AUTHORITY_SPREAD_MS;
}

static void
find_signer(struct srv_authorities *all, int64_t now_ms)
{
    all->signer = 0;
    for (size_t i = 1; i < all->count; i++)
        if (signs_at_ms(&all->rows[i]) <= now_ms)
            all->signer = i;
}

/* The key goes with the file. */
static void
remove_old(struct srv_authorities *all, int64_t now_ms)
{
    size_t old = all->signer;

    if (old == 0 || signs_at_ms(&all->rows[old]) + SRV_AUTHORITY_SPREAD_MS > now_ms)
        return;
    for (size_t i = 0; i < old; i++)
        if (unlink(all->rows[i].path) == 0)
            syn_log(SYN_LOG_INFO, "mesh.authority-gone", "path=%s", all->rows[i].path);
    memmove(all->rows, all->rows + old, (all->count - old) * sizeof(all->rows[0]));
    all->count -= old;
    all->signer = 0;
}

/* Two names that are the same would be one authority to who looks for the signer of a certificate.
 */
static int
make(const char *dir, const char *cluster, int64_t made_ms, struct syn_err *err)
{
    char path[SRV_PATH_MAX], name[SYN_ID_MAX + 32];
    int rc;

    path_of(dir, made_ms, path);
    if (made_ms == 0)
        (void)snprintf(name, sizeof(name), "Synor mesh %s", cluster);
    else
        (void)snprintf(name, sizeof(name), "Synor mesh %" PRId64, made_ms);
    rc = syn_tls_ca_create(path, name, DAYS, err);
    return rc == SYN_E_EXISTS ? SYN_OK : rc;
}

int
srv_authorities_read(const char *dir, const char *cluster, int64_t now_ms,
                     struct srv_authorities *ret, struct syn_err *err)
{
    int rc = list(dir, ret, err);

    if (rc == SYN_OK && ret->count == 0) {
        rc = make(dir, cluster, 0, err);
        if (rc == SYN_OK)
            rc = list(dir, ret, err);
    }
    if (rc < 0)
        return rc;
    find_signer(ret, now_ms);
    remove_old(ret, now_ms);
    return SYN_OK;
}

int
srv_authorities_rotate(const char *dir, const char *cluster, int64_t now_ms,
                       struct srv_authorities *ret, struct syn_err *err)
{
    char until[SYN_FORMAT_MAX];
    int rc = srv_authorities_read(dir, cluster, now_ms, ret, err);

    if (rc < 0)
        return rc;
    if (ret->count > 1)
        return SYN_FAIL(
            err, SYN_E_CONFLICT, "the mesh's authority is being rotated already; that ends at %s",
            syn_format_time(signs_at_ms(&ret->rows[ret->count - 1]) + SRV_AUTHORITY_SPREAD_MS,
                            until));
    rc = make(dir, cluster, SYN_MAX(now_ms, ret->rows[0].made_ms + 1), err);
    if (rc == SYN_OK)
        rc = srv_authorities_read(dir, cluster, now_ms, ret, err);
    if (rc == SYN_OK)
        syn_log(SYN_LOG_INFO, "mesh.authority-made", "path=%s", ret->rows[ret->count - 1].path);
    return rc;
}

int
srv_authorities_text(const struct srv_authorities *all, struct syn_buf *out, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < all->count; i++)
        rc = syn_tls_cert_text(all->rows[i].path, out, err);
    return rc;
}

/* --- the server's ----------------------------------------------------------------------------- */

static void
dir_of(const struct syn_server *server, char out[SRV_PATH_MAX])
{
    (void)snprintf(out, SRV_PATH_MAX, "%s/server/tls", server->data_dir);
}

int
srv_mesh_authorities(struct syn_server *server, struct srv_authorities *ret, struct syn_err *err)
{
    char dir[SRV_PATH_MAX];

    dir_of(server, dir);
    return srv_authorities_read(dir, server->cluster, syn_wall_ms(server->world), ret, err);
}

/* "signs", "next" or "last", and when it will be another. */
static int
add_state(const struct srv_authorities *all, size_t i, json_t *row, struct syn_err *err)
{
    char at[SYN_FORMAT_MAX];
    int rc = syn_json_set_str(row, "state",
                              i == all->signer  ? "signs"
                              : i < all->signer ? "last"
                                                : "next",
                              err);

    if (rc == SYN_OK && i > all->signer)
        rc =
            syn_json_set_str(row, "signs_at", syn_format_time(signs_at_ms(&all->rows[i]), at), err);
    if (rc == SYN_OK && i + 1 < all->count)
        rc = syn_json_set_str(
            row, "gone_at",
            syn_format_time(signs_at_ms(&all->rows[all->count - 1]) + SRV_AUTHORITY_SPREAD_MS, at),
            err);
    return rc;
}

static int
add_row(const struct srv_authorities *all, size_t i, json_t *items, struct syn_err *err)
{
    const char *path = all->rows[i].path;
    char print[SYN_TLS_FINGERPRINT_SIZE], from[SYN_FORMAT_MAX], until[SYN_FORMAT_MAX];
    struct syn_tls_look look = {.count = 0};
    SYN_BUF(pem);
    SYN_JSON(row);
    int rc = syn_tls_cert_text(path, &pem, err);

    if (rc == SYN_OK)
        rc = syn_tls_cert_look(pem.data, pem.len, &look, err);
    if (rc == SYN_OK)
        rc = syn_tls_cert_fingerprint(path, print, err);
    if (rc < 0)
        return rc;
    rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s}", "fingerprint", print, "from",
                       syn_format_time(look.from_ms, from), "until",
                       syn_format_time(look.until_ms, until), "certificate", syn_buf_text(&pem));
    if (rc == SYN_OK)
        rc = add_state(all, i, row, err);
    return rc < 0 ? rc : syn_json_append_take(items, SYN_TAKE(row), err);
}

static int
reply(struct syn_http_req *req, int status, const struct srv_authorities *all, struct syn_err *err)
{
    json_t *items = json_array();
    SYN_JSON(answer);
    int rc = syn_json_pack(&answer, err, "{s:o, s:n}", "items", items, "next");

    for (size_t i = 0; rc == SYN_OK && i < all->count; i++)
        rc = add_row(all, i, items, err);
    return rc < 0 ? rc : syn_http_reply_json(req, status, answer, err);
}

int
srv_authorities_get(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct srv_authorities all;
    int rc = srv_mesh_authorities(ctx, &all, err);

    return rc < 0 ? rc : reply(req, 200, &all, err);
}

int
srv_authorities_post(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const struct syn_server *server = ctx;
    struct srv_authorities all;
    char dir[SRV_PATH_MAX];
    int rc;

    dir_of(server, dir);
    rc = srv_authorities_rotate(dir, server->cluster, syn_wall_ms(server->world), &all, err);
    return rc < 0 ? rc : reply(req, 201, &all, err);
}
