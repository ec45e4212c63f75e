/* What the server says of services, followed for as long as somebody may ask for their names: one
 * stream for all accounts with a door, begun anew when those change. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"
#include "mesh_priv.h"
#include "resolver_priv.h"

struct agt_follower {
    struct syn_agent *agent;
    struct agt_resolver *resolver;
    pthread_t thread;
};

/* One connection's worth of the stream. */
struct session {
    struct agt_resolver *resolver;
    struct agt_mesh *mesh; /* NULL: none */
    uint64_t generation;   /* of the doors that it is for */
    struct syn_map *named; /* by the snapshot; NULL before it begins and after `synced` */
};

static int
take_service(struct session *session, const json_t *doc, struct syn_err *err)
{
    int rc = SYN_OK;

    if (session->named != NULL)
        rc = syn_map_put_take(session->named, syn_json_str(doc, "id", ""), session, err);
    if (rc == SYN_OK)
        rc = agt_names_put(session->resolver->names, doc, err);
    if (rc == SYN_OK && session->mesh != NULL)
        rc = agt_mesh_put(session->mesh, doc, err);
    if (rc < 0 && rc != SYN_E_NOMEM) {
        syn_log_err(SYN_LOG_WARN, "agent.name-refused", err);
        rc = SYN_OK;
    }
    return rc;
}

static int
take_gone(struct session *session, const char *id, struct syn_err *err)
{
    agt_names_remove(session->resolver->names, id);
    return session->mesh != NULL ? agt_mesh_remove(session->mesh, id, err) : SYN_OK;
}

/* What was not named is gone. */
static int
synced(struct session *session, struct syn_err *err)
{
    int rc = SYN_OK;

    if (session->named == NULL)
        return SYN_OK;
    agt_names_keep(session->resolver->names, session->named);
    if (session->mesh != NULL)
        rc = agt_mesh_keep(session->mesh, session->named, err);
    session->named = syn_map_free(session->named);
    return rc;
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct session *session = arg;
    SYN_JSON(doc);
    int rc;

    if (syn_str_eq(event->name, "snapshot")) {
        session->named = syn_map_free(session->named);
        return syn_map_new(NULL, &session->named, err);
    }
    if (syn_str_eq(event->name, "synced")) {
        rc = synced(session, err);
        agt_resolver_known(session->resolver, session->generation);
        return rc;
    }
    rc = syn_json_parse_object(event->data, event->len, &doc, err);
    if (rc == SYN_OK && syn_str_eq(event->name, "gone"))
        rc = take_gone(session, syn_json_str(doc, "id", ""), err);
    else if (rc == SYN_OK && syn_str_eq(event->name, "service"))
        rc = take_service(session, doc, err);
    return rc;
}

/* Wait until there are doors. False at the end. */
static bool
await_doors(struct agt_resolver *resolver)
{
    bool go_on;

    (void)pthread_mutex_lock(&resolver->lock);
    while (resolver->doors == NULL && !resolver->stop)
        (void)pthread_cond_wait(&resolver->wake, &resolver->lock);
    go_on = !resolver->stop;
    (void)pthread_mutex_unlock(&resolver->lock);
    return go_on;
}

/* The client that a change of the doors cancels, from now on; NULL: none. Returns their generation.
 */
static uint64_t
set_client(struct agt_resolver *resolver, struct syn_client *client)
{
    uint64_t generation;

    (void)pthread_mutex_lock(&resolver->lock);
    resolver->client = client;
    generation = resolver->generation;
    if (client != NULL && resolver->stop)
        syn_client_cancel(client);
    (void)pthread_mutex_unlock(&resolver->lock);
    return generation;
}

/* Pause before the next connection, unless the doors have changed: who waits at one waits for it.
 */
static void
pause_unless_changed(struct agt_resolver *resolver, uint64_t generation, int64_t ms)
{
    int64_t until_ns = syn_mono_ms(syn_world_system()) * 1000000 + ms * 1000000;
    const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                   .tv_nsec = until_ns % 1000000000};

    (void)pthread_mutex_lock(&resolver->lock);
    while (resolver->generation == generation && !resolver->stop &&
           pthread_cond_timedwait(&resolver->wake, &resolver->lock, &until) == 0)
        continue;
    (void)pthread_mutex_unlock(&resolver->lock);
}

/* Returns the generation of the doors that it was for. */
static uint64_t
follow(struct agt_follower *follower)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct session session = {.resolver = follower->resolver, .mesh = follower->agent->mesh};
    struct syn_err err = {0};
    char path[128];
    int rc = agt_client_new(follower->agent, follower->agent->node_token, &client, &err);

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/services", follower->agent->node_id);
    session.generation = set_client(follower->resolver, client);
    if (rc == SYN_OK)
        rc = syn_client_follow(client, path, NULL, on_event, &session, &err);
    (void)set_client(follower->resolver, NULL);
    (void)syn_map_free(session.named);
    if (rc < 0 && rc != SYN_E_CANCELED)
        syn_log_err(SYN_LOG_INFO, "agent.names-stream-ended", &err);
    return session.generation;
}

static void *
follower_main(void *arg)
{
    struct agt_follower *follower = arg;

    while (await_doors(follower->resolver)) {
        uint64_t generation = follow(follower);

        pause_unless_changed(follower->resolver, generation, follower->agent->pace.retry_ms);
    }
    return NULL;
}

int
agt_follower_new(struct syn_agent *agent, struct agt_resolver *resolver, struct agt_follower **ret,
                 struct syn_err *err)
{
    struct agt_follower *follower = syn_calloc(1, sizeof(*follower));

    if (follower == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for names");
    follower->agent = agent;
    follower->resolver = resolver;
    if (pthread_create(&follower->thread, NULL, follower_main, follower) != 0) {
        syn_free(follower);
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for names");
    }
    *ret = follower;
    return SYN_OK;
}

struct agt_follower *
agt_follower_free(struct agt_follower *follower)
{
    struct agt_resolver *resolver;

    if (follower == NULL)
        return NULL;
    resolver = follower->resolver;
    (void)pthread_mutex_lock(&resolver->lock);
    resolver->stop = true;
    if (resolver->client != NULL)
        syn_client_cancel(resolver->client);
    (void)pthread_cond_broadcast(&resolver->wake);
    (void)pthread_mutex_unlock(&resolver->lock);
    (void)pthread_join(follower->thread, NULL);
    syn_free(follower);
    return NULL;
}
