// How addresses are written in race tables.
#pragma once

#include <cstdio>
#include <string>

#include "sync/types.h"

namespace racewalk {

/// `0x1000`; 0 is `0`.
inline std::string hex(u64 v) {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%#llx", static_cast<unsigned long long>(v));
  return buffer;
}

} // namespace racewalk
