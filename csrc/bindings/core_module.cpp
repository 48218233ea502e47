// Table of contents of culnig._core. culnig.kernels checks every argument before it calls; what arrives here
// has the right dtype, the right shape and neurons side by side.
#include "numpy_views.h"

using namespace culnig;
using namespace culnig::python;

namespace {

PairBatch pair_batch(const py::array& activation, const py::array& gradient, int dtype,
                     const py::array& token_mask) {
    return {
        token_view(activation), token_view(gradient), static_cast<Dtype>(dtype),       activation.shape(0),
        activation.shape(1),    activation.shape(2),  values<std::uint8_t>(token_mask)};
}

py::object score_reduce(const py::array& activation, const py::array& gradient, int dtype, int aggregator,
                        const py::array& token_mask, const py::array& confidence,
                        const py::array& culture_index, const py::array& clamp_at_zero, const py::array& sums,
                        const OptionalArray& sums_of_squares, const OptionalArray& positive_counts,
                        const OptionalArray& item_scores, const OptionalArray& peak_tokens, int threads) {
    const ScoreBatch batch{pair_batch(activation, gradient, dtype, token_mask),
                           static_cast<Aggregator>(aggregator),
                           values<double>(confidence),
                           values<std::int64_t>(culture_index),
                           values<std::uint8_t>(clamp_at_zero),
                           output<double>(sums),
                           output<double>(sums_of_squares),
                           output<std::uint32_t>(positive_counts),
                           output<float>(item_scores),
                           output<std::int32_t>(peak_tokens)};
    NonFinite found;
    {
        py::gil_scoped_release release;
        found = cpu::score_reduce(batch, threads);
    }
    if (found.count == 0) return py::none();
    return py::make_tuple(found.count, found.item, found.token, found.neuron);
}

void add_scores(const py::array& item_scores, const py::array& confidence, const py::array& culture_index,
                const py::array& clamp_at_zero, const py::array& sums, const OptionalArray& sums_of_squares,
                const OptionalArray& positive_counts, int threads) {
    ScoreBatch batch{};
    batch.n_items = item_scores.shape(0);
    batch.n_neurons = item_scores.shape(1);
    batch.confidence = values<double>(confidence);
    batch.culture_index = values<std::int64_t>(culture_index);
    batch.clamp_at_zero = values<std::uint8_t>(clamp_at_zero);
    batch.item_scores = {const_cast<float*>(values<float>(item_scores)),
                         input<float>(item_scores).row_stride};
    batch.sums = output<double>(sums);
    batch.sums_of_squares = output<double>(sums_of_squares);
    batch.positive_counts = output<std::uint32_t>(positive_counts);
    py::gil_scoped_release release;
    cpu::add_scores(batch, threads);
}

py::tuple token_sums(const py::array& activation, const py::array& gradient, int dtype,
                     const py::array& token_mask, int threads) {
    const std::vector<py::ssize_t> by_item{activation.shape(0), activation.shape(2)};
    const py::array_t<float> magnitude(by_item), gradient_norm(by_item);
    const py::array_t<std::int32_t> positive_tokens(by_item);
    const TokenSumsBatch batch{pair_batch(activation, gradient, dtype, token_mask), output<float>(magnitude),
                               output<std::int32_t>(positive_tokens), output<float>(gradient_norm)};
    {
        py::gil_scoped_release release;
        cpu::token_sums(batch, threads);
    }
    return py::make_tuple(magnitude, positive_tokens, gradient_norm);
}

template <typename T>
py::array_t<std::int64_t> top_k_of(const py::array& scores, py::ssize_t k, const OptionalArray& excluded,
                                   int threads) {
    const cpu::ScoreRows<T> rows{input<T>(scores), input<std::uint8_t>(excluded), scores.shape(0),
                                 scores.shape(1)};
    py::array_t<std::int64_t> best({scores.shape(0), k});
    std::int64_t* const out = best.mutable_data();
    py::gil_scoped_release release;
    cpu::top_k(rows, k, out, threads);
    return best;
}

py::array_t<std::int64_t> top_k(const py::array& scores, py::ssize_t k, const OptionalArray& excluded,
                                int threads) {
    return scores.itemsize() == 4 ? top_k_of<float>(scores, k, excluded, threads)
                                  : top_k_of<double>(scores, k, excluded, threads);
}

py::list rank(const py::array& target, const py::array& control, const OptionalArray& exclusion,
              const std::vector<py::array>& pools, const std::vector<std::int64_t>& counts,
              const std::vector<std::int64_t>& exclusion_counts, int threads) {
    cpu::RankRequest request{
        input<double>(target), input<double>(control), input<double>(exclusion), target.shape(0), {}};
    for (std::size_t p = 0; p < pools.size(); ++p) {
        cpu::RankedPool pool{{}, counts[p], exclusion_counts[p]};
        const auto* segments = values<std::int64_t>(pools[p]);
        for (py::ssize_t s = 0; s < pools[p].shape(0); ++s)
            pool.runs.push_back({segments[2 * s], segments[2 * s + 1]});
        request.pools.push_back(std::move(pool));
    }
    std::vector<cpu::RankedNeurons> ranked;
    {
        py::gil_scoped_release release;
        ranked = cpu::rank(request, threads);
    }
    py::list result;
    for (const cpu::RankedNeurons& neurons : ranked)
        result.append(py::make_tuple(copied(neurons.positions), copied(neurons.differences)));
    return result;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "CPU kernels of culnig; call them through culnig.kernels.";
    m.def("score_reduce", &score_reduce);
    m.def("add_scores", &add_scores);
    m.def("token_sums", &token_sums);
    m.def("top_k", &top_k);
    m.def("rank", &rank);
}
