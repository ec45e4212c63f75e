/* A module for Node: its one function seeds OpenSSL's random generator anew, which JavaScript
 * cannot. host.mjs loads it before its instance is saved, and calls it in each that is restored:
 * they would draw the same bytes otherwise. The generators of other threads follow the first one,
 * which counts how often it was seeded.
 *
 * What it calls is the program's that loads it, of whatever OpenSSL that was built with; it needs
 * no headers of Node, since it uses but two functions of Node-API. */
#include <stddef.h>
#include <sys/random.h>

#define FRESH_BYTES 64

struct napi_env;
struct napi_value;
struct napi_info;
typedef struct napi_value *(*napi_callback)(struct napi_env *env, struct napi_info *info);

extern void RAND_add(const void *bytes, int count, double entropy) __attribute__((weak));
extern int RAND_status(void) __attribute__((weak));
extern int napi_create_function(struct napi_env *env, const char *name, size_t name_len,
                                napi_callback call, void *data, struct napi_value **ret)
    __attribute__((weak));
extern int napi_throw_error(struct napi_env *env, const char *code, const char *message)
    __attribute__((weak));

/** What Node calls when it has loaded the module. */
__attribute__((visibility("default"))) struct napi_value *
napi_register_module_v1(struct napi_env *env, struct napi_value *exports);

static struct napi_value *
refuse(struct napi_env *env, const char *why)
{
    (void)napi_throw_error(env, NULL, why);
    return NULL;
}

static struct napi_value *
reseed(struct napi_env *env, struct napi_info *info)
{
    unsigned char fresh[FRESH_BYTES];

    (void)info;
    if (getrandom(fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh))
        return refuse(env, "the kernel gave no random bytes");
    RAND_add(fresh, FRESH_BYTES, FRESH_BYTES);
    return RAND_status() == 1 ? NULL : refuse(env, "OpenSSL's generator was not seeded");
}

struct napi_value *
napi_register_module_v1(struct napi_env *env, struct napi_value *exports)
{
    struct napi_value *function = NULL;

    (void)exports;
    if (napi_create_function == NULL || napi_throw_error == NULL)
        return NULL;
    if (RAND_add == NULL || RAND_status == NULL)
        return refuse(env, "this Node's OpenSSL cannot be seeded");
    return napi_create_function(env, "reseed", sizeof("reseed") - 1, reseed, NULL, &function) == 0
               ? function
               : NULL;
}
