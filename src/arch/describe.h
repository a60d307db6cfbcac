// Entries in words, for reports.
#pragma once

#include <string>

#include "arch/arch.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What an entry says, as the architecture's predicates see it:
///   "none" | "table pfn=3" | "leaf pfn=5 W D A" | "protnone pfn=5 D" | "invalid-leaf pfn=5 W A" |
///   "migration-write pfn=5 D A" | "marker uffd-wp" | "swap type=1 offset=7"
[[nodiscard]] std::string describe_entry(const arch_desc& a, level_t level, u64 entry);

} // namespace racewalk::inline RACEWALK_BACKEND
