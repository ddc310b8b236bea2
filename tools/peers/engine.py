"""Times one engine that has a Python package in this process, and prints what `cirio bench --json` prints of it.

Each maker takes the folder of a network, the pictures (N, C, H, W) and the number of threads, and returns what runs once
and gives the logits (N, K). All of them compute in f32: where an engine would take less by itself, it is told not to.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def onnxruntime(folder, images, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / f"b{len(images)}.onnx", options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("images", images)
    binding.bind_output("logits")

    def run():
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    return run


def openvino(folder, images, threads):
    import openvino

    # On processors with AMX it would compute in bf16.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(folder / f"b{len(images)}.onnx", "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(images))

    def run():
        request.infer()
        return request.get_output_tensor().data

    return run


def ncnn(folder, images, threads):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    net.load_param(str(folder / "net.ncnn.param"))
    net.load_model(str(folder / "net.ncnn.bin"))
    inputs = [ncnn.Mat(image) for image in images]

    def one(image):
        extractor = net.create_extractor()
        extractor.input("in0", image)
        return np.array(extractor.extract("out0")[1])

    # It knows no batches.
    return lambda: np.stack([one(image) for image in inputs])


def mnn(folder, images, threads):
    import MNN

    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
    path = str(folder / f"b{len(images)}.mnn")
    net = MNN.nn.load_module_from_file(path, ["images"], ["logits"], runtime_manager=manager)
    given = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
    return lambda: np.array(net.forward([given])[0].read())


def as_it_is(network, images):
    return network, images


def channels_last(network, images):
    import torch

    return network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)


def compiled(network, images):
    import torch

    return torch.compile(network), images


def torch_network(folder, images, threads):
    import torch
    from safetensors.torch import load_file as load_tensors

    import networks

    torch.set_num_threads(threads)
    network = networks.NETWORKS[folder.name][0]()
    network.load_state_dict(load_tensors(folder / "weights.safetensors"))
    return network.eval(), torch.from_numpy(images)


def torch_pass(form):
    """Makes what runs a forward pass of a network in one of the forms above."""

    def make(folder, images, threads):
        import torch

        torch._inductor.config.freezing = True
        network, tensor = form(*torch_network(folder, images, threads))

        def run():
            # Not inference mode, under which compiled networks are not frozen.
            with torch.no_grad():
                return network(tensor).numpy()

        return run

    return make


def torch_step(form):
    """Makes what runs a training step: forward, cross-entropy, backward, and the update by SGD with momentum."""

    def make(folder, images, threads):
        import torch

        network, tensor = torch_network(folder, images, threads)
        optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
        labels = torch.arange(len(images)) % network(tensor).shape[1]
        network, tensor = form(network.train(), tensor)

        def run():
            loss = torch.nn.functional.cross_entropy(network(tensor), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    return make


FORMS = {"torch": as_it_is, "torch-channels-last": channels_last, "torch-compile": compiled}
STEPS = {name: torch_step(form) for name, form in FORMS.items()}
PASSES = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "ncnn": ncnn,
    "mnn": mnn,
    **{name: torch_pass(form) for name, form in FORMS.items()},
}


def timed(run, seconds):
    """Milliseconds of each run, for about `seconds`, at least three, after two that are not counted."""
    run()
    run()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def peak_rss_mb():
    """The most memory that this process has held, Python's own included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=PASSES)
    parser.add_argument("folder", type=Path, help="of the network")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--train", action="store_true", help="a training step instead of a forward pass")
    parser.add_argument("--output", type=Path, help="where to write the logits")
    args = parser.parse_args()
    images = load_file(args.folder / f"b{args.batch}.safetensors")["images"]
    make = (STEPS if args.train else PASSES)[args.engine]
    run = make(args.folder, images, args.threads)
    if args.output:
        save_file({"logits": np.ascontiguousarray(run()).reshape(args.batch, -1)}, args.output)
    times = timed(run, args.seconds)
    result = {"median_ms": statistics.median(times), "best_ms": min(times), "runs": len(times), "peak_rss_mb": peak_rss_mb()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
