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
};

/// A counterexample: the interleaving that loses, and what it loses.
struct race_trace {
  std::vector<std::string> columns;  ///< one a thread: `CPU0 gup`, `CPU1 munmap`
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

  /// False if the verdict contradicts the expected one. An inconclusive verdict contradicts nothing.
  [[nodiscard]] bool as_expected() const;
};

const char* to_string(verdict v);
const char* to_string(expectation e);

} // namespace racewalk::report
