// What the slot functions of arch/pgtable.h promise, one CPU at a time. Run for the native architecture by
// pgtable_test.cc and for all of them, at several geometries, by pgtable_model_test.cc.
#pragma once

#include <gtest/gtest.h>

#include "arch/swapops.h"

namespace racewalk {

inline void check_pte_slots() {
  word_t word;
  const ptep_t ptep(word);
  const vaddr_t addr = 0;

  const pte_t rw = mk_pte(5, PAGE_SHARED);
  EXPECT_TRUE(pte_none(ptep_get(ptep)));
  set_pte(ptep, rw);
  EXPECT_TRUE(pte_same(ptep_get(ptep), rw));
  EXPECT_TRUE(pte_same(ptep_get_lockless(ptep), rw));

  // wrprotect: loses W, keeps what was recorded
  set_pte(ptep, pte_mkdirty(rw));
  ptep_set_wrprotect(addr, ptep);
  EXPECT_TRUE(pte_present(ptep_get(ptep)) && !pte_write(ptep_get(ptep)));
  EXPECT_TRUE(pte_dirty(ptep_get(ptep)) && pte_young(ptep_get(ptep)));

  // young: reported once
  EXPECT_TRUE(ptep_test_and_clear_young(addr, ptep));
  EXPECT_FALSE(ptep_test_and_clear_young(addr, ptep));
  EXPECT_TRUE(pte_dirty(ptep_get(ptep)));

  // access flags: rights are added, what hardware set stays, no change is reported as none
  EXPECT_TRUE(relax_pte(ptep, pte_mkyoung(rw)));
  EXPECT_TRUE(pte_write(ptep_get(ptep)) && pte_dirty(ptep_get(ptep)) && pte_young(ptep_get(ptep)));
  EXPECT_FALSE(relax_pte(ptep, ptep_get(ptep)));

  // modify: none in between
  const pte_t old = exchange_entry(ptep, 0);
  EXPECT_TRUE(pte_dirty(old));
  EXPECT_TRUE(pte_none(ptep_get(ptep)));
  set_pte(ptep, pte_modify(old, PAGE_READONLY));
  EXPECT_TRUE(pte_dirty(ptep_get(ptep)) && !pte_write(ptep_get(ptep)));
  EXPECT_EQ(pte_pfn(ptep_get(ptep)), 5U);

  // cmpxchg
  EXPECT_FALSE(ptep_cmpxchg(ptep, rw, pte_t{}));
  EXPECT_TRUE(ptep_cmpxchg(ptep, ptep_get(ptep), rw));
  EXPECT_TRUE(pte_same(exchange_entry(ptep, 0), rw));
  EXPECT_TRUE(pte_none(ptep_get(ptep)));

  // a migration entry and back
  const swp_entry_t entry = make_migration_entry_dirty(make_writable_migration_entry(5));
  set_pte(ptep, swp_entry_to_pte(entry));
  EXPECT_TRUE(is_swap_pte(ptep_get(ptep)));
  EXPECT_EQ(pte_to_swp_entry(ptep_get(ptep)), entry);
  EXPECT_TRUE(is_migration_entry(entry) && is_writable_migration_entry(entry));
  EXPECT_TRUE(is_migration_entry_dirty(entry) && !is_migration_entry_young(entry));
  EXPECT_EQ(swp_offset_pfn(entry), 5U);
  write_none(ptep);
  EXPECT_TRUE(pte_none(ptep_get(ptep)));
}

inline void check_pmd_slots() {
  word_t word;
  const pmdp_t pmdp(word);
  const vaddr_t addr = 0;
  const pfn_t pfn = pfn_t{3} * hpage_pmd_nr();

  pmd_populate_raw(pmdp, 9);
  EXPECT_TRUE(pmd_present(pmdp_get(pmdp)) && !pmd_leaf(pmdp_get(pmdp)) && !pmd_bad(pmdp_get(pmdp)));
  EXPECT_EQ(pmd_table_pfn(pmdp_get_lockless(pmdp)), 9U);
  EXPECT_TRUE(pmd_same(exchange_pmd(pmdp, {}), mk_pmd_table(9)));

  // invalidation returns the old entry and leaves one that is huge, complete and unusable for hardware
  const pmd_t huge = pmd_mkdirty(mk_huge_pmd(pfn, PAGE_SHARED));
  set_pmd(pmdp, huge);
  EXPECT_TRUE(pmd_same(exchange_pmd(pmdp, pmd_mkinvalid(pmdp_get(pmdp))), huge));
  const pmd_t invalid = pmdp_get(pmdp);
  EXPECT_TRUE(pmd_present(invalid) && pmd_leaf(invalid) && pmd_trans_huge(invalid) && !pmd_valid(invalid));
  EXPECT_TRUE(pmd_write(invalid) && pmd_dirty(invalid));
  EXPECT_EQ(pmd_pfn(invalid), pfn);

  EXPECT_TRUE(pmd_same(exchange_pmd(pmdp, huge), invalid));
  pmdp_set_wrprotect(addr, pmdp);
  EXPECT_TRUE(!pmd_write(pmdp_get(pmdp)) && pmd_dirty(pmdp_get(pmdp)));
  EXPECT_TRUE(pmdp_test_and_clear_young(addr, pmdp));
  EXPECT_FALSE(pmdp_test_and_clear_young(addr, pmdp));

  if (arch().thp_migration) {
    set_pmd(pmdp, swp_entry_to_pmd(make_readable_migration_entry(pfn)));
    EXPECT_TRUE(is_swap_pmd(pmdp_get(pmdp)) && is_pmd_migration_entry(pmdp_get(pmdp)));
    EXPECT_EQ(swp_offset_pfn(pmd_to_swp_entry(pmdp_get(pmdp))), pfn);
  }
  pmd_clear(pmdp);
  EXPECT_TRUE(pmd_none(pmdp_get(pmdp)) && !is_pmd_migration_entry(pmdp_get(pmdp)));
}

/// Builds one path from the root to a PTE and finds it again. Folded levels take no table.
inline void check_walk() {
  static constexpr unsigned MAX_ENTRIES = 512;
  static word_t tables[4][MAX_ENTRIES]; // of each level; the frame of one is the next number
  const auto table_of = [](pfn_t pfn) { return tables[pfn - 1]; };
  const vaddr_t addr = geometry().address_limit() - PAGE_SIZE; // the last index at each level

  const pgdp_t pgdp = pgd_offset_in(table_of(geometry().root_level() + 1), addr);
  EXPECT_EQ(pgd_none(pgdp_get(pgdp)), !pgd_folded());
  if (!pgd_folded()) pgd_populate_raw(pgdp, PUD_LEVEL + 1);
  const pgd_t pgd = pgdp_get(pgdp);
  ASSERT_TRUE(pgd_present(pgd) && !pgd_bad(pgd) && !pgd_leaf(pgd));

  const pudp_t pudp = pud_offset_in(pgdp, pgd, pgd_folded() ? nullptr : table_of(pgd_table_pfn(pgd)), addr);
  EXPECT_EQ(pud_none(pudp_get(pudp)), !pud_folded());
  if (!pud_folded()) pud_populate_raw(pudp, PMD_LEVEL + 1);
  const pud_t pud = pudp_get(pudp);
  ASSERT_TRUE(pud_present(pud) && !pud_bad(pud) && !pud_leaf(pud));

  const pmdp_t pmdp = pmd_offset_in(pudp, pud, pud_folded() ? nullptr : table_of(pud_table_pfn(pud)), addr);
  pmd_populate_raw(pmdp, PTE_LEVEL + 1);
  const pmd_t pmd = pmdp_get(pmdp);
  const ptep_t ptep = pte_offset_in(pmd, table_of(pmd_table_pfn(pmd)), addr);
  set_pte(ptep, mk_pte(7, PAGE_READONLY));

  EXPECT_EQ(ptep, ptep_t(tables[PTE_LEVEL][ptrs_per_table() - 1]));
  EXPECT_EQ(pmdp, pmdp_t(tables[PMD_LEVEL][ptrs_per_table() - 1]));
  EXPECT_EQ(pte_pfn(ptep_get(ptep)), 7U);
  // the slot of a folded level is the one below it, and is not read as its own
  if (pud_folded()) {
    EXPECT_EQ(pudp_get(pudp).val, 0U);
  }
  if (pgd_folded()) {
    EXPECT_EQ(pgdp_get(pgdp).val, 0U);
  }

  write_none(ptep);
  pmd_clear(pmdp);
  if (!pud_folded()) pud_clear(pudp);
  if (!pgd_folded()) pgd_clear(pgdp);
  for (const auto& table : tables)
    for (const word_t& entry : table)
      ASSERT_EQ(READ_ONCE(entry), 0U);
}

/// p?d_addr_end against stepping page by page.
inline void check_addr_end() {
  const unsigned upper = geometry().root_level();
  for (unsigned n = PMD_LEVEL; n <= upper; n++) {
    const u64 size = geometry().size(n);
    const vaddr_t end = geometry().address_limit();
    for (const vaddr_t addr : {vaddr_t{0}, PAGE_SIZE, size - PAGE_SIZE, end - PAGE_SIZE}) {
      for (const vaddr_t stop : {addr + PAGE_SIZE, end}) {
        const vaddr_t boundary = (addr / size + 1) * size;
        EXPECT_EQ(entry_addr_end(addr, stop, n), boundary < stop ? boundary : stop);
      }
    }
  }
  EXPECT_EQ(entry_addr_end(0, 12345, upper + 1), 12345U); // folded: one entry covers all
  // where the end of all addresses, 2^64, is 0
  const u64 last = -pmd_size();
  EXPECT_EQ(entry_addr_end(last, 0, PMD_LEVEL), 0U);
  EXPECT_EQ(entry_addr_end(last - pmd_size(), 0, PMD_LEVEL), last);
  EXPECT_EQ(entry_addr_end(last, last + PAGE_SIZE, PMD_LEVEL), last + PAGE_SIZE);
}

inline void check_slot_functions() {
  check_pte_slots();
  check_pmd_slots();
  check_walk();
  check_addr_end();
}

} // namespace racewalk
