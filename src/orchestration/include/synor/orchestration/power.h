/* What processors draw, and how fast they are, from the capability profiles (data/profiles.conf),
 * in the placement core's terms. What no profile says is assumed, and said to be. */
#ifndef SYNOR_ORCHESTRATION_POWER_H
#define SYNOR_ORCHESTRATION_POWER_H

#include <synor/orchestration/fleet.h>

/** No profile is known: what was set is assumed of a slow and hungry card. */
#define SYN_POWER_UNKNOWN 1

/**
 * Fill in the power and speed of cards of `model` (a price book's name, "h100"), and how they can
 * be divided. `profile` is what the node says they match; NULL or "": it goes by the model.
 *
 * The rest of *ret is left alone. Returns 0; SYN_POWER_UNKNOWN, which sets all the same;
 * SYN_E_NOMEM.
 */
SYN_MUST int syn_power_card(const char *profile, const char *model, struct syn_fleet_model *ret,
                            struct syn_err *err);

/** Milliwatts that so many cores draw while they idle. No maker publishes that of a core: it is
 *  what docs/devices.md assumes of one, whatever its profile. */
uint32_t syn_power_cores(int64_t millicores);

#endif
