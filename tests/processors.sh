#!/usr/bin/env bash
# The tests that compare what a model computes, as on other processors than this one: with fewer instructions,
# products by torch's library (MKL) or by oneDNN, one thread or two. `make test` is the row that is not here:
# what the machine has, products as it chooses, one thread.
# A row may ask for less than the processor has, never for more.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python}

row() {
  echo "== $*"
  env HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$@" "$python" -m pytest -q -n 2 --dist loadfile -m "processors and not slow"
}

# MKL's oldest code and none of torch's own vector code, then AVX2 and no AVX-512, then all there is
basic=(ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41)
avx2=(ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2)

row "${basic[@]}" CULNIG_PRODUCTS=torch
row "${avx2[@]}" CULNIG_PRODUCTS=torch
row "${avx2[@]}" CULNIG_PRODUCTS=onednn OMP_NUM_THREADS=2
row CULNIG_PRODUCTS=onednn
row CULNIG_PRODUCTS=torch OMP_NUM_THREADS=2
