#!/usr/bin/env bash
# The published numbers on two cores: the recipes of conf/experiment/published, two at a time with one thread each, the
# longest first, and those of under 20 minutes with three seeds. Each learner is then tested with five shots too, and
# those of 20 ways with 5. Stopped and started again, it resumes. It ends in table.md, curves.png, and the numbers at
# the top of the recipes.
#
#     run.sh [RECIPE...]    such as maml_5w1s; without one, all
set -euo pipefail
cd "$(dirname "$0")/../.."
recipes=${*:-metasgd_20w1s reptile_20w1s maml_20w1s fomaml_20w1s protonet_20w1s anil_20w1s
             protonet_5w1s fomaml_5w1s metasgd_5w1s maml_5w1s reptile_5w1s anil_5w1s}
for recipe in $recipes; do
    folder=experiments/published/$recipe
    echo "experiment=published/$recipe hydra.run.dir=$folder"
    case $recipe in *_5w1s | fomaml_20w1s | anil_20w1s | protonet_20w1s)  # under 20 minutes: three seeds
        for seed in 1 2; do echo "experiment=published/$recipe seed=$seed hydra.run.dir=${folder}_seed$seed"; done ;;
    esac
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
# Other tests of the same learners; their inner steps were chosen on validation tasks, Reptile's with an earlier learner
while read -r recipe words; do
    case " $recipes " in *[[:space:]]$recipe[[:space:]]*) echo "experiments/published/$recipe $words" ;; esac
done <<'END' | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.evaluate
maml_5w1s shot=5 inner_steps=1
fomaml_5w1s shot=5 inner_steps=20
anil_5w1s shot=5 inner_steps=10
metasgd_5w1s shot=5 inner_steps=1
reptile_5w1s shot=5 inner_steps=50
protonet_5w1s shot=5
maml_20w1s way=5
maml_20w1s shot=5 inner_steps=1
maml_20w1s way=5 shot=5 inner_steps=1
fomaml_20w1s way=5
fomaml_20w1s shot=5 inner_steps=20
fomaml_20w1s way=5 shot=5 inner_steps=1
anil_20w1s way=5
anil_20w1s shot=5 inner_steps=1
anil_20w1s way=5 shot=5 inner_steps=1
metasgd_20w1s way=5
metasgd_20w1s shot=5 inner_steps=1
metasgd_20w1s way=5 shot=5 inner_steps=1
reptile_20w1s way=5
reptile_20w1s shot=5 inner_steps=50
reptile_20w1s way=5 shot=5
protonet_20w1s way=5
protonet_20w1s shot=5
protonet_20w1s way=5 shot=5
END
python experiments/published/table.py
