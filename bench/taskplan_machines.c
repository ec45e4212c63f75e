/* Modelled machines: ten that the strategies were tuned on, and any number that are drawn.
 *
 * A drawn machine is a function of its number: how many cores and how fast, up to three kinds of
 * device, their speeds over a factor of twenty, links of a byte for every 120 to 1,200 operations
 * that the device does (as a P100 on PCIe 3 and an MI250 on PCIe 4 have), in every other case or so
 * two devices on one bus. Nobody chose it, so nobody chose it to suit. A starved one has a byte for
 * 1,500 to 8,000 operations: there the links decide, of which the bounds know little. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "taskplan_priv.h"

/* What a device is like; figures of no product, orders of magnitude of many. */
struct device {
    char name[32];
    double flops_per_s, bytes_per_s;
    uint64_t launch_ns;
    uint8_t column;
    uint32_t busy_mw, idle_mw;
    uint64_t memory_bytes;
};

enum { CORE, WIDE_CORE, BIG, MIDDLE, OLD, MATRIX, LOW_POWER };

/* clang-format off */
static const struct device devices[] = {
    [CORE]      = {"modelled core",       40e9,   8e9,    500, 0,   8000,  1500, 0},
    [WIDE_CORE] = {"modelled wide core",  90e9,  16e9,    400, 0,  11000,  2500, 0},
    [BIG]       = {"modelled big gpu",     5e12,  1e12,  6000, 1, 250000, 40000, UINT64_C(16) << 30},
    [MIDDLE]    = {"modelled gpu",         3e12, .4e12,  8000, 1, 150000, 20000, UINT64_C(8) << 30},
    [OLD]       = {"modelled old gpu",   1.2e12, .2e12, 12000, 1, 180000, 30000, UINT64_C(6) << 30},
    [MATRIX]    = {"modelled matrix unit", 9e12, .8e12, 20000, 2, 200000, 50000, UINT64_C(32) << 30},
    [LOW_POWER] = {"modelled small gpu", 0.8e12, .1e12, 10000, 1,  30000,  4000, UINT64_C(4) << 30},
};

/* Cores, then up to three kinds of device with their number, link and bus (0: a link of its own). */
static const struct row {
    const char *name;
    int core; unsigned cores;
    struct { int device; unsigned count; double link; uint16_t bus; } parts[3];
} rows[BENCH_TUNED] = {
    {"8c+big",            CORE,      8,  {{BIG, 1, 24e9, 0}}},
    {"28c+4big",          CORE,      28, {{BIG, 4, 24e9, 0}}},
    {"16c+2big+2mid",     CORE,      16, {{BIG, 2, 24e9, 0}, {MIDDLE, 2, 12e9, 0}}},
    {"16c+2old,slow",     CORE,      16, {{OLD, 2, 12e9, 7}}},
    {"64c+8big",          CORE,      64, {{BIG, 8, 24e9, 0}}},
    {"12w+mid",           WIDE_CORE, 12, {{MIDDLE, 1, 16e9, 0}}},
    {"32w+3big+old",      WIDE_CORE, 32, {{BIG, 3, 32e9, 0}, {OLD, 1, 8e9, 0}}},
    {"24c+mid+old+small", CORE,      24, {{MIDDLE, 1, 12e9, 3}, {OLD, 1, 12e9, 3}, {LOW_POWER, 1, 6e9, 0}}},
    {"16w+2matrix+2mid",  WIDE_CORE, 16, {{MATRIX, 2, 48e9, 0}, {MIDDLE, 2, 12e9, 0}}},
    {"48c+6mid,2 buses",  CORE,      48, {{MIDDLE, 3, 20e9, 1}, {MIDDLE, 3, 20e9, 2}}},
};
/* clang-format on */

/* Power states as voltage and frequency go together: a third of the power stays, the rest falls
 * with the cube of the speed. */
static uint32_t
class_of(struct machine *machine, const struct device *from)
{
    struct syn_platform *platform = &machine->plan.platform;
    struct syn_worker_class *class = &machine->classes[platform->class_count];

    for (uint32_t i = 0; i < platform->class_count; i++)
        if (strcmp(machine->classes[i].name, from->name) == 0)
            return i;
    (void)syn_str_copy(class->name, sizeof(class->name), from->name);
    class->idle_mw = from->idle_mw;
    class->switch_ns = 20000;
    class->price_ns = from->busy_mw;
    for (uint32_t i = 0; i < 5; i++) {
        double speed = 1 - 0.1 * i;

        class->states[i] = (struct syn_power_state){
            1000 - 100 * i, (uint32_t)(from->busy_mw * (1 + 2 * pow(speed, 3)) / 3)};
        class->state_count++;
    }
    machine->rates[platform->class_count] =
        (struct syn_plan_rate){from->flops_per_s, from->bytes_per_s, from->launch_ns, from->column};
    return platform->class_count++;
}

static void
begin_machine(struct machine *machine, const struct device *core, unsigned cores)
{
    struct syn_platform *platform = &machine->plan.platform;
    uint32_t class_id;

    memset(machine, 0, sizeof(*machine));
    platform->classes = machine->classes;
    platform->workers = machine->workers;
    platform->links = machine->links;
    platform->node_bytes = machine->node_bytes;
    platform->node_count = 1;
    machine->plan.rates = machine->rates;
    class_id = class_of(machine, core);
    for (unsigned i = 0; i < cores; i++)
        machine->workers[platform->worker_count++].class_id = (uint16_t)class_id;
}

static void
add_link(struct machine *machine, uint32_t from, uint32_t to, double rate, uint16_t bus)
{
    machine->links[machine->plan.platform.link_count++] =
        (struct syn_link_desc){(uint16_t)from, (uint16_t)to, bus, 8000, (uint64_t)rate};
}

static void
add_devices(struct machine *machine, const struct device *device, unsigned count, double link,
            uint16_t bus)
{
    struct syn_platform *platform = &machine->plan.platform;
    uint32_t class_id = class_of(machine, device);

    for (unsigned i = 0; i < count; i++) {
        uint16_t node = (uint16_t)platform->node_count++;

        machine->workers[platform->worker_count++] =
            (struct syn_worker_desc){(uint16_t)class_id, node, node, node};
        machine->node_bytes[node] = device->memory_bytes;
        add_link(machine, 0, node, link, bus);
        add_link(machine, node, 0, link, bus == 0 ? 0 : (uint16_t)(bus + 100));
    }
}

void
bench_tuned_machine(uint32_t number, struct machine *machine)
{
    const struct row *row = &rows[number];

    begin_machine(machine, &devices[row->core], row->cores);
    (void)syn_str_copy(machine->name, sizeof(machine->name), row->name);
    for (size_t p = 0; p < SYN_LEN(row->parts) && row->parts[p].count > 0; p++)
        add_devices(machine, &devices[row->parts[p].device], row->parts[p].count,
                    row->parts[p].link, row->parts[p].bus);
}

/* In [0, 1). */
static double
draw(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    return (double)((*state ^ *state >> 31) * UINT64_C(0xD1B54A32D192ED03) >> 11) /
           9007199254740992.0;
}

/* Even in the logarithm. */
static double
draw_between(uint64_t *state, double least, double most)
{
    return least * pow(most / least, draw(state));
}

static void
draw_device(uint64_t *state, unsigned kind, struct device *device)
{
    *device = (struct device){.flops_per_s = draw_between(state, .6e12, 12e12)};
    (void)snprintf(device->name, sizeof(device->name), "drawn device %u", kind);
    device->bytes_per_s = device->flops_per_s * draw_between(state, .06, .25);
    device->launch_ns = (uint64_t)draw_between(state, 4000, 25000);
    device->column = draw(state) < 0.25 ? 2 : 1;
    device->busy_mw = (uint32_t)(device->flops_per_s / draw_between(state, 8e6, 45e6));
    device->idle_mw = (uint32_t)(device->busy_mw * draw_between(state, .08, .25));
    device->memory_bytes = UINT64_C(4) << (30 + (unsigned)(draw(state) * 4));
}

void
bench_drawn_machine(uint32_t number, bool starved, struct machine *machine)
{
    uint64_t state = number * UINT64_C(0xBF58476D1CE4E5B9);
    struct device device = {.name = "drawn core", .launch_ns = 500};
    unsigned cores = (unsigned)draw_between(&state, 4, 65);
    unsigned kinds = 1 + (unsigned)(draw(&state) * 3);
    double poorest = starved ? 8000 : 1200, richest = starved ? 1500 : 120;

    device.flops_per_s = draw_between(&state, 25e9, 120e9);
    device.bytes_per_s = device.flops_per_s * draw_between(&state, .1, .3);
    device.busy_mw = (uint32_t)draw_between(&state, 5000, 14000);
    device.idle_mw = device.busy_mw / 5;
    begin_machine(machine, &device, cores);
    (void)snprintf(machine->name, sizeof(machine->name), "%s%u:%uc", starved ? "starved" : "drawn",
                   number, cores);
    for (unsigned kind = 0; kind < kinds; kind++) {
        unsigned count = (unsigned)draw_between(&state, 1, kind == 0 ? 7 : 4);
        bool shared = draw(&state) < 0.4;
        double link;
        size_t used = strlen(machine->name);

        draw_device(&state, kind, &device);
        link = fmax(device.flops_per_s / draw_between(&state, richest, poorest), 4e9);
        for (unsigned i = 0; i < count; i++)
            add_devices(machine, &device, 1, link, shared ? (uint16_t)(kind * 8 + i / 2 + 1) : 0);
        (void)snprintf(machine->name + used, sizeof(machine->name) - used, "+%ux%.1fT%s", count,
                       device.flops_per_s / 1e12, shared ? "b" : "");
    }
}
