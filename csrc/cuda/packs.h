#pragma once
// Rows of a batch, read by the lanes of a warp with the loads of several tokens in flight.
//
// What is loaded stays in its words until it is used: 16-bit elements that are unpacked at once would make
// every load wait for the one before.
#include <cstdint>
#include <type_traits>

#include "batch.h"
#include "launch.h"

namespace culnig::cuda {

constexpr int n_lanes = 32;

/// How the warps of a block share out a tile of neurons of one item: those that divide the tokens, and those
/// that divide the neurons. A warp issues the loads of `tokens_in_flight` tokens before it uses the first.
template <int pack_bytes_, int token_warps_, int neuron_warps_, int tokens_in_flight_, int min_blocks_>
struct Tiling {
    static constexpr int pack_bytes = pack_bytes_;  // what a lane loads at once
    static constexpr int token_warps = token_warps_;
    static constexpr int neuron_warps = neuron_warps_;
    static constexpr int tokens_in_flight = tokens_in_flight_;
    static constexpr int n_threads = n_lanes * token_warps * neuron_warps;
    static constexpr int min_blocks = min_blocks_;  // per multiprocessor; bounds the registers

    template <typename Element>
    static constexpr int per_lane = pack_bytes / static_cast<int>(sizeof(Element));
    template <typename Element>
    static constexpr int n_neurons = n_lanes * neuron_warps * per_lane<Element>;
};

/// Where the order of the tokens does not matter, the warps of a block divide them.
using AnyOrder = Tiling<16, 8, 1, 4, 3>;

/// Where it does, a warp takes all tokens of its neurons. Narrow packs give more warps, each with more tokens
/// in flight, so that small modules too keep the memory busy.
using InOrder = Tiling<4, 1, 4, 16, 5>;

/// Neighbouring elements of one row, as loaded.
template <int bytes>
struct alignas(bytes) Pack {
    std::uint32_t word[bytes / 4];
};

/// An element of a pack as float32.
template <typename Element, int bytes>
__device__ __forceinline__ float value_of(const Pack<bytes>& pack, int index) {
    if constexpr (sizeof(Element) == 4)
        return float_of_bits(pack.word[index]);
    else
        return widen(Element{static_cast<std::uint16_t>(pack.word[index / 2] >> (index % 2 * 16))});
}

/// What one lane reads: neighbouring neurons of one item, at the tokens of its warp. With `aligned` all packs
/// of both arrays are complete and aligned; without, elements are loaded one by one.
template <typename Element, typename Tiling, bool aligned>
struct LaneRows {
    static constexpr int width = Tiling::template per_lane<Element>;
    static constexpr int in_flight = Tiling::tokens_in_flight;
    using Words = Pack<Tiling::pack_bytes>;

    const Element* activation;  // of the item's first token
    const Element* gradient;
    const std::uint8_t* mask;
    std::int64_t activation_stride;
    std::int64_t gradient_stride;
    std::int64_t item;
    std::int64_t first;  // neuron
    std::uint32_t n_tokens;
    std::uint32_t token_warp;
    int valid;  // neurons that exist

    __device__ explicit LaneRows(const PairBatch& batch)
        : mask(batch.token_mask + blockIdx.y * batch.n_tokens),
          activation_stride(batch.activation.token_stride),
          gradient_stride(batch.gradient.token_stride),
          item(blockIdx.y),
          n_tokens(static_cast<std::uint32_t>(batch.n_tokens)),
          token_warp(threadIdx.y) {
        const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) * Tiling::neuron_warps + threadIdx.z;
        first = (tile * n_lanes + threadIdx.x) * width;
        const std::int64_t left = batch.n_neurons - first;
        valid = left >= width ? width : (left > 0 ? static_cast<int>(left) : 0);
        activation =
            static_cast<const Element*>(batch.activation.data) + item * batch.activation.item_stride + first;
        gradient =
            static_cast<const Element*>(batch.gradient.data) + item * batch.gradient.item_stride + first;
    }

    /// Calls take(token, activation pack, gradient pack) for each real token of the warp, in order. All lanes
    /// of a warp call it together.
    template <typename Take>
    __device__ __forceinline__ void each_token(const Take& take) const {
        constexpr std::uint32_t step = Tiling::token_warps;
        std::uint8_t own = mask_of(token_warp + threadIdx.x * step);  // a lane looks at one of 32 tokens
        for (std::uint32_t first_of_32 = token_warp; first_of_32 < n_tokens; first_of_32 += n_lanes * step) {
            std::uint32_t real = __ballot_sync(~0u, own != 0);
            own = mask_of(first_of_32 + (n_lanes + threadIdx.x) * step);  // of the next 32, meanwhile
            if (valid == 0) real = 0;
            for (std::uint32_t token = first_of_32; real != 0;
                 token += in_flight * step, real >>= in_flight) {
                const Element* activation_row = activation + token * activation_stride;
                const Element* gradient_row = gradient + token * gradient_stride;
                Words activations[in_flight];
                Words gradients[in_flight];
#pragma unroll
                for (int n = 0; n < in_flight; ++n) {
                    if (real >> n & 1) {
                        activations[n] = load(activation_row);
                        gradients[n] = load(gradient_row);
                    }
                    activation_row += step * activation_stride;
                    gradient_row += step * gradient_stride;
                }
#pragma unroll
                for (int n = 0; n < in_flight; ++n)
                    if (real >> n & 1)
                        take(static_cast<std::int32_t>(token + n * step), activations[n], gradients[n]);
            }
        }
    }

    /// Calls visit(token, index in the pack, activation, gradient) for each element of the real tokens of the
    /// warp.
    template <typename Visit>
    __device__ void each_element(const Visit& visit) const {
        for (std::uint32_t token = token_warp; token < n_tokens; token += Tiling::token_warps)
            for (int i = 0; mask[token] && i < valid; ++i)
                visit(token, i, widen(activation[token * activation_stride + i]),
                      widen(gradient[token * gradient_stride + i]));
    }

    /// The first real token of the item, -1 if there is none.
    __device__ std::int32_t first_real() const {
        for (std::uint32_t token = 0; token < n_tokens; ++token)
            if (mask[token]) return static_cast<std::int32_t>(token);
        return -1;
    }

  private:
    __device__ __forceinline__ std::uint8_t mask_of(std::uint32_t token) const {
        return token < n_tokens ? mask[token] : 0;
    }

    __device__ __forceinline__ Words load(const Element* source) const {
        if constexpr (aligned) {
            return *reinterpret_cast<const Words*>(source);
        } else {
            Words words{};
#pragma unroll
            for (int i = 0; i < width; ++i) {
                if (i >= valid) continue;
                if constexpr (sizeof(Element) == 4)
                    words.word[i] = bits_of_float(source[i].value);
                else
                    words.word[i / 2] |= static_cast<std::uint32_t>(source[i].bits) << (i % 2 * 16);
            }
            return words;
        }
    }
};

template <typename Element, typename Tiling>
bool is_aligned(const TokenView& view) {
    constexpr std::int64_t bytes = Tiling::pack_bytes;
    constexpr std::int64_t size = sizeof(Element);
    return reinterpret_cast<std::uintptr_t>(view.data) % bytes == 0 && view.item_stride * size % bytes == 0 &&
           view.token_stride * size % bytes == 0;
}

/// Whether all packs of both arrays are complete and aligned.
template <typename Element, typename Tiling>
bool is_aligned(const PairBatch& batch) {
    return batch.n_neurons % Tiling::template per_lane<Element> == 0 &&
           is_aligned<Element, Tiling>(batch.activation) && is_aligned<Element, Tiling>(batch.gradient);
}

/// Calls launch(std::true_type) for an aligned batch, launch(std::false_type) for another.
template <typename Element, typename Tiling, typename Launch>
void by_alignment(const PairBatch& batch, const Launch& launch) {
    if constexpr (Tiling::template per_lane<Element> == 1)  // whatever the strides are
        launch(std::true_type{});
    else if (is_aligned<Element, Tiling>(batch))
        launch(std::true_type{});
    else
        launch(std::false_type{});
}

/// Blocks for a batch. Throws if there are more items than a grid can have.
template <typename Element, typename Tiling>
dim3 grid_of(const PairBatch& batch, const char* what) {
    constexpr std::int64_t most_items = 65535;
    if (batch.n_items > most_items)
        throw std::runtime_error(std::string("CUDA, ") + what + ": more than 65535 items at once");
    return dim3(blocks_for(batch.n_neurons, Tiling::template n_neurons<Element>),
                static_cast<unsigned>(batch.n_items));
}

template <typename Tiling>
dim3 block_of() {
    return dim3(n_lanes, Tiling::token_warps, Tiling::neuron_warps);
}

}  // namespace culnig::cuda
