// Whole pages: cleared and copied. In the model a page has as many words as a table has entries.
#pragma once

#include <algorithm>
#include <cstring>

#include "arch/pgtable.h"
#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

inline void clear_highpage(page* to, site s = RW_HERE) {
  if (!explored()) {
    std::memset(page_address(to), 0, PAGE_SIZE);
    return;
  }
  for (unsigned word = 0; word < ptrs_per_table(); ++word)
    WRITE_ONCE(page_words(to)[word], 0, s);
}

/// Nobody stores to `from` meanwhile.
inline void copy_highpage(page* to, page* from, site s = RW_HERE) {
  if (!explored()) {
    std::memcpy(page_address(to), page_address(from), PAGE_SIZE);
    return;
  }
  for (unsigned word = 0; word < ptrs_per_table(); ++word)
    WRITE_ONCE(page_words(to)[word], READ_ONCE(page_words(from)[word], s), s);
}

/// The same for a page that programs may store to meanwhile: each word is as it is at some moment.
inline void copy_user_highpage(page* to, page* from, site s = RW_HERE) {
  const u64 words = explored() ? ptrs_per_table() : PAGE_SIZE / sizeof(word_t);
  for (u64 word = 0; word < words; ++word)
    WRITE_ONCE(page_words(to)[word], READ_ONCE(page_words(from)[word], s), s);
}

/// Bytes [from, to) of a page that programs may access meanwhile become zero.
inline void zero_user_segment(page* at, u64 from, u64 to, site s = RW_HERE) {
  while (from < to) {
    const u64 shift = from % sizeof(word_t);
    const u64 bytes = std::min(sizeof(word_t) - shift, to - from);
    const u64 mask = (bytes == sizeof(word_t) ? ~u64{0} : (u64{1} << bytes * 8) - 1) << shift * 8;
    atomic_and(page_words(at)[from / sizeof(word_t)], ~mask, s); // little-endian, as all that this runs on
    from += bytes;
  }
}

/// `from`: PAGE_SIZE bytes of the host's that nobody stores to meanwhile.
inline void copy_to_highpage(page* to, const std::byte* from, site s = RW_HERE) {
  if (!explored()) {
    std::memcpy(page_address(to), from, PAGE_SIZE);
    return;
  }
  for (unsigned word = 0; word < ptrs_per_table(); ++word)
    WRITE_ONCE(page_words(to)[word], reinterpret_cast<const u64*>(from)[word], s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
