#include <synor/device.h>

const char *
syn_device_state_name(enum syn_device_state state)
{
    static const char *const names[] = {
        [SYN_DEVICE_OK] = "ok", [SYN_DEVICE_DEGRADED] = "degraded", [SYN_DEVICE_LOST] = "lost"};

    assert((size_t)state < SYN_LEN(names));
    return names[state];
}

const char *
syn_driver_state_name(enum syn_driver_state state)
{
    static const char *const names[] = {
        [SYN_DRIVER_READY] = "ready",     [SYN_DRIVER_ABSENT] = "absent",
        [SYN_DRIVER_FAILED] = "failed",   [SYN_DRIVER_TIMED_OUT] = "timed-out",
        [SYN_DRIVER_SKIPPED] = "skipped",
    };

    assert((size_t)state < SYN_LEN(names));
    return names[state];
}

const char *
syn_power_source_name(enum syn_power_source source)
{
    static const char *const names[] = {[SYN_POWER_UNKNOWN] = "unknown",
                                        [SYN_POWER_MEASURED] = "measured",
                                        [SYN_POWER_MODELLED] = "modelled"};

    assert((size_t)source < SYN_LEN(names));
    return names[source];
}

const char *
syn_link_path_name(enum syn_link_path path)
{
    static const char *const names[] = {[SYN_LINK_NONE] = "none",
                                        [SYN_LINK_DIRECT] = "direct",
                                        [SYN_LINK_PEER] = "peer",
                                        [SYN_LINK_STAGED] = "staged"};

    assert((size_t)path < SYN_LEN(names));
    return names[path];
}

const char *
syn_link_source_name(enum syn_link_source source)
{
    static const char *const names[] = {[SYN_LINK_ASSUMED] = "assumed",
                                        [SYN_LINK_RATED] = "rated",
                                        [SYN_LINK_MEASURED] = "measured"};

    assert((size_t)source < SYN_LEN(names));
    return names[source];
}

const char *
syn_device_share_name(enum syn_device_share share)
{
    static const char *const names[] = {[SYN_SHARE_WHOLE] = "whole",
                                        [SYN_SHARE_SLICE] = "slice",
                                        [SYN_SHARE_SERVED] = "served",
                                        [SYN_SHARE_HOST] = "host"};

    assert((size_t)share < SYN_LEN(names));
    return names[share];
}

const char *
syn_device_cap_name(uint32_t bit)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } rows[] = {
        {SYN_CAP_PEER_COPY, "peer-copy"},
        {SYN_CAP_HOST_PINNED, "host-pinned"},
        {SYN_CAP_HOST_REGISTER, "host-register"},
        {SYN_CAP_HOST_WRAP, "host-wrap"},
        {SYN_CAP_HOST_SHARED, "host-shared"},
        {SYN_CAP_COMPILE, "compile"},
        {SYN_CAP_TIMES, "times"},
        {SYN_CAP_POWER, "power"},
        {SYN_CAP_RESET, "reset"},
        {SYN_CAP_OVERLAP, "overlap"},
        {SYN_CAP_NOTIFY, "notify"},
    };

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        if (rows[i].bit == bit)
            return rows[i].name;
    }
    return NULL;
}
