// H17 (S1.7): which CPUs a flush may pass by, and how much of it a CPU may leave out.
//
// (a) CVE-2025-22045 (3ef938c35035): a CPU that holds the mm lazily makes no user access, so flushes of pages
// may pass it by. Its walker still reads tables when it pleases, so flushes that precede the freeing of a
// table may not; a collapse unhooked a table and flushed as for pages.
// (d) A CPU that is more than one generation behind has missed a flush whose range it does not know. If it
// takes the newest one's range for all and calls itself up to date, the other is lost.
#include "catalogue.h"
#include "machine/tlbflush.h"
#include "mm/khugepaged.h"
#include "mm/memory.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class walking : public testbed {
 public:
  walking() : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    load_mm(0, mm_);
    load_mm(1, mm_);
    WRITE_ONCE(machine.cpu(0).is_lazy, 1);
    cpu([this] {
      irq_guard off; // the mm is not dropped under the walk
      Cpu& me = this_cpu();
      if (me.current_mm() != &mm_.context) return;
      (void)me.local.tlb.walk_begin();
      (void)walk_page_table(mm_.context, 0, false); // nobody asked for it
      me.local.tlb.walk_end();
    });
    cpu([this] {
      (void)collapse_huge_page(mm_, 0, {.max_ptes_none = 0, .wanted_only = false});
      mmu_gather tlb(mm_);
      tlb_gather_mmu(tlb);
      unmap_page_range(tlb, 0, pmd_size());
      tlb_finish_mmu(tlb);
    });
  }

 private:
  mm_struct& mm_ = new_mm();
};

class flushing : public testbed {
 public:
  flushing() : testbed(3) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    for (unsigned cpu = 0; cpu < 3; ++cpu)
      load_mm(cpu, mm_);
    vma_tree& areas = mm_.region(0)->areas;
    areas.erase(*areas.lookup(0)); // a fault finds nothing
    cpu([] { (void)this_cpu().store<u64>(0, 1); });
    cpu([this] { unmap(0); });
    cpu([this] { flush_tlb_page(mm_.context, PAGE_SIZE); });
  }

 private:
  /// What zapping a page comes to.
  void unmap(vaddr_t addr) {
    const pte_t pte = ptep_get_and_clear(addr, pte_offset(pmdp_get(find_pmd(mm_, addr).pmdp), addr));
    flush_tlb_page(mm_.context, addr);
    page* page = pfn_to_page(pte_pfn(pte));
    folio_remove_rmap_pte(page);
    put_page(page);
  }
  mm_struct& mm_ = new_mm();
};

enum shape : unsigned { LAZY_WALK, TWO_FLUSHES };

/// Lost where a flush is a request that the CPU handles by itself.
expect violation_if_ipi(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::violation : expect::safe;
}

} // namespace

scenario lazy_walk_vs_table_free() {
  return {
      .id = "H17",
      .name = "lazy_walk_vs_table_free",
      .summary = "a flush passes a CPU by, or a CPU leaves a part of a flush out",
      .source = "mail 1 (S1.7); 3ef938c35035 (CVE-2025-22045)",
      .threads = {"walk", "unmap", "flush"},
      .set_up = [](const settings& s) -> std::unique_ptr<scenario_world> {
        if (s.shape == TWO_FLUSHES) return std::make_unique<flushing>();
        return std::make_unique<walking>();
      },
      .variants =
          {
              {"a", "shipped", "the flush of a collapse says that a table goes", nullptr, always_safe},
              {"a-F", "flush_as_for_pages", "it does not say so",
               [](settings& s) { s.policy.collapse_flush_freed_tables = false; }, always_violation},
              {"d", "two_flushes", "two ranges are flushed at once",
               [](settings& s) { s.shape = TWO_FLUSHES; }, always_safe},
              {"d-P", "two_flushes_partial", "as d, each request's range is taken for all that is missing",
               [](settings& s) {
                 s.shape = TWO_FLUSHES;
                 s.machine.flush_generations_exact = false;
               },
               violation_if_ipi},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
