"""Teach a small network to read handwritten digits, with nothing but `nd` and `autograd`.

    python examples/mlp_digits.py [--epochs 30] [--out DIR] [--ctx gpu]

The data are the 1797 digits of 8 x 8 pixels that come with scikit-learn. The network is 64 -> 128 -> 64 -> 10 with
dropout, trained by SGD with momentum. DIR receives the parameters (`mlp_digits.params`) and, where matplotlib is
installed, the learning curves (`mlp_digits.png`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

import oxgrad as mx
from oxgrad import autograd, nd

SEED = 0
LAYERS = (64, 128, 64, 10)
BATCH = 64
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4
DROPOUT = 0.2

Parameters = dict[str, nd.NDArray]
Split = tuple[nd.NDArray, nd.NDArray]


def digits() -> tuple[Split, Split]:
    """Training and test digits: pixels between 0 and 1, and the digit shown."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels / 16, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    return (nd.array(train_x), nd.array(train_y)), (nd.array(test_x), nd.array(test_y))


def new_parameters() -> Parameters:
    """Small random weights (He's scale, right for relu) and zero biases."""
    parameters = {}
    for i, (wide, narrow) in enumerate(zip(LAYERS[:-1], LAYERS[1:], strict=True), 1):
        parameters[f"w{i}"] = nd.random.normal(scale=(2 / wide) ** 0.5, shape=(narrow, wide))
        parameters[f"b{i}"] = nd.zeros((narrow,))
    return parameters


def network(parameters: Parameters, x: nd.NDArray) -> nd.NDArray:
    """The log-probability of each digit, for each row of `x`."""
    last = len(LAYERS) - 1
    for i in range(1, last + 1):
        x = nd.FullyConnected(x, parameters[f"w{i}"], parameters[f"b{i}"], num_hidden=LAYERS[i])
        if i < last:
            x = nd.Dropout(nd.relu(x), p=DROPOUT)
    return nd.log_softmax(x)


def accuracy(parameters: Parameters, data: Split) -> float:
    x, y = data
    return float((network(parameters, x).argmax(axis=1) == y).mean().asscalar())


def train_one_epoch(
    parameters: Parameters, speed: Parameters, data: Split, rate: float, shuffle: np.random.Generator
) -> float:
    """One pass over the shuffled data; the mean loss."""
    x, y = data
    order = nd.array(shuffle.permutation(len(x)), ctx=x.context)
    losses = []
    for start in range(0, len(x), BATCH):
        chosen = order[start : start + BATCH]
        inputs, targets = nd.take(x, chosen), nd.take(y, chosen)
        with autograd.record():
            loss = -nd.pick(network(parameters, inputs), targets).mean()
        loss.backward()
        for name, p in parameters.items():
            speed[name][:] = MOMENTUM * speed[name] - rate * (p.grad + DECAY * p)
            p[:] = p + speed[name]
        losses.append(loss.asscalar())
    return float(np.mean(losses))


def progress(epochs: int) -> tuple[Iterable[int], Callable[[str], None]]:
    """The epochs to loop over, with a bar on the terminal, and a function that sets the text beside the bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        return plain_progress(epochs)
    bar = tqdm(range(1, epochs + 1), desc="training", unit="epoch")
    return bar, bar.set_postfix_str


def plain_progress(epochs: int) -> tuple[Iterable[int], Callable[[str], None]]:
    """The same without tqdm."""
    beside = ""

    def tell(text: str) -> None:
        nonlocal beside
        beside = text

    def loop() -> Iterator[int]:
        for epoch in range(1, epochs + 1):
            yield epoch
            done = 30 * epoch // epochs
            print(f"\rtraining [{'#' * done}{'.' * (30 - done)}] {epoch}/{epochs} {beside}", end="", file=sys.stderr)
        print(file=sys.stderr)

    return loop(), tell


def draw(losses: list[float], accuracies: list[float], path: Path) -> bool:
    """Save the learning curves as a picture; False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    epochs = range(1, len(losses) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.semilogy(epochs, losses)
    left.set(xlabel="epoch", ylabel="training loss")
    right.plot(epochs, [100 * a for a in accuracies], color="tab:green")
    right.set(xlabel="epoch", ylabel="test accuracy, %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def train(parameters: Parameters, training: Split, test: Split, epochs: int) -> tuple[list[float], list[float]]:
    """Train in place; the loss and the test accuracy of each epoch."""
    speed = {name: nd.zeros_like(p) for name, p in parameters.items()}
    for p in parameters.values():
        p.attach_grad()
    losses, accuracies = [], []
    shuffle = np.random.default_rng(SEED)
    loop, tell = progress(epochs)
    for epoch in loop:
        rate = RATE * (1 - (epoch - 1) / epochs)  # falls to almost nothing, so that the end is calm
        losses.append(train_one_epoch(parameters, speed, training, rate, shuffle))
        accuracies.append(accuracy(parameters, test))
        tell(f"loss {losses[-1]:.4f}, test accuracy {accuracies[-1]:.2%}")
    return losses, accuracies


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Teach a small network to read handwritten digits.")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training digits (default: 30)")
    parser.add_argument("--ctx", choices=("cpu", "gpu"), default="cpu", help="where to train (default: cpu)")
    parser.add_argument("--compare", action="store_true", help="train on the CPU as well, and compare the losses")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for results (default: out)")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")
    try:
        training, test = digits()
    except ImportError:
        print("This example needs scikit-learn: pip install scikit-learn", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)

    context = mx.Context(options.ctx)
    mx.random.seed(SEED)
    parameters = new_parameters()
    if options.compare:
        twins = {name: p.copy() for name, p in parameters.items()}
        reference, _ = train(twins, training, test, options.epochs)
        mx.random.seed(SEED)
        new_parameters()  # leaves the generator where the training above found it
    parameters = {name: p.as_in_context(context) for name, p in parameters.items()}
    training, test = (tuple(a.as_in_context(context) for a in split) for split in (training, test))
    size = sum(p.size for p in parameters.values())
    print(f"{len(training[0])} digits to learn from, {len(test[0])} to test on, {size} parameters")
    losses, accuracies = train(parameters, training, test, options.epochs)
    print(f"test accuracy {accuracies[-1]:.2%} after {options.epochs} epochs, loss {losses[-1]:.4f}")

    if options.compare:
        worst = max(abs(a - b) / b for a, b in zip(losses, reference, strict=True))
        print(f"losses on {context} are within {worst:.1e} of the CPU's")
        if worst > 1e-3:
            return 1

    stored = options.out / "mlp_digits.params"
    nd.save(str(stored), parameters)
    loaded = {name: p.as_in_context(context) for name, p in nd.load(str(stored)).items()}
    again = accuracy(loaded, test)
    print(f"test accuracy {again:.2%} with the parameters read back from {stored}")
    if again != accuracies[-1]:
        print("the stored parameters differ from the trained ones", file=sys.stderr)
        return 1

    picture = options.out / "mlp_digits.png"
    print(f"curves in {picture}" if draw(losses, accuracies, picture) else "no curves: matplotlib is not installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
