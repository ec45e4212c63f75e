#include "full_priv.h"

#include <fcntl.h>
#include <unistd.h>

#include <synor/base/test.h>

static struct syn_logger logger;

static void
feed(const char *text)
{
    syn_logger_feed(&logger, SYN_LOGGER_STDERR, text, strlen(text), 0);
}

static void
logger_open(void)
{
    static int null = -1;

    if (null < 0)
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(null >= 0);
    syn_logger_init(&logger, null, 0, 4096); /* little: words count also when they are dropped */
}

static void
words_are_heard_in_every_language(void **state)
{
    static const struct {
        const char *text;
        bool heard;
    } rows[] = {
        {"dd: error writing 'f': No space left on device\n", true},
        {"OSError: [Errno 28] No space left on device: '/tmp/x'\n", true},
        {"write /synor/output/x: no space left on device\n", true},
        {"{ code: 'ENOSPC' }\n", true},
        {"no space between words\n", false},
        {"left on device\n", false},
        {"\n", false},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_full full;

        logger_open();
        syn_full_init(&full);
        feed("some line before\n");
        feed(rows[i].text);
        assert_int_equal(logger.nospace_at > 0, rows[i].heard);
        assert_int_equal(syn_full_judge(&full, &logger, true, 0),
                         rows[i].heard ? SYN_FULL_WORDS : SYN_FULL_NO);
        assert_int_equal(syn_full_judge(&full, &logger, false, 0), SYN_FULL_NO);
    }
}

static void
words_of_long_ago_do_not_count(void **state)
{
    struct syn_full full;

    (void)state;
    logger_open();
    syn_full_init(&full);
    feed("cache: No space left on device, going on without\n");
    for (int i = 0; i < 500; i++)
        feed("step 1 loss 2.3\n");
    assert_int_equal(syn_full_judge(&full, &logger, true, 0), SYN_FULL_WORDS);
    for (int i = 0; i < 1000; i++)
        feed("step 1 loss 2.3\n");
    assert_int_equal(syn_full_judge(&full, &logger, true, 0), SYN_FULL_NO);
    feed("again: No space left on device"); /* an unfinished last line is a line at the end */
    syn_logger_finish(&logger, 0);
    assert_int_equal(syn_full_judge(&full, &logger, true, 0), SYN_FULL_WORDS);
}

static void
what_was_seen_counts_for_a_while(void **state)
{
    struct syn_full full;

    (void)state;
    logger_open();
    syn_full_init(&full);
    full.seen_bytes_ms = 100000;
    assert_int_equal(syn_full_judge(&full, &logger, true, 101000), SYN_FULL_BYTES);
    assert_int_equal(syn_full_judge(&full, &logger, false, 101000), SYN_FULL_BYTES);
    assert_int_equal(syn_full_judge(&full, &logger, true, 110000), SYN_FULL_NO);
    full.seen_files_ms = 109000;
    assert_int_equal(syn_full_judge(&full, &logger, true, 110000), SYN_FULL_FILES);
    feed("No space left on device\n");
    full.seen_files_ms = 0;
    full.shm = true;
    assert_int_equal(syn_full_judge(&full, &logger, true, 110000), SYN_FULL_SHM);
}

static void
file_system_is_looked_at(void **state)
{
    struct syn_full full;

    (void)state;
    logger_open();
    syn_full_init(&full);
    syn_full_look(&full, "/no/such/folder", 1000);
    assert_true(full.bytes_free_least == INT64_MAX);
    syn_full_look(&full, syn_test_dir(), 1000);
    assert_true(full.bytes_free_least < INT64_MAX);
    syn_full_look(&full, "/proc", 1000); /* has no room for anything */
    assert_int_equal(full.bytes_free_least, 0);
    assert_int_equal(full.seen_bytes_ms, 1000);
    assert_int_equal(full.seen_files_ms, 1000);
    syn_full_init(&full);
    syn_full_hear(&full, &logger, "/proc", 0, 2000); /* nothing was said: nobody looks */
    assert_int_equal(full.seen_bytes_ms, 0);
    feed("No space left on device\n");
    syn_full_hear(&full, &logger, "/proc", (int)getpid(), 2000);
    assert_int_equal(full.seen_bytes_ms, 2000);
    syn_full_hear(&full, &logger, "/proc", 0, 3000); /* once is enough */
    assert_int_equal(full.seen_bytes_ms, 2000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_heard_in_every_language),
        cmocka_unit_test(words_of_long_ago_do_not_count),
        cmocka_unit_test(what_was_seen_counts_for_a_while),
        cmocka_unit_test(file_system_is_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
