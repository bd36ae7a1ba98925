// `autodist._bundle`: what a checkpoint holds and whether it is whole, in a process that need not
// import TensorFlow.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "format/reader/bundle_reader.h"
#include "python/cluster_plan.h"
#include "python/cluster_restore_plan.h"
#include "python/released_gil.h"
#include "python/status_exceptions.h"
#include "storage/directory/file_systems.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace py = pybind11;

namespace autodist {
namespace {

// The name tf.as_dtype takes.
std::string DtypeName(const BundleEntry& entry) {
  switch (entry.dtype) {
    case tensorflow::DT_FLOAT:
      return "float32";
    case tensorflow::DT_DOUBLE:
      return "float64";
    case tensorflow::DT_HALF:
      return "float16";
    default:
      return tensorflow::DataTypeString(entry.dtype);
  }
}

// Names are bytes; what is not UTF-8 is escaped as os.fsdecode does.
py::str Name(const BundleEntry& entry) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(entry.name.data(), entry.name.size(), "surrogateescape"));
}

std::string SliceText(const BundleEntry& entry) {
  return entry.slice.has_value() ? entry.slice->DebugString() : "";
}

std::vector<std::string> SliceTexts(const BundleEntry& entry) {
  std::vector<std::string> texts;
  for (const tensorflow::TensorSlice& slice : entry.slices) texts.push_back(slice.DebugString());
  return texts;
}

std::vector<BundleEntry> ListEntries(const std::string& prefix) {
  absl::StatusOr<BundleIndex> index = [&] {
    const ReleasedGil released;
    return ReadBundleIndex(prefix);
  }();
  Check(index.status());
  return std::move(index->entries);
}

void Verify(const std::string& prefix) {
  const absl::Status status = [&] {
    const ReleasedGil released;
    return VerifyBundle(prefix);
  }();
  Check(status);
}

py::dict BuildInfo() {
  py::dict info;
  info["compiler"] = __VERSION__;
  info["cxx11_abi"] = _GLIBCXX_USE_CXX11_ABI != 0;
  info["bundle_version"] = tensorflow::kTensorBundleVersion;
  return info;
}

}  // namespace
}  // namespace autodist

PYBIND11_MODULE(_bundle, module) {
  using autodist::BundleEntry;
  module.doc() = "Reads and verifies TensorFlow checkpoints (V2) without importing TensorFlow.";
  autodist::RegisterExceptions(module);

  py::class_<BundleEntry>(module, "Entry", "One entry of a checkpoint's index.")
      .def_property_readonly("name", &autodist::Name, "The name of the variable.")
      .def_property_readonly("slice", &autodist::SliceText,
                             "For a stored slice its place, as in '0,4:-'; else ''.")
      .def_property_readonly("dtype", &autodist::DtypeName, "A name such as 'float32'.")
      .def_property_readonly(
          "shape", [](const BundleEntry& entry) { return py::tuple(py::cast(entry.shape)); },
          "The shape of the variable, or of the slice.")
      .def_property_readonly(
          "slices", &autodist::SliceTexts,
          "Of a variable stored as slices: where they lie. Such an entry has no bytes.")
      .def_readonly("shard_id", &BundleEntry::shard_id, "The number of the data file.")
      .def_readonly("offset", &BundleEntry::offset, "Of the first byte in the data file.")
      .def_readonly("size", &BundleEntry::size_bytes, "In bytes.")
      .def_readonly("crc32c", &BundleEntry::crc32c, "Of the bytes, unmasked.")
      .def("__repr__", [](const BundleEntry& entry) {
        return py::str("<Entry {!r} {} {} {}>")
            .format(autodist::Name(entry), autodist::SliceText(entry), autodist::DtypeName(entry),
                    entry.shape);
      });

  module.def("list_entries", &autodist::ListEntries, py::arg("prefix"),
             R"doc(The entries of the checkpoint at `prefix`, in the order of its index.

Raises:
    FileNotFoundError: there is no such checkpoint.
    DataLossError: the index is damaged.)doc");
  module.def("verify", &autodist::Verify, py::arg("prefix"),
             R"doc(Recomputes the checksum of every tensor of the checkpoint at `prefix`.

Raises:
    FileNotFoundError: the index or a data file is missing.
    DataLossError: bytes differ from those written; names the tensor, the file and the range.)doc");
  module.def(
      "file_system_kind",
      [](int64_t type) {
        switch (autodist::KindOfFileSystem(type)) {
          case autodist::FileSystemKind::kOneMachine:
            return "one machine";
          case autodist::FileSystemKind::kCoherent:
            return "coherent";
          default:
            return "other";
        }
      },
      py::arg("type"),
      "Whether several processes may write one file: 'one machine', if all are on it; 'coherent', "
      "on "
      "any; 'other'.");
  module.def("file_system_name", &autodist::NameOfFileSystem, py::arg("type"),
             "The name of a file system, for messages, by the type that statfs tells.");
  autodist::RegisterClusterPlan(module);
  autodist::RegisterClusterRestorePlan(module);
  module.def("build_info", &autodist::BuildInfo,
             "What this module was compiled with: the compiler, its ABI and the version of the "
             "checkpoint format.");
}
