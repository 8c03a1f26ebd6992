#!/usr/bin/env bash
# Searches for the weight decay of the recipes of conf/experiment/published, and for a head at zero, on validation
# classes; each begins with the recipe's other settings of then and trains for a part of its steps. It ends in
# search.md.
#
#     search.sh [WORD...]    words for the first six searches, such as device=cuda engine.cuda_graph=true
#
# They ran beside each other on an NVIDIA H200 with 16 cores of an Intel Xeon, in 390 s; those of Reptile and of 20-way
# FOMAML on the cores. fomaml_5w1s_rate came later, in 18 minutes on one core, and the last two in 9. AdamW shrinks
# weights by its rate times its weight decay; outer.weight_decay is that product.
set -euo pipefail
cd "$(dirname "$0")/../.."
words=$*
search() {  # NAME, which is the recipe with _rate or _head behind it or not, then words
    folder=runs/published_search/$1
    recipe=${1%_rate} recipe=${recipe%_head}
    python -m metalearn.run -m search=grid experiment=published/"$recipe" test=false pictures=none search.confirm=0 \
        hydra.sweep.dir="$folder" resume=auto "${@:2}"
    mkdir -p experiments/published/search/"$1"
    cp "$folder"/trials.csv "$folder"/search.json experiments/published/search/"$1"/
}
adamw="outer.weight_decay=0 outer.optimizer.name=AdamW"
decay=+outer.optimizer.weight_decay
then="algo.zero_head=false query=1"  # the recipes of FOMAML and Meta-SGD have other values since
gpu="$words $adamw eval.every=1500 eval.tasks=600 steps=3000"
search maml_5w1s $gpu "$decay=choice(0.1,0.3,1.0,0.03)"
search metasgd_5w1s $gpu $then algo.meta_batch=32 algo.inner_steps_test=3 algo.inner_optimizer.lr=0.1 \
    "$decay=choice(0.3,1.0,0.1)"
search fomaml_5w1s $gpu $then algo.meta_batch=32 algo.inner_steps=3 algo.inner_optimizer.lr=0.1 \
    "$decay=choice(0.1,0.3,0.0)"
search anil_5w1s $gpu "$decay=choice(0.1,0.3,1.0,0.0)"
search maml_20w1s $gpu algo.inner_steps_test=3 "$decay=choice(0.1,0.3)"
search anil_20w1s $gpu algo.inner_steps_test=3 "$decay=choice(0.1,0.3,0.0)"
search reptile_5w1s $adamw steps=2500 eval.every=1250 eval.tasks=600 \
    "outer.optimizer.lr=choice(0.001,0.002,0.0005)" "$decay=choice(0.0,0.3)"
search fomaml_20w1s $adamw $then steps=1250 eval.every=1250 eval.tasks=300 algo.meta_batch=8 algo.inner_steps=3 \
    outer.optimizer.lr=0.003 algo.inner_optimizer.lr=0.1 "$decay=choice(0.1,0.3)"
search fomaml_5w1s_rate $then steps=2000 eval.every=1000 eval.tasks=600 algo.meta_batch=16 algo.inner_steps=3 \
    "outer.weight_decay=choice(0.001,0.003)" "algo.inner_optimizer.lr=choice(0.1,0.2,0.05)"
search fomaml_20w1s_head steps=500 eval.every=500 query=5 algo.meta_batch=4 algo.inner_steps=3 \
    algo.inner_optimizer.lr=0.2 outer.optimizer.lr=0.006 outer.weight_decay=0.003 "algo.zero_head=choice(false,true)"
search metasgd_20w1s_head steps=500 eval.every=500 query=1 algo.meta_batch=8 outer.weight_decay=0.001 \
    "algo.zero_head=choice(false,true)" "algo.inner_optimizer.lr=choice(0.1,0.3)"
python experiments/published/search_table.py
