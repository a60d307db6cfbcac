// H17 (S1.7): which CPUs a flush may pass by, and how much of it a CPU may leave out.
//
// (a) CVE-2025-22045 (3ef938c35035): a CPU that holds the mm lazily makes no user access, so flushes of pages
// may pass it by. Its walker still reads tables when it pleases, so flushes that precede the freeing of a
// table may not; a collapse unhooked a table and flushed as for pages.
// (b) CVE-2025-37964 (fea4e317f9e7): since a CPU stays in the mask of an mm that it has left, flushers look
// at what it has loaded. While it goes from one mm to another that is neither, and its TLB may already fill.
// (c) CVE-2025-40174 (83b0177a6c48): who is in the mask already sets no bit there; nothing then orders
// "switching" before the read of the generation, by which the CPU decides whether what it kept is still good.
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

/// What zapping a page comes to.
void unmap_page(mm_struct& mm, vaddr_t addr) {
  const pte_t pte = ptep_get_and_clear(addr, pte_offset(pmdp_get(find_pmd(mm, addr).pmdp), addr));
  flush_tlb_page(mm.context, addr);
  page* page = pfn_to_page(pte_pfn(pte));
  folio_remove_rmap_pte(page);
  put_page(page);
}

class flushing : public testbed {
 public:
  flushing() : testbed(3) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    for (unsigned cpu = 0; cpu < 3; ++cpu)
      load_mm(cpu, mm_);
    vma_tree& areas = mm_.region(0)->areas;
    areas.erase(*areas.lookup(0)); // a fault finds nothing
    cpu([] { (void)this_cpu().store<u64>(0, 1); });
    cpu([this] { unmap_page(mm_, 0); });
    cpu([this] { flush_tlb_page(mm_.context, PAGE_SIZE); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

/// A CPU comes back to an mm, and reads a page that is unmapped meanwhile.
class switching : public testbed {
 public:
  switching() : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    load_mm(1, mm_);
    for (mm_struct* mm : {&mm_, &other_}) // it has been there before
      machine.cpu(0).switch_mm(&mm->context);
    vma_tree& areas = mm_.region(0)->areas;
    areas.erase(*areas.lookup(0)); // a fault finds nothing
    cpu([this] {
      this_cpu().switch_mm(&mm_.context);
      (void)this_cpu().load<u64>(0);
    });
    cpu([this] { unmap_page(mm_, 0); });
  }

 private:
  mm_struct& mm_ = new_mm();
  mm_struct& other_ = new_mm();
};

enum shape : unsigned { LAZY_WALK, TWO_FLUSHES, SWITCH };

/// Lost where a flush is a request that the CPU handles by itself.
expect violation_if_ipi(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::violation : expect::safe;
}

/// Flushers choose by mask and loaded_mm whom to reach.
bool chooses_targets(const settings& s) { return s.arch->flush_targets == flush_targets_t::cpumask; }
expect violation_if_chosen(const settings& s) {
  return chooses_targets(s) ? expect::violation : expect::safe;
}
expect violation_if_chosen_unless_sc(const settings& s) {
  return chooses_targets(s) ? violation_unless_sc(s) : expect::safe;
}
/// Who left the mask sets its bit by a locked operation, which is a barrier where memory is not weak.
/// Elsewhere nobody leaves it.
expect violation_if_left_and_weak(const settings& s) {
  const bool left = s.arch->mm_cpumask == cpumask_rule_t::clear_on_switch;
  return left ? violation_if_weak(s) : expect::safe;
}

auto switching_with(bool stays_in_mask, bool switching_counts, bool barrier) {
  return [=](settings& s) {
    s.shape = SWITCH;
    s.machine.asid_outlives_switch = true;
    s.machine.mask_outlives_switch = stays_in_mask;
    s.machine.switching_counts = switching_counts;
    s.machine.switch_mm_barrier = barrier;
  };
}

} // namespace

scenario lazy_walk_vs_table_free() {
  return {
      .id = "H17",
      .name = "lazy_walk_vs_table_free",
      .summary = "a flush passes a CPU by, or a CPU leaves a part of a flush out",
      .source = "mail 1 (S1.7); 3ef938c35035 (CVE-2025-22045), fea4e317f9e7, 83b0177a6c48 (CVE-2025-40174)",
      .threads = {"walk", "unmap", "flush"},
      .set_up = [](const settings& s) -> std::unique_ptr<scenario_world> {
        if (s.shape == TWO_FLUSHES) return std::make_unique<flushing>();
        if (s.shape == SWITCH) return std::make_unique<switching>();
        return std::make_unique<walking>();
      },
      .variants =
          {
              {"a", "shipped", "the flush of a collapse says that a table goes", nullptr, always_safe},
              {"a-F", "flush_as_for_pages", "it does not say so",
               [](settings& s) { s.policy.collapse_flush_freed_tables = false; }, always_violation},
              {"b", "switch", "a CPU stays in the mask, and counts while it switches",
               switching_with(true, true, true), always_safe},
              {"b-S", "switch_unseen", "as b, a CPU that switches is taken for one that uses no mm",
               switching_with(true, false, true), violation_if_chosen},
              {"c", "switch_no_mb", "as b, no barrier after it has said that it switches",
               switching_with(true, true, false), violation_if_chosen_unless_sc},
              {"c-L", "switch_set_bit", "as c, but the CPU has left the mask and enters it again",
               switching_with(false, true, false), violation_if_left_and_weak},
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
