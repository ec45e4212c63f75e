/* What vendors number, in words. */
#include <stdio.h>

#include <synor/base/str.h>

#include "drivers_priv.h"

const char *
syn_code_name(const struct syn_code_name *names, size_t count, int64_t code, const char *otherwise)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i].code == code)
            return names[i].name;
    }
    return otherwise;
}

void
syn_uuid_write(const char *prefix, const uint8_t uuid[16], char *out, size_t cap)
{
    char hex[33];

    syn_hex_encode(uuid, 16, hex);
    (void)snprintf(out, cap, "%s%.8s-%.4s-%.4s-%.4s-%.12s", prefix, hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
}

void
syn_pci_write(uint32_t domain, uint32_t bus, uint32_t device, uint32_t function, char *out,
              size_t cap)
{
    (void)snprintf(out, cap, "%04x:%02x:%02x.%x", domain & 0xffffU, bus & 0xffU, device & 0xffU,
                   function & 0xfU);
}
