#include "machine/walker.h"

#include <array>

#include "machine/hash_mmu.h"
#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// A leaf entry as the walker found it.
struct leaf {
  ref<u64> slot;
  u64 entry;
  level_t level;
};

/// Is it a leaf that grants the access?
bool grants(u64 entry, level_t level, bool write) {
  return arch().valid(entry, level) && (level.number == PTE_LEVEL || arch().leaf(entry, level)) &&
         arch().mmu_permits(entry, level, write);
}

/// HW-A: sets A and D only while the entry grants the access; what it has become decides. False: fault.
bool record_if_granted(leaf& l, bool write, site s) {
  for (;;) {
    const u64 recorded = arch().mmu_update(l.entry, l.level, write);
    if (recorded == l.entry || try_cmpxchg(l.slot, l.entry, recorded, order::relaxed, s)) {
      l.entry = recorded;
      return true;
    }
    if (!grants(l.entry, l.level, write)) return false;
  }
}

/// HW-B: sets A and D on an entry that is still present, even if it no longer lets stores through, and goes
/// on with the translation it has.
bool record_if_present(leaf& l, bool write, site s) {
  for (u64 seen = l.entry;;) {
    const u64 recorded = arch().mmu_update(seen, l.level, write);
    if (recorded == seen || try_cmpxchg(l.slot, seen, recorded, order::relaxed, s)) {
      l.entry = arch().mmu_update(l.entry, l.level, write);
      return true;
    }
    if (!grants(seen, l.level, false)) return false;
  }
}

bool record_access(leaf& l, bool write, site s) {
  switch (arch().ad_profile) {
  case ad_profile_t::hw_a:
    return record_if_granted(l, write, s);
  case ad_profile_t::hw_b:
    return record_if_present(l, write, s);
  case ad_profile_t::sw:
    break; // an entry that grants the access has it recorded
  }
  return true;
}

/// May a TLB or a paging-structure cache hold such an entry of this level?
template <unsigned Level> bool cacheable_at(u64 entry) { return arch().valid(entry, level_of(Level)); }
constexpr std::array cacheable{cacheable_at<PTE_LEVEL>, cacheable_at<PMD_LEVEL>, cacheable_at<PUD_LEVEL>,
                               cacheable_at<PGD_LEVEL>};

walk_result use_leaf(leaf l, vaddr_t va, bool write, site s) {
  if (!arch().mmu_permits(l.entry, l.level, write) || !record_access(l, write, s)) return {};
  const u64 offset = va & ((PAGE_SIZE << l.level.order()) - 1);
  return {.found = true,
          .map = {.pfn = arch().pfn(l.entry, l.level) + (offset >> PAGE_SHIFT),
                  .huge = l.level.number != PTE_LEVEL,
                  .writable = arch().mmu_permits(l.entry, l.level, true) &&
                              arch().mmu_update(l.entry, l.level, true) == l.entry}};
}

} // namespace

walk_result walk_page_table(const mm_context& mm, vaddr_t va, bool write, site s, tlb_t* stepwise) {
  const geometry_t& g = geometry();
  if (va >= g.address_limit()) return {};
  pfn_t table = mm.pgd;
  dep_t dep{};
  for (unsigned n = g.root_level();; --n) {
    const level_t level = g.level(n);
    const ref<u64> slot(&pfn_words(table)[g.index(va, n)], dep);
    // an address dependency orders this read after the one of the entry above (M1)
    const auto [entry, read] = translation_read(slot, {mm.ctx_id, va, level.number, cacheable[n]}, s);
    if (!arch().valid(entry, level)) return {};
    if (n == PTE_LEVEL || arch().leaf(entry, level)) return use_leaf({slot, entry, level}, va, write, s);
    table = arch().table_pfn(entry);
    dep = read;
    if (stepwise != nullptr) {
      stepwise->walk_end(s);
      stepwise->walk_begin(s);
    }
  }
}

walk_result mmu_walk(const mm_context& mm, vaddr_t va, bool write, site s) {
  return arch().hash_mmu() ? walk_hash_table(mm, va, write, s) : walk_page_table(mm, va, write, s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
