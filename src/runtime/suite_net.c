/* The account's network, as a program in an instance meets it. */
#include "suite_run_priv.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/exec.h>

#define WORD_TRIES 4000

/* The server's own view: its address, its name, its resolver, a low port without privilege. Then it
 * serves until two have said that they got it all: who gave up and asks again finds it there. */
static const char server_text[] =
    "import socket\n"
    "print(socket.gethostbyname(socket.gethostname()))\n"
    "print(open('/etc/resolv.conf').read(), end='')\n"
    "s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('ready', flush=True)\n"
    "served = thanked = 0\n"
    "while thanked < 2:\n"
    "    c, a = s.accept()\n"
    "    c.settimeout(5)\n"
    "    served += 1\n"
    "    try:\n"
    "        c.sendall(b'x' * 100000 + a[0].encode() + b'\\n')\n"
    "        thanked += c.recv(1) == b'!'\n"
    "    except OSError:\n"
    "        pass\n"
    "    c.close()\n"
    "print('served', served)\n";

/* gVisor's IPv6 is silent until it knows that nobody else has its address: then ask again. */
static const char client_text[] = "import socket, sys\n"
                                  "def ask(host):\n"
                                  "    for i in range(5):\n"
                                  "        try:\n"
                                  "            s = socket.create_connection((host, 80), 3)\n"
                                  "            got = b''\n"
                                  "            while not got.endswith(b'\\n'):\n"
                                  "                part = s.recv(65536)\n"
                                  "                if not part:\n"
                                  "                    raise socket.timeout\n"
                                  "                got += part\n"
                                  "            s.sendall(b'!')\n"
                                  "            return got[100000:-1].decode()\n"
                                  "        except socket.timeout:\n"
                                  "            pass\n"
                                  "        except OSError:\n"
                                  "            return 'refused'\n"
                                  "    return 'silence'\n"
                                  "for host in sys.argv[1:]:\n"
                                  "    print(ask(host))\n";

static void
await_ready(struct syn_run *run)
{
    for (int i = 0; i < WORD_TRIES; i++) {
        syn_buf_clear(&run->out);
        syn_buf_clear(&run->err);
        syn_run_read_log(run);
        if (strstr(syn_buf_text(&run->out), "ready"))
            return;
        (void)poll(NULL, 0, 10);
    }
    fail_msg("the server never got ready: %s", syn_buf_text(&run->err));
}

static const struct syn_net_place *
place_of(const struct syn_run *run)
{
    const struct syn_net_place *place = syn_suite->runtime.ops->place(run->instance);

    assert_non_null(place);
    return place;
}

static int64_t
account_bytes(const struct syn_run *run)
{
    SYN_BUF(text);
    int64_t sum = 0;

    syn_suite_read_text(syn_suite->runtime.ops->paths(run->instance)->usage, &text);
    for (const char *line = syn_buf_text(&text); *line != '\0';) {
        size_t len = strcspn(line, "\n");
        struct syn_usage_sample usage;
        struct syn_err err = {0};

        assert_done(syn_usage_parse(line, len, &usage, &err), &err);
        assert_int_equal(usage.egress_bytes, 0);
        sum += usage.account_bytes;
        line += len + (line[len] == '\n');
    }
    return sum;
}

/* How often the server did. */
static int64_t
served(struct syn_run *run)
{
    const char *said;

    syn_buf_clear(&run->out);
    syn_buf_clear(&run->err);
    syn_run_read_log(run);
    said = strstr(syn_buf_text(&run->out), "served ");
    assert_non_null(said);
    return strtoll(said + strlen("served "), NULL, 10);
}

static void
assert_server_view(const struct syn_run *run)
{
    char want[256];

    (void)snprintf(want, sizeof(want), "%s\nsearch acme.synor\nnameserver %s\nready\n",
                   place_of(run)->address4, place_of(run)->gateway4);
    assert_string_equal(syn_buf_text(&run->out), want);
}

/* A program run within it has its network. */
static void
assert_exec_is_there(const struct syn_run *run)
{
    static const char *const argv[] = {
        "/usr/bin/python3", "-c",
        "import socket; print(socket.gethostbyname(socket.gethostname()))", NULL};
    const struct syn_exec_question question = {
        .spec = {.argv = argv}, .limit_ms = 60000, .bytes_max = 1024};
    struct syn_exec_result result = {0};
    struct syn_err err = {0};
    SYN_BUF(out);
    char want[64];

    assert_done(syn_exec_ask(&syn_suite->runtime, run->instance, &question, &out, &result, &err),
                &err);
    (void)snprintf(want, sizeof(want), "%s\n", place_of(run)->address4);
    assert_string_equal(syn_buf_text(&out), want);
    assert_int_equal(result.exit_code, 0);
}

void
syn_suite_account_is_a_network(void **state)
{
    const char *const dns[] = {"192.0.2.53", NULL}; /* not asked: the gateway is */
    const char *const serve[] = {"/usr/bin/python3", "-c", server_text, NULL};
    const char *ask[] = {"/usr/bin/python3", "-c", client_text, NULL, NULL, NULL};
    struct syn_instance_spec server = {.argv = serve,
                                       .network = SYN_NETWORK_ACCOUNT,
                                       .net = {.account = "acme"},
                                       .dns = dns,
                                       .dns_gateway = true,
                                       .dns_search = "acme.synor"};
    struct syn_instance_spec client = {
        .argv = ask, .network = SYN_NETWORK_ACCOUNT, .net = {.account = "acme"}};
    struct syn_instance_spec stranger = client;
    struct syn_run first, second, third;
    char want[128];

    (void)state;
    if (!syn_suite->networks) {
        print_message("skipped: no instance networks here\n");
        skip();
    }
    stranger.net.account = "bolt";
    syn_run_start(&first, &server);
    await_ready(&first);
    assert_server_view(&first);
    assert_exec_is_there(&first);
    ask[3] = place_of(&first)->address4;
    ask[4] = place_of(&first)->address6;
    syn_run_all(&third, &stranger);
    assert_string_equal(syn_buf_text(&third.out), "refused\nrefused\n");
    syn_run_all(&second, &client);
    (void)snprintf(want, sizeof(want), "::ffff:%s\n%s\n", place_of(&second)->address4,
                   place_of(&second)->address6);
    if (!syn_str_eq(syn_buf_text(&second.out), want))
        fail_msg("client: %s%s\nwanted: %s", syn_buf_text(&second.out), syn_buf_text(&second.err),
                 want);
    syn_run_await(&first);
    syn_suite_assert_reason(&first, SYN_EXIT_COMPLETED);
    assert_true(account_bytes(&first) >= 200000);
    assert_true(account_bytes(&first) <= 130000 * served(&first));
    syn_run_end(&first);
    syn_run_end(&second);
    syn_run_end(&third);
}
