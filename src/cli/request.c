/* Requests of the commands: where the server is, keys that make calls repeatable, pages of lists.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include <synor/base/str.h>
#include <synor/base/world.h>

#include "cli_priv.h"

#define RETRIES_MAX 2
#define PATIENCE_MS (INT64_C(60) * 60 * 1000)
#define LIST_MAX    100000 /* items of one list */

#define AWAY_PAUSE_MS 500

static const char *
server_of(const struct syn_cli *cli)
{
    return cli->at_home ? NULL : syn_cli_text(cli, "server", getenv("SYNOR_SERVER"));
}

int
syn_cli_connect(const struct syn_cli *cli, unsigned retries_max, int64_t answer_ms,
                struct syn_client **ret, struct syn_err *err)
{
    char path[sizeof(cli->home) + 16];
    const char *server = server_of(cli);
    struct syn_client_options options = {.answer_ms = answer_ms, .retries_max = retries_max};

    (void)snprintf(path, sizeof(path), "%s/synor.sock", cli->home);
    options.target = path;
    if (server != NULL && server[0] != '\0') {
        options.target = server;
        options.token = getenv("SYNOR_TOKEN");
        options.fingerprint = getenv("SYNOR_FINGERPRINT");
    }
    if (cli->acting != NULL)
        options.account = cli->acting;
    else if (syn_cli_has(cli, "account"))
        options.account = syn_cli_text(cli, "account", "");
    return syn_client_new(&options, ret, err);
}

int
syn_cli_client(struct syn_cli *cli, struct syn_client **ret, struct syn_err *err)
{
    if (cli->client == NULL) {
        int rc =
            syn_cli_connect(cli, RETRIES_MAX, cli->patient ? PATIENCE_MS : 0, &cli->client, err);

        if (rc < 0)
            return rc;
        syn_cli_cancel_on_signal(cli->client);
    }
    *ret = cli->client;
    return SYN_OK;
}

void
syn_cli_act_for(struct syn_cli *cli, const char *account)
{
    syn_cli_cancel_on_signal(NULL);
    cli->client = syn_client_free(cli->client);
    cli->acting = account;
}

int
syn_cli_unreachable(const struct syn_cli *cli, int rc, struct syn_err *err)
{
    const char *server = server_of(cli);

    if (rc != SYN_E_UNAVAILABLE || (server != NULL && server[0] != '\0') ||
        (cli->client != NULL && syn_client_error(cli->client) != NULL))
        return rc;
    return SYN_FAIL(err, SYN_E_UNAVAILABLE,
                    "no platform runs in %s; start it with: synor up --detach", cli->home);
}

bool
syn_cli_away(const struct syn_cli *cli, int64_t away_max_ms, int64_t *since_ms)
{
    int64_t now = syn_mono_ms(syn_world_system());

    if (*since_ms == 0) {
        *since_ms = now;
        syn_cli_note(cli, "The server is away; jobs are not. Waiting for it...");
    }
    if (now - *since_ms > away_max_ms || syn_cli_interrupted())
        return false;
    (void)poll(NULL, 0, AWAY_PAUSE_MS);
    return !syn_cli_interrupted();
}

/* One key an invocation and call: the client repeats a call under the same key. */
static const char *
next_key(struct syn_cli *cli, char *out, size_t cap)
{
    if (cli->key[0] == '\0')
        (void)syn_make_id(syn_world_system(), "cli", cli->key);
    (void)snprintf(out, cap, "%s-%u", cli->key, ++cli->calls);
    return out;
}

/* One call, under a key of its own when it changes something. */
static int
send(struct syn_cli *cli, const struct syn_call *call, json_t **ret, struct syn_err *err)
{
    struct syn_call keyed = *call;
    char key[SYN_ID_MAX + 16];
    struct syn_client *client;
    int rc = syn_cli_client(cli, &client, err);

    if (rc < 0)
        return rc;
    if (strcmp(call->method, "GET") != 0)
        keyed.idempotency_key = next_key(cli, key, sizeof(key));
    rc = syn_client_call(client, &keyed, ret, err);
    return rc < 0 ? syn_cli_unreachable(cli, rc, err) : rc;
}

int
syn_cli_call(struct syn_cli *cli, const char *method, const char *path, const json_t *body,
             json_t **ret, struct syn_err *err)
{
    struct syn_call call = {.method = method, .path = path, .body = body};

    return send(cli, &call, ret, err);
}

int
syn_cli_replace(struct syn_cli *cli, const char *path, const json_t *body, int64_t revision,
                json_t **ret, struct syn_err *err)
{
    char text[24];
    struct syn_call call = {.method = "PUT", .path = path, .body = body, .if_match = text};

    (void)snprintf(text, sizeof(text), "%lld", (long long)revision);
    return send(cli, &call, ret, err);
}

int
syn_cli_list(struct syn_cli *cli, const char *path, json_t **ret_items, struct syn_err *err)
{
    SYN_JSON(items);
    SYN_BUF(next);
    int rc = SYN_OK;

    items = json_array();
    if (items == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    syn_buf_adds(&next, path);
    while (rc == SYN_OK && next.len > 0) {
        SYN_JSON(page);
        const json_t *part;
        const char *after;

        rc = syn_cli_call(cli, "GET", syn_buf_text(&next), NULL, &page, err);
        if (rc < 0)
            return rc;
        part = json_object_get(page, "items");
        if (!json_is_array(part))
            return SYN_FAIL(err, SYN_E_CORRUPT, "%s: the server sent no list", path);
        if (json_array_size(items) + json_array_size(part) > LIST_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "%s: more than %d items", path, LIST_MAX);
        if (json_array_extend(items, (json_t *)(uintptr_t)part) != 0)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
        after = syn_json_str(page, "next", "");
        syn_buf_clear(&next);
        if (after[0] != '\0') {
            syn_buf_addf(&next, "%s%cafter=", path, strchr(path, '?') == NULL ? '?' : '&');
            syn_cli_escape(&next, after);
        }
        rc = syn_buf_ok(&next, err);
    }
    if (rc == SYN_OK)
        *ret_items = SYN_TAKE(items);
    return rc;
}

void
syn_cli_escape(struct syn_buf *out, const char *text)
{
    syn_client_escape(out, text);
}

int
syn_cli_to_stdout(void *arg, const void *data, size_t len, struct syn_err *err)
{
    (void)arg;
    if (fwrite(data, 1, len, stdout) != len)
        return SYN_FAIL_SYS(err, errno, "writing to standard output");
    return SYN_OK;
}
