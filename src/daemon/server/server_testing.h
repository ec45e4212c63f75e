/* The house that server tests live in: a real server over a temporary folder with its loop on a
 * thread, and clients that speak to it over its socket. Whatever goes wrong here fails the test. */
#ifndef SYN_SERVER_TESTING_H
#define SYN_SERVER_TESTING_H

#include <synor/base/test.h>

#include <pthread.h>

#include <synor/client.h>
#include <synor/infra/crypto.h>

#include "server_priv.h"

struct house {
    const char *dir;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ready;
    struct syn_loop *loop;
    struct syn_server *server;
    struct syn_client *client; /* the operator's */
};

/** For cmocka_unit_test_setup_teardown(): *state is a house with its server up. */
int house_setup(void **state);
int house_teardown(void **state);
/** Start the server over the folder as it is, and end it: between the two lies a restart. */
void house_open(struct house *house);
void house_close(struct house *house);

/** A client with this token; NULL: the operator by the socket. Owner: the caller. */
struct syn_client *client_of(const struct house *house, const char *token);
/** One call; the body is JSON text with ' for ". Returns the code, *ret_answer may be NULL. */
int call(struct syn_client *client, const char *method, const char *path, const char *body,
         const char *key, json_t **ret_answer);
/** A call without a key that must succeed. */
void must(struct syn_client *client, const char *method, const char *path, const char *body,
          json_t **ret_answer);
/** A token of these scopes for a new account (or the one of that name), into
 *  ret_token[SYN_TOKEN_LEN + 1]. `more` is more of the request: ",'ttl_ms':1000". */
void new_token(struct syn_client *client, const char *account, const char *scopes, const char *more,
               char *ret_token);
/** A client with a token of this scope for a new account (or the one of that name). */
struct syn_client *tenant(struct house *house, const char *name, const char *scope);
/** The loop hears of a new token a moment later. */
void await_token(struct syn_client *client);
/** And of a revocation. */
void await_refusal(struct syn_client *client);
void revoke_token(struct syn_client *client, const char *account, const char *id);
/** One call with a JSON body, which may be NULL. */
int call_json(struct syn_client *client, const char *method, const char *path, const json_t *body,
              json_t **ret_answer);

/** Somebody with a join token. */
struct joiner {
    struct house *house;
    struct syn_client *client;
    char token[SYN_TOKEN_LEN + 1];
};
void joiner_init(struct joiner *joiner, struct house *house, const char *account);
void joiner_fini(struct joiner *joiner);
/** The key pair whose seed is all `seed`. */
struct syn_key *joiner_key(uint8_t seed);
/** A signed request of a large node with gVisor and one key, in answer to a fresh challenge. Its
 *  region is called as the node is, so that a job can be meant for it alone. */
json_t *joiner_request(struct joiner *joiner, const char *name, uint8_t seed);
/** Sign the request (again), with this key, for this cluster and token. */
void joiner_sign(json_t *request, uint8_t seed, const char *cluster, const char *token);
/** Join. Returns the code; ret may be NULL. */
int join_node_as(struct joiner *joiner, const char *name, uint8_t seed, json_t **ret);

void put_file(struct syn_client *client, const char *upload, const char *path, const char *text);
void new_upload(struct syn_client *client, const char *body, char *ret_id);
/** The CID of a folder with one program in it. */
void store_source(struct syn_client *client, char *ret_cid);
/** The body that creates a job of one SYNOR; `more` is more of the spec: ",'workers':2". */
void job_body(char *out, size_t cap, const char *cid, const char *name, const char *more);

int64_t balance_of(struct syn_client *client, const char *account, const char *field);
/** Of all balances that there are: 0 when no money was lost or made. */
int64_t ledger_sum(struct house *house);

#endif
