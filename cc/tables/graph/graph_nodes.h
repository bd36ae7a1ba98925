// The nodes of a graph file that tell what its saver restores: those of variables, of saves and
// restores, and what leads from one to the other. Fields are those of meta_graph.proto,
// saved_model.proto, graph.proto and attr_value.proto of TensorFlow 2.21.

#ifndef AUTODIST_TABLES_GRAPH_GRAPH_NODES_H_
#define AUTODIST_TABLES_GRAPH_GRAPH_NODES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/boxes/box.h"
#include "tables/outcome.h"

namespace autodist {

struct GraphNode {
  std::string name;
  std::string op;
  std::vector<std::string> inputs;
  int32_t dtype = 0;  // attr `dtype` or `T`
  bool has_shape = false;
  Dims shape;                        // attr `shape`; -1 where a dimension is not known
  std::string shared_name;           // attr
  std::vector<int32_t> dtypes;       // attr `dtypes`
  std::vector<std::string> strings;  // the value of a constant of strings
};

// Which of several formats a file of a graph has.
enum class GraphFile { kMetaGraph, kSavedModel };

struct GraphNodes {
  int64_t node_count = 0;        // of the graph, without its functions
  std::vector<GraphNode> nodes;  // those that matter here
  bool has_saver = false;
  std::string restore_op;  // of the saver
  std::string filename_tensor;
};

// Reads the first graph of a file. Damaged if it is no such file, or has no graph.
Outcome ReadGraphNodes(std::string_view bytes, GraphFile file, GraphNodes* graph);

}  // namespace autodist

#endif  // AUTODIST_TABLES_GRAPH_GRAPH_NODES_H_
