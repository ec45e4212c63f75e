/* The list of commands that wait for a queue's thread. What runs them is the drivers' suites'. */
#include <synor/base/test.h>

#include "host_queue_priv.h"

struct item {
    struct syn_host_link link;
    unsigned number;
};

/* A queue whose thread takes nothing before the gate opens. */
struct rig {
    struct syn_dev dev;
    struct syn_host_list list;
    pthread_mutex_t gate;
    unsigned taken, in_order; /* the thread's, until the list's end */
    struct item items[SYN_HOST_QUEUE_MAX + 1];
};

static void *
thread(void *arg)
{
    struct rig *rig = arg;
    struct syn_host_link *link = NULL;

    (void)pthread_mutex_lock(&rig->gate);
    (void)pthread_mutex_unlock(&rig->gate);
    while ((link = syn_host_list_take(&rig->list, true))) {
        rig->in_order += SYN_CONTAINER(link, struct item, link)->number == rig->taken;
        rig->taken++;
    }
    return NULL;
}

static struct rig rig;

static void
begin(void)
{
    rig = (struct rig){.dev.info.id = "d0", .gate = PTHREAD_MUTEX_INITIALIZER};
    for (unsigned i = 0; i < SYN_LEN(rig.items); i++)
        rig.items[i].number = i;
    syn_host_list_init(&rig.list, &rig.dev, thread, &rig);
    (void)pthread_mutex_lock(&rig.gate);
}

static void
test_all_are_taken_in_order(void **state)
{
    struct syn_err err = {0};

    (void)state;
    begin();
    for (unsigned i = 0; i < 100; i++)
        assert_done(syn_host_list_push(&rig.list, &rig.items[i].link, NULL, &err), &err);
    (void)pthread_mutex_unlock(&rig.gate);
    syn_host_list_fini(&rig.list);
    assert_int_equal(rig.taken, 100);
    assert_int_equal(rig.in_order, 100);
}

/* A full one refuses and keeps what it has; what was taken makes room. */
static void
test_a_full_list(void **state)
{
    struct syn_host_link *last = &rig.items[SYN_HOST_QUEUE_MAX].link;
    struct syn_err err = {0};

    (void)state;
    begin();
    for (unsigned i = 0; i < SYN_HOST_QUEUE_MAX; i++)
        assert_done(syn_host_list_push(&rig.list, &rig.items[i].link, NULL, &err), &err);
    assert_code(syn_host_list_push(&rig.list, last, NULL, &err), SYN_E_LIMIT, &err);
    assert_string_equal(err.msg, "d0: the queue holds 4096 commands");
    assert_ptr_equal(syn_host_list_take(&rig.list, false), &rig.items[0].link);
    rig.taken = rig.in_order = 1;
    assert_done(syn_host_list_push(&rig.list, last, NULL, &err), &err);
    (void)pthread_mutex_unlock(&rig.gate);
    syn_host_list_fini(&rig.list);
    assert_int_equal(rig.taken, SYN_HOST_QUEUE_MAX + 1);
    assert_int_equal(rig.in_order, SYN_HOST_QUEUE_MAX + 1);
}

static void
test_an_empty_list(void **state)
{
    struct syn_err err = {0};

    (void)state;
    begin();
    assert_null(syn_host_list_take(&rig.list, false)); /* and does not wait */
    (void)pthread_mutex_unlock(&rig.gate);
    syn_host_list_fini(&rig.list); /* its thread never began */
    assert_false(rig.list.started);
    begin();
    for (unsigned i = 0; i < 3; i++) { /* one that was emptied */
        assert_done(syn_host_list_push(&rig.list, &rig.items[i].link, NULL, &err), &err);
        assert_ptr_equal(syn_host_list_take(&rig.list, false), &rig.items[i].link);
        assert_null(syn_host_list_take(&rig.list, false));
    }
    (void)pthread_mutex_unlock(&rig.gate);
    syn_host_list_fini(&rig.list);
    assert_int_equal(rig.taken, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_are_taken_in_order),
        cmocka_unit_test(test_a_full_list),
        cmocka_unit_test(test_an_empty_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
