#!/usr/bin/env bash
# The results table of the README: every algorithm with its default settings on Omniglot, and with 1,000 meta-steps on
# glyphs. On two cores, two of these ran side by side with OMP_NUM_THREADS=1 (the table says how many threads each had).
# Then: python -m metalearn.compare experiments/five_algorithms
set -euo pipefail
cd "$(dirname "$0")/../.."
for algo in maml fomaml anil reptile pretrain; do
    python -m metalearn.run data=omniglot algo=$algo hydra.run.dir=experiments/five_algorithms/omniglot_$algo
    python -m metalearn.run data=glyphs algo=$algo steps=1000 hydra.run.dir=experiments/five_algorithms/glyphs_$algo
done
