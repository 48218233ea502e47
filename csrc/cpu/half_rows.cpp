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
__attribute__((target("avx512f"))) void widen_sixteen(const Float16* halves, std::int64_t n, float* wide) {
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __builtin_prefetch(halves + i + half_strip);
        // the form with a mask, all set: gcc 12 warns about the header of the plain one
        const __m256i sixteen = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + i));
        _mm512_storeu_ps(wide + i, _mm512_maskz_cvtph_ps(0xffff, sixteen));
    }
    for (; i < n; ++i) wide[i] = widen(halves[i]);
}

__attribute__((target("avx,f16c"))) void widen_eight(const Float16* halves, std::int64_t n, float* wide) {
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __builtin_prefetch(halves + i + half_strip);
        const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
        _mm256_storeu_ps(wide + i, _mm256_cvtph_ps(eight));
    }
    for (; i < n; ++i) wide[i] = widen(halves[i]);
}
#endif

using Widen = void (*)(const Float16*, std::int64_t, float*);

Widen fastest_here() {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f")) return widen_sixteen;
    if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) return widen_eight;
#endif
    return widen_by_bits;
}

}  // namespace

void widen_halves(const Float16* halves, std::int64_t n, float* wide) {
    static const Widen fastest = fastest_here();
    fastest(halves, n, wide);
}

}  // namespace culnig::cpu
