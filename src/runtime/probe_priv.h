/* The probes that are modules of their own. */
#ifndef SYNOR_RUNTIME_PROBE_PRIV_H
#define SYNOR_RUNTIME_PROBE_PRIV_H

#include <synor/runtime/probe.h>

/** How far a guest of our own got on /dev/kvm. */
enum syn_kvm_step {
    SYN_KVM_ABSENT,   /* no device, or it cannot be opened: see detail */
    SYN_KVM_NO_VM,    /* opens, creates no machine */
    SYN_KVM_NO_GUEST, /* creates machines; the test guest stopped short */
    SYN_KVM_GUEST,    /* the test guest ran to its end */
};

struct syn_kvm_result {
    enum syn_kvm_step step;
    char detail[256];
};

/** Run a guest of a few instructions in 64-bit mode. Blocks: at most `limit_ms`. */
void syn_kvm_try(const char *device, int limit_ms, struct syn_kvm_result *ret);
/** Boot `kernel` by `qemu` with KVM. True when it came past early boot within `limit_ms`; `detail`
 * says how far otherwise. */
bool syn_kvm_boot(const char *qemu, const char *kernel, int limit_ms, char *detail, size_t cap);

#endif
