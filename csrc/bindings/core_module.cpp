// The functions of culnig._core; call them through culnig.kernels, which checks the arguments.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "arguments.h"
#include "kernels.h"

using namespace culnig;
using namespace culnig::python;

namespace {

/// None where every contribution was finite.
py::object counted(const NonFinite& wrong) {
    if (wrong.count == 0) return py::none();
    return py::make_tuple(wrong.count, wrong.item, wrong.token, wrong.neuron);
}

py::object score_reduce(const py::object& activation, const py::object& gradient, int dtype, int aggregator,
                        const py::object& batch, const py::object& tables, int threads) {
    const PairBatch pair = pair_batch(activation, gradient, dtype, batch.attr("token_mask"));
    const ScoreBatch given = score_batch(pair, batch, tables, aggregator);
    NonFinite wrong;
    {
        py::gil_scoped_release release;
        wrong = cpu::score_reduce(given, threads);
    }
    return counted(wrong);
}

py::object routed_scores(const py::object& activation, const py::object& gradient, int dtype, int aggregator,
                         const py::object& routing, const py::object& tables, int threads) {
    const RoutedBatch given = routed_batch(activation, gradient, dtype, aggregator, routing, tables);
    NonFinite wrong;
    {
        py::gil_scoped_release release;
        wrong = cpu::routed_scores(given, threads);
    }
    return counted(wrong);
}

void add_scores(const py::object& batch, const py::object& tables, int threads) {
    ScoreBatch given = score_batch({}, batch, tables, 0);
    given.n_items = length(tables.attr("item_scores"), 0);
    given.n_neurons = length(tables.attr("item_scores"), 1);
    py::gil_scoped_release release;
    cpu::add_scores(given, threads);
}

void token_sums(const py::object& activation, const py::object& gradient, int dtype,
                const py::object& token_mask, const py::object& sums, int threads) {
    const auto batch = token_sums_batch(pair_batch(activation, gradient, dtype, token_mask), sums);
    py::gil_scoped_release release;
    cpu::token_sums(batch, threads);
}

py::array_t<std::int64_t> top_k(const py::object& scores, std::int64_t k, const py::object& excluded,
                                int threads) {
    const cpu::ScoreRows rows{table<const double>(scores), table<const std::uint8_t>(excluded),
                              length(scores, 0), length(scores, 1)};
    py::array_t<std::int64_t> best({rows.n_rows, k});
    std::int64_t* const out = best.mutable_data();
    py::gil_scoped_release release;
    cpu::top_k(rows, k, out, threads);
    return best;
}

template <typename T>
py::array_t<T> copied(const std::vector<T>& numbers) {
    return py::array_t<T>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}

py::list rank(const py::object& target, const py::object& control, const py::object& exclusion,
              const std::vector<py::object>& pools, const std::vector<std::int64_t>& counts,
              const std::vector<std::int64_t>& exclusion_counts, int threads) {
    cpu::RankRequest request{table<const double>(target),
                             table<const double>(control),
                             table<const double>(exclusion),
                             length(target, 0),
                             {}};
    for (std::size_t p = 0; p < pools.size(); ++p) {
        cpu::RankedPool pool{{}, counts[p], exclusion_counts[p]};
        const auto* runs = values<const std::int64_t>(pools[p]);
        for (std::int64_t r = 0; r < length(pools[p], 0); ++r)
            pool.runs.push_back({runs[2 * r], runs[2 * r + 1]});
        request.pools.push_back(std::move(pool));
    }
    std::vector<cpu::RankedNeurons> ranked;
    {
        py::gil_scoped_release release;
        ranked = cpu::rank(request, threads);
    }
    py::list result;
    for (const cpu::RankedNeurons& neurons : ranked)
        result.append(py::make_tuple(copied(neurons.indices), copied(neurons.differences)));
    return result;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "CPU kernels of culnig; call them through culnig.kernels.";
    m.def("score_reduce", &score_reduce);
    m.def("routed_scores", &routed_scores);
    m.def("add_scores", &add_scores);
    m.def("token_sums", &token_sums);
    m.def("top_k", &top_k);
    m.def("rank", &rank);
}
