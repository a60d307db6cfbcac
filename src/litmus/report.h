// A judgement in the words of the reference tool, so that scripts that read its output go on working.
#pragma once

#include <string>

#include "litmus/judge.h"

namespace racewalk::litmus {

/// "Never", "Sometimes" or "Always": how often the condition holds.
std::string observation(const judgement& j);

std::string to_text(const litmus_test& test, const judgement& j, double seconds);

/// What the test's `Result:` comment said of the outcome. True where it said nothing.
bool as_expected(const litmus_test& test, const judgement& j);

} // namespace racewalk::litmus
