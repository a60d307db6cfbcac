#include "litmus/report.h"

#include <fmt/format.h>

#include "litmus/condition.h"

namespace racewalk::litmus {
namespace {

const char* kind(quantifier asks) {
  switch (asks) {
  case quantifier::exists:
    return "Allowed";
  case quantifier::not_exists:
    return "Forbidden";
  case quantifier::forall:
    break;
  }
  return "Required";
}

const char* keyword(quantifier asks) {
  switch (asks) {
  case quantifier::exists:
    return "exists";
  case quantifier::not_exists:
    return "~exists";
  case quantifier::forall:
    break;
  }
  return "forall";
}

bool answer(quantifier asks, const judgement& j) {
  switch (asks) {
  case quantifier::exists:
    return j.positive > 0;
  case quantifier::not_exists:
    return j.positive == 0;
  case quantifier::forall:
    break;
  }
  return j.negative == 0;
}

std::string state_line(const litmus_test& test, const judgement& j, const std::vector<value_t>& state) {
  std::string line;
  for (std::size_t i = 0; i < state.size(); i++)
    line += fmt::format("{}{}={};", i == 0 ? "" : " ", to_string(j.shown[i]), to_string(test, state[i]));
  return line;
}

std::string condition(const litmus_test& test) {
  return fmt::format("{} ({})", keyword(test.asks), to_string(test, test.condition));
}

} // namespace

std::string observation(const judgement& j) {
  if (j.positive == 0) return "Never";
  return j.negative == 0 ? "Always" : "Sometimes";
}

std::string to_text(const litmus_test& test, const judgement& j, double seconds) {
  std::string text = fmt::format("Test {} {}\nStates {}\n", test.name, kind(test.asks), j.states.size());
  for (const std::vector<value_t>& state : j.states)
    text += state_line(test, j, state) + "\n";
  // the witnesses of "it never happens" are the executions in which it does not
  const bool inverted = test.asks == quantifier::not_exists;
  text += fmt::format("{}\nWitnesses\nPositive: {} Negative: {}\n", answer(test.asks, j) ? "Ok" : "No",
                      inverted ? j.negative : j.positive, inverted ? j.positive : j.negative);
  for (const std::string& flag : j.flags)
    text += fmt::format("Flag {}\n", flag);
  text += fmt::format("Condition {}\n", condition(test));
  text += fmt::format("Observation {} {} {} {}\n", test.name, observation(j), j.positive, j.negative);
  text += fmt::format("Time {} {:.2f}\n\n", test.name, seconds);
  return text;
}

bool as_expected(const litmus_test& test, const judgement& j) {
  if (test.expected.empty() || test.expected == "Maybe") return true;
  if (test.expected == "DEADLOCK") return j.positive == 0 && j.negative == 0;
  return test.expected == observation(j);
}

} // namespace racewalk::litmus
