#!/usr/bin/env bash
# The results table of the README: every algorithm with its default settings on Omniglot, and with 1,000 meta-steps on
# glyphs; two runs at a time, each with one thread. Stopped and started again, it goes on where it was. To make the
# numbers anew, remove the run folders first. Then: python -m metalearn.compare experiments/algorithms
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
for algo in maml fomaml metasgd reptile anil pretrain; do
    echo "data=omniglot algo=$algo hydra.run.dir=experiments/algorithms/omniglot_$algo"
    echo "data=glyphs algo=$algo steps=1000 hydra.run.dir=experiments/algorithms/glyphs_$algo"
done | xargs -P 2 -L 1 python -m metalearn.run resume=auto
