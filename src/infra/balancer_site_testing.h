/* A site for tests of the balancer: one frontend, one backend of several servers, a HAProxy. */
#ifndef SYNOR_INFRA_BALANCER_SITE_TESTING_H
#define SYNOR_INFRA_BALANCER_SITE_TESTING_H

#include <synor/base/test.h>

#include <poll.h>

#include "balancer_priv.h"
#include "balancer_testing.h"

#define SERVERS 4

/* A table with one frontend and one backend of up to SERVERS servers, and the balancer for it. */
struct site {
    struct origin origins[SERVERS];
    struct syn_balancer_server servers[SERVERS];
    struct syn_balancer_backend backend;
    struct syn_balancer_frontend front;
    struct syn_balancer_table table;
    struct syn_balancer *balancer;
    struct syn_balancer_options options;
    char address[32], dir[256];
    unsigned port;
    struct syn_buf answer;
};

void site_set(struct site *site);
void site_open(struct site *site);
void site_init(struct site *site);
void site_fini(struct site *site);
const char *get(struct site *site, const char *host, const char *path, const char *headers);
bool has(const char *text, const char *part);
void expect_get(struct site *site, const char *host, const char *path, const char *part);
/* How often each was asked, since the last time. */
void counts(struct site *site, unsigned ret[SERVERS]);
void ask_often(struct site *site, unsigned times, unsigned ret[SERVERS]);
int have_haproxy(void **state);
int site_setup(void **state);
int site_teardown(void **state);

#define real(test) cmocka_unit_test_setup_teardown(test, site_setup, site_teardown)

#endif
