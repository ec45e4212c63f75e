/* What a step wants written. */
#include <synor/orchestration/document.h>
#include <synor/workload/service_control.h>

void
syn_service_effects_fini(struct syn_service_effects *effects)
{
    json_decref(effects->service);
    json_decref(effects->created);
    json_decref(effects->changed);
    json_decref(effects->events);
    json_decref(effects->bound);
    json_decref(effects->forgotten);
    *effects = (struct syn_service_effects){.wake_at_ms = SYN_DOCUMENT_NONE};
}

bool
syn_service_effects_none(const struct syn_service_effects *effects)
{
    return !effects->service && !effects->settle && !effects->renew && effects->lock == 0 &&
           json_array_size(effects->forgotten) == 0 && json_array_size(effects->created) == 0 &&
           json_array_size(effects->changed) == 0 && json_array_size(effects->events) == 0;
}
