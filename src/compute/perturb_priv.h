/* Points where a test that perturbs the order of threads may hold one up; see perturb.c. In every
 * ordinary build they are nothing. */
#ifndef SYNOR_COMPUTE_PERTURB_PRIV_H
#define SYNOR_COMPUTE_PERTURB_PRIV_H

#include <stdint.h>

#if defined(SYN_PERTURB_ON)
#define SYN_PERTURB() syn_perturb((uint32_t)__LINE__ * 64 + (uint32_t)sizeof(__FILE__))
#else
#define SYN_PERTURB() ((void)0)
#endif

/* Perhaps hold the calling thread up. `site` tells points apart. */
void syn_perturb(uint32_t site);
/* Begin anew with this seed; 0: nobody is held up any more. */
void syn_perturb_seed(uint64_t seed);

#endif
