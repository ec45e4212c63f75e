/* The mesh's thread: news of services and callers are its letters, certificates it renews itself,
 * and whatever changes leads to a whole new table. Nothing is set before everything has been told
 * once: until then the HAProxy and the rules of an earlier agent serve on. */
#include "mesh_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#include "agent_priv.h"
#include "identity_priv.h"
#include "names_priv.h"

#define RETRY_MS  1000
#define SEARCH_MS 10000 /* for a HAProxy that is missing */
#define HELD_MS   200   /* between two looks at who waits for what sleeps */
#define HELD_MAX  512   /* services, as the server takes them */
#define BREAK_MS  1000
#define THREADS   2 /* of HAProxy: the node's work is that of its instances */

struct letter {
    enum kind { PUT, REMOVE, KEEP, ENTER, LEAVE, BEGIN } kind;
    json_t *doc;                    /* PUT: a service; KEEP: an object with ids as keys */
    struct agt_mesh_caller *caller; /* ENTER */
    char id[SYN_ID_MAX];            /* REMOVE, LEAVE */
    struct letter *next;
};

struct agt_mesh {
    struct syn_agent *agent;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* Under `lock`: */
    struct letter *first, **last;
    struct syn_balancer *balancer; /* NULL: there is none yet; stays once it is there */
    struct agt_mesh_table current; /* what was set last, of which the pairs are */
    struct syn_map *shown;         /* instances whose service others can call by it; NULL: none */
    char front[AGT_MESH_ADDRESS_SIZE];
    bool stop, serves, missing; /* missing: there is no HAProxy */

    /* The thread's: */
    struct agt_identity_signer signer;
    struct agt_identities *identities;
    struct syn_map *services; /* id -> json_t */
    struct syn_map *callers;  /* instance -> struct agt_mesh_caller */
    struct syn_map *pems;     /* subject -> PEM, of those that are ensured */
    struct agt_mesh_fronts fronts;
    char *authority;
    bool begun, known; /* all callers, and all services, were told once */
    bool dirty;
    struct agt_breakers *breakers;
    int64_t break_ms;
    json_t *waited_for; /* ids of services that the server knows calls wait for: {ID: true} */
    int64_t retry_ms, identities_ms, held_ms; /* monotonic */
};

static void
lock(struct agt_mesh *mesh)
{
    (void)pthread_mutex_lock(&mesh->lock);
}

static void
unlock(struct agt_mesh *mesh)
{
    (void)pthread_mutex_unlock(&mesh->lock);
}

static int64_t
now_ms(void)
{
    return syn_mono_ms(syn_world_system());
}

static void
json_drop(void *json)
{
    json_decref(json);
}

static void
pem_drop(void *pem)
{
    if (pem != NULL)
        syn_secret_wipe(pem, strlen(pem));
    syn_free(pem);
}

/* --- news ------------------------------------------------------------------------------------- */

static struct letter *
letter_free(struct letter *letter)
{
    if (letter == NULL)
        return NULL;
    json_decref(letter->doc);
    syn_free(letter->caller);
    syn_free(letter);
    return NULL;
}

static void
post(struct agt_mesh *mesh, struct letter *letter)
{
    lock(mesh);
    *mesh->last = letter;
    mesh->last = &letter->next;
    (void)pthread_cond_signal(&mesh->wake);
    unlock(mesh);
}

static struct letter *
letter_new(enum kind kind, const char *id, struct syn_err *err)
{
    struct letter *letter = syn_calloc(1, sizeof(*letter));

    if (letter == NULL) {
        (void)SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
        return NULL;
    }
    letter->kind = kind;
    (void)syn_str_copy(letter->id, sizeof(letter->id), id);
    return letter;
}

/* Of a kind that says it all, but for an id. */
static int
post_word(struct agt_mesh *mesh, enum kind kind, const char *id, struct syn_err *err)
{
    struct letter *letter = letter_new(kind, id, err);

    if (letter == NULL)
        return SYN_E_NOMEM;
    post(mesh, letter);
    return SYN_OK;
}

int
agt_mesh_put(struct agt_mesh *mesh, const json_t *service, struct syn_err *err)
{
    struct letter *letter = letter_new(PUT, syn_json_str(service, "id", ""), err);

    if (letter == NULL)
        return SYN_E_NOMEM;
    letter->doc = json_deep_copy(service);
    if (letter->doc == NULL) {
        (void)letter_free(letter);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    }
    post(mesh, letter);
    return SYN_OK;
}

int
agt_mesh_remove(struct agt_mesh *mesh, const char *service, struct syn_err *err)
{
    return post_word(mesh, REMOVE, service, err);
}

int
agt_mesh_keep(struct agt_mesh *mesh, struct syn_map *named, struct syn_err *err)
{
    struct letter *letter = letter_new(KEEP, "", err);
    size_t cursor = 0;
    const char *id;
    int rc = SYN_OK;

    if (letter == NULL)
        return SYN_E_NOMEM;
    letter->doc = json_object();
    if (letter->doc == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    while (rc == SYN_OK && syn_map_next(named, &cursor, &id, NULL))
        rc = syn_json_set_bool(letter->doc, id, true, err);
    if (rc < 0)
        (void)letter_free(letter);
    else
        post(mesh, letter);
    return rc;
}

int
agt_mesh_enter(struct agt_mesh *mesh, const struct agt_mesh_caller *caller, struct syn_err *err)
{
    struct letter *letter = letter_new(ENTER, caller->instance, err);

    if (letter == NULL)
        return SYN_E_NOMEM;
    letter->caller = syn_alloc(sizeof(*caller));
    if (letter->caller == NULL) {
        (void)letter_free(letter);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    }
    *letter->caller = *caller;
    post(mesh, letter);
    return SYN_OK;
}

void
agt_mesh_leave(struct agt_mesh *mesh, const char *instance)
{
    /* Without memory it stays until the agent starts again: its address is nobody's meanwhile, or
     * its next one's, who says so. */
    (void)!post_word(mesh, LEAVE, instance, NULL);
}

int
agt_mesh_begin(struct agt_mesh *mesh, struct syn_err *err)
{
    return post_word(mesh, BEGIN, "", err);
}

static void
keep_named(struct agt_mesh *mesh, const json_t *named)
{
    size_t cursor = 0;
    const char *id;

    while (syn_map_next(mesh->services, &cursor, &id, NULL))
        if (json_object_get(named, id) == NULL)
            (void)syn_map_remove(mesh->services, id);
    mesh->known = true;
}

static const char *
subject_of(const struct agt_mesh_caller *caller)
{
    return caller->service[0] != '\0' ? caller->service : caller->account;
}

/* Another instance may have the address of one whose end is not told yet. */
static void
drop_address(struct agt_mesh *mesh, const char *address)
{
    size_t cursor = 0;
    const char *instance;
    void *value;

    while (syn_map_next(mesh->callers, &cursor, &instance, &value))
        if (syn_str_eq(((const struct agt_mesh_caller *)value)->address, address))
            (void)syn_map_remove(mesh->callers, instance);
}

static int
take_letter(struct agt_mesh *mesh, struct letter *letter, struct syn_err *err)
{
    switch (letter->kind) {
    case PUT:
        return syn_map_put_take(mesh->services, letter->id, SYN_TAKE(letter->doc), err);
    case REMOVE:
        (void)syn_map_remove(mesh->services, letter->id);
        return SYN_OK;
    case KEEP:
        keep_named(mesh, letter->doc);
        return SYN_OK;
    case ENTER:
        drop_address(mesh, letter->caller->address);
        agt_identities_urge(mesh->identities, subject_of(letter->caller));
        mesh->fronts.six = mesh->fronts.six || letter->caller->address6[0] != '\0';
        return syn_map_put_take(mesh->callers, letter->id, SYN_TAKE(letter->caller), err);
    case LEAVE:
        (void)syn_map_remove(mesh->callers, letter->id);
        return SYN_OK;
    case BEGIN:
        mesh->begun = true;
        return SYN_OK;
    }
    return SYN_OK;
}

static void
take_letters(struct agt_mesh *mesh, struct letter *letters)
{
    while (letters != NULL) {
        struct letter *next = letters->next;
        struct syn_err err = {0};

        if (take_letter(mesh, letters, &err) < 0)
            syn_log_err(SYN_LOG_ERROR, "mesh.news-lost", &err);
        (void)letter_free(letters);
        letters = next;
        mesh->dirty = true;
    }
}

/* --- identities ------------------------------------------------------------------------------- */

static int
read_text(const char *path, char **ret, struct syn_err *err)
{
    SYN_BUF(text);
    int rc = syn_secret_file_read(path, &text, err);

    return rc < 0 ? rc : syn_buf_take(&text, ret, NULL, err);
}

static int
read_pem(struct agt_mesh *mesh, const char *id, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    char *pem = NULL;
    int rc = read_text(agt_identities_pem(mesh->identities, id, path), &pem, err);

    return rc < 0 ? rc : syn_map_put_take(mesh->pems, id, pem, err);
}

static void
read_authority(struct agt_mesh *mesh)
{
    char path[AGT_PATH_MAX];

    syn_free(mesh->authority);
    mesh->authority = NULL;
    (void)!read_text(agt_identities_ca(mesh->identities, path), &mesh->authority, NULL);
}

/* A certificate, or the authority, is new. */
static void
on_renewed(void *arg, const char *id)
{
    struct agt_mesh *mesh = arg;
    struct syn_err err = {0};

    if (id == NULL)
        read_authority(mesh);
    else if (read_pem(mesh, id, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "mesh.identity-unread", &err);
    mesh->dirty = true;
    mesh->retry_ms = 0;
}

/* See that `id` has a certificate, and know it. */
static int
ensure(struct agt_mesh *mesh, const char *id, struct syn_err *err)
{
    int rc = agt_identities_ensure(mesh->identities, id, err);

    if (rc < 0 || syn_map_find(mesh->pems, id) != NULL)
        return rc;
    mesh->dirty = true;
    mesh->retry_ms = 0;
    return read_pem(mesh, id, err);
}

static bool
is_wanted(void *arg, const char *subject)
{
    const struct agt_mesh *mesh = arg;
    size_t cursor = 0;
    void *value;

    while (syn_map_next(mesh->callers, &cursor, NULL, &value))
        if (syn_str_eq(subject_of(value), subject))
            return true;
    return false;
}

/* A certificate for each that runs here, and for no other. What cannot be had is tried again; its
 * calls stay on this node meanwhile. */
static void
see_identities(struct agt_mesh *mesh)
{
    size_t cursor = 0;
    const char *id;
    void *value;

    while (syn_map_next(mesh->callers, &cursor, NULL, &value)) {
        struct syn_err err = {0};
        int rc = ensure(mesh, subject_of(value), &err);

        if (rc == SYN_OK)
            continue;
        syn_log_err(SYN_LOG_DEBUG, "mesh.no-identity", &err);
        if (!mesh->dirty || mesh->retry_ms > 0) /* or what came is set at once */
            mesh->retry_ms = now_ms() + RETRY_MS;
        mesh->dirty = true;
        if (rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT)
            break; /* the others would wait as long for the same */
    }
    cursor = 0;
    while (syn_map_next(mesh->pems, &cursor, &id, NULL)) {
        if (is_wanted(mesh, id))
            continue;
        (void)syn_map_remove(mesh->pems, id);
        mesh->dirty = true;
        mesh->retry_ms = 0;
    }
    agt_identities_keep(mesh->identities, is_wanted, mesh);
    if (mesh->authority == NULL)
        read_authority(mesh);
}

/* --- the table -------------------------------------------------------------------------------- */

static int
open_balancer(struct agt_mesh *mesh, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    const struct syn_balancer_options options = {.dir = path, .threads = THREADS};
    struct syn_balancer *balancer = NULL;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/mesh/balancer", mesh->agent->data_dir);
    rc = syn_balancer_open(&options, &balancer, err);
    if (rc < 0)
        return rc;
    lock(mesh);
    mesh->balancer = balancer;
    unlock(mesh);
    return SYN_OK;
}

/* Names stand for the addresses of these from now on: before, nothing led there. */
static int
tell_names(struct agt_mesh *mesh, const struct agt_mesh_table *table, struct syn_err *err)
{
    struct syn_map *ids = NULL;
    int rc = syn_map_new(NULL, &ids, err);

    for (size_t i = 0; rc == SYN_OK && i < table->divert_count; i++)
        rc = syn_map_put_take(ids, table->services[i], mesh, err);
    if (rc < 0)
        (void)syn_map_free(ids);
    else
        agt_names_serve_take(mesh->agent->names, ids, mesh->fronts.six);
    return rc;
}

/* Whose services other nodes can call here, by what was set: those with a certificate, of which
 * this node has heard. NULL: no memory, and nobody is said to be. */
static struct syn_map *
find_shown(const struct agt_mesh *mesh)
{
    struct syn_map *shown = NULL;
    size_t cursor = 0;
    const char *instance;
    void *value;
    int rc = syn_map_new(NULL, &shown, NULL);

    while (rc == SYN_OK && mesh->authority != NULL &&
           syn_map_next(mesh->callers, &cursor, &instance, &value)) {
        const char *subject = subject_of(value);

        if (syn_map_find(mesh->pems, subject) != NULL &&
            syn_map_find(mesh->services, subject) != NULL)
            rc = syn_map_put_take(shown, instance, mesh->services, NULL);
    }
    return shown;
}

/* What is set serves from now on. Takes the table. */
static void
note_set(struct agt_mesh *mesh, struct agt_mesh_table *table)
{
    struct syn_map *shown = find_shown(mesh);

    lock(mesh);
    agt_mesh_table_fini(&mesh->current);
    mesh->current = *table;
    (void)syn_map_free(mesh->shown);
    mesh->shown = shown;
    mesh->serves = true;
    mesh->missing = false;
    (void)syn_str_copy(mesh->front, sizeof(mesh->front), mesh->fronts.in_http);
    unlock(mesh);
    *table = (struct agt_mesh_table){.diverts = NULL};
}

static int
set_table(struct agt_mesh *mesh, struct syn_err *err)
{
    const struct agt_mesh_world world = {.node = mesh->agent->node_id,
                                         .services = mesh->services,
                                         .callers = mesh->callers,
                                         .identities = mesh->pems,
                                         .authority = mesh->authority,
                                         .breakers = mesh->breakers,
                                         .fronts = mesh->fronts};
    struct agt_mesh_table table;
    int rc = agt_mesh_table_make(&world, &table, err);

    if (rc < 0)
        return rc;
    if (table.left_out > 0)
        syn_log(SYN_LOG_WARN, "mesh.too-many-pairs", "left-out=%zu", table.left_out);
    rc = syn_balancer_set(mesh->balancer, &table.table, err);
    if (rc == SYN_OK)
        rc = syn_net_divert(mesh->agent->net, table.diverts, table.divert_count, err);
    if (rc == SYN_OK)
        rc = tell_names(mesh, &table, err);
    if (rc == SYN_OK)
        note_set(mesh, &table);
    agt_mesh_table_fini(&table);
    return rc;
}

/* Nobody listens where services' addresses lead to: they lead there no more. */
static void
without_proxy(struct agt_mesh *mesh, const struct syn_err *why)
{
    bool known;

    lock(mesh);
    known = mesh->missing;
    mesh->missing = true;
    unlock(mesh);
    if (!known)
        syn_log_err(SYN_LOG_WARN, "mesh.no-proxy", why);
    agt_names_serve_take(mesh->agent->names, NULL, false);
    (void)!syn_net_divert(mesh->agent->net, NULL, 0, NULL);
    mesh->retry_ms = now_ms() + SEARCH_MS;
}

static void
apply(struct agt_mesh *mesh)
{
    struct syn_err err = {0};
    int rc = SYN_OK;

    /* Before the first instance there is nobody to serve. */
    if (!mesh->begun || !mesh->known ||
        (mesh->balancer == NULL && syn_map_count(mesh->callers) == 0))
        return;
    /* What serves is changed before others are asked for anything; at first it is complete, for an
     * earlier agent's HAProxy may serve already. */
    if (!agt_mesh_serves(mesh))
        see_identities(mesh);
    mesh->dirty = false;
    if (mesh->balancer == NULL)
        rc = open_balancer(mesh, &err);
    if (mesh->balancer == NULL) {
        without_proxy(mesh, &err);
        mesh->dirty = true;
        return;
    }
    if (rc == SYN_OK)
        rc = set_table(mesh, &err);
    if (rc < 0) {
        syn_log_err(SYN_LOG_WARN, "mesh.table", &err);
        mesh->dirty = true;
        mesh->retry_ms = now_ms() + RETRY_MS;
        if (rc == SYN_E_UNAVAILABLE && !agt_mesh_serves(mesh)) /* somebody has a port of ours */
            (void)!agt_mesh_ports(mesh->agent, true, &mesh->fronts, NULL);
        return;
    }
    see_identities(mesh);
}

/* --- who waits -------------------------------------------------------------------------------- */

/* A number for each service that calls wait for, by its id. */
struct waiting {
    const struct agt_mesh *mesh;
    json_t *counts;
};

static void
see_waiting(void *arg, const char *backend, uint64_t count)
{
    const struct waiting *waiting = arg;
    const struct agt_mesh_table *table = &waiting->mesh->current;

    for (size_t i = 0; i < table->pair_count; i++) {
        const struct agt_mesh_pair *pair = &table->pairs[i];

        if (!syn_str_eq(pair->backend, backend))
            continue;
        for (size_t k = 0; k < pair->wake_count; k++) {
            const char *id = pair->wakes[k];
            int64_t sum = syn_json_i64(waiting->counts, id, 0) + (int64_t)SYN_MIN(count, 1024U);

            /* Without memory it is seen at the next look. */
            if (json_object_size(waiting->counts) < HELD_MAX)
                (void)!syn_json_set_i64(waiting->counts, id, sum, NULL);
        }
    }
}

/* Nothing waits any more for what was told before and is not in `counts`. */
static int
make_told(const struct agt_mesh *mesh, json_t *counts, json_t **ret, struct syn_err *err)
{
    json_t *list = json_array(), *value;
    const char *id;
    int rc = syn_json_pack(ret, err, "{s:o}", "services", list);

    json_object_foreach (mesh->waited_for, id, value)
        if (rc == SYN_OK && json_object_get(counts, id) == NULL)
            rc = syn_json_set_i64(counts, id, 0, err);
    json_object_foreach (counts, id, value) {
        json_t *row = NULL;

        if (rc == SYN_OK)
            rc = syn_json_pack(&row, err, "{s:s, s:O}", "service", id, "count", value);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, row, err);
    }
    return rc;
}

static int
tell_waiting(struct agt_mesh *mesh, json_t *counts, struct syn_err *err)
{
    struct syn_call call = {.method = "POST"};
    char path[128];
    SYN_JSON(body);
    SYN_JSON(waited_for);
    const char *id;
    json_t *value;
    int rc = make_told(mesh, counts, &body, err);

    waited_for = json_object();
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/held", mesh->agent->node_id);
    call.path = path;
    call.body = body;
    if (rc == SYN_OK)
        rc = syn_client_call(mesh->signer.client, &call, NULL, err);
    json_object_foreach (counts, id, value)
        if (rc == SYN_OK && json_integer_value(value) > 0)
            rc = syn_json_set_bool(waited_for, id, true, err);
    if (rc < 0)
        return rc;
    json_decref(mesh->waited_for);
    mesh->waited_for = SYN_TAKE(waited_for);
    return SYN_OK;
}

static bool
looks_for_waiting(const struct agt_mesh *mesh)
{
    return mesh->balancer != NULL &&
           (mesh->current.asleep > 0 || json_object_size(mesh->waited_for) > 0);
}

/* Calls that wait for a service of which nothing runs wake it: the server is told of them. */
static void
see_to_waiting(struct agt_mesh *mesh)
{
    struct waiting waiting = {.mesh = mesh};
    struct syn_err err = {0};
    SYN_JSON(counts);

    if (!looks_for_waiting(mesh) || now_ms() < mesh->held_ms)
        return;
    mesh->held_ms = now_ms() + HELD_MS;
    waiting.counts = counts = json_object();
    if (counts == NULL || syn_balancer_held(mesh->balancer, see_waiting, &waiting, NULL) < 0 ||
        (json_object_size(counts) == 0 && json_object_size(mesh->waited_for) == 0))
        return;
    if (tell_waiting(mesh, counts, &err) < 0) {
        syn_log_err(SYN_LOG_DEBUG, "mesh.held", &err);
        mesh->held_ms = now_ms() + RETRY_MS;
    }
}

/* --- circuit breakers ------------------------------------------------------------------------- */

static bool
looks_at_circuits(const struct agt_mesh *mesh)
{
    bool any = false;

    for (size_t i = 0; mesh->balancer != NULL && !any && i < mesh->current.pair_count; i++)
        any = mesh->current.pairs[i].break_percent > 0;
    return any;
}

static int
see_circuit(struct agt_mesh *mesh, const struct agt_mesh_pair *pair, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct syn_balancer_server_counts *counts = NULL;
    size_t count = 0;
    int rc = syn_balancer_read_servers(mesh->balancer, pair->backend, &counts, &count, err);

    return rc < 0 ? rc
                  : agt_breakers_see(mesh->breakers, pair->backend, pair->break_percent, counts,
                                     count, now_ms(), err);
}

/* Who answers with errors is to be out, and who was is tried again. */
static void
see_to_circuits(struct agt_mesh *mesh)
{
    bool changed = false;

    if (now_ms() < mesh->break_ms || !looks_at_circuits(mesh))
        return;
    mesh->break_ms = now_ms() + BREAK_MS;
    for (size_t i = 0; i < mesh->current.pair_count; i++) {
        const struct agt_mesh_pair *pair = &mesh->current.pairs[i];
        struct syn_err err = {0};
        int rc = pair->break_percent > 0 ? see_circuit(mesh, pair, &err) : SYN_OK;

        if (rc < 0) { /* all of it at the next look */
            syn_log_err(SYN_LOG_DEBUG, "mesh.circuit", &err);
            return;
        }
        if (rc == AGT_BREAKERS_CHANGED)
            syn_log(SYN_LOG_INFO, "mesh.circuit", "caller=%s callee=%s", pair->caller,
                    pair->callee);
        changed = changed || rc == AGT_BREAKERS_CHANGED;
    }
    if (agt_breakers_keep(mesh->breakers) || changed) {
        mesh->dirty = true;
        mesh->retry_ms = 0;
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Wait for news, or until something is due. False at the end. */
static bool
wait_for_news(struct agt_mesh *mesh, struct letter **ret)
{
    int64_t until_ms = mesh->identities_ms;
    struct timespec until;
    bool go_on;

    if (mesh->dirty && mesh->begun && mesh->known)
        until_ms = SYN_MIN(until_ms, mesh->retry_ms);
    if (looks_for_waiting(mesh))
        until_ms = SYN_MIN(until_ms, mesh->held_ms);
    if (looks_at_circuits(mesh))
        until_ms = SYN_MIN(until_ms, mesh->break_ms);
    until = (struct timespec){until_ms / 1000, until_ms % 1000 * 1000000};
    lock(mesh);
    while (!mesh->stop && mesh->first == NULL)
        if (pthread_cond_timedwait(&mesh->wake, &mesh->lock, &until) != 0)
            break;
    *ret = mesh->first;
    mesh->first = NULL;
    mesh->last = &mesh->first;
    go_on = !mesh->stop;
    unlock(mesh);
    return go_on;
}

static void *
run(void *arg)
{
    struct agt_mesh *mesh = arg;
    struct letter *letters = NULL;

    while (wait_for_news(mesh, &letters)) {
        bool news = letters != NULL;

        take_letters(mesh, letters);
        letters = NULL;
        if (now_ms() >= mesh->identities_ms)
            mesh->identities_ms = now_ms() + agt_identities_turn(mesh->identities);
        see_to_circuits(mesh);
        if (mesh->dirty && (news || now_ms() >= mesh->retry_ms))
            apply(mesh);
        see_to_waiting(mesh);
    }
    take_letters(mesh, letters);
    return NULL;
}

/* --- what others ask -------------------------------------------------------------------------- */

bool
agt_mesh_serves(struct agt_mesh *mesh)
{
    bool serves;

    lock(mesh);
    serves = mesh->serves;
    unlock(mesh);
    return serves;
}

bool
agt_mesh_shows(struct agt_mesh *mesh, const char *instance)
{
    bool shows;

    lock(mesh);
    shows = mesh->missing || (mesh->shown != NULL && syn_map_find(mesh->shown, instance) != NULL);
    unlock(mesh);
    return shows;
}

static int
report_calls(struct agt_mesh *mesh, json_t *report, struct syn_err *err)
{
    struct syn_balancer_stats stats = {.backends = NULL};
    struct syn_balancer *balancer;
    json_t *list;
    int rc;

    lock(mesh);
    balancer = mesh->serves ? mesh->balancer : NULL;
    unlock(mesh);
    /* HAProxy may be away for a moment; the next heartbeat tells. */
    if (balancer == NULL || syn_balancer_read(balancer, &stats, NULL) < 0)
        return SYN_OK;
    list = json_array();
    lock(mesh);
    rc = list == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh")
                      : agt_mesh_report(&mesh->current, &stats, list, err);
    unlock(mesh);
    syn_balancer_stats_fini(&stats);
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    return syn_json_set_take(report, "calls", list, err);
}

int
agt_mesh_beat(struct agt_mesh *mesh, json_t *report, struct syn_err *err)
{
    char front[AGT_MESH_ADDRESS_SIZE];
    int rc = SYN_OK;

    lock(mesh);
    (void)syn_str_copy(front, sizeof(front), mesh->front);
    unlock(mesh);
    if (front[0] != '\0')
        rc = syn_json_set_str(report, "mesh", front, err);
    return rc < 0 ? rc : report_calls(mesh, report, err);
}

/* --- beginning and end ------------------------------------------------------------------------ */

static int
sign(void *arg, const char *id, const char *csr, json_t **ret, struct syn_err *err)
{
    struct agt_mesh *mesh = arg;

    return agt_identity_sign(&mesh->signer, id, csr, ret, err);
}

static int
begin(struct agt_mesh *mesh, struct syn_err *err)
{
    char path[AGT_PATH_MAX], path_of[AGT_PATH_MAX], version[32];
    struct agt_identities_options options = {
        .dir = path, .world = syn_world_system(), .sign = sign, .renewed = on_renewed, .arg = mesh};
    int rc = agt_breakers_new(&mesh->breakers, err);

    if (rc == SYN_OK)
        rc = syn_map_new(json_drop, &mesh->services, err);

    if (rc == SYN_OK)
        rc = syn_map_new(syn_free, &mesh->callers, err);
    if (rc == SYN_OK)
        rc = syn_map_new(pem_drop, &mesh->pems, err);
    if (rc == SYN_OK)
        rc = agt_client_new(mesh->agent, mesh->agent->node_token, &mesh->signer.client, err);
    (void)snprintf(path, sizeof(path), "%s/mesh", mesh->agent->data_dir);
    if (rc == SYN_OK && mkdir(path, 0711) != 0 && errno != EEXIST)
        rc = SYN_FAIL_SYS(err, errno, "making %s", path);
    (void)snprintf(path, sizeof(path), "%s/mesh/identities", mesh->agent->data_dir);
    if (rc == SYN_OK)
        rc = agt_mesh_ports(mesh->agent, false, &mesh->fronts, err);
    /* Others hear of it with the first heartbeat; it listens from the first instance on. */
    if (rc == SYN_OK &&
        syn_balancer_find(path_of, sizeof(path_of), version, sizeof(version), NULL) == SYN_OK)
        (void)syn_str_copy(mesh->front, sizeof(mesh->front), mesh->fronts.in_http);
    if (rc == SYN_OK)
        rc = agt_identities_open(&options, &mesh->identities, err);
    if (rc == SYN_OK && pthread_create(&mesh->thread, NULL, run, mesh) != 0)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "cannot start the mesh's thread");
    mesh->started = rc == SYN_OK;
    return rc;
}

int
agt_mesh_new(struct syn_agent *agent, struct agt_mesh **ret, struct syn_err *err)
{
    struct agt_mesh *mesh = syn_calloc(1, sizeof(*mesh));
    pthread_condattr_t attributes;
    int rc;

    if (mesh == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the mesh");
    mesh->agent = mesh->signer.agent = agent;
    mesh->last = &mesh->first;
    (void)pthread_mutex_init(&mesh->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&mesh->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    rc = begin(mesh, err);
    if (rc < 0)
        (void)agt_mesh_free(mesh);
    else
        *ret = mesh;
    return rc;
}

struct agt_mesh *
agt_mesh_free(struct agt_mesh *mesh)
{
    if (mesh == NULL)
        return NULL;
    lock(mesh);
    mesh->stop = true;
    (void)pthread_cond_signal(&mesh->wake);
    unlock(mesh);
    if (mesh->signer.client != NULL)
        syn_client_cancel(mesh->signer.client);
    if (mesh->started)
        (void)pthread_join(mesh->thread, NULL);
    while (mesh->first != NULL) {
        struct letter *next = mesh->first->next;

        (void)letter_free(mesh->first);
        mesh->first = next;
    }
    mesh->balancer = syn_balancer_close(mesh->balancer,
                                        mesh->callers != NULL && syn_map_count(mesh->callers) > 0);
    agt_mesh_table_fini(&mesh->current);
    mesh->identities = agt_identities_close(mesh->identities);
    mesh->signer.client = syn_client_free(mesh->signer.client);
    (void)syn_map_free(mesh->services);
    (void)syn_map_free(mesh->shown);
    (void)syn_map_free(mesh->callers);
    (void)syn_map_free(mesh->pems);
    json_decref(mesh->waited_for);
    mesh->breakers = agt_breakers_free(mesh->breakers);
    syn_free(mesh->authority);
    (void)pthread_cond_destroy(&mesh->wake);
    (void)pthread_mutex_destroy(&mesh->lock);
    syn_free(mesh);
    return NULL;
}
