// Evaluates and prints propositions about final states, in the form that the reference tool prints them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "litmus/syntax.h"

namespace racewalk::litmus {

/// What the proposition mentions, in order of mention and with repetitions.
void mentioned_items(const proposition& p, std::vector<final_item>& items);

/// Its truth where `value_of` tells what each mentioned item ended up as.
bool holds(const proposition& p, const std::function<value_t(const final_item&)>& value_of);

/// `1:r0` or `[x]`.
std::string to_string(const final_item& item);

/// A number, or the name of the location whose address it is.
std::string to_string(const litmus_test& test, value_t value);

std::string to_string(const litmus_test& test, const proposition& p);

} // namespace racewalk::litmus
