// Turns what a function throws into a status.

#include "threads/guarded.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace autodist {
namespace {

absl::Status Describe() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return NoMemory();
  } catch (const std::length_error&) {
    return NoMemory();
  } catch (const std::system_error& error) {
    const bool is_resource = error.code() == std::errc::resource_unavailable_try_again ||
                             error.code() == std::errc::not_enough_memory;
    return absl::Status(
        is_resource ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
        error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  } catch (...) {
    return absl::InternalError("an exception of an unknown type");
  }
}

}  // namespace

const absl::Status& NoMemory() {
  static const auto* const status = new absl::Status(absl::ResourceExhaustedError(
      "out of memory: an allocation failed. Give the process more memory, or save or restore with "
      "fewer threads or smaller buffers"));
  return *status;
}

namespace {

// Once memory has run out it could not be made.
[[maybe_unused]] const absl::Status& made_at_start = NoMemory();

}  // namespace

absl::Status StatusOfException() noexcept {
  try {
    return Describe();
  } catch (...) {
    return NoMemory();
  }
}

}  // namespace autodist
