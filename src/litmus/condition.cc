#include "litmus/condition.h"

#include <algorithm>

namespace racewalk::litmus {

void mentioned_items(const proposition& p, std::vector<final_item>& items) {
  if (p.kind == proposition_kind::equals || p.kind == proposition_kind::equals_item) items.push_back(p.item);
  if (p.kind == proposition_kind::equals_item) items.push_back(p.other);
  for (const proposition& operand : p.operands)
    mentioned_items(operand, items);
}

bool holds(const proposition& p, const std::function<value_t(const final_item&)>& value_of) {
  const auto operand_holds = [&](const proposition& operand) { return holds(operand, value_of); };
  switch (p.kind) {
  case proposition_kind::constant:
    return p.truth;
  case proposition_kind::equals:
    return value_of(p.item) == p.value;
  case proposition_kind::equals_item:
    return value_of(p.item) == value_of(p.other);
  case proposition_kind::negation:
    return !operand_holds(p.operands[0]);
  case proposition_kind::all_of:
    return std::ranges::all_of(p.operands, operand_holds);
  case proposition_kind::any_of:
    return std::ranges::any_of(p.operands, operand_holds);
  case proposition_kind::implies:
    return !operand_holds(p.operands[0]) || operand_holds(p.operands[1]);
  }
  return false;
}

std::string to_string(const final_item& item) {
  return item.process < 0 ? "[" + item.name + "]" : std::to_string(item.process) + ":" + item.name;
}

std::string to_string(const litmus_test& test, value_t value) {
  const auto location = location_at(test, value);
  return location ? test.locations[*location] : std::to_string(value);
}

namespace {

std::string joined(const litmus_test& test, const proposition& p, const char* connective) {
  std::string text;
  for (const proposition& operand : p.operands) {
    if (!text.empty()) text += connective;
    const bool compound = !operand.operands.empty() && operand.kind != proposition_kind::negation;
    const bool bare = !compound || operand.kind == p.kind;
    text += bare ? to_string(test, operand) : "(" + to_string(test, operand) + ")";
  }
  return text;
}

} // namespace

std::string to_string(const litmus_test& test, const proposition& p) {
  switch (p.kind) {
  case proposition_kind::constant:
    return p.truth ? "true" : "false";
  case proposition_kind::equals:
    return to_string(p.item) + "=" + to_string(test, p.value);
  case proposition_kind::equals_item:
    return to_string(p.item) + "=" + to_string(p.other);
  case proposition_kind::negation:
    return "not (" + to_string(test, p.operands[0]) + ")";
  case proposition_kind::all_of:
    return joined(test, p, " /\\ ");
  case proposition_kind::any_of:
    return joined(test, p, " \\/ ");
  case proposition_kind::implies:
    return joined(test, p, " => ");
  }
  return {};
}

} // namespace racewalk::litmus
