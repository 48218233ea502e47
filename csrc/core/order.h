#pragma once
// The order of neurons by score: higher first, ties to the lower index, NaN last.
#include <cstdint>
#include <cstring>

#include "macros.h"

namespace culnig {

/// A whole number that is larger where the score ranks higher; equal for equal scores (and for -0 and +0),
/// 0 for NaN and for nothing else.
CULNIG_HD std::uint64_t rank_key(double score) {
    const double plain = score + 0.0;
    std::uint64_t bits;
    std::memcpy(&bits, &plain, sizeof bits);
    const std::uint64_t negative = std::uint64_t{0} - (bits >> 63);
    const std::uint64_t ordered = bits ^ (negative | 0x8000000000000000ull);
    return score == score ? ordered : 0;
}

struct Candidate {
    std::uint64_t key;
    std::int64_t index;
};

/// True when `a` ranks before `b`.
CULNIG_HD bool ranks_before(const Candidate& a, const Candidate& b) {
    return a.key != b.key ? a.key > b.key : a.index < b.index;
}

}  // namespace culnig
