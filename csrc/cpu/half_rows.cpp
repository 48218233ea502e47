#include "half_rows.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace culnig::cpu {
namespace {

CULNIG_CLONES void widen_by_bits(const Float16* halves, std::int64_t n, float* wide) {
    for (std::int64_t i = 0; i < n; ++i) wide[i] = widen(halves[i]);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx,f16c"))) void widen_by_processor(const Float16* halves, std::int64_t n,
                                                            float* wide) {
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
        _mm256_storeu_ps(wide + i, _mm256_cvtph_ps(eight));
    }
    for (; i < n; ++i) wide[i] = widen(halves[i]);
}

const bool processor_widens = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
#endif

}  // namespace

void widen_halves(const Float16* halves, std::int64_t n, float* wide) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (processor_widens) return widen_by_processor(halves, n, wide);
#endif
    widen_by_bits(halves, n, wide);
}

}  // namespace culnig::cpu
