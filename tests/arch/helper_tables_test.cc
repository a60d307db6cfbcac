// The committed docs/arch-pgtable-helpers.md is what the code says, and every helper keeps to its contract on
// the kinds that are not present. With RACEWALK_REWRITE set in the environment the file is written instead
// (scripts/arch-helpers).

#include "helper_tables.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "entries.h"

namespace racewalk {
namespace {

TEST(HelperTables, AreTheCommittedOnes) {
  const char* path = RACEWALK_HELPER_TABLES;
  if (std::getenv("RACEWALK_REWRITE") != nullptr) {
    std::ofstream(path) << helper_tables::document();
    return;
  }
  std::ostringstream committed;
  committed << std::ifstream(path).rdbuf();
  EXPECT_TRUE(committed.str() == helper_tables::document()) << "out of date: run scripts/arch-helpers";
}

class HelpersOnWhatIsNotPresent : public ArchTest {};
FOR_EVERY_ARCH(HelpersOnWhatIsNotPresent);

// What is asked first is the same everywhere: none, or not present, and nothing goes through it.
TEST_P(HelpersOnWhatIsNotPresent, ThoseThatAreAskedFirstSayNo) {
  for (const unsigned number : {PTE_LEVEL, PMD_LEVEL}) {
    const level_t level = geometry_t{}.level(number);
    for (const auto& [name, e] : helper_tables::entries(a, level, pfn_t{5} << level.order())) {
      const std::string_view kind = name;
      if (kind != "none" && kind != "swap" && kind != "migration") continue;
      EXPECT_EQ(a.none(e, level), kind == "none") << kind;
      EXPECT_FALSE(a.present(e, level)) << kind;
      EXPECT_FALSE(a.valid(e, level)) << kind;
      EXPECT_FALSE(a.protnone(e, level)) << kind;
      EXPECT_FALSE(a.access_permitted(e, level, false)) << kind;
      EXPECT_FALSE(a.mmu_permits(e, level, false)) << kind;
      if (number == PMD_LEVEL) {
        EXPECT_FALSE(a.trans_huge(e)) << kind;
      }
    }
  }
}

// Linux warns; here it ends the run, as every broken invariant.
TEST(PmdMkinvalidDeathTest, RefusesWhatIsNotPresent) {
  EXPECT_DEATH((void)pmd_mkinvalid(pmd_t{}), "not present");
  const pmd_t migration = swp_entry_to_pmd(make_readable_migration_entry(hpage_pmd_nr()));
  EXPECT_DEATH((void)pmd_mkinvalid(migration), "not present");
}

} // namespace
} // namespace racewalk
