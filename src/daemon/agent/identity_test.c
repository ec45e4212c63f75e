/* Identities and two clocks: renewed at a third of their life, at once after a jump, and never in a
 * storm. */
#include "identity_priv.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/infra/balancer.h>
#include <synor/infra/secret_file.h>
#include <synor/infra/tls_cert.h>

#include "agent_priv.h"

#define ID      "svc-web"
#define NOON_MS INT64_C(1900000000000)
#define MIN_MS  INT64_C(60000)
#define HOUR_MS (60 * MIN_MS)
#define DAY_MS  (24 * HOUR_MS)
#define LIFE_MS HOUR_MS
#define BACK_MS (5 * MIN_MS) /* certificates hold from so long before */
#define THIRD   ((LIFE_MS + BACK_MS) / 3)

/* A node, and a server that signs for it. */
struct stand {
    struct syn_world world;
    int64_t wall_ms, mono_ms; /* ours */
    int64_t differs_ms;       /* so much is the server's clock ahead of ours */
    uint16_t random;
    char ca[256];
    char dir[256];
    int away; /* a code, while it does not answer */
    const char *lie;
    unsigned calls, renewed, authorities;
    struct agt_identities *identities;
};

static int64_t
wall(void *self)
{
    return ((struct stand *)self)->wall_ms;
}

static int64_t
mono(void *self)
{
    return ((struct stand *)self)->mono_ms * 1000000;
}

static void
draw(void *self, void *out, size_t len)
{
    struct stand *stand = self;

    memset(out, 0, len);
    memcpy(out, &stand->random, SYN_MIN(len, sizeof(stand->random)));
}

static const struct syn_world_ops ops = {SYN_WORLD_VERSION, wall, mono, draw};

static int
sign(void *arg, const char *id, const char *csr, json_t **ret, struct syn_err *err)
{
    struct stand *stand = arg;
    int64_t now_ms = stand->wall_ms + stand->differs_ms;
    const struct syn_tls_identity who = {
        .name = "web.acme.mesh", .from_ms = now_ms - BACK_MS, .until_ms = now_ms + LIFE_MS};
    SYN_BUF(pem);
    SYN_BUF(ca);

    assert_string_equal(id, ID);
    stand->calls++;
    if (stand->away != 0)
        return SYN_FAIL(err, stand->away, "the server is away");
    assert_done(syn_tls_request_sign(stand->ca, csr, strlen(csr), &who, &pem, err), err);
    assert_done(syn_tls_cert_text(stand->ca, &ca, err), err);
    return syn_json_pack(ret, err, "{s:s, s:s}", "certificate",
                         stand->lie != NULL ? stand->lie : syn_buf_text(&pem), "ca",
                         syn_buf_text(&ca));
}

static void
renewed(void *arg, const char *id)
{
    struct stand *stand = arg;

    if (id == NULL)
        stand->authorities++;
    else
        stand->renewed++;
}

static void
open_stand(struct stand *stand)
{
    struct syn_err err = {0};

    assert_done(agt_identities_open(&(struct agt_identities_options){stand->dir, &stand->world,
                                                                     sign, renewed, stand},
                                    &stand->identities, &err),
                &err);
}

static int
setup(void **state)
{
    static unsigned number;
    struct stand *stand = calloc(1, sizeof(*stand));
    struct syn_err err = {0};

    assert_non_null(stand);
    syn_json_init();
    stand->world = (struct syn_world){&ops, stand};
    stand->wall_ms = NOON_MS;
    stand->mono_ms = 1000;
    (void)snprintf(stand->ca, sizeof(stand->ca), "%s/ca%u.pem", syn_test_dir(), number);
    (void)snprintf(stand->dir, sizeof(stand->dir), "%s/identities%u", syn_test_dir(), number++);
    assert_done(syn_tls_ca_create(stand->ca, "mesh", 100, &err), &err);
    open_stand(stand);
    *state = stand;
    return 0;
}

static int
teardown(void **state)
{
    struct stand *stand = *state;

    stand->identities = agt_identities_close(stand->identities);
    free(stand);
    return 0;
}

static void
ensure(struct stand *stand)
{
    struct syn_err err = {0};

    assert_done(agt_identities_ensure(stand->identities, ID, &err), &err);
}

/* Both clocks go on, and it is turned as often as it says. */
static void
pass(struct stand *stand, int64_t ms)
{
    int64_t until_ms = stand->mono_ms + ms;

    while (stand->mono_ms < until_ms) {
        int64_t pause_ms = agt_identities_turn(stand->identities);

        assert_in_range(pause_ms, 1, AGT_IDENTITY_LOOK_MS);
        pause_ms = SYN_MIN(pause_ms, until_ms - stand->mono_ms);
        stand->mono_ms += pause_ms;
        stand->wall_ms += pause_ms;
    }
    (void)agt_identities_turn(stand->identities);
}

/* Somebody sets our clock; the server's is on the same machine, or not. */
static void
jump(struct stand *stand, int64_t ms, bool server_too)
{
    stand->wall_ms += ms;
    stand->differs_ms -= server_too ? 0 : ms;
}

/* The file, which is whole: until when does it hold? */
static int64_t
read_file(const struct stand *stand)
{
    char path[AGT_PATH_MAX];
    struct syn_tls_look look;
    struct syn_err err = {0};
    struct stat st;
    char *whole;
    SYN_BUF(pem);

    (void)agt_identities_pem(stand->identities, ID, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_done(syn_secret_file_read(path, &pem, &err), &err);
    assert_done(syn_balancer_pem(pem.data, pem.len, &whole, &err), &err);
    syn_free(whole);
    assert_done(syn_tls_cert_look(pem.data, pem.len, &look, &err), &err);
    return look.until_ms;
}

static void
one_is_made_and_renewed_at_a_third(void **state)
{
    struct stand *stand = *state;
    char path[AGT_PATH_MAX];

    ensure(stand);
    ensure(stand);
    assert_int_equal(stand->calls, 1);
    assert_int_equal(stand->renewed, 1);
    assert_int_equal(stand->authorities, 1);
    assert_int_equal(read_file(stand), NOON_MS + LIFE_MS);
    assert_int_equal(access(agt_identities_ca(stand->identities, path), R_OK), 0);
    pass(stand, THIRD - 1);
    assert_int_equal(stand->calls, 1);
    pass(stand, 1);
    assert_int_equal(stand->calls, 2);
    assert_int_equal(stand->renewed, 2);
    assert_int_equal(stand->authorities, 1); /* the same as before */
    assert_int_equal(read_file(stand) / 1000, (stand->wall_ms + LIFE_MS) / 1000);
    pass(stand, 6 * HOUR_MS);
    assert_in_range(stand->calls, 6 * HOUR_MS / THIRD, 6 * HOUR_MS / THIRD + 3);
}

/* Those of a node that started at once are not renewed at once: a tenth of the time is random. */
static void
renewals_are_scattered(void **state)
{
    struct stand *stand = *state;

    stand->random = UINT16_MAX;
    ensure(stand);
    pass(stand, THIRD - THIRD / 10 - 1);
    assert_int_equal(stand->calls, 1);
    pass(stand, 1);
    assert_int_equal(stand->calls, 2);
}

static void
jumps_with_the_server_renew_once(void **state)
{
    static const int64_t jumps[] = {3 * DAY_MS, -3 * DAY_MS, 365 * DAY_MS, 2 * HOUR_MS,
                                    -10 * MIN_MS};
    struct stand *stand = *state;

    ensure(stand);
    for (size_t i = 0; i < SYN_LEN(jumps); i++) {
        unsigned calls = stand->calls;

        jump(stand, jumps[i], true);
        pass(stand, 1);
        assert_int_equal(stand->calls, calls + 1); /* at once */
        assert_int_equal(read_file(stand) / 1000, (stand->wall_ms - 1 + LIFE_MS) / 1000);
        pass(stand, THIRD - 2);
        assert_int_equal(stand->calls, calls + 1);
    }
}

/* What it is told holds nowhere near our time, however often it asks. */
static void
a_wrong_clock_of_ours_is_no_storm(void **state)
{
    static const int64_t jumps[] = {3 * DAY_MS, -3 * DAY_MS};
    struct stand *stand = *state;

    ensure(stand);
    for (size_t i = 0; i < SYN_LEN(jumps); i++) {
        unsigned calls = stand->calls;

        jump(stand, jumps[i], false);
        pass(stand, HOUR_MS / 3);
        assert_in_range(stand->calls - calls, 2, HOUR_MS / 3 / AGT_IDENTITY_RETRY_MAX_MS + 10);
        assert_int_equal(read_file(stand) > 0, 1);
        jump(stand, -jumps[i], false);
        calls = stand->calls;
        pass(stand, THIRD - 2 * MIN_MS); /* it is right again: what came last holds */
        assert_int_equal(stand->calls, calls);
        pass(stand, 2 * HOUR_MS);
        assert_in_range(stand->calls - calls, 2 * HOUR_MS / THIRD, 2 * HOUR_MS / THIRD + 1);
    }
}

static void
a_server_that_is_away_is_asked_now_and_then(void **state)
{
    struct stand *stand = *state;
    struct syn_err err = {0};
    int64_t until_ms;
    unsigned calls;

    stand->away = SYN_E_UNAVAILABLE;
    assert_code(agt_identities_ensure(stand->identities, ID, &err), SYN_E_UNAVAILABLE, &err);
    assert_code(agt_identities_ensure(stand->identities, ID, &err), SYN_E_UNAVAILABLE, &err);
    assert_int_equal(stand->calls, 1);
    pass(stand, AGT_IDENTITY_RETRY_MIN_MS);
    assert_int_equal(stand->calls, 2);
    stand->away = 0;
    pass(stand, AGT_IDENTITY_RETRY_MAX_MS);
    ensure(stand);
    until_ms = read_file(stand);

    stand->away = SYN_E_TIMEOUT;
    calls = stand->calls;
    jump(stand, 2 * LIFE_MS, true);
    pass(stand, LIFE_MS / 3);
    assert_in_range(stand->calls - calls, 10, LIFE_MS / 3 / AGT_IDENTITY_RETRY_MAX_MS + 10);
    assert_int_equal(read_file(stand), until_ms); /* the old one stays, although it has ended */
    stand->away = 0;
    pass(stand, AGT_IDENTITY_RETRY_MAX_MS);
    assert_true(read_file(stand) > stand->wall_ms);
}

/* Nor does anything else become a file than a certificate of our key. */
static void
what_is_no_certificate_of_ours_is_not_taken(void **state)
{
    static const char *const lies[] = {"", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n"};
    struct stand *stand = *state;
    char path[AGT_PATH_MAX];
    struct syn_err err = {0};
    SYN_BUF(other);

    assert_done(syn_tls_cert_text(stand->ca, &other, &err), &err);
    for (size_t i = 0; i < SYN_LEN(lies) + 1; i++) {
        stand->lie = i < SYN_LEN(lies) ? lies[i] : syn_buf_text(&other);
        assert_true(agt_identities_ensure(stand->identities, ID, &err) < 0);
        assert_int_not_equal(access(agt_identities_pem(stand->identities, ID, path), F_OK), 0);
        pass(stand, AGT_IDENTITY_RETRY_MAX_MS);
    }
    stand->lie = NULL;
    pass(stand, AGT_IDENTITY_RETRY_MAX_MS);
    ensure(stand);
}

static void
reopen(struct stand *stand)
{
    stand->identities = agt_identities_close(stand->identities);
    open_stand(stand);
    stand->calls = 0;
}

/* An agent that starts again goes on with the files, and makes those anew that are broken. */
static void
files_outlive_the_agent(void **state)
{
    struct stand *stand = *state;
    char path[AGT_PATH_MAX];

    ensure(stand);
    pass(stand, 10 * MIN_MS);
    reopen(stand);
    ensure(stand);
    assert_int_equal(stand->calls, 0);
    pass(stand, THIRD - BACK_MS - 10 * MIN_MS); /* a third of what it says that its life is */
    assert_int_equal(stand->calls, 1);
    jump(stand, DAY_MS, true); /* while nobody looked */
    reopen(stand);
    ensure(stand);
    pass(stand, 1);
    assert_int_equal(stand->calls, 1);
    (void)agt_identities_pem(stand->identities, ID, path);
    assert_int_equal(truncate(path, 300), 0);
    reopen(stand);
    ensure(stand);
    assert_int_equal(stand->calls, 1);
    assert_int_equal(read_file(stand) / 1000, (stand->wall_ms + LIFE_MS) / 1000);
}

static void
what_nobody_needs_goes(void **state)
{
    struct stand *stand = *state;
    char path[AGT_PATH_MAX], ca[AGT_PATH_MAX];

    ensure(stand);
    (void)agt_identities_pem(stand->identities, ID, path);
    (void)agt_identities_ca(stand->identities, ca);
    agt_identities_sweep(stand->identities);
    assert_int_equal(access(path, F_OK), 0);
    reopen(stand); /* nobody has asked for it since */
    agt_identities_sweep(stand->identities);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(access(ca, F_OK), 0);
    ensure(stand);
    agt_identities_drop(stand->identities, ID);
    assert_int_not_equal(access(path, F_OK), 0);
    pass(stand, DAY_MS);
    assert_int_equal(stand->calls, 1);
}

static bool
is_it(void *arg, const char *id)
{
    return syn_str_eq(arg, id);
}

/* One that could not be had, as nothing ran any more, is not asked for again and again; nor does
 * what runs then wait for that trouble to be over. */
static void
what_could_not_be_had_is_forgotten(void **state)
{
    struct stand *stand = *state;
    struct syn_err err = {0};

    stand->away = SYN_E_FORBIDDEN;
    assert_code(agt_identities_ensure(stand->identities, ID, &err), SYN_E_FORBIDDEN, &err);
    agt_identities_keep(stand->identities, is_it, (void *)(uintptr_t)ID);
    pass(stand, AGT_IDENTITY_RETRY_MIN_MS);
    assert_int_equal(stand->calls, 2);
    stand->away = 0;
    agt_identities_urge(stand->identities, ID);
    ensure(stand);
    assert_int_equal(stand->calls, 3);
    agt_identities_keep(stand->identities, is_it, (void *)(uintptr_t)ID);
    assert_true(read_file(stand) > 0);

    agt_identities_keep(stand->identities, is_it, (void *)(uintptr_t) "svc-other");
    stand->away = SYN_E_FORBIDDEN;
    assert_code(agt_identities_ensure(stand->identities, ID, &err), SYN_E_FORBIDDEN, &err);
    assert_int_equal(stand->calls, 4);
    agt_identities_keep(stand->identities, is_it, (void *)(uintptr_t) "svc-other");
    pass(stand, DAY_MS);
    assert_int_equal(stand->calls, 4);
    stand->away = 0;
    ensure(stand);
}

/* A wrong clock is no trouble that is over when something more runs. */
static void
urging_is_no_storm(void **state)
{
    struct stand *stand = *state;

    agt_identities_urge(stand->identities, ID);
    ensure(stand);
    jump(stand, DAY_MS, false);
    pass(stand, 1);
    for (int i = 0; i < 10; i++) {
        agt_identities_urge(stand->identities, ID);
        pass(stand, 1);
    }
    assert_int_equal(stand->calls, 2);
}

/* Whatever the clocks do: asked at most once a minute and at every jump, and whenever both clocks
 * agree for a while what it has holds. */
static void
no_order_of_jumps_makes_a_storm(void **state)
{
    struct stand *stand = *state;
    unsigned seed = 11;
    int64_t apart_ms = 0;

    ensure(stand);
    for (unsigned step = 0; step < 6; step++) {
        int64_t by_ms = ((int64_t)(rand_r(&seed) % 2000) - 1000) * MIN_MS;
        bool together = rand_r(&seed) % 2 == 0;
        unsigned calls = stand->calls;

        if (apart_ms != 0 && rand_r(&seed) % 2 == 0) {
            by_ms = -apart_ms;
            together = false;
        }
        jump(stand, by_ms, together);
        apart_ms += together ? 0 : by_ms;
        pass(stand, 10 * MIN_MS);
        assert_true(stand->calls - calls <= 10 + 8);
        if (apart_ms == 0)
            assert_true(read_file(stand) > stand->wall_ms);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_is_made_and_renewed_at_a_third, setup, teardown),
        cmocka_unit_test_setup_teardown(renewals_are_scattered, setup, teardown),
        cmocka_unit_test_setup_teardown(jumps_with_the_server_renew_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_clock_of_ours_is_no_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_is_away_is_asked_now_and_then, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_certificate_of_ours_is_not_taken, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(files_outlive_the_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_needs_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_could_not_be_had_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(urging_is_no_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(no_order_of_jumps_makes_a_storm, setup, teardown),
    };

    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
