// An address space without a manager: page tables written by hand, and a fault handler that counts.
#pragma once

#include "arch/pgtable.h"
#include "machine/cpu.h"
#include "machine/tlbflush.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Frames are taken in order and never given back.
class test_mm {
 public:
  explicit test_mm(Machine& m, pfn_t first_free = 1) : machine_(m), next_(first_free) {
    context.pgd = new_frame();
    context.ctx_id = 1;
    context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
  }

  pfn_t new_frame() { return next_++; }
  word_t* words(pfn_t pfn) { return reinterpret_cast<word_t*>(machine_.frames() + (pfn << PAGE_SHIFT)); }
  /// The slot of `level` that maps `va`; the tables above it are made as needed.
  word_t& slot(vaddr_t va, unsigned level = PTE_LEVEL) {
    pfn_t table = context.pgd;
    for (unsigned n = geometry().root_level(); n > level; --n) {
      word_t& entry = words(table)[geometry().index(va, n)];
      if (arch().none(READ_ONCE(entry), level_of(n)))
        WRITE_ONCE(entry, arch().mk_table(new_frame(), level_of(n)));
      table = arch().table_pfn(READ_ONCE(entry));
    }
    return words(table)[geometry().index(va, level)];
  }
  /// Maps `va` to a frame, clean.
  void map(vaddr_t va, pfn_t pfn, pgprot_t prot, unsigned level = PTE_LEVEL) {
    WRITE_ONCE(slot(va, level), arch().mk_leaf(pfn, prot, level_of(level)));
  }
  /// The same, and stores need not be recorded any more.
  void map_dirty(vaddr_t va, pfn_t pfn, unsigned level = PTE_LEVEL) {
    WRITE_ONCE(slot(va, level),
               arch().mkdirty(arch().mk_leaf(pfn, PAGE_SHARED, level_of(level)), level_of(level)));
  }
  void unmap(vaddr_t va, unsigned level = PTE_LEVEL) { WRITE_ONCE(slot(va, level), 0); }

  mm_context context;

 private:
  Machine& machine_;
  pfn_t next_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
