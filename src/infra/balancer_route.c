/* Requests of a mesh that go another way than the rest, or two ways, and how much may be tried
 * again.
 *
 * Which requests: rules of the front, which are the same for all callers. Where they lead: the map
 * of routes, by caller ("f1|web.a.mesh|10.127.0.5:80/r2 b9"), so that it changes without a reload.
 *
 * A request that is sent to two backends is copied by HAProxy's own client (Lua), to a front of
 * this process that nobody else may speak to: it asks for a secret. */
#include "balancer_priv.h"

#include <ctype.h>
#include <string.h>

#include <synor/base/str.h>

#define TOKEN   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#define WINDOW  10 /* seconds, of what is tried again */
#define RETRIES 3  /* where nothing is said */

/* --- which requests --------------------------------------------------------------------------- */

/* What stands between single quotes. */
static bool
is_quotable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~' || strchr("'\"\\", *text) != NULL)
            return false;
    return true;
}

static int
check_header(const struct syn_balancer_header *header, struct syn_err *err)
{
    int rc = lb_check_text("a header's name", header->name, SYN_BALANCER_VALUE_MAX, TOKEN, err);

    if (rc < 0 || header->how == SYN_BALANCER_PRESENT)
        return rc;
    if (header->value == NULL || header->value[0] == '\0' ||
        strlen(header->value) > SYN_BALANCER_VALUE_MAX || !is_quotable(header->value))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "what a header must be takes 1 to %d printable characters, without quotes "
                        "and backslashes",
                        SYN_BALANCER_VALUE_MAX);
    return SYN_OK;
}

static int
check_match(const struct syn_balancer_match *match, struct syn_err *err)
{
    char address[LB_ADDRESS_SIZE];
    int rc = lb_address(match->callee, address, err);

    if (rc == SYN_OK && (match->route == 0 || match->method_count > SYN_BALANCER_METHODS_MAX ||
                         match->header_count > SYN_BALANCER_METHODS_MAX))
        rc = SYN_FAIL(err, SYN_E_INVALID, "a match has a number, and at most %d methods or headers",
                      SYN_BALANCER_METHODS_MAX);
    if (rc == SYN_OK && match->path != NULL)
        rc = lb_check_path(match->path, err);
    for (size_t i = 0; rc == SYN_OK && i < match->method_count; i++)
        rc = lb_check_text("a method", match->methods[i], 16, TOKEN, err);
    for (size_t i = 0; rc == SYN_OK && i < match->header_count; i++)
        rc = check_header(&match->headers[i], err);
    return rc;
}

int
lb_check_matches(const struct syn_balancer_frontend *frontend, struct syn_err *err)
{
    int rc = SYN_OK;

    if (frontend->match_count > 0 &&
        (frontend->mesh != SYN_BALANCER_MESH_OUT || frontend->mode != SYN_BALANCER_HTTP ||
         frontend->match_count > SYN_BALANCER_MATCHES_MAX))
        return SYN_FAIL(err, SYN_E_INVALID, "matches, %d at most, are of a front OUT for HTTP",
                        SYN_BALANCER_MATCHES_MAX);
    for (size_t i = 0; rc == SYN_OK && i < frontend->match_count; i++)
        rc = check_match(&frontend->matches[i], err);
    return rc < 0 && frontend->match_count > 0 ? syn_err_wrap(err, rc, "a match") : rc;
}

static void
match_line(const struct syn_balancer_match *match, bool first, struct syn_buf *out)
{
    static const char *const how[] = {[SYN_BALANCER_PRESENT] = "found",
                                      [SYN_BALANCER_EXACT] = "str",
                                      [SYN_BALANCER_PREFIX] = "beg"};
    char address[LB_ADDRESS_SIZE];
    bool six;

    if (lb_address(match->callee, address, NULL) < 0) /* it was checked */
        return;
    six = address[0] == '['; /* HAProxy puts no brackets around it */
    syn_buf_addf(out,
                 "  http-request set-var(txn.route) str(/r%u) if { var(sess.key) -m end |%.*s%s }",
                 match->route, six ? (int)strcspn(address + 1, "]") : (int)strlen(address),
                 address + six, six ? strrchr(address, ':') : "");
    if (!first)
        syn_buf_adds(out, " !{ var(txn.route) -m found }");
    if (match->path != NULL)
        syn_buf_addf(out, " { path,concat(/) -m beg -- '%s%s' }", match->path,
                     syn_str_ends(match->path, "/") ? "" : "/");
    if (match->method_count > 0) {
        syn_buf_adds(out, " { method");
        for (size_t i = 0; i < match->method_count; i++)
            syn_buf_addf(out, " %s", match->methods[i]);
        syn_buf_adds(out, " }");
    }
    for (size_t i = 0; i < match->header_count; i++) {
        const struct syn_balancer_header *header = &match->headers[i];

        syn_buf_addf(out, " { req.fhdr(%s) -m %s", header->name, how[header->how]);
        if (header->how != SYN_BALANCER_PRESENT)
            syn_buf_addf(out, " -- '%s'", header->value);
        syn_buf_adds(out, " }");
    }
    syn_buf_adds(out, "\n");
}

void
lb_match_lines(const struct syn_balancer_frontend *frontend, struct syn_buf *out)
{
    for (size_t i = 0; i < frontend->match_count; i++)
        match_line(&frontend->matches[i], i == 0, out);
}

/* --- two ways --------------------------------------------------------------------------------- */

void
lb_mirror_key(unsigned slot, char ret[LB_CONTROL_SIZE])
{
    (void)snprintf(ret, LB_CONTROL_SIZE, "m|b%u", slot);
}

/* What has a body is sent on when all of that is there, and only if it is known to be short. */
void
lb_mirror_lines(struct syn_buf *out)
{
    syn_buf_addf(out,
                 "  http-request wait-for-body time 1s"
                 " if { req.hdr_val(content-length) 1:%d } !{ req.hdr(upgrade) -m found }\n"
                 "  http-request lua.mirror if !{ req.hdr(transfer-encoding) -m found }"
                 " !{ req.hdr(upgrade) -m found } !{ req.hdr_val(content-length) gt %d }\n",
                 SYN_BALANCER_MIRROR_BODY_MAX, SYN_BALANCER_MIRROR_BODY_MAX);
}

static bool
mirrors(const struct lb_setup *setup, const struct lb_model *model)
{
    bool any = false;

    for (size_t i = 0; i < model->slot_count && !any; i++)
        any = strstr(model->slots[i].shape, "lua.mirror") != NULL;
    return any && setup->lua;
}

/* An address of the machine's abstract ones, that no other balancer and no other process has. */
static void
address_add(const struct lb_setup *setup, const char *control, struct syn_buf *out)
{
    uint8_t digest[SYN_SHA256_LEN];
    char name[17];

    syn_sha256(setup->cookie_key, strlen(setup->cookie_key), digest);
    syn_hex_encode(digest, (sizeof(name) - 1) / 2, name);
    syn_buf_addf(out, "abns@synor-%s-%s", name, control);
}

void
lb_mirror_global(const struct lb_setup *setup, const struct lb_model *model, const char *control,
                 struct syn_buf *out)
{
    if (!mirrors(setup, model))
        return;
    syn_buf_adds(out, "  set-var proc.mirror str(");
    address_add(setup, control, out);
    syn_buf_addf(out, ")\n  set-var proc.mirror_key str(%s)\n", setup->cookie_key);
}

void
lb_mirror_front(const struct lb_setup *setup, const struct lb_model *model, const char *control,
                struct syn_buf *out)
{
    if (!mirrors(setup, model))
        return;
    syn_buf_adds(out, "frontend mirror\n  mode http\n  timeout client 60000ms\n  bind ");
    address_add(setup, control, out);
    syn_buf_addf(out,
                 "\n  http-request deny unless"
                 " { req.hdr(" SYN_BALANCER_MIRROR "),word(1,/) -m str %s }\n"
                 "  http-request set-var(txn.to) req.hdr(" SYN_BALANCER_MIRROR "),word(2,/)\n"
                 "  http-request set-header " SYN_BALANCER_MIRROR " 1\n"
                 "  use_backend %%[var(txn.to)]\n",
                 setup->cookie_key);
}

/* --- trying again ----------------------------------------------------------------------------- */

/* How often a request was tried again is only known to HAProxy when it is answered, so one that is
 * under way may be tried again beyond the limit; who comes then is not. */
void
lb_retry_lines(const struct syn_balancer_backend *backend, struct syn_buf *out)
{
    int tries = backend->retries == 0 ? RETRIES : backend->retries;
    int percent = SYN_MAX(backend->retry_percent, 0);

    if (backend->retries < 0 || backend->retry_percent == 0)
        return;
    syn_buf_addf(out,
                 "  http-request set-var(txn.again) sc0_http_req_rate,mul(%d),div(100),add(%d)"
                 " if { sc0_gpc1_rate ge %d }\n"
                 "  http-request disable-l7-retry if { var(txn.again) -m found }"
                 " { sc0_gpc1_rate,sub(txn.again) ge 0 }\n",
                 percent, SYN_BALANCER_RETRY_FLOOR * WINDOW, SYN_BALANCER_RETRY_FLOOR * WINDOW);
    syn_buf_adds(out, "  http-after-response set-var-fmt(txn.tries) \"%rc\"\n"
                      "  http-after-response allow if { var(txn.tries) -m str 0 }\n");
    for (int i = 1; i <= tries; i++)
        syn_buf_addf(out,
                     "  http-after-response set-var(txn.again) sc0_inc_gpc1"
                     " if { var(txn.tries),ltrim(+) -m int ge %d }\n",
                     i);
}
