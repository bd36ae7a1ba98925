// The nodes of a graph file that tell what its saver restores; see the header.

#include "tables/graph/graph_nodes.h"

#include <algorithm>
#include <array>
#include <optional>

#include "tables/bundle/dtype.h"
#include "tables/bundle/slice.h"
#include "tables/bytes/wire_reader.h"

namespace autodist {
namespace {

constexpr std::array<std::string_view, 14> kOps = {
    "Assign",       "AssignVariableOp", "Const",     "Identity",   "ReadVariableOp",
    "Reshape",      "Restore",          "RestoreV2", "Save",       "SaveV2",
    "RestoreSlice", "VarHandleOp",      "Variable",  "VariableV2",
};

Outcome NoGraph() { return Outcome::Damaged("it holds no graph that can be read"); }

// The last field of that number that holds bytes; nullopt if there is none or they are malformed.
std::optional<std::string_view> FindMessage(std::string_view message, int field) {
  WireReader reader(message);
  std::optional<std::string_view> found;
  while (reader.Next()) {
    if (reader.Is(field, WireType::kBytes)) found = reader.bytes();
  }
  return reader.is_malformed() ? std::nullopt : found;
}

bool ParseShapeAttr(std::string_view message, GraphNode* node) {
  node->has_shape = true;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(3, WireType::kVarint) && reader.number() != 0) node->has_shape = false;
    if (!reader.Is(2, WireType::kBytes)) continue;
    int64_t size;
    if (node->shape.size() == kMostDimensions || !ParseDim(reader.bytes(), &size)) return false;
    node->shape.push_back(size);
  }
  return !reader.is_malformed();
}

bool ParseDtypes(std::string_view list, std::vector<int32_t>* dtypes) {
  WireReader reader(list);
  while (reader.Next()) {
    if (reader.Is(6, WireType::kVarint)) dtypes->push_back(static_cast<int32_t>(reader.number()));
    if (!reader.Is(6, WireType::kBytes)) continue;
    std::string_view packed = reader.bytes();
    while (!packed.empty()) {
      uint64_t number;
      if (!TakeVarint(&packed, &number)) return false;
      dtypes->push_back(static_cast<int32_t>(number));
    }
  }
  return !reader.is_malformed();
}

bool ParseStrings(std::string_view tensor, std::vector<std::string>* strings) {
  WireReader reader(tensor);
  while (reader.Next()) {
    if (reader.Is(8, WireType::kBytes)) strings->emplace_back(reader.bytes());
  }
  return !reader.is_malformed();
}

// An entry of the map of attributes.
bool ParseAttr(std::string_view entry, GraphNode* node) {
  std::string_view key, value;
  WireReader reader(entry);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kBytes)) key = reader.bytes();
    if (reader.Is(2, WireType::kBytes)) value = reader.bytes();
  }
  if (reader.is_malformed()) return false;
  WireReader attr(value);
  while (attr.Next()) {
    bool parses = true;
    if ((key == "dtype" || key == "T") && attr.Is(6, WireType::kVarint)) {
      node->dtype = static_cast<int32_t>(attr.number());
    } else if (key == "shape" && attr.Is(7, WireType::kBytes)) {
      parses = ParseShapeAttr(attr.bytes(), node);
    } else if (key == "shared_name" && attr.Is(2, WireType::kBytes)) {
      node->shared_name = std::string(attr.bytes());
    } else if (key == "dtypes" && attr.Is(1, WireType::kBytes)) {
      parses = ParseDtypes(attr.bytes(), &node->dtypes);
    } else if (key == "value" && attr.Is(8, WireType::kBytes)) {
      parses = ParseStrings(attr.bytes(), &node->strings);
    }
    if (!parses) return false;
  }
  return !attr.is_malformed();
}

bool ParseNode(std::string_view message, std::vector<GraphNode>* nodes) {
  const std::optional<std::string_view> op = FindMessage(message, 2);
  if (!op) return false;
  if (std::find(kOps.begin(), kOps.end(), *op) == kOps.end()) return true;
  GraphNode node;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kBytes)) node.name = std::string(reader.bytes());
    if (reader.Is(2, WireType::kBytes)) node.op = std::string(reader.bytes());
    if (reader.Is(3, WireType::kBytes)) node.inputs.emplace_back(reader.bytes());
    if (reader.Is(5, WireType::kBytes) && !ParseAttr(reader.bytes(), &node)) return false;
  }
  if (reader.is_malformed()) return false;
  if (node.op != "Const" || node.dtype == kStringDtype) nodes->push_back(std::move(node));
  return true;
}

bool ParseSaver(std::string_view message, GraphNodes* graph) {
  graph->has_saver = true;
  WireReader reader(message);
  while (reader.Next()) {
    if (reader.Is(1, WireType::kBytes)) graph->filename_tensor = std::string(reader.bytes());
    if (reader.Is(3, WireType::kBytes)) graph->restore_op = std::string(reader.bytes());
  }
  return !reader.is_malformed();
}

}  // namespace

Outcome ReadGraphNodes(std::string_view bytes, GraphFile file, GraphNodes* graph) {
  std::string_view meta_graph = bytes;
  if (file == GraphFile::kSavedModel) {
    // The first of several: all of them have the same variables.
    bool is_found = false;
    WireReader reader(bytes);
    while (reader.Next()) {
      if (is_found || !reader.Is(2, WireType::kBytes)) continue;
      meta_graph = reader.bytes();
      is_found = true;
    }
    if (reader.is_malformed() || !is_found) return NoGraph();
  }
  bool has_graph = false;
  WireReader reader(meta_graph);
  while (reader.Next()) {
    if (reader.Is(3, WireType::kBytes) && !ParseSaver(reader.bytes(), graph)) return NoGraph();
    if (!reader.Is(2, WireType::kBytes)) continue;
    has_graph = true;
    WireReader nodes(reader.bytes());
    while (nodes.Next()) {
      if (!nodes.Is(1, WireType::kBytes)) continue;
      ++graph->node_count;
      if (!ParseNode(nodes.bytes(), &graph->nodes)) return NoGraph();
    }
    if (nodes.is_malformed()) return NoGraph();
  }
  return reader.is_malformed() || !has_graph ? NoGraph() : Outcome::Good();
}

}  // namespace autodist
