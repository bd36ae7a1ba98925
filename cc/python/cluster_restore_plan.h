// `_bundle.ClusterRestorePlan`: which task of a cluster reads and takes which bytes of a
// checkpoint.

#ifndef AUTODIST_PYTHON_CLUSTER_RESTORE_PLAN_H_
#define AUTODIST_PYTHON_CLUSTER_RESTORE_PLAN_H_

#include <pybind11/pybind11.h>

namespace autodist {

void RegisterClusterRestorePlan(pybind11::module_& module);

}  // namespace autodist

#endif  // AUTODIST_PYTHON_CLUSTER_RESTORE_PLAN_H_
