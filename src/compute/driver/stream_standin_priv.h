/* What the stand-in's files share. */
#ifndef SYN_COMPUTE_STREAM_STANDIN_PRIV_H
#define SYN_COMPUTE_STREAM_STANDIN_PRIV_H

#include "standin_priv.h"

#ifdef STANDIN_HIP
#define NAME(cuda, hip) hip
#define RTC(name)       hiprtc##name
typedef int context; /* a context is a device number */
#else
#define NAME(cuda, hip) cuda
#define RTC(name)       nvrtc##name
typedef void *context;
#endif

extern char standin_contexts[STANDIN_DEVICES]; /* only their addresses matter */

int standin_enter(int needs_context);

#endif
