// What a run of the explorer found, as plain data: the explorer fills it, renderers and files read it.
//
// Nothing here knows how a verdict is reached. A `safe` result says that every execution within the stated
// bounds was visited; whoever fills a result keeps that true by saying `inconclusive` and naming the bound
// as soon as anything was cut off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace racewalk::report {

enum class verdict { safe, violation, inconclusive };

/// What the scenario's source argues. `unknown`: the source leaves it open, any decided verdict will do;
/// `none`: nobody argued anything (a user's own scenario).
enum class expectation { none, safe, violation, unknown };

enum class step_mark {
  none,
  stale,    ///< the value read was no longer the latest: a stale translation or a weakly ordered read
  violating ///< the step that breaks the property
};

/// What a variable is part of, so where a picture of the state has it.
enum class place_kind { entry, page, memory, lock, cpu, mm, other };

/// A value in words.
struct trace_value {
  std::string text;
  std::string target; ///< the object that it points to; empty if none
  std::string detail; ///< what the text leaves out: `1 pin + 1`
};

/// A variable that the state consists of.
struct trace_variable {
  std::string name; ///< as the steps call it
  place_kind kind = place_kind::other;
  std::string object; ///< what it belongs to: `table@0`, `cpu1`; empty: to nothing
  std::string field;  ///< its name within the object
  trace_value initial;
  bool followed = true; ///< false: the effects do not tell what becomes of it
};

enum class effect_kind {
  reads,
  writes,
  caches, ///< a TLB holds a translation from now on
  drops,  ///< and no longer
  enters, ///< a section; `holds p.ptl` is one
  leaves,
  frees,
};

/// What a step reads of the state or changes in it. The state after step n is the initial values and the
/// effects of steps 1 to n.
struct trace_effect {
  effect_kind kind{};
  unsigned variable = 0; ///< reads, writes, caches: index into race_trace::variables
  trace_value value;     ///< reads, writes, caches
  unsigned source = 0;   ///< reads: number of the step that wrote it, writes: of the one whose value it
                         ///< replaces; 0: the initial value
  unsigned missed = 0;   ///< reads: the step that had written a newer value; 0: none
  unsigned column = 0;   ///< whose TLB or section
  std::string name;      ///< of the translation, the section, or what is freed
};

/// One row of a race table: what one CPU did at one moment.
struct trace_step {
  unsigned number = 0;  ///< counted from 1, in the order of time
  unsigned column = 0;  ///< index into race_trace::columns
  std::string function; ///< the mm function that did it, `gup_fast_pte_range`
  std::string file;     ///< where, relative to the source tree
  unsigned line = 0;
  std::string text; ///< what, values decoded: `R pmd[0] -> table pfn=3`
  step_mark mark = step_mark::none;
  std::string note; ///< why the mark: `stale: latest is none`; empty for none
  std::vector<trace_effect> effects;
};

/// A counterexample: the interleaving that loses, and what it loses.
struct race_trace {
  std::vector<std::string> columns; ///< one a thread: `CPU0 gup`, `CPU1 munmap`
  std::vector<trace_variable> variables;
  std::vector<trace_step> steps;     ///< time downwards
  std::string lost;                  ///< one sentence: what was lost
  std::vector<std::string> schedule; ///< what the explorer needs to run it again, one line a decision
};

/// The verdict on one variant of one scenario on one architecture.
struct result {
  std::string id;         ///< the argument's number in the catalogue, `S1.4`
  std::string scenario;   ///< its name
  std::string variant;    ///< the variant's name
  std::string variant_id; ///< the variant's letter in the catalogue
  std::string arch;
  std::string model; ///< sc, tso or weak
  report::verdict verdict = report::verdict::inconclusive;
  expectation expected = expectation::none;
  std::uint64_t executions = 0; ///< complete executions, each visited once
  std::uint64_t blocked = 0;    ///< executions that could not be completed, so did not count
  double seconds = 0;
  std::string property; ///< the invariant that was broken: `INV-UAF`; empty otherwise
  std::string reason;   ///< inconclusive: which bound was hit; violation: the explorer's words
  std::optional<race_trace> trace;
  std::string file; ///< the user's file that the scenario is in; empty: it is one of the library's

  /// False if the verdict contradicts the expected one. An inconclusive verdict contradicts nothing.
  [[nodiscard]] bool as_expected() const;
  /// Somebody argued otherwise.
  [[nodiscard]] bool surprises() const { return expected != expectation::none && !as_expected(); }
};

const char* to_string(verdict v);
const char* to_string(expectation e);

} // namespace racewalk::report
