#!/usr/bin/env bash
# The results table of the README: every algorithm with its default settings on Omniglot, and with 1,000 meta-steps on
# glyphs. FOMAML on Omniglot has both cores, the others run two at a time with one thread each. Stopped and started again,
# it resumes; to make the numbers anew, remove the run folders first. It ends in comparison.csv, comparison.png and the
# README's table.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/algorithms
python -m metalearn.run resume=auto data=omniglot algo=fomaml hydra.run.dir=$folder/omniglot_fomaml
for algo in maml metasgd reptile anil pretrain fomaml; do
    [ $algo = fomaml ] || echo "data=omniglot algo=$algo hydra.run.dir=$folder/omniglot_$algo"
    echo "data=glyphs algo=$algo steps=1000 hydra.run.dir=$folder/glyphs_$algo"
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
python -m metalearn.compare $folder
python -m metalearn.compare $folder --markdown
