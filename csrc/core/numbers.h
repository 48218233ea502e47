#pragma once
// The three number formats of activations and gradients, each widened to float32 exactly, without branches or
// tables, so that the host compiler can vectorise the loops around it.
#include <cstdint>
#include <cstring>

#include "macros.h"

namespace culnig {

enum class Dtype : int { float32 = 0, float16 = 1, bfloat16 = 2 };

CULNIG_HD float float_of_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

CULNIG_HD std::uint32_t bits_of_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// A float32 element.
struct Float32 {
    float value;
};

/// An IEEE half: 1 sign, 5 exponent, 10 fraction bits.
struct Float16 {
    std::uint16_t bits;
};

/// The upper half of a float32.
struct BFloat16 {
    std::uint16_t bits;
};

CULNIG_HD float widen(Float32 element) { return element.value; }

CULNIG_HD float widen(BFloat16 element) {
    return float_of_bits(static_cast<std::uint32_t>(element.bits) << 16);
}

/// Subnormal halves are multiples of 2^-24; normal ones need another exponent bias (127 - 15 = 112), infinity
/// and NaN need it twice. Bit masks replace branches, which would keep the loop around it scalar.
CULNIG_HD float widen(Float16 element) {
#if defined(__CUDA_ARCH__)
    float value;  // one instruction, as exact
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(element.bits));
    return value;
#else
    const std::uint32_t half = element.bits;
    const std::uint32_t sign = (half & 0x8000u) << 16;
    const std::uint32_t magnitude = half & 0x7fffu;
    const float subnormal = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 5.9604644775390625e-8f;
    const std::uint32_t if_subnormal = 0u - static_cast<std::uint32_t>(magnitude < 0x0400u);
    const std::uint32_t if_non_finite = 0u - static_cast<std::uint32_t>(magnitude >= 0x7c00u);
    const std::uint32_t bias = 112u << 23;
    const std::uint32_t normal = (magnitude << 13) + bias + (bias & if_non_finite);
    return float_of_bits(sign | (bits_of_float(subnormal) & if_subnormal) | (normal & ~if_subnormal));
#endif
}

}  // namespace culnig
