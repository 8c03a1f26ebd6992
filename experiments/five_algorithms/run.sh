#!/usr/bin/env bash
# The results table of the README: every algorithm with its default settings, on Omniglot and on glyphs; one after the
# other, for the seconds are part of the result. Then: python -m metalearn.compare experiments/five_algorithms
set -euo pipefail
cd "$(dirname "$0")/../.."
for data in omniglot glyphs; do
    for algo in fomaml reptile maml anil pretrain; do
        python -m metalearn.run data=$data algo=$algo hydra.run.dir=experiments/five_algorithms/${data}_$algo
    done
done
