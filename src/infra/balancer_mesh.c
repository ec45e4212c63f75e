/* The two ends of a mesh in HAProxy's words.
 *
 *   instance --plain--> [OUT: caller by address, callee by the address before NAT]
 *                         |-> a replica here, in plain text
 *                         `-> a peer, by TLS: our caller's certificate, the callee's name as SNI
 *   peer ------TLS----> [IN: caller by its certificate, callee by SNI] --plain--> a replica here
 *
 * Who may call whom lies in the map of routes: "f1@10.0.0.7 web.a.mesh" says whose an address is,
 * "f1|web.a.mesh|10.127.0.5:80 b7" where the pair leads, and what is not there is refused. The pair
 * is looked up for each request, so that a change of rules holds for open connections too.
 *
 * HAProxy knows the address before NAT of IPv4 alone. Of IPv6 the address is left as it was and the
 * port alone is changed, to that of the front: "f3|web.a.mesh|fd53::a7f:5:20000". */
#include "balancer_priv.h"

#include <arpa/inet.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

/* --- what it may hold ------------------------------------------------------------------------- */

static void
lower(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)(*text >= 'A' && *text <= 'Z' ? *text - 'A' + 'a' : *text);
}

int
lb_caller_key(unsigned door, const struct syn_balancer_caller *caller, char ret[LB_KEY_SIZE],
              struct syn_err *err)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t bin[16];
    int family = caller->address != NULL && strchr(caller->address, ':') ? AF_INET6 : AF_INET;

    if (caller->address == NULL || inet_pton(family, caller->address, bin) != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "a caller's address is none");
    (void)inet_ntop(family, bin, text, sizeof(text));
    (void)snprintf(ret, LB_KEY_SIZE, "f%u@%s", door, text);
    return SYN_OK;
}

/* A name as it stands in keys: one that is exact, or with `wild` also "*" and "*.rest". */
static int
name_check(const char *name, bool wild, struct syn_err *err)
{
    if (name == NULL || strlen(name) > SYN_BALANCER_HOST_MAX || (!wild && name[0] == '*'))
        return SYN_FAIL(err, SYN_E_INVALID, "a name of the mesh is none");
    return wild && strcmp(name, "*") == 0 ? SYN_OK : lb_check_host(name, err);
}

int
lb_pair_key(unsigned door, const struct syn_balancer_frontend *frontend,
            const struct syn_balancer_pair *pair, char ret[LB_KEY_SIZE], struct syn_err *err)
{
    bool in = frontend->mesh == SYN_BALANCER_MESH_IN;
    char address[LB_ADDRESS_SIZE] = "";
    int rc = name_check(pair->caller, in, err);

    if (rc == SYN_OK)
        rc = in ? name_check(pair->callee, false, err) : lb_address(pair->callee, address, err);
    if (rc < 0)
        return rc;
    if (address[0] == '[') /* HAProxy puts no brackets around it */
        (void)snprintf(ret, LB_KEY_SIZE, "f%u|%s|%.*s%s", door, pair->caller,
                       (int)strcspn(address + 1, "]"), address + 1, strrchr(address, ':'));
    else
        (void)snprintf(ret, LB_KEY_SIZE, "f%u|%s|%s", door, pair->caller,
                       in ? pair->callee : address);
    if (pair->route > 0)
        (void)snprintf(ret + strlen(ret), LB_KEY_SIZE - strlen(ret), "/r%u", pair->route);
    lower(ret);
    return SYN_OK;
}

static int
note_key(struct syn_map *seen, const char *key, struct syn_err *err)
{
    if (syn_map_find(seen, key) != NULL)
        return SYN_FAIL(err, SYN_E_INVALID, "%s is there twice", key + 3);
    return syn_map_put_take(seen, key, seen, err);
}

int
lb_check_mesh(const struct syn_balancer_frontend *frontend, const struct syn_map *backends,
              bool authority, struct syn_err *err)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *seen = NULL;
    bool in = frontend->mesh == SYN_BALANCER_MESH_IN;
    char key[LB_KEY_SIZE];
    int rc = syn_map_new(NULL, &seen, err);

    if (rc < 0)
        return rc;
    if (frontend->backend != NULL || frontend->route_count > 0 || frontend->https_port > 0 ||
        frontend->accept_proxy)
        return SYN_FAIL(err, SYN_E_INVALID, "a mesh's front has pairs and nothing else");
    if (in ? !authority || frontend->caller_count > 0 : frontend->cert_count > 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "a mesh's front knows callers by an authority, or by their addresses");
    for (size_t i = 0; rc == SYN_OK && i < frontend->caller_count; i++) {
        rc = lb_caller_key(0, &frontend->callers[i], key, err);
        if (rc == SYN_OK)
            rc = name_check(frontend->callers[i].name, false, err);
        if (rc == SYN_OK)
            rc = note_key(seen, key, err);
    }
    for (size_t i = 0; rc == SYN_OK && i < frontend->pair_count; i++) {
        const struct syn_balancer_pair *pair = &frontend->pairs[i];
        const struct syn_balancer_backend *to =
            pair->backend == NULL ? NULL : syn_map_find(backends, pair->backend);

        rc = lb_pair_key(0, frontend, pair, key, err);
        if (rc == SYN_OK && pair->route > 0 && (in || frontend->mode != SYN_BALANCER_HTTP))
            return SYN_FAIL(err, SYN_E_INVALID, "pair %s: routes are of a front OUT", key + 3);
        if (rc == SYN_OK && (to == NULL || to->mode != frontend->mode))
            return SYN_FAIL(err, SYN_E_INVALID, "pair %s leads to no backend of its mode", key + 3);
        if (rc == SYN_OK)
            rc = note_key(seen, key, err);
    }
    return rc;
}

/* --- frontends -------------------------------------------------------------------------------- */

/* What is the same for all requests of a connection is found out once. */
static void
session_lines(bool out_front, unsigned number, struct syn_buf *out)
{
    static const char set[] = "  tcp-request session set-var";

    if (out_front) {
        syn_buf_addf(out, "%s-fmt(sess.at) \"f%u@%%[src]\"\n", set, number);
        syn_buf_addf(out, "%s(sess.caller) var(sess.at),map_str(routes.map)\n", set);
        syn_buf_adds(out, "  tcp-request session reject unless { var(sess.caller) -m found }\n");
        syn_buf_addf(out, "%s-fmt(sess.key) \"f%u|%%[var(sess.caller)]|%%[dst]:%%[dst_port]\"\n",
                     set, number);
        return;
    }
    syn_buf_addf(out, "%s(sess.caller) ssl_c_s_dn(UID),lower\n", set);
    syn_buf_addf(out, "%s(sess.callee) ssl_fc_sni,lower\n", set);
    syn_buf_addf(out, "%s-fmt(sess.key) \"f%u|%%[var(sess.caller)]|%%[var(sess.callee)]\"\n", set,
                 number);
    syn_buf_addf(out,
                 "%s-fmt(sess.wild) \"f%u|*%%[var(sess.caller),regsub(^[^.]*,)]"
                 "|%%[var(sess.callee)]\"\n",
                 set, number);
    syn_buf_addf(out, "%s-fmt(sess.any) \"f%u|*|%%[var(sess.callee)]\"\n", set, number);
}

/* Set txn.to to where the key in a variable leads, if it is not found yet. */
static void
look_up(const char *rule, const char *key, bool first, struct syn_buf *out)
{
    syn_buf_addf(out, "  %s set-var(txn.to) var(%s),map_str(routes.map)%s\n", rule, key,
                 first ? "" : " if !{ var(txn.to) -m found }");
}

void
lb_mesh_lines(const struct syn_balancer_frontend *frontend, unsigned number, struct syn_buf *out)
{
    bool tcp = frontend->mode == SYN_BALANCER_TCP;
    bool out_front = frontend->mesh == SYN_BALANCER_MESH_OUT;
    const char *rule = tcp ? "tcp-request content" : "http-request";

    session_lines(out_front, number, out);
    lb_match_lines(frontend, out);
    if (!tcp)
        syn_buf_addf(out, "  %s set-header " SYN_BALANCER_CALLER " %%[var(sess.caller)]\n", rule);
    if (out_front && !tcp) { /* a variable for what is looked up once would cost a request more */
        syn_buf_addf(out,
                     "  use_backend %%[var(sess.key)%s,map_str(routes.map)]\n"
                     "  default_backend " LB_REFUSED "\n",
                     frontend->match_count > 0 ? ",concat(,txn.route,)" : "");
        return;
    }
    look_up(rule, "sess.key", true, out);
    if (!out_front) {
        look_up(rule, "sess.wild", false, out);
        look_up(rule, "sess.any", false, out);
    }
    if (tcp)
        syn_buf_addf(out, "  %s reject unless { var(txn.to) -m found }\n", rule);
    else
        syn_buf_adds(out, "  use_backend " LB_REFUSED " unless { var(txn.to) -m found }\n");
    syn_buf_adds(out, "  use_backend %[var(txn.to)]\n");
}

int
lb_cert_number(const struct lb_model *model, const char *id, unsigned *ret, struct syn_err *err)
{
    for (size_t i = 0; i < model->cert_count; i++) {
        if (!syn_str_eq(model->certs[i].id, id))
            continue;
        *ret = model->certs[i].number;
        return SYN_OK;
    }
    return SYN_FAIL(err, SYN_E_INVALID, "there is no certificate %s", id);
}

int
lb_mesh_bind(const struct lb_model *model, const struct syn_balancer_frontend *frontend,
             struct lb_door *door, struct syn_buf *out, struct syn_err *err)
{
    SYN_BUF(list);
    int rc = SYN_OK;

    if (frontend->mesh == SYN_BALANCER_MESH_OUT)
        return SYN_OK;
    syn_buf_addf(out, " ssl crt-list f%u.list strict-sni verify required ca-file " LB_AUTHORITY,
                 door->number);
    syn_buf_adds(&list, "");
    for (size_t i = 0; rc == SYN_OK && i < frontend->cert_count; i++) {
        unsigned number = 0;

        rc = lb_cert_number(model, frontend->certs[i], &number, err);
        syn_buf_addf(&list, "c%u.pem\n", number);
    }
    return rc < 0 ? rc : syn_buf_take(&list, &door->list, NULL, err);
}

/* --- servers ---------------------------------------------------------------------------------- */

int
lb_peer_words(const struct lb_setup *setup, const struct lb_model *model,
              const struct syn_balancer_backend *backend, const struct syn_balancer_server *server,
              const char *address, char **ret, struct syn_err *err)
{
    const char *name = server->peer_name != NULL ? server->peer_name : backend->peer_name;
    SYN_BUF(out);
    unsigned number = 0;
    int rc = lb_cert_number(model, backend->cert, &number, err);

    if (rc < 0)
        return rc;
    syn_buf_addf(
        &out, " ssl crt c%u.pem ca-file " LB_AUTHORITY " verify required verifyhost %s sni str(%s)",
        number, name, server->peer_sni != NULL ? server->peer_sni : name);
    if (backend->protocol == SYN_BALANCER_H2)
        syn_buf_adds(&out, " alpn h2");
    /* At a port that is named, by a connection alone: a handshake each time would cost both. */
    if (backend->health.check != SYN_BALANCER_UNCHECKED) {
        uint64_t port = 0;

        (void)!syn_parse_u64(strrchr(address, ':') + 1, 1, UINT16_MAX, "", &port, NULL);
        lb_check_words(setup, backend, (unsigned)port, &out);
    }
    return syn_buf_take(&out, ret, NULL, err);
}
