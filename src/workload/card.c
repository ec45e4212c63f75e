#include <synor/workload/card.h>

#include <math.h>

#include <synor/base/str.h>

static uint32_t
share_read(const json_t *spec)
{
    double share = json_number_value(json_object_get(spec, "gpu_share"));

    return share > 0 && share <= 1 ? (uint32_t)lround(share * SYN_FLEET_WHOLE) : 0;
}

struct syn_card
syn_card_read(const json_t *spec)
{
    return (struct syn_card){.share = share_read(spec),
                             .share_bytes = syn_json_i64(spec, "gpu_memory_bytes", 0),
                             .mig = syn_json_str(spec, "gpu_mig", "")};
}

int
syn_card_derive(json_t *spec, struct syn_err *err)
{
    struct syn_card card = syn_card_read(spec);

    if ((card.share == 0 && !*card.mig) || syn_json_i64(spec, "gpus", 0) != 0)
        return SYN_OK;
    return syn_json_set_i64(spec, "gpus", 1, err);
}

/* "1g.10gb" */
static bool
mig_ok(const char *name)
{
    size_t slices = strspn(name, "0123456789");
    const char *at = name + slices;
    size_t size = syn_str_starts(at, "g.") ? strspn(at + 2, "0123456789") : 0;

    return slices == 1 && size > 0 && syn_str_eq(at + 2 + size, "gb");
}

int
syn_card_check(const json_t *spec, int64_t members, struct syn_err *err)
{
    struct syn_card card = syn_card_read(spec);
    int64_t gpus = syn_json_i64(spec, "gpus", 0);
    int64_t gpus_max = syn_json_i64(spec, "gpus_max", gpus);

    if (json_object_get(spec, "gpu_share") && card.share == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpu_share: expected 0.001..1, got %g",
                        json_number_value(json_object_get(spec, "gpu_share")));
    if (card.share_bytes > 0 && card.share == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_memory_bytes: needs gpu_share, the part of the GPU's time");
    if (*card.mig && !mig_ok(card.mig))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_mig: \"%s\" is no partition; expected one as 1g.10gb", card.mig);
    if (card.share == 0 && !*card.mig)
        return SYN_OK;
    if (card.share > 0 && *card.mig)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.gpu_mig: a part is a share or a partition, not both");
    if (gpus != 1 || gpus_max != 1)
        return SYN_FAIL(err, SYN_E_INVALID, "spec.gpus: a part is one of one GPU, got %lld",
                        (long long)SYN_MAX(gpus, gpus_max));
    if (members > 1)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "spec.workers: workers of one job have whole GPUs; a part of one is for "
                        "1 worker, got %lld",
                        (long long)members);
    if (*syn_json_str(spec, "reserved", ""))
        return SYN_FAIL(err, SYN_E_INVALID, "spec.reserved: units are whole GPUs, not parts");
    return SYN_OK;
}

void
syn_card_request(const struct syn_card *card, struct syn_place_request *request)
{
    request->gpu_share = card->share;
    request->gpu_share_bytes = card->share_bytes;
    request->mig = card->mig;
}

int64_t
syn_card_least(const struct syn_card *card, int64_t gpus)
{
    if (card->share > 0)
        return card->share;
    return *card->mig ? 1 : gpus * SYN_FLEET_WHOLE;
}
