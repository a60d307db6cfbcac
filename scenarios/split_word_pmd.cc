// S3.8: what a lockless walk may read of an entry that is two words.
//
// pmdp_get_lockless() reads the low word, the high one, and the low one again until it has not changed. That
// finds out an entry that went away, but not one that went away and was followed by another with the same low
// word: in between the high word was that of no entry. Interrupts are off while it reads, so whoever empties
// the place and does not interrupt its CPU by the flush, interrupts it before the place is used again:
// pmdp_get_lockless_sync().
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/page_alloc.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    const page* last_low = alloc_page(GFP_KERNEL);
    while (page_to_pfn(last_low) <= arch().low_half >> PAGE_SHIFT && arch().split_words())
      last_low = alloc_page(GFP_KERNEL); // entries of the pages from here on have a high word that is not 0
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    load_mm(0, mm_);
    load_mm(1, mm_);
    const pmdp_t pmdp = find_pmd(mm_, 0).pmdp;
    page* old = pmd_pgtable(pmdp_get(pmdp));
    page* next = table_like(old);
    cpu([this, pmdp, old, next] {
      lockless_walk section(mm_);
      const pmd_t pmd = pmdp_get_lockless(pmdp);
      if (!pmd_present(pmd)) return;
      const page* found = pmd_pgtable(pmd);
      VM_BUG_ON(found != old && found != next, "INV-TYPE",
                "the halves of two entries were put together: the walk goes on in a page that is no table");
    });
    cpu([this, pmdp, next] {
      mmu_gather tlb(mm_);
      tlb_gather_mmu(tlb);
      free_pgtables(tlb, whole_table(0));
      tlb_finish_mmu(tlb);
      (void)pmd_install(pmdp, next); // as a fault in what is mapped there next
    });
  }

 private:
  /// Another table whose entry differs in the high word only.
  static page* table_like(const page* other) {
    const auto low = [](const page* table) { return mk_pmd_table(page_to_pfn(table)).val & arch().low_half; };
    page* table = pagetable_alloc(GFP_KERNEL);
    while (arch().split_words() && low(table) != low(other))
      table = pagetable_alloc(GFP_KERNEL); // the others stay behind
    return table;
  }

  mm_struct& mm_ = new_mm();
};

expect violation_if_split(const settings& s) {
  return s.arch->split_words() ? expect::violation : expect::safe;
}

} // namespace

scenario split_word_pmd() {
  return {
      .id = "S3.8",
      .name = "split_word_pmd",
      .summary = "an entry of two words is read while a table is taken away and another put in its place",
      .source = "include/linux/pgtable.h (ptep_get_lockless), arch/x86/include/asm/pgtable-3level.h",
      .threads = {"walk", "munmap"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "who took the table away interrupts the walks before the place is used again",
               nullptr, always_safe},
              {"b", "no_sync", "the table is freed after a grace period, and that is all",
               [](settings& s) { s.policy.lockless_sync = false; }, violation_if_split},
              {"c", "walk_rcu_only", "as a, but the walk has interrupts on",
               [](settings& s) { s.policy.gup_section = gup_section_t::rcu; }, violation_if_split},
          },
      .archs = {&x86_pae},
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
