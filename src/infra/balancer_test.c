/* The pure half of the balancer: what a table may hold, and that the commands lead from one table
 * to the next. The latter is held against a HAProxy made of three maps, which knows nothing of
 * models: it reads configurations and commands as the real one does. */
#include <synor/base/test.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/str.h>

#include "balancer_priv.h"

/* --- what a table may hold -------------------------------------------------------------------- */

static void
expect(const struct syn_balancer_table *table, const char *why)
{
    struct syn_err err;

    if (why == NULL) {
        assert_done(syn_balancer_check(table, &err), &err);
        return;
    }
    assert_code(syn_balancer_check(table, &err), SYN_E_INVALID, &err);
    if (strstr(err.msg, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void
test_addresses(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    static const struct {
        const char *text, *canonical;
    } rows[] = {
        {"127.0.0.1:80", "127.0.0.1:80"},
        {"[::1]:65535", "[::1]:65535"},
        {"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"},
        {"127.0.0.1", NULL},
        {"127.0.0.1:", NULL},
        {"127.0.0.1:0", NULL},
        {"127.0.0.1:65536", NULL},
        {"127.0.0.1:080000", NULL},
        {"127.0.0.1:080", NULL},
        {"127.0.0.01:80", NULL},
        {"127.1:80", NULL},
        {"::1:80", NULL},
        {"[::1]", NULL},
        {"[::1%lo]:80", NULL},
        {"localhost:80", NULL},
        {"*:80", NULL},
        {"127.0.0.1:80 ssl", NULL},
        {"127.0.0.1:80\n", NULL},
        {"unix@/tmp/x:80", NULL},
        {"", NULL},
        {NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char out[LB_ADDRESS_SIZE];
        struct syn_err err;
        int rc = lb_address(rows[i].text, out, &err);

        if (rows[i].canonical == NULL) {
            assert_code(rc, SYN_E_INVALID, &err);
            continue;
        }
        assert_done(rc, &err);
        assert_string_equal(out, rows[i].canonical);
    }
}

static void
test_route_keys(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    static const struct {
        const char *host, *path, *key;
    } rows[] = {
        {NULL, NULL, "f3|/"},
        {"A.Example", "/Api", "f3|a.example/Api/"},
        {"*.a.example", "/", "f3|*.a.example/"},
        {NULL, "/x/", "f3|/x/"},
        {"a b", NULL, NULL},
        {"a..b", NULL, NULL},
        {".a", NULL, NULL},
        {"*", NULL, NULL},
        {"*.*.a", NULL, NULL},
        {"a/b", NULL, NULL},
        {"a;b", NULL, NULL},
        {"", NULL, NULL},
        {NULL, "x", NULL},
        {NULL, "/x y", NULL},
        {NULL, "/x\ndel map", NULL},
        {NULL, "/x;del", NULL},
        {NULL, "/x\\", NULL},
        {NULL, "/<<", NULL},
        {NULL, "//", NULL},
        {NULL, "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_balancer_route route = {.host = rows[i].host, .path = rows[i].path};
        char key[LB_KEY_SIZE];
        struct syn_err err;
        int rc = lb_route_key(3, &route, key, &err);

        if (rows[i].key == NULL) {
            assert_code(rc, SYN_E_INVALID, &err);
            continue;
        }
        assert_done(rc, &err);
        assert_string_equal(key, rows[i].key);
    }
}

static void
test_hostile_tables(void **state)
{
    struct syn_balancer_server servers[2] = {{.id = "a", .address = "127.0.0.1:1", .weight = 1},
                                             {.id = "b", .address = "127.0.0.1:2", .weight = 1}};
    struct syn_balancer_backend good = {.id = "one", .servers = servers, .server_count = 2}, bad;
    struct syn_balancer_frontend front = {.id = "f", .address = "127.0.0.1:9", .backend = "one"};
    struct syn_balancer_table table = {
        .backends = &bad, .backend_count = 1, .frontends = &front, .frontend_count = 1};

    (void)state;
    bad = good;
    expect(&table, NULL);
    bad.id = "one\n  bind *:1";
    expect(&table, "backend");
    bad = good;
    bad.cookie = "a b";
    expect(&table, "cookie");
    bad.cookie = "a\"";
    expect(&table, "cookie");
    bad = good;
    bad.health = (struct syn_balancer_health){.check = SYN_BALANCER_CHECK_HTTP, .path = "/'\n"};
    expect(&table, "path");
    bad.health.path = "/";
    bad.health.host = "a'";
    expect(&table, "host");
    bad.health = (struct syn_balancer_health){.errors_max = 5};
    expect(&table, "check");
    bad = good;
    bad.mode = SYN_BALANCER_TCP;
    expect(&table, "mode");
    bad = good;
    bad.retries = 11;
    expect(&table, "retries");
    bad.retries = -2;
    expect(&table, "retries");
    bad = good;
    servers[1].id = "a";
    expect(&table, "twice");
    servers[1].id = "b";
    servers[1].weight = 257;
    expect(&table, "weight");
    servers[1].weight = 1;
    servers[1].address = "evil.example:1";
    expect(&table, "address");
    servers[1].address = "127.0.0.1:2";
    front.backend = "none";
    expect(&table, "backend none");
    front.backend = "one";
    front.certs = (const char *const[]){"c"};
    front.cert_count = 1;
    expect(&table, "certificate");
}

/* --- HAProxy made of three maps --------------------------------------------------------------- */

struct sim {
    struct syn_map *servers; /* "b1/s2" -> "127.0.0.1:1 7 ready" */
    struct syn_map *routes;
    struct syn_map *doors; /* "f1" -> "127.0.0.1:1 open" */
    struct syn_map *backends;
};

static void
sim_fini(struct sim *sim)
{
    (void)syn_map_free(sim->servers);
    (void)syn_map_free(sim->routes);
    (void)syn_map_free(sim->doors);
    (void)syn_map_free(sim->backends);
}

static void
sim_init(struct sim *sim)
{
    assert_int_equal(syn_map_new(syn_free, &sim->servers, NULL), 0);
    assert_int_equal(syn_map_new(syn_free, &sim->routes, NULL), 0);
    assert_int_equal(syn_map_new(syn_free, &sim->doors, NULL), 0);
    assert_int_equal(syn_map_new(NULL, &sim->backends, NULL), 0);
}

static void
put(struct syn_map *map, const char *key, const char *value)
{
    assert_int_equal(syn_map_put_take(map, key, syn_strdup(value), NULL), 0);
}

/* "ADDRESS ... weight W id N [disabled]" as the maps have it. */
static void
sim_server(struct sim *sim, const char *name, const char *words, const char *state)
{
    char address[64], value[128];
    unsigned weight;
    const char *at = strstr(words, " weight ");

    assert_non_null(at);
    assert_int_equal(sscanf(words, "%63s", address), 1);    /* NOLINT(cert-err34-c) */
    assert_int_equal(sscanf(at, " weight %u", &weight), 1); /* NOLINT(cert-err34-c) */
    (void)snprintf(value, sizeof(value), "%s %u %s", address, weight, state);
    assert_null(syn_map_find(sim->servers, name));
    put(sim->servers, name, value);
}

static void
sim_config_line(struct sim *sim, char *section, char *line)
{
    char name[64];
    int at = 0;

    if (sscanf(line, "frontend %31s", section) == 1) /* NOLINT(cert-err34-c) */
        return;
    if (sscanf(line, "backend %31s", section) == 1) { /* NOLINT(cert-err34-c) */
        assert_null(syn_map_find(sim->backends, section));
        assert_int_equal(syn_map_put_take(sim->backends, section, sim, NULL), 0);
    } else if (sscanf(line, "  server %31s %n", name + 32, &at) == 1) { /* NOLINT(cert-err34-c) */
        char full[80];

        (void)snprintf(full, sizeof(full), "%s/%s", section, name + 32);
        sim_server(sim, full, line + at, syn_str_ends(line, " disabled") ? "maint" : "ready");
    } else if (sscanf(line, "  bind %63s", name) == 1) { /* NOLINT(cert-err34-c) */
        char value[80];

        (void)snprintf(value, sizeof(value), "%s open", name);
        put(sim->doors, section, value);
    }
}

static void
sim_lines(struct sim *sim, const char *text, void (*fn)(struct sim *, char *, char *))
{
    char section[32] = "";
    char *copy = syn_strdup(text);
    char *rest = copy;

    assert_non_null(copy);
    for (char *end; (end = strchr(rest, '\n')) != NULL; rest = end + 1) {
        *end = '\0';
        fn(sim, section, rest);
    }
    syn_free(copy);
}

/* Change the last word of a value. */
static void
sim_state(struct syn_map *map, const char *key, const char *word)
{
    char value[128];
    const char *old = syn_map_find(map, key);

    assert_non_null(old);
    (void)syn_str_copy(value, sizeof(value), old);
    (void)syn_str_copy(strrchr(value, ' ') + 1, 16, word);
    put(map, key, value);
}

static void
sim_weight(struct sim *sim, const char *key, unsigned weight)
{
    char value[128], address[64], state[16];
    const char *old = syn_map_find(sim->servers, key);

    assert_non_null(old);
    assert_int_equal(sscanf(old, "%63s %*u %15s", address, state), 2); /* NOLINT(cert-err34-c) */
    (void)snprintf(value, sizeof(value), "%s %u %s", address, weight, state);
    put(sim->servers, key, value);
}

static void
sim_command(struct sim *sim, char *section, char *line) /* NOLINT(readability-function-size) */
{
    char a[LB_KEY_SIZE + 1], b[64];
    unsigned weight;
    int at = 0;

    (void)section;
    /* NOLINTBEGIN(cert-err34-c) */
    if (sscanf(line, "add server %63s %n", b, &at) == 1) {
        char backend[64];

        assert_int_equal(sscanf(b, "%63[^/]", backend), 1);
        assert_non_null(syn_map_find(sim->backends, backend));
        sim_server(sim, b, line + at, "maint");
    } else if (sscanf(line, "set server %63s weight %u", b, &weight) == 2) {
        sim_weight(sim, b, weight);
    } else if (sscanf(line, "set server %63s state %15s", b, a) == 2) {
        sim_state(sim->servers, b, a);
    } else if (sscanf(line, "add map routes.map %400s %63s", a, b) == 2) {
        assert_null(syn_map_find(sim->routes, a));
        put(sim->routes, a, b);
    } else if (sscanf(line, "set map routes.map %400s %63s", a, b) == 2) {
        assert_non_null(syn_map_find(sim->routes, a));
        put(sim->routes, a, b);
    } else if (sscanf(line, "del map routes.map %400s", a) == 1) {
        assert_true(syn_map_remove(sim->routes, a));
    } else if (sscanf(line, "enable frontend %63s", b) == 1) {
        sim_state(sim->doors, b, "open");
    } else if (sscanf(line, "disable frontend %63s", b) == 1) {
        sim_state(sim->doors, b, "closed");
    } else if (sscanf(line, "enable health %63s", b) == 1) {
        assert_non_null(syn_map_find(sim->servers, b));
    } else if (strncmp(line, "set dynamic-cookie-key backend b", 32) != 0) {
        fail_msg("no such command: %s", line);
    }
    /* NOLINTEND(cert-err34-c) */
}

static void
sim_map_line(struct sim *sim, char *section, char *line)
{
    char *blank = strchr(line, ' ');

    (void)section;
    *blank = '\0';
    put(sim->routes, line, blank + 1);
}

static void
sim_reload(struct sim *sim, const struct lb_setup *setup, const struct lb_model *model)
{
    SYN_BUF(config);
    SYN_BUF(map);

    sim_fini(sim);
    sim_init(sim);
    assert_int_equal(lb_render(setup, model, "c", &config, NULL), 0);
    assert_int_equal(lb_render_map(model, &map, NULL), 0);
    sim_lines(sim, syn_buf_text(&config), sim_config_line);
    sim_lines(sim, syn_buf_text(&map), sim_map_line);
    for (size_t i = 0; i < model->door_count; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "f%u", model->doors[i].number);
        if (!model->doors[i].open)
            sim_state(sim->doors, name, "closed");
    }
}

/* --- that is what was wanted ------------------------------------------------------------------ */

/* The section that serves the route "f1|..." of a frontend, by its address. */
static const char *
sim_route(const struct sim *sim, const char *address, const struct syn_balancer_route *route)
{
    const char *name;
    void *value;
    size_t cursor = 0;
    char open[80], key[LB_KEY_SIZE];
    unsigned number;

    (void)snprintf(open, sizeof(open), "%s open", address);
    while (syn_map_next(sim->doors, &cursor, &name, &value)) {
        if (strcmp(value, open) != 0)
            continue;
        assert_int_equal(sscanf(name, "f%u", &number), 1); /* NOLINT(cert-err34-c) */
        assert_int_equal(lb_route_key(number, route, key, NULL), 0);
        return syn_map_find(sim->routes, key);
    }
    fail_msg("%s is not open", address);
    return NULL;
}

/* Exactly the servers of `backend` are ready, or have no weight, in that section. */
static void
verify_servers(const struct sim *sim, const char *section,
               const struct syn_balancer_backend *backend)
{
    char prefix[32], want[128];
    const char *name;
    void *value;
    size_t cursor = 0, ready = 0, expected = 0;

    (void)snprintf(prefix, sizeof(prefix), "%s/", section);
    while (syn_map_next(sim->servers, &cursor, &name, &value))
        ready += syn_str_starts(name, prefix) && syn_str_ends(value, " ready");
    for (size_t i = 0; i < backend->server_count; i++) {
        const struct syn_balancer_server *server = &backend->servers[i];
        bool found = false;

        if (server->state == SYN_BALANCER_OFF)
            continue;
        expected++;
        (void)snprintf(want, sizeof(want), "%s %u ready", server->address,
                       server->state == SYN_BALANCER_DRAIN ? 0 : server->weight);
        cursor = 0;
        while (!found && syn_map_next(sim->servers, &cursor, &name, &value))
            found = syn_str_starts(name, prefix) && strcmp(value, want) == 0;
        assert_true(found);
    }
    assert_int_equal(ready, expected);
}

static void
verify(const struct sim *sim, const struct syn_balancer_table *table)
{
    size_t routes = 0, open = 0, cursor = 0;
    const char *name;
    void *value;

    for (size_t i = 0; i < table->frontend_count; i++) {
        const struct syn_balancer_frontend *front = &table->frontends[i];
        struct syn_balancer_route whole = {.backend = front->backend};

        for (size_t k = 0; k <= front->route_count; k++) {
            const struct syn_balancer_route *route =
                k < front->route_count ? &front->routes[k] : &whole;
            const char *section = sim_route(sim, front->address, route);

            if (route->backend == NULL) {
                assert_null(section);
                continue;
            }
            routes++;
            assert_non_null(section);
            for (size_t b = 0; b < table->backend_count; b++)
                if (strcmp(table->backends[b].id, route->backend) == 0)
                    verify_servers(sim, section, &table->backends[b]);
        }
    }
    assert_int_equal(syn_map_count(sim->routes), routes);
    while (syn_map_next(sim->doors, &cursor, &name, &value))
        open += syn_str_ends(value, " open");
    assert_int_equal(open, table->frontend_count);
}

/* --- random tables ---------------------------------------------------------------------------- */

#define BACKENDS 7
#define SERVERS  6
#define DOORS    6

struct dice {
    struct syn_balancer_server servers[BACKENDS][SERVERS];
    struct syn_balancer_backend backends[BACKENDS];
    struct syn_balancer_route routes[DOORS][3];
    struct syn_balancer_frontend doors[DOORS];
    struct syn_balancer_table table;
    char texts[512][24];
    size_t text_count;
};

static const char *
text(struct dice *dice, const char *before, unsigned n)
{
    char *out = dice->texts[dice->text_count++];

    assert_true(dice->text_count < SYN_LEN(dice->texts));
    (void)snprintf(out, sizeof(dice->texts[0]), "%s%u", before, n);
    return out;
}

static void
roll_backend(struct dice *dice, uint64_t *seed, unsigned i)
{
    struct syn_balancer_backend *backend = &dice->backends[dice->table.backend_count++];

    *backend = (struct syn_balancer_backend){
        .id = text(dice, "n", i), .servers = dice->servers[i], .cookie = i == 1 ? "STICK" : NULL};
    if (syn_test_random(seed) % 8 == 0)
        backend->algorithm = SYN_BALANCER_RANDOM;
    if (i == 2)
        backend->health.check = SYN_BALANCER_CHECK_TCP;
    for (unsigned k = 0; k < SERVERS; k++) {
        if (syn_test_random(seed) % 3 == 0)
            continue;
        dice->servers[i][backend->server_count++] = (struct syn_balancer_server){
            .id = text(dice, "n", k),
            .address =
                text(dice, "127.0.0.1:", 1 + k + (unsigned)(syn_test_random(seed) % 8 == 0) * 100),
            .weight = (unsigned)(syn_test_random(seed) % 2) + 1,
            .state = syn_test_random(seed) % 6 == 0
                         ? (enum syn_balancer_state)(syn_test_random(seed) % 3)
                         : SYN_BALANCER_READY,
        };
    }
}

static const char *
roll_target(struct dice *dice, uint64_t *seed)
{
    size_t at = syn_test_random(seed) % (dice->table.backend_count + 1);

    return at == dice->table.backend_count ? NULL : dice->backends[at].id;
}

static void
roll_door(struct dice *dice, uint64_t *seed, unsigned i)
{
    static const char *const hosts[] = {"a.example", "*.example", NULL};
    struct syn_balancer_frontend *door = &dice->doors[dice->table.frontend_count++];

    /* The first four addresses are early ones. */
    *door = (struct syn_balancer_frontend){.id = text(dice, "n", i),
                                           .address = text(dice, "127.0.0.1:", 9000 + i),
                                           .backend = roll_target(dice, seed),
                                           .routes = dice->routes[i]};
    if (i < 4)
        return;
    for (unsigned k = 0; k < 3; k++) {
        const char *target = roll_target(dice, seed);

        if (k == 0 && target == NULL && dice->table.backend_count > 0)
            target = dice->backends[0].id; /* with a host or without is another shape */
        if (target != NULL)
            dice->routes[i][door->route_count++] = (struct syn_balancer_route){
                .host = hosts[k], .path = k == 2 ? "/x" : NULL, .backend = target};
    }
}

static void
roll(struct dice *dice, uint64_t *seed)
{
    *dice = (struct dice){.text_count = 0};
    dice->table.backends = dice->backends;
    dice->table.frontends = dice->doors;
    for (unsigned i = 0; i < BACKENDS; i++)
        if (syn_test_random(seed) % 4 != 0)
            roll_backend(dice, seed, i);
    for (unsigned i = 0; i < DOORS; i++)
        if (syn_test_random(seed) % (i < 4 ? 3 : 16) != 0)
            roll_door(dice, seed, i);
}

/* Some of what leaves has left. */
static void
let_some_leave(struct sim *sim, struct lb_model *model, uint64_t *seed)
{
    for (size_t i = 0; i < model->slot_count; i++) {
        struct lb_slot *slot = &model->slots[i];

        for (size_t k = slot->server_count; k-- > 0;) {
            char name[32];

            if (!slot->servers[k].leaving || syn_test_random(seed) % 2 == 0)
                continue;
            (void)snprintf(name, sizeof(name), "b%u/s%u", slot->number, slot->servers[k].number);
            assert_true(syn_str_ends(syn_map_find(sim->servers, name), " maint"));
            assert_true(syn_map_remove(sim->servers, name));
            lb_model_left(slot, k);
        }
    }
}

static const struct lb_setup setup = {.cookie_key = "0123456789abcdef0123456789abcdef",
                                      .spare_host = "127.0.0.1",
                                      .spare_port = 9000,
                                      .spare_count = 4,
                                      .threads = 1,
                                      .connections = 100};

static struct lb_model *
first_model(void)
{
    struct lb_model *model = NULL;

    assert_int_equal(lb_model_new(&model, NULL), 0);
    model->next_slot = model->next_door = model->next_cert = 1;
    return model;
}

static void
test_random_histories(void **state) /* NOLINT(readability-function-size): cmocka's macros nest */
{
    struct dice *dice = syn_alloc(sizeof(*dice));
    unsigned reloads = 0, steps = 0;

    (void)state;
    assert_non_null(dice);
    for (uint64_t run = 1; run <= 40; run++) {
        struct lb_model *model = first_model();
        struct sim sim;
        uint64_t seed = run * 7919;

        sim_init(&sim);
        for (unsigned i = 0; i < 25; i++, steps++) {
            struct lb_model *next = NULL;
            struct lb_change change;
            struct syn_err err;

            roll(dice, &seed);
            assert_done(syn_balancer_check(&dice->table, &err), &err);
            assert_done(lb_model_next(&setup, model, &dice->table, &next, &change, &err), &err);
            (void)lb_model_free(model);
            model = next;
            if (change.reload != NULL) {
                reloads++;
                sim_reload(&sim, &setup, model);
            } else {
                sim_lines(&sim, syn_buf_text(&change.commands), sim_command);
            }
            lb_change_fini(&change);
            verify(&sim, &dice->table);
            /* The same table again is no change. */
            assert_done(lb_model_next(&setup, model, &dice->table, &next, &change, &err), &err);
            assert_null(change.reload);
            assert_int_equal(change.command_count, 0);
            lb_change_fini(&change);
            (void)lb_model_free(next);
            let_some_leave(&sim, model, &seed);
        }
        sim_fini(&sim);
        (void)lb_model_free(model);
    }
    print_message("%u changes, %u of them by a reload\n", steps, reloads);
    assert_in_range(reloads, steps / 20, steps * 2 / 3);
    syn_free(dice);
}

/* Services that come and go on early addresses, all of one shape. */
static void
test_services_without_reload(void **state)
{
    struct syn_balancer_server server = {.id = "r1", .address = "127.0.0.1:7000", .weight = 1};
    struct syn_balancer_backend backend = {.servers = &server, .server_count = 1};
    struct syn_balancer_frontend door = {.id = "f"};
    struct syn_balancer_table empty = {.backends = NULL}, table = {.backends = &backend,
                                                                   .backend_count = 1,
                                                                   .frontends = &door,
                                                                   .frontend_count = 1};
    struct lb_model *model = first_model(), *next = NULL;
    struct lb_change change;
    struct syn_err err;
    struct sim sim;

    (void)state;
    sim_init(&sim);
    assert_done(lb_model_next(&setup, model, &empty, &next, &change, &err), &err);
    lb_change_fini(&change);
    (void)lb_model_free(model);
    model = next;
    sim_reload(&sim, &setup, model); /* the first table is a start */
    for (unsigned i = 0; i < 100; i++) {
        char id[16], address[32];

        (void)snprintf(id, sizeof(id), "s%u", i);
        (void)snprintf(address, sizeof(address), "127.0.0.1:%u", 9000 + i % 4);
        backend.id = door.backend = id;
        door.address = address;
        assert_done(
            lb_model_next(&setup, model, i % 3 == 2 ? &empty : &table, &next, &change, &err), &err);
        (void)lb_model_free(model);
        model = next;
        if (i == 0) { /* an empty model has no spares yet */
            assert_non_null(change.reload);
            sim_reload(&sim, &setup, model);
        } else {
            assert_null(change.reload);
            sim_lines(&sim, syn_buf_text(&change.commands), sim_command);
        }
        lb_change_fini(&change);
        verify(&sim, i % 3 == 2 ? &empty : &table);
    }
    sim_fini(&sim);
    (void)lb_model_free(model);
}

static int
sweep(void *arg, struct syn_err *err)
{
    struct dice *dice = arg;
    struct lb_model *model = NULL, *next = NULL, *last = NULL;
    struct lb_change change;
    uint64_t seed = 4711;
    int rc = lb_model_new(&model, err);

    roll(dice, &seed);
    if (rc == SYN_OK)
        rc = syn_balancer_check(&dice->table, err);
    if (rc == SYN_OK) {
        rc = lb_model_next(&setup, model, &dice->table, &next, &change, err);
        if (rc == SYN_OK)
            lb_change_fini(&change);
    }
    if (rc == SYN_OK) {
        dice->table.backend_count -= 1;
        dice->table.frontend_count = 0;
        rc = lb_model_next(&setup, next, &dice->table, &last, &change, err);
        if (rc == SYN_OK)
            lb_change_fini(&change);
    }
    (void)lb_model_free(model);
    (void)lb_model_free(next);
    (void)lb_model_free(last);
    return rc;
}

static void
test_without_memory(void **state)
{
    struct dice *dice = syn_alloc(sizeof(*dice));

    (void)state;
    assert_non_null(dice);
    assert_true(syn_test_sweep_alloc(sweep, dice) > 50);
    syn_free(dice);
}

/* --- counters --------------------------------------------------------------------------------- */

static const char header[] =
    "# "
    "pxname,svname,qcur,scur,stot,bin,bout,econ,eresp,wretr,wredis,act,hrsp_1xx,hrsp_2xx,hrsp_3xx,"
    "hrsp_4xx,hrsp_5xx,hrsp_other,req_tot,qtime,ctime,rtime,ttime,later,\n";

static void
test_counters(void **state)
{
    SYN_BUF(text_of);
    SYN_BUF(prom);
    struct lb_stat *stats = NULL;
    struct syn_balancer_counts counts = {.backend = "svc-1", .requests = 7, .response_ms = 12};
    struct syn_balancer_stats all = {.backends = &counts, .count = 1, .connections = 3};
    struct syn_err err;
    size_t count = 0;

    (void)state;
    syn_buf_adds(&text_of, header);
    syn_buf_adds(&text_of, "b1,BACKEND,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,x,\n");
    syn_buf_adds(&text_of, "b2,BACKEND,,-1,,,,,,,,,,,,,,,,,,,,\"a,b\",\n\n");
    assert_done(lb_stat_parse(text_of.data, text_of.len, &stats, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_string_equal(stats[0].proxy, "b1");
    assert_int_equal(stats[0].value[LB_QCUR], 1);
    assert_int_equal(stats[0].value[LB_5XX], 15);
    assert_int_equal(stats[0].value[LB_TTIME], 21);
    assert_int_equal(stats[1].value[LB_SCUR], 0);
    syn_free(stats);
    assert_code(lb_stat_parse("nonsense", 8, &stats, &count, &err), SYN_E_CORRUPT, &err);
    assert_code(lb_stat_parse("", 0, &stats, &count, &err), SYN_E_CORRUPT, &err);
    syn_buf_adds(&text_of, "b3,BACKEND,1x\n");
    assert_code(lb_stat_parse(text_of.data, text_of.len, &stats, &count, &err), SYN_E_CORRUPT,
                &err);
    syn_balancer_stats_write(&all, &prom);
    assert_non_null(strstr(prom.data, "synor_balancer_connections 3\n"));
    assert_non_null(strstr(prom.data, "synor_balancer_requests_total{service=\"svc-1\"} 7\n"));
    assert_non_null(
        strstr(prom.data, "synor_balancer_response_seconds{service=\"svc-1\"} 0.012\n"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_route_keys),
        cmocka_unit_test(test_hostile_tables),
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_services_without_reload),
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test(test_counters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
