#!/usr/bin/env bash
# The results table: every algorithm of conf/algo with its default settings and three seeds on Omniglot. Two runs at a
# time, with one thread each. Stopped and started again, it resumes; to make the numbers anew, remove the run folders
# first. Some learners are then analyzed, for docs/rapid-learning.md. It ends in comparison.csv, comparison.png and the
# table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/algorithms
algorithms="fomaml boil maml metasgd reptile pretrain protonet anil"  # the longest first
for seed in 0 1 2; do
    for algo in $algorithms; do
        run=$folder/omniglot_$algo
        [ $seed = 0 ] || run=${run}_seed$seed
        echo "data=omniglot algo=$algo seed=$seed hydra.run.dir=$run"
    done
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
python -m metalearn.analyze $folder/omniglot_{maml,fomaml,anil,boil,reptile} figure=docs/pictures/rapid_learning.png
python -m metalearn.compare $folder
python -m metalearn.compare $folder --markdown
