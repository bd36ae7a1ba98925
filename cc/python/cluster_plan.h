// `_bundle.ClusterPlan`: which task writes what of a checkpoint whose shards lie on several tasks.

#ifndef AUTODIST_PYTHON_CLUSTER_PLAN_H_
#define AUTODIST_PYTHON_CLUSTER_PLAN_H_

#include <pybind11/pybind11.h>

namespace autodist {

void RegisterClusterPlan(pybind11::module_& module);

}  // namespace autodist

#endif  // AUTODIST_PYTHON_CLUSTER_PLAN_H_
