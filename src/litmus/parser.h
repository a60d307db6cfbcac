// Reads a litmus test of the Linux kernel's C dialect.
#pragma once

#include <string_view>

#include "litmus/syntax.h"

namespace racewalk::litmus {

/// Throws bad_test with the line at fault.
litmus_test parse(std::string_view text);

} // namespace racewalk::litmus
