// The k best of each row on the device: a radix search for the cut, one pass that collects what reaches it,
// and a bitonic sort of those k.
//
// The search goes over the rank key from its highest byte down, then, for neurons tied at the cut, over the
// complement of the index: in each pass a histogram of one byte among the neurons still undecided, and one
// step that enters the bin in which the k-th lies. A row whose bin fits exactly is done early.
#include "kernels.h"
#include "launch.h"
#include "order.h"

namespace culnig::cuda {
namespace {

constexpr int n_bins = 256;
constexpr int n_threads = 256;
constexpr int key_passes = 8;
constexpr int n_passes = key_passes + 8;
constexpr std::int64_t neurons_per_block = 16 * n_threads;

/// The cut of one row as far as it is known.
struct Cut {
    std::uint64_t key;         // known bytes, the others 0
    std::uint64_t complement;  // of the index, likewise
    std::int64_t remaining;    // how many of the undecided belong to the best
    std::int64_t n_best;
    std::int64_t n_collected;
    std::int32_t passes;  // bytes that are known
    std::int32_t done;
};

/// The byte that a pass looks at.
__device__ __forceinline__ unsigned byte_of(std::uint64_t key, std::int64_t index, int pass) {
    const std::uint64_t word = pass < key_passes ? key : ~static_cast<std::uint64_t>(index);
    return static_cast<unsigned>(word >> (56 - 8 * (pass % key_passes))) & 255u;
}

/// The leading `bytes` of a word.
__device__ __forceinline__ std::uint64_t leading(std::uint64_t word, int bytes) {
    return bytes <= 0 ? 0 : word & (~0ull << (64 - 8 * (bytes < 8 ? bytes : 8)));
}

/// -1, 0, 1: the neuron ranks before, among, after the neurons that share the cut's known bytes.
__device__ __forceinline__ int side_of_cut(const Cut& cut, std::uint64_t key, std::int64_t index) {
    const std::uint64_t high = leading(key, cut.passes);
    if (high != cut.key) return high > cut.key ? -1 : 1;
    const std::uint64_t low = leading(~static_cast<std::uint64_t>(index), cut.passes - key_passes);
    if (low != cut.complement) return low > cut.complement ? -1 : 1;
    return 0;
}

__device__ __forceinline__ bool allowed(const TopK& request, std::int64_t row, std::int64_t neuron) {
    return !request.excluded || !request.excluded[row * request.excluded_row_stride + neuron];
}

__device__ __forceinline__ std::uint64_t key_of(const TopK& request, std::int64_t row, std::int64_t neuron) {
    const std::int64_t place = row * request.row_stride + neuron;
    return rank_key(request.narrow ? static_cast<double>(static_cast<const float*>(request.scores)[place])
                                   : static_cast<const double*>(request.scores)[place]);
}

__global__ void start_kernel(TopK request, Cut* cuts, unsigned* bins) {
    const std::int64_t row = blockIdx.x;
    bins[row * n_bins + threadIdx.x] = 0;
    if (threadIdx.x == 0) cuts[row] = {0, 0, request.k, request.k, 0, 0, 0};
}

__global__ void histogram_kernel(TopK request, const Cut* cuts, unsigned* bins, int pass) {
    __shared__ unsigned counts[n_bins];
    const std::int64_t row = blockIdx.y;
    const Cut cut = cuts[row];
    counts[threadIdx.x] = 0;
    __syncthreads();
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * neurons_per_block + threadIdx.x;
    for (std::int64_t n = 0; n < neurons_per_block && !cut.done; n += n_threads) {
        const std::int64_t neuron = first + n;
        if (neuron >= request.n_neurons || !allowed(request, row, neuron)) continue;
        const std::uint64_t key = key_of(request, row, neuron);
        if (side_of_cut(cut, key, neuron) == 0) atomicAdd(&counts[byte_of(key, neuron, pass)], 1u);
    }
    __syncthreads();
    if (counts[threadIdx.x]) atomicAdd(&bins[row * n_bins + threadIdx.x], counts[threadIdx.x]);
}

__global__ void narrow_kernel(Cut* cuts, unsigned* bins, int pass) {
    const std::int64_t row = blockIdx.x;
    unsigned* counts = bins + row * n_bins;
    if (threadIdx.x == 0 && !cuts[row].done) {
        Cut cut = cuts[row];
        if (pass == 0) {
            std::int64_t n_allowed = 0;
            for (int bin = 0; bin < n_bins; ++bin) n_allowed += counts[bin];
            if (n_allowed < cut.n_best) cut.n_best = cut.remaining = n_allowed;
        }
        int bin = n_bins - 1;
        for (; bin > 0 && counts[bin] < cut.remaining; --bin) cut.remaining -= counts[bin];
        const std::uint64_t byte = static_cast<std::uint64_t>(bin) << (56 - 8 * (pass % key_passes));
        (pass < key_passes ? cut.key : cut.complement) |= byte;
        cut.passes = pass + 1;
        cut.done = cut.n_best == 0 || counts[bin] == cut.remaining;
        cuts[row] = cut;
    }
    __syncthreads();
    counts[threadIdx.x] = 0;
}

__global__ void fill_kernel(Candidate* candidates, std::int64_t n) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * n_threads + threadIdx.x;
    if (i < n) candidates[i] = {0, 0x7fffffffffffffffll};  // ranks after every neuron
}

__global__ void collect_kernel(TopK request, Cut* cuts, Candidate* candidates, std::int64_t room) {
    const std::int64_t row = blockIdx.y;
    const Cut cut = cuts[row];
    if (cut.n_best == 0) return;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * neurons_per_block + threadIdx.x;
    for (std::int64_t n = 0; n < neurons_per_block; n += n_threads) {
        const std::int64_t neuron = first + n;
        if (neuron >= request.n_neurons || !allowed(request, row, neuron)) continue;
        const std::uint64_t key = key_of(request, row, neuron);
        if (side_of_cut(cut, key, neuron) > 0) continue;
        // The order of arrival varies; the sort that follows has one result for any of them.
        const auto place = atomicAdd(reinterpret_cast<unsigned long long*>(&cuts[row].n_collected), 1ull);
        candidates[row * room + static_cast<std::int64_t>(place)] = {key, neuron};
    }
}

/// One step of a bitonic sort of each row's candidates: compares those `distance` apart.
__global__ void sort_kernel(Candidate* candidates, std::int64_t room, std::int64_t run,
                            std::int64_t distance) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * n_threads + threadIdx.x;
    const std::int64_t partner = i ^ distance;
    if (i >= room || partner <= i) return;
    Candidate* row = candidates + blockIdx.y * room;
    const Candidate a = row[i];
    const Candidate b = row[partner];
    if (((i & run) == 0) == ranks_before(b, a)) {
        row[i] = b;
        row[partner] = a;
    }
}

__global__ void write_kernel(TopK request, const Cut* cuts, const Candidate* candidates, std::int64_t room) {
    const std::int64_t row = blockIdx.y;
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * n_threads + threadIdx.x;
    if (i < request.k)
        request.best[row * request.k + i] = i < cuts[row].n_best ? candidates[row * room + i].index : -1;
}

/// Places per row for a sort that wants a power of two.
std::int64_t room_for(std::int64_t k) {
    std::int64_t room = 1;
    while (room < k) room *= 2;
    return room;
}

}  // namespace

std::size_t top_k_workspace(std::int64_t n_rows, std::int64_t k) {
    const std::size_t per_row =
        sizeof(Cut) + n_bins * sizeof(unsigned) + static_cast<std::size_t>(room_for(k)) * sizeof(Candidate);
    return static_cast<std::size_t>(n_rows) * per_row;
}

void top_k(const TopK& request, void* workspace, Stream handle) {
    if (request.n_rows == 0 || request.k == 0) return;
    if (request.n_rows > 65535) throw std::runtime_error("CUDA, top_k: more than 65535 rows at once");
    const auto stream = static_cast<cudaStream_t>(handle);
    const std::int64_t room = room_for(request.k);
    auto* cuts = static_cast<Cut*>(workspace);
    auto* candidates = reinterpret_cast<Candidate*>(cuts + request.n_rows);
    auto* bins = reinterpret_cast<unsigned*>(candidates + request.n_rows * room);
    const auto rows = static_cast<unsigned>(request.n_rows);
    const dim3 over_neurons(blocks_for(request.n_neurons, neurons_per_block), rows);

    CULNIG_LAUNCH(start_kernel, rows, n_bins, stream, request, cuts, bins);
    for (int pass = 0; pass < n_passes; ++pass) {
        CULNIG_LAUNCH(histogram_kernel, over_neurons, n_threads, stream, request, cuts, bins, pass);
        CULNIG_LAUNCH(narrow_kernel, rows, n_bins, stream, cuts, bins, pass);
    }
    const std::int64_t n_places = room * request.n_rows;
    CULNIG_LAUNCH(fill_kernel, blocks_for(n_places, n_threads), n_threads, stream, candidates, n_places);
    CULNIG_LAUNCH(collect_kernel, over_neurons, n_threads, stream, request, cuts, candidates, room);
    const dim3 over_places(blocks_for(room, n_threads), rows);
    for (std::int64_t run = 2; run <= room; run *= 2)
        for (std::int64_t distance = run / 2; distance > 0; distance /= 2)
            CULNIG_LAUNCH(sort_kernel, over_places, n_threads, stream, candidates, room, run, distance);
    CULNIG_LAUNCH(write_kernel, over_places, n_threads, stream, request, cuts, candidates, room);
    check(cudaGetLastError(), "top_k");
}

}  // namespace culnig::cuda
