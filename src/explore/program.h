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
  std::function<std::string(const void* addr)> name; ///< of a variable, for what is said of a loss; or empty
  std::function<void()> finally; ///< runs on each complete execution; calls violation() if the property fails
};

/// What a variable is part of: decides where a picture of the state has it.
enum class variable_kind : u8 {
  entry,  ///< of a page table
  page,   ///< of a struct page
  memory, ///< a word of a page's content
  lock,
  cpu, ///< of a CPU
  mm,  ///< of an address space
  other,
};

/// Where a variable belongs.
struct variable_place {
  variable_kind kind = variable_kind::other;
  std::string object; ///< `table@0`, `cpu1`
  std::string field;  ///< its name within the object: `pte[0]`, `refcount`
};

/// A value in words.
struct reading {
  std::string text;
  std::string target; ///< the object that it points to; empty if none
  std::string detail; ///< what the text leaves out: `1 pin`
};

/// A variable that belongs to the picture even if no step touches it.
struct landmark {
  const void* addr;
  u8 size; ///< bytes
};

/// How a run's variables are printed. The last three may be empty.
struct naming {
  std::function<std::string(const void* addr)> name;
  std::function<std::string(const void* object)> object; ///< what is freed as one
  std::function<std::string(const void* addr, u64 value)> value;
  std::function<std::string(vaddr_t va)> address;
  std::function<variable_place(const void* addr)> place;
  std::function<reading(const void* addr, u64 value)> read;
  std::function<std::vector<landmark>()> landmarks;
};

} // namespace racewalk::explore
