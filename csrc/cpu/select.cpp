// Ranking: top_k of rows, and target - control with pools and exclusion. The k best are found in O(n): a
// sample gives a threshold, one pass collects the neurons that reach it, and only those are partitioned. A
// threshold that collects fewer than k costs one more pass, never a wrong result.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels.h"
#include "parallel.h"

namespace culnig::cpu {
namespace {

/// Scores of one row; a neuron with `excluded` set is never chosen.
struct RowScores {
    const double* scores;
    const std::uint8_t* excluded;

    CULNIG_HD double operator[](std::int64_t i) const { return scores[i]; }
    bool allowed(std::int64_t i) const { return !excluded || !excluded[i]; }
};

/// target - control of one row, computed when it is read.
struct Differences {
    const double* target;
    const double* control;

    CULNIG_HD double operator[](std::int64_t i) const { return target[i] - control[i]; }
    bool allowed(std::int64_t) const { return true; }
};

/// Neurons per flag, and per call of mark_groups.
constexpr std::int64_t group_neurons = 16;
constexpr std::int64_t chunk_neurons = 1024;

/// flags[g] = whether any score of group g, counted from `first`, reaches the threshold.
template <typename Scores>
CULNIG_HD void mark(Scores scores, std::int64_t first, std::int64_t n_groups, double threshold,
                    std::uint8_t* flags) {
    for (std::int64_t g = 0; g < n_groups; ++g) {
        int reached = 0;
        for (std::int64_t j = 0; j < group_neurons; ++j)
            reached |= scores[first + g * group_neurons + j] >= threshold;
        flags[g] = static_cast<std::uint8_t>(reached);
    }
}

// Clones cannot be templates.
CULNIG_CLONES void mark_groups(RowScores scores, std::int64_t first, std::int64_t n_groups, double threshold,
                               std::uint8_t* flags) {
    mark(scores, first, n_groups, threshold, flags);
}
CULNIG_CLONES void mark_groups(Differences scores, std::int64_t first, std::int64_t n_groups,
                               double threshold, std::uint8_t* flags) {
    mark(scores, first, n_groups, threshold, flags);
}

/// Collects the allowed neurons of [begin, end) whose score is at least `threshold`.
template <typename Scores>
void collect_range(const Scores& scores, std::int64_t begin, std::int64_t end, double threshold,
                   std::vector<Candidate>& chosen) {
    for (std::int64_t i = begin; i < end; ++i)
        if (scores[i] >= threshold && scores.allowed(i)) chosen.push_back({rank_key(scores[i]), i});
}

/// The same for all neurons of the runs; groups without any are skipped.
template <typename Scores>
void collect(const Scores& scores, const std::vector<Run>& runs, double threshold,
             std::vector<Candidate>& chosen) {
    std::uint8_t flags[chunk_neurons / group_neurons];
    for (const Run& run : runs) {
        const std::int64_t end = run.start + run.width;
        for (std::int64_t first = run.start; first < end; first += chunk_neurons) {
            const std::int64_t n_groups = std::min(chunk_neurons, end - first) / group_neurons;
            mark_groups(scores, first, n_groups, threshold, flags);
            for (std::int64_t g = 0; g < n_groups; ++g)
                if (flags[g])
                    collect_range(scores, first + g * group_neurons, first + (g + 1) * group_neurons,
                                  threshold, chosen);
            const std::int64_t chunk_end = std::min(first + chunk_neurons, end);
            collect_range(scores, first + n_groups * group_neurons, chunk_end, threshold, chosen);
        }
    }
}

/// A score that probably a little more than k neurons reach, or NaN where sampling would not pay.
template <typename Scores>
double guess_threshold(const Scores& scores, const std::vector<Run>& runs, std::int64_t n, std::int64_t k) {
    constexpr std::int64_t n_sample = 4096;
    constexpr double no_threshold = std::numeric_limits<double>::quiet_NaN();
    if (n < 4 * n_sample || 2 * k > n) return no_threshold;
    std::vector<double> sample;
    sample.reserve(n_sample + 1);
    const std::int64_t step = n / n_sample;
    std::int64_t offset = step / 2;
    for (const Run& run : runs) {
        for (; offset < run.width; offset += step) {
            const std::int64_t i = run.start + offset;
            if (scores.allowed(i) && scores[i] == scores[i]) sample.push_back(scores[i]);
        }
        offset -= run.width;
    }
    const double expected = static_cast<double>(k) / static_cast<double>(step);
    const auto cut = static_cast<std::int64_t>(expected + 4.0 * std::sqrt(expected) + 4.0);
    if (cut >= static_cast<std::int64_t>(sample.size())) return no_threshold;
    std::nth_element(sample.begin(), sample.begin() + cut, sample.end(), std::greater<double>());
    return sample[static_cast<std::size_t>(cut)];
}

/// The k best of the runs (fewer where fewer are allowed): the last of them at the end, the others before it
/// in any order.
template <typename Scores>
std::vector<Candidate> select_best(const Scores& scores, const std::vector<Run>& runs, std::int64_t k) {
    std::vector<Candidate> chosen;
    if (k <= 0) return chosen;
    std::int64_t n = 0;
    for (const Run& run : runs) n += run.width;
    const double threshold = guess_threshold(scores, runs, n, k);
    if (threshold == threshold) collect(scores, runs, threshold, chosen);
    if (static_cast<std::int64_t>(chosen.size()) < k) {
        chosen.clear();
        chosen.reserve(static_cast<std::size_t>(n));
        for (const Run& run : runs)
            for (std::int64_t i = run.start; i < run.start + run.width; ++i)
                if (scores.allowed(i)) chosen.push_back({rank_key(scores[i]), i});
    }
    if (static_cast<std::int64_t>(chosen.size()) > k) {
        std::nth_element(chosen.begin(), chosen.begin() + (k - 1), chosen.end(), ranks_before);
        chosen.resize(static_cast<std::size_t>(k));
    } else if (!chosen.empty()) {
        std::iter_swap(std::max_element(chosen.begin(), chosen.end(), ranks_before), chosen.end() - 1);
    }
    return chosen;
}

RankedNeurons rank_pool(const RankRequest& request, std::int64_t row, const RankedPool& pool) {
    const Differences differences{request.target.row(row), request.control.row(row)};
    std::vector<Candidate> kept = select_best(differences, pool.runs, pool.count);
    if (request.exclusion.data && pool.exclusion_count > 0 && !kept.empty()) {
        const RowScores exclusion{request.exclusion.row(row), nullptr};
        // Everything that ranks up to the last excluded neuron is excluded: no set is needed.
        const Candidate last = select_best(exclusion, pool.runs, pool.exclusion_count).back();
        const auto is_excluded = [&](const Candidate& neuron) {
            return !ranks_before(last, {rank_key(exclusion[neuron.index]), neuron.index});
        };
        kept.erase(std::remove_if(kept.begin(), kept.end(), is_excluded), kept.end());
    }
    std::sort(kept.begin(), kept.end(), ranks_before);
    RankedNeurons ranked;
    for (const Candidate& neuron : kept) {
        ranked.indices.push_back(neuron.index);
        ranked.differences.push_back(differences[neuron.index]);
    }
    return ranked;
}

}  // namespace

void top_k(const ScoreRows& rows, std::int64_t k, std::int64_t* best, int threads) {
    const std::int64_t bytes = rows.n_rows * rows.n_neurons * std::int64_t{sizeof(double)};
    for_each_task(rows.n_rows, useful_threads(bytes, threads), [&](std::int64_t row) {
        const RowScores scores{rows.scores.row(row), rows.excluded.data ? rows.excluded.row(row) : nullptr};
        std::vector<Candidate> chosen = select_best(scores, {{0, rows.n_neurons}}, k);
        std::sort(chosen.begin(), chosen.end(), ranks_before);
        std::int64_t* out = best + row * k;
        for (const Candidate& candidate : chosen) *out++ = candidate.index;
        std::fill(out, best + (row + 1) * k, std::int64_t{-1});
    });
}

std::vector<RankedNeurons> rank(const RankRequest& request, int threads) {
    const auto n_pools = static_cast<std::int64_t>(request.pools.size());
    std::int64_t neurons = 0;
    for (const RankedPool& pool : request.pools)
        for (const Run& run : pool.runs) neurons += run.width;
    std::vector<RankedNeurons> ranked(static_cast<std::size_t>(request.n_rows * n_pools));
    for_each_task(request.n_rows * n_pools, useful_threads(request.n_rows * neurons * 24, threads),
                  [&](std::int64_t task) {
                      ranked[static_cast<std::size_t>(task)] = rank_pool(
                          request, task / n_pools, request.pools[static_cast<std::size_t>(task % n_pools)]);
                  });
    return ranked;
}

}  // namespace culnig::cpu
