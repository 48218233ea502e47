// routed_scores: item scores of experts' neurons, read from the rows of routed tokens where they lie.
#include <algorithm>
#include <atomic>
#include <tuple>
#include <vector>

#include "item_scores.h"
#include "kernels.h"
#include "pair_blocks.h"

namespace culnig::cpu {
namespace {

/// The rows of real tokens of every expert's item, one after the other.
struct RealRows {
    std::vector<std::int32_t> rows;
    std::vector<std::int64_t> starts;

    explicit RealRows(const RoutedBatch& batch) {
        const std::int64_t n_groups = batch.n_experts * batch.n_items;
        starts.push_back(0);
        for (std::int64_t group = 0; group < n_groups; ++group) {
            for (std::int64_t row = batch.starts[group]; row < batch.starts[group + 1]; ++row)
                if (batch.tokens[row] >= 0) rows.push_back(static_cast<std::int32_t>(row));
            starts.push_back(static_cast<std::int64_t>(rows.size()));
        }
    }

    const std::int32_t* of(std::int64_t group) const { return rows.data() + starts[std::size_t(group)]; }
    std::int64_t count(std::int64_t group) const {
        return starts[std::size_t(group) + 1] - starts[std::size_t(group)];
    }
};

template <typename Element>
NonFinite find_non_finite(const RoutedBatch& batch, const RealRows& real) {
    NonFinite wrong{0, -1, -1, -1};
    for (std::int64_t item = 0; item < batch.n_items; ++item)
        for (std::int64_t expert = 0; expert < batch.n_experts; ++expert) {
            const std::int64_t group = expert * batch.n_items + item;
            for (std::int64_t r = 0; r < real.count(group); ++r) {
                const std::int64_t row = real.of(group)[r];
                const auto* activation =
                    static_cast<const Element*>(batch.activation) + row * batch.activation_stride;
                const auto* gradient =
                    static_cast<const Element*>(batch.gradient) + row * batch.gradient_stride;
                for (std::int64_t j = 0; j < batch.n_neurons; ++j) {
                    const float value = contribution(widen(activation[j]), widen(gradient[j]));
                    if (magnitude_bits(value) < non_finite_bits) continue;
                    const NonFinite found{wrong.count + 1, item, batch.tokens[row],
                                          expert * batch.n_neurons + j};
                    const bool earlier = item == wrong.item && std::tie(found.token, found.neuron) <
                                                                   std::tie(wrong.token, wrong.neuron);
                    if (wrong.count == 0 || earlier) wrong = found;
                    wrong.count = found.count;
                }
            }
        }
    return wrong;
}

}  // namespace

NonFinite routed_scores(const RoutedBatch& batch, int threads) {
    const RealRows real(batch);
    const std::int64_t element_size = batch.dtype == Dtype::float32 ? 4 : 2;
    const std::int64_t n_blocks = (batch.n_neurons + most_neurons - 1) / most_neurons;
    const std::int64_t bytes =
        2 * static_cast<std::int64_t>(real.rows.size()) * batch.n_neurons * element_size;
    std::atomic<bool> finite{true};
    const int n_threads = useful_threads(bytes, threads, thread_bytes_beside_torch);
    for_each_task(batch.n_experts * batch.n_items * n_blocks, n_threads, [&](std::int64_t task) {
        const std::int64_t group = task / n_blocks;
        const std::int64_t first = task % n_blocks * most_neurons;
        const std::int64_t item = group % batch.n_items;
        const std::int64_t column = group / batch.n_items * batch.n_neurons + first;
        const std::int32_t* unrouted = batch.unrouted + 3 * group;
        const ItemBlock block{{static_cast<const char*>(batch.activation) + first * element_size,
                               static_cast<const char*>(batch.gradient) + first * element_size,
                               batch.activation_stride, batch.gradient_stride, real.of(group),
                               real.count(group), std::min(most_neurons, batch.n_neurons - first)},
                              batch.item_scores.row(item) + column,
                              batch.peak_tokens.data ? batch.peak_tokens.row(item) + column : nullptr,
                              batch.tokens,
                              {unrouted[0], unrouted[1], unrouted[2]}};
        if (!reduce_item_block(block, batch.dtype, batch.aggregator))
            finite.store(false, std::memory_order_relaxed);
    });
    if (finite.load()) return {0, -1, -1, -1};
    if (batch.dtype == Dtype::float32) return find_non_finite<Float32>(batch, real);
    if (batch.dtype == Dtype::float16) return find_non_finite<Float16>(batch, real);
    return find_non_finite<BFloat16>(batch, real);
}

}  // namespace culnig::cpu
