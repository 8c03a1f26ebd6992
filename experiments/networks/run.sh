#!/usr/bin/env bash
# Other networks: MAML, ANIL and Reptile with a narrow ResNet-12 and with torchvision's ResNet-18, 5-way 1-shot, on
# Omniglot and on colour PNGs of 84x84. Each takes at most 5 minutes on one thread; two run at a time. Stopped and
# started again, it resumes. It ends in comparison.csv, comparison.png and the table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/networks
pngs=$(pwd)/runs/pngs
[ -d "$pngs" ] || python $folder/write_pngs.py "$pngs"

omniglot="data=omniglot outer.weight_decay=0 eval.every=100 eval.test_tasks=200"
colour="data=folder outer.weight_decay=0 data.root=$pngs data.size=84 data.colour=rgb algo.meta_batch=4 eval.every=40 eval.tasks=40 eval.test_tasks=100"
resnet12="model=resnet12 model.width=[16,32,64,128]"
resnet18="model=module model._target_=torchvision.models.resnet18 model.repeat_channels=3 algo.meta_batch=4"
one() {  # a name, then settings
    echo "hydra.run.dir=$folder/$1 ${*:2}"
}
{
    one omniglot_resnet12_maml $omniglot $resnet12 algo=maml algo.meta_batch=8 eval.query=1 steps=600
    one omniglot_resnet12_anil $omniglot $resnet12 algo=anil algo.meta_batch=8 eval.query=1 steps=1200
    one omniglot_resnet12_reptile $omniglot $resnet12 algo=reptile steps=400
    # ResNet-18 needs smaller steps in the inner loop of MAML: with 0.4 it stays at chance
    one omniglot_resnet18_maml $omniglot $resnet18 eval.tasks=50 algo=maml algo.inner_optimizer.lr=0.02 eval.query=1 steps=130
    one omniglot_resnet18_anil $omniglot $resnet18 eval.tasks=50 algo=anil eval.query=1 steps=300
    one omniglot_resnet18_reptile $omniglot $resnet18 eval.tasks=50 algo=reptile steps=90
    one png_resnet12_maml $colour $resnet12 algo=maml eval.query=1 steps=160
    one png_resnet12_anil $colour $resnet12 algo=anil eval.query=1 steps=320
    one png_resnet12_reptile $colour $resnet12 algo=reptile steps=60
    one png_resnet18_maml $colour $resnet18 algo=maml algo.inner_optimizer.lr=0.02 outer.optimizer.lr=0.001 eval.query=1 \
        steps=90
    one png_resnet18_anil $colour $resnet18 algo=anil outer.optimizer.lr=0.001 eval.query=1 steps=150
    one png_resnet18_reptile $colour $resnet18 algo=reptile steps=30
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python -m metalearn.run resume=auto
python -m metalearn.compare $folder
python -m metalearn.compare $folder --markdown
