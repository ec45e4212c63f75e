/* A module for Node: its one function renews what is JavaScript's to use, but not to renew, in an
 * instance that was restored from what was saved. host.mjs loads it before its instance is saved.
 *
 * OpenSSL's random generator is seeded anew: all that are restored would draw the same bytes
 * otherwise. The generators of other threads follow the first one, which counts how often it was
 * seeded.
 *
 * The event loop gets another epoll instance, as after a fork. gVisor's, when it is restored, may
 * tell of sockets that were closed before it was saved; libuv knows them by their numbers, which
 * new connections have, and takes what it is told for those's end (of 360 first calls on a loaded
 * machine, 70 were closed unanswered). What other threads asked the loop to wake for meanwhile is
 * forgotten by that: host.mjs gives them something to do, and what they did is told with it.
 *
 * What it calls is the program's that loads it, of whatever OpenSSL and libuv that was built with.
 * It needs no headers of Node: it uses a few functions of Node-API and libuv that stay as they are.
 */
#include <stddef.h>
#include <sys/random.h>

#define FRESH_BYTES 64

struct napi_env;
struct napi_value;
struct napi_info;
struct uv_loop;
typedef struct napi_value *(*napi_callback)(struct napi_env *env, struct napi_info *info);

extern void RAND_add(const void *bytes, int count, double entropy) __attribute__((weak));
extern int RAND_status(void) __attribute__((weak));
extern int napi_create_function(struct napi_env *env, const char *name, size_t name_len,
                                napi_callback call, void *data, struct napi_value **ret)
    __attribute__((weak));
extern int napi_throw_error(struct napi_env *env, const char *code, const char *message)
    __attribute__((weak));
extern int napi_get_uv_event_loop(struct napi_env *env, struct uv_loop **ret) __attribute__((weak));
extern int uv_loop_fork(struct uv_loop *loop) __attribute__((weak));

/** What Node calls when it has loaded the module. */
__attribute__((visibility("default"))) struct napi_value *
napi_register_module_v1(struct napi_env *env, struct napi_value *exports);

static struct napi_value *
refuse(struct napi_env *env, const char *why)
{
    (void)napi_throw_error(env, NULL, why);
    return NULL;
}

/* What is wrong, or NULL. */
static const char *
reseed(void)
{
    unsigned char fresh[FRESH_BYTES];

    if (getrandom(fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh))
        return "the kernel gave no random bytes";
    RAND_add(fresh, FRESH_BYTES, FRESH_BYTES);
    return RAND_status() == 1 ? NULL : "OpenSSL's generator was not seeded";
}

static const char *
renew_loop(struct napi_env *env)
{
    struct uv_loop *loop = NULL;

    if (napi_get_uv_event_loop(env, &loop) != 0)
        return "Node has no event loop";
    return uv_loop_fork(loop) == 0 ? NULL : "the event loop was not made anew";
}

static struct napi_value *
renew(struct napi_env *env, struct napi_info *info)
{
    const char *why = reseed();

    (void)info;
    if (why == NULL)
        why = renew_loop(env);
    return why == NULL ? NULL : refuse(env, why);
}

struct napi_value *
napi_register_module_v1(struct napi_env *env, struct napi_value *exports)
{
    struct napi_value *function = NULL;

    (void)exports;
    if (napi_create_function == NULL || napi_throw_error == NULL)
        return NULL;
    if (RAND_add == NULL || RAND_status == NULL)
        return refuse(env, "OpenSSL cannot be seeded");
    if (napi_get_uv_event_loop == NULL || uv_loop_fork == NULL)
        return refuse(env, "its event loop cannot be made anew");
    return napi_create_function(env, "renew", sizeof("renew") - 1, renew, NULL, &function) == 0
               ? function
               : NULL;
}
