/* What the files of the balancer share.
 *
 *   balancer_check.c   a table from outside: what it may hold
 *   balancer_shape.c   one backend or frontend as HAProxy's words, with nothing of a tenant in it
 * that was not checked balancer_model.c   what runs; the next model and the commands that lead to
 * it balancer_render.c  a model as a configuration balancer_pem.c     certificates balancer_stat.c
 * what HAProxy counts balancer_wire.c    the runtime API balancer_process.c HAProxy as a process
 *   balancer_held.c    who waits for a first server
 *   balancer_sockets.c what it listens on, held beside it
 *   balancer.c         all together */
#ifndef SYNOR_INFRA_BALANCER_PRIV_H
#define SYNOR_INFRA_BALANCER_PRIV_H

#include <sys/types.h>

#include <synor/base/buf.h>
#include <synor/base/map.h>
#include <synor/infra/balancer.h>
#include <synor/infra/crypto.h>

#define LB_ADDRESS_SIZE  64
#define LB_ANY6          "[::]:" /* before a port: every address of IPv6 */
#define LB_KEY_SIZE      (SYN_BALANCER_HOST_MAX + SYN_BALANCER_PATH_MAX + 32) /* or two hosts */
#define LB_SPARES_MAX    512 /* backends, of all shapes */
#define LB_COOKIE_KEY    33  /* hexadecimal, and a zero */
#define LB_COMMAND_MAX   (SYN_BALANCER_ID_MAX + 1024)
#define LB_HOLD_FILE     "hold.lua"
#define LB_NOWHERE       "none"    /* the backend of what is served nowhere */
#define LB_PID_FILE      "pid"     /* of the process that was started last, until that is noted */
#define LB_REFUSED       "refused" /* where callers of a mesh come who may not call */
#define LB_AUTHORITY     "ca.pem"
#define LB_CONTROL_SIZE  32
#define LB_REPLY_MAX     ((size_t)64 << 20)
#define LB_PEM_BYTES_MAX ((size_t)256 << 10)
/* Of what goes through the runtime API: HAProxy's buffer is 16 KiB. */
#define LB_PEM_WIRE_MAX ((size_t)12 << 10)

/* --- checking --------------------------------------------------------------------------------- */

/** "127.0.0.1:80" or "[::1]:80" in the one way to write it. */
SYN_MUST int lb_address(const char *text, char ret[LB_ADDRESS_SIZE], struct syn_err *err);
/** "a.example", or with a first label "*". */
SYN_MUST int lb_check_host(const char *host, struct syn_err *err);
/** INVALID for what is no mesh's front. */
SYN_MUST int lb_check_mesh(const struct syn_balancer_frontend *frontend,
                           const struct syn_map *backends, bool authority, struct syn_err *err);
/** The keys under which a mesh's front looks things up: "f3@10.0.0.1", "f3|caller|callee". */
SYN_MUST int lb_caller_key(unsigned door, const struct syn_balancer_caller *caller,
                           char ret[LB_KEY_SIZE], struct syn_err *err);
SYN_MUST int lb_pair_key(unsigned door, const struct syn_balancer_frontend *frontend,
                         const struct syn_balancer_pair *pair, char ret[LB_KEY_SIZE],
                         struct syn_err *err);
/** The key under which a frontend's route is looked up: "f3|host/path/". */
SYN_MUST int lb_route_key(unsigned door, const struct syn_balancer_route *route,
                          char ret[LB_KEY_SIZE], struct syn_err *err);

/* --- what runs -------------------------------------------------------------------------------- */

struct lb_server {
    char *id;   /* "" while it leaves */
    char *peer; /* its own words: TLS and check of a peer; NULL: it is none */
    char address[LB_ADDRESS_SIZE];
    unsigned number; /* its name is "s7", its id for consistent hashing 7 */
    unsigned weight; /* 0 when it drains */
    bool off, leaving;
};

/** A backend section, "b7". */
struct lb_slot {
    unsigned number, next_server;
    char *id;             /* NULL: a spare */
    char *shape;          /* its lines, of all but servers */
    char *options;        /* of each server */
    bool sticky, checked; /* checked: all are, not peers alone */
    struct lb_server *servers;
    size_t server_count, server_cap;
};

/** A frontend section, "f7". */
struct lb_door {
    unsigned number;
    bool open, spare; /* spare: may be closed and opened without a reload */
    char *shape;      /* with its address */
    char *list;       /* of certificates that come and go, "f7.list"; NULL: there is none */
    char address[LB_ADDRESS_SIZE];
};

/** A certificate, "c7.pem". */
struct lb_cert {
    unsigned number;
    char *id;
    uint8_t digest[SYN_SHA256_LEN]; /* of what was given */
    char *pem;                      /* as HAProxy gets it */
};

/** What does not change while a balancer is open. */
struct lb_setup {
    char cookie_key[LB_COOKIE_KEY];
    char spare_host[LB_ADDRESS_SIZE]; /* "": none */
    unsigned spare_port, spare_count;
    unsigned threads, connections;
    bool privileged; /* gives up root */
    bool lua;        /* requests can wait for a first server */
};

SYN_MUST int lb_setup_fill(struct lb_setup *setup, const struct syn_balancer_options *options,
                           struct syn_err *err);
/** The secret behind cookies, which is kept in the folder. */
SYN_MUST int lb_setup_cookie_key(struct lb_setup *setup, int dir, struct syn_err *err);

struct lb_model {
    struct lb_slot *slots;
    size_t slot_count, slot_cap;
    struct lb_door *doors;
    size_t door_count, door_cap;
    struct lb_cert *certs;
    size_t cert_count, cert_cap;
    struct syn_map *routes; /* key -> "b7"; "b7" -> how long requests wait there; "f7@ADDRESS" -> a
                               caller's name */
    char *authority;        /* PEM; NULL: none */
    unsigned next_slot, next_door, next_cert;
};

/** How to get from one model to the next. */
struct lb_change {
    struct syn_buf commands; /* a line each; a payload ends with an empty one */
    size_t command_count;
    const char *reload; /* why there is no way without one; NULL: there is */
};

SYN_MUST int lb_model_new(struct lb_model **ret_model, struct syn_err *err);
struct lb_model *lb_model_free(struct lb_model *model);
void lb_model_free_scope(struct lb_model **slot);
/** The model that comes after `old` when `table`, which was checked, is wanted. */
SYN_MUST int lb_model_next(const struct lb_setup *setup, const struct lb_model *old,
                           const struct syn_balancer_table *table, struct lb_model **ret_model,
                           struct lb_change *change, struct syn_err *err);
/** It runs in a process that has just been started: nothing leaves any more. */
void lb_model_fresh(struct lb_model *model);
/** Forget the server, which has left. */
void lb_model_left(struct lb_slot *slot, size_t server);
void lb_change_fini(struct lb_change *change);
/** The slot that serves the backend, or NULL. */
const struct lb_slot *lb_model_slot(const struct lb_model *model, const char *backend);

/* --- words ------------------------------------------------------------------------------------ */

/** The words of a peer, which are none of its backend's. */
SYN_MUST int lb_peer_words(const struct lb_setup *setup, const struct lb_model *model,
                           const struct syn_balancer_backend *backend,
                           const struct syn_balancer_server *server, const char *address,
                           char **ret, struct syn_err *err);
/** What checks a server, which listens on `port` in plain text; 0: where it serves. */
void lb_check_words(const struct lb_setup *setup, const struct syn_balancer_backend *backend,
                    unsigned port, struct syn_buf *out);
/** The key under which it stands where a section's requests are sent to as well. */
void lb_mirror_key(unsigned slot, char ret[LB_CONTROL_SIZE]);
/** In a backend: send a part of what comes elsewhere, too. */
void lb_mirror_lines(struct syn_buf *out);
/** Where what is sent as well comes in: words of the global section, and a front; none if no
 * section has lb_mirror_lines(). `control`: of this process alone. */
void lb_mirror_global(const struct lb_setup *setup, const struct lb_model *model,
                      const char *control, struct syn_buf *out);
void lb_mirror_front(const struct lb_setup *setup, const struct lb_model *model,
                     const char *control, struct syn_buf *out);
/** In a backend: how much may be tried again. */
void lb_retry_lines(const struct syn_balancer_backend *backend, struct syn_buf *out);
/** INVALID for what no request could be matched with. */
SYN_MUST int lb_check_matches(const struct syn_balancer_frontend *frontend, struct syn_err *err);
/** In a mesh's front: set txn.route to "/rN" of the first that fits. */
void lb_match_lines(const struct syn_balancer_frontend *frontend, struct syn_buf *out);
/** INVALID: empty, longer than `max`, or with something that is not in `alphabet`. */
SYN_MUST int lb_check_text(const char *what, const char *text, size_t max, const char *alphabet,
                           struct syn_err *err);
SYN_MUST int lb_check_path(const char *path, struct syn_err *err);
/** What is asked of who comes to a mesh's front `number`. */
void lb_mesh_lines(const struct syn_balancer_frontend *frontend, unsigned number,
                   struct syn_buf *out);
/** The rest of its bind line, and the list of its certificates. */
SYN_MUST int lb_mesh_bind(const struct lb_model *model,
                          const struct syn_balancer_frontend *frontend, struct lb_door *door,
                          struct syn_buf *out, struct syn_err *err);
/** The certificate's number in the model. */
SYN_MUST int lb_cert_number(const struct lb_model *model, const char *id, unsigned *ret,
                            struct syn_err *err);
/** Fill shape, options, sticky and checked. */
SYN_MUST int lb_slot_shape(const struct lb_setup *setup, const struct syn_balancer_backend *backend,
                           struct lb_slot *slot, struct syn_err *err);
/** Fill shape, address and spare (its port is one of the early ones and its shape theirs). */
SYN_MUST int lb_door_shape(const struct lb_setup *setup, const struct lb_model *model,
                           const struct syn_balancer_frontend *frontend, struct lb_door *door,
                           struct syn_err *err);
/** The program that lets requests wait, of which LB_HOLD_FILE has a copy. */
extern const char lb_hold_lua[];
/** The configuration, of which `control` is the socket. */
SYN_MUST int lb_render(const struct lb_setup *setup, const struct lb_model *model,
                       const char *control, struct syn_buf *out, struct syn_err *err);
/** The file routes.map. */
SYN_MUST int lb_render_map(const struct lb_model *model, struct syn_buf *out, struct syn_err *err);
/** Append the commands that add the server, after which it is in rotation unless it is off. Returns
 *  how many there are. */
size_t lb_server_commands(const struct lb_setup *setup, const struct lb_slot *slot,
                          const struct lb_server *server, struct syn_buf *out);
/** The words of a server behind its name, weight and id included. */
void lb_server_words(const struct lb_slot *slot, const struct lb_server *server,
                     struct syn_buf *out);

/* --- counters --------------------------------------------------------------------------------- */

enum lb_field {
    LB_STOT,
    LB_REQUESTS,
    LB_1XX,
    LB_2XX,
    LB_3XX,
    LB_4XX,
    LB_5XX,
    LB_OTHER,
    LB_ECON,
    LB_ERESP,
    LB_WRETR,
    LB_WREDIS,
    LB_BIN,
    LB_BOUT,
    LB_COUNTERS, /* those before only grow */
    LB_SCUR = LB_COUNTERS,
    LB_QCUR,
    LB_ACT,
    LB_QTIME,
    LB_CTIME,
    LB_RTIME,
    LB_TTIME,
    LB_FIELDS,
};

/** A line of "show stat". */
struct lb_stat {
    char proxy[32], server[32];
    uint64_t value[LB_FIELDS]; /* 0 where there is none */
};

/** CORRUPT for what is no such table. *ret_stats is the caller's. */
SYN_MUST int lb_stat_parse(const char *text, size_t len, struct lb_stat **ret_stats,
                           size_t *ret_count, struct syn_err *err);

/** What each of the slot's servers has answered, by lines about them. *ret is the caller's. */
SYN_MUST int lb_stat_servers(const struct lb_slot *slot, const struct lb_stat *stats, size_t count,
                             struct syn_balancer_server_counts **ret, size_t *ret_count,
                             struct syn_err *err);

/* --- the runtime API -------------------------------------------------------------------------- */

struct lb_wire; /* a connection */

SYN_MUST int lb_wire_open(int dir, const char *control, struct lb_wire **ret_wire,
                          struct syn_err *err);
struct lb_wire *lb_wire_close(struct lb_wire *wire);
void lb_wire_close_scope(struct lb_wire **slot);
/** Send `count` commands and append the replies to them, each ended by a zero byte. */
SYN_MUST int lb_wire_ask(struct lb_wire *wire, const char *commands, size_t count,
                         struct syn_buf *replies, struct syn_err *err);
/** The same; CONFLICT with what HAProxy says when a reply is not that of success. */
SYN_MUST int lb_wire_do(struct lb_wire *wire, const char *commands, size_t count,
                        struct syn_err *err);

/* --- listening sockets ------------------------------------------------------------------------ */

#define LB_SOCKETS_NAME "sockets.sock" /* in the folder, while they are offered */

struct lb_sockets;

/** Hold what the process listens on, besides itself. UNAVAILABLE, LIMIT, NOMEM. */
SYN_MUST int lb_sockets_take(int dir, const char *control, struct lb_sockets **ret,
                             struct syn_err *err);
/** Let go: what nobody else has refuses from now on. */
struct lb_sockets *lb_sockets_free(struct lb_sockets *sockets);
/** Be what a process that is being started asks for its sockets, until they are withdrawn. */
SYN_MUST int lb_sockets_offer(struct lb_sockets *sockets, int dir, struct syn_err *err);
void lb_sockets_withdraw(struct lb_sockets *sockets, int dir);

/* --- the process ------------------------------------------------------------------------------ */

struct lb_process {
    pid_t pid; /* 0: none */
    int fd;    /* a pidfd */
    unsigned generation;
    bool lingers;     /* it was replaced, and is to be told to end when nobody waits there */
    uint64_t started; /* of /proc, so that a pid is not mistaken */
    /** Of one that was found: the mark of a backend -> the number of its section there, which is
     *  another than ours. Owned. NULL: sections have our numbers. */
    struct syn_map *marks;
};

#define LB_PROCESS_NONE \
    (struct lb_process) \
    {                   \
        .fd = -1        \
    }
void lb_control(unsigned generation, char ret[LB_CONTROL_SIZE]);
/** How a process comes by its sockets. */
enum lb_start {
    LB_START_FRESH,   /* there are none */
    LB_START_OFFERED, /* from LB_SOCKETS_NAME */
    LB_START_BESIDE,  /* from the one before, which goes on */
    LB_START_INSTEAD, /* likewise, and that one is told to end */
};

/** Start the program in `dir` with haproxy-N.cfg. On return it serves. UNAVAILABLE with what it
 *  said. */
SYN_MUST int lb_process_start(const char *program, const char *dir, unsigned generation,
                              enum lb_start how, const struct lb_process *old,
                              struct lb_process *ret, struct syn_err *err);
/** Was it built with Lua? */
bool lb_program_has_lua(const char *program);
bool lb_process_alive(const struct lb_process *process);
/** Tell it to end when it has nothing left. */
void lb_process_retire(struct lb_process *process);
/** End it, gently and then not. */
void lb_process_end(struct lb_process *process);
void lb_process_forget(struct lb_process *process);
/** One that was started in the folder (its path), and whose starter ended before it was noted. */
bool lb_process_stray(const char *dir, struct lb_process *ret);
/** The file `running` in the folder: the processes of an earlier owner that still live, the one
 *  that serves first. Returns how many. */
size_t lb_process_adopt(int dir, struct lb_process *ret, size_t max);
SYN_MUST int lb_process_write(int dir, const struct lb_process *processes, size_t count,
                              struct syn_err *err);
/** Replace a file of the folder as a whole. */
SYN_MUST int lb_file_write(int dir, const char *name, const char *data, size_t len,
                           struct syn_err *err);

#endif
