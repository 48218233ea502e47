#!/bin/sh
# Builds _core with address and undefined behaviour sanitizers and runs the kernel tests under them; the
# emulated CUDA kernels are compiled with the same sanitizers.
#
#   csrc/sanitize.sh [python]        run it from the top of the checkout; further arguments go to pytest
#
# The sanitized module goes into a copy of the package in build/sanitize; the installed module is not touched.
set -eu
python=$(command -v "${1:-python}")
[ $# -gt 0 ] && shift
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/sanitize
overlay=$build/site

cmake -S "$root" -B "$build" -G Ninja -DCULNIG_SANITIZE=ON -DCULNIG_CUDA=OFF -DCULNIG_WERROR=ON \
    -DPython_EXECUTABLE="$python" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" >/dev/null
cmake --build "$build"
rm -rf "$overlay"
mkdir -p "$overlay"
cp -R "$root/culnig" "$overlay/culnig"
rm -f "$overlay"/culnig/_core.*.so "$overlay"/culnig/_cuda.*.so
cmake --install "$build" --prefix "$overlay" >/dev/null

compiler=${CXX:-c++}
libraries="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libubsan.so)"
# Python searches the current folder first, pytest the checkout. `-p culnig` imports the package from the copy
# before pytest collects tests; tests/kernels/conftest.py checks that.
cd "$overlay"
# No leak detection: the interpreter never frees what it allocates when it starts.
LD_PRELOAD=$libraries \
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 \
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    PYTHONMALLOC=malloc PYTHONPATH=$overlay CULNIG_SANITIZE=$overlay \
    "$python" -m pytest -p culnig "$root/tests/kernels" --rootdir="$root" -c "$root/pyproject.toml" \
    --ignore="$root/tests/kernels/test_cuda_module.py" -q -p no:cacheprovider "$@"
