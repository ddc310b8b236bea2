"""Where things lie, and flags that both programs have."""

import argparse
import os
from pathlib import Path

PEERS = Path(os.environ["PEERS"])
REPOSITORY = Path(__file__).resolve().parents[2]
BATCHES = [1]


def folder_of(network):
    return PEERS / "networks" / network


def numbers(text):
    """`1,32` as [1, 32]."""
    return [int(number) for number in text.split(",")]


def names(known):
    """What reads `a,b` as ["a", "b"], each of which is in `known`."""

    def parse(text):
        for name in (given := text.split(",")):
            if name not in known:
                raise argparse.ArgumentTypeError(f"no `{name}`; known are {', '.join(known)}")
        return given

    return parse
