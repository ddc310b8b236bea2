"""What pycocotools says of made-up objects, as JSON on stdout: the reference of crates/coco/tests/pycocotools.rs.

    python3 tools/reference/coco.py >crates/coco/tests/pycocotools.json

Needs numpy and pycocotools (the numbers there are those of 2.0.11). The objects have what goes wrong easily: crowds, categories without
objects, with crowds only and without anything found, areas on the borders of COCO's ranges, equal scores and equal overlaps, the same box twice,
more objects found than count, pictures without objects, without anything found, and without both.
"""

import contextlib
import copy
import json
import random
import sys

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIZE = (150, 170)
CATEGORIES = (7, 1, 18, 4, 90)
ONLY_CROWDS, NEVER_FOUND, NEVER_THERE = 18, 4, 90
SEEDS = (1, 2, 3)


def random_box(rng):
    """x, y, width, height; often with an area on a border."""
    x, y = rng.randrange(0, 80), rng.randrange(0, 50)
    width, height = rng.choice([(32, 32), (96, 96), (16, 64), (8, 128)] + [(rng.randint(4, 90), rng.randint(4, 98)) for _ in range(5)])
    shift = rng.choice([0, 0, 0.5, round(rng.random(), 2)])
    return [x + shift, y + shift, width, min(height, SIZE[0] - y - 1)]


def moved(box, rng):
    """A box near another one: often the very same."""
    far = rng.choice([0, 0, 1, 3, 8])
    x, y, width, height = (round(value + rng.choice([0, 1, -1, 0.25]) * rng.randint(0, far), 2) for value in box)
    return [x, y, max(width, 1), max(height, 1)]


def polygons(box, rng):
    """A box with a corner cut off; sometimes with a second piece, or reaching out of the picture."""
    x, y, width, height = box
    cut = rng.random() / 2
    pieces = [[x, y, x + width, y, x + width, y + height * (1 - cut), x + width * (1 - cut), y + height, x, y + height]]
    if rng.random() < 0.3:
        pieces.append([x - 5, y - 5, x + 9, y - 3, x + 4, y + 12])
    return [[round(value, 2) for value in piece] for piece in pieces]


def runs(pieces):
    """Polygons as runs with a text."""
    merged = mask.merge(mask.frPyObjects(pieces, *SIZE))
    return {"size": list(SIZE), "counts": merged["counts"].decode()}


def points(box, rng):
    x, y, width, height = box
    return [(round(x + rng.random() * width), round(y + rng.random() * height)) for _ in range(17)]


def scene(kind, seed):
    """Annotations and results in COCO's form."""
    rng = random.Random(f"{kind} {seed}")
    images = rng.sample(range(1, 1000), 14)
    annotations, results = [], []
    for index, image in enumerate(images):
        categories = [1] if kind == "keypoints" else CATEGORIES
        for category in categories:
            boxes = [random_box(rng) for _ in range(rng.choice([0, 1, 2, 4]) if index > 2 and category != NEVER_THERE else 0)]
            for box in boxes + boxes[:1] * (rng.random() < 0.2):
                crowd = category == ONLY_CROWDS or rng.random() < 0.15
                pieces = polygons(box, rng)
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": box,
                    "area": rng.choice([box[2] * box[3], 1024, 9216, round(box[2] * box[3] * 0.7, 2)]),
                    "iscrowd": int(crowd),
                }
                if kind == "segm":
                    annotation["segmentation"] = runs(pieces) if crowd else pieces
                if kind == "keypoints":
                    labelled = rng.choice([0, 0.5, 0.9, 1])
                    seen = [rng.randint(1, 2) if rng.random() < labelled else 0 for _ in range(17)]
                    annotation["points"] = points(box, rng)
                    annotation["keypoints"] = [n for at, v in zip(annotation["points"], seen) for n in (*(at if v else (0, 0)), v)]
                    annotation["num_keypoints"] = sum(v > 0 for v in seen)
                annotations.append(annotation)
            if index == 5 or category == NEVER_FOUND:
                continue
            here = [one for one in annotations if one["image_id"] == image and one["category_id"] == category]
            many = {"bbox": 125, "segm": 13, "keypoints": 24}[kind] if index == 7 and category == 1 else rng.choice([0, 1, 3])
            near = [(moved(one["bbox"], rng), one) for one in here for _ in range(rng.choice([0, 1, 1, 2]))]
            for box, one in near + [(random_box(rng), None) for _ in range(many)]:
                result = {"image_id": image, "category_id": category, "score": round(rng.random(), rng.choice([1, 3]))}
                if kind == "bbox":
                    result["bbox"] = box
                if kind == "segm":
                    result["segmentation"] = runs(polygons(box, rng))
                if kind == "keypoints":
                    far = rng.choice([0, 1, 2, 6])
                    at = one["points"] if one else points(box, rng)
                    result["keypoints"] = [n for x, y in at for n in (x + rng.randint(-far, far), y + rng.randint(-far, far), 1)]
                results.append(result)
    for annotation in annotations:
        annotation.pop("points", None)
    names = {"keypoints": [f"k{point}" for point in range(17)]} if kind == "keypoints" else {}
    return {
        "images": [{"id": image, "file_name": f"{image}.png", "height": SIZE[0], "width": SIZE[1]} for image in images],
        "categories": [{"id": category, "name": f"c{category}", **names} for category in sorted(CATEGORIES)],
        "annotations": annotations,
    }, results


def numbers(evaluation, kind, classes):
    """The numbers of COCO's table for some classes (indices), as `_summarize` makes them."""
    areas, limits = evaluation.params.areaRngLbl, evaluation.params.maxDets

    def mean(table, area, limit, threshold=None):
        values = table[slice(None) if threshold is None else slice(threshold, threshold + 1)]
        values = values[..., classes, areas.index(area), limits.index(limit)]
        values = values[values > -1]
        return float(np.mean(values)) if values.size else None

    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    if kind == "keypoints":
        return [
            mean(table, *asked)
            for table in (precision, recall)
            for asked in (("all", 20), ("all", 20, 0), ("all", 20, 5), ("medium", 20), ("large", 20))
        ]
    tails = [("small", 100), ("medium", 100), ("large", 100)]
    precisions = [mean(precision, *asked) for asked in [("all", 100), ("all", 100, 0), ("all", 100, 5), *tails]]
    return precisions + [mean(recall, *asked) for asked in [("all", 1), ("all", 10), ("all", 100), *tails]]


def case(kind, seed):
    dataset, results = scene(kind, seed)
    with contextlib.redirect_stdout(sys.stderr):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    classes = range(len(CATEGORIES))
    overall = numbers(evaluation, kind, list(classes))
    assert [-1 if number is None else number for number in overall] == evaluation.stats.tolist()
    return {
        "kind": kind,
        "annotations": dataset,
        "results": results,
        "numbers": overall,
        "classes": [numbers(evaluation, kind, [index]) for index in classes],
        "curves": [evaluation.eval["precision"][2, ::10, index, 0, -1].tolist() for index in classes],
    }


def polygon(rng):
    size = [rng.randint(1, 40), rng.randint(1, 40)]
    spread = rng.choice([1, 1, 4])
    pieces = [[round(rng.uniform(-0.2, 1.2) * spread * 40, rng.choice([0, 1, 9])) for _ in range(2 * rng.randint(3, 9))] for _ in range(rng.randint(1, 3))]
    merged = mask.merge(mask.frPyObjects(pieces, *size))
    [x, y, width, height] = mask.toBbox(merged).tolist()
    return {"size": size, "polygons": pieces, "text": merged["counts"].decode(), "bounds": [x, y, x + width, y + height]}


rng = random.Random(0)
print('{"polygons": [')
print(",\n".join(json.dumps(polygon(rng), separators=(",", ":")) for _ in range(60)))
print('], "cases": [')
print(",\n".join(json.dumps(case(kind, seed), separators=(",", ":")) for kind in ("bbox", "segm", "keypoints") for seed in SEEDS))
print("]}")
