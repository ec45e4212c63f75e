/* The body of widths_priv.h for one width and every number format. FLOATING: 1 or 0; SIGNED: what
 * numbers of the format are compared as. */
#define FLOATING 1
#define T        float
#define SIGNED   float
#include "vector_priv.h"
#undef T
#undef SIGNED

#define T      double
#define SIGNED double
#include "vector_priv.h"
#undef T
#undef SIGNED
#undef FLOATING

#ifdef SYN_BODY_INTEGERS
#define FLOATING 0
#define T        uint32_t
#define SIGNED   int32_t
#include "vector_priv.h"
#undef T
#undef SIGNED

#define T      uint64_t
#define SIGNED int64_t
#include "vector_priv.h"
#undef T
#undef SIGNED
#undef FLOATING
#endif
