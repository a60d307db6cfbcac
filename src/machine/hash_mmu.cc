#include "machine/hash_mmu.h"

#include <algorithm>

#include "arch/pgtable.h"
#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

// ---- an entry of the hash table --------------------------------------------------------------------------
//   63..32 the address, above what chooses the word | 31..2 pfn | 1 stores are let through | 0 valid

constexpr u64 HPTE_VALID = 1;
constexpr u64 HPTE_WRITE = 2;
constexpr unsigned HPTE_PFN_SHIFT = 2;
constexpr unsigned HPTE_TAG_SHIFT = 32;
constexpr u64 HPTE_PFN = ((u64{1} << HPTE_TAG_SHIFT) - 1) & ~(HPTE_VALID | HPTE_WRITE);
constexpr u64 HPTES = PAGE_SIZE / sizeof(u64);

u64 hpte_tag(vaddr_t va) { return (va >> PAGE_SHIFT) / HPTES; }
u64 make_hpte(vaddr_t va, pfn_t pfn, bool write) {
  return (hpte_tag(va) << HPTE_TAG_SHIFT) | (pfn << HPTE_PFN_SHIFT) | (write ? HPTE_WRITE : 0) | HPTE_VALID;
}
bool hpte_valid(u64 hpte) { return (hpte & HPTE_VALID) != 0; }
bool hpte_matches(u64 hpte, vaddr_t va) { return hpte_valid(hpte) && hpte >> HPTE_TAG_SHIFT == hpte_tag(va); }

ref<u64> hpte_of(const mm_context& mm, vaddr_t va) {
  return ref<u64>(&pfn_words(mm.hash_table)[(va >> PAGE_SHIFT) % HPTES], {});
}

// ---- from the page table to the hash table ---------------------------------------------------------------

/// The entry as it is after such an access; 0 if it does not grant it.
u64 accessed_entry(u64 entry, level_t level, bool write) {
  if (!arch().valid(entry, level) || !arch().leaf(entry, level)) return 0;
  const u64 young = arch().mkyoung(entry, level);
  const u64 used = write ? arch().mkdirty(young, level) : young;
  return arch().mmu_permits(used, level, write) ? used : 0;
}

template <unsigned Level>
bool hash_entry(const mm_context& mm, const slot_t<Level>& slot, vaddr_t va, bool write, site s) {
  const level_t level = level_of(Level);
  u64 used = 0;
  for (bool locked = false; !locked;) {
    u64 old = smp_cond_load_acquire(slot.word(), arch().hash_busy, 0, s);
    used = accessed_entry(old, level, write);
    if (used == 0) return false;
    locked = try_cmpxchg(slot.word(), old, used | arch().hash_busy, order::acquire, s);
  }
  const pfn_t pfn = arch().pfn(used, level) + ((va >> PAGE_SHIFT) & ((u64{1} << level.order()) - 1));
  WRITE_ONCE(hpte_of(mm, va), make_hpte(va, pfn, arch().mmu_permits(used, level, true)), s);
  // the translation, then the lock: pairs with the acquire in read_settled() and the barrier before
  // flush_hash_range()
  smp_store_release(slot.word(), used, s);
  return true;
}

} // namespace

walk_result walk_hash_table(const mm_context& mm, vaddr_t va, bool write, site s) {
  if (va >= geometry().address_limit()) return {};
  const u64 hpte = translation_read(hpte_of(mm, va), {mm.ctx_id, va, PTE_LEVEL, hpte_valid}, s).value;
  if (!hpte_matches(hpte, va)) return {};
  const bool writable = (hpte & HPTE_WRITE) != 0;
  if (write && !writable) return {};
  return {.found = true,
          .map = {.pfn = (hpte & HPTE_PFN) >> HPTE_PFN_SHIFT, .huge = false, .writable = writable}};
}

bool hash_page(const mm_context& mm, vaddr_t va, bool write, site s) {
  if (va >= geometry().address_limit()) return false;
  // from the look-up to the store into the hash table: pairs with serialize_against_pte_lookup() in
  // pmdp_collapse_flush(), and with the grace period or interrupt before a table is freed
  irq_guard off(s);
  const pgdp_t pgdp = pgd_offset_in(pfn_words(mm.pgd), va);
  const pgd_t pgd = pgdp_get(pgdp, s);
  if (!pgd_present(pgd)) return false;
  const pudp_t pudp = pud_offset_in(pgdp, pgd, pgd_folded() ? nullptr : pfn_words(pgd_table_pfn(pgd)), va);
  const pud_t pud = pudp_get(pudp, s);
  if (!pud_present(pud)) return false;
  const pmdp_t pmdp = pmd_offset_in(pudp, pud, pud_folded() ? nullptr : pfn_words(pud_table_pfn(pud)), va);
  const pmd_t pmd = pmdp_get_lockless(pmdp, s);
  if (!pmd_present(pmd)) return false;
  if (pmd_leaf(pmd)) return hash_entry(mm, pmdp, va, write, s);
  return hash_entry(mm, pte_offset_in(pmd, pfn_words(pmd_table_pfn(pmd)), va), va, write, s);
}

void flush_hash_range(const mm_context& mm, vaddr_t start, vaddr_t end, site s) {
  const vaddr_t last = std::min(end, geometry().address_limit());
  const u64 pages = start < last ? (last - (start & PAGE_MASK) + PAGE_SIZE - 1) >> PAGE_SHIFT : 0;
  for (u64 i = 0; i < std::min(pages, HPTES); ++i) {
    const ref<u64> hpte = hpte_of(mm, start + i * PAGE_SIZE);
    u64 seen = READ_ONCE(hpte, s);
    // one step: of two flushes that meet here the second finds it gone
    while (hpte_valid(seen) && !try_cmpxchg(hpte, seen, 0, order::relaxed, s)) {
    }
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
