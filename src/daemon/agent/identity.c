#include "identity_priv.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/map.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/balancer.h>
#include <synor/infra/secret_file.h>
#include <synor/infra/tls_cert.h>

#include "agent_priv.h"

#define CA_FILE "ca.pem"
#define SUFFIX  ".pem"

struct identity {
    bool has;                  /* the file is there and whole */
    int64_t from_ms, until_ms; /* by the wall's clock */
    int64_t due_ms;            /* by the other one: a third of its life is over */
    int64_t again_ms;          /* not to be asked for before */
    int64_t pause_ms;          /* 0: the last time was well */
};

struct agt_identities {
    char dir[AGT_DATA_MAX + 32];
    const struct syn_world *world;
    int (*sign)(void *arg, const char *id, const char *csr, json_t **ret, struct syn_err *err);
    void (*renewed)(void *arg, const char *id);
    void *arg;
    struct syn_map *all; /* id: struct identity, owned */
};

const char *
agt_identities_pem(const struct agt_identities *identities, const char *id, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/%.*s" SUFFIX, identities->dir, SYN_ID_MAX, id);
    return out;
}

const char *
agt_identities_ca(const struct agt_identities *identities, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/" CA_FILE, identities->dir);
    return out;
}

static void
say(const struct agt_identities *identities, const char *id)
{
    if (identities->renewed != NULL)
        identities->renewed(identities->arg, id);
}

/* --- time ------------------------------------------------------------------------------------- */

/* A part of a tenth of the span, so that not everything that was made at once is due at once. */
static int64_t
scatter(const struct syn_world *world, int64_t span_ms)
{
    uint16_t random;

    world->ops->random(world->self, &random, sizeof(random));
    return span_ms / 10 * random / UINT16_MAX;
}

/* `age_ms` of its life is over. */
static void
set_due(const struct agt_identities *identities, struct identity *identity, int64_t age_ms)
{
    int64_t third_ms = (identity->until_ms - identity->from_ms) / 3;

    identity->due_ms = syn_mono_ms(identities->world) + SYN_MAX(third_ms - age_ms, 0) -
                       scatter(identities->world, third_ms);
}

/* Does the certificate hold, as far as our clock can tell? */
static bool
holds(const struct agt_identities *identities, const struct identity *identity)
{
    int64_t now_ms = syn_wall_ms(identities->world);

    return identity->has && now_ms >= identity->from_ms && now_ms < identity->until_ms;
}

static void
step_back(const struct agt_identities *identities, struct identity *identity)
{
    identity->pause_ms = identity->pause_ms == 0
                             ? AGT_IDENTITY_RETRY_MIN_MS
                             : SYN_MIN(2 * identity->pause_ms, AGT_IDENTITY_RETRY_MAX_MS);
    identity->again_ms = syn_mono_ms(identities->world) + identity->pause_ms;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Key and certificate belong together; when does the latter hold? */
static int
check_pem(const char *pem, size_t len, struct identity *identity, struct syn_err *err)
{
    struct syn_tls_look look;
    char *whole = NULL;
    int rc = syn_balancer_pem(pem, len, &whole, err);

    if (rc < 0)
        return rc;
    syn_secret_wipe(whole, strlen(whole));
    syn_free(whole);
    rc = syn_tls_cert_look(pem, len, &look, err);
    if (rc < 0)
        return rc;
    identity->has = true;
    identity->from_ms = look.from_ms;
    identity->until_ms = look.until_ms;
    return SYN_OK;
}

/* One that an earlier agent left. */
static void
load(struct agt_identities *identities, const char *id, struct identity *identity)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(pem);

    if (syn_secret_file_read(agt_identities_pem(identities, id, path), &pem, NULL) < 0 ||
        check_pem(pem.data, pem.len, identity, NULL) < 0)
        identity->has = false;
    else
        set_due(identities, identity,
                SYN_MAX(syn_wall_ms(identities->world) - identity->from_ms, 0));
    if (pem.len > 0)
        syn_secret_wipe(pem.data, pem.len);
}

/* The authority's file is this from now on. */
static int
take_ca(struct agt_identities *identities, const char *ca, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    struct syn_tls_look look;
    SYN_BUF(before);
    int rc = syn_tls_cert_look(ca, strlen(ca), &look, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "the mesh's authority");
    (void)agt_identities_ca(identities, path);
    if (syn_secret_file_read(path, &before, NULL) == SYN_OK &&
        syn_str_eq(syn_buf_text(&before), ca))
        return SYN_OK;
    rc = agt_write_file(path, ca, strlen(ca), err);
    if (rc == SYN_OK)
        say(identities, NULL);
    return rc;
}

/* --- renewing --------------------------------------------------------------------------------- */

static int
renew_with(struct agt_identities *identities, const char *id, struct identity *identity,
           struct syn_buf *pem, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(csr);
    SYN_JSON(answer);
    int rc = syn_tls_request_create(NULL, 0, pem, &csr, err);

    if (rc == SYN_OK)
        rc = identities->sign(identities->arg, id, syn_buf_text(&csr), &answer, err);
    if (rc < 0)
        return rc;
    syn_buf_adds(pem, syn_json_str(answer, "certificate", ""));
    rc = syn_buf_ok(pem, err);
    if (rc == SYN_OK)
        rc = check_pem(pem->data, pem->len, identity, err);
    if (rc == SYN_OK)
        rc = take_ca(identities, syn_json_str(answer, "ca", ""), err);
    return rc < 0
               ? rc
               : agt_write_file(agt_identities_pem(identities, id, path), pem->data, pem->len, err);
}

/* Get a new one. The one that there is stays until then, and when that fails. */
static int
renew(struct agt_identities *identities, const char *id, struct identity *identity,
      struct syn_err *err)
{
    struct identity fresh = *identity;
    SYN_BUF(pem);
    int rc = renew_with(identities, id, &fresh, &pem, err);

    if (pem.len > 0)
        syn_secret_wipe(pem.data, pem.len);
    if (rc < 0) {
        bool first = identity->pause_ms == 0;

        step_back(identities, identity);
        rc = syn_err_wrap(err, rc, "the identity of %s", id);
        if (first)
            syn_log_err(SYN_LOG_WARN, "agent.identity-not-renewed", err);
        return rc;
    }
    *identity = fresh;
    set_due(identities, identity, 0);
    if (holds(identities, identity))
        identity->pause_ms = 0;
    else
        step_back(identities, identity); /* our clock is not the server's: no use in asking much */
    say(identities, id);
    return SYN_OK;
}

static bool
is_due(const struct agt_identities *identities, const struct identity *identity)
{
    int64_t now_ms = syn_mono_ms(identities->world);

    if (identity->pause_ms > 0 && now_ms < identity->again_ms)
        return false;
    return now_ms >= identity->due_ms || !holds(identities, identity);
}

int
agt_identities_ensure(struct agt_identities *identities, const char *id, struct syn_err *err)
{
    struct identity *identity = syn_map_find(identities->all, id);
    int rc;

    assert(syn_name_ok(id));
    if (identity == NULL) {
        identity = syn_calloc(1, sizeof(*identity));
        if (identity == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an identity");
        load(identities, id, identity);
        rc = syn_map_put_take(identities->all, id, identity, err);
        if (rc < 0)
            return rc;
    }
    if (identity->has)
        return SYN_OK;
    if (!is_due(identities, identity))
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s has no identity yet; it is asked for again",
                        id);
    return renew(identities, id, identity, err);
}

void
agt_identities_drop(struct agt_identities *identities, const char *id)
{
    char path[AGT_PATH_MAX];

    if (syn_map_remove(identities->all, id))
        (void)unlink(agt_identities_pem(identities, id, path));
}

void
agt_identities_urge(struct agt_identities *identities, const char *id)
{
    struct identity *identity = syn_map_find(identities->all, id);

    if (identity != NULL && !identity->has)
        identity->pause_ms = 0;
}

void
agt_identities_keep(struct agt_identities *identities, bool (*wanted)(void *arg, const char *id),
                    void *arg)
{
    size_t cursor = 0;
    const char *id;

    while (syn_map_next(identities->all, &cursor, &id, NULL)) {
        char name[SYN_ID_MAX];

        if (wanted(arg, id))
            continue;
        (void)syn_str_copy(name, sizeof(name), id); /* `id` goes with it */
        agt_identities_drop(identities, name);
    }
}

void
agt_identities_sweep(struct agt_identities *identities)
{
    DIR *dir = opendir(identities->dir);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        size_t len = strlen(entry->d_name);
        char id[SYN_ID_MAX];

        if (len <= strlen(SUFFIX) || syn_str_eq(entry->d_name, CA_FILE))
            continue;
        (void)snprintf(id, sizeof(id), "%.*s", (int)SYN_MIN(len - strlen(SUFFIX), sizeof(id) - 1),
                       entry->d_name);
        if (entry->d_name[0] != '.' && syn_map_find(identities->all, id) == NULL)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

int64_t
agt_identities_turn(struct agt_identities *identities)
{
    int64_t pause_ms = AGT_IDENTITY_LOOK_MS;
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(identities->all, &cursor, &id, &value)) {
        struct identity *identity = value;
        struct syn_err err = {0};
        int64_t next_ms;

        if (is_due(identities, identity))
            (void)!renew(identities, id, identity, &err);
        next_ms = holds(identities, identity) ? identity->due_ms : 0;
        if (identity->pause_ms > 0)
            next_ms = SYN_MAX(next_ms, identity->again_ms);
        pause_ms = SYN_MIN(pause_ms, next_ms - syn_mono_ms(identities->world));
    }
    return SYN_MAX(pause_ms, 1);
}

/* --- beginning and end ------------------------------------------------------------------------ */

int
agt_identities_open(const struct agt_identities_options *options, struct agt_identities **ret,
                    struct syn_err *err)
{
    struct agt_identities *identities;
    int rc;

    if (mkdir(options->dir, 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", options->dir);
    identities = syn_calloc(1, sizeof(*identities));
    if (identities == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for identities");
    (void)syn_str_copy(identities->dir, sizeof(identities->dir), options->dir);
    identities->world = options->world;
    identities->sign = options->sign;
    identities->renewed = options->renewed;
    identities->arg = options->arg;
    rc = syn_map_new(syn_free, &identities->all, err);
    if (rc < 0) {
        syn_free(identities);
        return rc;
    }
    *ret = identities;
    return SYN_OK;
}

struct agt_identities *
agt_identities_close(struct agt_identities *identities)
{
    if (identities == NULL)
        return NULL;
    identities->all = syn_map_free(identities->all);
    syn_free(identities);
    return NULL;
}

int
agt_identity_sign(void *signer, const char *id, const char *csr, json_t **ret, struct syn_err *err)
{
    const struct agt_identity_signer *by = signer;
    struct syn_call call = {.method = "POST"};
    char path[128];
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s}",
                           syn_str_starts(id, "svc-") ? "service" : "account", id, "csr", csr);

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/identities", by->agent->node_id);
    call.path = path;
    call.body = body;
    return rc < 0 ? rc : syn_client_call(by->client, &call, ret, err);
}
