"""Writes the networks in the format of every engine, each into a folder of its own:

weights.safetensors     for cirio, candle and torch
net.ncnn.param, .bin    for ncnn
b1.safetensors          pictures of a batch of 1, `images`, and what the network makes of them in f64, `logits`
b1.onnx, b1.mnn         for onnxruntime, OpenVINO and tract; for MNN
"""

import argparse
import copy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

import networks
from settings import BATCHES, folder_of, numbers, names


def export(name, batches):
    folder = folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    network = networks.build(name)
    save_file(network.state_dict(), folder / "weights.safetensors")
    exact = copy.deepcopy(network).double()
    for batch in batches:
        images = networks.images(name, batch)
        with torch.no_grad():
            logits = exact(images.double()).float()
        save_file({"images": images, "logits": logits}, folder / f"b{batch}.safetensors")
        to_onnx(network, images, folder / f"b{batch}.onnx")
        optional("MNN", to_mnn, folder / f"b{batch}.onnx", folder / f"b{batch}.mnn")
    optional("ncnn", to_ncnn, network, networks.images(name, 1), folder)


def to_onnx(network, images, path):
    torch.onnx.export(network, (images,), path, input_names=["images"], output_names=["logits"], opset_version=17, dynamo=False)


def to_mnn(onnx, path):
    convert("mnnconvert", "-f", "ONNX", "--modelFile", onnx, "--MNNModel", path, "--bizCode", "peers")


def to_ncnn(network, images, folder):
    with tempfile.TemporaryDirectory() as scratch:
        traced = Path(scratch) / "net.pt"
        torch.jit.trace(network, images).save(traced)
        shape = ",".join(map(str, images.shape))
        # The weights would be written in f16 if it were not forbidden.
        convert("pnnx", traced, f"inputshape=[{shape}]", "fp16=0")
        for kind in ["param", "bin"]:
            shutil.move(traced.with_suffix(f".ncnn.{kind}"), folder / f"net.ncnn.{kind}")


def convert(program, *arguments):
    subprocess.run([Path(sys.executable).parent / program, *arguments], check=True, capture_output=True)


def optional(engine, write, *arguments):
    """An engine that is not installed, or cannot take a network, is left out."""
    try:
        write(*arguments)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"nothing is written for {engine}: {error}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=names(networks.NETWORKS), default=list(networks.NETWORKS))
    parser.add_argument("--batches", type=numbers, default=BATCHES)
    args = parser.parse_args()
    for name in args.networks:
        export(name, args.batches)
        print(folder_of(name), flush=True)


if __name__ == "__main__":
    main()
