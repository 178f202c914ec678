"""NVRTC, called through C: CUDA text into device code."""

import ctypes
import pathlib


class Nvrtc:
    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        # NVRTC asks for its other half by name; NVRTC 13.0 does not look beside itself.
        major, minor = self.version()
        builtins = pathlib.Path(path).with_name(f"libnvrtc-builtins.so.{major}.{minor}")
        if builtins.exists():
            ctypes.CDLL(str(builtins))

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result != 0:
            raise RuntimeError(f"{name}: error {result}")

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def architectures(self):
        """The compute capabilities that it compiles for: 75, 80, …"""
        n = ctypes.c_int()
        self.call("nvrtcGetNumSupportedArchs", ctypes.byref(n))
        numbers = (ctypes.c_int * n.value)()
        self.call("nvrtcGetSupportedArchs", numbers)
        return list(numbers)

    def nearest(self, capability):
        """The newest of its architectures whose code runs on a card."""
        known = [arch for arch in self.architectures() if arch <= capability]
        return max(arch for arch in known if arch // 10 == capability // 10)

    def compile(self, text, name, architecture):
        """Machine code and PTX of a text."""
        program = ctypes.c_void_p()
        creation = (text.encode(), name.encode(), 0, None, None)
        self.call("nvrtcCreateProgram", ctypes.byref(program), *creation)
        options = [f"--gpu-architecture=sm_{architecture}".encode(), b"--std=c++17"]
        try:
            self.call("nvrtcCompileProgram", program, 2, (ctypes.c_char_p * 2)(*options))
        except RuntimeError as why:
            raise RuntimeError(f"{why}\n{self.part(program, 'ProgramLog').decode()}") from None
        parts = self.part(program, "CUBIN"), self.part(program, "PTX")
        self.call("nvrtcDestroyProgram", ctypes.byref(program))
        return parts

    def part(self, program, what):
        """One of the things that a compilation leaves."""
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        bytes_ = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, bytes_)
        return bytes_.raw
