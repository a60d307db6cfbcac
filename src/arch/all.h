// Every architecture. To add one: write its file (arch_desc.h is the contract), include it and list it here.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "arch/arm64.h"
#include "arch/arm64_old.h"
#include "arch/loongarch64.h"
#include "arch/powerpc64.h"
#include "arch/powerpc64_hash.h"
#include "arch/riscv64.h"
#include "arch/s390x.h"
#include "arch/sparc64.h"
#include "arch/x86_64.h"
#include "arch/x86_64_pv.h"
#include "arch/x86_pae.h"

namespace racewalk {

namespace detail {
inline constexpr std::array arch_list{&x86_64,    &x86_64_pv,      &arm64,  &powerpc64,
                                      &riscv64,   &loongarch64,    &s390x,  &sparc64,
                                      &arm64_old, &powerpc64_hash, &x86_pae};
/// So many of them, from the first on, are columns of a table that nobody asked for.
inline constexpr std::size_t default_arch_count = 6;
/// So many can run every scenario. The others' way of reading or translating is itself the argument.
inline constexpr std::size_t common_arch_count = arch_list.size() - 2;
} // namespace detail

/// In the order in which verdict tables show them.
inline constexpr std::span<const arch_desc* const> all_archs{detail::arch_list};

/// Those where a scenario is decided that names none.
inline constexpr std::span<const arch_desc* const> common_archs{all_archs.first(detail::common_arch_count)};

/// Those of them where it is decided unless others are asked for: one for each way in which verdicts differ.
inline constexpr std::span<const arch_desc* const> default_archs{all_archs.first(detail::default_arch_count)};

/// The architecture of that name, or null.
[[nodiscard]] constexpr const arch_desc* find_arch(std::string_view name) {
  for (const arch_desc* a : all_archs)
    if (name == a->name) return a;
  return nullptr;
}

} // namespace racewalk
