/* The agent's inside.
 *
 *   stream thread   what the server wants here -> the table of instances
 *   beat thread     heartbeat every few seconds
 *   watch thread    waits for all that run: see watch.c
 *   a thread for each that begins or ends: prepare, start; store, report, destroy
 *   a few threads   turns of those that run: ship, check, ask to stop
 *
 * Truth about an instance is in its folder, written by the runtime; truth about what the server has
 * is at the server. Between them the agent keeps nothing but the instance's document, so it may be
 * killed at any point: its successor adopts the folders, asks the server for offsets, and goes on.
 */
#ifndef SYN_AGENT_PRIV_H
#define SYN_AGENT_PRIV_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/json.h>
#include <synor/base/map.h>
#include <synor/base/units.h>
#include <synor/base/world.h>
#include <synor/client.h>
#include <synor/daemon/agent.h>
#include <synor/infra/content.h>
#include <synor/infra/crypto.h>
#include <synor/infra/oci_layout.h>
#include <synor/runtime/container.h>
#include <synor/runtime/forked.h>
#include <synor/runtime/gpu.h>
#include <synor/runtime/native.h>

#include "cache_priv.h"
#include "pool_priv.h"
#include "saved_priv.h"
#include "start_priv.h"

#define AGT_PATH_MAX      1024
#define AGT_RESOLVER_MAX  48 /* an address, with the NUL */
#define AGT_DATA_MAX      512
#define AGT_BEAT_MS       5000
#define AGT_SHIP_MS       1000 /* how often logs, progress and usage are sent */
#define AGT_RETRY_MS      1000
#define AGT_INSTANCES_MAX 256
#define AGT_ANSWER_MS     15000 /* then a call has failed; the end of a process waits no longer */
#define AGT_RUNTIMES      6
#define AGT_NAMESPACE     "namespace" /* the sandbox that is had by name alone */
#define AGT_DEVICES_MS    10000       /* for all drivers together to say what they know */
#define AGT_DEVICES_MAX   256
#define AGT_REPORT_MAX    120 /* samples in one report */

struct agt_instance;
struct agt_care;
struct agt_session;
struct agt_names;
struct agt_resolver;
struct agt_follower;
struct agt_watch;
struct agt_mesh;

#define AGT_CLIENTS_KEPT 4 /* connections to the server that wait for the next turn */

/** Where an instance is in its life. */
enum agt_phase {
    AGT_BEGINS, /* a thread of its own brings it up */
    AGT_RUNS,   /* it is watched, and has turns */
    AGT_ENDS,   /* a thread of its own stores and tells what is left of it */
    AGT_WAITS,  /* for the server to need it no more */
    AGT_GOES,   /* a thread of its own removes its traces */
    AGT_OVER,
};

/** How long the agent waits. Tests wait less. */
struct agt_pace {
    int64_t beat_ms, ship_ms, retry_ms, answer_ms, devices_ms;
};

/** How a card is shared by instances that take a part of its time. */
enum agt_sharing { AGT_SHARING_OFF, AGT_SHARING_TIME_SLICE, AGT_SHARING_MPS };

/** What an instance has of each of its cards: thousandths; eighths of the memory, as bits, where
 * they are cut. */
struct agt_gpu_hold {
    int64_t time, vram;
    unsigned eighths;
};

#define AGT_LANGUAGES_MAX 16

/** Programs that were asked for their version. Of the thread that tells of the machine. */
struct agt_languages {
    struct agt_language {
        char real[AGT_PATH_MAX];
        uint64_t ino;
        int64_t size, mtime;
        char version[33]; /* "": it did not say */
    } rows[AGT_LANGUAGES_MAX];
    size_t count;
};

struct syn_agent {
    struct agt_pace pace;
    const struct syn_world *world;
    char data_dir[AGT_DATA_MAX]; /* DATA/agent */
    char server[AGT_PATH_MAX];
    char join_token[128];
    char fingerprint[80];
    char region[64];       /* "": not said */
    json_t *labels;        /* of a new node */
    json_t *offer;         /* its provider's prices; NULL: the price book's */
    int64_t bandwidth_bps; /* 0: what the interface says */
    int64_t rtt_us;        /* to the server, as it was told last; 0: not yet. Of the heartbeat */
    int64_t rtt_due_ms;
    char name[64];
    char node_id[SYN_ID_MAX];
    char node_token[128];
    struct syn_key *key;
    struct syn_content *content;
    pthread_mutex_t fetch_lock;   /* one download at a time: the second finds it in the cache */
    int64_t cache_bytes_max;      /* 0: the cache's default */
    struct agt_cache cache;       /* under `fetch_lock` */
    struct agt_saved saved;       /* snapshots of functions; under `lock` */
    struct agt_pool pool;         /* interpreters that wait; under `lock` */
    pthread_mutex_t volumes_lock; /* making, mounting and removing of volumes */
    pthread_mutex_t volumes_turn; /* who has one brought up, which may take long; taken first */
    struct syn_net *net;          /* of instances; NULL: this node has none, */
    char net_missing[232];        /* and why */
    const char *names_mode;       /* forward, own or off; NULL: forward */
    const char *mesh_listen;      /* where others reach its mesh, or none; NULL: not said */
    struct agt_names *names; /* what instances may ask for; NULL: they ask the node's resolvers */
    struct agt_resolver *resolver; /* answers them */
    struct agt_follower *follower; /* learns them */
    struct agt_mesh *mesh;         /* leads calls of services to them; NULL: replicas are named */
    char resolvers[SYN_INSTANCE_DNS_MAX][AGT_RESOLVER_MAX];
    const char *dns[SYN_INSTANCE_DNS_MAX + 1]; /* whom instances ask for names, NULL-ended */
    struct syn_native *natives[2];             /* gVisor, runc; NULL: what runs things was given */
    struct syn_container *container;           /* NULL: containerd has nothing to do here */
    bool wants_container;                      /* --runtime container */
    bool container_away;                       /* the heartbeat's: it was told so */
    char containerd[AGT_PATH_MAX];             /* "unix:PATH" of one that is there; "": our own */
    bool namespace_sandbox;                    /* --allow-namespace-sandbox */
    bool nothing_ahead;                        /* --warm-pool off */
    struct syn_forked *forked;                 /* NULL: zygotes have nothing to do here */
    char namespace_missing[232];               /* why, though it is allowed; "": not so */
    size_t slots;                              /* in use of what follows: see runtimes.c */
    struct syn_runtime runtimes[AGT_RUNTIMES]; /* a driver, or the one that was given, */
    struct syn_runtime_info infos[AGT_RUNTIMES]; /* and a class of sandboxes by it */
    bool works[AGT_RUNTIMES];
    struct agt_languages languages;
    struct syn_gpu_list gpus;        /* those that can be given */
    enum agt_sharing sharing;        /* how several instances may have one */
    char mps_pipes[256];             /* of NVIDIA's MPS daemon */
    const char *const *devices_argv; /* what tells of devices; NULL: nobody */
    pthread_t devices_thread;
    json_t *devices; /* under `lock`; NULL: not known yet */
    json_t *report;  /* what a heartbeat says */
    pthread_t stream_thread, beat_thread;
    bool stream_started, beat_started, devices_started;
    struct syn_client *stream_client, *beat_client; /* cancelled at the end */
    struct syn_client *join_client;                 /* under `lock`; while it registers */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_bool stop;
    struct syn_map *instances; /* id -> struct agt_instance, under `lock` */
    struct agt_watch *watch;   /* set under `lock`; NULL until there was an instance */
    struct syn_client *clients[AGT_CLIENTS_KEPT]; /* under `lock`; see agt_client_take() */
    size_t clients_count;
    struct agt_session *sessions; /* under `lock` */
    unsigned sessions_count;
    int sessions_end; /* readable once all of them must end */
};

/** A document that threads share. Jansson's own count of references is not for that: who lets go
 *  reads it outside of any order. Nothing may be changed in it. */
struct agt_doc {
    atomic_uint refs;
    json_t *json;
};

#define AGT_NOTICE "notice.json" /* in an instance's scratch folder */

/** One instance. */
struct agt_instance {
    struct syn_agent *agent;

    /* Whose turn it is: of its own thread, of a worker, or of the watch while it is `parked`. */
    struct syn_client *client;
    struct syn_runtime runtime;
    const struct syn_runtime_info *made_by; /* what of the node runs it; NULL: not chosen yet */
    struct syn_instance *handle;
    const struct syn_instance_paths *paths;
    struct agt_ship *ship;
    struct agt_snapshots *snapshots;
    struct agt_care *care; /* of a service's replica; NULL: it is none */
    int exit_fd;           /* readable once it has ended; -1: none */
    bool exit_told;        /* it was, and is looked at no more */
    int64_t ship_ms;       /* when what it produces is sent next */

    /* Under the agent's lock: */
    struct agt_doc *doc; /* newest that the server sent, or what was kept */
    size_t gpus_count;
    struct agt_gpu_hold gpus_hold; /* what it has of each */
    bool gone;                     /* the server needs it no more */
    enum agt_phase phase;
    bool parked;          /* nobody has it; see watch.c */
    int64_t due_ms;       /* until then, unless something happens */
    bool volumes_had;     /* its folder has those of its document mounted */
    bool volumes_written; /* its program may write to them */
    bool door;            /* it runs: sessions may go in */
    struct syn_runtime door_runtime;
    char door_address[AGT_RESOLVER_MAX]; /* on the account's network; "": none */

    atomic_bool changed;    /* since the thread looked */
    bool preparing_told;    /* whose turn it is */
    bool noticed;           /* likewise: the program has been told why it must stop */
    bool running_untold;    /* likewise: the server hears it with how healthy it is */
    bool finished;          /* likewise: it has ended, and the server knows all of it */
    bool enters_mesh;       /* likewise: a replica that began here, and is ready when it is there */
    struct agt_start start; /* likewise: of a function's, how it came */
    struct agt_saving *saving; /* likewise: the snapshot to be made of it; NULL: none */
    char run[SYN_ID_MAX];      /* its folder is this sandbox's, made ahead; "": its own. Under
                                  the lock, where it is not its own thread that looks */
    char saved_key[SYN_CID_TEXT_MAX]; /* likewise: which snapshot it went on from; "": none */
    char gateway[AGT_RESOLVER_MAX];   /* likewise: where it asks for names; "": nowhere of ours */
    char id[SYN_ID_MAX];
    char gpus[SYN_GPUS_MAX][sizeof(((struct syn_gpu *)0)->uuid)]; /* its own, until it ends; under
                                                                     the agent's lock */
};

/* --- calls (call.c) -----------------------------------------------------------------------------
 */

/** A client with the node's token. Owner: the caller. */
SYN_MUST int agt_client_new(struct syn_agent *agent, const char *token, struct syn_client **ret,
                            struct syn_err *err);
/** One with the node's token that nobody has, or a new one; and back, for the next. Whoever takes
 * one for a while has it alone. NULL is fine. */
SYN_MUST int agt_client_take(struct syn_agent *agent, struct syn_client **ret, struct syn_err *err);
void agt_client_give(struct syn_agent *agent, struct syn_client *client);
/** Close those that wait. */
void agt_clients_close(struct syn_agent *agent);
/** One JSON call, tried again while the server is away and the agent is not stopping. */
SYN_MUST int agt_call(struct syn_agent *agent, struct syn_client *client, const char *method,
                      const char *path, const json_t *body, json_t **ret, struct syn_err *err);
/** Send `len` bytes of `fd` from `offset` as the body of a PUT. *ret_received: what the server has
 * now, set with 0 and with CONFLICT. */
SYN_MUST int agt_upload(struct syn_client *client, const char *path, int fd, int64_t offset,
                        int64_t len, int64_t *ret_received, struct syn_err *err);
/** Give a file of ours new content, whole at any moment: readers and a crash see the old or the
 * new.
 */
SYN_MUST int agt_replace_file(const char *path, const void *data, size_t len, struct syn_err *err);
/** The same for what need not survive a power cut. */
SYN_MUST int agt_write_file(const char *path, const void *data, size_t len, struct syn_err *err);
/** Sleep, or less when the agent stops or `instance` (may be NULL) changes. False when stopping. */
bool agt_sleep(struct syn_agent *agent, const struct agt_instance *instance, int64_t ms);

/* --- the machine (inventory.c) -------------------------------------------------------------------
 */

/** Bits a second of the interface of the default route, on the machine whose files are below `root`
 *  ("" for this one); 0 where it does not say. */
int64_t agt_line_bps(const char *root);
/** Microseconds of a round trip to the server of this URL; 0 for a socket, or when it is away.
 *  Blocks: seconds at most. */
int64_t agt_line_rtt_us(const char *url);
/** The address that others reach this machine at, as the server of this URL sees it: "10.0.0.3",
 *  "[fd00::3]"; of loopback for a socket, or when there is no way to the server. Into out[64]. */
void agt_line_source(const char *url, char *out);
/** Put the distance into what a heartbeat says; it is measured once a minute. */
SYN_MUST int agt_line_report(struct syn_agent *agent, json_t *report, struct syn_err *err);

#define AGT_BOOT_MAX 64
/** What the machine's own Python has of the frameworks we know, below `root`: {"pytorch": "1.13"}.
 *  A version that is not told is "". */
SYN_MUST int agt_frameworks(const char *root, json_t **ret, struct syn_err *err);
/** Interpreters that instances on the node's own files can have, below `root`: [{name, version,
 * path, state: ready or too-old}]. Those in `known` are not run again. Blocks: while one is run. */
SYN_MUST int agt_languages(struct agt_languages *known, const char *root, json_t **ret,
                           struct syn_err *err);
/** Which boot of the machine this is; "" when it does not tell. */
void agt_boot_id(char *out, size_t cap);
/** The body of join and heartbeat: capacity, sandboxes, versions. */
SYN_MUST int agt_inventory(struct syn_agent *agent, json_t **ret, struct syn_err *err);

/* --- who runs instances (runtimes.c)
 * ------------------------------------------------------------------------------ */

SYN_MUST int agt_runtimes_open(struct syn_agent *agent, struct syn_err *err);
void agt_runtimes_close(struct syn_agent *agent);
/** Give the instance the driver that its document's isolation means here. Returns 0; UNSUPPORTED.
 */
SYN_MUST int agt_runtime_choose(struct agt_instance *instance, const json_t *doc,
                                struct syn_err *err);
/** Give it the driver that made its folder, also one that does not work any more. */
void agt_runtime_of_folder(struct agt_instance *instance, const json_t *doc);
/** The class of those who do not say. */
const char *agt_sandbox_default(const struct syn_agent *agent);
/** [{name, version, platform, state, gpus, runtime}]. Owner: the caller's reference. */
SYN_MUST int agt_sandboxes(struct syn_agent *agent, json_t **ret, struct syn_err *err);

/* --- instance networks (network.c)
 * ------------------------------------------------------------------------------ */

/** Open the node's networks; where there can be none, that is told in the log. */
void agt_network_open(struct syn_agent *agent);
void agt_network_close(struct syn_agent *agent);
/** Begin to answer names, where that is wanted and can be; where it cannot, the log says so, and
 * instances ask the node's resolvers. Once the node is registered, before any instance is there. */
void agt_names_open(struct syn_agent *agent);
/** When no instance is there any more. */
void agt_names_close(struct syn_agent *agent);
/** Those that are adopted call before their threads say so. */
void agt_mesh_adopt(struct syn_agent *agent);
/** The instance, which has its network, may ask for names from now on; until it is cleared away. */
void agt_names_enter(struct agt_instance *instance, const json_t *doc);
void agt_names_leave(struct agt_instance *instance);
/** Wait a moment until what it may ask for is known. */
void agt_names_await(const struct agt_instance *instance);
/** Make again what somebody broke; `starting`: remove what no instance of ours has. */
void agt_network_sweep(struct syn_agent *agent, bool starting);

/* --- GPUs (gpus.c)
 * ------------------------------------------------------------------------------ */

/** How they are shared. */
void agt_gpus_options(struct syn_agent *agent, const struct syn_agent_options *options);
/** Find the machine's cards; those that cannot be given are told in the log. */
void agt_gpus_open(struct syn_agent *agent);
/** [{model, count, vram_bytes, first, sharing, parts}]. Owner: the caller's reference. */
SYN_MUST int agt_gpus_report(const struct syn_agent *agent, json_t **ret, struct syn_err *err);
/** The cards that an earlier agent gave the instance. Called under the agent's lock, before any
 * other instance may claim. */
void agt_gpus_recall(struct agt_instance *instance);
/** Give the instance the cards, or the part of one, that its document asks for: nobody else has
 * them until they are released. Into out[SYN_GPUS_MAX]; *ret_use says how it has a part, and has
 * neither part nor permille when the cards are its own. CONFLICT when they are not free; what is
 * written down is in the instance's folder. */
SYN_MUST int agt_gpus_claim(struct agt_instance *instance, const json_t *doc, struct syn_gpu *out,
                            size_t *ret_count, struct syn_gpu_use *ret_use, struct syn_err *err);
/** Its program has ended: others may have them. Before the server hears of the end, which may place
 * the next one at once. */
void agt_gpus_release(struct agt_instance *instance);

/* --- devices of all kinds (devices.c)
 * ------------------------------------------------------------------------------ */

/** Begin to ask what there is. Does not wait. */
void agt_devices_open(struct syn_agent *agent);
/** Blocks: until what was begun is over. */
void agt_devices_close(struct syn_agent *agent);
/** [{id, kind, driver, model, ...}]; *ret is NULL while it is not known. Owner: the caller. */
SYN_MUST int agt_devices_report(struct syn_agent *agent, json_t **ret, struct syn_err *err);
/** Ask now. Blocks: pace.devices_ms at most. Owner: *ret is the caller's.
 * Returns 0; TIMEOUT, TOOBIG, INTERNAL, INVALID, CORRUPT, NOMEM, ... */
SYN_MUST int agt_devices_ask(const struct syn_agent *agent, json_t **ret, struct syn_err *err);
/** Those of the registry's answer that are capacity, each once. Owner: *ret is the caller's. */
SYN_MUST int agt_devices_pick(const json_t *answer, json_t **ret, struct syn_err *err);

/* --- content (fetch.c)
 * ---------------------------------------------------------------------------- */

/** Make sure that `cid` stands, verified, under DATA/agent/cache/CID; its path into
 * out[AGT_PATH_MAX]. */
SYN_MUST int agt_fetch(struct agt_instance *instance, const char *cid, char *out,
                       struct syn_err *err);
/** Write `cid` (a folder) into the existing folder `path`, files owned as that folder is. */
SYN_MUST int agt_fetch_into(struct agt_instance *instance, const char *cid, const char *path,
                            struct syn_err *err);

/* --- volumes (volumes.c)
 * ---------------------------------------------------------------------------- */

/** Have the volume of a mount of the instance's document mounted; its path into out[AGT_PATH_MAX].
 *  The instance has it until agt_volumes_leave(). Blocks: disk. Returns 0; CONFLICT while another
 *  one writes to it; as syn_volume_open(). */
SYN_MUST int agt_volume_take(struct agt_instance *instance, const json_t *mount, char *out,
                             struct syn_err *err);
/** An earlier agent brought it up: it has what its document names, and writes if it `runs`. Called
 *  under the agent's lock, before any other instance may claim. */
void agt_volumes_recall(struct agt_instance *instance, bool runs);
/** Its program has ended: others may write. Before the server hears of the end. */
void agt_volumes_release(struct agt_instance *instance);
/** Its folder is gone. */
void agt_volumes_leave(struct agt_instance *instance);
/** Unmount those that no instance has. */
void agt_volumes_rest(struct syn_agent *agent);
/** Say which there are in a heartbeat. */
SYN_MUST int agt_volumes_report(struct syn_agent *agent, json_t *report, struct syn_err *err);
/** What the disk has free, and no volume will take. */
int64_t agt_disk_free(struct syn_agent *agent);
/** What their files will take of the disk when they are full, and do not yet. */
int64_t agt_volumes_promised(struct syn_agent *agent);
/** Remove those that the server wants removed. The heartbeat's thread. */
SYN_MUST int agt_volumes_sweep(struct syn_agent *agent, struct syn_err *err);

/* --- images (image.c)
 * ------------------------------------------------------------------------------ */

/** Make sure that the image layout `cid` stands, unpacked, as the root folder whose path goes into
 * out[AGT_PATH_MAX]. Owner: *ret_layout is the caller's. Blocks: a download and an unpacking. */
SYN_MUST int agt_image(struct agt_instance *instance, const char *cid,
                       struct syn_oci_layout **ret_layout, char *out, struct syn_err *err);
/** The numbers in the image's user, where it has any but 0; what is a name or root stays as it is.
 */
void agt_image_user(const struct syn_oci_config *config, uint32_t *ret_uid, uint32_t *ret_gid);

/* --- shipping (ship.c)
 * ------------------------------------------------------------------------------ */

SYN_MUST int agt_ship_new(struct agt_instance *instance, struct agt_ship **ret,
                          struct syn_err *err);
struct agt_ship *agt_ship_free(struct agt_ship *ship);
/** Send what is new of logs, progress and usage. Blocks. */
SYN_MUST int agt_ship_now(struct agt_ship *ship, struct syn_err *err);
/** Step and epoch of the newest progress line, 0 when there is none. */
void agt_ship_progress(const struct agt_ship *ship, int64_t *ret_step, int64_t *ret_epoch);
/** Number of the last usage sample sent. */
int64_t agt_ship_usage_seq(const struct agt_ship *ship);

/* --- snapshots (snapshot.c)
 * ---------------------------------------------------------------------------- */

SYN_MUST int agt_snapshots_new(struct agt_instance *instance, struct agt_snapshots **ret,
                               struct syn_err *err);
struct agt_snapshots *agt_snapshots_free(struct agt_snapshots *snapshots);
/** What is in the checkpoint folder now, before the program starts, is stored already. */
SYN_MUST int agt_snapshots_known(struct agt_snapshots *snapshots, struct syn_err *err);
/** Look at the checkpoint folder; store what has settled since the last time. `final`: nobody
 * writes any more. */
SYN_MUST int agt_snapshots_look(struct agt_snapshots *snapshots, bool final, struct syn_err *err);
/** Store the output folder as the job's result, if there is anything in it. */
SYN_MUST int agt_snapshots_result(struct agt_snapshots *snapshots, struct syn_err *err);

/* --- replicas of services (care.c)
 * ------------------------------------------------------------------------------ */

/** Look after the instance, which runs. *ret stays NULL when it is no replica of a service. */
SYN_MUST int agt_care_new(struct agt_instance *instance, const json_t *doc, struct agt_care **ret,
                          struct syn_err *err);
struct agt_care *agt_care_free(struct agt_care *care);
/** Check what is due, tell the server what is news, end what is lost. Blocks: a report. */
void agt_care_turn(struct agt_care *care);
/** It is read, for scaling, as the newest document says. */
void agt_care_heed(struct agt_care *care, const json_t *doc);
/** What is to be done before the stop signal: begun at the first call, looked after at the next
 * ones. -1 while it goes on; else what is left of `grace_ms` (> 0), which is all the time that it
 * has. */
int64_t agt_care_before_stop(struct agt_care *care, int64_t grace_ms);
#define AGT_CARE_FDS 5
/** Descriptors that the next turn waits for, -1 for none, into ret[AGT_CARE_FDS]; and until when
 * that can wait otherwise. */
void agt_care_fds(const struct agt_care *care, struct pollfd *ret);
int64_t agt_care_due_ms(const struct agt_care *care);
/** It is to stop: has it had time to leave traffic? Counts from the first time that it is asked. */
bool agt_care_may_stop(struct agt_care *care, int64_t drain_ms);
bool agt_care_leaves(const struct agt_care *care);
/** Is it being ended because it is not well? And what the last check said. */
bool agt_care_lost(const struct agt_care *care);
const char *agt_care_message(const struct agt_care *care);

/* --- sessions (session.c)
 * ---------------------------------------------------------------------------- */

#define AGT_SESSIONS_MAX 64

SYN_MUST int agt_sessions_open(struct syn_agent *agent, struct syn_err *err);
/** End all, and wait for that. */
void agt_sessions_close(struct syn_agent *agent);
/** Somebody wants one: `ask` is the server's word. What cannot be is told by the session itself. */
void agt_session_take(struct syn_agent *agent, const json_t *ask);
/** Free those that have ended. */
void agt_sessions_reap(struct syn_agent *agent);
/** The instance runs, or no longer: sessions may go in, or not. The instance's thread. */
void agt_door(struct agt_instance *instance, bool open);

/* --- the table of instances (table.c)
 * ---------------------------------------------------------------------------- */

/** The server's word about one instance: a new one, or news of one that is known. NOMEM: say it
 * again; other errors are final. */
SYN_MUST int agt_table_take(struct syn_agent *agent, const json_t *doc, struct syn_err *err);
/** The server needs it no more. */
void agt_table_let_go(struct syn_agent *agent, const char *id);
/** The server needs none but those whose ids `named` has. */
void agt_table_keep(struct syn_agent *agent, struct syn_map *named);
/** Free what is over and not needed any more. */
void agt_table_reap(struct syn_agent *agent);
/** Free all, and what they shared, once the agent stops. */
void agt_table_free(struct syn_agent *agent);

/* --- waiting for what happens to instances (watch.c)
 * ---------------------------------------------------------------------------- */

/** A new one goes on its way. Called under the agent's lock. */
SYN_MUST int agt_watch_begin(struct agt_instance *instance, struct syn_err *err);
/** Something has changed: the server's word, or that the agent stops. Called under the lock. */
void agt_wake(struct syn_agent *agent);
/** Do `work` on a thread of its own, which the agent waits for when it stops. Under the lock. */
SYN_MUST int agt_watch_beside(struct syn_agent *agent, void (*work)(void *arg), void *arg,
                              struct syn_err *err);
/** Wait until nobody has any instance; the agent is stopping. */
void agt_watch_close(struct syn_agent *agent);

/* --- instances (instance.c)
 * ---------------------------------------------------------------------------- */

/** A copy of `json` to share; the caller has the first reference. NULL without memory. */
struct agt_doc *agt_doc_new(const json_t *json);
struct agt_doc *agt_doc_ref(struct agt_doc *doc);
/** NULL is fine. Returns NULL. */
struct agt_doc *agt_doc_unref(struct agt_doc *doc);

/** One that does not run yet. `doc` is borrowed. Called under the agent's lock. */
SYN_MUST int agt_instance_new(struct syn_agent *agent, const json_t *doc, struct agt_instance **ret,
                              struct syn_err *err);
/** Free it; nobody may have it. Returns NULL. */
struct agt_instance *agt_instance_free(struct agt_instance *instance);
/** Bring it up, conclude it, or remove its traces, as its phase has it. Blocks: as long as that
 * takes. Returns the next phase, or the same: once more, later. */
enum agt_phase agt_instance_go_on(struct agt_instance *instance);
/** One turn of one that runs: what the server wants, how it is, what it has produced; the next one
 * at *ret_due_ms. Blocks: calls. Returns AGT_RUNS, or AGT_ENDS: it has ended. */
enum agt_phase agt_instance_turn(struct agt_instance *instance, int64_t *ret_due_ms);
struct agt_wish;
/** Make a sandbox of its own for what is wished, and start its program there. Blocks. */
SYN_MUST int agt_instance_start_cold(struct agt_instance *instance, const json_t *doc,
                                     struct agt_wish *wish, struct syn_err *err);
/** It has its handle: have its paths, and its names; say which boot this is. */
SYN_MUST int agt_instance_enter(struct agt_instance *instance, const json_t *doc,
                                struct syn_err *err);
/** Have a client, or no more. False when the agent stops, or the server needs it no more. */
SYN_MUST bool agt_instance_dial(struct agt_instance *instance);
void agt_instance_hang_up(struct agt_instance *instance);
/** Tell the server how a replica is, and where. */
SYN_MUST int agt_report_health(struct agt_instance *instance, const char *address, int64_t port,
                               bool ready, const char *message, struct syn_err *err);
/** Tell the server what was read of the replica: {"metrics": {NAME: number}, "trouble": {NAME:
 * why}}.
 */
SYN_MUST int agt_report_metrics(struct agt_instance *instance, const json_t *body,
                                struct syn_err *err);
/** Tell the server, once, that the start takes a while. What is at hand is started without it: a
 * report costs more time than the rest of the preparation. */
SYN_MUST int agt_report_preparing(struct agt_instance *instance, struct syn_err *err);
/** Write a file of the instance, whole at any moment; it need not survive a power cut. */
SYN_MUST int agt_keep_file(const struct agt_instance *instance, const char *name, const char *data,
                           size_t len, struct syn_err *err);
/** The folder of its runtime driver, DATA/agent/instances/ID or spares/RUN, into out[AGT_PATH_MAX].
 * Returns out.
 */
const char *agt_run_path(const struct agt_instance *instance, char *out);
/** The path of a file that belongs to an instance: DATA/agent/jobs/ID/NAME. */
const char *agt_job_path(const struct syn_agent *agent, const char *id, const char *name,
                         char *out);

#endif
