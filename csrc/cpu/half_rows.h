#pragma once
// Rows of IEEE halves as float32, by the processor's own conversion where it has one. Compilers do not
// vectorise that conversion, and widen(Float16) costs more than reading the memory.
#include <cstdint>

#include "numbers.h"

namespace culnig::cpu {

/// Neurons widened at a time: eight strips stay in the first-level cache. While one is widened, the next one
/// of the row is fetched: a strip alone is too short for the processor to foresee that.
constexpr std::int64_t half_strip = 128;

void widen_halves(const Float16* halves, std::int64_t n, float* wide);

}  // namespace culnig::cpu
