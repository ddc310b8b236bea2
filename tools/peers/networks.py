"""The networks in torch, with seeded weights. Names of weights are those of `cirio bench`."""

import torch
from torch import nn
from torchvision import models


class LeNet5(nn.Module):
    """LeNet-5 as it is written today."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, images):
        maps = nn.functional.max_pool2d(self.conv1(images).relu(), 2)
        maps = nn.functional.max_pool2d(self.conv2(maps).relu(), 2)
        return self.fc3(self.fc2(self.fc1(maps.flatten(1)).relu()).relu())


def vgg_features(blocks, norm):
    """Blocks of 3x3 convolutions with a ReLU behind each and a pool behind a block, for pictures with three channels."""
    layers, channels = [], 3
    for block in blocks:
        for filters in block:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), *([nn.BatchNorm2d(filters)] if norm else []), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Vgg16BnCifar(nn.Module):
    """VGG-16 with batch norm for 32x32 pictures: one linear layer behind the last pool."""

    def __init__(self):
        super().__init__()
        self.features = vgg_features([[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3], norm=True)
        self.classifier = nn.Linear(512, 10)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


class Cs231nCifar(nn.Module):
    """The small network of Stanford's course CS231n."""

    def __init__(self):
        super().__init__()
        self.features = vgg_features([[10] * 2] * 3, norm=False)
        self.classifier = nn.Linear(160, 10)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


# Each with the channels, rows and columns of its pictures.
NETWORKS = {
    "lenet5": (LeNet5, [1, 32, 32]),
    "cs231n_cifar": (Cs231nCifar, [3, 32, 32]),
    "vgg16_bn_cifar": (Vgg16BnCifar, [3, 32, 32]),
    "alexnet": (models.alexnet, [3, 224, 224]),
    "vgg16": (models.vgg16, [3, 224, 224]),
    "resnet50": (models.resnet50, [3, 224, 224]),
}


def build(name):
    """The network in evaluation. Weights keep the variance of the activations, so that every layer counts in the output;
    the statistics of batch norms are none that could be left out."""
    torch.manual_seed(0)
    network = NETWORKS[name][0]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def images(name, batch):
    """Made-up pictures, (batch, C, H, W)."""
    return torch.randn(batch, *NETWORKS[name][1], generator=torch.Generator().manual_seed(batch))
