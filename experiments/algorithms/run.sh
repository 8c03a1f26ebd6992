#!/usr/bin/env bash
# The results table: every algorithm of conf/algo with its default settings on Omniglot. Two runs at a time, with one
# thread each. Stopped and started again, it resumes; to make the numbers anew, remove the run folders first. It ends in
# comparison.csv, comparison.png and the table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/algorithms
algorithms="fomaml maml metasgd boil reptile pretrain protonet anil"  # the longest first
for algo in $algorithms; do
    echo "data=omniglot algo=$algo hydra.run.dir=$folder/omniglot_$algo"
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
python -m metalearn.compare $folder
python -m metalearn.compare $folder --markdown
