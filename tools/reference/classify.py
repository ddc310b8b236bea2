"""Reference logits of torchvision's classifiers, as JSON on stdout.

    python3 tools/reference/classify.py resnet18:64x96 vgg11:33x70 --seed 3
    python3 tools/reference/classify.py resnet18:232 --picture photo.png

A case is MODEL:HEIGHTxWIDTH for a made-up image of that size, or, with --picture, MODEL:SIDE for torchvision's own way from
a file to the input: the shorter side resized to SIDE with Pillow, the middle 224×224, ImageNet's mean and deviation.

Nothing is downloaded: each weight is drawn from its name and the seed by a rule that crates/cirio/tests/torchvision/generated.rs
has as well. Needs torch and torchvision (Debian: python3-torch python3-torchvision).
"""

import argparse
import json

import numpy as np
import torch
import torchvision

BASIC = ("resnet18", "resnet34")


def uniform(name, seed, count):
    """`count` numbers in -0.5 … 0.5 that depend on the name and the seed: FNV-1a, then a mixer of 32 bits."""
    start = 0x811C9DC5
    for byte in name.encode():
        start = ((start ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (np.uint64((start + seed) & 0xFFFFFFFF) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B9)).astype(np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x = (x.astype(np.uint64) * np.uint64(factor)).astype(np.uint32)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float64) / 2**24 - 0.5


def weight(model, name, shape, seed):
    u = uniform(name, seed, int(np.prod(shape)))
    last_of_block = ".bn3." in name or (model in BASIC and "layer" in name and ".bn2." in name)
    if name.endswith((".bias", "running_mean")):
        values = 0.2 * u
    elif name.endswith("running_var"):
        values = 1.0 + u
    elif len(shape) == 1:
        values = (0.25 if last_of_block else 1.0) + 0.2 * u
    else:
        values = 2.0 * u * np.sqrt(6.0 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def network(model, seed):
    # Initial values would be thrown away: drawing them takes most of the time.
    for function in dir(torch.nn.init):
        if function.endswith("_") and not function.startswith("_"):
            setattr(torch.nn.init, function, lambda tensor, *_, **__: tensor)
    built = getattr(torchvision.models, model)(weights=None).eval()
    for name, tensor in built.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(weight(model, name, tuple(tensor.shape), seed))
    return built


def made_up(height, width, seed):
    return torch.from_numpy((uniform("image", seed, 3 * height * width) + 0.5).astype(np.float32)).reshape(1, 3, height, width)


def from_file(path, side):
    from PIL import Image
    from torchvision import transforms

    steps = [transforms.Resize(side), transforms.CenterCrop(224), transforms.ToTensor()]
    steps.append(transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]))
    return transforms.Compose(steps)(Image.open(path).convert("RGB"))[None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    answers = []
    with torch.no_grad():
        for case in arguments.cases:
            model, _, size = case.partition(":")
            if arguments.picture:
                images = from_file(arguments.picture, int(size))
            else:
                images = made_up(*map(int, size.split("x")), arguments.seed)
            logits = network(model, arguments.seed)(images)[0]
            answers.append({
                "model": model,
                "size": [int(part) for part in size.split("x")],
                "seed": arguments.seed,
                "argmax": int(logits.argmax()),
                "mean_abs": float(logits.abs().mean()),
                "logits": [float(value) for value in logits[:10]],
            })
    print("[" + ",\n".join(json.dumps(answer) for answer in answers) + "]")


if __name__ == "__main__":
    main()
