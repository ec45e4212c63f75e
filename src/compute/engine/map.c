/* Tensors in the caller's hands: a map is a task that ends with the unmap. */
#include <errno.h>

#include <synor/base/mem.h>

#include "engine_priv.h"

struct syn_engine_map {
    struct syn_engine_map *next;
    struct syn_engine *engine;
    struct syn_tensor *tensor;
    struct syn_memory_use use;
    struct syn_memory_request request;
    struct syn_task *task; /* the core's record, from inside */
    struct syn_err err;
    int code;
    sem_t there;
    /* A part that lies packed here, as its whole is elsewhere: the caller's is a copy in the
     * tensor's own strides. */
    void *copy;
};

void
syn_engine_forget(void *arg)
{
    struct syn_engine_handle *handle = arg;
    struct syn_engine_sum *sum = atomic_load_explicit(&handle->sum, memory_order_acquire);

    if (sum != NULL)
        syn_engine_sum_free(sum);
    handle->data = syn_data_free(handle->data);
    syn_free(handle->readers);
    syn_free(handle->adders);
    syn_free(handle);
}

static SYN_MUST int
handle_new(struct syn_engine *engine, struct syn_tensor *tensor,
           struct syn_engine_handle **ret_handle, struct syn_err *err)
{
    struct syn_engine_handle *handle = syn_calloc(1, sizeof(*handle));
    int rc;

    if (handle == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a tensor's handle");
    rc = syn_data_new(engine->runtime, tensor, 0, &handle->data, err);
    if (rc < 0) {
        syn_free(handle);
        return rc;
    }
    syn_tensor_set_user(tensor, handle);
    *ret_handle = handle;
    return SYN_OK;
}

int
syn_engine_handle_new(struct syn_engine *engine, struct syn_tensor *tensor,
                      struct syn_engine_handle **ret_handle, struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&engine->maps_lock);
    *ret_handle = syn_tensor_user(tensor);
    if (*ret_handle == NULL)
        rc = handle_new(engine, tensor, ret_handle, err);
    (void)pthread_mutex_unlock(&engine->maps_lock);
    return rc;
}

static void
on_ready(struct syn_memory_request *request, int code, const struct syn_err *why)
{
    struct syn_engine_map *map = request->user;

    map->code = code;
    if (code < 0)
        map->err = *why;
    (void)sem_post(&map->there);
}

static int
dispatch(struct syn_worker *worker, struct syn_fork *at, void *arg)
{
    struct syn_engine_map *map = arg;
    int code = worker->current_code;

    (void)at;
    map->task = syn_task_later(worker);
    if (code < 0)
        (void)SYN_FAIL(&map->err, code, "what the tensor was to come from ended with %s",
                       syn_err_info(code)->wire);
    else
        code = syn_memory_acquire(map->engine->memory, SYN_NODE_HOST, &map->use, 1, &map->request,
                                  &map->err);
    if (code != SYN_MEMORY_PENDING) {
        map->code = code;
        (void)sem_post(&map->there);
    }
    return SYN_OK;
}

static void
map_free(struct syn_engine_map *map)
{
    (void)sem_destroy(&map->there);
    syn_free(map->copy);
    syn_free(map);
}

static SYN_MUST int
submit(struct syn_engine_map *map, struct syn_err *err)
{
    struct syn_use use = {.access = map->use.access};
    struct syn_task_spec spec = {.run = dispatch, .arg = map, .uses = &use, .uses_count = 1};
    struct syn_engine_handle *handle;
    int rc = syn_engine_handle(map->engine, map->tensor, &handle, err);

    if (rc < 0)
        return rc;
    use.data = handle->data;
    return syn_task_submit_flagged(map->engine->runtime, &spec, SYN_TASK_ALWAYS, NULL, err);
}

/* Where the caller finds the content. */
static SYN_MUST int
lay_out(struct syn_engine_map *map, void **ret_data, struct syn_err *err)
{
    const struct syn_shape *shape = syn_tensor_shape(map->tensor);
    struct syn_tensor_place place;

    syn_tensor_at(map->tensor, SYN_NODE_HOST, &place);
    if (syn_shape_same_places(shape, place.shape)) {
        *ret_data = place.host;
        return SYN_OK;
    }
    map->copy = syn_alloc(syn_shape_span(shape));
    if (map->copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a map of %llu bytes",
                        (unsigned long long)syn_shape_span(shape));
    if ((map->use.access & SYN_READ) != 0)
        syn_shape_copy(shape, map->copy, place.shape, place.host);
    *ret_data = map->copy;
    return SYN_OK;
}

static void
take_back(const struct syn_engine_map *map)
{
    struct syn_tensor_place place;

    if (map->copy == NULL || (map->use.access & SYN_WRITE) == 0)
        return;
    syn_tensor_at(map->tensor, SYN_NODE_HOST, &place);
    syn_shape_copy(place.shape, place.host, syn_tensor_shape(map->tensor), map->copy);
}

int
syn_engine_map(struct syn_engine *engine, struct syn_tensor *tensor, enum syn_access access,
               void **ret_data, struct syn_err *err)
{
    struct syn_engine_map *map = syn_calloc(1, sizeof(*map));
    int rc;

    if (map == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a map");
    map->engine = engine;
    map->tensor = tensor;
    map->use = (struct syn_memory_use){tensor, access};
    map->request.ready = on_ready;
    map->request.user = map;
    (void)sem_init(&map->there, 0, 0);
    rc = submit(map, err);
    if (rc < 0) {
        map_free(map);
        return rc;
    }
    while (sem_wait(&map->there) != 0)
        assert(errno == EINTR);
    if (map->code == SYN_OK) {
        map->code = lay_out(map, ret_data, &map->err);
        if (map->code < 0)
            /* Nobody wrote: what was brought here to be read is as good as it was. */
            syn_memory_release(engine->memory, SYN_NODE_HOST, &map->use, 1,
                               (access & SYN_READ) != 0);
    }
    if (map->code < 0) {
        rc = map->code;
        if (err != NULL)
            *err = map->err;
        syn_task_finish(engine->runtime, NULL, map->task, rc);
        map_free(map);
        return rc;
    }
    (void)pthread_mutex_lock(&engine->maps_lock);
    map->next = engine->maps;
    engine->maps = map;
    (void)pthread_mutex_unlock(&engine->maps_lock);
    return SYN_OK;
}

void
syn_engine_unmap(struct syn_engine *engine, struct syn_tensor *tensor)
{
    struct syn_engine_map **at, *map;

    (void)pthread_mutex_lock(&engine->maps_lock);
    for (at = &engine->maps; *at != NULL && (*at)->tensor != tensor;)
        at = &(*at)->next;
    map = *at;
    assert(map != NULL); /* unmapped twice, or never mapped */
    *at = map->next;
    (void)pthread_mutex_unlock(&engine->maps_lock);
    take_back(map);
    syn_memory_release(engine->memory, SYN_NODE_HOST, &map->use, 1, true);
    syn_task_finish(engine->runtime, NULL, map->task, 0);
    map_free(map);
}
