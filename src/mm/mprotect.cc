#include "mm/mprotect.h"

#include <cerrno>
#include <optional>

#include "arch/swapops.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"
#include "mm/pgalloc.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/tlbbatch.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

pte_t changed_entry(pte_t old, pgprot_t prot, cp_flags what) {
  switch (what) {
  case cp_flags::uffd_wp:
  case cp_flags::uffd_wp_file:
    return pte_mkuffd_wp(old);
  case cp_flags::uffd_wp_resolve:
    return pte_clear_uffd_wp(old);
  case cp_flags::rights:
    break;
  }
  const pte_t entry = pte_modify(old, prot);
  return pte_uffd_wp(entry) ? pte_wrprotect(entry) : entry;
}

/// An entry that is not present: a migration entry takes its bit along, what is none is marked or not. Needs
/// the ptl.
void change_nonpresent_pte(vaddr_t addr, const ptep_t& ptep, pte_t old, cp_flags what) {
  if (what == cp_flags::rights) return;
  const bool resolve = what == cp_flags::uffd_wp_resolve;
  if (pte_none(old)) {
    if (what == cp_flags::uffd_wp_file && policy().uffd_wp_marks_none)
      set_pte_at(addr, ptep, make_pte_marker(PTE_MARKER_UFFD_WP));
  } else if (is_pte_marker(old)) {
    if (resolve) pte_clear(addr, ptep);
  } else {
    set_pte_at(addr, ptep, resolve ? pte_swp_clear_uffd_wp(old) : pte_swp_mkuffd_wp(old));
  }
}

/// False if there is no table.
bool change_pte_range(mmu_gather& tlb, const pmdp_t& pmdp, vaddr_t addr, vaddr_t end, pgprot_t prot,
                      cp_flags what) {
  pte_map_lock table(pmdp);
  if (!table) return false;
  // an entry that is gone has lost its rights already, if its flush is not still to come
  if (policy().mprotect_flushes_batched) flush_tlb_batched_pending(tlb.mm);
  for (; addr < end; addr += PAGE_SIZE) {
    const ptep_t ptep = table.at(addr);
    const pte_t seen = ptep_get(ptep);
    if (!pte_present(seen)) {
      change_nonpresent_pte(addr, ptep, seen, what);
      continue;
    }
    if (what == cp_flags::uffd_wp_resolve && !pte_uffd_wp(seen)) continue;
    // lockless walks may find no page meanwhile, which is all that they may conclude
    const auto change = [&](pte_t pte) {
      return changed_entry(pte, rights_to_page(prot, pfn_to_page(pte_pfn(pte))), what);
    };
    const pte_t old = ptep_modify(addr, ptep, change);
    if (pte_needs_flush(old, change(old))) tlb_remove_tlb_entry(tlb, addr);
  }
  return true;
}

/// The PMD entry for an address, with a table behind it unless a huge page is there; `found` is false when
/// memory is short.
pmd_lookup pte_alloc_for_markers(mm_struct& mm, vaddr_t addr) {
  const pmd_lookup at = pmd_alloc(mm, addr);
  return {at.found && (!pmd_none(pmdp_get_lockless(at.pmdp)) || pte_alloc(mm, at.pmdp)), at.pmdp};
}

} // namespace

int change_protection(mmu_gather& tlb, vaddr_t start, vaddr_t end, pgprot_t prot, cp_flags what) {
  for (vaddr_t addr = start, next; addr < end; addr = next) {
    next = pmd_addr_end(addr, end);
    const bool marks = what == cp_flags::uffd_wp_file;
    const pmd_lookup at = marks ? pte_alloc_for_markers(tlb.mm, addr) : find_pmd(tlb.mm, addr);
    if (!at.found && marks) return -ENOMEM;
    if (!at.found) continue;
    if (what == cp_flags::rights && pmd_is_huge(pmdp_get_lockless(at.pmdp)) &&
        change_huge_pmd(tlb, addr, at.pmdp, prot))
      continue;
    const bool done = change_pte_range(tlb, at.pmdp, addr, next, prot, what);
    if (!done && marks && pmd_none(pmdp_get_lockless(at.pmdp)))
      next = addr; // taken away meanwhile: once more
  }
  return 0;
}

void mprotect_fixup(vm_area_struct& vma, vm_flags_t flags) {
  mm_struct& mm = *vma.vm_mm;
  std::optional<write_guard> vm_lock; // no fault by the old flags after this
  if (policy().mprotect_keeps_faults_out) vm_lock.emplace(vma.vm_lock, RW_HERE);
  const bool rights_change = ((flags ^ vma.vm_flags.get()) & VM_ACCESS_FLAGS) != 0;
  {
    write_guard anon_vma(mm.existing_region(vma.vm_start.get())->anon_vma_lock);
    vma.vm_flags.set(flags);
  }
  if (!rights_change) return;
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_vma, vma.vm_start.get(),
                                   vma.vm_end.get());
  mmu_gather tlb(mm);
  tlb_gather_mmu(tlb);
  change_protection(tlb, vma.vm_start.get(), vma.vm_end.get(), vm_page_prot(vma));
  tlb_finish_mmu(tlb);
}

} // namespace racewalk::inline RACEWALK_BACKEND
