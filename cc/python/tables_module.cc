// `autodist._tables`: what the files of a checkpoint say and whether their bytes are those that
// were written, without TensorFlow's libraries: neither this module nor what it links with loads
// them.
//
// Names are bytes in the files; what is not UTF-8 is escaped as os.fsdecode does. Paths are bytes.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python/outcome_exceptions.h"
#include "python/released_gil.h"
#include "python/table_writing.h"
#include "storage/directory/file_systems.h"
#include "tables/bundle/bundle_index.h"
#include "tables/bundle/dtype.h"
#include "tables/bytes/crc32c.h"
#include "tables/bytes/masked_crc.h"
#include "tables/graph/graph_nodes.h"
#include "tables/outcome.h"
#include "tables/saved_slices/saved_slices.h"
#include "tables/sums/range_sums.h"
#include "tables/table/byte_source.h"

namespace py = pybind11;

namespace autodist {
namespace {

py::str Text(std::string_view bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "surrogateescape"));
}

py::tuple Numbers(const Dims& numbers) {
  py::tuple tuple(numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) tuple[i] = numbers[i];
  return tuple;
}

// A file, or bytes that the caller holds.
class Source {
 public:
  Source(const std::optional<std::string>& path, const std::optional<std::string_view>& bytes)
      : path_(path.value_or("")) {
    if (path.has_value()) {
      auto file = std::make_unique<FileSource>();
      Check(file->Open(path_), path_);
      source_ = std::move(file);
    } else {
      source_ = std::make_unique<MemorySource>(bytes.value_or(std::string_view()));
    }
  }

  const ByteSource& get() const { return *source_; }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  std::unique_ptr<ByteSource> source_;
};

// The view of a bytes object, which pybind11 would take for text.
std::optional<std::string_view> ViewOf(const std::optional<py::bytes>& bytes) {
  if (!bytes.has_value()) return std::nullopt;
  return std::string_view(*bytes);
}

std::unique_ptr<StoredIndex> ReadIndex(const std::optional<py::bytes>& path,
                                       const std::optional<py::bytes>& data) {
  const Source source(path, ViewOf(data));
  auto index = std::make_unique<StoredIndex>();
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return ReadStoredIndex(source.get(), index.get());
  }();
  Check(outcome, source.path());
  return index;
}

// One column of numbers, as a memoryview of int64.
template <typename Get>
py::object Column(const StoredIndex& index, const Get& get) {
  std::string bytes(index.entries.size() * sizeof(int64_t), '\0');
  for (size_t i = 0; i < index.entries.size(); ++i) {
    const int64_t number = get(index.entries[i]);
    std::memcpy(bytes.data() + i * sizeof(number), &number, sizeof(number));
  }
  return py::memoryview(py::bytes(bytes)).attr("cast")("q");
}

py::list Names(const StoredIndex& index) {
  py::list names(index.entries.size());
  for (size_t i = 0; i < index.entries.size(); ++i) names[i] = Text(index.entries[i].name);
  return names;
}

py::list Shapes(const StoredIndex& index) {
  py::list shapes(index.entries.size());
  for (size_t i = 0; i < index.entries.size(); ++i) shapes[i] = Numbers(index.entries[i].shape);
  return shapes;
}

// Where a slice lies, as (start, length) of each axis; a length of -1 is all of the axis.
py::tuple SliceTuple(const Slice& slice) {
  py::tuple tuple(slice.size());
  for (size_t i = 0; i < slice.size(); ++i) {
    tuple[i] = py::make_tuple(slice[i].start, slice[i].length);
  }
  return tuple;
}

Slice SliceOf(const std::vector<std::pair<int64_t, int64_t>>& extents) {
  Slice slice;
  for (const auto& [start, length] : extents) slice.push_back({start, length});
  return slice;
}

py::dict Slices(const StoredIndex& index) {
  py::dict slices;
  for (size_t i = 0; i < index.entries.size(); ++i) {
    if (index.entries[i].is_slice) slices[py::int_(i)] = SliceTuple(index.entries[i].slice);
  }
  return slices;
}

py::dict SliceEntries(const StoredIndex& index) {
  py::dict numbers;
  for (size_t i = 0; i < index.entries.size(); ++i) {
    if (!index.entries[i].slices.empty()) {
      numbers[py::int_(i)] = Numbers(index.entries[i].slice_entries);
    }
  }
  return numbers;
}

py::list Problems(const StoredIndex& index) {
  py::list problems;
  for (size_t i = 0; i < index.entries.size(); ++i) {
    const std::string problem = CheckEntry(index, i);
    if (!problem.empty()) problems.append(py::make_tuple(i, Text(problem)));
  }
  return problems;
}

std::vector<StoredRange> RangesOf(
    const std::vector<std::tuple<int64_t, int64_t, int32_t, int64_t>>& rows) {
  std::vector<StoredRange> ranges;
  ranges.reserve(rows.size());
  for (const auto& [offset, size_bytes, dtype, elements] : rows) {
    const Content content = dtype == kStringDtype    ? Content::kStrings
                            : dtype == kVariantDtype ? Content::kVariants
                                                     : Content::kPlain;
    if (offset < 0 || size_bytes < 0 || offset > INT64_MAX - size_bytes) {
      throw py::value_error("a range with a negative or too large offset or size");
    }
    ranges.push_back({offset, size_bytes, content, elements});
  }
  return ranges;
}

py::list SumRanges(const std::optional<py::bytes>& path, const std::optional<py::bytes>& data,
                   const std::vector<std::tuple<int64_t, int64_t, int32_t, int64_t>>& rows,
                   int threads, const py::object& progress) {
  const Source source(path, ViewOf(data));
  RangeSums sums(source.get(), RangesOf(rows), threads);
  for (bool is_done = false; !is_done;) {
    {
      const ReleasedGil released;
      is_done = sums.WaitFor(100);
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(sums.done_bytes());
  }
  py::list results;
  for (const RangeSum& sum : sums.sums()) {
    switch (sum.state) {
      case SumState::kSummed:
        results.append(sum.crc);
        break;
      case SumState::kMissing:
        results.append("missing");
        break;
      case SumState::kUnparsable:
        results.append("unparsable");
        break;
      default:
        results.append(Text(std::strerror(sum.error_number)));
    }
  }
  return results;
}

uint32_t ExtendCrcBy(uint32_t crc, const py::buffer& buffer) {
  const py::buffer_info info = buffer.request();
  const std::string_view bytes(static_cast<const char*>(info.ptr),
                               static_cast<size_t>(info.size * info.itemsize));
  const ReleasedGil released;
  return ExtendCrc(crc, bytes);
}

py::list ReadTensors(const std::optional<py::bytes>& path, const std::optional<py::bytes>& data) {
  const Source source(path, ViewOf(data));
  std::vector<SavedTensor> tensors;
  Check(ReadSavedTensors(source.get(), &tensors), source.path());
  py::list rows;
  for (const SavedTensor& tensor : tensors) {
    py::list slices;
    for (const Slice& slice : tensor.slices) slices.append(SliceTuple(slice));
    rows.append(
        py::make_tuple(Text(tensor.name), tensor.dtype, Numbers(tensor.shape), std::move(slices)));
  }
  return rows;
}

py::object ReadSlice(const std::optional<py::bytes>& path, const std::optional<py::bytes>& data,
                     const py::bytes& name, int32_t dtype, const Dims& shape,
                     const std::vector<std::pair<int64_t, int64_t>>& slice) {
  const Source source(path, ViewOf(data));
  SavedTensor tensor;
  tensor.name = std::string(name);
  tensor.dtype = dtype;
  tensor.shape = shape;
  SavedValue value;
  Check(ReadSavedSlice(source.get(), tensor, SliceOf(slice), &value), source.path());
  if (dtype != kStringDtype) return py::bytes(value.bytes);
  py::list strings;
  for (const std::string& string : value.strings) strings.append(py::bytes(string));
  return std::move(strings);
}

py::list CheckSlicesOf(const py::bytes& path) {
  const Source source(path, std::nullopt);
  std::vector<std::string> problems;
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return CheckSavedSlices(source.get(), &problems);
  }();
  Check(outcome, source.path());
  py::list texts;
  for (const std::string& problem : problems) texts.append(Text(problem));
  return texts;
}

py::list Texts(const std::vector<std::string>& strings) {
  py::list texts;
  for (const std::string& string : strings) texts.append(Text(string));
  return texts;
}

py::dict ReadGraph(const py::bytes& data, bool is_saved_model) {
  GraphNodes graph;
  const std::string_view bytes(data);
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return ReadGraphNodes(bytes, is_saved_model ? GraphFile::kSavedModel : GraphFile::kMetaGraph,
                          &graph);
  }();
  Check(outcome, "");
  py::list nodes;
  for (const GraphNode& node : graph.nodes) {
    const py::object shape = node.has_shape ? py::object(Numbers(node.shape)) : py::none();
    nodes.append(py::make_tuple(Text(node.name), node.op, Texts(node.inputs), node.dtype, shape,
                                Text(node.shared_name), node.dtypes, Texts(node.strings)));
  }
  py::dict result;
  result["node_count"] = graph.node_count;
  result["nodes"] = nodes;
  result["has_saver"] = graph.has_saver;
  result["restore_op"] = Text(graph.restore_op);
  result["filename_tensor"] = Text(graph.filename_tensor);
  return result;
}

const char* KindName(int64_t type) {
  switch (KindOfFileSystem(type)) {
    case FileSystemKind::kOneMachine:
      return "one machine";
    case FileSystemKind::kCoherent:
      return "coherent";
    default:
      return "other";
  }
}

void AddIndex(py::module_* module) {
  py::class_<StoredIndex>(
      *module, "Index",
      "The index of a checkpoint (V2). Its columns have an item for each entry: "
      "of a variable, or of a slice of one.")
      .def_readonly("file_count", &StoredIndex::file_count, "How many data files there are.")
      .def_readonly("unlisted_slices", &StoredIndex::unlisted_slices,
                    "How many entries of slices belong to no variable; the columns leave them out.")
      .def("names", &Names, "The name of the variable of each entry.")
      .def("shapes", &Shapes, "A tuple for each entry: of the variable, or of the slice.")
      .def("dtypes",
           [](const StoredIndex& index) {
             return Column(index, [](const StoredEntry& entry) { return entry.dtype; });
           })
      .def("files",
           [](const StoredIndex& index) {
             return Column(index, [](const StoredEntry& entry) { return entry.file; });
           })
      .def("offsets",
           [](const StoredIndex& index) {
             return Column(index, [](const StoredEntry& entry) { return entry.offset; });
           })
      .def("sizes",
           [](const StoredIndex& index) {
             return Column(index, [](const StoredEntry& entry) { return entry.size_bytes; });
           })
      .def("crcs",
           [](const StoredIndex& index) {
             return Column(index, [](const StoredEntry& entry) { return int64_t{entry.crc}; });
           })
      .def("slices", &Slices,
           "By the number of the entry of a slice: (start, length) of each axis; -1 for all of it.")
      .def("slice_entries", &SliceEntries,
           "By the number of the entry of a variable in slices: the numbers of their entries.")
      .def("problems", &Problems,
           "Pairs of an entry's number and what is wrong with it, beside what data files hold.");
  module->def("read_index", &ReadIndex, py::arg("path") = py::none(), py::arg("data") = py::none(),
              R"doc(Reads the index of a checkpoint from a file or from bytes.

Raises:
    OSError: the file cannot be read.
    DamagedError: it is not an index; the message names no file.
    UnsupportedError: it is one for other readers.)doc");
}

void AddSums(py::module_* module) {
  module->def("sum_ranges", &SumRanges, py::arg("path"), py::arg("data"), py::arg("rows"),
              py::arg("threads"), py::arg("progress") = py::none(),
              R"doc(The CRCs of ranges of a file or of bytes, by several threads.

Args:
    path: The file; or None.
    data: The bytes; or None.
    rows: A tuple (offset, bytes, dtype, elements) for each range. The CRC of strings (dtype 7) and
        variants (21) is that of TensorFlow's format.
    threads: How many; each needs half a MiB.
    progress: Called with the bytes done so far, ten times a second and at the end.

Returns:
    For each range its CRC, or a text: 'missing' if the file is too short, 'unparsable', or what the
    system says.)doc");
  module->def("extend_crc", &ExtendCrcBy, py::arg("crc"), py::arg("buffer"),
              "The CRC32C of what has `crc`, followed by the bytes of a contiguous buffer.");
  module->def("concat_crc", &ConcatCrc, py::arg("first"), py::arg("second"), py::arg("size"),
              "The CRC32C of two runs of bytes from that of each; the second has `size` bytes.");
  module->def("mask_crc", &MaskCrc, py::arg("crc"), "A CRC as the files hold it.");
}

void AddSavedSlices(py::module_* module) {
  module->def("read_saved_tensors", &ReadTensors, py::arg("path") = py::none(),
              py::arg("data") = py::none(),
              "What a file of the V1 format holds: a tuple (name, dtype, shape, slices) for each "
              "tensor, a slice as Index.slices() has it. Errors as read_index.");
  module->def("read_saved_slice", &ReadSlice, py::arg("path"), py::arg("data"), py::arg("name"),
              py::arg("dtype"), py::arg("shape"), py::arg("slice"),
              "The elements of a slice in a file of the V1 format: bytes as they lie in memory, or "
              "a list of strings. Errors as read_index.");
  module->def("check_saved_slices", &CheckSlicesOf, py::arg("path"),
              "Reads all of a file of the V1 format with its CRCs; returns what is wrong with its "
              "slices. Errors as read_index.");
}

void AddGraph(py::module_* module) {
  module->def("read_graph", &ReadGraph, py::arg("data"), py::arg("is_saved_model"),
              R"doc(What a .meta file or saved_model.pb tells of variables, saves and restores.

Returns:
    A dict with `node_count`, `has_saver`, `restore_op`, `filename_tensor`, and `nodes`: tuples
    (name, op, inputs, dtype, shape or None, shared_name, dtypes, strings).

Raises:
    DamagedError: the bytes hold no graph.)doc");
}

}  // namespace
}  // namespace autodist

PYBIND11_MODULE(_tables, module) {
  module.doc() = "Reads and verifies TensorFlow checkpoints without any library of TensorFlow.";
  autodist::AddOutcomeErrors(&module);
  autodist::AddIndex(&module);
  autodist::AddSums(&module);
  autodist::AddSavedSlices(&module);
  autodist::AddGraph(&module);
  autodist::AddTableWriting(&module);
  module.def(
      "dtype_info",
      [](int32_t dtype) {
        const autodist::DtypeInfo info = autodist::InfoOfDtype(dtype);
        return py::make_tuple(info.name, info.element_bytes);
      },
      py::arg("dtype"),
      "Name and bytes of an element of a dtype by its number; 0 bytes where elements vary in "
      "size.");
  module.def("file_system_kind", &autodist::KindName, py::arg("type"),
             "Whether several processes may write one file: 'one machine', if all are on it; "
             "'coherent', on any; 'other'. By the type that statfs tells.");
  module.def("file_system_name", &autodist::NameOfFileSystem, py::arg("type"),
             "The name of a file system, for messages, by the type that statfs tells.");
}
