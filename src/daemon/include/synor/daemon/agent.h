/* The agent of one node: it asks a server what to run, runs it, and tells the truth about it. */
#ifndef SYNOR_DAEMON_AGENT_H
#define SYNOR_DAEMON_AGENT_H

#include <stdint.h>

#include <synor/base/err.h>

struct syn_agent;
struct syn_runtime;

/** Borrowed for the call; NULL means the default. */
struct syn_agent_options {
    const char *data_dir;    /* absolute; the agent keeps to DATA/agent */
    const char *server;      /* URL, or path of a Unix socket */
    const char *token;       /* of scope join; needed until the node is registered */
    const char *fingerprint; /* pinned key of an https server */
    const char *region;
    const char *const *labels; /* "key=value" of a new node, NULL-ended; or NULL */
    int64_t bandwidth_bps;     /* of the node's way out; 0: what its interface says */
    const char *offer; /* prices of a new node, JSON as nodes.change has it; NULL: the book's */
    const char *gpu_sharing; /* off, time-slice or mps; NULL: off */
    const char *mps_pipes;   /* folder of the pipes of NVIDIA's MPS daemon; NULL: its default */
    const char *dns;         /* of instances: forward, own or off; NULL: forward. Kept */
    const char *mesh; /* "ADDRESS:PORT" where other nodes reach its mesh, or none; NULL: as the
                         server is reached, at a port of its own. Kept */
    const char *name; /* host name */
    int64_t cache_bytes_max; /* of content kept on disk; 0: half of the file system */
    bool nothing_ahead;      /* no sandboxes are made before functions ask for them */
    bool namespace_sandbox;  /* isolation `namespace` may be used: zygotes fork functions */
    const char *driver;      /* "native" or "container": what runs instances first; NULL: native */
    const char *containerd;  /* "unix:PATH" of one that is there; NULL: the driver's own */
    const struct syn_runtime *runtime; /* runs the instances, instead of the sandboxes found here;
                                          kept: its state outlives the agent */
    const char *const *devices_argv;   /* a program that prints what `synor compute devices list
                                          --json` does; NULL: devices are not told of. Kept */
};

/** An agent that does nothing yet. Blocks: no. Returns 0; NOMEM. */
SYN_MUST int syn_agent_new(const struct syn_agent_options *options, struct syn_agent **ret_agent,
                           struct syn_err *err);
/** Register where that was not done before, adopt what still runs, and start the threads. Once: an
 *  agent that did not start is freed. Blocks: seconds for finding a working sandbox, and as long as
 *  the server is away. Returns 0; CANCELED; UNSUPPORTED when no sandbox works here; IO, NOMEM, ...
 */
SYN_MUST int syn_agent_start(struct syn_agent *agent, struct syn_err *err);
/** Have a running syn_agent_start() return soon. Thread: any, as long as the agent is there. */
void syn_agent_stop(struct syn_agent *agent);
/** Stop the threads; instances go on and are adopted by the next start. Returns NULL. */
struct syn_agent *syn_agent_free(struct syn_agent *agent);

#endif
