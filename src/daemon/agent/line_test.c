#include "agent_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

static void
put_file(const char *root, const char *name, const char *text)
{
    char path[AGT_PATH_MAX];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void
the_interface_of_the_default_route_counts(void **state)
{
    const char *root = syn_test_dir();

    (void)state;
    assert_int_equal(agt_line_bps(root), 0);
    put_file(root, "proc/net/route",
             "Iface\tDestination\tGateway\n"
             "eth1\t0000A8C0\t00000000\n"
             "eth0\t00000000\t0100A8C0\n");
    assert_int_equal(agt_line_bps(root), 0);
    put_file(root, "sys/class/net/eth1/speed", "10000\n");
    put_file(root, "sys/class/net/eth0/speed", "2500\n");
    assert_int_equal(agt_line_bps(root), 2500000000);
    put_file(root, "sys/class/net/eth0/speed", "-1\n");
    assert_int_equal(agt_line_bps(root), 0);
    put_file(root, "sys/class/net/eth0/speed", "4294967295\n");
    assert_int_equal(agt_line_bps(root), 0);
}

static void
a_round_trip_is_the_time_of_a_connection(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[64];

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%d/", ntohs(address.sin_port));
    assert_true(agt_line_rtt_us(url) > 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(agt_line_rtt_us(url), 0);
    assert_int_equal(agt_line_rtt_us("/run/synor.sock"), 0);
    assert_int_equal(agt_line_rtt_us("unix:/run/synor.sock"), 0);
    assert_int_equal(agt_line_rtt_us("https://"), 0);
    assert_int_equal(agt_line_rtt_us("https://[::1"), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_interface_of_the_default_route_counts),
        cmocka_unit_test(a_round_trip_is_the_time_of_a_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
