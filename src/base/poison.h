/* Force-included before everything: the libc calls below have no safe use here. The headers that
 * name them come first, so that only our own code is refused. */
#ifndef SYN_BASE_POISON_H
#define SYN_BASE_POISON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if !defined(__clang_analyzer__) && !defined(SYN_NO_POISON)
/* glibc makes these macros for clang when it fortifies; a macro cannot be poisoned quietly. */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol strtol strtoul gmtime localtime
#pragma GCC poison system
#endif

#endif
