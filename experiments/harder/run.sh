#!/usr/bin/env bash
# Harder and more honest tests of the recipes of conf/experiment/published, shortened. Each algorithm is trained 20-way on
# the training alphabets of Lake's split, and 5-way on generated glyphs. The learners are then tested on 600 tasks each of
#   - new alphabets (the run's own test), with 5 ways too, and with 5 ways and upright characters,
#   - 20 characters of one new alphabet,
#   - the other domain: trained on Omniglot and tested on glyphs, and the reverse.
# Two run at a time with one thread each. Stopped and started again, it resumes. It ends in the table of all tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/harder
algorithms="reptile fomaml metasgd maml anil protonet"  # the longest first
for algo in $algorithms; do
    echo "experiment=published/${algo}_20w1s data.split=lake steps=2500 hydra.run.dir=$folder/lake_$algo"
    echo "experiment=published/${algo}_5w1s data=glyphs steps=2000 hydra.run.dir=$folder/glyphs_$algo"
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
for algo in $algorithms; do
    echo "$folder/lake_$algo way=5"
    echo "$folder/lake_$algo way=5 data.rotate_test=false"
    echo "$folder/lake_$algo data.within_alphabet=true"
    echo "$folder/lake_$algo way=5 data=glyphs"
    echo "$folder/glyphs_$algo data=omniglot data.split=lake"
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.evaluate
python -m metalearn.compare $folder --evaluations --markdown
