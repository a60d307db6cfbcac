// expected<T>: what a call gives, or why it gives nothing.
#pragma once

#include <optional>
#include <system_error>
#include <utility>

namespace racewalk {

/// Errors are those of the system call that the function is named after.
template <class T> class [[nodiscard]] expected {
 public:
  expected(T value) : value_(std::move(value)) {} // NOLINT(google-explicit-constructor)
  expected(std::errc error) : error_(error) {}    // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool has_value() const { return value_.has_value(); }
  explicit operator bool() const { return has_value(); }
  /// Only if has_value().
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  /// The value, or throws std::system_error.
  T value() && {
    if (!value_) throw std::system_error(std::make_error_code(error_));
    return std::move(*value_);
  }
  /// Only if not has_value().
  [[nodiscard]] std::errc error() const { return error_; }

 private:
  std::optional<T> value_;
  std::errc error_{};
};

template <> class [[nodiscard]] expected<void> {
 public:
  expected() = default;
  expected(std::errc error) : error_(error) {} // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool has_value() const { return error_ == std::errc{}; }
  explicit operator bool() const { return has_value(); }
  /// Throws std::system_error if there is an error.
  void value() const {
    if (!has_value()) throw std::system_error(std::make_error_code(error_));
  }
  [[nodiscard]] std::errc error() const { return error_; }

 private:
  std::errc error_{};
};

} // namespace racewalk
