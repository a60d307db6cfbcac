// Checks what entries map (Linux's mm/page_table_check.c, M28).
//
// A page is never mapped as anonymous memory and as a file's at once, an anonymous page that is mapped twice
// is mapped by no entry that lets stores through, and no page is free while an entry maps it: INV-PTC.
// Mappings are counted beside struct page, by the entries alone: what rmap.h believes is not asked.
//
// Entries count while they are present, also one that is PROT_NONE or invalidated for a moment, which on some
// architectures an old one looks like. A migration entry maps nothing.
//
// Off unless a page_table_check lives for the machine; then a change of an entry costs the look whether it
// does. On, the counts are atomic and order nothing: they hide no barrier that is missing elsewhere. Natively
// only: to the explorer each count would be an event, and it has invariants of its own for what they find.
#pragma once

#include "arch/pgtable.h"
#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// By how many entries a page is mapped, of each kind.
struct page_ext {
  atomic_t anon_map_count;
  atomic_t file_map_count;
};

/// Has the machine's entries checked while it lives. Made before any page is mapped and destroyed when none
/// is any more, while no other thread works on the machine. Throws std::bad_alloc.
class page_table_check {
 public:
  explicit page_table_check(Machine& machine);
  ~page_table_check();
  page_table_check(const page_table_check&) = delete;
  page_table_check& operator=(const page_table_check&) = delete;

 private:
  Machine& machine_;
  host_memory pages_; ///< backed where pages are mapped
};

/// What entries may let their pages be used for.
enum class mapped_for : u8 { reading, writing };

/// So many pages from `pfn` on get an entry, lose one, or have one that lets them be written. Only while
/// page_ext is there. Caller holds the lock of the entry, and what keeps the pages.
void page_table_check_set(pfn_t pfn, u64 nr, mapped_for use, site s);
void page_table_check_clear(pfn_t pfn, u64 nr, site s);
void page_table_check_grant(pfn_t pfn, u64 nr, site s);
/// So many pages are about to be free. Only while page_ext is there.
void page_table_check_free(pfn_t pfn, u64 nr, site s);

inline bool page_table_checked() { return machine().page_ext != nullptr; }

// ---- told of entries (pgtable.h) -------------------------------------------------------------------------

/// An entry comes into a place where none counts.
inline void page_table_check_pte_put(pte_t pte, site s = RW_HERE) {
  if (!page_table_checked() || !pte_present(pte)) return;
  page_table_check_set(pte_pfn(pte), 1, pte_write(pte) ? mapped_for::writing : mapped_for::reading, s);
}
/// An entry is gone.
inline void page_table_check_pte_clear(pte_t pte, site s = RW_HERE) {
  if (page_table_checked() && pte_present(pte)) page_table_check_clear(pte_pfn(pte), 1, s);
}
/// An entry comes into a place, whatever is there.
inline void page_table_check_pte_set(const ptep_t& ptep, pte_t pte, site s = RW_HERE) {
  if (!page_table_checked()) return;
  page_table_check_pte_clear(ptep_get(ptep, s), s);
  page_table_check_pte_put(pte, s);
}
/// An entry is to allow what it did not.
inline void page_table_check_pte_grant(pte_t pte, site s = RW_HERE) {
  if (page_table_checked() && pte_present(pte) && pte_write(pte)) page_table_check_grant(pte_pfn(pte), 1, s);
}

/// How many pages a huge entry maps; 0 if it is none, or a table.
inline u64 page_table_check_pages(pmd_t pmd) {
  return pmd_present(pmd) && pmd_leaf(pmd) ? u64{1} << pmd.level().order() : 0;
}
inline void page_table_check_pmd_put(pmd_t pmd, site s = RW_HERE) {
  if (!page_table_checked()) return;
  const mapped_for use = pmd_write(pmd) ? mapped_for::writing : mapped_for::reading;
  if (const u64 nr = page_table_check_pages(pmd)) page_table_check_set(pmd_pfn(pmd), nr, use, s);
}
inline void page_table_check_pmd_clear(pmd_t pmd, site s = RW_HERE) {
  if (!page_table_checked()) return;
  if (const u64 nr = page_table_check_pages(pmd)) page_table_check_clear(pmd_pfn(pmd), nr, s);
}
inline void page_table_check_pmd_set(const pmdp_t& pmdp, pmd_t pmd, site s = RW_HERE) {
  if (!page_table_checked()) return;
  page_table_check_pmd_clear(pmdp_get(pmdp, s), s);
  page_table_check_pmd_put(pmd, s);
}
inline void page_table_check_pmd_grant(pmd_t pmd, site s = RW_HERE) {
  if (!page_table_checked() || !pmd_write(pmd)) return;
  if (const u64 nr = page_table_check_pages(pmd)) page_table_check_grant(pmd_pfn(pmd), nr, s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
