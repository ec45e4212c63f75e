/* One pair of widths_priv.h: its vectors, and the body. */
typedef T vec __attribute__((vector_size(VEC_BYTES), aligned(sizeof(T)), may_alias));
typedef __typeof__((vec){0} < (vec){0}) ivec;
#include SYN_BODY
