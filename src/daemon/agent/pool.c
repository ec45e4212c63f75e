/* Warm pools. A function that nobody called for a while starts cold: a sandbox, an interpreter, its
 * own code. The first two are the same for all functions of a language, and can be there before
 * anybody knows whose call comes next:
 *
 *     sandbox, interpreter, host program --> waits --taken--> code, environment, limits, account
 *
 * What waits belongs to nobody: it has seen no code, no environment and no account, and its network
 * is a bridge of its own. Who takes one keeps it to its end: it never comes back, so nothing of one
 * account meets another. They wait in the folder of sandboxes made ahead (spare.c), are found or
 * swept there by the next agent, and are the platform's risk: nothing is billed before it is taken,
 * and few wait, by a rule of when they were taken lately (orchestration/warm_pool.h).
 *
 * A kind is a command line with the size of its memory, since the sandbox tells its programs how
 * much that is, and V8 sizes its heap by it. */
#include "pool_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"
#include "spare_priv.h"
#include "start_priv.h"
#include "wish_priv.h"

#define WAITS_ENV "SYNOR_WAITS=1"
#define LOAD_MS   120000 /* as long as an instance may take to be ready */
#define LOOK_MS   20
#define RETRY_MS  (INT64_C(10) * 60 * 1000) /* what failed is not tried again for so long */
#define EACH      (INT64_C(64) << 20)       /* what one holds, about */
#define PART      16                        /* of the available memory that all of them may hold */
#define MIB       (INT64_C(1) << 20)
#define OWN       "/synor/"

/* --- kinds ------------------------------------------------------------------------------------ */

/* What an interpreter, or its libraries, read of the environment when they start. */
static bool
is_read_early(const char *pair)
{
    static const char *const begins[] = {"PYTHON", "NODE_",    "LD_",      "LC_",  "LANG",
                                         "TZ=",    "OPENSSL_", "MALLOC_",  "UV_",  "GLIBC_",
                                         "HOME=",  "TMPDIR=",  "LOCPATH=", "PATH="};

    for (size_t i = 0; i < SYN_LEN(begins); i++)
        if (syn_str_starts(pair, begins[i]))
            return true;
    return false;
}

/* A host program that waits when it is told to: the platform's own. */
static bool
is_host(const struct syn_bind *bind)
{
    return syn_str_eq(bind->container, OWN "host.py") ||
           syn_str_eq(bind->container, OWN "host.mjs");
}

static bool
take_words(const struct agt_wish *wish, struct agt_pool_kind *kind)
{
    for (size_t i = 0; wish->spec.argv[i] != NULL; i++) {
        if (i == AGT_POOL_WORDS ||
            !syn_str_copy(kind->words[i], sizeof(kind->words[i]), wish->spec.argv[i]))
            return false;
        kind->words_count = i + 1;
    }
    return kind->words_count > 0;
}

/* What is not the platform's comes late, below /synor. */
static bool
take_host(const struct agt_wish *wish, struct agt_pool_kind *kind)
{
    for (size_t i = 0; i < wish->spec.binds_count; i++) {
        const struct syn_bind *bind = &wish->spec.binds[i];

        if (!bind->ro || !syn_str_starts(bind->container, OWN))
            return false;
        if (is_host(bind) && (!syn_str_copy(kind->host, sizeof(kind->host), bind->host) ||
                              !syn_str_copy(kind->inside, sizeof(kind->inside), bind->container)))
            return false;
    }
    return kind->host[0] != '\0';
}

static bool
set_key(struct agt_pool_kind *kind)
{
    struct syn_cid cid;
    SYN_BUF(text);

    syn_buf_addf(&text, "%u %u %lld %lld %d %s %s\n", kind->uid, kind->gid,
                 (long long)kind->memory_bytes, (long long)kind->scratch_bytes, kind->dns_gateway,
                 kind->made_by->sandbox, kind->cwd);
    for (size_t i = 0; i < kind->words_count; i++)
        syn_buf_addf(&text, "%s\n", kind->words[i]);
    syn_buf_addf(&text, "%s %s\n", kind->host, kind->inside);
    if (syn_buf_ok(&text, NULL) < 0)
        return false;
    syn_cid_of(SYN_CODEC_RAW, text.data, text.len, &cid);
    (void)syn_cid_format(&cid, kind->key);
    return true;
}

bool
agt_pool_kind_of(const struct agt_wish *wish, const struct syn_runtime_info *made_by,
                 struct agt_pool_kind *ret)
{
    const struct syn_instance_spec *spec = &wish->spec;

    *ret = (struct agt_pool_kind){.uid = spec->uid,
                                  .gid = spec->gid,
                                  .memory_bytes = spec->memory_bytes,
                                  .scratch_bytes = spec->scratch_bytes,
                                  .dns_gateway = spec->dns_gateway,
                                  .made_by = made_by};
    if (!syn_str_eq(made_by->sandbox, "gvisor") || !syn_str_eq(made_by->driver, "native"))
        return false;
    if (spec->rootfs != NULL || wish->gpus != NULL || spec->volumes_count > 0 ||
        spec->secrets_count > 0 || spec->tmpfs_count > 0 || spec->empties_count > 0 ||
        spec->hosts_count > 0 || spec->hostname != NULL || spec->network != SYN_NETWORK_ACCOUNT)
        return false;
    for (size_t i = 0; spec->env[i] != NULL; i++)
        if (is_read_early(spec->env[i]))
            return false;
    return syn_str_copy(ret->cwd, sizeof(ret->cwd), spec->cwd != NULL ? spec->cwd : "") &&
           take_words(wish, ret) && take_host(wish, ret) && set_key(ret);
}

size_t
agt_pool_room(int64_t available_bytes)
{
    return (size_t)SYN_MIN(SYN_MAX(available_bytes, (int64_t)0) / PART / EACH,
                           (int64_t)AGT_POOL_MAX);
}

/* --- under the lock --------------------------------------------------------------------------- */

static struct agt_pool_kind *
find_kind(struct agt_pool *pool, const char *key)
{
    for (size_t i = 0; i < pool->kinds_count; i++)
        if (syn_str_eq(pool->kinds[i].key, key))
            return &pool->kinds[i];
    return NULL;
}

static int64_t
last_ms(const struct agt_pool_kind *kind)
{
    const struct syn_warm_pool *asked = &kind->asked;

    return asked->asked == 0 ? 0 : asked->asked_ms[(asked->asked - 1) % SYN_WARM_POOL_ASKED];
}

/* A new kind; the one that was asked for longest ago makes room for it. */
static struct agt_pool_kind *
add_kind(struct agt_pool *pool, const struct agt_pool_kind *kind)
{
    struct agt_pool_kind *slot = &pool->kinds[0];

    if (pool->kinds_count < AGT_POOL_KINDS) {
        slot = &pool->kinds[pool->kinds_count++];
    } else {
        for (size_t i = 1; i < AGT_POOL_KINDS; i++)
            if (last_ms(&pool->kinds[i]) < last_ms(slot))
                slot = &pool->kinds[i];
    }
    *slot = *kind;
    return slot;
}

static size_t
waiting(const struct agt_pool *pool, const char *key)
{
    size_t count = 0;

    for (size_t i = 0; i < pool->spares_count; i++)
        count += syn_str_eq(pool->spares[i].key, key);
    return count;
}

static void
drop_spare(struct agt_pool *pool, size_t index, struct agt_spare *ret)
{
    *ret = pool->spares[index];
    pool->spares[index] = pool->spares[--pool->spares_count];
}

static bool
is_dead(const struct agt_spare *spare)
{
    struct syn_instance_status status = {0};

    return spare->runtime.ops->poll(spare->runtime.self, spare->handle, &status, NULL) < 0 ||
           status.state != SYN_INSTANCE_PREPARED;
}

/* One too many, or that has ended. */
static bool
take_surplus(struct syn_agent *agent, size_t room, struct agt_spare *ret)
{
    struct agt_pool *pool = &agent->pool;
    int64_t now_ms = syn_mono_ms(agent->world);

    for (size_t i = 0; i < pool->spares_count; i++) {
        const struct agt_spare *spare = &pool->spares[i];
        const struct agt_pool_kind *kind = find_kind(pool, spare->key);

        if (kind == NULL || is_dead(spare) || pool->spares_count > room ||
            waiting(pool, spare->key) > syn_warm_pool_wanted(&kind->asked, now_ms, AGT_POOL_MAX)) {
            drop_spare(pool, i, ret);
            return true;
        }
    }
    return false;
}

/* Those that instances have taken. */
static size_t
taken(struct syn_agent *agent)
{
    size_t cursor = 0, count = 0;
    void *value;

    while (syn_map_next(agent->instances, &cursor, NULL, &value))
        count += ((const struct agt_instance *)value)->run[0] != '\0';
    return count;
}

/* The kind that lacks one, and was asked for last. */
static const struct agt_pool_kind *
lacking(struct syn_agent *agent, size_t room)
{
    const struct agt_pool *pool = &agent->pool;
    const struct agt_pool_kind *best = NULL;
    int64_t now_ms = syn_mono_ms(agent->world);

    if (pool->spares_count >= room || taken(agent) >= AGT_POOL_TAKEN)
        return NULL;
    for (size_t i = 0; i < pool->kinds_count; i++) {
        const struct agt_pool_kind *kind = &pool->kinds[i];

        if (now_ms >= kind->not_before_ms && (best == NULL || last_ms(kind) > last_ms(best)) &&
            waiting(pool, kind->key) < syn_warm_pool_wanted(&kind->asked, now_ms, AGT_POOL_MAX))
            best = kind;
    }
    return best;
}

/* --- making ----------------------------------------------------------------------------------- */

/* Until the program says that it waits. */
static int
await_word(struct syn_agent *agent, const struct agt_spare *spare, struct syn_err *err)
{
    const struct syn_instance_paths *paths = spare->runtime.ops->paths(spare->handle);
    int64_t until_ms = syn_mono_ms(agent->world) + LOAD_MS;
    char why[AGT_SAVED_WORD_MAX] = "";

    while (!agt_saved_waits(paths, why)) {
        if (is_dead(spare))
            return SYN_FAIL(err, SYN_E_INVALID, "it ended instead of waiting");
        if (syn_mono_ms(agent->world) > until_ms)
            return SYN_FAIL(err, SYN_E_TIMEOUT, "it did not start within %d s", LOAD_MS / 1000);
        if (!agt_sleep(agent, NULL, LOOK_MS))
            return SYN_FAIL(err, SYN_E_CANCELED, "the agent stops");
    }
    return why[0] == '\0' ? SYN_OK : SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s", why);
}

static int
make(struct syn_agent *agent, const struct agt_pool_kind *kind, struct agt_spare *spare,
     struct syn_err *err)
{
    static const char *const env[] = {WAITS_ENV, NULL};
    const char *words[AGT_POOL_WORDS + 1] = {NULL};
    const struct syn_bind host = {kind->host, kind->inside, true};
    struct syn_instance_spec spec = {.isolation = kind->made_by->sandbox,
                                     .argv = words,
                                     .env = env,
                                     .cwd = kind->cwd[0] != '\0' ? kind->cwd : NULL,
                                     .uid = kind->uid,
                                     .gid = kind->gid,
                                     .binds = &host,
                                     .binds_count = 1,
                                     .scratch_bytes = kind->scratch_bytes,
                                     .memory_bytes = kind->memory_bytes,
                                     .network = SYN_NETWORK_ACCOUNT,
                                     .dns = agent->dns,
                                     .dns_gateway = kind->dns_gateway,
                                     .ahead = true};
    char dir[AGT_PATH_MAX];
    int rc;

    for (size_t i = 0; i < kind->words_count; i++)
        words[i] = kind->words[i];
    agt_spare_name(agent, spare, dir, &spec);
    spec.net.account = spare->id; /* nobody's */
    spec.net.guarded = true;
    rc = spare->runtime.ops->prepare(spare->runtime.self, &spec, &spare->handle, err);
    if (rc == SYN_OK)
        rc = spare->runtime.ops->create(spare->runtime.self, spare->handle, err);
    if (rc == SYN_OK)
        rc = await_word(agent, spare, err);
    if (rc == SYN_OK)
        agt_spare_freeze(spare);
    return rc;
}

/* False when it could not be made, which is not tried again for a while. */
static bool
make_one(struct syn_agent *agent, const struct agt_pool_kind *kind)
{
    int64_t begun_ms = syn_mono_ms(agent->world);
    struct agt_spare spare = {.runtime = kind->runtime};
    struct agt_pool_kind *known;
    struct syn_err err = {0};
    bool kept = false;
    int rc = make(agent, kind, &spare, &err);

    if (rc < 0 && rc != SYN_E_CANCELED)
        syn_log_err(SYN_LOG_WARN, "pool.not-made", &err);
    (void)syn_str_copy(spare.key, sizeof(spare.key), kind->key);
    spare.made_ms = syn_mono_ms(agent->world);
    (void)pthread_mutex_lock(&agent->lock);
    known = find_kind(&agent->pool, kind->key);
    if (known != NULL && rc == SYN_OK)
        syn_warm_pool_made(&known->asked, spare.made_ms - begun_ms);
    else if (known != NULL)
        known->not_before_ms = spare.made_ms + RETRY_MS;
    if (known != NULL && rc == SYN_OK && !atomic_load(&agent->stop)) {
        agent->pool.spares[agent->pool.spares_count++] = spare;
        kept = true;
    }
    (void)pthread_mutex_unlock(&agent->lock);
    if (!kept)
        agt_spare_destroy(agent, &spare);
    return kept;
}

/* One thread at a time, so that nobody else adds to the pool. */
static void
pool_main(void *arg)
{
    struct syn_agent *agent = arg;
    SYN_SCOPED(syn_free_scope) struct agt_pool_kind *kind = syn_calloc(1, sizeof(*kind));
    const size_t room = agt_pool_room(syn_mem_of_machine("MemAvailable"));
    bool more = kind != NULL;

    while (more && !atomic_load(&agent->stop)) {
        const struct agt_pool_kind *lacks = NULL;
        struct agt_spare gone;
        bool surplus;

        (void)pthread_mutex_lock(&agent->lock);
        surplus = take_surplus(agent, room, &gone);
        if (!surplus)
            lacks = lacking(agent, room);
        if (lacks != NULL)
            *kind = *lacks;
        (void)pthread_mutex_unlock(&agent->lock);
        if (surplus)
            agt_spare_destroy(agent, &gone);
        more = surplus || (lacks != NULL && make_one(agent, kind));
    }
    (void)pthread_mutex_lock(&agent->lock);
    agent->pool.busy = false;
    (void)pthread_mutex_unlock(&agent->lock);
}

void
agt_pool_look(struct syn_agent *agent)
{
    struct syn_err err = {0};

    (void)pthread_mutex_lock(&agent->lock);
    if (agent->pool.kinds_count > 0 && agent->watch != NULL && !agent->pool.busy &&
        !atomic_load(&agent->stop)) {
        agent->pool.busy = agt_watch_beside(agent, pool_main, agent, &err) == SYN_OK;
        if (!agent->pool.busy)
            syn_log_err(SYN_LOG_WARN, "pool.not-seen-to", &err);
    }
    (void)pthread_mutex_unlock(&agent->lock);
}

void
agt_pool_end(struct syn_agent *agent)
{
    while (agent->pool.spares_count > 0) {
        struct agt_spare gone;

        drop_spare(&agent->pool, 0, &gone);
        agt_spare_destroy(agent, &gone);
    }
}

/* One more that waits, by what runs it; no longer under the name of a kind that is forgotten. */
static int
count_one(const struct agt_pool *pool, const struct agt_spare *spare, json_t *counts,
          struct syn_err *err)
{
    for (size_t i = 0; i < pool->kinds_count; i++) {
        const char *name = pool->kinds[i].words[0];

        if (syn_str_eq(pool->kinds[i].key, spare->key))
            return syn_json_set_i64(counts, name, syn_json_i64(counts, name, 0) + 1, err);
    }
    return SYN_OK;
}

int
agt_pool_report(struct syn_agent *agent, json_t *report, struct syn_err *err)
{
    const struct agt_pool *pool = &agent->pool;
    json_t *row = NULL, *counts;
    int64_t bytes = 0;
    int rc = syn_json_pack(&row, err, "{s:{}}", "waiting");

    if (rc < 0)
        return rc;
    counts = json_object_get(row, "waiting");
    (void)pthread_mutex_lock(&agent->lock);
    for (size_t i = 0; rc == SYN_OK && i < pool->spares_count; i++) {
        const struct agt_spare *spare = &pool->spares[i];

        rc = count_one(pool, spare, counts, err);
        if (spare->runtime.ops->held_bytes != NULL)
            bytes += spare->runtime.ops->held_bytes(spare->runtime.self, spare->handle);
    }
    (void)pthread_mutex_unlock(&agent->lock);
    /* In whole MiB: a page more or less is no news to a server that hears this every few seconds.
     */
    if (rc == SYN_OK)
        rc = syn_json_set_i64(row, "bytes", (bytes + MIB - 1) / MIB * MIB, err);
    if (rc < 0) {
        json_decref(row);
        return rc;
    }
    return syn_json_set_take(report, "pool", row, err);
}

/* --- taking ----------------------------------------------------------------------------------- */

/* The one of `key` that waits longest. */
static bool
pick(struct syn_agent *agent, const char *key, struct agt_spare *ret)
{
    struct agt_pool *pool = &agent->pool;
    size_t best = AGT_POOL_MAX;

    for (size_t i = 0; i < pool->spares_count; i++)
        if (syn_str_eq(pool->spares[i].key, key) &&
            (best == AGT_POOL_MAX || pool->spares[i].made_ms < pool->spares[best].made_ms))
            best = i;
    if (best < AGT_POOL_MAX)
        drop_spare(pool, best, ret);
    return best < AGT_POOL_MAX;
}

/* Somebody wants one of this kind: is there one? */
static bool
ask(struct agt_instance *instance, const struct agt_pool_kind *kind, struct agt_spare *ret)
{
    struct syn_agent *agent = instance->agent;
    struct agt_pool_kind *known;
    bool found;

    (void)pthread_mutex_lock(&agent->lock);
    known = find_kind(&agent->pool, kind->key);
    if (known == NULL)
        known = add_kind(&agent->pool, kind);
    syn_warm_pool_asked(&known->asked, syn_mono_ms(agent->world));
    found = pick(agent, kind->key, ret);
    (void)pthread_mutex_unlock(&agent->lock);
    return found;
}

/* Of `wish`, what the one that waits does not have yet. Owner: binds[] is the caller's. */
static struct syn_instance_spec
late_spec(const struct agt_wish *wish, const struct syn_buf *word, struct syn_bind *binds)
{
    struct syn_instance_spec spec = wish->spec;

    spec.binds = binds;
    spec.binds_count = 0;
    for (size_t i = 0; i < wish->spec.binds_count; i++)
        if (!is_host(&wish->spec.binds[i]))
            binds[spec.binds_count++] = wish->spec.binds[i];
    spec.resume = word->data;
    spec.resume_len = word->len;
    return spec;
}

/* Returns 0; AGT_START_CANNOT, and it is gone. */
static int
go_on(struct agt_instance *instance, const json_t *doc, const struct agt_wish *wish,
      struct syn_err *err)
{
    const struct syn_runtime *runtime = &instance->runtime;
    struct syn_bind binds[AGT_WISH_BINDS_MAX];
    struct syn_instance_spec spec;
    struct syn_err local = {0};
    SYN_BUF(word);
    int rc = agt_saved_word(wish, &word, &local);

    spec = late_spec(wish, &word, binds);
    if (rc == SYN_OK)
        rc = agt_instance_enter(instance, doc, &local);
    agt_names_await(instance);
    if (rc == SYN_OK)
        rc = runtime->ops->go_on(runtime->self, instance->handle, &spec, &local);
    if (rc == SYN_OK)
        return rc;
    syn_log_err(SYN_LOG_WARN, "pool.did-not-go-on", &local);
    rc = agt_saved_clear(instance, err);
    agt_spare_forget(instance);
    return rc;
}

int
agt_pool_start(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
               struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct agt_pool_kind *kind = syn_calloc(1, sizeof(*kind));
    struct agt_spare spare;
    int rc;

    if (kind == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a start");
    if (instance->agent->nothing_ahead || instance->runtime.ops->create == NULL ||
        !agt_pool_kind_of(wish, instance->made_by, kind))
        return AGT_START_CANNOT;
    kind->runtime = instance->runtime;
    if (!ask(instance, kind, &spare) || !agt_spare_give(instance, &spare))
        return AGT_START_CANNOT;
    rc = go_on(instance, doc, wish, err);
    if (rc != SYN_OK)
        return rc;
    agt_start_way(instance, AGT_WAY_POOL);
    agt_start_lap(instance, AGT_STAGE_CREATE);
    return SYN_OK;
}
