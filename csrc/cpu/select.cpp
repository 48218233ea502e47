// Ranking: top_k of rows, and target - control with pools and exclusion.
#include "select.h"

#include "parallel.h"

namespace culnig::cpu {
namespace {

template <typename Scores, typename T>
CULNIG_HD void mark(const Scores& scores, std::int64_t first, std::int64_t n_groups, T threshold,
                    std::uint8_t* flags) {
    for (std::int64_t g = 0; g < n_groups; ++g) {
        int reached = 0;
        for (std::int64_t j = 0; j < group_neurons; ++j)
            reached |= scores(first + g * group_neurons + j) >= threshold;
        flags[g] = static_cast<std::uint8_t>(reached);
    }
}

struct PlainRow {
    const double* scores;
    CULNIG_HD double operator()(std::int64_t i) const { return scores[i]; }
};

struct NarrowRow {
    const float* scores;
    CULNIG_HD float operator()(std::int64_t i) const { return scores[i]; }
};

struct DifferenceRow {
    const double* target;
    const double* control;
    CULNIG_HD double operator()(std::int64_t i) const { return target[i] - control[i]; }
};

CULNIG_CLONES void mark_double(const double* scores, std::int64_t first, std::int64_t n_groups,
                               double threshold, std::uint8_t* flags) {
    mark(PlainRow{scores}, first, n_groups, threshold, flags);
}

CULNIG_CLONES void mark_float(const float* scores, std::int64_t first, std::int64_t n_groups, float threshold,
                              std::uint8_t* flags) {
    mark(NarrowRow{scores}, first, n_groups, threshold, flags);
}

CULNIG_CLONES void mark_difference(const double* target, const double* control, std::int64_t first,
                                   std::int64_t n_groups, double threshold, std::uint8_t* flags) {
    mark(DifferenceRow{target, control}, first, n_groups, threshold, flags);
}

template <typename T>
void top_k_rows(const ScoreRows<T>& rows, std::int64_t k, std::int64_t* best, int threads) {
    const std::int64_t bytes = rows.n_rows * rows.n_neurons * std::int64_t{sizeof(T)};
    for_each_task(rows.n_rows, useful_threads(bytes, threads), [&](std::int64_t row) {
        const RowScores<T> scores{rows.scores.row(row),
                                  rows.excluded.data ? rows.excluded.row(row) : nullptr};
        std::vector<Candidate> chosen = select_best(scores, {{0, rows.n_neurons}}, k);
        std::sort(chosen.begin(), chosen.end(), ranks_before);
        std::int64_t* out = best + row * k;
        for (const Candidate& candidate : chosen) *out++ = candidate.index;
        std::fill(out, best + (row + 1) * k, std::int64_t{-1});
    });
}

RankedNeurons rank_pool(const RankRequest& request, std::int64_t row, const RankedPool& pool) {
    const Differences differences{request.target.row(row), request.control.row(row)};
    std::vector<Candidate> kept = select_best(differences, pool.runs, pool.count);
    if (request.exclusion.data && pool.exclusion_count > 0 && !kept.empty()) {
        const RowScores<double> exclusion{request.exclusion.row(row), nullptr};
        // Everything that ranks up to the last excluded neuron is excluded: no set is needed.
        const std::vector<Candidate> removed = select_best(exclusion, pool.runs, pool.exclusion_count);
        const Candidate last = removed.back();
        kept.erase(std::remove_if(kept.begin(), kept.end(),
                                  [&](const Candidate& neuron) {
                                      const Candidate other{rank_key(exclusion[neuron.index]), neuron.index};
                                      return !ranks_before(last, other);
                                  }),
                   kept.end());
    }
    std::sort(kept.begin(), kept.end(), ranks_before);
    RankedNeurons ranked;
    for (const Candidate& neuron : kept) {
        ranked.positions.push_back(neuron.index);
        ranked.differences.push_back(differences[neuron.index]);
    }
    return ranked;
}

}  // namespace

void mark_groups(const RowScores<float>& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags) {
    mark_float(scores.scores, first, n_groups, static_cast<float>(threshold), flags);
}

void mark_groups(const RowScores<double>& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags) {
    mark_double(scores.scores, first, n_groups, threshold, flags);
}

void mark_groups(const Differences& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags) {
    mark_difference(scores.target, scores.control, first, n_groups, threshold, flags);
}

void top_k(const ScoreRows<float>& rows, std::int64_t k, std::int64_t* best, int threads) {
    top_k_rows(rows, k, best, threads);
}

void top_k(const ScoreRows<double>& rows, std::int64_t k, std::int64_t* best, int threads) {
    top_k_rows(rows, k, best, threads);
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
