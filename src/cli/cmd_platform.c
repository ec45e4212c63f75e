/* up, server, agent, doctor: the platform itself. Looking at it is in cmd_status.c, stopping it in
 * cmd_down.c. */
#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/units.h>

#include "commands_priv.h"
#include "platform_priv.h"

#define PROBE_MS        5000
#define NODE_LABELS_MAX 16                 /* of one node: what a server takes */
#define PRICES_MAX      ((size_t)64 << 10) /* of a file of them */
#define CERTS_MAX       64                 /* files of certificates: what a server takes */
#define OLD_KEYS_MAX    15                 /* beside the current one: what a content store takes */

/* clang-format off */
#define DATA_DIR {"data-dir", 0, "DIR", SYN_CLI_DIR, 0, 0, false, false, NULL, "--home", "Where its state is kept"}
#define LOG_OPTIONS \
    {"log-level", 0, "LEVEL", SYN_CLI_TEXT, 0, 0, false, false, "debug|info|warn|error", "info", "What is worth a line"}, \
    {"log-json", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Log lines as JSON"}
#define SERVER_OPTIONS \
    DATA_DIR, \
    {"listen", 0, "ADDR:PORT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "only the local socket", "Serve TLS there as well; port 0 takes a free one"}, \
    {"detach", 'd', NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Return once it is ready, and leave it running"}, \
    {"encrypt", 0, "KEYFILE", SYN_CLI_FILE, 0, 0, false, false, NULL, NULL, "Seal content at rest under this key; made when absent"}, \
    {"old-key", 0, "KEYFILE", SYN_CLI_FILE, 0, 0, false, true, NULL, NULL, "Key that content was sealed under before; may be given again"}, \
    {"without-key", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Start although a key is lost; what it seals cannot be read"}, \
    {"price-book", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "the built-in one", "Prices and shares"}, \
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "where it was, else local", "Region of this machine"}, \
    {"publish", 0, "ADDR:PORTS", SYN_CLI_TEXT, 0, 0, false, false, NULL, "127.0.0.1:30000-32767", "Where services get their addresses; none: nowhere"}, \
    {"http-port", 0, "N", SYN_CLI_INT, 1, 65535, false, false, NULL, "its first port", "Front that services share by host and path"}, \
    {"https-port", 0, "N", SYN_CLI_INT, 1, 65535, false, false, NULL, "its second port", "The same with TLS"}, \
    {"function-listen", 0, "ADDR:PORT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "127.0.0.1:9080", "Where functions are called; none: by the API alone"}, \
    {"function-tls-listen", 0, "ADDR:PORT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "nowhere", "The same by TLS"}, \
    {"function-tls-cert", 0, "CERT[,KEY]", SYN_CLI_TEXT, 0, 0, false, true, NULL, "the platform's own", "PEM files served there for their hosts; may be given again"}, \
    {"function-access-log", 0, "FILE", SYN_CLI_TEXT, 0, 0, false, false, NULL, "function/access.log", "Line for each request to a function; -: standard output; none"}, \
    {"webhook-private", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Let functions tell http:// and private addresses how calls ended"}, \
    {"acme-directory", 0, "URL", SYN_CLI_TEXT, 0, 0, false, false, NULL, "none", "Who gives certificates (RFC 8555) to services with --tls-cert acme"}, \
    {"acme-contact", 0, "MAIL", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Whom that directory tells what it has to say"}, \
    {"acme-ca", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "the system's", "Who vouches for that directory, PEM"}, \
    {"service-network", 0, "NETWORK", SYN_CLI_TEXT, 0, 0, false, false, NULL, "10.127.0.0/16", "Of services' addresses, which are the same on every node"}, \
    {"insecure", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Plain HTTP on --listen; loopback addresses only"}, \
    LOG_OPTIONS

#define CACHE_LIMIT \
    {"cache-limit", 0, "SIZE", SYN_CLI_BYTES, 0, 0, false, false, NULL, "half of the disk", "What the node keeps of datasets, code and images"}

/* What a node says of itself when it joins; `node label` changes it later. */
#define NODE_OPTIONS \
    {"label", 0, "KEY=VALUE", SYN_CLI_TEXT, 0, 0, false, true, NULL, NULL, "Label of a new node, for jobs to ask for; may be given again"}, \
    {"zone", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Zone of its region: the label synor.io/zone"}, \
    {"rack", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, NULL, "Rack of its zone: the label synor.io/rack"}, \
    {"bandwidth", 0, "RATE", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the interface's", "Of the way out, as 1gbit"}, \
    {"price-file", 0, "FILE", SYN_CLI_FILE, 0, 0, false, false, NULL, "the price book", "What a new node asks: JSON, as `node price` sets it"}, \
    {"gpu-sharing", 0, "HOW", SYN_CLI_TEXT, 0, 0, false, false, "off|time-slice|mps", "off", "Let jobs have shares of one GPU"}, \
    {"mps-pipes", 0, "DIR", SYN_CLI_TEXT, 0, 0, false, false, NULL, "/tmp/nvidia-mps", "Where NVIDIA's MPS daemon, which you run, has its pipes"}, \
    {"allow-namespace-sandbox", 0, NULL, SYN_CLI_FLAG, 0, 0, false, false, NULL, NULL, "Run functions that chose it forked, on this kernel"}, \
    {"warm-pool", 0, "HOW", SYN_CLI_TEXT, 0, 0, false, false, "on|off", "on", "Sandboxes made ahead, for functions that start"}, \
    {"runtime", 0, "DRIVER", SYN_CLI_TEXT, 0, 0, false, false, "native|container", "native", "What runs instances: runc and gVisor, or containerd first"}, \
    {"containerd", 0, "SOCKET", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the node's own", "Containerd that is there, as /run/containerd/containerd.sock"}, \
    {"instance-dns", 0, "HOW", SYN_CLI_TEXT, 0, 0, false, false, "forward|own|off", "forward", "Names for services: theirs and others', theirs alone, none"}, \
    {"mesh-listen", 0, "ADDR:PORT", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the way to the server", "Where other nodes reach this one's mesh; none: it has none"}

static const struct syn_cli_option server_options[] = {SERVER_OPTIONS};
static const struct syn_cli_option up_options[] = {SERVER_OPTIONS, CACHE_LIMIT, NODE_OPTIONS};

static const struct syn_cli_option agent_options[] = {
    {"server", 0, "URL", SYN_CLI_TEXT, 0, 0, true, false, NULL, NULL, "https://HOST:PORT, or a socket's path"},
    {"token", 0, "TOKEN", SYN_CLI_TEXT, 0, 0, false, false, NULL, "SYNOR_TOKEN", "Join token; needed until the node is registered"},
    {"fingerprint", 0, "HEX", SYN_CLI_TEXT, 0, 0, false, false, NULL, "SYNOR_FINGERPRINT", "Sha256 of the server's key, which is trusted then"},
    DATA_DIR,
    {"region", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "where it was, else local", "Region of this machine"},
    {"name", 0, "NAME", SYN_CLI_TEXT, 0, 0, false, false, NULL, "the host's", "Name of the node"},
    CACHE_LIMIT,
    NODE_OPTIONS,
    LOG_OPTIONS,
};
/* clang-format on */

static int
ask_status(struct syn_client *client, json_t **ret_status, struct syn_err *err)
{
    const struct syn_call call = {.method = "GET", .path = "/v1/status"};

    return syn_client_call(client, &call, ret_status, err);
}

int
syn_cli_probe(const struct syn_cli *cli, json_t **ret_status, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    int rc = syn_cli_connect(cli, 0, PROBE_MS, &client, err);

    return rc < 0 ? rc : ask_status(client, ret_status, err);
}

int
syn_cli_probe_home(const struct syn_cli *cli, json_t **ret_status, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    char path[sizeof(cli->home) + 16];
    const struct syn_client_options options = {.target = path, .answer_ms = PROBE_MS};
    int rc;

    (void)snprintf(path, sizeof(path), "%s/synor.sock", cli->home);
    rc = syn_client_new(&options, &client, err);
    return rc < 0 ? rc : ask_status(client, ret_status, err);
}

/* What the options say of the node. The texts live as long as the command line. */
struct node_words {
    char zone[96], rack[96];
    const char *labels[NODE_LABELS_MAX + 1]; /* NULL ends */
    int64_t bandwidth_bps;
    const char *mps_pipes; /* NULL: the usual place */
    struct syn_buf prices; /* JSON */
};

static void
words_fini(struct node_words *words)
{
    syn_buf_fini(&words->prices);
}

static int
add_word(struct node_words *words, size_t *count, const char *text, struct syn_err *err)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return SYN_FAIL(err, SYN_E_INVALID, "--label: expected KEY=VALUE, got \"%.80s\"", text);
    if (*count == NODE_LABELS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "--label: at most %d", NODE_LABELS_MAX);
    words->labels[(*count)++] = text;
    words->labels[*count] = NULL;
    return SYN_OK;
}

static int
take_words(const struct syn_cli *cli, struct node_words *words, struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0, count = 0;
    int rc = SYN_OK;

    words->labels[0] = NULL;
    words->bandwidth_bps = 0;
    words->mps_pipes = syn_cli_text(cli, "mps-pipes", NULL);
    if (words->mps_pipes != NULL && words->mps_pipes[0] != '/')
        return SYN_FAIL(err, SYN_E_INVALID, "--mps-pipes: expected an absolute path, got \"%.80s\"",
                        words->mps_pipes);
    while (rc == SYN_OK && (value = syn_cli_next(cli, "label", &cursor)) != NULL)
        rc = add_word(words, &count, value->text, err);
    (void)snprintf(words->zone, sizeof(words->zone), "synor.io/zone=%s",
                   syn_cli_text(cli, "zone", ""));
    (void)snprintf(words->rack, sizeof(words->rack), "synor.io/rack=%s",
                   syn_cli_text(cli, "rack", ""));
    if (rc == SYN_OK && syn_cli_has(cli, "zone"))
        rc = add_word(words, &count, words->zone, err);
    if (rc == SYN_OK && syn_cli_has(cli, "rack"))
        rc = add_word(words, &count, words->rack, err);
    if (rc == SYN_OK && syn_cli_has(cli, "bandwidth"))
        rc = syn_parse_rate(syn_cli_text(cli, "bandwidth", ""), "--bandwidth",
                            &words->bandwidth_bps, err);
    return rc;
}

/* Two ports of an address of this machine, or none: what others are told, so no host names. */
static int
take_mesh(const struct syn_cli *cli, const char **ret, struct syn_err *err)
{
    const char *text = syn_cli_text(cli, "mesh-listen", NULL);
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    bool six = text != NULL && text[0] == '[';
    char host[INET6_ADDRSTRLEN] = "";
    uint8_t bin[16];
    uint64_t port;

    *ret = text;
    if (text == NULL || syn_str_eq(text, "none"))
        return SYN_OK;
    if (colon != NULL && (!six || colon[-1] == ']'))
        (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - (six ? 2 : 0),
                       text + (six ? 1 : 0));
    if (host[0] == '\0' || inet_pton(six ? AF_INET6 : AF_INET, host, bin) != 1 ||
        syn_parse_u64(colon + 1, 1, UINT16_MAX - 1, "", &port, NULL) < 0)
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "--mesh-listen: \"%.80s\": expected ADDRESS:PORT such as 10.0.0.5:7800 (the "
            "port after it is used, too), or none",
            text);
    return SYN_OK;
}

/* One that is there is used by the container driver alone. */
static int
take_runtime(const struct syn_cli *cli, const char **ret_runtime, const char **ret_containerd,
             struct syn_err *err)
{
    const char *path = syn_cli_text(cli, "containerd", NULL);
    bool by_unix = path != NULL && syn_str_starts(path, "unix:");

    *ret_runtime = syn_cli_text(cli, "runtime", NULL);
    *ret_containerd = path;
    if (path == NULL)
        return SYN_OK;
    path += by_unix ? strlen("unix:") : 0;
    path += by_unix && syn_str_starts(path, "//") ? strlen("//") : 0;
    if (path[0] != '/' || path[1] == '/' || path[1] == '\0')
        return SYN_FAIL(
            err, SYN_E_INVALID,
            "--containerd: \"%.80s\": expected a socket's absolute path, or unix:///PATH",
            *ret_containerd);
    if (!syn_str_eq(*ret_runtime != NULL ? *ret_runtime : "", "container"))
        return SYN_FAIL(err, SYN_E_INVALID, "--containerd: goes with --runtime container");
    return SYN_OK;
}

/* A provider's own prices. What they may be, the server says; that it is JSON, and an object, is
 * said here. */
static int
take_prices(const struct syn_cli *cli, struct node_words *words, struct syn_err *err)
{
    const char *path = syn_cli_text(cli, "price-file", NULL);
    SYN_JSON(offer);
    int rc;

    if (path == NULL)
        return SYN_OK;
    rc = syn_cli_read_file(path, PRICES_MAX, &words->prices, err);
    if (rc == SYN_OK)
        rc = syn_json_parse_object(words->prices.data, words->prices.len, &offer, err);
    return rc < 0 ? syn_err_wrap(err, rc, "--price-file %s", path) : SYN_OK;
}

static const char *
prices_of(struct node_words *words)
{
    return words->prices.len > 0 ? syn_buf_text(&words->prices) : NULL;
}

static int
take_region(const struct syn_cli *cli, const char **ret_region, struct syn_err *err)
{
    const char *region = syn_cli_text(cli, "region", NULL);

    if (region != NULL && !syn_name_ok(region))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--region: expected a name of a-z, 0-9 and hyphens, got \"%.80s\"", region);
    *ret_region = region;
    return SYN_OK;
}

/* --- up, server ------------------------------------------------------------------------------ */

static int
already_running(const struct syn_cli *cli, json_t *status)
{
    if (cli->json)
        return syn_cli_print_json_take(cli, json_incref(status));
    syn_cli_say(cli, "already running (pid %lld) at %s, with its data in %s",
                (long long)syn_json_i64(status, "pid", 0), syn_json_str(status, "listen", "?"),
                cli->home);
    return 0;
}

/* Absolute paths: the daemon has another current folder. */
struct paths {
    char key_file[PATH_MAX];
    char price_book[PATH_MAX];
    char acme_ca[PATH_MAX];
    char access_log[PATH_MAX];
    char *certs[CERTS_MAX + 1];
    char old_keys[OLD_KEYS_MAX][PATH_MAX];
    const char *old_key_files[OLD_KEYS_MAX + 1];
};

static void
paths_fini(struct paths *paths)
{
    for (size_t i = 0; i < SYN_LEN(paths->certs); i++)
        syn_free(paths->certs[i]);
}

static int
take_old_keys(const struct syn_cli *cli, struct paths *paths, struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0;
    size_t count = 0;
    int rc = SYN_OK;

    while (rc == SYN_OK && (value = syn_cli_next(cli, "old-key", &cursor)) != NULL) {
        if (count == OLD_KEYS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "more than %d old keys", OLD_KEYS_MAX);
        rc = syn_cli_absolute(value->text, paths->old_keys[count], PATH_MAX, err);
        paths->old_key_files[count] = paths->old_keys[count];
        count++;
    }
    paths->old_key_files[count] = NULL;
    return rc;
}

static int
take_access_log(const struct syn_cli *cli, struct paths *paths, struct syn_cli_up *up,
                struct syn_err *err)
{
    const char *given = syn_cli_text(cli, "function-access-log", "");
    bool is_file = given[0] != '\0' && strcmp(given, "-") != 0 && strcmp(given, "none") != 0;

    if (syn_cli_has(cli, "function-access-log") && given[0] == '\0')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--function-access-log: expected a file, - or none, got \"\"");
    up->function_access_log = is_file ? paths->access_log : given;
    return is_file ? syn_cli_absolute(given, paths->access_log, PATH_MAX, err) : SYN_OK;
}

/* "CERT[,KEY]", both made absolute. */
static int
take_certs(const struct syn_cli *cli, struct paths *paths, struct syn_cli_up *up,
           struct syn_err *err)
{
    const struct syn_cli_value *value;
    size_t cursor = 0, count = 0, len;
    int rc = SYN_OK;

    while (rc == SYN_OK && (value = syn_cli_next(cli, "function-tls-cert", &cursor)) != NULL) {
        const char *comma = strrchr(value->text, ',');
        char one[PATH_MAX], given[PATH_MAX] = "";
        SYN_BUF(text);

        if (count == CERTS_MAX)
            return SYN_FAIL(err, SYN_E_LIMIT, "--function-tls-cert: more than %d", CERTS_MAX);
        if (comma != NULL && comma - value->text < PATH_MAX)
            (void)snprintf(given, sizeof(given), "%.*s", (int)(comma - value->text), value->text);
        rc = syn_cli_absolute(comma != NULL ? given : value->text, one, PATH_MAX, err);
        syn_buf_adds(&text, one);
        if (rc == SYN_OK && comma != NULL) {
            rc = syn_cli_absolute(comma + 1, one, PATH_MAX, err);
            syn_buf_addf(&text, ",%s", one);
        }
        if (rc == SYN_OK)
            rc = syn_buf_take(&text, &paths->certs[count++], &len, err);
    }
    up->function_tls_certs = (const char *const *)paths->certs;
    return rc;
}

static int
take_paths(const struct syn_cli *cli, struct paths *paths, struct syn_cli_up *up,
           struct syn_err *err)
{
    int rc = take_old_keys(cli, paths, err);

    up->old_key_files = paths->old_key_files;
    if (rc == SYN_OK && syn_cli_has(cli, "encrypt")) {
        rc = syn_cli_absolute(syn_cli_text(cli, "encrypt", ""), paths->key_file, PATH_MAX, err);
        up->key_file = paths->key_file;
    }
    if (rc == SYN_OK && syn_cli_has(cli, "price-book")) {
        rc =
            syn_cli_absolute(syn_cli_text(cli, "price-book", ""), paths->price_book, PATH_MAX, err);
        up->price_book = paths->price_book;
    }
    if (rc == SYN_OK && syn_cli_has(cli, "acme-ca")) {
        rc = syn_cli_absolute(syn_cli_text(cli, "acme-ca", ""), paths->acme_ca, PATH_MAX, err);
        up->acme_ca = paths->acme_ca;
    }
    if (rc == SYN_OK)
        rc = take_certs(cli, paths, up, err);
    return rc < 0 ? rc : take_access_log(cli, paths, up, err);
}

static int
start(struct syn_cli *cli, bool with_agent)
{
    SYN_SCOPED(paths_fini) struct paths paths = {.certs = {NULL}};
    SYN_SCOPED(words_fini) struct node_words words = {.labels = {NULL}, .prices = SYN_BUF_INIT};
    SYN_JSON(status);
    struct syn_err err;
    struct syn_cli_up up = {.data_dir = cli->home,
                            .listen = syn_cli_text(cli, "listen", NULL),
                            .publish = syn_cli_text(cli, "publish", NULL),
                            .http_port = (uint16_t)syn_cli_number(cli, "http-port", 0),
                            .https_port = (uint16_t)syn_cli_number(cli, "https-port", 0),
                            .function_listen = syn_cli_text(cli, "function-listen", NULL),
                            .function_tls_listen = syn_cli_text(cli, "function-tls-listen", NULL),
                            .acme_directory = syn_cli_text(cli, "acme-directory", NULL),
                            .acme_contact = syn_cli_text(cli, "acme-contact", NULL),
                            .log_level = syn_cli_text(cli, "log-level", NULL),
                            .without_key = syn_cli_has(cli, "without-key"),
                            .insecure = syn_cli_has(cli, "insecure"),
                            .log_json = syn_cli_has(cli, "log-json"),
                            .webhook_private = syn_cli_has(cli, "webhook-private"),
                            .with_agent = with_agent,
                            .cache_bytes_max = syn_cli_number(cli, "cache-limit", 0),
                            .ready_fd = -1};

    if (syn_cli_probe_home(cli, &status, &err) == SYN_OK)
        return already_running(cli, status);
    if (take_paths(cli, &paths, &up, &err) < 0 || take_region(cli, &up.region, &err) < 0 ||
        (with_agent && (take_words(cli, &words, &err) < 0 || take_prices(cli, &words, &err) < 0 ||
                        take_mesh(cli, &up.mesh, &err) < 0 ||
                        take_runtime(cli, &up.runtime, &up.containerd, &err) < 0)))
        return syn_cli_fail(cli, &err);
    up.offer = prices_of(&words);
    up.labels = words.labels;
    up.bandwidth_bps = words.bandwidth_bps;
    up.namespace_sandbox = syn_cli_has(cli, "allow-namespace-sandbox");
    up.nothing_ahead = syn_str_eq(syn_cli_text(cli, "warm-pool", "on"), "off");
    up.gpu_sharing = syn_cli_text(cli, "gpu-sharing", NULL);
    up.mps_pipes = words.mps_pipes;
    up.dns = syn_cli_text(cli, "instance-dns", NULL);
    up.service_network = syn_cli_text(cli, "service-network", NULL);
    return syn_cli_start(cli, &up, syn_cli_has(cli, "detach"));
}

static int
run_up(struct syn_cli *cli)
{
    return start(cli, true);
}

const struct syn_cli_command syn_cli_up_command = {
    .path = "up",
    .summary = "Run the platform on this machine: server and node in one",
    .detail =
        "State is kept in the data folder; jobs outlive the daemon and are adopted by the next "
        "start. The first start makes the operator's account, keys and token.",
    .examples = "  synor up --detach\n"
                "  synor up --listen 0.0.0.0:7700 --data-dir /srv/synor\n",
    .options = up_options,
    .option_count = SYN_LEN(up_options),
    .run = run_up};

static int
run_server(struct syn_cli *cli)
{
    return start(cli, false);
}

const struct syn_cli_command syn_cli_server_command = {
    .path = "server",
    .summary = "Run a control plane without a node; agents join it",
    .options = server_options,
    .option_count = SYN_LEN(server_options),
    .run = run_server};

/* --- agent ----------------------------------------------------------------------------------- */

static int
run_agent(struct syn_cli *cli)
{
    SYN_SCOPED(words_fini) struct node_words words = {.labels = {NULL}, .prices = SYN_BUF_INIT};
    struct syn_cli_agent agent = {.data_dir = cli->home,
                                  .server = syn_cli_text(cli, "server", NULL),
                                  .token = syn_cli_text(cli, "token", getenv("SYNOR_TOKEN")),
                                  .fingerprint =
                                      syn_cli_text(cli, "fingerprint", getenv("SYNOR_FINGERPRINT")),
                                  .name = syn_cli_text(cli, "name", NULL),
                                  .cache_bytes_max = syn_cli_number(cli, "cache-limit", 0),
                                  .log_level = syn_cli_text(cli, "log-level", NULL),
                                  .log_json = syn_cli_has(cli, "log-json")};

    const struct syn_client_options target = {.target = agent.server,
                                              .fingerprint = agent.fingerprint};
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    struct syn_err err;

    if (cli->host->agent == NULL) {
        (void)SYN_FAIL(&err, SYN_E_UNSUPPORTED, "this program has no agent in it");
        return syn_cli_fail(cli, &err);
    }
    /* What can never be reached is told here, not in a log. */
    if (syn_client_new(&target, &client, &err) < 0 || take_region(cli, &agent.region, &err) < 0 ||
        take_words(cli, &words, &err) < 0 || take_prices(cli, &words, &err) < 0 ||
        take_mesh(cli, &agent.mesh, &err) < 0 ||
        take_runtime(cli, &agent.runtime, &agent.containerd, &err) < 0)
        return syn_cli_fail(cli, &err);
    agent.offer = prices_of(&words);
    agent.labels = words.labels;
    agent.bandwidth_bps = words.bandwidth_bps;
    agent.namespace_sandbox = syn_cli_has(cli, "allow-namespace-sandbox");
    agent.nothing_ahead = syn_str_eq(syn_cli_text(cli, "warm-pool", "on"), "off");
    agent.gpu_sharing = syn_cli_text(cli, "gpu-sharing", NULL);
    agent.mps_pipes = words.mps_pipes;
    agent.dns = syn_cli_text(cli, "instance-dns", NULL);
    syn_cli_signals_reset();
    return cli->host->agent(&agent);
}

const struct syn_cli_command syn_cli_agent_command = {
    .path = "agent",
    .summary = "Run a node that takes instances from a server",
    .detail = "Dials out, so it needs no open port. What runs goes on while the server is away.",
    .examples = "  synor agent --server https://10.0.0.1:7700 --token syn_... --fingerprint HEX\n",
    .options = agent_options,
    .option_count = SYN_LEN(agent_options),
    .run = run_agent};

/* --- doctor ---------------------------------------------------------------------------------- */

static const char *
symbol_of(const char *state)
{
    static const char *const symbols[][2] = {
        {"ok", "\xe2\x9c\x93"},
        {"limited", "!"},
        {"broken", "\xe2\x9c\x97"},
        {"missing", "\xe2\x9c\x97"},
    };

    for (size_t i = 0; i < SYN_LEN(symbols); i++) {
        if (syn_str_eq(symbols[i][0], state))
            return symbols[i][1];
    }
    return "?";
}

static int
show_checks(struct syn_cli *cli, const json_t *checks)
{
    SYN_SCOPED(syn_cli_rows_free_scope) struct syn_cli_table_out *rows = NULL;
    struct syn_err err;
    size_t i;
    json_t *check;
    size_t fixes = 0;
    int status;

    if (syn_cli_rows_new("|CHECK|STATE|FOUND", &rows, &err) < 0)
        return syn_cli_fail(cli, &err);
    json_array_foreach (checks, i, check) {
        const char *state = syn_json_str(check, "state", "?");

        syn_cli_cell(rows, "%s", symbol_of(state));
        syn_cli_cell(rows, "%s", syn_json_str(check, "name", syn_json_str(check, "id", "")));
        syn_cli_cell(rows, "%s", state);
        syn_cli_cell(rows, "%s", syn_json_str(check, "detail", ""));
    }
    status = syn_cli_rows_print(cli, rows, "Nothing was checked.");
    json_array_foreach (checks, i, check) {
        const char *fix = syn_json_str(check, "fix", "");

        if (fix[0] == '\0')
            continue;
        if (fixes++ == 0)
            syn_cli_say(cli, "\nWhat would help:");
        syn_cli_say(cli, "  %s: %s", syn_json_str(check, "name", syn_json_str(check, "id", "")),
                    fix);
    }
    return status;
}

static int
run_doctor(struct syn_cli *cli)
{
    SYN_JSON(report);
    struct syn_err err;

    if (cli->host->doctor == NULL) {
        (void)SYN_FAIL(&err, SYN_E_UNSUPPORTED, "this program has no daemon in it");
        return syn_cli_fail(cli, &err);
    }
    if (cli->host->doctor(&report, &err) < 0)
        return syn_cli_fail(cli, &err);
    if (cli->json)
        return syn_cli_print_json_take(cli, SYN_TAKE(report));
    return show_checks(cli, json_object_get(report, "checks"));
}

const struct syn_cli_command syn_cli_doctor_command = {
    .path = "doctor",
    .summary = "Look at what this machine can run, and what it lacks",
    .detail =
        "Sandboxes, control groups, KVM, WireGuard, GPUs and versions, each really tried; what "
        "is missing comes with the command that gets it. Exit status 0 also when something "
        "is.",
    .run = run_doctor};
