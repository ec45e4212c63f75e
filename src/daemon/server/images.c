/* Routes of images: what an account has pulled or pushed, under the names that workloads use. An
 * image's document keeps its content as a name does; whoever runs it keeps it by itself. */
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "image_priv.h"

#define WAIT_MAX_MS 1000
#define AUTH_PART   1024

/* --- names ------------------------------------------------------------------------------------ */

/* The name of the document: of what is in registries the whole reference ("docker.io/library/nginx:
 * 1.25", which always has ":"), of what was pushed a name of content, which never has. */
static int
name_of(const char *reference, char out[SYN_IMAGE_REF_MAX], struct syn_err *err)
{
    struct syn_image_ref ref;
    int rc;

    if (syn_str_starts(reference, "synor://")) {
        reference += strlen("synor://");
        if (!srv_content_name_ok(reference) || !syn_str_copy(out, SYN_IMAGE_REF_MAX, reference))
            return SYN_FAIL(err, SYN_E_INVALID, "synor://%.60s: no name of an image", reference);
        return SYN_OK;
    }
    rc = syn_image_ref_parse(reference, &ref, err);
    if (rc == SYN_OK)
        (void)syn_image_ref_format(&ref, out);
    return rc;
}

static int
load_image(struct syn_server *server, const char *account, const char *name, json_t **ret,
           struct syn_err *err)
{
    char key[SRV_KEY_MAX];

    return srv_load(server, srv_key(key, "image", account, name), ret, NULL, err);
}

/* "x:tag@sha256:D" is "x:tag" as well, as long as that is D. */
static int
load_pinned(struct syn_server *server, const char *account, const char *name, json_t **ret,
            struct syn_err *err)
{
    char bare[SYN_IMAGE_REF_MAX];
    const char *digest = strchr(name, '@');
    SYN_JSON(doc);
    int rc = load_image(server, account, name, ret, err);

    if (rc != SRV_ABSENT || digest == NULL)
        return rc;
    (void)snprintf(bare, sizeof(bare), "%.*s", (int)(digest - name), name);
    rc = load_image(server, account, bare, &doc, err);
    if (rc == SYN_OK && !syn_str_eq(syn_json_str(doc, "digest", ""), digest + 1))
        rc = SRV_ABSENT;
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

int
srv_image_resolve(struct syn_server *server, const char *account, const char *reference,
                  char *ret_cid, struct syn_err *err)
{
    char name[SYN_IMAGE_REF_MAX];
    bool ours = syn_str_starts(reference, "synor://");
    SYN_JSON(doc);
    int rc;

    rc = name_of(reference, name, ours ? NULL : err);
    if (rc < 0)
        return ours ? srv_resolve(server, account, reference, ret_cid, err) : rc;
    rc = load_pinned(server, account, name, &doc, err);
    if (rc == SRV_ABSENT && ours)
        return srv_resolve(server, account, reference, ret_cid, err);
    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "%s has not been pulled; synor compute image pull %.200s", name, reference);
    return rc < 0 ? rc : srv_resolve(server, account, syn_json_str(doc, "cid", "?"), ret_cid, err);
}

int
srv_image_foresee(struct syn_server *server, const char *account, const char *reference,
                  json_t *plan, struct syn_err *err)
{
    char cid[SYN_CID_TEXT_MAX], name[SYN_IMAGE_REF_MAX];
    json_t *pull = NULL;
    int rc = syn_json_set_take(plan, "pull", json_null(), err);

    if (rc == SYN_OK)
        rc = srv_image_resolve(server, account, reference, cid, err);
    if (rc != SYN_E_NOTFOUND || syn_str_starts(reference, "synor://"))
        return rc;
    rc = name_of(reference, name, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&pull, err, "{s:s}", "image", name);
    return rc < 0 ? rc : syn_json_set_take(plan, "pull", pull, err);
}

/* --- writing ---------------------------------------------------------------------------------- */

struct writing {
    const struct srv_image_want *want;
    const json_t *image;
    struct syn_cid cid;
};

static int
write_image(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct writing *writing = arg;
    char key[SRV_KEY_MAX];
    int rc;

    (void)srv_key(key, "image", writing->want->account, writing->want->name);
    rc = srv_storage_claim(server, txn, writing->want->account, key, &writing->cid, err);
    return rc < 0 ? rc : srv_txn_put(txn, key, writing->image, err);
}

int
srv_image_write(struct syn_server *server, const struct srv_image_want *want, json_t *image,
                struct syn_err *err)
{
    struct writing writing = {.want = want, .image = image};
    const char *cid = syn_json_str(image, "cid", "");
    bool pushed = want->cid[0] != '\0';
    char at[SYN_FORMAT_MAX];
    SYN_BUF(ref);
    int rc = syn_cid_parse(cid, strlen(cid), &writing.cid, err);

    syn_buf_addf(&ref, "%s%s", pushed ? "synor://" : "", want->name);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&ref, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(image, "name", want->name, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(image, "ref", syn_buf_text(&ref), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(image, "source", pushed ? "pushed" : "registry", err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(image, "created_at", syn_format_time(syn_wall_ms(server->world), at),
                              err);
    return rc < 0 ? rc
                  : srv_change(server, "what the account keeps", write_image, &writing, NULL, err);
}

/* --- pull, push ------------------------------------------------------------------------------- */

/* {"auth"} as docker's file has it, or {"username", "password"}. */
static int
read_auth(const json_t *credentials, char *out, struct syn_err *err)
{
    const char *auth = syn_json_str(credentials, "auth", "");
    const char *user = syn_json_str(credentials, "username", "");
    char text[2 * AUTH_PART + 2];
    int len;

    out[0] = '\0';
    if (auth[0] != '\0') {
        if (strspn(auth, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") !=
                strlen(auth) ||
            !syn_str_copy(out, SYN_IMAGE_AUTH_MAX, auth))
            return SYN_FAIL(err, SYN_E_INVALID, "credentials.auth: expected base64");
        return SYN_OK;
    }
    if (user[0] == '\0')
        return SYN_OK;
    if (strchr(user, ':') != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "credentials.username: has no \":\" in it");
    len = snprintf(text, sizeof(text), "%s:%s", user, syn_json_str(credentials, "password", ""));
    if (len >= (int)sizeof(text))
        return SYN_FAIL(err, SYN_E_INVALID, "credentials: too long");
    syn_base64_encode(SYN_BASE64_STD, text, (size_t)len, out);
    syn_secret_wipe(text, sizeof(text));
    return SYN_OK;
}

/* "linux/arm64", of which the latter is kept; "" is this machine's. */
static int
read_platform(const char *text, char out[SYN_OCI_WORD_MAX], struct syn_err *err)
{
    const char *architecture = text + strlen("linux/");

    out[0] = '\0';
    if (text[0] == '\0')
        return SYN_OK;
    if (!syn_str_starts(text, "linux/") || architecture[0] == '\0' ||
        strspn(architecture, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(architecture) ||
        !syn_str_copy(out, SYN_OCI_WORD_MAX, architecture))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "platform: expected linux/ and an architecture (amd64, arm64, ...), got "
                        "\"%.40s\"",
                        text);
    return SYN_OK;
}

/* From a registry, by `ref`; or from content, with `cid` and `name`. */
static int
read_want(struct syn_server *server, struct syn_http_req *req, struct srv_image_want *want,
          struct syn_err *err)
{
    const json_t *body = syn_http_req_json(req);
    const struct srv_identity *who = srv_identity(req);
    const char *ref = syn_json_str(body, "ref", "");
    const char *cid = syn_json_str(body, "cid", "");
    const char *name = syn_json_str(body, "name", "");
    int rc;

    (void)syn_str_copy(want->account, sizeof(want->account), who->account);
    if ((ref[0] != '\0') == (cid[0] != '\0') || (cid[0] != '\0') != (name[0] != '\0'))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "give ref, to pull from a registry, or cid and name, to take in content");
    if (ref[0] != '\0') {
        want->any_address = who->is_operator;
        rc = syn_image_ref_parse(ref, &want->ref, err);
        if (rc == SYN_OK)
            (void)syn_image_ref_format(&want->ref, want->name);
        return rc;
    }
    if (!srv_content_name_ok(name) || !syn_str_copy(want->name, sizeof(want->name), name))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "name: expected parts of a-z 0-9 . _ - joined by \"/\", got \"%.60s\"",
                        name);
    (void)syn_str_copy(want->tag, sizeof(want->tag), syn_json_str(body, "tag", ""));
    return srv_resolve(server, who->account, cid, want->cid, err);
}

/* Begin what is wanted, with the request's credentials, and tell how it stands. */
static int
begin(struct syn_http_req *req, struct syn_server *server, struct srv_image_want *want,
      struct syn_err *err)
{
    SYN_JSON(answer);
    int rc = read_auth(json_object_get(syn_http_req_json(req), "credentials"), want->auth, err);

    if (rc == SYN_OK)
        rc = srv_pull_start(server->pulls, want,
                            syn_json_i64(syn_http_req_query_json(req), "wait_ms", 0), &answer, err);
    syn_secret_wipe(want->auth, sizeof(want->auth));
    return rc < 0 ? rc
                  : syn_http_reply_json(
                        req, syn_str_eq(syn_json_str(answer, "state", ""), "done") ? 200 : 202,
                        answer, err);
}

static int
post_image(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    struct srv_image_want want = {.bytes_max = SYN_OCI_BYTES_MAX};
    struct syn_quota quota;
    int rc = read_want(server, req, &want, err);

    if (rc == SYN_OK)
        rc = read_platform(syn_json_str(syn_http_req_json(req), "platform", ""), want.architecture,
                           err);
    if (rc == SYN_OK)
        rc = srv_disk_room(server, 0, err);
    if (rc == SYN_OK)
        rc = srv_quota_load(server, want.account, &quota, err);
    if (rc == SYN_OK && quota.limits[SYN_QUOTA_STORAGE] != SYN_QUOTA_NONE)
        want.bytes_max = SYN_MIN(want.bytes_max, SYN_MAX(quota.limits[SYN_QUOTA_STORAGE], 1));
    return rc < 0 ? rc : begin(req, server, &want, err);
}

static int
get_pull(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_JSON(answer);
    int rc = srv_pull_look(server->pulls, srv_identity(req)->account, syn_http_req_param(req, "id"),
                           syn_json_i64(syn_http_req_query_json(req), "wait_ms", 0), &answer, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- looking, forgetting ---------------------------------------------------------------------- */

/* By the name of its document, as it was pushed, or a reference. SRV_ABSENT. */
static int
find_image(struct syn_server *server, const char *account, const char *given,
           char name[SYN_IMAGE_REF_MAX], json_t **ret, int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = SRV_ABSENT;

    if (srv_content_name_ok(given) && syn_str_copy(name, SYN_IMAGE_REF_MAX, given))
        rc = srv_load(server, srv_key(key, "image", account, name), ret, ret_revision, err);
    if (rc == SRV_ABSENT) {
        rc = name_of(given, name, err);
        if (rc == SYN_OK)
            rc = srv_load(server, srv_key(key, "image", account, name), ret, ret_revision, err);
    }
    return rc;
}

static int
need_image(struct syn_server *server, struct syn_http_req *req, char name[SYN_IMAGE_REF_MAX],
           json_t **ret, int64_t *ret_revision, struct syn_err *err)
{
    const char *given = syn_json_str(syn_http_req_query_json(req), "name", "");
    int rc = find_image(server, srv_identity(req)->account, given, name, ret, ret_revision, err);

    return rc == SRV_ABSENT ? SYN_FAIL(err, SYN_E_NOTFOUND, "there is no image %.300s", given) : rc;
}

/* --- push ------------------------------------------------------------------------------------- */

/* What is pushed: an image of the account, or content that is one. */
static int
read_source(struct syn_server *server, const char *given, struct srv_image_want *want,
            struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = find_image(server, want->account, given, want->source, &doc, NULL, NULL);

    if (rc == SYN_OK || rc == SYN_E_NOMEM)
        return rc;
    want->source[0] = '\0';
    return srv_resolve(server, want->account, given, want->cid, err);
}

static int
post_push(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const json_t *body = syn_http_req_json(req);
    const struct srv_identity *who = srv_identity(req);
    struct srv_image_want want = {.push = true, .any_address = who->is_operator};
    int rc = syn_image_ref_parse(syn_json_str(body, "ref", ""), &want.ref, err);

    (void)syn_str_copy(want.account, sizeof(want.account), who->account);
    (void)syn_str_copy(want.tag, sizeof(want.tag), syn_json_str(body, "tag", ""));
    if (rc == SYN_OK)
        rc = read_platform(syn_json_str(body, "platform", ""), want.architecture, err);
    if (rc == SYN_OK)
        (void)syn_image_ref_format(&want.ref, want.name);
    if (rc == SYN_OK)
        rc = read_source(server, syn_json_str(body, "image", ""), &want, err);
    if (rc == SYN_OK && want.cid[0] != '\0')
        rc = srv_disk_room(server, 0, err);
    return rc < 0 ? rc : begin(req, server, &want, err);
}

static int
list_images(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char key[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(key, "image", srv_identity(req)->account, ""), false,
                          NULL, NULL, err);
}

static int
lookup_image(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char name[SYN_IMAGE_REF_MAX];
    SYN_JSON(doc);
    int rc = need_image(ctx, req, name, &doc, NULL, err);

    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

static int
delete_image(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char name[SYN_IMAGE_REF_MAX], key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = need_image(ctx, req, name, &doc, &revision, err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, srv_key(key, "image", srv_identity(req)->account, name), err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(ctx, &txn, NULL, err);
    return rc < 0 ? rc : SYN_OK;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field credentials_fields[] = {
    {.name = "auth",
     .kind = SYN_FIELD_STR,
     .max = SYN_IMAGE_AUTH_MAX - 1,
     .help = "base64 of user:password, as docker's configuration file has it"},
    {.name = "username", .kind = SYN_FIELD_STR, .max = AUTH_PART, .help = "Instead of auth"},
    {.name = "password", .kind = SYN_FIELD_STR, .max = AUTH_PART, .help = "Or a token"},
};
static const struct syn_schema credentials_schema =
    SYN_SCHEMA("RegistryCredentials", credentials_fields);

#define PLATFORM_FIELD                                                                \
    {                                                                                 \
        .name = "platform", .kind = SYN_FIELD_STR, .max = SYN_OCI_WORD_MAX,           \
        .help = "linux/ARCHITECTURE, of several that there are; the server's if none" \
    }
static const struct syn_field post_fields[] = {
    {.name = "ref",
     .kind = SYN_FIELD_STR,
     .max = SYN_IMAGE_REF_MAX - 1,
     .help = "HOST/PATH:TAG@DIGEST, to pull from a registry"},
    {.name = "credentials",
     .kind = SYN_FIELD_OBJ,
     .sub = &credentials_schema,
     .help = "For ref's host; used for this pull and kept nowhere"},
    {.name = "cid",
     .kind = SYN_FIELD_STR,
     .max = 256,
     .help = "CID or name of a stored image layout, OCI archive or `docker save` archive"},
    {.name = "name", .kind = SYN_FIELD_STR, .max = 200, .help = "What it is called, with cid"},
    PLATFORM_FIELD,
    {.name = "tag",
     .kind = SYN_FIELD_STR,
     .max = SRV_IMAGE_TAG_MAX - 1,
     .help = "Which image, when the content holds several"},
};
static const struct syn_schema post_schema = SYN_SCHEMA("ImagePost", post_fields);

static const struct syn_field push_fields[] = {
    {.name = "image",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_IMAGE_REF_MAX - 1,
     .required = true,
     .help = "An image's name, or content that is an image layout or an archive"},
    {.name = "ref",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_IMAGE_REF_MAX - 1,
     .required = true,
     .help = "HOST/PATH:TAG, where it goes"},
    {.name = "credentials",
     .kind = SYN_FIELD_OBJ,
     .sub = &credentials_schema,
     .help = "For ref's host; used for this push and kept nowhere"},
    PLATFORM_FIELD,
    {.name = "tag",
     .kind = SYN_FIELD_STR,
     .max = SRV_IMAGE_TAG_MAX - 1,
     .help = "Which image, when the content holds several"},
};
static const struct syn_schema push_schema = SYN_SCHEMA("ImagePush", push_fields);

#define WAIT_FIELD                                                                               \
    {                                                                                            \
        .name = "wait_ms", .kind = SYN_FIELD_I64, .min = 0, .max = WAIT_MAX_MS, .fallback = "0", \
        .help = "Answer when it has ended, or after this time"                                   \
    }
static const struct syn_field wait_fields[] = {WAIT_FIELD};
static const struct syn_schema wait_schema = SYN_SCHEMA("ImageWait", wait_fields);

static const struct syn_field name_fields[] = {
    {.name = "name",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = SYN_IMAGE_REF_MAX - 1,
     .required = true,
     .help = "A reference, or the name it was pushed under"},
};
static const struct syn_schema name_schema = SYN_SCHEMA("ImageName", name_fields);

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/images", list_images, &srv_list_query, "images.list",
             "List what was pulled and pushed"),
    {.method = "POST",
     .pattern = "/v1/images",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = post_image,
     .body = &post_schema,
     .query = &wait_schema,
     .name = "images.post",
     .summary = "Pull an image from a registry, or take one in that is stored"},
    {.method = "POST",
     .pattern = "/v1/images/pushes",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = post_push,
     .body = &push_schema,
     .query = &wait_schema,
     .name = "images.push",
     .summary = "Send an image to a registry"},
    SRV_READ("/v1/images/lookup", lookup_image, &name_schema, "images.lookup", "One image"),
    SRV_READ("/v1/images/pulls/{id}", get_pull, &wait_schema, "images.pull",
             "How a pull or push stands"),
    {.method = "DELETE",
     .pattern = "/v1/images",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_image,
     .query = &name_schema,
     .name = "images.delete",
     .summary = "Forget an image; what runs it keeps it"},
};

const struct srv_routes srv_image_routes = {rows, SYN_LEN(rows)};
