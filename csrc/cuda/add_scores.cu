// Adds item scores to culture sums on the device. A thread owns one neuron in every culture's row and takes
// the items in order, so no two threads add to the same element and the result does not depend on scheduling.
#include "kernels.h"
#include "launch.h"

namespace culnig::cuda {
namespace {

constexpr int n_threads = 128;

__global__ void add_scores_kernel(ScoreBatch batch) {
    const std::int64_t neuron = static_cast<std::int64_t>(blockIdx.x) * n_threads + threadIdx.x;
    if (neuron >= batch.n_neurons) return;
    std::int64_t culture = -1;
    double sum = 0.0;
    double squares = 0.0;
    std::uint32_t count = 0;
    const auto store = [&] {
        if (culture < 0) return;
        batch.sums.row(culture)[neuron] = sum;
        if (batch.sums_of_squares.data) batch.sums_of_squares.row(culture)[neuron] = squares;
        if (batch.positive_counts.data) batch.positive_counts.row(culture)[neuron] = count;
    };
    for (std::int64_t item = 0; item < batch.n_items; ++item) {
        if (batch.culture_index[item] != culture) {
            store();
            culture = batch.culture_index[item];
            sum = batch.sums.row(culture)[neuron];
            if (batch.sums_of_squares.data) squares = batch.sums_of_squares.row(culture)[neuron];
            if (batch.positive_counts.data) count = batch.positive_counts.row(culture)[neuron];
        }
        const double weighted =
            weigh(batch.weight[item], batch.item_scores.row(item)[neuron], batch.clamp_at_zero[item] != 0);
        sum += weighted;
        squares += weighted * weighted;
        count += weighted > 0.0 ? 1u : 0u;
    }
    store();
}

}  // namespace

void add_scores(const ScoreBatch& batch, Stream handle) {
    if (batch.n_items == 0 || batch.n_neurons == 0) return;
    const auto stream = static_cast<cudaStream_t>(handle);
    CULNIG_LAUNCH(add_scores_kernel, blocks_for(batch.n_neurons, n_threads), n_threads, stream, batch);
    check(cudaGetLastError(), "sums");
}

}  // namespace culnig::cuda
