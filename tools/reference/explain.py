"""Reference numbers of what networks see, as JSON on stdout: gradients back to the pixels, Grad-CAM and integrated gradients.

    python3 tools/reference/explain.py resnet18:64x96:layer2.1:layer4.1 --seed 3

A case is MODEL:HEIGHTxWIDTH:MIDDLE:LAST for a made-up image of that size. Traced back are the score of the likeliest class and
the strongest value of the layer MIDDLE; LAST is the layer of Grad-CAM. Weights and images are those of classify.py, and torch
reckons with them in double precision: in single precision, a ReLU whose input is 0 but for rounding can change its mind.
"""

import argparse
import json

import torch

from classify import made_up, network

# Evenly spaced places of a tensor, and those of its largest values, that are kept.
PLACES = 4
STEPS = 8


class Rectifier(torch.autograd.Function):
    """max(x, 0), whose gradient passes where it is positive itself; where `guided`, x must be positive as well."""

    @staticmethod
    def forward(context, x, guided):
        context.save_for_backward(x)
        context.guided = guided
        return x.clamp(min=0)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        passed = gradient.clamp(min=0)
        return (passed * (x > 0) if context.guided else passed), None


class ReLU(torch.nn.Module):
    """A ReLU whose way back is by a rule."""

    rule = "gradient"

    def forward(self, x):
        return x.relu() if ReLU.rule == "gradient" else Rectifier.apply(x, ReLU.rule == "guided")


def with_rules(model, seed):
    built = network(model, seed)
    for module in list(built.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, ReLU())
    return built.requires_grad_(False)


def outputs(built, image, layer):
    """The output of a layer and the scores."""
    kept = []
    hook = built.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    scores = built(image)
    hook.remove()
    return kept[0], scores


def rounded(value):
    return float(f"{float(value):.8g}")


def summary(tensor):
    values = tensor.flatten()
    places = [place * (len(values) - 1) // (PLACES - 1) for place in range(PLACES)]
    places += values.abs().topk(min(PLACES, len(values))).indices.tolist()
    return {
        "shape": list(tensor.shape),
        "sum": rounded(values.sum()),
        "sum_abs": rounded(values.abs().sum()),
        "norm": rounded(values.norm()),
        "largest": rounded(values.abs().max()),
        "values": [[place, rounded(values[place])] for place in places],
    }


def trace(built, image, target):
    """The value that `target` gives, and its gradient by each rule."""
    answer = {}
    for ReLU.rule in ("gradient", "deconvnet", "guided"):
        pixels = image.clone().requires_grad_()
        value = target(pixels)
        answer["value"] = rounded(value)
        answer[ReLU.rule] = summary(torch.autograd.grad(value, pixels)[0][0])
    ReLU.rule = "gradient"
    return answer


def class_activation(maps, gradient):
    """Grad-CAM and Grad-CAM++ (equations 10 and 19 of its paper)."""
    squares, cubes = gradient**2, gradient**3
    below = 2 * squares + cubes * maps.sum((2, 3), keepdim=True)
    alphas = torch.where(below != 0, squares / below, torch.zeros_like(below))
    weights = {"grad_cam": gradient.mean((2, 3), keepdim=True), "plus_plus": (alphas * gradient.relu()).sum((2, 3), keepdim=True)}
    return {name: summary((weight * maps).sum(1)[0].relu()) for name, weight in weights.items()}


def integrated_gradients(built, image, label):
    total = torch.zeros_like(image)
    for step in range(STEPS):
        pixels = (image * ((step + 0.5) / STEPS)).requires_grad_()
        total += torch.autograd.grad(built(pixels)[0, label], pixels)[0]
    return summary((total / STEPS * image)[0])


def answer(case, seed):
    model, size, middle, last = case.split(":")
    built, image = with_rules(model, seed).double(), made_up(*map(int, size.split("x")), seed).double()
    maps, scores = outputs(built, image, middle)
    label = int(scores.argmax())
    of_map, row, column = (int(place) for place in (maps[0] == maps.max()).nonzero()[0])

    last_maps, scores = outputs(built, image.clone().requires_grad_(), last)
    gradient = torch.autograd.grad(scores[0, label], last_maps)[0]
    return {
        "model": model,
        "size": [int(part) for part in size.split("x")],
        "seed": seed,
        "class": label,
        "middle": middle,
        "map": of_map,
        "place": [row, column],
        "last": last,
        "of_class": trace(built, image, lambda pixels: built(pixels)[0, label]),
        "of_map": trace(built, image, lambda pixels: outputs(built, pixels, middle)[0][0, of_map, row, column]),
        **class_activation(last_maps.detach(), gradient),
        "steps": STEPS,
        "integrated": integrated_gradients(built, image, label),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    answers = [answer(case, arguments.seed) for case in arguments.cases]
    print("[" + ",\n".join(json.dumps(answer) for answer in answers) + "]")


if __name__ == "__main__":
    main()
