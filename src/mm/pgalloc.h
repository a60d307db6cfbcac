// Walking down an address space's tables, their locks, and installing new ones (M1).
//
// Locks: the ptl of a PTE table guards its entries; the ptl of a PMD table is its pml; mm->page_table_lock
// guards the levels above. A table is reached through the value of the entry above it, which is read once:
// the address of what is read next depends on it, and that dependency is what publishing pairs with.
#pragma once

#include "mm/mm_types.h"
#include "mm/page_alloc.h"
#include "mm/pgtable.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- down the levels -------------------------------------------------------------------------------------

inline pgdp_t pgd_offset(const mm_struct& mm, vaddr_t addr) {
  return pgd_offset_in(pfn_words(mm.context.pgd), addr);
}
inline pudp_t pud_offset(pgdp_t pgdp, pgd_t pgd, vaddr_t addr) {
  return pud_offset_in(pgdp, pgd, pgd_folded() ? nullptr : pfn_words(pgd_table_pfn(pgd)), addr);
}
inline pmdp_t pmd_offset(pudp_t pudp, pud_t pud, vaddr_t addr) {
  return pmd_offset_in(pudp, pud, pud_folded() ? nullptr : pfn_words(pud_table_pfn(pud)), addr);
}
inline ptep_t pte_offset(pmd_t pmd, vaddr_t addr) {
  return pte_offset_in(pmd, pfn_words(pmd_table_pfn(pmd)), addr);
}
inline page* pmd_pgtable(pmd_t pmd) { return pfn_to_page(pmd_table_pfn(pmd)); }
inline bool pmd_is_table(pmd_t pmd) { return pmd_present(pmd) && !pmd_leaf(pmd); }

/// Where the PMD entry for an address stands; `found` is false if no PMD table covers it.
struct pmd_lookup {
  bool found;
  pmdp_t pmdp;
};
/// Walks down without locks, each level read once.
inline pmd_lookup find_pmd(const mm_struct& mm, vaddr_t addr, site s = RW_HERE) {
  const pgdp_t pgdp = pgd_offset(mm, addr);
  const pgd_t pgd = pgdp_get(pgdp, s);
  if (!pgd_present(pgd)) return {false, pmdp_t(pgdp.word())};
  const pudp_t pudp = pud_offset(pgdp, pgd, addr);
  const pud_t pud = pudp_get(pudp, s);
  if (!pud_present(pud)) return {false, pmdp_t(pudp.word())};
  return {true, pmd_offset(pudp, pud, addr)};
}

// ---- locks -----------------------------------------------------------------------------------------------

inline spinlock_t& pte_lockptr(pmd_t pmd) { return pmd_pgtable(pmd)->ptl; }
/// The PMD table that an entry stands in.
inline page& pmd_table_page(const pmdp_t& pmdp) {
  const auto* at = reinterpret_cast<const std::byte*>(pmdp.word().get());
  return *pfn_to_page(static_cast<pfn_t>(at - machine().frames()) >> PAGE_SHIFT);
}
inline spinlock_t& pmd_lockptr(const pmdp_t& pmdp) { return pmd_table_page(pmdp).ptl; }

/// A PTE table that the caller has found and kept from being taken away, locked. INV-TBL if it has been: an
/// entry stored there would be lost.
class SCOPED_CAPABILITY pte_table_guard {
 public:
  explicit pte_table_guard(pmd_t pmd, site s = RW_HERE) ACQUIRE(lock_) : lock_(pte_lockptr(pmd)), where_(s) {
    spin_lock(lock_, s);
    VM_BUG_ON(!PageTable(pmd_pgtable(pmd), s), "INV-TBL", "the page table is not reachable any more", s);
  }
  ~pte_table_guard() RELEASE() { spin_unlock(lock_, where_); }
  pte_table_guard(const pte_table_guard&) = delete;
  pte_table_guard& operator=(const pte_table_guard&) = delete;

 private:
  spinlock_t& lock_;
  site where_;
};

// The pte_offset_map family (M6). A table that maps a file may be taken away by somebody who holds neither
// the mmap_lock nor the vm_lock (retract_page_tables): then the entry that led to it is cleared under the pml
// and the ptl, and the table is freed after a grace period. So whoever comes by the PMD entry reads in an RCU
// section, and whoever changes entries looks at the PMD entry again once the lock is held.

/// pte_offset_map(): the table behind a PMD entry, readable for as long as this lives; it may have been taken
/// away. False if no table is there.
class pte_map {
 public:
  explicit pte_map(const pmdp_t& pmdp, site s = RW_HERE) : where_(s) {
    if (policy().pte_map_rcu) rcu_read_lock(where_);
    pmd_ = read_whole(pmdp, s);
    if (policy().pte_map_rcu && !*this) rcu_read_unlock(where_);
  }
  ~pte_map() {
    if (policy().pte_map_rcu && *this) rcu_read_unlock(where_);
  }
  pte_map(const pte_map&) = delete;
  pte_map& operator=(const pte_map&) = delete;

  explicit operator bool() const { return pmd_is_table(pmd_); }
  ptep_t at(vaddr_t addr) const { return pte_offset(pmd_, addr); }
  pmd_t pmd() const { return pmd_; }

 private:
  /// pmdp_get_lockless() with what holds pmdp_get_lockless_sync() back, if there is a half to be read.
  static pmd_t read_whole(const pmdp_t& pmdp, site s) {
    if (!arch().split_words()) return pmdp_get_lockless(pmdp, s);
    irq_guard off(s);
    return pmdp_get_lockless(pmdp, s);
  }

  site where_;
  pmd_t pmd_;
};

/// pte_offset_map_lock(): the table behind a PMD entry, locked, and in its place for as long as this lives.
/// False if no table is there: it is for the caller to find out what is.
class SCOPED_CAPABILITY pte_map_lock {
 public:
  explicit pte_map_lock(const pmdp_t& pmdp, site s = RW_HERE) NO_THREAD_SAFETY_ANALYSIS : map_(pmdp, s),
                                                                                          where_(s) {
    if (!map_) return;
    spin_lock(lock(), where_);
    // What the entry was is what was locked; what it is now decides. Ordered by the lock: who took the table
    // away has cleared the entry while holding it (retract_page_tables).
    locked_ = !policy().ptl_rechecks_pmd || pmd_same(pmdp_get(pmdp, s), map_.pmd());
    if (!locked_) spin_unlock(lock(), where_);
    VM_BUG_ON(locked_ && !PageTable(pmd_pgtable(map_.pmd()), s), "INV-TBL",
              "the page table is not reachable any more", s);
  }
  ~pte_map_lock() NO_THREAD_SAFETY_ANALYSIS {
    if (locked_) spin_unlock(lock(), where_);
  }
  pte_map_lock(const pte_map_lock&) = delete;
  pte_map_lock& operator=(const pte_map_lock&) = delete;

  explicit operator bool() const { return locked_; }
  ptep_t at(vaddr_t addr) const { return map_.at(addr); }

 private:
  spinlock_t& lock() const { return pte_lockptr(map_.pmd()); }
  pte_map map_;
  site where_;
  bool locked_ = false;
};

// ---- installing tables -----------------------------------------------------------------------------------

/// Puts a filled table behind the entry, if that is still none; else the table is left to the caller.
[[nodiscard]] bool pmd_install(pmdp_t pmdp, page* table);

/// Makes sure that a PTE table, or a huge page, is behind the entry. False when memory is short.
[[nodiscard]] bool pte_alloc(mm_struct& mm, pmdp_t pmdp);

/// Whether a PTE table, for the addresses from `start` on, has no entries. Caller holds the ptl.
[[nodiscard]] bool pte_table_is_empty(pmd_t table, vaddr_t start);

/// The PMD entry for an address, with the tables above it made as needed; `found` is false when memory is
/// short.
pmd_lookup pmd_alloc(mm_struct& mm, vaddr_t addr);

/// The root table. False when memory is short.
[[nodiscard]] bool pgd_alloc(mm_struct& mm);

} // namespace racewalk::inline RACEWALK_BACKEND
