"""Makes the files of this folder with torch 1.13: python3 make.py"""
import argparse
from collections import OrderedDict

import torch

numbers = torch.arange(24, dtype=torch.float32) / 8
state = OrderedDict(
    plain=numbers.reshape(2, 3, 4),
    transposed=torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
    part=numbers[4:20].reshape(4, 4)[1:3, ::2],  # shares its storage with `plain`
    parameter=torch.nn.Parameter(torch.tensor([1.5, -2.0])),
    double=torch.tensor([0.1, -1e300], dtype=torch.float64),
    half=torch.tensor([0.5, 65504.0]).half(),
    bfloat=torch.tensor([1.0, -3.0]).bfloat16(),
    long=torch.tensor(-5),
    int=torch.tensor([2**31 - 1], dtype=torch.int32),
    short=torch.tensor([-300], dtype=torch.int16),
    char=torch.tensor([-128], dtype=torch.int8),
    byte=torch.tensor([255], dtype=torch.uint8),
    bool=torch.tensor([True, False]),
    empty=torch.zeros(0, 3),
)
torch.save(state, "zip.pth")
torch.save(state, "legacy.pth", _use_new_zipfile_serialization=False)

model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.BatchNorm2d(2))
for at, tensor in enumerate(model.state_dict().values()):
    tensor.fill_(at + 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model(torch.ones(2, 1, 4, 4)).sum().backward()
optimizer.step()
checkpoint = {
    "epoch": 3,
    "best": 0.5,
    "model": torch.nn.DataParallel(model).state_dict(),
    "optimizer": optimizer.state_dict(),
    "args": argparse.Namespace(lr=0.1),
}
torch.save(checkpoint, "checkpoint.pth")
torch.save(torch.nn.Linear(2, 1), "model.pth", _use_new_zipfile_serialization=False)
