// The entries that the tests of src/arch go through: every kind, at every level, with boundary pfns.
#pragma once

#include <algorithm>
#include <array>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "arch/all.h"
#include "arch/swapops.h"

namespace racewalk {

// printing for gtest, and for the names of its instances
inline void PrintTo(const arch_desc* a, std::ostream* out) { *out << a->name; }
inline std::string arch_test_name(const testing::TestParamInfo<const arch_desc*>& info) {
  std::string name = info.param->name;
  std::ranges::replace(name, '-', '_');
  return name;
}

/// A suite that runs for every architecture: `a` is the one under test.
class ArchTest : public testing::TestWithParam<const arch_desc*> {
 protected:
  const arch_desc& a = *GetParam();
};
#define FOR_EVERY_ARCH(suite)                                                                                \
  INSTANTIATE_TEST_SUITE_P(All, suite, testing::ValuesIn(all_archs.begin(), all_archs.end()), arch_test_name)

/// Native, and the small trees that scenarios use.
inline constexpr std::array geometries{geometry_t{4, 9}, geometry_t{3, 2}, geometry_t{2, 1}};
/// The levels at which leaves exist, for each of them.
inline std::vector<level_t> leaf_levels() {
  std::vector<level_t> levels;
  for (const geometry_t& g : geometries)
    for (unsigned n = PTE_LEVEL; n <= PUD_LEVEL && !g.folded(n); n++)
      levels.push_back(g.level(n));
  return levels;
}

/// 0, the first and the last aligned pfn, each single bit, and each single hole.
inline std::vector<pfn_t> boundary_pfns(const arch_desc& a, level_t level) {
  const unsigned pfn_bits = a.phys_bits - PAGE_SHIFT;
  const pfn_t last = ((pfn_t{1} << pfn_bits) - 1) & (~pfn_t{0} << level.order());
  std::vector<pfn_t> pfns{0, last};
  for (unsigned b = level.order(); b < pfn_bits; b++) {
    pfns.push_back(pfn_t{1} << b);
    pfns.push_back(last & ~(pfn_t{1} << b));
  }
  return pfns;
}

/// The offsets of migration entries: each single bit, the first 4096 and the largest.
inline std::vector<u64> migration_offsets(const arch_desc& a) {
  std::vector<u64> offsets{swp_mig_dirty(a) | swp_mig_young(a) | swp_pfn_mask(a)};
  for (u64 offset = 0; offset < 4096; offset++)
    offsets.push_back(offset);
  for (u64 bit = 4096; bit <= swp_mig_dirty(a); bit <<= 1)
    offsets.push_back(bit);
  return offsets;
}

inline constexpr std::array migration_types{SWP_MIGRATION_READ, SWP_MIGRATION_READ_EXCLUSIVE,
                                            SWP_MIGRATION_WRITE};

/// The pfns that a table may have: those of a page, but for 0.
inline std::vector<pfn_t> table_pfns(const arch_desc& a) {
  std::vector<pfn_t> pfns = boundary_pfns(a, geometry_t{}.level(PTE_LEVEL));
  std::erase(pfns, pfn_t{0});
  return pfns;
}

/// Whether A outlives mkinvalid(): not where it is the bit that makes a leaf valid.
inline bool keeps_young_if_invalid(const arch_desc& a) { return std::string_view(a.name) != "loongarch64"; }

inline constexpr std::array all_prots{
    PAGE_NONE,
    PAGE_READONLY,
    PAGE_READONLY_EXEC,
    PAGE_SHARED,
    PAGE_SHARED_EXEC,
    pgprot_t{.write = false, .user = false},
    pgprot_t{.write = true, .user = false},
};

/// The rights that entries can tell apart: on s390x user and kernel live in different address spaces.
inline std::vector<pgprot_t> prots_of(const arch_desc& a) {
  std::vector<pgprot_t> prots(all_prots.begin(), all_prots.end());
  if (std::string_view(a.name) == "s390x") std::erase_if(prots, [](pgprot_t prot) { return !prot.user; });
  return prots;
}

} // namespace racewalk
