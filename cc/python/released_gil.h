// Lets other Python threads run while C++ works.
//
// As pybind11::gil_scoped_release, but its destructor may be unwound. A thread that takes the
// interpreter's lock again after the interpreter has begun to end is itself ended there, up to
// Python 3.13 by pthread_exit, which unwinds the stack. From a destructor that must not throw, that
// aborts the process; see ops/ending_threads.h.

#ifndef AUTODIST_PYTHON_RELEASED_GIL_H_
#define AUTODIST_PYTHON_RELEASED_GIL_H_

#include <pybind11/pybind11.h>

namespace autodist {

class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() noexcept(false) { PyEval_RestoreThread(state_); }

  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace autodist

#endif  // AUTODIST_PYTHON_RELEASED_GIL_H_
