#include "mm/pte_walk.h"

namespace racewalk::inline RACEWALK_BACKEND {

linux_pte find_linux_pte(const mm_struct& mm, vaddr_t addr) {
  const pmd_lookup at = find_pmd(mm, addr);
  const linux_pte nothing{.slot = at.pmdp.word()};
  if (!at.found) return nothing;
  const pmd_t pmd = pmdp_get_lockless(at.pmdp);
  if (!pmd_present(pmd) || !pmd_valid(pmd)) return nothing; // none, moving, or being replaced
  if (pmd_leaf(pmd)) return {.found = true, .huge = true, .value = pmd.val, .slot = at.pmdp.word()};
  const ptep_t ptep = pte_offset(pmd, addr);
  return {.found = true, .value = ptep_get_lockless(ptep).val, .slot = ptep.word()};
}

page* linux_pte_page(const linux_pte& pte, vaddr_t addr) {
  const level_t level = level_of(pte.huge ? PMD_LEVEL : PTE_LEVEL);
  const u64 value = policy().slot_walk_reloads ? READ_ONCE(pte.slot) : pte.value;
  if (!arch().present(value, level)) return nullptr;
  if (policy().slot_walk_tests_leaf && !arch().leaf(value, level)) return nullptr;
  VM_BUG_ON(!arch().leaf(value, level), "INV-TYPE", "the entry of a table was used as one of a huge page");
  const pfn_t first = arch().pfn(value, level);
  return pfn_to_page(pte.huge ? first + pte_index(addr) : first);
}

} // namespace racewalk::inline RACEWALK_BACKEND
