/* What our cmocka tests share: assertions on results, the allocation sweep, a scratch folder. */
#ifndef SYNOR_BASE_TEST_H
#define SYNOR_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <synor/base/err.h>
#include <synor/base/mem.h>

/** `assert_done(call(..., &err), &err)`: fails with the error's text and place. */
#define assert_done(call, errp)                                                                   \
    do {                                                                                          \
        int rc_ = (call);                                                                         \
        if (rc_ != 0)                                                                             \
            fail_msg("%s = %d: %s (%s:%d)", #call, rc_, (errp)->msg, (errp)->file, (errp)->line); \
    } while (0)
/** The call must give exactly this code and, when negative, a message. */
#define assert_code(call, want, errp)                                          \
    do {                                                                       \
        int rc_ = (call);                                                      \
        if (rc_ != (want))                                                     \
            fail_msg("%s = %d, want %d: %s", #call, rc_, (want), (errp)->msg); \
        if (rc_ < 0)                                                           \
            assert_true((errp)->msg[0] != '\0');                               \
    } while (0)

/** Run `scenario(arg, err)` with allocation 1 failing, then 2, ... until it passes untouched; each
 * failure must be SYN_E_NOMEM with a message and leave syn_mem_live() as it was. Returns how many
 * failures were seen. */
unsigned syn_test_sweep_alloc(int (*scenario)(void *arg, struct syn_err *err), void *arg);
/** A fresh folder under $TMPDIR (path owned by the test process, removed at exit). */
const char *syn_test_dir(void);
/** Repeatable random numbers: xorshift64*. */
uint64_t syn_test_random(uint64_t *state);

#endif
