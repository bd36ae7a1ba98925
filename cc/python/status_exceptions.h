// Statuses as Python exceptions: the only place where one becomes the other.
//
//   NotFound                    FileNotFoundError
//   PermissionDenied            PermissionError
//   InvalidArgument             ValueError
//   DataLoss                    DataLossError, a BundleError
//   anything else               BundleError, a RuntimeError
//
// or, in a module that works beside TensorFlow, the subclass of tf.errors.OpError for the code.

#ifndef AUTODIST_PYTHON_STATUS_EXCEPTIONS_H_
#define AUTODIST_PYTHON_STATUS_EXCEPTIONS_H_

#include <pybind11/pybind11.h>

#include <cstring>
#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace autodist {

// Thrown by Check() and translated when it reaches Python.
class StatusException : public std::exception {
 public:
  explicit StatusException(absl::Status status)
      : status_(std::move(status)), message_(status_.message()) {}
  const absl::Status& status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  absl::Status status_;
  std::string message_;
};

inline void Check(const absl::Status& status) {
  if (!status.ok()) throw StatusException(status);
}

// Adds the exception types to `module` and translates from now on. Once per module.
inline void RegisterExceptions(pybind11::module_& module) {
  // Owned by the module and never released: exceptions may be raised for as long as it is loaded.
  static PyObject* bundle_error = nullptr;
  static PyObject* data_loss_error = nullptr;
  bundle_error = pybind11::exception<StatusException>(module, "BundleError", PyExc_RuntimeError)
                     .release()
                     .ptr();
  data_loss_error =
      pybind11::exception<StatusException>(module, "DataLossError", bundle_error).release().ptr();
  pybind11::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const StatusException& exception) {
      PyObject* type = bundle_error;
      switch (exception.status().code()) {
        case absl::StatusCode::kNotFound:
          type = PyExc_FileNotFoundError;
          break;
        case absl::StatusCode::kPermissionDenied:
          type = PyExc_PermissionError;
          break;
        case absl::StatusCode::kInvalidArgument:
          type = PyExc_ValueError;
          break;
        case absl::StatusCode::kDataLoss:
          type = data_loss_error;
          break;
        default:
          break;
      }
      pybind11::set_error(type, exception.what());
    }
  });
}

// Translates from now on to the exceptions of TensorFlow, which it imports when the first is
// thrown. Once per module.
inline void RegisterTensorFlowExceptions() {
  pybind11::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const StatusException& exception) {
      const auto message = pybind11::reinterpret_steal<pybind11::str>(PyUnicode_DecodeUTF8(
          exception.what(), static_cast<Py_ssize_t>(std::strlen(exception.what())), "replace"));
      const pybind11::object type =
          pybind11::module_::import("tensorflow")
              .attr("compat")
              .attr("v1")
              .attr("errors")
              .attr("exception_type_from_error_code")(static_cast<int>(exception.status().code()));
      pybind11::set_error(type, type(pybind11::none(), pybind11::none(), message));
    }
  });
}

}  // namespace autodist

#endif  // AUTODIST_PYTHON_STATUS_EXCEPTIONS_H_
