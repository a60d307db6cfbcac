// result<T>: a value, or why an access could not be made.
#pragma once

#include <type_traits>

#include "machine/mm_context.h"

namespace racewalk::inline RACEWALK_BACKEND {

template <class T> class [[nodiscard]] result {
 public:
  result(T value) : value_(value) {}                      // NOLINT(google-explicit-constructor)
  result(fault_result error) : value_{}, error_(error) {} // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const { return error_ == fault_result::handled; }
  explicit operator bool() const { return ok(); }
  /// Only if ok().
  [[nodiscard]] T value() const { return value_; }
  [[nodiscard]] T operator*() const { return value_; }
  [[nodiscard]] fault_result error() const { return error_; }

 private:
  T value_;
  fault_result error_ = fault_result::handled;
};

template <> class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(fault_result error) : error_(error) {} // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const { return error_ == fault_result::handled; }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] fault_result error() const { return error_; }

 private:
  fault_result error_ = fault_result::handled;
};

} // namespace racewalk::inline RACEWALK_BACKEND
