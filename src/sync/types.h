// Names that every room uses and that do not depend on the backend.
#pragma once

#include <cstddef>
#include <cstdint>

namespace racewalk {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

using vaddr_t = u64; ///< a virtual address, bytes
using pfn_t = u64;   ///< a page frame number

/// CPUs are numbered from 0; a set of them fits one word.
inline constexpr unsigned MAX_CPUS = 64;
using cpumask_bits = u64;

/// What an ordered read-modify-write promises (Linux: _relaxed, _acquire, _release, none = full).
enum class order : u8 { relaxed, acquire, release, full };

} // namespace racewalk
