/* The next model, and how to get there.
 *
 *   old model + table  ->  next model + commands, or the need of a reload
 *
 * Pure: neither a process nor a file is touched, and the old model stays what it is, so that
 * whoever fails on the way still knows what runs. A backend keeps its section while its shape
 * stays; a new one takes a spare section of its shape; what a gone one leaves behind is a spare.
 * The order of the commands loses no request: sections are filled before routes lead to them, and
 * emptied after. */
#include "balancer_priv.h"

#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define HTTP_SPARES 16

/* --- life ------------------------------------------------------------------------------------- */

static void
server_fini(struct lb_server *server)
{
    syn_free(server->id);
    syn_free(server->peer);
    *server = (struct lb_server){.id = NULL};
}

static void
server_scope(struct lb_server *server)
{
    server_fini(server);
}

static void
slot_fini(struct lb_slot *slot)
{
    for (size_t i = 0; i < slot->server_count; i++)
        server_fini(&slot->servers[i]);
    syn_free(slot->servers);
    syn_free(slot->id);
    syn_free(slot->shape);
    syn_free(slot->options);
    *slot = (struct lb_slot){0};
}

static void
slot_scope(struct lb_slot *slot)
{
    slot_fini(slot);
}

static void
door_scope(struct lb_door *door)
{
    syn_free(door->shape);
    syn_free(door->list);
}

int
lb_model_new(struct lb_model **ret_model, struct syn_err *err)
{
    struct lb_model *model = syn_calloc(1, sizeof(*model));
    int rc;

    if (model == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a balancer's model");
    rc = syn_map_new(syn_free, &model->routes, err);
    if (rc < 0)
        syn_free(model);
    else
        *ret_model = model;
    return rc;
}

struct lb_model *
lb_model_free(struct lb_model *model)
{
    if (model == NULL)
        return NULL;
    for (size_t i = 0; i < model->slot_count; i++)
        slot_fini(&model->slots[i]);
    for (size_t i = 0; i < model->door_count; i++)
        door_scope(&model->doors[i]);
    for (size_t i = 0; i < model->cert_count; i++) {
        syn_free(model->certs[i].id);
        if (model->certs[i].pem != NULL)
            syn_secret_wipe(model->certs[i].pem, strlen(model->certs[i].pem));
        syn_free(model->certs[i].pem);
    }
    syn_free(model->slots);
    syn_free(model->doors);
    syn_free(model->certs);
    (void)syn_map_free(model->routes);
    syn_free(model->authority);
    syn_free(model);
    return NULL;
}

void
lb_model_free_scope(struct lb_model **slot)
{
    *slot = lb_model_free(*slot);
}

void
lb_model_left(struct lb_slot *slot, size_t server)
{
    assert(server < slot->server_count && slot->servers[server].leaving);
    server_fini(&slot->servers[server]);
    slot->server_count--;
    memmove(&slot->servers[server], &slot->servers[server + 1],
            (slot->server_count - server) * sizeof(*slot->servers));
}

void
lb_model_fresh(struct lb_model *model)
{
    for (size_t i = 0; i < model->slot_count; i++) {
        struct lb_slot *slot = &model->slots[i];

        /* Those that leave come last. */
        while (slot->server_count > 0 && slot->servers[slot->server_count - 1].leaving)
            server_fini(&slot->servers[--slot->server_count]);
    }
}

void
lb_change_fini(struct lb_change *change)
{
    syn_buf_fini(&change->commands);
}

const struct lb_slot *
lb_model_slot(const struct lb_model *model, const char *backend)
{
    for (size_t i = 0; i < model->slot_count; i++)
        if (model->slots[i].id != NULL && strcmp(model->slots[i].id, backend) == 0)
            return &model->slots[i];
    return NULL;
}

/* --- the work --------------------------------------------------------------------------------- */

struct work {
    const struct lb_setup *setup;
    const struct lb_model *old;
    const struct syn_balancer_table *table;
    struct lb_model *next;
    struct syn_buf filled, moved, emptied; /* commands, in this order */
    size_t command_count;
    const char *reload;
    struct syn_map *slot_of; /* backend's id -> its slot in `old` + 1 */
    bool *taken;             /* of old slots */
    struct syn_map *spares;  /* shape -> list of old slots, by `chain` */
    size_t *chain;
    struct syn_err *err;
};

static int
no_memory(struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a balancer's table");
}

static void *
index_value(size_t i)
{
    return (void *)(uintptr_t)(i + 1); /* NOLINT(performance-no-int-to-ptr) */
}

static void SYN_PRINTF(3, 4)
    command(struct work *work, struct syn_buf *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    syn_buf_addv(out, format, args);
    va_end(args);
    work->command_count++;
}

static void
need_reload(struct work *work, const char *why)
{
    if (work->reload == NULL)
        work->reload = why;
}

/* --- servers ---------------------------------------------------------------------------------- */

static int
server_add(struct work *work, struct lb_slot *slot, const struct lb_server *like, const char *id)
{
    struct lb_server *server;

    if (!syn_grow((void *)&slot->servers, &slot->server_cap, slot->server_count + 1,
                  sizeof(*slot->servers)))
        return no_memory(work->err);
    server = &slot->servers[slot->server_count++];
    *server = *like;
    server->id = syn_strdup(id);
    server->peer = like->peer == NULL ? NULL : syn_strdup(like->peer);
    return server->id == NULL || (like->peer != NULL && server->peer == NULL) ? no_memory(work->err)
                                                                              : SYN_OK;
}

static void
command_add(struct work *work, const struct lb_slot *slot, const struct lb_server *server)
{
    work->command_count += lb_server_commands(work->setup, slot, server, &work->filled);
}

static int
server_wanted(struct work *work, const struct syn_balancer_backend *backend,
              const struct syn_balancer_server *given, struct lb_server *ret)
{
    int rc;

    *ret = (struct lb_server){
        .weight = given->state == SYN_BALANCER_DRAIN ? 0 : given->weight,
        .off = given->state == SYN_BALANCER_OFF,
    };
    rc = lb_address(given->address, ret->address, work->err);
    if (rc == SYN_OK && given->peer)
        rc = lb_peer_words(work->setup, work->next, backend, given, ret->address, &ret->peer,
                           work->err);
    return rc;
}

/* May an old server go on as the new one? */
static bool
same_server(const struct lb_server *a, const struct lb_server *b)
{
    return strcmp(a->address, b->address) == 0 && (a->peer == NULL) == (b->peer == NULL) &&
           (a->peer == NULL || strcmp(a->peer, b->peer) == 0);
}

/* An old server as the table wants it now. */
static int
server_keep(struct work *work, struct lb_slot *slot, const struct lb_server *old,
            const struct lb_server *wanted)
{
    struct lb_server server = *old;

    if (old->weight != wanted->weight)
        command(work, &work->filled, "set server b%u/s%u weight %u\n", slot->number, old->number,
                wanted->weight);
    if (old->off != wanted->off)
        command(work, wanted->off ? &work->emptied : &work->filled, "set server b%u/s%u state %s\n",
                slot->number, old->number, wanted->off ? "maint" : "ready");
    server.weight = wanted->weight;
    server.off = wanted->off;
    return server_add(work, slot, &server, old->id);
}

static int
server_leave(struct work *work, struct lb_slot *slot, const struct lb_server *old)
{
    struct lb_server server = *old;

    if (!old->leaving && !old->off)
        command(work, &work->emptied, "set server b%u/s%u state maint\n", slot->number,
                old->number);
    server.leaving = true;
    return server_add(work, slot, &server, "");
}

static int
map_servers(const struct lb_slot *old, struct syn_map **ret, struct syn_err *err)
{
    int rc = syn_map_new(NULL, ret, err);

    for (size_t i = 0; rc == SYN_OK && i < old->server_count; i++)
        if (!old->servers[i].leaving)
            rc = syn_map_put_take(*ret, old->servers[i].id, index_value(i), err);
    return rc;
}

/* Where the server with this id is in `old` (server_count: nowhere): mostly where it was. Only else
 * a map is made. */
static int
server_find(const struct lb_slot *old, const char *id, size_t hint, struct syn_map **by_id,
            size_t *ret, struct syn_err *err)
{
    size_t at;
    int rc = SYN_OK;

    *ret = hint;
    if (hint < old->server_count && strcmp(old->servers[hint].id, id) == 0)
        return SYN_OK;
    if (*by_id == NULL)
        rc = map_servers(old, by_id, err);
    if (rc < 0)
        return rc;
    at = (size_t)(uintptr_t)syn_map_find(*by_id, id);
    *ret = at == 0 ? old->server_count : at - 1;
    return SYN_OK;
}

static int
servers_next(struct work *work, const struct syn_balancer_backend *backend,
             const struct lb_slot *old, struct lb_slot *slot)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *by_id = NULL;
    SYN_SCOPED(syn_free_scope) bool *met = syn_calloc(old->server_count + 1, sizeof(*met));
    int rc = SYN_OK;

    if (met == NULL)
        return no_memory(work->err);

    for (size_t i = 0; rc == SYN_OK && i < backend->server_count; i++) {
        const struct syn_balancer_server *given = &backend->servers[i];
        SYN_SCOPED(server_scope) struct lb_server wanted = {.id = NULL};
        size_t at = 0;

        rc = server_wanted(work, backend, given, &wanted);
        if (rc == SYN_OK)
            rc = server_find(old, given->id, i, &by_id, &at, work->err);
        if (rc < 0)
            break;
        if (at < old->server_count && same_server(&old->servers[at], &wanted)) {
            met[at] = true;
            rc = server_keep(work, slot, &old->servers[at], &wanted);
            continue;
        }
        wanted.number = slot->next_server++;
        rc = server_add(work, slot, &wanted, given->id);
        if (rc == SYN_OK)
            command_add(work, slot, &wanted);
    }
    for (size_t i = 0; rc == SYN_OK && i < old->server_count; i++)
        if (!met[i])
            rc = server_leave(work, slot, &old->servers[i]);
    return rc;
}

/* --- backends --------------------------------------------------------------------------------- */

static int
slot_push(struct work *work, struct lb_slot *slot)
{
    struct lb_model *next = work->next;

    if (!syn_grow((void *)&next->slots, &next->slot_cap, next->slot_count + 1,
                  sizeof(*next->slots)))
        return no_memory(work->err);
    next->slots[next->slot_count++] = *slot;
    *slot = (struct lb_slot){0};
    return SYN_OK;
}

static bool
same_shape(const struct lb_slot *a, const struct lb_slot *b)
{
    return strcmp(a->shape, b->shape) == 0 && strcmp(a->options, b->options) == 0;
}

/* The key under which spares of a shape are found. */
static int
shape_key(const struct lb_slot *slot, struct syn_buf *out, struct syn_err *err)
{
    syn_buf_clear(out);
    syn_buf_adds(out, slot->shape);
    syn_buf_adds(out, slot->options);
    return syn_buf_ok(out, err);
}

/* The old section for this backend: its own, or a spare, or none (slot_count). */
static int
slot_choose(struct work *work, const struct lb_slot *slot, size_t *ret)
{
    const struct lb_model *old = work->old;
    size_t at = (size_t)(uintptr_t)syn_map_find(work->slot_of, slot->id);
    SYN_BUF(key);
    int rc;

    if (at > 0 && same_shape(&old->slots[at - 1], slot)) {
        *ret = at - 1;
        return SYN_OK;
    }
    rc = shape_key(slot, &key, work->err);
    if (rc < 0)
        return rc;
    at = (size_t)(uintptr_t)syn_map_find(work->spares, syn_buf_text(&key));
    if (at == 0) {
        *ret = old->slot_count;
        return SYN_OK;
    }
    *ret = at - 1;
    if (work->chain[at - 1] == 0)
        (void)syn_map_remove(work->spares, syn_buf_text(&key));
    else
        rc = syn_map_put_take(work->spares, syn_buf_text(&key),
                              index_value(work->chain[at - 1] - 1), work->err);
    return rc;
}

static int
backend_next(struct work *work, const struct syn_balancer_backend *backend)
{
    static const struct lb_slot none;
    SYN_SCOPED(slot_scope) struct lb_slot slot = {0};
    const struct lb_slot *old = &none;
    size_t at = 0;
    int rc;

    slot.id = syn_strdup(backend->id);
    if (slot.id == NULL)
        return no_memory(work->err);
    rc = lb_slot_shape(work->setup, backend, &slot, work->err);
    if (rc == SYN_OK)
        rc = slot_choose(work, &slot, &at);
    if (rc < 0)
        return rc;
    if (at < work->old->slot_count) {
        old = &work->old->slots[at];
        work->taken[at] = true;
        slot.number = old->number;
        slot.next_server = old->next_server;
    } else {
        slot.number = work->next->next_slot++;
        slot.next_server = 1;
        need_reload(work, "a backend of a new shape");
    }
    rc = servers_next(work, backend, old, &slot);
    return rc < 0 ? rc : slot_push(work, &slot);
}

/* What is not wanted any more is a spare of its shape. */
static int
backend_gone(struct work *work, const struct lb_slot *old)
{
    SYN_SCOPED(slot_scope)
    struct lb_slot slot = {
        .number = old->number,
        .next_server = old->next_server,
        .sticky = old->sticky,
        .checked = old->checked,
        .shape = syn_strdup(old->shape),
        .options = syn_strdup(old->options),
    };
    int rc = slot.shape == NULL || slot.options == NULL ? no_memory(work->err) : SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < old->server_count; i++)
        rc = server_leave(work, &slot, &old->servers[i]);
    return rc < 0 ? rc : slot_push(work, &slot);
}

static int
backends_next(struct work *work)
{
    const struct lb_model *old = work->old;
    SYN_BUF(key);
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < old->slot_count; i++) {
        const struct lb_slot *slot = &old->slots[i];

        if (slot->id != NULL) {
            rc = syn_map_put_take(work->slot_of, slot->id, index_value(i), work->err);
            continue;
        }
        rc = shape_key(slot, &key, work->err);
        if (rc < 0)
            return rc;
        work->chain[i] = (size_t)(uintptr_t)syn_map_find(work->spares, syn_buf_text(&key));
        rc = syn_map_put_take(work->spares, syn_buf_text(&key), index_value(i), work->err);
    }
    for (size_t i = 0; rc == SYN_OK && i < work->table->backend_count; i++)
        rc = backend_next(work, &work->table->backends[i]);
    for (size_t i = 0; rc == SYN_OK && i < old->slot_count; i++)
        if (!work->taken[i])
            rc = backend_gone(work, &old->slots[i]);
    return rc;
}

/* --- frontends -------------------------------------------------------------------------------- */

static int
door_push(struct work *work, struct lb_door *door)
{
    struct lb_model *next = work->next;

    if (!syn_grow((void *)&next->doors, &next->door_cap, next->door_count + 1,
                  sizeof(*next->doors)))
        return no_memory(work->err);
    next->doors[next->door_count++] = *door;
    door->shape = door->list = NULL;
    return SYN_OK;
}

static int
map_doors(const struct lb_model *old, struct syn_map **ret, struct syn_err *err)
{
    int rc = syn_map_new(NULL, ret, err);

    for (size_t i = 0; rc == SYN_OK && i < old->door_count; i++)
        rc = syn_map_put_take(*ret, old->doors[i].address, index_value(i), err);
    return rc;
}

static int
route_put(struct work *work, const char *key, const char *backend)
{
    const struct lb_model *next = work->next;
    size_t at = (size_t)(uintptr_t)syn_map_find(work->slot_of, backend);
    char name[16];
    char *target;

    assert(at > 0);
    (void)snprintf(name, sizeof(name), "b%u", next->slots[at - 1].number);
    target = syn_strdup(name);
    if (target == NULL)
        return no_memory(work->err);
    return syn_map_put_take(next->routes, key, target, work->err);
}

/* Whose an address is. */
static int
caller_put(struct work *work, const char *key, const char *caller)
{
    char *name = syn_strdup(caller);

    return name == NULL ? no_memory(work->err)
                        : syn_map_put_take(work->next->routes, key, name, work->err);
}

static int
routes_next(struct work *work, const struct syn_balancer_frontend *frontend, unsigned number)
{
    char key[LB_KEY_SIZE];
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < frontend->caller_count; i++) {
        rc = lb_caller_key(number, &frontend->callers[i], key, work->err);
        if (rc == SYN_OK)
            rc = caller_put(work, key, frontend->callers[i].name);
    }
    for (size_t i = 0; rc == SYN_OK && i < frontend->pair_count; i++) {
        rc = lb_pair_key(number, frontend, &frontend->pairs[i], key, work->err);
        if (rc == SYN_OK)
            rc = route_put(work, key, frontend->pairs[i].backend);
    }

    if (rc == SYN_OK && frontend->backend != NULL) {
        (void)snprintf(key, sizeof(key), "f%u|/", number);
        rc = route_put(work, key, frontend->backend);
    }
    for (size_t i = 0; rc == SYN_OK && i < frontend->route_count; i++) {
        rc = lb_route_key(number, &frontend->routes[i], key, work->err);
        if (rc == SYN_OK)
            rc = route_put(work, key, frontend->routes[i].backend);
    }
    return rc;
}

/* How long requests wait for a first server of the backend, and a mark of whose it is and of which
 * shape, under its section's name. */
static int
hold_next(struct work *work, const struct syn_balancer_backend *backend)
{
    size_t at = (size_t)(uintptr_t)syn_map_find(work->slot_of, backend->id);
    uint8_t digest[SYN_SHA256_LEN];
    char name[16], limit[32], mark[17];
    const struct lb_slot *slot;
    SYN_BUF(whose);
    char *value;
    int rc;

    if (backend->hold_ms == 0 || !work->setup->lua)
        return SYN_OK;
    assert(at > 0);
    slot = &work->next->slots[at - 1];
    (void)snprintf(name, sizeof(name), "b%u", slot->number);
    syn_buf_addf(&whose, "%s\n%s\n%s", backend->id, slot->shape, slot->options);
    rc = syn_buf_ok(&whose, work->err);
    if (rc < 0)
        return rc;
    syn_sha256(whose.data, whose.len, digest);
    syn_hex_encode(digest, (sizeof(mark) - 1) / 2, mark);
    (void)snprintf(limit, sizeof(limit), "%u/%s", backend->hold_ms, mark);
    value = syn_strdup(limit);
    return value == NULL ? no_memory(work->err)
                         : syn_map_put_take(work->next->routes, name, value, work->err);
}

/* Where a part of its requests is sent as well, and how large that is. */
static int
mirror_next(struct work *work, const struct syn_balancer_backend *backend)
{
    const struct lb_model *next = work->next;
    size_t at = (size_t)(uintptr_t)syn_map_find(work->slot_of, backend->id);
    size_t to = (size_t)(uintptr_t)syn_map_find(work->slot_of,
                                                backend->mirror == NULL ? "" : backend->mirror);
    char key[LB_CONTROL_SIZE], text[32];
    char *value;

    if (backend->mirror == NULL || !work->setup->lua)
        return SYN_OK;
    assert(at > 0 && to > 0);
    lb_mirror_key(next->slots[at - 1].number, key);
    (void)snprintf(text, sizeof(text), "%u/b%u", backend->mirror_percent,
                   next->slots[to - 1].number);
    value = syn_strdup(text);
    return value == NULL ? no_memory(work->err)
                         : syn_map_put_take(next->routes, key, value, work->err);
}

/* Say `verb` of each certificate that is in `list` and not in `other`. Both are lines. */
static void
list_compare(struct work *work, struct syn_buf *out, const char *verb, unsigned door,
             const char *list, const char *other)
{
    for (const char *end; (end = strchr(list, '\n')) != NULL; list = end + 1) {
        const char *at = other;
        size_t len = (size_t)(end - list) + 1;

        while (at != NULL && *at != '\0' && strncmp(at, list, len) != 0)
            at = strchr(at, '\n') + 1;
        if (at == NULL || *at == '\0')
            command(work, out, "%s ssl crt-list f%u.list %.*s", verb, door, (int)len, list);
    }
}

static void
list_next(struct work *work, unsigned door, const char *old, const char *wanted)
{
    list_compare(work, &work->filled, "add", door, wanted, old);
    list_compare(work, &work->moved, "del", door, old, wanted);
}

static int
door_next(struct work *work, const struct syn_balancer_frontend *frontend,
          const struct syn_map *by_address)
{
    SYN_SCOPED(door_scope) struct lb_door door = {.open = true};
    const struct lb_door *old = NULL;
    char address[LB_ADDRESS_SIZE];
    unsigned number;
    size_t at;
    int rc = lb_address(frontend->address, address, work->err);

    if (rc < 0)
        return rc;
    at = (size_t)(uintptr_t)syn_map_find(by_address, address);
    if (at > 0)
        old = &work->old->doors[at - 1];
    number = door.number = old == NULL ? work->next->next_door++ : old->number;
    rc = lb_door_shape(work->setup, work->next, frontend, &door, work->err);
    if (rc < 0)
        return rc;
    if (old == NULL)
        need_reload(work, "a new address");
    else if (strcmp(old->shape, door.shape) != 0)
        need_reload(work, "a frontend of another shape");
    else if (!old->open)
        command(work, &work->moved, "enable frontend f%u\n", number);
    if (old != NULL && old->list != NULL && door.list != NULL)
        list_next(work, number, old->list, door.list);
    rc = door_push(work, &door);
    return rc < 0 ? rc : routes_next(work, frontend, number);
}

/* An address that nobody wants any more. */
static int
door_gone(struct work *work, const struct lb_door *old)
{
    SYN_SCOPED(door_scope) struct lb_door door = *old;

    door.open = false;
    door.shape = door.list = NULL;
    if (!old->spare) {
        need_reload(work, "an address is gone");
        return SYN_OK;
    }
    if (old->open)
        command(work, &work->moved, "disable frontend f%u\n", old->number);
    door.shape = syn_strdup(old->shape);
    return door.shape == NULL ? no_memory(work->err) : door_push(work, &door);
}

static int
doors_next(struct work *work)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *by_address = NULL;
    SYN_SCOPED(syn_map_free_scope) struct syn_map *wanted = NULL;
    const struct lb_model *old = work->old;
    int rc = map_doors(old, &by_address, work->err);

    /* From here on: where the backends are in `next`. */
    for (size_t i = 0; rc == SYN_OK && i < work->table->backend_count; i++)
        rc = syn_map_put_take(work->slot_of, work->next->slots[i].id, index_value(i), work->err);
    for (size_t i = 0; rc == SYN_OK && i < work->table->frontend_count; i++)
        rc = door_next(work, &work->table->frontends[i], by_address);
    if (rc == SYN_OK)
        rc = map_doors(work->next, &wanted, work->err);
    for (size_t i = 0; rc == SYN_OK && i < old->door_count; i++)
        if (syn_map_find(wanted, old->doors[i].address) == NULL)
            rc = door_gone(work, &old->doors[i]);
    return rc;
}

static void
routes_compare(struct work *work)
{
    const char *key;
    void *value;
    size_t cursor = 0;

    while (syn_map_next(work->next->routes, &cursor, &key, &value)) {
        const char *before = syn_map_find(work->old->routes, key);

        if (before == NULL)
            command(work, &work->filled, "add map routes.map %s %s\n", key, (const char *)value);
        else if (strcmp(before, value) != 0)
            command(work, &work->filled, "set map routes.map %s %s\n", key, (const char *)value);
    }
    cursor = 0;
    while (syn_map_next(work->old->routes, &cursor, &key, &value))
        if (syn_map_find(work->next->routes, key) == NULL)
            command(work, &work->moved, "del map routes.map %s\n", key);
}

/* --- certificates ----------------------------------------------------------------------------- */

static int
cert_next(struct work *work, const struct syn_balancer_cert *given)
{
    struct lb_model *next = work->next;
    const struct lb_cert *old = NULL;
    struct lb_cert *cert;
    bool same;
    int rc = SYN_OK;

    if (!syn_grow((void *)&next->certs, &next->cert_cap, next->cert_count + 1,
                  sizeof(*next->certs)))
        return no_memory(work->err);
    cert = &next->certs[next->cert_count++];
    *cert = (struct lb_cert){.id = syn_strdup(given->id)};
    if (cert->id == NULL)
        return no_memory(work->err);
    for (size_t i = 0; old == NULL && i < work->old->cert_count; i++)
        if (strcmp(work->old->certs[i].id, given->id) == 0)
            old = &work->old->certs[i];
    syn_sha256(given->pem, given->pem_len, cert->digest);
    same = old != NULL && memcmp(old->digest, cert->digest, sizeof(cert->digest)) == 0;
    cert->number = old == NULL ? next->next_cert++ : old->number;
    if (same)
        cert->pem = syn_strdup(old->pem);
    else
        rc = syn_balancer_pem(given->pem, given->pem_len, &cert->pem, work->err);
    if (rc < 0)
        return syn_err_wrap(work->err, rc, "certificate %s", given->id);
    if (cert->pem == NULL)
        return no_memory(work->err);
    if (same)
        return SYN_OK;
    if (strlen(cert->pem) > LB_PEM_WIRE_MAX)
        need_reload(work, "a long certificate");
    /* One that no frontend uses is not loaded by a start: the commands then fail, and a reload
     * follows. */
    if (old == NULL)
        command(work, &work->filled, "new ssl cert c%u.pem\n", cert->number);
    command(work, &work->filled, "set ssl cert c%u.pem <<\n%s\n", cert->number, cert->pem);
    command(work, &work->filled, "commit ssl cert c%u.pem\n", cert->number);
    return SYN_OK;
}

static int
authority_next(struct work *work)
{
    const char *given = work->table->authority, *old = work->old->authority;

    if ((given == NULL) != (old == NULL) || (given != NULL && strcmp(given, old) != 0))
        need_reload(work, "another authority");
    if (given != NULL)
        work->next->authority = syn_strdup(given);
    return given != NULL && work->next->authority == NULL ? no_memory(work->err) : SYN_OK;
}

/* --- spares ----------------------------------------------------------------------------------- */

static int
spare_push(struct work *work, const struct lb_slot *like)
{
    SYN_SCOPED(slot_scope)
    struct lb_slot slot = {
        .number = work->next->next_slot++,
        .next_server = 1,
        .sticky = like->sticky,
        .checked = like->checked,
        .shape = syn_strdup(like->shape),
        .options = syn_strdup(like->options),
    };

    if (slot.shape == NULL || slot.options == NULL)
        return no_memory(work->err);
    return slot_push(work, &slot);
}

/* As many again as a quarter of what there is of each shape, two at least. */
static int
spares_of_shapes(struct work *work)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *counts = NULL;
    size_t used = work->next->slot_count, left = LB_SPARES_MAX - HTTP_SPARES;
    SYN_BUF(key);
    int rc = syn_map_new(NULL, &counts, work->err);

    for (size_t i = 0; rc == SYN_OK && i < used; i++) {
        rc = shape_key(&work->next->slots[i], &key, work->err);
        if (rc == SYN_OK)
            rc = syn_map_put_take(
                counts, syn_buf_text(&key),
                index_value((size_t)(uintptr_t)syn_map_find(counts, syn_buf_text(&key))),
                work->err);
    }
    for (size_t i = 0; rc == SYN_OK && i < used; i++) {
        size_t count, spares;

        rc = shape_key(&work->next->slots[i], &key, work->err);
        if (rc < 0)
            break;
        count = (size_t)(uintptr_t)syn_map_find(counts, syn_buf_text(&key));
        spares = count == 0 ? 0 : SYN_MIN(left, SYN_MAX(2, count / 4));
        (void)syn_map_remove(counts, syn_buf_text(&key));
        left -= spares;
        while (rc == SYN_OK && spares-- > 0)
            rc = spare_push(work, &work->next->slots[i]);
    }
    return rc;
}

static int
spare_doors(struct work *work)
{
    SYN_SCOPED(syn_map_free_scope) struct syn_map *wanted = NULL;
    int rc = map_doors(work->next, &wanted, work->err);

    for (unsigned i = 0; rc == SYN_OK && i < work->setup->spare_count; i++) {
        SYN_SCOPED(door_scope) struct lb_door door = {0};
        char address[LB_ADDRESS_SIZE + 8];
        struct syn_balancer_frontend frontend = {.address = address};

        (void)snprintf(address, sizeof(address), "%s:%u", work->setup->spare_host,
                       work->setup->spare_port + i);
        if (syn_map_find(wanted, address) != NULL)
            continue;
        door.number = work->next->next_door++;
        rc = lb_door_shape(work->setup, work->next, &frontend, &door, work->err);
        if (rc == SYN_OK)
            rc = door_push(work, &door);
    }
    return rc;
}

/* A fresh process begins without what only leaves, and with new spares. */
static int
refresh(struct work *work)
{
    static const struct syn_balancer_backend plain;
    SYN_SCOPED(slot_scope) struct lb_slot like = {0};
    struct lb_model *next = work->next;
    size_t doors = next->door_count;
    int rc;

    while (next->slot_count > 0 && next->slots[next->slot_count - 1].id == NULL)
        slot_fini(&next->slots[--next->slot_count]);
    lb_model_fresh(next);
    while (doors > 0 && !next->doors[doors - 1].open)
        door_scope(&next->doors[--doors]);
    next->door_count = doors;
    rc = spares_of_shapes(work);
    if (rc == SYN_OK)
        rc = lb_slot_shape(work->setup, &plain, &like, work->err);
    for (unsigned i = 0; rc == SYN_OK && i < HTTP_SPARES; i++)
        rc = spare_push(work, &like);
    return rc < 0 ? rc : spare_doors(work);
}

/* --- all of it -------------------------------------------------------------------------------- */

static int
work_run(struct work *work)
{
    struct lb_model *next = work->next;
    int rc = syn_map_new(NULL, &work->slot_of, work->err);

    next->next_slot = work->old->next_slot;
    next->next_door = work->old->next_door;
    next->next_cert = work->old->next_cert;
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &work->spares, work->err);
    if (rc == SYN_OK && (work->taken == NULL || work->chain == NULL))
        rc = no_memory(work->err);
    for (size_t i = 0; rc == SYN_OK && i < work->table->cert_count; i++)
        rc = cert_next(work, &work->table->certs[i]);
    if (rc == SYN_OK)
        rc = authority_next(work);
    if (rc == SYN_OK)
        rc = backends_next(work);
    if (rc == SYN_OK)
        rc = doors_next(work);
    for (size_t i = 0; rc == SYN_OK && i < work->table->backend_count; i++)
        rc = hold_next(work, &work->table->backends[i]);
    for (size_t i = 0; rc == SYN_OK && i < work->table->backend_count; i++)
        rc = mirror_next(work, &work->table->backends[i]);
    if (rc < 0)
        return rc;
    routes_compare(work);
    return work->reload == NULL ? SYN_OK : refresh(work);
}

static int
work_done(struct work *work, struct lb_change *change)
{
    struct syn_buf *out = &change->commands;

    *change = (struct lb_change){.reload = work->reload};
    if (work->reload != NULL)
        return SYN_OK;
    change->command_count = work->command_count;
    syn_buf_add(out, work->filled.data, work->filled.len);
    syn_buf_add(out, work->moved.data, work->moved.len);
    syn_buf_add(out, work->emptied.data, work->emptied.len);
    out->failed = out->failed || work->filled.failed || work->moved.failed || work->emptied.failed;
    return syn_buf_ok(out, work->err);
}

int
lb_model_next(const struct lb_setup *setup, const struct lb_model *old,
              const struct syn_balancer_table *table, struct lb_model **ret_model,
              struct lb_change *change, struct syn_err *err)
{
    SYN_SCOPED(lb_model_free_scope) struct lb_model *next = NULL;
    struct work work = {
        .setup = setup,
        .old = old,
        .table = table,
        .filled = SYN_BUF_INIT,
        .moved = SYN_BUF_INIT,
        .emptied = SYN_BUF_INIT,
        .taken = syn_calloc(old->slot_count + 1, sizeof(bool)),
        .chain = syn_calloc(old->slot_count + 1, sizeof(size_t)),
        .err = err,
    };
    int rc = lb_model_new(&next, err);

    *change = (struct lb_change){.commands = SYN_BUF_INIT};
    work.next = next;
    if (rc == SYN_OK)
        rc = work_run(&work);
    if (rc == SYN_OK)
        rc = work_done(&work, change);
    if (rc == SYN_OK)
        *ret_model = SYN_TAKE(next);
    else
        lb_change_fini(change);
    syn_buf_fini(&work.filled);
    syn_buf_fini(&work.moved);
    syn_buf_fini(&work.emptied);
    (void)syn_map_free(work.slot_of);
    (void)syn_map_free(work.spares);
    syn_free(work.taken);
    syn_free(work.chain);
    return rc;
}
