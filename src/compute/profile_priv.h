/* The table of profiles, as its parser makes it. */
#ifndef SYN_COMPUTE_PROFILE_PRIV_H
#define SYN_COMPUTE_PROFILE_PRIV_H

#include <synor/profile.h>

struct syn_profiles {
    struct syn_profile *items;
    size_t count, cap;
};

#endif
