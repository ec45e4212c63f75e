/* The table as the server tells it: a stream of events, read by a thread, since the client blocks.
 * Each event is a letter to the loop. A broken stream is taken up where it was; what is served
 * meanwhile is what was known. */
#include "function_priv.h"

#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define RETRY_MS 200

enum letter_kind { PUT, DELETE, SNAPSHOT, SYNCED };

struct letter {
    struct fgw *gateway;
    enum letter_kind kind;
    char id[2 * SYN_ID_MAX]; /* fn-..., or ACCOUNT/NAME of a key */
    json_t *doc;
};

struct fgw_follower {
    struct fgw *gateway;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct syn_client *client; /* under `lock` */
    bool stop;                 /* under `lock` */
};

static void
letter_free(void *arg)
{
    struct letter *letter = arg;

    json_decref(letter->doc);
    syn_free(letter);
}

static void
deliver(void *arg)
{
    struct letter *letter = arg;
    struct syn_err err;

    switch (letter->kind) {
    case PUT:
        if (fgw_table_put(letter->gateway, letter->doc, &err) < 0)
            syn_log_err(SYN_LOG_ERROR, "gateway.table", &err);
        break;
    case DELETE:
        fgw_table_remove(letter->gateway, letter->id);
        break;
    case SNAPSHOT:
        fgw_table_snapshot(letter->gateway);
        break;
    case SYNCED:
        fgw_table_synced(letter->gateway);
        break;
    }
    letter_free(letter);
}

/* A full mailbox is waited for: an event that is lost is lost for good. */
static int
post_take(struct letter *letter, struct syn_err *err)
{
    int rc;

    while ((rc = syn_loop_post(letter->gateway->loop, deliver, letter, letter_free, err)) ==
           SYN_E_LIMIT)
        (void)usleep(1000);
    if (rc < 0)
        letter_free(letter);
    return rc;
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct fgw_follower *follower = arg;
    struct letter *letter;
    enum letter_kind kind;
    int rc = SYN_OK;

    if (syn_str_eq(event->name, "snapshot"))
        kind = SNAPSHOT;
    else if (syn_str_eq(event->name, "synced"))
        kind = SYNCED;
    else if (syn_str_eq(event->name, "put"))
        kind = PUT;
    else if (syn_str_eq(event->name, "delete"))
        kind = DELETE;
    else
        return SYN_OK;
    letter = syn_calloc(1, sizeof(*letter));
    if (letter == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the table");
    letter->gateway = follower->gateway;
    letter->kind = kind;
    if (kind == PUT || kind == DELETE)
        rc = syn_json_parse_object(event->data, event->len, &letter->doc, err);
    if (rc < 0) {
        letter_free(letter);
        return rc;
    }
    (void)syn_str_copy(letter->id, sizeof(letter->id), syn_json_str(letter->doc, "id", ""));
    return post_take(letter, err);
}

static bool
set_client(struct fgw_follower *follower, struct syn_client *client)
{
    bool stop;

    (void)pthread_mutex_lock(&follower->lock);
    follower->client = client;
    stop = follower->stop;
    (void)pthread_mutex_unlock(&follower->lock);
    return !stop;
}

static void
rest(struct fgw_follower *follower)
{
    const struct timespec until = syn_clock_in_ms(RETRY_MS);

    (void)pthread_mutex_lock(&follower->lock);
    while (!follower->stop && pthread_cond_timedwait(&follower->wake, &follower->lock, &until) == 0)
        continue;
    (void)pthread_mutex_unlock(&follower->lock);
}

static void *
follower_main(void *arg)
{
    struct fgw_follower *follower = arg;
    bool go_on = true;

    while (go_on) {
        SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
        struct syn_err err = {0};
        int rc = fgw_client(follower->gateway, 2, &client, &err);

        if (rc == SYN_OK && set_client(follower, client))
            rc = syn_client_follow(client, "/v1/function-gateway", NULL, on_event, follower, &err);
        go_on = set_client(follower, NULL);
        if (go_on && rc < 0)
            syn_log_err(SYN_LOG_INFO, "gateway.table-stream-ended", &err);
        if (go_on)
            rest(follower);
    }
    return NULL;
}

int
fgw_follower_new(struct fgw *gateway, struct fgw_follower **ret, struct syn_err *err)
{
    struct fgw_follower *follower = syn_calloc(1, sizeof(*follower));
    pthread_condattr_t attr;

    if (follower == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for the table");
    follower->gateway = gateway;
    (void)pthread_mutex_init(&follower->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&follower->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&follower->thread, NULL, follower_main, follower) != 0) {
        (void)pthread_cond_destroy(&follower->wake);
        (void)pthread_mutex_destroy(&follower->lock);
        syn_free(follower);
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start a thread for the table");
    }
    *ret = follower;
    return SYN_OK;
}

struct fgw_follower *
fgw_follower_free(struct fgw_follower *follower)
{
    if (follower == NULL)
        return NULL;
    (void)pthread_mutex_lock(&follower->lock);
    follower->stop = true;
    if (follower->client != NULL)
        syn_client_cancel(follower->client);
    (void)pthread_cond_signal(&follower->wake);
    (void)pthread_mutex_unlock(&follower->lock);
    (void)pthread_join(follower->thread, NULL);
    (void)pthread_cond_destroy(&follower->wake);
    (void)pthread_mutex_destroy(&follower->lock);
    syn_free(follower);
    return NULL;
}
