"""The CUDA driver, called through C: as little as these scripts need, the same on a real GPU and on
an emulated driver."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

import numpy as np

MULTIPROCESSORS, MAJOR, MINOR = 16, 75, 76


class Driver:
    """The first GPU, with one stream."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        self.device, self.context, self.stream = c_int(), c_void_p(), c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", byref(self.device), 0)
        self.call("cuDevicePrimaryCtxRetain", byref(self.context), self.device)
        self.call("cuCtxSetCurrent", self.context)
        self.call("cuStreamCreate", byref(self.stream), 1)
        name = ctypes.create_string_buffer(100)
        self.call("cuDeviceGetName", name, 100, self.device)
        self.name = name.value.decode()
        self.capability = 10 * self.attribute(MAJOR) + self.attribute(MINOR)
        self.multiprocessors = self.attribute(MULTIPROCESSORS)

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result:
            words = ctypes.c_char_p()
            self.library.cuGetErrorName(result, byref(words))
            raise RuntimeError(f"{name}: {(words.value or b'error').decode()} ({result})")

    def attribute(self, which):
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), which, self.device)
        return value.value

    def module(self, cubin, ptx):
        """Loads machine code, or its PTX where that is refused, as the emulated driver does."""
        module = c_void_p()
        try:
            self.call("cuModuleLoadData", byref(module), cubin)
        except RuntimeError:
            self.call("cuModuleLoadData", byref(module), ptx)
        return module

    def function(self, module, name):
        function = c_void_p()
        self.call("cuModuleGetFunction", byref(function), module, name.encode())
        return function

    def upload(self, array, spare=0):
        """An array on the device, with some spare bytes behind it."""
        array, place = np.ascontiguousarray(array), c_uint64()
        self.call("cuMemAlloc_v2", byref(place), c_size_t(array.nbytes + spare))
        bytes_ = array.ctypes.data_as(c_void_p)
        self.call("cuMemcpyHtoD_v2", place, bytes_, c_size_t(array.nbytes))
        return place

    def download(self, place, shape):
        array = np.empty(shape, np.float32)
        self.call("cuMemcpyDtoH_v2", array.ctypes.data_as(c_void_p), place, c_size_t(array.nbytes))
        return array

    def free(self, *places):
        for place in places:
            self.call("cuMemFree_v2", place)

    def launch(self, function, grid, block, *arguments):
        values = [c_int(a) if isinstance(a, int) else a for a in arguments]
        pointers = (c_void_p * len(values))(*[ctypes.cast(byref(v), c_void_p) for v in values])
        sizes = [c_uint(size) for size in (*grid, block, 1, 1)]
        self.call("cuLaunchKernel", function, *sizes, 0, self.stream, pointers, None)

    def finish(self):
        self.call("cuStreamSynchronize", self.stream)

    def milliseconds(self, run, times=50, warm_up=5):
        """The mean time of a run by events on the stream."""
        for _ in range(warm_up):
            run()
        start, end = c_void_p(), c_void_p()
        for event in (start, end):
            self.call("cuEventCreate", byref(event), 0)
        self.call("cuEventRecord", start, self.stream)
        for _ in range(times):
            run()
        self.call("cuEventRecord", end, self.stream)
        self.call("cuEventSynchronize", end)
        ms = ctypes.c_float()
        self.call("cuEventElapsedTime", byref(ms), start, end)
        return ms.value / times
