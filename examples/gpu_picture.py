"""A picture drawn straight from tensors: pygfx renders the very buffers that oxgrad computed, and nothing is copied.

    pip install oxgrad[gpu] pygfx pillow
    python examples/gpu_picture.py [--out docs/img/gpu_picture.png]

Blue is a surface z(x, y), orange the way of gradient descent down into one of its valleys. Both are tensors on the GPU;
`points.gpu_buffer()` is their `wgpu.GPUBuffer`, which pygfx reads as vertices. No screen is needed, and a driver in
software will do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

# Loaded first: oxgrad then shares the device that pygfx renders with.
import pygfx as gfx  # noqa: I001
from PIL import Image
from rendercanvas.offscreen import RenderCanvas

import oxgrad as mx
from oxgrad import autograd, nd

SIDE = 160


def height(x: nd.NDArray, y: nd.NDArray) -> nd.NDArray:
    """Two waves that meet, on a bowl."""
    return 0.35 * nd.sin(3 * x) * nd.cos(2 * y) + 0.12 * (x * x + y * y)


def surface(ctx: mx.Context) -> nd.NDArray:
    """Points of the surface, one in each row: three numbers."""
    line = nd.linspace(-3, 3, SIDE, ctx=ctx)
    x = line.reshape((SIDE, 1)).broadcast_to((SIDE, SIDE)).reshape((-1,))
    y = line.reshape((1, SIDE)).broadcast_to((SIDE, SIDE)).reshape((-1,))
    return nd.stack(x, y, height(x, y), axis=1)


def descent(ctx: mx.Context, steps: int = 60) -> nd.NDArray:
    """The path of a point that rolls down, gradient by gradient."""
    x, y = nd.array([2.6], ctx=ctx), nd.array([2.4], ctx=ctx)
    x.attach_grad()
    y.attach_grad()
    path = []
    for _ in range(steps):
        with autograd.record():
            z = height(x, y)
        path.append(nd.stack(x.copy(), y.copy(), z.detach() + 0.05, axis=1))
        z.backward()
        x -= 0.12 * x.grad
        y -= 0.12 * y.grad
    return nd.concat(*path, dim=0)


def shared(points: nd.NDArray) -> gfx.Buffer:
    """The tensor's own memory as a vertex buffer of pygfx."""
    memory = points.gpu_buffer()
    buffer = gfx.Buffer(nbytes=points.size * 4, nitems=points.shape[0], format="3xf4", usage=memory.usage)
    # pygfx has no public way to take a buffer made elsewhere yet.
    buffer._wgpu_object = memory
    return buffer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/gpu_picture.png"))
    args = parser.parse_args()

    ctx = mx.gpu()
    points, path = surface(ctx), descent(ctx)
    canvas = RenderCanvas(size=(800, 500), pixel_ratio=1)
    renderer = gfx.WgpuRenderer(canvas)
    scene = gfx.Scene()
    scene.add(gfx.Background.from_color("#10131a"))
    scene.add(gfx.Points(gfx.Geometry(positions=shared(points)), gfx.PointsMaterial(color="#5fb3ff", size=2.2)))
    scene.add(gfx.Points(gfx.Geometry(positions=shared(path)), gfx.PointsMaterial(color="#ffb347", size=9)))
    camera = gfx.PerspectiveCamera(45, 800 / 500)
    camera.local.position = (6.0, -7.5, 6.5)
    camera.show_pos((0, 0, 0.2), up=(0, 0, 1))
    canvas.request_draw(lambda: renderer.render(scene, camera))
    picture = np.asarray(canvas.draw())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).convert("RGB").save(args.out)
    print(f"{points.shape[0]} points of {ctx} drawn without a copy: {args.out}")


if __name__ == "__main__":
    main()
