#pragma once
// Selection of the k best in O(n): a sample guesses a threshold, one pass collects what reaches it, and only
// what was collected is partitioned. A guess that collects fewer than k costs one more pass, never a wrong
// result.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "kernels.h"

namespace culnig::cpu {

/// Scores of one row; a neuron with `excluded` set is never chosen.
template <typename T>
struct RowScores {
    const T* scores;
    const std::uint8_t* excluded;

    double operator[](std::int64_t i) const { return static_cast<double>(scores[i]); }
    bool allowed(std::int64_t i) const { return !excluded || !excluded[i]; }
};

/// target - control of one row, never stored.
struct Differences {
    const double* target;
    const double* control;

    double operator[](std::int64_t i) const { return target[i] - control[i]; }
    bool allowed(std::int64_t) const { return true; }
};

/// Neurons per flag, and per call of mark_groups.
constexpr std::int64_t group_neurons = 16;
constexpr std::int64_t chunk_neurons = 1024;

// flags[g] = whether any score of the whole group g, counted from `first`, reaches the threshold.
void mark_groups(const RowScores<float>& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags);
void mark_groups(const RowScores<double>& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags);
void mark_groups(const Differences& scores, std::int64_t first, std::int64_t n_groups, double threshold,
                 std::uint8_t* flags);

template <typename Scores>
void collect_from(const Scores& scores, std::int64_t begin, std::int64_t end, double threshold,
                  std::vector<Candidate>& chosen) {
    for (std::int64_t i = begin; i < end; ++i)
        if (scores[i] >= threshold && scores.allowed(i)) chosen.push_back({rank_key(scores[i]), i});
}

/// Every allowed neuron of the runs whose score is at least `threshold`.
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
                    collect_from(scores, first + g * group_neurons, first + (g + 1) * group_neurons,
                                 threshold, chosen);
            const std::int64_t chunk_end = std::min(first + chunk_neurons, end);
            collect_from(scores, first + n_groups * group_neurons, chunk_end, threshold, chosen);
        }
    }
}

/// A score that a little more than k neurons probably reach, or NaN when there is nothing to gain from one.
template <typename Scores>
double guess_threshold(const Scores& scores, const std::vector<Run>& runs, std::int64_t n, std::int64_t k) {
    constexpr std::int64_t n_sample = 4096;
    constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
    if (n < 4 * n_sample || 2 * k > n) return nothing;
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
    const std::int64_t place = static_cast<std::int64_t>(expected + 4.0 * std::sqrt(expected) + 4.0);
    if (place >= static_cast<std::int64_t>(sample.size())) return nothing;
    std::nth_element(sample.begin(), sample.begin() + place, sample.end(), std::greater<double>());
    return sample[static_cast<std::size_t>(place)];
}

/// The k best of the runs (fewer when fewer are allowed): the last of them at `chosen[size - 1]`, the others
/// before it in no order.
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

}  // namespace culnig::cpu
