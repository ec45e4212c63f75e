/* What makes a mesh's table: memory that lives as long as the table, what has been read of
 * documents, and lists that grow. */
#ifndef SYN_AGENT_MESH_MAKE_PRIV_H
#define SYN_AGENT_MESH_MAKE_PRIV_H

#include "mesh_priv.h"

/* A service, read. Text is the document's. */
struct service {
    const json_t *doc;
    const char *id, *label, *name, *peer; /* peer: its name in TLS */
    const char *address;                  /* "10.127.0.1:80"; NULL: it has none */
    const char *address6; /* "[fd53::a7f:1]:20000", with the front's port; NULL: it has none */
    bool tcp;
};

/* Who calls: a service, or what else an account runs. */
struct party {
    const char *subject; /* the id of the one or the other */
    const char *label, *service, *name;
    bool shown; /* it has a certificate */
};

/* Lists that grow while the table is made. */
struct list {
    void *items;
    size_t count, cap;
};

struct make {
    const struct agt_mesh_world *world;
    struct agt_mesh_table *out;
    struct service *services;
    size_t service_count;
    struct list ids; /* of the services that are diverted */
    struct list parties, backends, pairs, certs, diverts, callers;
    struct list out_http, out_tcp, in_http, in_tcp; /* struct syn_balancer_pair */
    struct list callers6, out_http6, out_tcp6;
    struct list cert_ids, matches, matches6;
    struct syn_err *err;
    int rc; /* the first failure */
};

/* Whose replicas: a service's, or with a version those of it. */
struct target {
    const struct service *service;
    int64_t version;  /* 0: whatever takes traffic */
    unsigned weight;  /* of all targets' */
    const char *mark; /* behind a peer's id; NULL: there is one target */
};

/** Zeroed, until the table is freed; NULL: make->rc says why. */
void *agt_make_room(struct make *make, size_t size);
/** The same with a text in it; without memory "". */
const char *agt_make_text(struct make *make, const char *format, ...) SYN_PRINTF(2, 3);
/** A zeroed place behind the others, or NULL. */
void *agt_make_push(struct make *make, struct list *list, size_t size);

/** Its servers: replicas here that get requests, and with `peers` the nodes that have others. */
void agt_make_servers(struct make *make, const struct target *target, bool peers,
                      struct syn_balancer_backend *backend);
/** The same of several targets, of which each gets its part, those that have anybody. */
void agt_make_shared(struct make *make, const struct target *targets, size_t count, bool peers,
                     struct syn_balancer_backend *backend);

#endif
