#pragma once
// Rows of IEEE halves as float32, by the processor's own conversion where it has one. Compilers do not
// vectorise that conversion, and widen(Float16) costs more than reading the memory.
#include <cstdint>

#include "numbers.h"

namespace culnig::cpu {

void widen_halves(const Float16* halves, std::int64_t n, float* wide);

}  // namespace culnig::cpu
