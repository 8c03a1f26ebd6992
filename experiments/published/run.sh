#!/usr/bin/env bash
# The published numbers on two cores: the recipes of conf/experiment/published, two at a time with one thread each, the
# longest first. Stopped and started again, it resumes. It ends in table.md and curves.png.
#
#     run.sh [RECIPE...]    such as maml_5w1s; without one, all
set -euo pipefail
cd "$(dirname "$0")/../.."
recipes=${*:-metasgd_20w1s maml_20w1s anil_20w1s fomaml_20w1s reptile_20w1s protonet_20w1s
             metasgd_5w1s maml_5w1s anil_5w1s fomaml_5w1s reptile_5w1s protonet_5w1s}
for recipe in $recipes; do
    echo "experiment=published/$recipe hydra.run.dir=experiments/published/$recipe"
done | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
python experiments/published/table.py
