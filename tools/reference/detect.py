"""What torchvision's detectors say at every stage, as JSON on stdout.

    python3 tools/reference/detect.py fasterrcnn_resnet50_fpn maskrcnn_resnet50_fpn_v2 --seed 3
    python3 tools/reference/detect.py maskrcnn_resnet18_fpn --steps 20
    python3 tools/reference/detect.py --keys FOLDER

The second form trains so many steps and gives the losses of each. The third writes names, types and shapes of the weights of all of them, a
file a model. Nothing is downloaded: each weight is drawn from its name and the seed by a rule that crates/cirio/tests/torchvision/generated.rs
has as well. Needs torch and torchvision (Debian: python3-torch python3-torchvision).

Two pictures of unlike shapes go through a detector of seven classes that is small in everything but its network. The sizes of resized
pictures are computed in double precision, as torchvision does since 0.15. Samplers take everything, so that losses do not depend on chance.
"""

import argparse
import json
import math
import os

import numpy as np
import torch
import torchvision
from torchvision.models import detection, resnet
from torchvision.models.detection import backbone_utils, faster_rcnn, transform
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.misc import FrozenBatchNorm2d

from classify import uniform

CLASSES = 7
PICTURES = (("img0", 94, 120), ("img1", 110, 61))
TARGETS = (([[10, 12, 60, 50], [40, 30, 90, 70]], [1, 5]), ([[5, 20, 50, 100]], [3]))
EVERYTHING = 10**7
SIZES = {
    "min_size": 96,
    "max_size": 160,
    "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_test": 40,
    "rpn_pre_nms_top_n_train": 200,
    "rpn_post_nms_top_n_train": 40,
    "box_detections_per_img": 10,
    "rpn_batch_size_per_image": EVERYTHING,
    "box_batch_size_per_image": EVERYTHING,
}
# Predictions of moderate size: else all scores are 0 or 1. MobileNet's maps, which grow from block to block, as well.
SMALL = {
    "cls_logits": 0.25,
    "rpn.head.bbox_pred": 0.05,
    "box_predictor.bbox_pred": 0.3,
    "cls_score": 0.12,
    "mask_fcn_logits": 0.25,
    "kps_score_lowres": 0.25,
    "body.13.block.3.0": 0.1,
}
SGD = {"lr": 0.0002, "momentum": 0.9, "weight_decay": 1e-4}
MODELS = [
    f"{kind}_{body}"
    for kind in ("fasterrcnn", "maskrcnn")
    for body in ("resnet18_fpn", "resnet34_fpn", "resnet50_fpn", "resnet101_fpn", "resnet50_fpn_v2")
] + [
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_vgg16",
    "keypointrcnn_resnet50_fpn",
]
RATIOS = (0.5, 1.0, 2.0)


def weight(model, name, shape, seed):
    u = uniform(name, seed, int(np.prod(shape)))
    basic = "resnet18" in model or "resnet34" in model
    last_of_block = ".bn3." in name or (basic and "layer" in name and ".bn2." in name)
    if name.endswith((".bias", "running_mean")):
        values = 0.2 * u
    elif name.endswith("running_var"):
        values = 1.0 + u
    elif len(shape) == 1:
        values = (0.25 if last_of_block else 1.0) + 0.2 * u
    else:
        fan = shape[0] if "conv5_mask" in name else np.prod(shape[1:])
        size = next((size / math.sqrt(6.0) for part, size in SMALL.items() if part in name), 1.0)
        values = u * 2.0 * size * math.sqrt(6.0 / fan)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def resize(image, shorter, longer, target=None, fixed_size=None):
    """torchvision's function with scale and product in double precision."""
    height, width = image.shape[-2:]
    scale = min(shorter / min(height, width), longer / max(height, width))
    by = {"scale_factor": scale, "recompute_scale_factor": True}
    image = torch.nn.functional.interpolate(image[None], mode="bilinear", align_corners=False, **by)[0]
    if target is not None and "masks" in target:
        target["masks"] = torch.nn.functional.interpolate(target["masks"][:, None].float(), **by)[:, 0].byte()
    return image, target


def network(model, classes, **sizes):
    kind, _, body = model.partition("_")
    if body == "resnet50_fpn_v2":
        return getattr(detection, model)(weights=None, weights_backbone=None, num_classes=classes, **sizes)
    if body.startswith("mobilenet_v3_large"):
        return on_mobilenet(classes, **sizes)
    if body == "vgg16":
        return on_vgg(classes, **sizes)
    body = getattr(resnet, body.removesuffix("_fpn"))(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = backbone_utils._resnet_fpn_extractor(body, 3)
    kinds = {"fasterrcnn": detection.FasterRCNN, "maskrcnn": detection.MaskRCNN, "keypointrcnn": detection.KeypointRCNN}
    built = kinds[kind](backbone, classes, **sizes)
    detection._utils.overwrite_eps(built, 0.0)
    return built


def on_mobilenet(classes, **sizes):
    """torchvision's own function has frozen norms only where it fetches weights."""
    body = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=FrozenBatchNorm2d)
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, (RATIOS,) * 3)
    backbone = backbone_utils._mobilenet_extractor(body, True, 3)
    return detection.FasterRCNN(backbone, classes, rpn_anchor_generator=anchors, rpn_score_thresh=0.05, **sizes)


class LargestOfBins(torch.nn.Module):
    def forward(self, levels, proposals, _):
        return torchvision.ops.roi_pool(levels["0"], proposals, 7, 1 / 16)


def on_vgg(classes, **sizes):
    """The form of 2015. A detector that is small has a small head without dropout."""
    body = torchvision.models.vgg16(weights=None).features[:-1]
    body.out_channels, features = 512, 128 if sizes else 4096
    built = detection.FasterRCNN(
        body,
        rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), (RATIOS,)),
        box_head=faster_rcnn.TwoMLPHead(512 * 7 * 7, features),
        box_predictor=faster_rcnn.FastRCNNPredictor(features, classes),
        **sizes,
    )
    built.roi_heads.box_roi_pool = LargestOfBins()
    return built


def generated(model, seed):
    built = network(model, CLASSES, **SIZES)
    for name, tensor in built.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(weight(model, name, tuple(tensor.shape), seed))
    return built


def picture(name, height, width, seed):
    return torch.from_numpy((uniform(name, seed, 3 * height * width) + 0.5).astype(np.float32)).reshape(3, height, width)


def points(left, upper, right, lower):
    """Points from corner to corner of a box, the last ones on its edges and beyond; each third one without a label."""
    steps = [((5 * which) % 17 / 16, which / 15) for which in range(17)]
    return [[left + (right - left) * x, upper + (lower - upper) * y, which % 3] for which, (x, y) in enumerate(steps)]


def targets(model):
    """The true boxes; for masks each box but its upper left third, and points."""
    made = []
    for (boxes, labels), (_, height, width) in zip(TARGETS, PICTURES):
        target = {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)}
        if "keypointrcnn" in model:
            target["keypoints"] = torch.tensor([points(*box) for box in boxes], dtype=torch.float32)
        if "maskrcnn" in model:
            target["masks"] = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
            for mask, (left, upper, right, lower) in zip(target["masks"], boxes):
                mask[upper:lower, left:right] = 1
                mask[upper : upper + (lower - upper) // 3, left : left + (right - left) // 3] = 0
        made.append(target)
    return made


def summary(tensor):
    values = tensor.detach().double().flatten()
    return {
        "shape": list(tensor.shape),
        "mean": values.mean().item(),
        "mean_abs": values.abs().mean().item(),
        "first": [round(value, 6) for value in values[:5].tolist()],
    }


def located(found):
    """x, y and the logit of each point."""
    each = torch.cat([found["keypoints"][..., :2], found["keypoints_scores"][..., None]], -1)
    return [[[round(number, 4) for number in point] for point in one] for one in each.tolist()]


def answer(model, seed):
    built = generated(model, seed).eval()
    pictures = [picture(*which, seed) for which in PICTURES]
    batch, _ = built.transform(pictures)
    levels = built.backbone(batch.tensors)
    levels = {"0": levels} if torch.is_tensor(levels) else levels
    logits, offsets = built.rpn.head(list(levels.values()))
    proposals, _ = built.rpn(batch, levels)
    features = built.roi_heads.box_roi_pool(levels, proposals, batch.image_sizes)
    heads = built.roi_heads
    classes, boxes = heads.box_predictor(heads.box_head(features))
    maps = []
    if heads.has_keypoint():
        pooled = heads.keypoint_roi_pool(levels, proposals, batch.image_sizes)
        maps = [summary(heads.keypoint_predictor(heads.keypoint_head(pooled)))]
    found = [
        {
            "boxes": one["boxes"].tolist(),
            "labels": one["labels"].tolist(),
            "scores": one["scores"].tolist(),
            "areas": (one["masks"] >= 0.5).sum((1, 2, 3)).tolist() if "masks" in one else [],
            "keypoints": located(one) if "keypoints" in one else [],
        }
        for one in built(pictures)
    ]
    losses = built.train()(pictures, targets(model))
    return {
        "model": model,
        "seed": seed,
        "sizes": [list(size) for size in batch.image_sizes],
        "batch": summary(batch.tensors),
        "levels": [summary(level) for level in levels.values()],
        "objectness": [summary(level) for level in logits],
        "offsets": [summary(level) for level in offsets],
        "proposals": [{"count": len(boxes), "first": boxes[:5].tolist()} for boxes in proposals],
        "region_features": summary(features),
        "class_logits": summary(classes),
        "box_offsets": summary(boxes),
        "keypoint_maps": maps,
        "found": found,
        "losses": {name: value.item() for name, value in losses.items()},
    }


def trajectory(model, seed, steps):
    """The losses of each step of training, the stem and the first stage of the body frozen."""
    built = generated(model, seed).train()
    for name, parameter in built.named_parameters():
        parameter.requires_grad_(not name.startswith(("backbone.body.conv1", "backbone.body.layer1")))
    optimizer = torch.optim.SGD([p for p in built.parameters() if p.requires_grad], **SGD)
    pictures = [picture(*which, seed) for which in PICTURES]
    losses = []
    with torch.enable_grad():
        for _ in range(steps):
            terms = built(pictures, targets(model))
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            losses.append({name: value.item() for name, value in terms.items()})
    return {"model": model, "seed": seed, "sgd": SGD, "losses": losses}


def write_keys(folder):
    for model in MODELS:
        classes = {"keypointrcnn_resnet50_fpn": 2, "fasterrcnn_vgg16": 21}.get(model, 91)
        tensors = network(model, classes).state_dict()
        lines = [f"{name}\t{str(tensor.dtype).removeprefix('torch.')}\t{list(tensor.shape)}\n" for name, tensor in tensors.items()]
        with open(os.path.join(folder, f"{model}.txt"), "w") as file:
            file.writelines(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=", ".join(MODELS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--keys")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Initial values would be thrown away: drawing them takes most of the time.
    for function in dir(torch.nn.init):
        if function.endswith("_") and not function.startswith("_"):
            setattr(torch.nn.init, function, lambda tensor, *_, **__: tensor)
    transform._resize_image_and_masks = resize
    with torch.no_grad():
        if arguments.keys:
            write_keys(arguments.keys)
        answers = [
            trajectory(model, arguments.seed, arguments.steps) if arguments.steps else answer(model, arguments.seed)
            for model in arguments.models
        ]
    print("[" + ",\n".join(json.dumps(answer) for answer in answers) + "]")


if __name__ == "__main__":
    main()
