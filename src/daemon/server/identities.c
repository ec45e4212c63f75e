/* Who is who in the mesh: certificates for the services and accounts that a node runs instances of.
 *
 *     agent: key, request --POST /v1/nodes/{id}/identities--> names of ours, signed: an hour of
 * life
 *
 * The authority is the mesh's alone: a certificate of a published address, whose host its owner
 * chooses, is nothing in here. Keys never leave their node. Nothing is kept: what a node may have
 * it may have again, and what ends in an hour need not be revoked. */
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/service_mesh.h>

#include "authorities_priv.h"

#define CSR_MAX 4096

/* Whom a certificate is asked for: one of the two. */
struct asked {
    const char *service, *account; /* ids, or "" */
    bool runs;                     /* the node has a living instance of it */
};

static int
see_instance(void *arg, const json_t *instance, struct syn_err *err)
{
    struct asked *asked = arg;
    char service[SYN_ID_MAX] = "";

    (void)err;
    if (asked->account[0] != '\0')
        asked->runs |= syn_str_eq(asked->account, syn_json_str(instance, "account", "?"));
    else if (srv_service_of(syn_document_id(instance), service))
        asked->runs |= syn_str_eq(asked->service, service);
    return SYN_OK;
}

/* What they are called, {"account_name", "name"}: the latter of a service alone. */
static int
find_names(struct syn_server *server, const struct asked *asked, json_t **ret, struct syn_err *err)
{
    const char *account = asked->account;
    char key[SRV_KEY_MAX];
    SYN_JSON(service);
    SYN_JSON(names);
    int rc = SYN_OK;

    names = json_object();
    if (names == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an identity");
    if (asked->service[0] != '\0') {
        rc = srv_need(server, srv_key(key, "service", asked->service, NULL), "service", &service,
                      NULL, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(names, "name", syn_json_str(service, "name", ""), err);
        account = syn_json_str(service, "account", "");
    }
    if (rc == SYN_OK)
        rc = srv_account_name(server, account, names, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(names);
    return rc;
}

static int
check_asked(struct syn_server *server, const char *node, struct asked *asked, struct syn_err *err)
{
    const char *what = asked->service[0] != '\0' ? asked->service : asked->account;
    int rc;

    if ((asked->service[0] == '\0') == (asked->account[0] == '\0'))
        return SYN_FAIL(err, SYN_E_INVALID, "service, account: expected one of the two");
    rc = srv_living_on(server, node, see_instance, asked, err);
    if (rc == SYN_OK && !asked->runs)
        rc = SYN_FAIL(err, SYN_E_FORBIDDEN, "node %s runs nothing of %s", node, what);
    return rc;
}

/* Sign, and answer with the certificate and who it may be checked by. */
static int
issue(struct syn_server *server, const json_t *names, const char *csr, json_t **ret,
      struct syn_err *err)
{
    const struct syn_mesh_party party = {.account = syn_json_str(names, "account_name", ""),
                                         .service = syn_json_str(names, "name", NULL)};
    char name[SYN_MESH_NAME_SIZE], uri[SYN_MESH_URI_SIZE], at[SYN_FORMAT_MAX];
    struct srv_authorities all;
    int64_t now_ms = syn_wall_ms(server->world);
    const struct syn_tls_identity identity = {
        .name = syn_mesh_name(&party, name),
        .uri = syn_mesh_uri(server->cluster, &party, uri),
        .below = party.service != NULL, /* "v3.web.acme.mesh" is a version of it */
        .from_ms = now_ms - SRV_IDENTITY_BEHIND_MS,
        .until_ms = now_ms + SRV_IDENTITY_LIFE_MS,
    };
    SYN_BUF(pem);
    SYN_BUF(authority);
    int rc = srv_mesh_authorities(server, &all, err);

    if (rc == SYN_OK)
        rc =
            syn_tls_request_sign(all.rows[all.signer].path, csr, strlen(csr), &identity, &pem, err);
    if (rc == SYN_OK)
        rc = srv_authorities_text(&all, &authority, err);
    return rc < 0
               ? rc
               : syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s, s:s}", "name", name, "identity", uri,
                               "certificate", syn_buf_text(&pem), "ca", syn_buf_text(&authority),
                               "not_after", syn_format_time(identity.until_ms, at));
}

static int
make_identity(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *node = syn_http_req_param(req, "id");
    const json_t *body = syn_http_req_json(req);
    struct asked asked = {.service = syn_json_str(body, "service", ""),
                          .account = syn_json_str(body, "account", "")};
    SYN_JSON(names);
    SYN_JSON(answer);
    int rc = srv_own_node(srv_identity(req), node, err);

    if (rc == SYN_OK && !syn_name_ok(node))
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "there is no node %.60s", node);
    if (rc == SYN_OK)
        rc = check_asked(ctx, node, &asked, err);
    if (rc == SYN_OK)
        rc = find_names(ctx, &asked, &names, err);
    if (rc == SYN_OK)
        rc = issue(ctx, names, syn_json_str(body, "csr", ""), &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

static const struct syn_field identity_fields[] = {
    {.name = "service", .kind = SYN_FIELD_NAME, .help = "Id of a service that the node runs"},
    {.name = "account",
     .kind = SYN_FIELD_NAME,
     .help = "Or of an account, for what runs there and is no service"},
    {.name = "csr",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = CSR_MAX,
     .required = true,
     .help = "Request (PKCS #10, PEM) with a key of P-256; names in it are not looked at"},
};
static const struct syn_schema identity_schema = SYN_SCHEMA("NodeIdentity", identity_fields);

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/identities",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = make_identity,
     .body = &identity_schema,
     .name = "nodes.identities",
     .summary = "Sign who a service of the node is, for an hour"},
    {.method = "GET",
     .pattern = "/v1/mesh/authorities",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .handler = srv_authorities_get,
     .name = "mesh.authorities",
     .summary = "The mesh's authorities that are believed now"},
    {.method = "POST",
     .pattern = "/v1/mesh/authorities",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_OPERATOR,
     .body_max = SRV_BODY_MAX,
     .handler = srv_authorities_post,
     .name = "mesh.authorities.rotate",
     .summary = "Begin with another authority of the mesh"},
};

const struct srv_routes srv_identity_routes = {rows, SYN_LEN(rows)};
