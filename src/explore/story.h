// A counterexample as it is told: steps in words, and what each of them does to the state, as data.
//
// The state is made of variables. Its value after step n is what the writes of steps 1 to n left in it, so a
// reader of the story needs nothing but the initial values and the effects. Steps are counted from 1; as the
// source of a value, 0 is the time before the first one.
#pragma once

#include <string>
#include <vector>

#include "explore/explorer.h"

namespace racewalk::explore {

struct variable {
  std::string name;
  variable_place place;
  reading initial;
  bool followed = true; ///< false: one CPU alone uses and writes it, so no step tells what becomes of it
};

enum class effect_kind : u8 {
  reads,
  writes,
  caches, ///< a TLB holds a translation from now on
  drops,  ///< and no longer
  enters, ///< a section; `holds p.ptl` is one
  leaves,
  frees,
};

struct effect {
  effect_kind kind{};
  unsigned variable = 0; ///< reads, writes, caches: index into story::variables
  reading value;         ///< reads, writes, caches
  unsigned source = 0;   ///< reads: the step that wrote it; writes: the step whose value it replaces
  unsigned missed = 0;   ///< reads: the step that had written a newer value already; 0: none had
  unsigned thread = 0;   ///< whose TLB or section
  std::string name;      ///< of the translation, the section, or what is freed
};

struct step {
  eid event = NONE;
  unsigned thread = 0;
  std::string function;
  std::string file;
  unsigned line = 0;
  std::string text; ///< `R pmd[0] -> table pfn=3`
  bool stale = false;
  std::string note;   ///< why the value is not the newest
  bool loses = false; ///< breaks the property
  std::vector<effect> effects;
};

struct story {
  std::vector<variable> variables;
  std::vector<step> steps;
};

/// The execution as a story; a read-modify-write is one step, and bookkeeping of waits and sections that
/// nobody waited for is left out. The world that the names speak of must still be there.
story story_of(const failure& f, const locations& places, memory_model m, const naming& names);

} // namespace racewalk::explore
