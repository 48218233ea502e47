#!/usr/bin/env bash
# The tests that compare what a model computes, as on other processors than this one: with fewer instructions,
# products by torch's library (MKL) or by oneDNN, one thread or two. `make test` is the row that is not here:
# what the machine has, products as it chooses, one thread.
# A row may ask for less than the processor has, never for more.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python}

# row THREADS NAME=VALUE ...: two files of tests at a time, or one with two threads
row() {
  local threads=$1
  shift
  echo "== OMP_NUM_THREADS=$threads $*"
  env HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive OMP_NUM_THREADS="$threads" "$@" \
    "$python" -m pytest -q -n "$((2 / threads))" --dist loadfile -m "processors and not slow"
}

# MKL's oldest code and none of torch's own vector code, then AVX2 and no AVX-512, then all there is
basic=(ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41)
avx2=(ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2)

row 1 "${basic[@]}" CULNIG_PRODUCTS=torch
row 1 "${avx2[@]}" CULNIG_PRODUCTS=torch
row 2 "${avx2[@]}" CULNIG_PRODUCTS=onednn
row 1 CULNIG_PRODUCTS=onednn
row 2 CULNIG_PRODUCTS=torch
