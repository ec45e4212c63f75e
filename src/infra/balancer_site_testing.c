#include "balancer_site_testing.h"

#include <stdio.h>
#include <string.h>

void
site_set(struct site *site)
{
    struct syn_err err;

    assert_done(syn_balancer_set(site->balancer, &site->table, &err), &err);
}

void
site_open(struct site *site)
{
    struct syn_err err;

    assert_done(syn_balancer_open(&site->options, &site->balancer, &err), &err);
}

void
site_init(struct site *site)
{
    static const char *const names[SERVERS] = {"o1", "o2", "o3", "o4"};
    static unsigned number;

    memset(site, 0, sizeof(*site));
    (void)snprintf(site->dir, sizeof(site->dir), "%s/lb%u", syn_test_dir(), number++);
    for (unsigned i = 0; i < SERVERS; i++) {
        origin_start(&site->origins[i], names[i]);
        site->servers[i] = (struct syn_balancer_server){
            .id = names[i], .address = site->origins[i].address, .weight = 10};
    }
    site->port = free_port();
    (void)snprintf(site->address, sizeof(site->address), "127.0.0.1:%u", site->port);
    site->backend = (struct syn_balancer_backend){
        .id = "acct/web", .servers = site->servers, .server_count = SERVERS};
    site->front = (struct syn_balancer_frontend){
        .id = "front", .address = site->address, .backend = "acct/web"};
    site->table = (struct syn_balancer_table){.frontends = &site->front,
                                              .frontend_count = 1,
                                              .backends = &site->backend,
                                              .backend_count = 1};
    site->options = (struct syn_balancer_options){.dir = site->dir, .threads = 2};
    site_open(site);
}

void
site_fini(struct site *site)
{
    site->balancer = syn_balancer_close(site->balancer, false);
    for (unsigned i = 0; i < SERVERS; i++)
        origin_stop(&site->origins[i]);
    syn_buf_fini(&site->answer);
}

const char *
get(struct site *site, const char *host, const char *path, const char *headers)
{
    ask(site->port, host, path, headers, &site->answer);
    return syn_buf_text(&site->answer);
}

bool
has(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

void
expect_get(struct site *site, const char *host, const char *path, const char *part)
{
    const char *text = get(site, host, path, "");

    if (!has(text, part))
        fail_msg("%s%s: \"%s\" is not in \"%s\"", host, path, part, text);
}

/* How often each was asked, since the last time. */
void
counts(struct site *site, unsigned ret[SERVERS])
{
    for (unsigned i = 0; i < SERVERS; i++)
        ret[i] = atomic_exchange(&site->origins[i].requests, 0);
}

void
ask_often(struct site *site, unsigned times, unsigned ret[SERVERS])
{
    unsigned before[SERVERS];

    counts(site, before);
    for (unsigned i = 0; i < times; i++)
        expect_get(site, "h", "/", "200");
    counts(site, ret);
}

int
have_haproxy(void **state)
{
    char path[4096], version[32];
    struct syn_err err;

    (void)state;
    if (syn_balancer_find(path, sizeof(path), version, sizeof(version), &err) == SYN_OK)
        return 0;
    (void)fprintf(stderr, "skipped: %s\n", err.msg);
    return -1;
}

int
site_setup(void **state)
{
    struct site *site = syn_calloc(1, sizeof(*site));

    assert_non_null(site);
    site_init(site);
    *state = site;
    return 0;
}

int
site_teardown(void **state)
{
    site_fini(*state);
    syn_free(*state);
    return 0;
}
