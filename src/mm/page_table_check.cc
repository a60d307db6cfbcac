#include "mm/page_table_check.h"

#include <memory>

namespace racewalk::inline RACEWALK_BACKEND {

page_table_check::page_table_check(Machine& machine)
    : machine_(machine), pages_(machine.max_pfn() * sizeof(page_ext)) {
  auto* pages = reinterpret_cast<page_ext*>(pages_.data());
  std::uninitialized_default_construct_n(pages, machine.max_pfn());
  machine_.page_ext = pages;
}

page_table_check::~page_table_check() { machine_.page_ext = nullptr; }

namespace {

/// Is the page anonymous memory? It stays what it is while it is mapped.
bool is_anon(page* page, site s) { return folio_test_anon(page_folio(page, s), s); }

void set_one(page* page, page_ext& ext, mapped_for use, site s) {
  if (is_anon(page, s)) {
    const s32 before = atomic_fetch_add(ext.anon_map_count, 1, order::relaxed, s);
    VM_BUG_ON(atomic_read(ext.file_map_count, s) != 0, "INV-PTC",
              "a page that is mapped as a file's is mapped as anonymous memory", s);
    VM_BUG_ON(before > 0 && use == mapped_for::writing, "INV-PTC",
              "an anonymous page that is mapped already gets an entry that lets stores through", s);
  } else {
    atomic_fetch_add(ext.file_map_count, 1, order::relaxed, s);
    VM_BUG_ON(atomic_read(ext.anon_map_count, s) != 0, "INV-PTC",
              "a page that is mapped as anonymous memory is mapped as a file's", s);
  }
}

void clear_one(page* page, page_ext& ext, site s) {
  atomic_t& count = is_anon(page, s) ? ext.anon_map_count : ext.file_map_count;
  VM_BUG_ON(atomic_fetch_add(count, -1, order::relaxed, s) <= 0, "INV-PTC",
            "an entry is taken out that was never put in, or the page was of another kind then", s);
}

} // namespace

void page_table_check_set(pfn_t pfn, u64 nr, mapped_for use, site s) {
  for (u64 i = 0; i < nr; ++i)
    set_one(pfn_to_page(pfn + i), machine().page_ext[pfn + i], use, s);
}

void page_table_check_clear(pfn_t pfn, u64 nr, site s) {
  for (u64 i = 0; i < nr; ++i)
    clear_one(pfn_to_page(pfn + i), machine().page_ext[pfn + i], s);
}

void page_table_check_grant(pfn_t pfn, u64 nr, site s) {
  for (u64 i = 0; i < nr; ++i)
    VM_BUG_ON(atomic_read(machine().page_ext[pfn + i].anon_map_count, s) > 1, "INV-PTC",
              "an anonymous page that is mapped twice gets an entry that lets stores through", s);
}

void page_table_check_free(pfn_t pfn, u64 nr, site s) {
  for (u64 i = 0; i < nr; ++i) {
    const page_ext& ext = machine().page_ext[pfn + i];
    VM_BUG_ON(atomic_read(ext.anon_map_count, s) != 0 || atomic_read(ext.file_map_count, s) != 0, "INV-PTC",
              "a page is freed while an entry maps it", s);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
