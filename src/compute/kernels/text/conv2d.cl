/* An item makes one pixel of four channels of the result, so that what it reads of x serves four times.
 * Strides are of (image, channel, row, column). */

KERNEL
conv2d(READS x, u64 x_at, READS w, u64 w_at, WRITES y, u64 y_at, quad x_sizes, quad w_sizes,
       quad y_sizes, quad x_strides, quad w_strides, quad y_strides, u32 stride, u32 padding)
{
    u64 pixels = y_sizes.z * y_sizes.w;

    x += x_at;
    w += w_at;
    y += y_at;
    for (u64 image = GROUP(2); image < y_sizes.x; image += GROUPS(2)) {
        for (u64 first = GROUP(1) * 4; first < y_sizes.y; first += GROUPS(1) * 4) {
            u64 lanes = y_sizes.y - first < 4 ? y_sizes.y - first : 4;

            for (EACH(pixel, pixels)) {
                u64 row = pixel / y_sizes.w, col = pixel % y_sizes.w;
                ELEM sum[4];

                for (u32 o = 0; o < 4; o++)
                    sum[o] = 0;
                for (u64 c = 0; c < w_sizes.y; c++) {
                    for (u64 i = 0; i < w_sizes.z; i++) {
                        u64 up = row * stride + i - padding; /* wraps above the image */

                        for (u64 k = 0; up < x_sizes.z && k < w_sizes.w; k++) {
                            u64 left = col * stride + k - padding;
                            u64 at = first * w_strides.x + c * w_strides.y + i * w_strides.z +
                                     k * w_strides.w;
                            ELEM value;

                            if (left >= x_sizes.w)
                                continue;
                            value = AT(x, image * x_strides.x + c * x_strides.y + up * x_strides.z +
                                              left * x_strides.w);
                            for (u32 o = 0; o < lanes; o++)
                                sum[o] += value * AT(w, at + o * w_strides.x);
                        }
                    }
                }
                for (u32 o = 0; o < lanes; o++)
                    AT(y, image * y_strides.x + (first + o) * y_strides.y + row * y_strides.z +
                              col * y_strides.w) = sum[o];
            }
        }
    }
}
