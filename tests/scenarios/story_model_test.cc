// What a counterexample's steps are said to do to the state agrees with what they are said to read: for every
// scenario that loses on one of two architectures.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "scenario/decide.h"
#include "scenarios/catalogue.h"

namespace racewalk::inline RACEWALK_BACKEND {
namespace {

using explore::effect;
using explore::effect_kind;

/// Goes through a story as a reader does, and looks at each effect.
class reader {
 public:
  explicit reader(const explore::story& s) : story_(s) {
    for (const explore::variable& v : s.variables)
      now_.push_back({v.initial.text, 0});
  }

  void read() {
    for (unsigned n = 1; n <= story_.steps.size(); n++) {
      SCOPED_TRACE("step " + std::to_string(n) + ": " + story_.steps[n - 1].text);
      for (const effect& e : story_.steps[n - 1].effects)
        look_at(e, n);
    }
  }

  unsigned reads = 0, writes = 0, translations = 0, sections = 0;

 private:
  struct value {
    std::string text;
    unsigned step; ///< that wrote it
  };

  void look_at(const effect& e, unsigned n) {
    switch (e.kind) {
    case effect_kind::reads:
      reads++;
      EXPECT_TRUE(story_.variables.at(e.variable).followed);
      EXPECT_EQ(e.value.text, written(e.variable, e.source)) << "what its source wrote";
      EXPECT_EQ(e.missed != 0, story_.steps[n - 1].stale);
      EXPECT_EQ(e.missed ? e.missed : e.source, now_.at(e.variable).step);
      return;
    case effect_kind::writes:
      writes++;
      EXPECT_TRUE(story_.variables.at(e.variable).followed);
      EXPECT_EQ(e.source, now_.at(e.variable).step) << "writes are told in coherence order";
      now_[e.variable] = {e.value.text, n};
      log_[{e.variable, n}] = e.value.text;
      return;
    case effect_kind::caches:
      translations++;
      EXPECT_EQ(e.value.text, written(e.variable, e.source));
      tlb_.insert({e.thread, e.name});
      return;
    case effect_kind::drops:
      EXPECT_TRUE(tlb_.erase({e.thread, e.name})) << "a translation that was never cached";
      return;
    case effect_kind::enters:
      sections++;
      EXPECT_TRUE(sections_.insert({e.thread, e.name}).second) << "entered twice";
      return;
    case effect_kind::leaves:
      EXPECT_TRUE(sections_.erase({e.thread, e.name})) << "never entered";
      return;
    case effect_kind::frees:
      EXPECT_FALSE(e.name.empty());
      return;
    }
  }

  std::string written(unsigned variable, unsigned step) const {
    return step ? log_.at({variable, step}) : story_.variables.at(variable).initial.text;
  }

  const explore::story& story_;
  std::vector<value> now_;
  std::map<std::pair<unsigned, unsigned>, std::string> log_;
  std::set<std::pair<unsigned, std::string>> tlb_, sections_;
};

TEST(Story, EffectsAgreeWithWhatIsRead) {
  unsigned stories = 0, reads = 0, writes = 0, translations = 0, sections = 0;
  for (const scenario& s : all_scenarios())
    for (const variant& v : s.variants)
      for (const arch_desc* arch :
           {find_arch("x86-64"), find_arch("arm64")}) { // IPI and tso, broadcast and weak
        SCOPED_TRACE(s.name + ":" + v.name + " on " + arch->name);
        explore::search_options options;
        options.model = default_model(*arch);
        options.max_executions = 100'000;
        const decision d = decide(s, v, *arch, options);
        if (d.outcome.failures.empty()) continue;
        reader r(d.story);
        r.read();
        stories++;
        reads += r.reads, writes += r.writes, translations += r.translations, sections += r.sections;
      }
  EXPECT_GT(stories, 50U);
  EXPECT_GT(reads, stories);
  EXPECT_GT(writes, stories);
  EXPECT_GT(translations, 0U);
  EXPECT_GT(sections, 0U);
}

TEST(Story, HasTheWholeTreeOfTables) {
  const scenario& s = *std::find_if(all_scenarios().begin(), all_scenarios().end(),
                                    [](const scenario& x) { return x.name == "gup_fast_vs_munmap"; });
  const variant& v = *std::find_if(s.variants.begin(), s.variants.end(),
                                   [](const variant& x) { return x.name == "at_once"; });
  explore::search_options options;
  const decision d = decide(s, v, *find_arch("arm64"), options);
  std::map<std::string, explore::variable> by_name;
  for (const explore::variable& x : d.story.variables)
    by_name[x.name] = x;
  for (const char* entry : {"pmd[0]", "pmd[1]", "pte[0]", "pte[1]"}) {
    ASSERT_TRUE(by_name.contains(entry)) << entry;
    EXPECT_EQ(by_name[entry].place.kind, explore::variable_kind::entry);
  }
  EXPECT_EQ(by_name["pmd[0]"].initial.target, by_name["pte[0]"].place.object);
  EXPECT_EQ(by_name["pte[0]"].initial.target, by_name["s.flags"].place.object);
  EXPECT_EQ(by_name["s.flags"].place.kind, explore::variable_kind::page);
}

} // namespace
} // namespace racewalk::inline RACEWALK_BACKEND
