// What is explored, and how it is told about: all that a scenario needs of the explorer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sync/types.h"

namespace racewalk::explore {

/// consistency.h says what they mean.
enum class memory_model : u8 { sc, tso, weak };
const char* to_string(memory_model m);

/// What is explored: one body per CPU, and a property of the final state.
struct program {
  std::vector<std::function<void()>> threads;
  /// For each thread (or none): a thread with a lower number that runs the same code on the same variables
  /// and on its own state, and that the property does not tell from it; -1 if there is none.
  std::vector<int> twins;
  std::function<void()> finally; ///< runs on each complete execution; calls violation() if the property fails
};

/// How a run's variables are printed.
struct naming {
  std::function<std::string(const void* addr)> name;
  std::function<std::string(const void* object)> object; ///< what is freed as one
  std::function<std::string(const void* addr, u64 value)> value;
  std::function<std::string(vaddr_t va)> address;
};

} // namespace racewalk::explore
