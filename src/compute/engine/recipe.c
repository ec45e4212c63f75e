/* What was found out about a call holds for all like it: the same kernel on tensors of the same
 * kinds with the same parameters is as good a call, does the same with its operands and takes as
 * long. A program makes thousands of calls by few recipes, and most of what a submission costs is
 * finding that out. Recipes are added and never changed, so they are found without a lock. */
#include <string.h>

#include <synor/base/mem.h>

#include "engine_priv.h"

#define RECIPES_MAX 4096 /* of one engine: parameters may be new ones every time */
#define HASH_MUL    UINT64_C(0x9e3779b97f4a7c15)

struct syn_engine_recipe {
    struct syn_engine_recipe *next; /* of the same hash */
    const struct syn_kernel *kernel;
    struct syn_model_entry *entry;
    uint32_t kinds[SYN_OPERANDS_MAX];
    uint8_t access[SYN_OPERANDS_MAX];
    bool plain; /* none of them commutes or reduces */
    double params[];
};

/* The call's key. False: some tensor is of no kind. */
static inline bool
read_key(const struct syn_engine_task *call, struct syn_tensor *const *tensors, uint32_t *ret_kinds,
         uint64_t *ret_hash)
{
    const struct syn_kernel *kernel = call->kernel;
    uint64_t hash = (uintptr_t)kernel;

    for (unsigned i = 0; i < kernel->operands_count; i++) {
        ret_kinds[i] = syn_tensor_kind(tensors[i]);
        if (__builtin_expect(ret_kinds[i] == 0, 0))
            return false;
        hash = (hash ^ ret_kinds[i]) * HASH_MUL;
    }
    for (unsigned i = 0; i < kernel->params_count; i++) {
        uint64_t bits;

        memcpy(&bits, &call->params[i], sizeof(bits));
        hash = (hash ^ hash >> 32 ^ bits) * HASH_MUL;
    }
    *ret_hash = hash >> 32;
    return true;
}

static bool
is_recipe(const struct syn_engine_recipe *recipe, const struct syn_engine_task *call,
          const uint32_t *kinds)
{
    const struct syn_kernel *kernel = call->kernel;

    if (recipe->kernel != kernel)
        return false;
    for (unsigned i = 0; i < kernel->operands_count; i++) {
        if (recipe->kinds[i] != kinds[i])
            return false;
    }
    /* Bit by bit: what only compares equal may be another case to the kernel. */
    return kernel->params_count == 0 ||
           memcmp(recipe->params, call->params, kernel->params_count * sizeof(recipe->params[0])) ==
               0;
}

bool
syn_engine_recipe_find(struct syn_engine_task *call, struct syn_tensor *const *tensors,
                       bool *ret_plain)
{
    const struct syn_engine_recipe *recipe;
    uint32_t kinds[SYN_OPERANDS_MAX];
    uint64_t hash;

    if (call->split != NULL || !read_key(call, tensors, kinds, &hash))
        return false;
    recipe =
        atomic_load_explicit(&call->engine->recipes[hash % SYN_ENGINE_MEMOS], memory_order_acquire);
    while (recipe != NULL && !is_recipe(recipe, call, kinds))
        recipe = recipe->next;
    if (recipe == NULL)
        return false;
    call->entry = recipe->entry;
    memcpy(call->access, recipe->access, sizeof(call->access));
    *ret_plain = recipe->plain;
    return true;
}

/* Without memory for it, it is found out again the next time. Two threads may both remember it. */
void
syn_engine_recipe_remember(const struct syn_engine_task *call, struct syn_tensor *const *tensors)
{
    struct syn_engine *engine = call->engine;
    size_t params = call->kernel->params_count * sizeof(call->params[0]);
    struct syn_engine_recipe *recipe;
    uint32_t kinds[SYN_OPERANDS_MAX] = {0};
    uint64_t hash;

    if (call->split != NULL || !read_key(call, tensors, kinds, &hash) ||
        atomic_load_explicit(&engine->recipes_count, memory_order_relaxed) >= RECIPES_MAX)
        return;
    recipe = syn_alloc(sizeof(*recipe) + params);
    if (recipe == NULL)
        return;
    recipe->kernel = call->kernel;
    recipe->entry = call->entry;
    memcpy(recipe->kinds, kinds, sizeof(kinds));
    memcpy(recipe->access, call->access, sizeof(call->access));
    memcpy(recipe->params, call->params, params);
    recipe->plain = true;
    for (unsigned i = 0; i < call->operands_count; i++)
        recipe->plain = recipe->plain && call->access[i] <= SYN_UPDATE;
    (void)atomic_fetch_add_explicit(&engine->recipes_count, 1, memory_order_relaxed);
    syn_spin_lock(&engine->lock);
    recipe->next =
        atomic_load_explicit(&engine->recipes[hash % SYN_ENGINE_MEMOS], memory_order_relaxed);
    atomic_store_explicit(&engine->recipes[hash % SYN_ENGINE_MEMOS], recipe, memory_order_release);
    syn_spin_unlock(&engine->lock);
}

void
syn_engine_recipes_free(struct syn_engine *engine)
{
    for (unsigned i = 0; i < SYN_ENGINE_MEMOS; i++) {
        struct syn_engine_recipe *recipe = atomic_load(&engine->recipes[i]);

        for (struct syn_engine_recipe *next; recipe != NULL; recipe = next) {
            next = recipe->next;
            syn_free(recipe);
        }
    }
}
