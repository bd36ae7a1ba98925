// Lets other Python threads run while C++ works.
//
// As pybind11::gil_scoped_release, but its destructor may be unwound. Once the interpreter has
// begun to end, it ends each thread that takes its lock again. Up to Python 3.13 it does so by
// pthread_exit, which unwinds the stack. In a destructor that must not throw, that aborts the
// process; see ops/ending_threads.h.

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
