/* What the stand-in's files share. */
#ifndef SYN_COMPUTE_STREAM_STANDIN_PRIV_H
#define SYN_COMPUTE_STREAM_STANDIN_PRIV_H

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

#ifdef STANDIN_HIP
#define NAME(cuda, hip) hip
#define RTC(name)       hiprtc##name
typedef int context; /* a context is a device number */
#else
#define NAME(cuda, hip) cuda
#define RTC(name)       nvrtc##name
typedef void *context;
#endif

#define DEVICES 2

extern char standin_contexts[DEVICES]; /* only their addresses matter */

int standin_enter(int needs_context);
int standin_leave(int code);
void standin_count(int by);

#endif
