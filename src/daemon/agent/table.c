/* The table of instances: what the server's word does to it, and who leaves it. */
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"

/* Under the lock: one that nobody heard of. It is in the table before its thread starts, so that
 * what runs is always known. */
static int
add(struct syn_agent *agent, const char *id, const json_t *doc, struct syn_err *err)
{
    struct agt_instance *instance = NULL;
    int rc;

    if (syn_map_count(agent->instances) >= AGT_INSTANCES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "%s: this node has %d instances", id, AGT_INSTANCES_MAX);
    rc = agt_instance_new(agent, doc, &instance, err);
    if (rc < 0)
        return rc;
    rc = syn_map_put_take(agent->instances, id, instance, err);
    if (rc == SYN_OK) {
        rc = agt_watch_begin(instance, err);
        if (rc < 0)
            (void)syn_map_steal(agent->instances, id);
    }
    if (rc < 0)
        (void)agt_instance_free(instance);
    return rc;
}

int
agt_table_take(struct syn_agent *agent, const json_t *doc, struct syn_err *err)
{
    const char *id = syn_json_str(doc, "id", "");
    struct agt_instance *instance;
    struct agt_doc *fresh;
    int rc = SYN_OK;

    if (!syn_name_ok(id))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server named an instance \"%.60s\"", id);
    (void)pthread_mutex_lock(&agent->lock);
    instance = syn_map_find(agent->instances, id);
    if (instance == NULL) {
        rc = add(agent, id, doc, err);
    } else if ((fresh = agt_doc_new(doc)) == NULL) {
        /* The one before stays, and the stream brings it again. */
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", id);
    } else {
        (void)agt_doc_unref(instance->doc);
        instance->doc = fresh;
        instance->changed = true;
    }
    agt_wake(agent);
    (void)pthread_mutex_unlock(&agent->lock);
    return rc;
}

/* Under the lock. */
static void
let_go(struct agt_instance *instance)
{
    instance->gone = true;
    instance->changed = true;
}

void
agt_table_let_go(struct syn_agent *agent, const char *id)
{
    struct agt_instance *instance;

    (void)pthread_mutex_lock(&agent->lock);
    instance = syn_map_find(agent->instances, id);
    if (instance != NULL)
        let_go(instance);
    agt_wake(agent);
    (void)pthread_mutex_unlock(&agent->lock);
}

void
agt_table_keep(struct syn_agent *agent, struct syn_map *named)
{
    size_t cursor = 0;
    const char *id;
    void *instance;

    (void)pthread_mutex_lock(&agent->lock);
    while (syn_map_next(agent->instances, &cursor, &id, &instance)) {
        if (syn_map_find(named, id) == NULL)
            let_go(instance);
    }
    agt_wake(agent);
    (void)pthread_mutex_unlock(&agent->lock);
}

void
agt_table_reap(struct syn_agent *agent)
{
    for (;;) {
        struct agt_instance *over = NULL;
        size_t cursor = 0;
        void *value;

        (void)pthread_mutex_lock(&agent->lock);
        while (over == NULL && syn_map_next(agent->instances, &cursor, NULL, &value)) {
            struct agt_instance *instance = value;

            if (instance->phase == AGT_OVER && instance->gone)
                over = syn_map_steal(agent->instances, instance->id);
        }
        (void)pthread_mutex_unlock(&agent->lock);
        if (over == NULL)
            return;
        (void)agt_instance_free(over);
    }
}

void
agt_table_free(struct syn_agent *agent)
{
    size_t cursor = 0;
    void *instance;

    agt_watch_close(agent);
    while (agent->instances != NULL && syn_map_next(agent->instances, &cursor, NULL, &instance))
        (void)agt_instance_free(instance);
    agent->instances = syn_map_free(agent->instances);
    agt_clients_close(agent);
}
