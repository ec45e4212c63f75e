/* The agent of one node: it asks a server what to run, runs it, and tells the truth about it. */
#ifndef SYNOR_DAEMON_AGENT_H
#define SYNOR_DAEMON_AGENT_H

#include <synor/base/err.h>

struct syn_agent;

/** Borrowed for the call; NULL means the default. */
struct syn_agent_options {
    const char *data_dir;    /* absolute; the agent keeps to DATA/agent */
    const char *server;      /* URL, or path of a Unix socket */
    const char *token;       /* of scope join; needed until the node is registered */
    const char *fingerprint; /* pinned key of an https server */
    const char *region;
    const char *name; /* host name */
};

/** Start the agent's threads. What ran before and still runs is adopted. Blocks: seconds at worst
 *  (finding a working sandbox). Returns 0; UNSUPPORTED when no sandbox works here; IO, NOMEM, ...
 */
SYN_MUST int syn_agent_new(const struct syn_agent_options *options, struct syn_agent **ret_agent,
                           struct syn_err *err);
/** Stop the threads; instances go on and are adopted by the next start. Returns NULL. */
struct syn_agent *syn_agent_free(struct syn_agent *agent);

#endif
