# What the build writes into _build_info.py, from bazel-free-build/_build_info.py.in.

VERSION: str
TENSORFLOW_VERSION: str
TENSORFLOW_DISTRIBUTION: str
COMPILER: str
CXX11_ABI: int
