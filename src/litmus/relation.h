// Sets of events, and relations between events as bit matrices: what a cat file is written in, with its
// operators.
//
// `Words` 64-bit words bound the number of events; the litmus tests that people write fit in one. A relation
// knows how many events there are, so that operators touch no more rows than that; both operands have the
// same number.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace racewalk::litmus {

template <std::size_t Words> class event_set {
 public:
  static constexpr std::size_t capacity = Words * 64;

  void insert(std::size_t e) { words_[e / 64] |= std::uint64_t{1} << (e % 64); }
  void erase(std::size_t e) { words_[e / 64] &= ~(std::uint64_t{1} << (e % 64)); }
  [[nodiscard]] bool contains(std::size_t e) const { return words_[e / 64] >> (e % 64) & 1; }

  [[nodiscard]] bool empty() const {
    std::uint64_t any = 0;
    for (const std::uint64_t w : words_)
      any |= w;
    return any == 0;
  }

  template <class F> void for_each(F f) const {
    for (std::size_t w = 0; w < Words; w++)
      for (std::uint64_t left = words_[w]; left != 0; left &= left - 1)
        f(w * 64 + static_cast<std::size_t>(std::countr_zero(left)));
  }

  event_set& operator|=(const event_set& o) {
    return combine(o, [](auto a, auto b) { return a | b; });
  }
  event_set& operator&=(const event_set& o) {
    return combine(o, [](auto a, auto b) { return a & b; });
  }
  event_set& operator-=(const event_set& o) {
    return combine(o, [](auto a, auto b) { return a & ~b; });
  }
  friend event_set operator|(event_set a, const event_set& b) { return a |= b; }
  friend event_set operator&(event_set a, const event_set& b) { return a &= b; }
  friend event_set operator-(event_set a, const event_set& b) { return a -= b; }
  bool operator==(const event_set&) const = default;

 private:
  template <class F> event_set& combine(const event_set& o, F f) {
    for (std::size_t w = 0; w < Words; w++)
      words_[w] = f(words_[w], o.words_[w]);
    return *this;
  }

  std::array<std::uint64_t, Words> words_{};
};

template <std::size_t Words> class relation {
 public:
  using set = event_set<Words>;

  explicit relation(std::size_t events) : events_(events) {
    for (std::size_t e = 0; e < events_; e++)
      rows_[e] = {};
  }
  relation(const relation& o) : events_(o.events_) { copy_rows(o); }
  relation& operator=(const relation& o) {
    events_ = o.events_;
    copy_rows(o);
    return *this;
  }
  ~relation() = default;

  [[nodiscard]] std::size_t events() const { return events_; }
  set& operator[](std::size_t from) { return rows_[from]; }
  const set& operator[](std::size_t from) const { return rows_[from]; }
  void insert(std::size_t from, std::size_t to) { rows_[from].insert(to); }
  [[nodiscard]] bool contains(std::size_t from, std::size_t to) const { return rows_[from].contains(to); }

  [[nodiscard]] bool empty() const {
    for (std::size_t e = 0; e < events_; e++)
      if (!rows_[e].empty()) return false;
    return true;
  }

  [[nodiscard]] bool irreflexive() const {
    for (std::size_t e = 0; e < events_; e++)
      if (rows_[e].contains(e)) return false;
    return true;
  }

  [[nodiscard]] bool acyclic() const { return closure(*this).irreflexive(); }

  bool operator==(const relation& o) const {
    for (std::size_t e = 0; e < events_; e++)
      if (!(rows_[e] == o.rows_[e])) return false;
    return true;
  }

  relation& operator|=(const relation& o) {
    return combine(o, [](set& a, const set& b) { a |= b; });
  }
  relation& operator&=(const relation& o) {
    return combine(o, [](set& a, const set& b) { a &= b; });
  }
  relation& operator-=(const relation& o) {
    return combine(o, [](set& a, const set& b) { a -= b; });
  }
  friend relation operator|(relation a, const relation& b) { return a |= b; }
  friend relation operator&(relation a, const relation& b) { return a &= b; }
  friend relation operator-(relation a, const relation& b) { return a -= b; }

  /// a ; b
  friend relation operator*(const relation& a, const relation& b) {
    relation r(a.events_);
    for (std::size_t e = 0; e < a.events_; e++)
      a.rows_[e].for_each([&](std::size_t middle) { r.rows_[e] |= b.rows_[middle]; });
    return r;
  }

  /// [s] ; a
  friend relation operator*(const set& s, relation a) {
    for (std::size_t e = 0; e < a.events_; e++)
      if (!s.contains(e)) a.rows_[e] = {};
    return a;
  }

  /// a ; [s]
  friend relation operator*(relation a, const set& s) {
    for (std::size_t e = 0; e < a.events_; e++)
      a.rows_[e] &= s;
    return a;
  }

  /// a?
  friend relation maybe(relation a) {
    for (std::size_t e = 0; e < a.events_; e++)
      a.rows_[e].insert(e);
    return a;
  }

  /// a+
  friend relation closure(relation a) {
    for (std::size_t middle = 0; middle < a.events_; middle++)
      for (std::size_t e = 0; e < a.events_; e++)
        if (a.rows_[e].contains(middle)) a.rows_[e] |= a.rows_[middle];
    return a;
  }

  /// a*
  friend relation star(const relation& a) { return maybe(closure(a)); }

  /// a^-1
  friend relation inverse(const relation& a) {
    relation r(a.events_);
    for (std::size_t e = 0; e < a.events_; e++)
      a.rows_[e].for_each([&](std::size_t to) { r.rows_[to].insert(e); });
    return r;
  }

 private:
  template <class F> relation& combine(const relation& o, F f) {
    for (std::size_t e = 0; e < events_; e++)
      f(rows_[e], o.rows_[e]);
    return *this;
  }

  void copy_rows(const relation& o) {
    for (std::size_t e = 0; e < events_; e++)
      rows_[e] = o.rows_[e];
  }

  std::size_t events_;
  std::array<set, set::capacity> rows_; ///< the first events_ are kept
};

/// a * b: from every event of the one to every event of the other.
template <std::size_t Words>
relation<Words> product(std::size_t events, const event_set<Words>& from, const event_set<Words>& to) {
  relation<Words> r(events);
  from.for_each([&](std::size_t e) { r[e] = to; });
  return r;
}

} // namespace racewalk::litmus
