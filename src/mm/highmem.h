// Whole pages: cleared and copied. In the model a page has as many words as a table has entries.
#pragma once

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

} // namespace racewalk::inline RACEWALK_BACKEND
