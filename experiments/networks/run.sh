#!/usr/bin/env bash
# Residual networks: MAML, ANIL and Reptile with a narrow resnet12 and with torchvision's resnet18, on Omniglot and on a
# folder of colour PNGs of 84x84 pixels. At most 5 minutes a run on one thread, two runs at a time: small budgets, which
# show that a network trains and not how good it can become. Stopped and started again, it resumes; to make the numbers
# anew, remove the run folders first. It ends in comparison.csv, comparison.png and the table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=experiments/networks
[ -d $folder/pngs ] || python $folder/write_pngs.py $folder/pngs
resnet12="model=resnet12 model.width=[16,32,64,128]"
resnet18="model=module model._target_=torchvision.models.resnet18"
pngs="data=folder data.root=$folder/pngs data.size=84"
common="query=3 algo.meta_batch=4 eval.tasks=40 eval.test_tasks=200 pictures=none"
{
    for algo in maml anil reptile; do
        echo "$folder/omniglot_resnet12_$algo algo=$algo $resnet12 data=omniglot"
        echo "$folder/omniglot_resnet18_$algo algo=$algo $resnet18 model.repeat_channels=3 data=omniglot"
        echo "$folder/pngs_resnet12_$algo algo=$algo $resnet12 $pngs"
        echo "$folder/pngs_resnet18_$algo algo=$algo $resnet18 $pngs"
    done
} | OMP_NUM_THREADS=1 xargs -P 2 -L 1 echo python -m metalearn.run resume=auto
