#pragma once
// clang-format off
// The definition of the sums over the real tokens of an item; every backend computes exactly this.
//
//   magnitude        sum of |activation|
//   positive tokens  number of tokens with activation > 0
//   gradient norm    square root of the sum of gradient * gradient
//
// Elements are widened to float64, squared or added in token order, and rounded to float32 at the end. An item
// without real tokens has zeros.
// clang-format on
#include <cmath>
#include <cstdint>

#include "macros.h"
#include "numbers.h"

namespace culnig {

struct TokenSums {
    double magnitude;
    double squares;
    std::int32_t positive;
};

CULNIG_HD void take(TokenSums& sums, float activation, float gradient) {
    const double wide = static_cast<double>(gradient);
    sums.magnitude += static_cast<double>(float_of_bits(bits_of_float(activation) & 0x7fffffffu));
    sums.squares += wide * wide;
    sums.positive += activation > 0.0f ? 1 : 0;
}

CULNIG_HD float gradient_norm(const TokenSums& sums) { return static_cast<float>(std::sqrt(sums.squares)); }

}  // namespace culnig
