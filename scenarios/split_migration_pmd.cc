// S4.1, S4.2, S4.3: pmdp_invalidate() of a huge page's migration entry.
//
// Mail 4 (3a5a8d343e1c): __split_huge_pmd invalidated the entry first and asked afterwards what it had been.
// Of an entry that is not present, mkinvalid() makes a present one on arm64, powerpc64 and loongarch64, and
// one with another offset on x86. Who looks at it without the lock meanwhile acts on bits that mean something
// else.
#include <string_view>

#include "catalogue.h"
#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

bool arch_is(const settings& s, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (s.arch->name == name) return true;
  return false;
}

// ---- S4.1: the algebra -----------------------------------------------------------------------------------

enum question : unsigned { STAYS_HUGE, STAYS_NOT_PRESENT, KEEPS_OFFSET };

template <class F> void for_each_migration_pmd(F&& visit) {
  if (!arch().thp_migration) return; // has none
  for (const unsigned type : {SWP_MIGRATION_READ, SWP_MIGRATION_READ_EXCLUSIVE, SWP_MIGRATION_WRITE})
    for (pfn_t pfn = 1; pfn < swp_pfn_mask(arch()); pfn <<= 1)
      visit(swp_entry_t{type, pfn & ~pfn_t{hpage_pmd_nr() - 1}});
}

void ask(unsigned question) {
  if (question == STAYS_HUGE) {
    for (const pgprot_t prot : {PAGE_READONLY, PAGE_SHARED, PAGE_SHARED_EXEC}) {
      const pmd_t leaf = mk_huge_pmd(hpage_pmd_nr(), prot);
      const pmd_t invalid = pmd_mkinvalid(leaf);
      VM_BUG_ON(pmd_valid(invalid) || !pmd_present(invalid) || !pmd_trans_huge(invalid) ||
                    pmd_pfn(invalid) != pmd_pfn(leaf),
                "INV-TYPE", "an invalidated huge entry is not one any more");
    }
    return;
  }
  for_each_migration_pmd([question](swp_entry_t entry) {
    const pmd_t pmd = swp_entry_to_pmd(entry);
    const pmd_t invalid = pmd.with(arch().mkinvalid(pmd.val, pmd.level())); // pmd_mkinvalid() would refuse
    VM_BUG_ON(question == STAYS_NOT_PRESENT && pmd_present(invalid), "INV-TYPE",
              "an entry that is not present was made present");
    VM_BUG_ON(question == KEEPS_OFFSET && swp_offset_pfn(pmd_to_swp_entry(invalid)) != swp_offset_pfn(entry),
              "INV-TYPE", "a migration entry stands for another page");
  });
}

class algebra : public testbed {
 public:
  explicit algebra(unsigned question) : testbed(1) {
    cpu([question] { ask(question); });
  }
};

// ---- S4.2, S4.3: who looks meanwhile ---------------------------------------------------------------------

enum shape : unsigned {
  PIN,           ///< a lockless walk
  CLASSIFY,      ///< a lockless reader asks whether it is present
  DECODE,        ///< a lockless reader asks which page is being moved
  DECODE_LOCKED, ///< the same under the pmd lock
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    new_page(4, "filler"); // the pages after it have a pfn whose low bits are 0
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    load_mm(0, mm_);
    load_mm(1, mm_);
    moving_ = page_folio(page_at(mm_, 0));
    folio_get(moving_);
    folio_lock(moving_);
    pmdp_t pmdp = find_pmd(mm_, 0).pmdp;
    try_to_migrate(moving_, split_entry::no);
    cpu([this, shape, pmdp] { look(shape, pmdp); });
    cpu([this, pmdp] { split_huge_pmd(*mm_.region(0)->areas.lookup(0), 0, pmdp); });
  }

 private:
  void look(unsigned shape, const pmdp_t& pmdp) {
    if (shape == PIN) {
      page* got = nullptr;
      pin_user_pages_fast_only(mm_, 0, 1, FOLL_NONE, &got);
      VM_BUG_ON(got != nullptr, "INV-TYPE", "a page was made of the bits of a migration entry");
      return;
    }
    if (shape == DECODE_LOCKED) {
      spin_guard pml(pmd_lockptr(pmdp));
      decode(pmdp_get(pmdp));
      return;
    }
    const pmd_t pmd = pmdp_get_lockless(pmdp);
    if (shape == DECODE) return decode(pmd);
    VM_BUG_ON(pmd_present(pmd) && pmd_leaf(pmd), "INV-TYPE", "a migration entry reads as a huge page");
  }
  void decode(pmd_t pmd) {
    if (!is_swap_pmd(pmd)) return; // the table, by now
    VM_BUG_ON(swp_offset_pfn(pmd_to_swp_entry(pmd)) != folio_pfn(moving_), "INV-TYPE",
              "a migration entry stands for another page");
  }

  mm_struct& mm_ = new_mm();
  folio* moving_;
};

auto before_the_fix(shape which) {
  return [which](settings& s) {
    s.shape = which;
    s.policy.split_invalidates_migration = true;
    s.policy.gup_refuses_invalid = false;
  };
}
auto after_the_fix(shape which) {
  return [which](settings& s) { s.shape = which; };
}

expect made_present(const settings& s) {
  return arch_is(s, {"arm64", "arm64-old", "powerpc64", "powerpc64-hash", "loongarch64"}) ? expect::violation
                                                                                          : expect::safe;
}
expect offset_lost(const settings& s) {
  return arch_is(s, {"x86-64", "x86-64-pv"}) ? expect::violation : expect::safe;
}
expect taken_by_gup(const settings& s) {
  return arch_is(s, {"loongarch64"}) ? expect::violation : expect::safe;
}

} // namespace

scenario invalidate_migration_pmd() {
  return {
      .id = "S4.1",
      .name = "invalidate_migration_pmd",
      .summary = "what mkinvalid() makes of an entry that is not present",
      .source = "mail 4 (3a5a8d343e1c)",
      .threads = {"mkinvalid"},
      .set_up = [](const settings& s) { return std::make_unique<algebra>(s.shape); },
      .variants =
          {
              {"a", "shipped", "asked of present entries alone: they stay huge", nullptr, always_safe},
              {"b", "not_present", "a migration entry stays not present",
               [](settings& s) { s.shape = STAYS_NOT_PRESENT; }, made_present},
              {"c", "offset", "a migration entry stands for the same page",
               [](settings& s) { s.shape = KEEPS_OFFSET; }, offset_lost},
          },
  };
}

scenario split_migration_pmd() {
  return {
      .id = "S4.2",
      .name = "split_migration_pmd",
      .summary = "a huge page's migration entry is split while others look at it without the lock",
      .source = "mail 4 (3a5a8d343e1c)",
      .threads = {"reader", "split"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "shipped", "the entry is not touched before the table replaces it", nullptr, always_safe},
              {"a", "before_the_fix", "the entry is invalidated first", before_the_fix(PIN), taken_by_gup},
              {"c", "classify", "as a, a reader asks whether the entry is present", before_the_fix(CLASSIFY),
               made_present},
              {"c-F", "classify_fixed", "as b, a reader asks whether the entry is present",
               after_the_fix(CLASSIFY), always_safe},
              {"S4.3a", "decode", "as a, a reader asks which page is moving", before_the_fix(DECODE),
               offset_lost},
              {"S4.3b", "decode_locked", "as S4.3a, under the pmd lock", before_the_fix(DECODE_LOCKED),
               always_safe},
              {"S4.3c", "decode_fixed", "as b, a reader asks which page is moving", after_the_fix(DECODE),
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
