// Areas as explored code sees them: the tree's look-ups against its changes, calls as wholes, and no memory
// but what the set-up has reserved.
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include <sys/mman.h>

#include "mm/mmap.h"
#include "mm/slab.h"
#include "racewalk/testbed.h"
#include "scenario/decide.h"

namespace racewalk::inline RACEWALK_BACKEND {
namespace {

/// What the world that `make` makes from the settings comes to on an architecture.
template <class Make> decision decided(const arch_desc& arch, Make&& make) {
  const scenario s{.name = "areas",
                   .set_up = [&](const settings&) -> std::unique_ptr<scenario_world> { return make(); },
                   .variants = {{.name = "shipped", .depart = [](settings& to) { to.geometry.bits = 2; }}}};
  explore::search_options options;
  options.model = default_model(arch);
  return decide(s, s.variants.front(), arch, options);
}

/// Three areas of a page each; a look-up of the second while the first goes and comes back.
struct look_up : testbed {
  mm_struct& mm = new_mm();
  vm_area_struct* areas[3];
  const vm_area_struct* found = nullptr;

  explicit look_up(std::set<int>& seen) : testbed(2) {
    for (unsigned i = 0; i < 3; ++i)
      areas[i] = &new_area(mm, i * PAGE_SIZE, PAGE_SIZE, VM_READ);
    vma_tree& tree = mm.existing_region(0)->areas;
    cpu([this, &tree] {
      tree.erase(*areas[0]);
      tree.insert(*areas[0]);
    });
    cpu([this, &tree] { found = tree.lookup(PAGE_SIZE); });
    finally([this, &seen] {
      const auto at = std::find(std::begin(areas), std::end(areas), found);
      VM_BUG_ON(found != nullptr && at == std::end(areas), "AREA", "what was found is no area");
      seen.insert(found == nullptr ? -1 : static_cast<int>(at - std::begin(areas)));
    });
  }
};

TEST(areas, a_look_up_that_races_with_changes_finds_some_area_or_none) {
  for (const arch_desc* arch : {&x86_64, &arm64}) {
    std::set<int> seen;
    EXPECT_EQ(decided(*arch, [&] { return std::make_unique<look_up>(seen); }).outcome.verdict,
              explore::verdict::safe);
    EXPECT_TRUE(seen.contains(1)) << "the one that was looked for";
    EXPECT_GT(seen.size(), 1u) << "a late look-up finds another: so whoever locks it asks which it is";
  }
}

constexpr int FIXED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

/// Two CPUs map the same page, beside an area that is alike.
struct map_twice : testbed {
  mm_struct& mm = new_mm();
  long at[2] = {};

  explicit map_twice(std::set<long>& first) : testbed(2) {
    new_area(mm, 0, PAGE_SIZE, VM_READ | VM_WRITE);
    for (long& mine : at)
      cpu([this, &mine] { mine = vm_mmap(mm, PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE, FIXED); });
    finally([this, &first] {
      first.insert(at[0]);
      VM_BUG_ON(std::min(at[0], at[1]) != -EEXIST || std::max(at[0], at[1]) != PAGE_SIZE, "AREA",
                "of two who map the same page one does");
      const mmap_region& region = *mm.existing_region(0);
      VM_BUG_ON(region.areas.size() != 1 || region.areas.lookup(0)->size() != 2 * PAGE_SIZE, "AREA",
                "areas that continue each other are one");
    });
  }
};

TEST(areas, of_two_who_map_the_same_page_one_does) {
  std::set<long> first;
  EXPECT_EQ(decided(arm64, [&] { return std::make_unique<map_twice>(first); }).outcome.verdict,
            explore::verdict::safe);
  EXPECT_EQ(first, (std::set<long>{-EEXIST, PAGE_SIZE})) << "either may be first";
}

/// A body maps where there is no region yet.
struct map_elsewhere : testbed {
  mm_struct& mm = new_mm();
  long at = 0;
  bool memory = true;

  explicit map_elsewhere(long& error) : testbed(1) {
    new_area(mm, 0, PAGE_SIZE, VM_READ);
    const vaddr_t elsewhere = geometry().size(geometry().root_level());
    cpu([this, elsewhere] {
      at = vm_mmap(mm, elsewhere, PAGE_SIZE, PROT_READ, FIXED);
      memory = kmalloc_obj<int>() != nullptr;
    });
    finally([this, &error] {
      error = at;
      VM_BUG_ON(memory, "AREA", "a body gets memory that it cannot give back when it is dropped");
    });
  }
};

TEST(areas, a_body_has_no_memory_but_what_is_reserved) {
  long error = 0;
  EXPECT_EQ(decided(x86_64, [&] { return std::make_unique<map_elsewhere>(error); }).outcome.verdict,
            explore::verdict::safe);
  EXPECT_EQ(error, -ENOMEM);
}

} // namespace
} // namespace racewalk::inline RACEWALK_BACKEND
