#pragma once
// Rows of a batch, read 16 bytes at a time by the lanes of a warp.
#include <cstdint>

#include "batch.h"
#include "launch.h"

namespace culnig::cuda {

constexpr int n_lanes = 32;
constexpr int tokens_in_flight = 4;

template <typename Element>
constexpr int per_lane = 16 / static_cast<int>(sizeof(Element));

/// Neighbouring elements of one row.
template <typename Element>
struct alignas(16) Pack {
    Element element[per_lane<Element>];
};

/// Loads a pack of which `valid` elements exist.
template <typename Element>
__device__ __forceinline__ Pack<Element> load(const Element* source, int valid, bool aligned) {
    Pack<Element> pack{};
    if (aligned && valid == per_lane<Element>) return *reinterpret_cast<const Pack<Element>*>(source);
#pragma unroll
    for (int i = 0; i < per_lane<Element>; ++i)
        if (i < valid) pack.element[i] = source[i];
    return pack;
}

template <typename Element>
__device__ __forceinline__ const Element* row_of(const TokenView& view, std::int64_t item, std::int64_t token,
                                                 std::int64_t neuron) {
    return static_cast<const Element*>(view.data) + item * view.item_stride + token * view.token_stride +
           neuron;
}

template <typename Element>
bool rows_aligned(const TokenView& view) {
    constexpr std::int64_t size = sizeof(Element);
    return reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0 && view.item_stride * size % 16 == 0 &&
           view.token_stride * size % 16 == 0;
}

/// Whether whole packs of both arrays can be loaded at once.
template <typename Element>
bool is_aligned(const PairBatch& batch) {
    return rows_aligned<Element>(batch.activation) && rows_aligned<Element>(batch.gradient);
}

constexpr std::int64_t most_items = 65535;  // limit of a grid in y

}  // namespace culnig::cuda
