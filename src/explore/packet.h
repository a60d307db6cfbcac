// Bytes on their way to another process.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace racewalk::explore {

/// Bytes of a message, written and read in the same order.
class packet {
 public:
  packet() = default;
  explicit packet(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  template <class T> void put(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* b = reinterpret_cast<const std::byte*>(&v);
    bytes_.insert(bytes_.end(), b, b + sizeof v);
  }
  template <class T> void put_all(std::span<const T> values) {
    put(values.size());
    for (const T& v : values)
      put(v);
  }
  void put_raw(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void put_text(const std::string& s) { put_all(std::span<const char>(s.data(), s.size())); }

  template <class T> T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T v;
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  template <class T> std::vector<T> get_all() {
    std::vector<T> values(get<std::size_t>());
    for (T& v : values)
      v = get<T>();
    return values;
  }
  std::string get_text() {
    const std::vector<char> s = get_all<char>();
    return {s.begin(), s.end()};
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

} // namespace racewalk::explore
