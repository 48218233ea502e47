// The functions of culnig._cuda; call them through culnig.kernels.cuda, which checks the arguments and owns
// all memory.
#include "arguments.h"
#include "kernels.h"

using namespace culnig;
using namespace culnig::python;

namespace {

void* stream_of(std::uintptr_t handle) { return reinterpret_cast<void*>(handle); }

void score_items(const py::object& activation, const py::object& gradient, int dtype, int aggregator,
                 const py::object& batch, const py::object& tables, const py::object& status,
                 std::uintptr_t stream) {
    const PairBatch pair = pair_batch(activation, gradient, dtype, batch.attr("token_mask"));
    const ScoreBatch given = score_batch(pair, batch, tables, aggregator);
    const auto words = values<unsigned long long>(status);
    py::gil_scoped_release release;
    cuda::score_items(given, words, stream_of(stream));
}

void add_scores(const py::object& batch, const py::object& tables, std::uintptr_t stream) {
    ScoreBatch given = score_batch({}, batch, tables, 0);
    given.n_items = length(tables.attr("item_scores"), 0);
    given.n_neurons = length(tables.attr("item_scores"), 1);
    py::gil_scoped_release release;
    cuda::add_scores(given, stream_of(stream));
}

void token_sums(const py::object& activation, const py::object& gradient, int dtype,
                const py::object& token_mask, const py::object& sums, std::uintptr_t stream) {
    const auto batch = token_sums_batch(pair_batch(activation, gradient, dtype, token_mask), sums);
    py::gil_scoped_release release;
    cuda::token_sums(batch, stream_of(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of culnig; call them through culnig.kernels.";
    m.def("device_available", &cuda::device_available);
    m.def("runs_on", &cuda::runs_on);
    m.def("score_items", &score_items);
    m.def("add_scores", &add_scores);
    m.def("token_sums", &token_sums);
}
