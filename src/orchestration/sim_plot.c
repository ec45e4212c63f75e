/* Allocation over arrivals as a picture: what was asked for so far across, what is given away up,
 * both in percent of the cluster's cards. */
#include <math.h>

#include "sim_priv.h"

#define WIDTH  720.0
#define HEIGHT 440.0
#define LEFT   64.0
#define TOP    40.0
#define RIGHT  (WIDTH - 24.0)
#define BOTTOM (HEIGHT - 56.0)
#define TICKS  10

/* A round step that divides `most` into at most TICKS parts. */
static double
step_of(double most)
{
    double power = pow(10, floor(log10(most / TICKS)));

    for (unsigned i = 0; i < 3; i++) {
        static const double rounds[] = {1, 2, 5};

        if (rounds[i] * power * TICKS >= most)
            return rounds[i] * power;
    }
    return 10 * power;
}

static double
across(double value, double most)
{
    return LEFT + (RIGHT - LEFT) * value / most;
}

static double
up(double value)
{
    return BOTTOM - (BOTTOM - TOP) * value / 100;
}

static void
draw_axes(struct syn_buf *out, double most)
{
    double step = step_of(most);

    for (int i = 0; i <= 5; i++) {
        double y = up(i * 20);

        syn_buf_addf(out,
                     "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>"
                     "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n",
                     LEFT, y, RIGHT, LEFT - 8, y + 4, i * 20);
    }
    for (int i = 0; i * step <= most * 1.0001; i++)
        syn_buf_addf(out,
                     "<path class=\"grid\" d=\"M%.1f %.0fV%.0f\"/>"
                     "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%g</text>\n",
                     across(i * step, most), TOP, BOTTOM, across(i * step, most), BOTTOM + 18,
                     i * step);
    syn_buf_addf(out, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n",
                 (LEFT + RIGHT) / 2, HEIGHT - 14, "asked for so far, % of all cards");
    syn_buf_addf(out,
                 "<text transform=\"translate(18 %.0f) rotate(-90)\" "
                 "text-anchor=\"middle\">%s</text>\n",
                 (TOP + BOTTOM) / 2, "given away, % of all cards");
}

int
syn_sim_plot(const struct syn_sim *sim, struct syn_buf *out, struct syn_err *err)
{
    double most = 1;

    for (uint32_t i = 0; i < sim->points_count; i++)
        most = fmax(most, sim->points[i].asked_percent);
    syn_buf_addf(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                 "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                 "<title>Allocation over arrivals</title>\n"
                 "<style>.grid{stroke:#ddd}.line{fill:none;stroke:#1668b3;stroke-width:2}"
                 ".all{fill:none;stroke:#999;stroke-dasharray:4 4}</style>\n"
                 "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                 WIDTH, HEIGHT, WIDTH, HEIGHT);
    syn_buf_addf(
        out, "<text x=\"%.0f\" y=\"24\" font-size=\"14\">%u nodes, %lld cards, policy %s</text>\n",
        LEFT, sim->nodes_count, (long long)sim->cards, syn_fleet_policy_name(sim->options.policy));
    draw_axes(out, most);
    /* All that was asked for, if it could be given. */
    syn_buf_addf(out, "<path class=\"all\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", LEFT, BOTTOM,
                 across(SYN_MIN(100, most), most), up(SYN_MIN(100, most)));
    syn_buf_addf(out, "<path class=\"line\" d=\"M%.1f %.1f", LEFT, BOTTOM);
    for (uint32_t i = 0; i < sim->points_count; i++)
        syn_buf_addf(out, "L%.1f %.1f", across(sim->points[i].asked_percent, most),
                     up(sim->points[i].given_percent));
    syn_buf_adds(out, "\"/>\n</svg>\n");
    return syn_buf_ok(out, err);
}
