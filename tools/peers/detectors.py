"""Times detectors of `cirio bench` and of torchvision in turn, each in a process of its own, with random weights on made-up pictures.

    tools/peers/run detectors --rounds 3
    tools/peers/run detectors maskrcnn_resnet50_fpn maskrcnn_small --train --size 480x640

maskrcnn_small is put together of torchvision's parts as models/mask-rcnn/src/lib.rs has it, but for the votes of boxes; the
second opinion on classes, which torchvision has no place for, is hung in by hooks. Random weights find a hundred objects in
a picture, so that no stage is idle. In training the norms of the large ones and the first stages of their bodies are frozen, as
torchvision does with trained weights. The table goes to stdout: medians over all rounds, and the largest memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from settings import REPOSITORY

CIRIO = REPOSITORY / "target/release/cirio"
MODELS = ["maskrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_small"]
OBJECTS = 5


def small():
    """The counterpart of `cirio_mask_rcnn::small` for ten classes."""
    from torch import nn
    from torchvision.models import resnet
    from torchvision.models.detection import MaskRCNN, backbone_utils, faster_rcnn, mask_rcnn, rpn
    from torchvision.ops import MultiScaleRoIAlign

    widths, counts = [64, 48, 96, 128], [1, 2, 2, 1]
    body = resnet.ResNet(resnet.BasicBlock, counts)
    body.inplanes = widths[0]
    body.conv1, body.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
    for stage, (width, count) in enumerate(zip(widths, counts), 1):
        setattr(body, f"layer{stage}", body._make_layer(resnet.BasicBlock, width, count, stride=1 if stage == 1 else 2))
    taps = {f"layer{stage + 1}": str(stage) for stage in range(4)}
    backbone = backbone_utils.BackboneWithFPN(body, taps, widths, 64, norm_layer=nn.BatchNorm2d)
    # Features of 14×14, of which a first convolution in strides of 2 makes 7×7.
    head = faster_rcnn.FastRCNNConvFCHead((64, 7, 7), [128, 128, 160, 160], [128], norm_layer=nn.BatchNorm2d)
    head[0][0].stride = (2, 2)
    opinion = second_opinion(faster_rcnn.FastRCNNPredictor(128, 11), [[32], [48, 64], [96, 128]], 10)
    built = MaskRCNN(
        backbone,
        min_size=256,
        max_size=448,
        rpn_anchor_generator=rpn.AnchorGenerator(tuple((size,) for size in (24, 40, 64, 96, 144)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=600,
        rpn_post_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=128,
        box_score_thresh=0.01,
        box_batch_size_per_image=32,
        box_positive_fraction=0.5,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=2),
        box_head=head,
        box_predictor=opinion,
        mask_head=mask_rcnn.MaskRCNNHeads(64, (64, 64, 64), 1, norm_layer=nn.BatchNorm2d),
        mask_predictor=mask_rcnn.MaskRCNNPredictor(64, 64, 11),
    )
    built.backbone.register_forward_pre_hook(lambda _, given: setattr(opinion, "images", given[0]))
    built.roi_heads.box_roi_pool.register_forward_pre_hook(lambda _, given: setattr(opinion, "boxes", given[1]))
    return built


def second_opinion(predictor, stages, names):
    """A predictor whose logits are the mean of its own and of what the regions' pixels say, see crates/detection/src/pixels.rs."""
    import torch
    from torch import nn
    from torchvision.ops import roi_align

    layers, channels = [], 3
    for stage in stages:
        layers += [nn.MaxPool2d(2)] if layers else []
        for filters in stage:
            layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
            channels = filters
    head = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, names))

    class Opinion(nn.Module):
        def __init__(self):
            super().__init__()
            self.predictor, self.head = predictor, head

        def forward(self, features):
            logits, offsets = self.predictor(features)
            around = [torch.cat([(1.1 * b[:, :2] - 0.1 * b[:, 2:]), (1.1 * b[:, 2:] - 0.1 * b[:, :2])], 1) for b in self.boxes]
            pixels = roi_align(self.images, around, (32, 32), 1.0, 2, True)
            said = torch.log_softmax(self.head(pixels), 1)
            return (logits + torch.cat([said.new_zeros(len(said), 1), said], 1)) / 2, offsets

    return Opinion()


def network(model):
    from torchvision.models import detection
    from torchvision.ops import FrozenBatchNorm2d
    from torch import nn

    if model == "maskrcnn_small":
        return small()
    built = getattr(detection, model)(weights=None, weights_backbone=None, num_classes=91)

    def freeze(module):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features))
            else:
                freeze(child)

    freeze(built.backbone.body)
    if "resnet" in model:
        for name, parameter in built.backbone.body.named_parameters():
            parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")))
    return built


def targets(torch, count, rows, columns):
    """Five filled boxes along the diagonal, each a third of the picture's sides."""
    masks = torch.zeros(OBJECTS, rows, columns, dtype=torch.uint8)
    boxes = []
    for index in range(OBJECTS):
        top, left = index * rows // 8, index * columns // 8
        boxes.append([left, top, left + columns // 3, top + rows // 3])
        masks[index, top : top + rows // 3, left : left + columns // 3] = 1
    return [{"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.ones(OBJECTS, dtype=torch.int64), "masks": masks}] * count


def torchvision(args):
    """What torchvision takes, as JSON on stdout."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    built = network(args.torchvision)
    pictures = [torch.rand(3, args.size[0], args.size[1]) for _ in range(args.batch)]
    trained = [parameter for parameter in built.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9)
    objects = targets(torch, args.batch, *args.size)

    def step():
        losses = built(pictures, objects)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    def detect():
        with torch.inference_mode():
            built(pictures)

    built.train(args.train)
    run, times = (step if args.train else detect), []
    run(), run()
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < args.seconds:
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({"median_ms": statistics.median(times), "peak_rss_mb": peak}))


def measure(engine, model, args):
    """The median of a process, in milliseconds, and its memory in MB."""
    size = "x".join(map(str, args.size))
    flags = ["--batch", args.batch, "--size", size, "--threads", args.threads, "--seconds", args.seconds] + ["--train"] * args.train
    program = [CIRIO, "bench", "--json", "--model", model] if engine == "cirio" else [sys.executable, __file__, "--torchvision", model]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "RAYON_NUM_THREADS": str(args.threads)}
    done = subprocess.run([*map(str, program + flags)], env=environment, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout[done.stdout.index("{") :])
    return result["median_ms"], result["peak_rss_mb"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=lambda text: [int(side) for side in text.split("x")], default=[480, 640])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--torchvision", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torchvision:
        return torchvision(args)
    print("| model | cirio, ms | torchvision, ms | ratio | cirio, MB | torchvision, MB |\n|---|---:|---:|---:|---:|---:|")
    for model in args.models:
        rounds = [[measure(engine, model, args) for engine in ("cirio", "torchvision")] for _ in range(args.rounds)]
        ours, theirs = (statistics.median(one[engine][0] for one in rounds) for engine in (0, 1))
        memory = [max(one[engine][1] for one in rounds) for engine in (0, 1)]
        print(f"| {model} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {memory[0]} | {memory[1]} |", flush=True)


if __name__ == "__main__":
    main()
