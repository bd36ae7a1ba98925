"""Prints what CMake must know of the installed TensorFlow, one `KEY=value` a line.

The compile flags come from `tf.sysconfig`, which imports TensorFlow: it is the only place where a
wheel says with which ABI, language standard and Eigen alignment it was compiled.
FindTensorFlow.cmake caches the answer.
"""

import os

from tensorflow_pin import find_installed

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

installed = find_installed()
if installed is None:
    raise SystemExit("no TensorFlow is installed for this Python interpreter")

import tensorflow as tf  # noqa: E402

flags = tf.sysconfig.get_compile_flags()
print(f"DISTRIBUTION={installed.distribution}")
print(f"VERSION={tf.version.VERSION}")
print(f"INCLUDE_DIR={tf.sysconfig.get_include()}")
print(f"LIBRARY_DIR={tf.sysconfig.get_lib()}")
print(f"CXX11_ABI={tf.sysconfig.CXX11_ABI_FLAG}")
print("DEFINITIONS=" + ";".join(flag[2:] for flag in flags if flag.startswith("-D")))
print("STANDARD=" + "".join(flag[len("--std=c++") :] for flag in flags if "std=" in flag))
