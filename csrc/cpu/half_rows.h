#pragma once
// Widens rows of IEEE halves to float32 with the processor's own instruction where it has one: compilers do
// not vectorise that conversion, and widen(Float16) costs more than reading the memory.
#include <cstdint>

#include "numbers.h"

namespace culnig::cpu {

/// Neurons widened at a time: eight strips fit the first-level cache. The next strip of the row is
/// prefetched, because a strip is too short for the processor to predict the next read.
constexpr std::int64_t half_strip = 128;

void widen_halves(const Float16* halves, std::int64_t n, float* wide);

}  // namespace culnig::cpu
