"""The device: creates what a batch needs and replays it, on wgpu-py's public interface alone.

Only ``oxgrad._core`` calls this module. Everything that thinks (planning, fusion, shader text, pools, keys) is Rust;
what comes here are numbers for buffers, pipelines and groups. Nothing is ever destroyed, only let go of: the library
frees memory when the last command that uses it is done. Only ``_staging`` is ever mapped, and unmapped before it is
used again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from . import _errors
from ._errors import GpuDeviceLost, GpuError, GpuOutOfMemory, GpuUnavailable

WINDOW = 512
# Reads from here on go through a staging buffer of our own: `read_buffer` copies once more.
STAGED = 4 << 20
INSTALL = "pip install oxgrad[gpu]"

_failure: GpuUnavailable | None = None
_adapters: list[Any] | None = None
_given: Any = None
# The devices in use, by number.
drivers: dict[int, Driver] = {}


def wgpu() -> Any:
    """The library; the reason is kept where it cannot be had."""
    global _failure
    if _failure is not None:
        raise _failure
    try:
        import wgpu
        import wgpu.backends.wgpu_native  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        _failure = GpuUnavailable(f"gpu: the package wgpu is not usable ({error}): {INSTALL}")
        raise _failure from error
    return wgpu


def _alike(info: Any) -> tuple[Any, ...]:
    """What two backends say alike of one card."""
    return tuple(info.get(key, "") for key in ("vendor_id", "device_id", "adapter_type"))


def adapters() -> list[Any]:
    """The adapters that arrays can live on: each card once, by its best backend, cards before software."""
    global _adapters, _failure
    if _adapters is None:
        library = wgpu()
        try:
            found = library.gpu.enumerate_adapters_sync()
        except Exception as error:
            _failure = GpuUnavailable(f"gpu: no adapter: {error}")
            raise _failure from error
        backend = os.environ.get("WGPU_BACKEND_TYPE", "").lower()
        order = {"DiscreteGPU": 0, "IntegratedGPU": 1, "VirtualGPU": 2, "Unknown": 3, "CPU": 4}
        best = {"Vulkan": 0, "Metal": 0, "D3D12": 1, "OpenGL": 2}
        usable = [a for a in found if not backend or a.info["backend_type"].lower() == backend]
        usable.sort(key=lambda a: (order.get(a.info["adapter_type"], 3), best.get(a.info["backend_type"], 3)))
        # Two equal cards under one backend are two; one card under two backends is one.
        kept: list[Any] = []
        for adapter in usable:
            others = [a for a in kept if a.info["backend_type"] != adapter.info["backend_type"]]
            software = adapter.info["adapter_type"] == "CPU" or adapter.info["backend_type"] == "OpenGL"
            if any(_alike(a.info) == _alike(adapter.info) for a in others) or (software and others):
                continue
            kept.append(adapter)
        _adapters = kept
    if not _adapters:
        _failure = GpuUnavailable(
            "gpu: no adapter: no driver for Vulkan, Metal or Direct3D 12 was found (in software: mesa-vulkan-drivers)"
        )
        raise _failure
    return _adapters


def use(device: Any) -> None:
    """The device of gpu(0), instead of one of our own."""
    global _given
    _given = device


def forget() -> None:
    """Lets go of all devices, of one given to `use` too, and looks for adapters again."""
    global _given, _adapters, _failure
    drivers.clear()
    _given = _adapters = _failure = None


def _device(number: int) -> Any:
    """The device of a number: the one given to `use`, the one pygfx shares, or a new one."""
    library = wgpu()
    if number == 0 and _given is not None:
        return _given
    if number == 0 and "pygfx" in sys.modules:
        return library.utils.get_default_device()
    found = adapters()
    if not 0 <= number < len(found):
        raise GpuUnavailable(f"gpu({number}): no such adapter, got number {number}, expected 0..{len(found) - 1}")
    adapter = found[number]
    limit = "max-storage-buffer-binding-size"
    limits = {limit: adapter.limits[limit], "max-buffer-size": adapter.limits["max-buffer-size"]}
    try:
        return adapter.request_device_sync(label="oxgrad", required_features=[], required_limits=limits)
    except Exception as error:
        raise GpuUnavailable(f"gpu({number}): the device could not be opened: {error}") from error


def translated(error: BaseException, what: str) -> Exception:
    """An error of the library as one of ours."""
    text = str(error)
    if isinstance(error, GpuError):
        return error
    if "not enough memory" in text.lower() or "out of memory" in text.lower():
        return GpuOutOfMemory(f"{what}: out of GPU memory: {text}")
    if "is lost" in text.lower() or "device lost" in text.lower():
        return GpuDeviceLost(f"{what}: the device was lost: arrays on it are gone; oxgrad.gpu.reset() opens it again")
    return GpuError(f"{what}: {text}")


class Driver:
    """One device, and what was made on it by number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = os.getpid()
        self.device = _device(number)
        self.adapter_info = self.device.adapter.info
        self.usage = {name: getattr(wgpu().BufferUsage, name) for name in ("STORAGE", "COPY_SRC", "COPY_DST", "VERTEX")}
        self.all_usages = sum(self.usage.values())
        self.buffers: dict[int, Any] = {}
        self.pipelines: dict[int, Any] = {}
        self.groups: dict[int, Any] = {}
        self.layouts: dict[tuple[int, int], Any] = {}
        self.ring: Any = None
        self.ring_size = 0
        self._staging: Any = None
        self._word = self.device.create_buffer(size=256, usage=self.all_usages)
        self.lost: Exception | None = None
        self._grow_ring(64 * WINDOW + WINDOW)

    def caps(self) -> tuple[str, int, int]:
        """Name, bytes of the largest binding, workgroups along one axis."""
        limits = self.device.limits
        info = self.adapter_info
        most = min(limits["max-storage-buffer-binding-size"], limits["max-buffer-size"])
        return f"{info['device']} ({info['backend_type']})", most, limits["max-compute-workgroups-per-dimension"]

    def _check(self) -> None:
        if os.getpid() != self.pid:
            raise GpuError(
                "gpu: a device does not survive fork(): use multiprocessing with the method 'spawn' (or 'forkserver')"
            )
        if self.lost is not None:
            raise self.lost

    def _run(self, what: str, f: Callable[[], Any]) -> Any:
        try:
            self._check()
            return f()
        except Exception as error:
            ours = translated(error, what)
            if isinstance(ours, GpuDeviceLost):
                self.lost = ours
            if ours is error:
                raise
            raise ours from error

    # ---- batches ----

    def submit(
        self,
        create: list[tuple[int, int]],
        pipelines: list[tuple[int, str, str, int, int]],
        groups: list[tuple[int, int, list[int]]],
        uploads: list[tuple[int, bytes]],
        params: bytes,
        commands: list[tuple[int, int, int, int, int]],
        drop_groups: list[int],
        drop: list[int],
    ) -> None:
        """Makes what is new, writes, runs the commands in one pass, lets go of what is not needed any more."""
        self._run("gpu", lambda: self._submit(create, pipelines, groups, uploads, params, commands))
        for group in drop_groups:
            self.groups.pop(group, None)
        for buffer in drop:
            self.buffers.pop(buffer, None)

    def _submit(
        self,
        create: list[tuple[int, int]],
        pipelines: list[tuple[int, str, str, int, int]],
        groups: list[tuple[int, int, list[int]]],
        uploads: list[tuple[int, bytes]],
        params: bytes,
        commands: list[tuple[int, int, int, int, int]],
    ) -> None:
        device, queue, buffers = self.device, self.device.queue, self.buffers
        for number, size in create:
            if number not in buffers:
                buffers[number] = device.create_buffer(size=size, usage=self.all_usages)
        for pipeline in pipelines:
            self._pipeline(*pipeline)
        if len(params) + WINDOW > self.ring_size:
            self._grow_ring(2 * len(params) + WINDOW)
        for number, inputs, members in groups:
            self._group(number, inputs, members)
        for number, data in uploads:
            queue.write_buffer(buffers[number], 0, data)
        if not commands:
            return
        queue.write_buffer(self.ring, 0, params)
        encoder = device.create_command_encoder()
        run = encoder.begin_compute_pass()
        set_pipeline, set_group, dispatch = run.set_pipeline, run.set_bind_group, run.dispatch_workgroups
        ready, made = self.groups, self.pipelines
        last = -1
        for pipeline_number, group_number, x, y, offset in commands:
            if pipeline_number != last:
                set_pipeline(made[pipeline_number])
                last = pipeline_number
            set_group(0, ready[group_number][0], (offset,))
            dispatch(x, y)
        run.end()
        queue.submit([encoder.finish()])

    def _layout(self, inputs: int, outputs: int) -> tuple[Any, Any]:
        """The layouts of groups and pipelines with so many bindings: shared by all shaders, so groups are too."""
        key = (inputs, outputs)
        if key not in self.layouts:
            kinds = ["read-only-storage"] * inputs + ["storage"] * outputs
            stage = wgpu().ShaderStage.COMPUTE
            entries: list[dict[str, Any]] = [
                {
                    "binding": 0,
                    "visibility": stage,
                    "buffer": {"type": "uniform", "has_dynamic_offset": True, "min_binding_size": WINDOW},
                }
            ]
            entries += [{"binding": i + 1, "visibility": stage, "buffer": {"type": k}} for i, k in enumerate(kinds)]
            group = self.device.create_bind_group_layout(entries=entries)
            self.layouts[key] = group, self.device.create_pipeline_layout(bind_group_layouts=[group])
        return self.layouts[key]

    def _pipeline(self, number: int, label: str, source: str, inputs: int, outputs: int) -> None:
        if number in self.pipelines:
            return
        try:
            module = self.device.create_shader_module(label=label, code=source)
            self.pipelines[number] = self.device.create_compute_pipeline(
                label=label,
                layout=self._layout(inputs, outputs)[1],
                compute={"module": module, "entry_point": "main"},
            )
        except Exception as error:
            raise translated(error, f"gpu: shader '{label}'") from error

    def _group(self, number: int, inputs: int, members: list[int]) -> None:
        layout = self._layout(inputs, len(members) - inputs)[0]
        entries: list[dict[str, Any]] = [{"binding": 0, "resource": {"buffer": self.ring, "offset": 0, "size": WINDOW}}]
        for i, member in enumerate(members):
            entries.append({"binding": i + 1, "resource": {"buffer": self.buffers[member], "offset": 0}})
        self.groups[number] = self.device.create_bind_group(layout=layout, entries=entries), inputs, members

    def _grow_ring(self, size: int) -> None:
        """A larger ring of parameters; groups name the ring, so they are made again."""
        flags = wgpu().BufferUsage
        self.ring = self.device.create_buffer(size=(size + 255) // 256 * 256, usage=flags.UNIFORM | flags.COPY_DST)
        self.ring_size = self.ring.size
        for number, (_, inputs, members) in list(self.groups.items()):
            self._group(number, inputs, members)

    # ---- memory ----

    def read(self, number: int, offset: int, size: int) -> Any:
        """The bytes as a buffer, valid until `read_done`."""

        def read() -> Any:
            source = self.buffers[number]
            if size < STAGED:
                return self.device.queue.read_buffer(source, offset, size)
            if self._staging is None or self._staging.size < size:
                flags = wgpu().BufferUsage
                self._staging = self.device.create_buffer(size=size, usage=flags.MAP_READ | flags.COPY_DST)
            encoder = self.device.create_command_encoder()
            encoder.copy_buffer_to_buffer(source, offset, self._staging, 0, size)
            self.device.queue.submit([encoder.finish()])
            self._staging.map_sync("READ", 0, size)
            return self._staging.read_mapped(0, size, copy=False)

        return self._run("gpu: read", read)

    def read_done(self) -> None:
        """What `read` gave has been copied."""
        if self._staging is not None and self._staging.map_state != "unmapped":
            self._staging.unmap()

    def wait(self) -> None:
        """Waits for everything submitted: a read does, and the library's own call for it fails in 0.32."""
        self._run("gpu: wait", lambda: self.device.queue.read_buffer(self._word, 0, 4))

    def adopt(self, number: int, buffer: Any) -> None:
        """Memory of somebody else under a number of ours."""
        self.buffers[number] = buffer

    def buffer(self, number: int) -> Any:
        """The library's object of a number."""
        self._check()
        return self.buffers[number]


def open_device(number: int) -> Driver:
    """What `oxgrad._core` calls for a device that is used for the first time."""
    if _errors.forked():
        raise GpuError("gpu: a device does not survive fork(): use multiprocessing with the method 'spawn'")
    driver = Driver(number)
    drivers[number] = driver
    _errors.mark_used()
    return driver
