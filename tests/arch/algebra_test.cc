// The algebra of entries, as Linux's boot test debug_vm_pgtable checks it, and further: every entry that the
// helpers can make is compared with a plain record of what was asked for, on every level of every format.

#include <map>
#include <optional>

#include "entries.h"

namespace racewalk {
namespace {

// ---- one step at a time ----------------------------------------------------------------------------------

class Algebra : public ArchTest {
 protected:
  template <class Check> void for_each_leaf(Check check) const {
    for (const level_t level : leaf_levels())
      for (const pgprot_t prot : prots_of(a))
        for (const pfn_t pfn : boundary_pfns(a, level))
          check(level, prot, pfn, a.mk_leaf(pfn, prot, level));
  }
};
FOR_EVERY_ARCH(Algebra);

TEST_P(Algebra, AFreshLeafIsCleanYoungAndWhatWasAsked) {
  for_each_leaf([&](level_t level, pgprot_t prot, pfn_t pfn, u64 e) {
    ASSERT_FALSE(a.none(e, level));
    ASSERT_EQ(a.pfn(e, level), pfn);
    ASSERT_EQ(a.protnone(e, level), prot.none);
    ASSERT_EQ(a.write(e, level), prot.write && !prot.none);
    ASSERT_FALSE(a.dirty(e, level));
    ASSERT_TRUE(a.young(e, level));
    ASSERT_FALSE(a.special(e, level));
  });
}

TEST_P(Algebra, ModifyThereAndBackIsTheSameEntry) {
  for_each_leaf([&](level_t level, pgprot_t prot, pfn_t, u64 e) {
    for (const u64 f : {e, a.mkdirty(e, level), a.mkold(e, level), a.mkold(a.mkdirty(e, level), level)})
      for (const pgprot_t other : prots_of(a)) {
        const u64 there = a.modify(f, other, level);
        ASSERT_EQ(a.write(there, level), other.write && !other.none);
        ASSERT_EQ(a.protnone(there, level), other.none);
        ASSERT_EQ(a.dirty(there, level), a.dirty(f, level));
        ASSERT_EQ(a.young(there, level), a.young(f, level));
        ASSERT_EQ(a.pfn(there, level), a.pfn(f, level));
        const u64 back = a.modify(there, prot, level);
        ASSERT_EQ(a.write(back, level), a.write(f, level));
        ASSERT_EQ(a.dirty(back, level), a.dirty(f, level));
        ASSERT_EQ(a.modify(back, prot, level), a.modify(f, prot, level));
      }
  });
}

// Bit for bit: not even bits that no question asks about may be left over.
TEST_P(Algebra, ModifyMakesTheEntryThatMkLeafMakes) {
  for_each_leaf([&](level_t level, pgprot_t, pfn_t pfn, u64 e) {
    for (const pgprot_t other : prots_of(a))
      ASSERT_EQ(a.modify(e, other, level), a.mk_leaf(pfn, other, level));
  });
}

TEST_P(Algebra, InvalidationKeepsEverythingButValidity) {
  for (const geometry_t& g : geometries) {
    const level_t level = g.level(PMD_LEVEL);
    for (const pgprot_t prot : {PAGE_READONLY, PAGE_SHARED, PAGE_SHARED_EXEC})
      for (const pfn_t pfn : boundary_pfns(a, level)) {
        const u64 e = a.mk_leaf(pfn, prot, level);
        for (const u64 f : {e, a.mkdirty(e, level), a.mkold(e, level), a.mkold(a.mkdirty(e, level), level)}) {
          const u64 invalid = a.mkinvalid(f, level);
          ASSERT_FALSE(a.valid(invalid, level));
          ASSERT_TRUE(a.present(invalid, level));
          ASSERT_TRUE(a.leaf(invalid, level));
          ASSERT_TRUE(a.trans_huge(invalid));
          ASSERT_EQ(a.pfn(invalid, level), pfn);
          ASSERT_EQ(a.write(invalid, level), a.write(f, level));
          ASSERT_EQ(a.dirty(invalid, level), a.dirty(f, level));
          ASSERT_EQ(a.young(invalid, level), a.young(f, level) && keeps_young_if_invalid(a));
          ASSERT_EQ(a.mkinvalid(invalid, level), invalid);
        }
      }
  }
}

/// The levels that swap entries may stand at.
std::vector<level_t> swap_levels(const arch_desc& a) {
  std::vector<level_t> levels;
  for (const level_t level : leaf_levels())
    if (level.number == PTE_LEVEL || (level.number == PMD_LEVEL && a.thp_migration)) levels.push_back(level);
  return levels;
}

TEST_P(Algebra, SwapEntriesRoundTripAndAreNeitherNoneNorPresent) {
  for (const level_t level : swap_levels(a)) {
    // above the PTE level it is a migration entry, which has a pfn, young and dirty
    const unsigned offset_bits = level.number == PTE_LEVEL ? a.swp_offset_bits : a.phys_bits - PAGE_SHIFT + 2;
    const u64 all = (u64{1} << offset_bits) - 1;
    for (unsigned type = 0; type < 1U << a.swp_type_bits; type++)
      for (unsigned b = 0; b <= offset_bits; b++) // the last one: offset 0
        for (const bool hole : {false, true}) {
          const u64 bit = (u64{1} << b) & all;
          const u64 offset = hole ? all ^ bit : bit;
          const u64 e = a.swp_entry(type, offset, level);
          ASSERT_EQ(a.swp_type(e), type);
          ASSERT_EQ(a.swp_offset(e), offset);
          if (type == 0 && e == 0) continue; // the one encoding that is none; see the next test
          ASSERT_FALSE(a.none(e, level)) << type << ' ' << offset;
          ASSERT_FALSE(a.present(e, level)) << type << ' ' << offset;
          ASSERT_FALSE(a.valid(e, level));
          const u64 marked = e | a.swp_soft_dirty;
          ASSERT_EQ(a.swp_type(marked), type);
          ASSERT_EQ(a.swp_offset(marked), offset);
          ASSERT_FALSE(a.none(marked, level) || a.present(marked, level) || a.valid(marked, level));
        }
  }
}

// One swap entry of type 0 has all bits clear. It is the one that no device uses: offset 0 is its header, and
// on x86, which stores offsets inverted, it is the last offset.
TEST_P(Algebra, OnlyOneSwapEntryIsNone) {
  const level_t level = geometry_t{}.level(PTE_LEVEL);
  const u64 last = (u64{1} << a.swp_offset_bits) - 1;
  const std::string_view name = a.name;
  const bool marked = name.starts_with("powerpc64") || name == "s390x"; // with a bit that none has not
  const bool inverted = name.starts_with("x86");
  EXPECT_EQ(a.none(a.swp_entry(0, 0, level), level), !marked && !inverted);
  EXPECT_EQ(a.none(a.swp_entry(0, last, level), level), inverted);
}

TEST_P(Algebra, TablesKeepTheirPfnAndNothingElse) {
  for (const geometry_t& g : geometries)
    for (unsigned n = PMD_LEVEL; !g.folded(n); n++)
      for (const pfn_t pfn : table_pfns(a)) {
        const level_t level = g.level(n);
        const u64 e = a.mk_table(pfn, level);
        ASSERT_EQ(a.table_pfn(e), pfn);
        ASSERT_FALSE(a.none(e, level));
        ASSERT_FALSE(a.leaf(e, level));
      }
}

// ---- every reachable entry, against a plain record -------------------------------------------------------

/// What an entry should say, without any encoding.
struct record {
  pgprot_t prot;
  bool write, dirty, young, special;
  friend bool operator==(const record&, const record&) = default;
};

record said_by(const arch_desc& a, level_t level, u64 e, pgprot_t prot) {
  return {prot, a.write(e, level), a.dirty(e, level), a.young(e, level), a.special(e, level)};
}

record after_modify(record r, pgprot_t prot) {
  r.prot = prot;
  r.write = prot.write && !prot.none;
  return r;
}

/// May the hardware of this architecture let the access through, and what does it leave?
std::optional<record> after_access(const arch_desc& a, record r, bool store) {
  if (r.prot.none || !r.prot.user || (store && !r.write)) return {};
  if (a.ad_profile == ad_profile_t::sw) {
    if (!r.young || (store && !r.dirty)) return {};
    return r;
  }
  r.young = true;
  r.dirty = r.dirty || store;
  return r;
}

struct step {
  u64 entry;
  record should;
};

/// Everything that one operation can make of an entry. Rights are granted and taken from leaves only, as
/// Linux does: PROT_NONE goes by modify().
std::vector<step> steps_from(const arch_desc& a, level_t level, u64 e, const record& r) {
  std::vector<step> next;
  const auto add = [&](u64 entry, auto change) {
    record should = r;
    change(should);
    next.push_back({entry, should});
  };
  add(a.mkdirty(e, level), [](record& s) { s.dirty = true; });
  add(a.mkclean(e, level), [](record& s) { s.dirty = false; });
  add(a.mkyoung(e, level), [](record& s) { s.young = true; });
  add(a.mkold(e, level), [](record& s) { s.young = false; });
  add(a.mkspecial(e, level), [](record& s) { s.special = true; });
  add(a.wrprotect(e, level), [](record& s) { s.write = false; });
  if (!r.prot.none) add(a.mkwrite(e, level), [](record& s) { s.write = true; });
  for (const pgprot_t prot : prots_of(a))
    next.push_back({a.modify(e, prot, level), after_modify(r, prot)});
  for (const bool store : {false, true})
    if (const auto should = after_access(a, r, store))
      next.push_back({a.mmu_update(e, level, store), *should});
  return next;
}

/// All entries that any sequence of operations can reach from a fresh leaf, each with its record.
std::map<u64, record> reachable(const arch_desc& a, level_t level, pfn_t pfn) {
  const u64 first = a.mk_leaf(pfn, PAGE_READONLY, level);
  std::map<u64, record> seen{{first, said_by(a, level, first, PAGE_READONLY)}};
  std::vector<u64> todo{first};
  while (!todo.empty()) {
    const u64 e = todo.back();
    todo.pop_back();
    for (const auto& [entry, should] : steps_from(a, level, e, seen.at(e)))
      if (seen.try_emplace(entry, should).second) todo.push_back(entry);
  }
  return seen;
}

class Reachable : public ArchTest {
 protected:
  template <class Check> void for_each_entry(Check check) const {
    for (const geometry_t& g : geometries)
      for (const unsigned n : {PTE_LEVEL, PMD_LEVEL}) {
        const level_t level = g.level(n);
        for (const pfn_t pfn : {pfn_t{0}, pfn_t{5} << level.order(), boundary_pfns(a, level)[1]})
          for (const auto& [e, r] : reachable(a, level, pfn))
            check(level, pfn, e, r);
      }
  }
};
FOR_EVERY_ARCH(Reachable);

TEST_P(Reachable, EveryEntrySaysWhatItsRecordSays) {
  for_each_entry([&](level_t level, pfn_t pfn, u64 e, const record& r) {
    ASSERT_EQ(said_by(a, level, e, r.prot), r) << std::hex << e;
    ASSERT_EQ(a.pfn(e, level), pfn) << std::hex << e;
    ASSERT_EQ(a.protnone(e, level), r.prot.none) << std::hex << e;
    ASSERT_TRUE(a.present(e, level) && a.leaf(e, level)) << std::hex << e;
    // and so does every entry one step further
    for (const auto& [entry, should] : steps_from(a, level, e, r))
      ASSERT_EQ(said_by(a, level, entry, should.prot), should) << std::hex << e << " -> " << entry;
  });
}

// The bit is software's: nothing that is done to an entry depends on it or changes it.
TEST_P(Reachable, SoftDirtyIsAMarkThatEverythingElseKeeps) {
  if (a.soft_dirty == 0) return;
  for_each_entry([&](level_t level, pfn_t pfn, u64 e, const record& r) {
    ASSERT_EQ(e & a.soft_dirty, 0u);
    const u64 marked = e | a.soft_dirty;
    ASSERT_EQ(said_by(a, level, marked, r.prot), r) << std::hex << e;
    ASSERT_EQ(a.pfn(marked, level), pfn) << std::hex << e;
    const auto plain = steps_from(a, level, e, r);
    const auto steps = steps_from(a, level, marked, r);
    ASSERT_EQ(steps.size(), plain.size());
    for (std::size_t i = 0; i < steps.size(); i++)
      ASSERT_EQ(steps[i].entry, plain[i].entry | a.soft_dirty) << std::hex << e;
    if (level.number != PTE_LEVEL) { // only huge entries are made invalid
      ASSERT_EQ(a.mkinvalid(marked, level), a.mkinvalid(e, level) | a.soft_dirty) << std::hex << e;
    }
    ASSERT_EQ(a.needs_flush(marked, e, level), a.needs_flush(e, e, level)) << std::hex << e;
  });
}

TEST_P(Reachable, HardwareLetsThroughWhatItsProfileSays) {
  for_each_entry([&](level_t level, pfn_t, u64 e, const record& r) {
    for (const bool store : {false, true})
      ASSERT_EQ(a.mmu_permits(e, level, store), after_access(a, r, store).has_value())
          << std::hex << e << " " << store;
  });
}

TEST_P(Reachable, GupFastTakesWhatTheRightsAllow) {
  for_each_entry([&](level_t level, pfn_t, u64 e, const record& r) {
    if (r.prot.none || !r.prot.user) return; // architectures differ: predicates_test.cc
    ASSERT_TRUE(a.access_permitted(e, level, false));
    ASSERT_EQ(a.access_permitted(e, level, true), r.write);
  });
}

// What a TLB may have cached of `from` must not let through what `to` forbids, nor hide a store from it.
TEST_P(Reachable, WhateverTakesARightAwayNeedsAFlush) {
  for (const unsigned n : {PTE_LEVEL, PMD_LEVEL}) {
    const level_t level = geometry_t{}.level(n);
    const auto entries = reachable(a, level, 0);
    for (const auto& [from, r] : entries)
      for (const auto& [to, s] : entries) {
        if (r.special != s.special) continue;
        const bool cached_store = a.mmu_permits(from, level, true);
        const bool lost_store = cached_store && (!s.write || s.prot.none || !s.prot.user);
        const bool hidden_store = cached_store && r.dirty && !s.dirty;
        const bool lost_read = a.mmu_permits(from, level, false) && (s.prot.none || !s.prot.user);
        if (lost_store || hidden_store || lost_read) {
          ASSERT_TRUE(a.needs_flush(from, to, level)) << std::hex << from << " -> " << to;
        }
      }
  }
}

TEST(Reachable, X86NeverMakesAShadowStackEntry) {
  for (const unsigned n : {PTE_LEVEL, PMD_LEVEL})
    for (const auto& [e, r] : reachable(x86_64, geometry_t{}.level(n), 0)) {
      ASSERT_FALSE((e & x86::RW) == 0 && (e & x86::DIRTY) != 0) << std::hex << e;
      ASSERT_FALSE((e & x86::RW) != 0 && (e & x86::SAVED_DIRTY) != 0) << std::hex << e;
    }
}

TEST(Reachable, Arm64WritableAndDirtyIsWritableToHardware) {
  for (const auto& [e, r] : reachable(arm64, geometry_t{}.level(PTE_LEVEL), 0)) {
    if (!r.prot.none) {
      ASSERT_EQ((e & arm::RDONLY) == 0, r.write && r.dirty) << std::hex << e;
    }
  }
}

// ---- bit tricks against the slow way ---------------------------------------------------------------------

/// One bit at a time.
u64 slow_bits(unsigned high, unsigned low) {
  u64 mask = 0;
  for (unsigned b = low; b <= high; b++)
    mask |= u64{1} << b;
  return mask;
}

TEST(BitTricks, BitsAreTheBitsFromLowToHigh) {
  for (unsigned high = 0; high < 64; high++)
    for (unsigned low = 0; low <= high; low++)
      ASSERT_EQ(entry_bits::bits(high, low), slow_bits(high, low));
}

TEST(BitTricks, DisjointFindsAnyCommonBit) {
  for (unsigned i = 0; i < 64; i++) {
    const u64 field = u64{1} << i;
    EXPECT_FALSE(entry_bits::disjoint(field, ~u64{0}));
    EXPECT_FALSE(entry_bits::disjoint(field, u64{0}, field));
    EXPECT_TRUE(entry_bits::disjoint(field, ~field));
  }
}

// x86 stores the pfn of an entry without P, and every swap offset, with each bit inverted.
TEST(BitTricks, X86InversionIsPerBit) {
  for (const level_t level : leaf_levels())
    for (const pfn_t pfn : boundary_pfns(x86_64, level)) {
      const u64 e = x86_64.mk_leaf(pfn, PAGE_NONE, level);
      for (unsigned b = 0; b < 40; b++) {
        const bool stored = (e >> (PAGE_SHIFT + b) & 1) != 0;
        const bool inverted = b >= level.order() && (pfn >> b & 1) == 0;
        ASSERT_EQ(stored, inverted) << b;
      }
    }
  const level_t level = geometry_t{}.level(PTE_LEVEL);
  for (unsigned b = 0; b < x86::SWP_OFFSET_BITS; b++) {
    const u64 e = x86_64.swp_entry(0, u64{1} << b, level);
    for (unsigned c = 0; c < x86::SWP_OFFSET_BITS; c++)
      ASSERT_EQ((e >> (x86::SWP_OFFSET_SHIFT + c) & 1) != 0, b != c);
  }
}

// pmdp_invalidate of a swap entry on x86: pfn bits below the huge page's alignment come back as offset bits
// set.
TEST(BitTricks, X86InvalidationOfASwapEntrySetsTheLowOffsetBits) {
  for (const geometry_t& g : geometries) {
    const level_t level = g.level(PMD_LEVEL);
    u64 lost = 0;
    for (unsigned b = PAGE_SHIFT; b < PAGE_SHIFT + level.order(); b++)
      lost |= u64{1} << (b - x86::SWP_OFFSET_SHIFT);
    for (const u64 offset : migration_offsets(x86_64)) {
      const u64 e = x86_64.swp_entry(SWP_MIGRATION_WRITE, offset, level);
      ASSERT_EQ(x86_64.swp_offset(x86_64.mkinvalid(e, level)), offset | lost);
      ASSERT_EQ(x86_64.swp_type(x86_64.mkinvalid(e, level)), SWP_MIGRATION_WRITE);
    }
  }
}

} // namespace
} // namespace racewalk
