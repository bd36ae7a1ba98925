// The part of `autodist._tables` that writes: indexes, and copies of tensors' bytes.

#include "python/table_writing.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python/outcome_exceptions.h"
#include "python/released_gil.h"
#include "tables/table/byte_source.h"
#include "tables/writing/copying.h"
#include "tables/writing/index_writer.h"
#include "tables/writing/salvage.h"

namespace py = pybind11;

namespace autodist {
namespace {

using Extents = std::vector<std::pair<int64_t, int64_t>>;
// name, dtype, shape, place of a slice or none, places of slices, file, offset, bytes, CRC
using EntryFields = std::tuple<py::bytes, int, Dims, std::optional<Extents>, std::vector<Extents>,
                               int, int64_t, int64_t, uint32_t>;
// descriptor, path
using FileFields = std::tuple<int, std::string>;
// file, offset, start, extent
using BoxFields = std::tuple<FileFields, int64_t, Dims, Dims>;

Slice PlaceOf(const Extents& extents) {
  Slice slice;
  for (const auto& [start, length] : extents) slice.push_back({start, length});
  return slice;
}

OpenFile FileOf(const FileFields& fields) {
  return OpenFile{std::get<0>(fields), std::get<1>(fields)};
}

StoredBox BoxOf(const BoxFields& fields) {
  return StoredBox{FileOf(std::get<0>(fields)), std::get<1>(fields),
                   Box{std::get<2>(fields), std::get<3>(fields)}};
}

std::vector<StoredBox> BoxesOf(const std::vector<BoxFields>& fields) {
  std::vector<StoredBox> boxes;
  for (const BoxFields& box : fields) boxes.push_back(BoxOf(box));
  return boxes;
}

py::bytes PyBuildIndex(int file_count, const std::vector<EntryFields>& fields) {
  std::vector<StoredEntry> entries;
  entries.reserve(fields.size());
  for (const auto& [name, dtype, shape, slice, slices, file, offset, size, crc] : fields) {
    StoredEntry entry;
    entry.name = std::string(name);
    entry.dtype = dtype;
    entry.shape = shape;
    entry.is_slice = slice.has_value();
    if (slice.has_value()) entry.slice = PlaceOf(*slice);
    for (const Extents& place : slices) entry.slices.push_back(PlaceOf(place));
    entry.file = file;
    entry.offset = offset;
    entry.size_bytes = size;
    entry.crc = crc;
    entries.push_back(std::move(entry));
  }
  std::string bytes;
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return BuildIndex(file_count, entries, &bytes);
  }();
  Check(outcome, "");
  return py::bytes(bytes);
}

std::vector<uint32_t> PyCopyParts(const FileFields& source, const FileFields& target,
                                  const std::vector<std::tuple<int64_t, int64_t, int64_t>>& fields,
                                  int threads, int64_t block_bytes) {
  std::vector<CopyPart> parts;
  parts.reserve(fields.size());
  for (const auto& [from, to, size] : fields) parts.push_back({from, to, size});
  std::vector<uint32_t> crcs;
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return CopyParts(FileOf(source), FileOf(target), parts, {threads, block_bytes}, &crcs);
  }();
  Check(outcome, "");
  return crcs;
}

uint32_t PyGatherBox(const std::vector<BoxFields>& stored, const BoxFields& target,
                     int64_t element_bytes, int threads, int64_t block_bytes) {
  uint32_t crc = 0;
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return GatherBox(BoxesOf(stored), BoxOf(target), element_bytes, {threads, block_bytes}, &crc);
  }();
  Check(outcome, "");
  return crc;
}

void PyReadBox(const std::vector<BoxFields>& stored, const Dims& start, const Dims& extent,
               int64_t element_bytes, int64_t begin, int64_t end, const py::buffer& buffer) {
  const py::buffer_info info = buffer.request(/*writable=*/true);
  if (info.size * info.itemsize < (end - begin) * element_bytes) {
    throw py::value_error("the buffer is too small");
  }
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return ReadBox(BoxesOf(stored), Box{start, extent}, element_bytes, begin, end,
                   static_cast<char*>(info.ptr));
  }();
  Check(outcome, "");
}

py::dict PySalvageIndex(const py::bytes& path) {
  FileSource source;
  Check(source.Open(path), path);
  Salvage salvage;
  const Outcome outcome = [&] {
    const ReleasedGil released;
    return SalvageIndex(source, &salvage);
  }();
  Check(outcome, path);
  py::list incomplete;
  for (const std::string& name : salvage.incomplete) incomplete.append(py::bytes(name));
  py::dict result;
  result["index"] = py::bytes(salvage.index);
  result["file_count"] = salvage.file_count;
  result["variables"] = salvage.variables;
  result["incomplete"] = incomplete;
  result["lost"] = py::cast(salvage.lost);
  return result;
}

}  // namespace

void AddTableWriting(py::module_* module) {
  module->def("build_index", &PyBuildIndex, py::arg("file_count"), py::arg("entries"),
              R"doc(The bytes of the index of a checkpoint of so many data files.

Args:
    entries: (name, dtype number, shape, place of a slice or None, places of the slices that it
        lists, number of the data file, offset, size in bytes, unmasked CRC32C) of each tensor and
        each slice. A place is a (start, length) an axis; (0, -1) is all of it.)doc");
  module->def("copy_parts", &PyCopyParts, py::arg("source"), py::arg("target"), py::arg("parts"),
              py::arg("threads"), py::arg("block_bytes"),
              R"doc(Copies runs of bytes between files; returns the CRC32C of each.

Args:
    source, target: (descriptor, path for messages); a target with descriptor -1 is not written.
    parts: (offset in the source, offset in the target, size) of each run.)doc");
  module->def(
      "gather_box", &PyGatherBox, py::arg("stored"), py::arg("target"), py::arg("element_bytes"),
      py::arg("threads"), py::arg("block_bytes"),
      R"doc(Writes a box of a tensor from the boxes that it is stored as; returns its CRC32C.

Args:
    stored: (file, offset, start, extent) of each; a file is (descriptor, path for messages).
    target: the same of the box to write.)doc");
  module->def("read_box", &PyReadBox, py::arg("stored"), py::arg("start"), py::arg("extent"),
              py::arg("element_bytes"), py::arg("begin"), py::arg("end"), py::arg("buffer"),
              "Reads the elements [begin, end) of a box of a tensor, dense in row-major order.");
  module->def("salvage_index", &PySalvageIndex, py::arg("path"),
              R"doc(What can be read of an index that is damaged.

Returns:
    A dict: `index`, the bytes of an index of what is sound; `file_count` of its header, 0 if that is
    lost; `variables`, how many; `incomplete`, the names of those of which a part is lost; `lost`,
    (begin, end) of bytes that are no sound block.)doc");
}

}  // namespace autodist
